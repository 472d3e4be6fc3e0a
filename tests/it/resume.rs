//! A client whose line was cut takes its session up again, and the video goes on as if nothing had been.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use server::Limits;
use server::access::policy::AccessPolicy;
use server::access::rules::keys::KeyLimits;
use server::realtime::session::{CREDIT, Stay};
use tests::chance::Chance;
use tests::client::{Chunk, Client};
use tests::keyed::{Keyed, turned_away};
use tests::message::{Close, Event, Init, Message, resume};
use tests::puppet::{Puppet, Seen, Strings};
use tests::raw::Raw;
use tests::shaper::{Cut, How, Shape, Shaper};
use tests::{Server, small};

/// A session that can be resumed.
fn lasting() -> Init {
    small().features(["session"])
}

fn grace(grace: Duration) -> Limits {
    let limits = Limits::default();
    Limits { stay: Stay { grace, ..limits.stay }, ..limits }
}

async fn begin(server: &Server, init: Init) -> Result<(Client, String)> {
    let mut client = server.session(init).await?;
    let hello = client.hello().await?;
    ensure!(hello.next_chunk == 0 && hello.grace_ms > 0, "{hello:?}");
    Ok((client, hello.resume_token))
}

/// On a new connection, and this chunk comes next.
async fn back(server: &Server, token: &str, last: Option<u64>) -> Result<Client> {
    let mut client = server.connect().await?;
    client.send(resume(token, last)).await?;
    let hello = client.hello().await?;
    ensure!(hello.resume_token == token && hello.next_chunk == last.map_or(0, |last| last + 1), "{hello:?}");
    Ok(client)
}

/// End the connection without a close frame: to the server this is a cut line.
fn cut(client: Client) {
    drop(client);
}

/// Everything that happens in the next 300 ms.
async fn settled(strings: &mut Strings) -> Vec<Seen> {
    tokio::time::sleep(Duration::from_millis(300)).await;
    strings.so_far()
}

#[tokio::test]
async fn a_client_that_was_cut_gets_what_it_missed_and_what_comes_next_from_the_same_rollout() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::default())?;
    let (mut client, token) = begin(&server, lasting().max_chunks(6)).await?;
    let first = client.chunk().await?;
    let second = client.chunk().await?;
    let (_, page) = Raw::get(server.address, "/metrics").await?;
    let kept = page.lines().find_map(|line| line.strip_prefix("causeway_memory_bytes{kind=\"replay\"} "));
    ensure!(kept.is_some_and(|bytes| bytes.parse::<u64>().is_ok_and(|bytes| bytes > 0)), "{kept:?}");
    cut(client);
    let mut client = back(&server, &token, Some(0)).await?;
    let again = client.chunk().await?;
    ensure!(again.frames() == second.frames() && again.stats.request_id == second.stats.request_id);
    ensure!(again.stats.session_id == first.stats.session_id);
    for index in 2..6 {
        ensure!(client.chunk().await?.stats.chunk_index == index);
    }
    ensure!(client.closed().await? == Close { code: 1000, reason: "generation complete".into() });
    let opened = strings.so_far().iter().filter(|seen| matches!(seen, Seen::Opened { .. })).count();
    ensure!(opened == 1, "{opened} rollouts");
    Ok(())
}

/// Keys, caches, camera and random numbers: the pocket world forgets nothing while its client is away.
#[tokio::test]
async fn a_video_that_was_cut_is_the_video_that_was_not() -> Result<()> {
    let load = || -> server::LoadWorld {
        Box::new(|| Ok(pipeline::load_world(&server::pocket::dir(), &pipeline::Device::cpu())?))
    };
    let picture = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../pocket/weights/first_frames/desert.png"))?;
    let script = || tests::message::script(["", "w", "w", "wl", "l", "j", "s", "w", "w", "i"]);
    let camera = || tests::message::map([("camera_actions", script())]);
    let init = |chunks| {
        Init::new("a desert at noon").first_frame(&picture).max_chunks(chunks).set("condition_inputs", camera())
    };
    let server = Server::start(load(), Limits::default())?;
    let mut whole = Vec::new();
    let mut client = server.session(init(10)).await?;
    for _ in 0..10 {
        whole.extend(client.chunk().await?.frames());
    }
    let (mut client, token) = begin(&server, init(10).features(["session"])).await?;
    let mut pieces = Vec::new();
    for index in 0..10 {
        pieces.extend(client.chunk().await?.frames());
        if index % 3 == 1 {
            cut(client);
            client = back(&server, &token, Some(index)).await?;
        }
    }
    ensure!(pieces == whole);
    Ok(())
}

/// The line breaks at random places: in a header, in a payload, between two chunks.
#[tokio::test]
async fn a_line_that_is_cut_at_any_byte_loses_no_frame() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let mut chance = Chance::new(7);
    for how in [How::Closed, How::Reset].into_iter().cycle().take(12) {
        let after_bytes = 300 + chance.below(60_000) as u64;
        let down = Shape { cut: Some(Cut { after_bytes, how }), ..Shape::default() };
        let shaper = Shaper::before(server.address, Shape::default(), down, 1).await?;
        let mut client = Client::connect(&shaper.url()).await?;
        client.send(lasting().size(32, 32).max_chunks(4)).await?;
        let token = client.hello().await?.resume_token;
        let mut frames: Vec<Bytes> = Vec::new();
        let mut last = None;
        while let Ok(Chunk { batches, stats, .. }) = client.chunk().await {
            frames.extend(batches.iter().flat_map(|batch| batch.frames()));
            last = Some(stats.chunk_index);
        }
        if last == Some(3) {
            // The cut lies behind the last chunk.
            continue;
        }
        let mut client = back(&server, &token, last).await?;
        for _ in last.map_or(0, |last| last + 1)..4 {
            frames.extend(client.chunk().await?.frames());
        }
        ensure!(client.closed().await?.reason == "generation complete");
        let size = pipeline::world::Size { width: 32, height: 32 };
        let drawn = (0..4).map(|chunk| tests::puppet::picture(size, chunk, 0..if chunk == 0 { 9 } else { 12 }));
        ensure!(frames.concat() == drawn.collect::<Vec<_>>().concat(), "cut after {after_bytes} bytes");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_steered_after_the_return_takes_effect() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let (mut client, token) = begin(&server, lasting()).await?;
    strings.began().await?;
    client.send(Event::hold("w").id(1)).await?;
    client.ping().await?;
    cut(client);
    strings.allow(3);
    let mut client = back(&server, &token, None).await?;
    client.chunk().await?;
    let second = client.chunk().await?;
    ensure!(second.stats.event_id == Some(1), "what was held before the cut is held");
    client.send(Event::hold("s").id(2)).await?;
    loop {
        strings.allow(1);
        if client.chunk().await?.stats.event_id == Some(2) {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn while_nobody_is_there_no_more_is_drawn_than_was_promised() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::default())?;
    let (mut client, token) = begin(&server, lasting()).await?;
    client.chunk().await?;
    cut(client);
    let before = settled(&mut strings).await;
    ensure!(settled(&mut strings).await.is_empty(), "it goes on drawing");
    let drawn = before.iter().filter(|seen| matches!(seen, Seen::Began { .. })).count() as u64;
    let mut client = back(&server, &token, Some(0)).await?;
    for _ in 0..drawn + CREDIT {
        client.chunk().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_session_is_given_up_when_nobody_returns_in_time_and_its_token_is_worth_nothing() -> Result<()> {
    let (server, mut strings) = Server::limited(Puppet::default(), grace(Duration::from_millis(200)))?;
    let (mut client, token) = begin(&server, lasting()).await?;
    client.chunk().await?;
    cut(client);
    strings.dropped().await?;
    let mut late = server.connect().await?;
    late.send(resume(&token, Some(0))).await?;
    let refused = late.error().await?;
    ensure!(refused.content == "invalid resume request", "{refused}");
    ensure!(refused.details.context("details")?.field == "token");
    // The line is as good as new.
    late.send(small().max_chunks(1)).await?;
    late.chunk().await?;
    Ok(())
}

#[tokio::test]
async fn after_a_goodbye_or_without_the_feature_a_session_ends_with_its_line() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::default())?;
    let (mut client, _token) = begin(&server, lasting()).await?;
    client.chunk().await?;
    client.close().await?;
    strings.dropped().await?;
    let mut client = server.session(small()).await?;
    client.chunk().await?;
    cut(client);
    strings.dropped().await?;
    Ok(())
}

#[tokio::test]
async fn the_newer_connection_wins_and_the_older_is_told() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::taking(Duration::from_millis(20)))?;
    let (mut older, token) = begin(&server, lasting()).await?;
    let had = older.chunk().await?.stats.chunk_index;
    let mut newer = back(&server, &token, Some(had)).await?;
    let told = older.error().await?;
    ensure!(told.code.as_deref() == Some("resumed_elsewhere"), "{told}");
    loop {
        if let Message::Closed(close) = older.next().await? {
            ensure!(close == Close { code: 1008, reason: "resumed on another connection".into() }, "{close:?}");
            break;
        }
    }
    for index in had + 1..had + 5 {
        ensure!(newer.chunk().await?.stats.chunk_index == index);
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_missed_more_than_is_kept_is_told_what_there_is() -> Result<()> {
    // A chunk of 12 frames of 16x16 is 9216 bytes and what is said of them.
    let (server, strings) =
        Server::limited(Puppet::on_strings(), Limits { backlog_bytes: 25_000, ..Limits::default() })?;
    let (mut client, token) = begin(&server, lasting()).await?;
    strings.allow(8);
    for _ in 0..8 {
        client.chunk().await?;
    }
    cut(client);
    for (last, words) in
        [(Some(0), "chunk 1 is no longer kept"), (None, "chunk 0 is no"), (Some(90), "chunk 90 has not")]
    {
        let mut client = server.connect().await?;
        client.send(resume(&token, last)).await?;
        let refused = client.error().await?;
        let details = refused.details.context("details")?;
        ensure!(details.field == "last_chunk" && details.reason.starts_with(words), "{details:?}");
        ensure!(client.closed().await? == Close { code: 1008, reason: "cannot resume".into() });
    }
    strings.allow(1);
    back(&server, &token, Some(7)).await?.chunk().await?;
    Ok(())
}

#[tokio::test]
async fn a_video_that_was_complete_while_its_client_was_away_can_be_fetched() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let (client, token) = begin(&server, lasting().max_chunks(2)).await?;
    strings.began().await?;
    cut(client);
    strings.allow(2);
    settled(&mut strings).await;
    let mut client = back(&server, &token, None).await?;
    client.chunk().await?;
    client.chunk().await?;
    ensure!(client.closed().await?.reason == "generation complete");
    Ok(())
}

/// The server handed everything to the system, and none of it arrived.
#[tokio::test]
async fn a_video_whose_end_was_lost_on_the_line_can_be_fetched() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let down = Shape { cut: Some(Cut { after_bytes: 30_000, how: How::Silent }), ..Shape::default() };
    let shaper = Shaper::before(server.address, Shape::default(), down, 1).await?;
    let mut client = Client::connect(&shaper.url()).await?;
    client.send(lasting().max_chunks(4)).await?;
    let token = client.hello().await?.resume_token;
    for _ in 0..2 {
        client.chunk().await?;
    }
    // The server has closed, and waited for an answer.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let mut client = back(&server, &token, Some(1)).await?;
    client.chunk().await?;
    client.chunk().await?;
    ensure!(client.closed().await?.reason == "generation complete");
    Ok(())
}

/// A client that was dropped for not reading loses nothing.
#[tokio::test]
async fn a_client_that_stopped_reading_can_come_back() -> Result<()> {
    let limits = Limits { write_deadline: Duration::from_millis(300), ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::default(), limits)?;
    let (client, token) = begin(&server, lasting().size(832, 480)).await?;
    loop {
        let (_, page) = Raw::get(server.address, "/metrics").await?;
        if page.contains("causeway_drops_total{reason=\"write_deadline\"} 1") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut again = back(&server, &token, None).await?;
    for index in 0..4 {
        ensure!(again.chunk().await?.stats.chunk_index == index);
    }
    drop(client);
    Ok(())
}

#[tokio::test]
async fn a_resume_request_that_is_wrong_names_its_field() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let mut client = server.connect().await?;
    for (request, field) in [
        (tests::message::map([("type", "resume".into())]), "token"),
        (tests::message::map([("type", "resume".into()), ("token", 7.into())]), "token"),
        (resume("0123", None), "token"),
        (
            tests::message::map([("type", "resume".into()), ("token", "t".into()), ("last_chunk", "x".into())]),
            "last_chunk",
        ),
    ] {
        client.send(request).await?;
        let refused = client.error().await?;
        ensure!(refused.content == "invalid resume request" && refused.details.context("details")?.field == field);
    }
    client.send(small().max_chunks(1)).await?;
    client.chunk().await?;
    Ok(())
}

/// A token is worth nothing to whoever has no key: on a server that asks for one, both are shown.
#[tokio::test]
async fn where_keys_are_asked_for_a_resume_needs_one_too_and_costs_no_second_session() -> Result<()> {
    let keyed = Keyed::with(KeyLimits { sessions: 1, ..KeyLimits::default() }, AccessPolicy::default())?;
    let mut client = keyed.connect(&keyed.key).await?;
    client.send(lasting()).await?;
    let token = client.hello().await?.resume_token;
    client.chunk().await?;
    cut(client);
    let mut stranger = keyed.server.connect().await?;
    stranger.send(resume(&token, Some(0))).await?;
    ensure!(turned_away(&mut stranger).await?.0 == "unauthorized");
    let mut client = keyed.connect(&keyed.key).await?;
    client.send(resume(&token, Some(0))).await?;
    client.hello().await?;
    client.chunk().await?;
    Ok(())
}
