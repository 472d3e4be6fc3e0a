//! A client that named `rewind` goes back in the video and goes on from there. C93 to C96.
//!
//! The proof is by bytes: forward with the same inputs gives the same frames.

use anyhow::{Result, ensure};
use bytes::Bytes;
use pipeline::testcard::Testcard;
use pipeline::world::{Cancel, World};
use pipeline::{Device, load_world};
use server::offline::replay::{Request, replay};
use server::whole_file::Existing;
use server::{Limits, LoadWorld, pocket};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tests::client::{Chunk, Client};
use tests::message::{Event, Init};
use tests::puppet::Puppet;
use tests::{Server, small};

fn testcard(limits: Limits) -> Result<Server> {
    Server::start(Box::new(|| Ok(Box::new(Testcard::new(Duration::ZERO)) as Box<dyn World>)), limits)
}

fn stepped() -> Init {
    small().size(64, 48).features(["step", "rewind", "session", "timing", "ack", "pause"])
}

/// What steers one chunk of the video, whenever it is drawn.
fn steering(chunk: usize) -> Event {
    let keys = Event::hold(["w", "wl", "", "sj", "d"][chunk % 5]);
    match chunk % 7 {
        2 => Event::step_with([keys, Event::prompt(&format!("the night of {chunk}"))]),
        _ => Event::step_with([keys]),
    }
}

async fn step(client: &mut Client, chunk: usize) -> Result<Chunk> {
    client.send(steering(chunk)).await?;
    client.chunk().await
}

async fn walk(client: &mut Client, chunks: std::ops::Range<usize>) -> Result<Vec<Vec<Bytes>>> {
    let mut frames = Vec::new();
    for chunk in chunks {
        frames.push(step(client, chunk).await?.frames());
    }
    Ok(frames)
}

async fn begin(server: &Server, init: Init) -> Result<(Client, String)> {
    let mut client = server.session(init).await?;
    let hello = client.hello().await?;
    Ok((client, hello.resume_token))
}

/// C93: back to each chunk that is kept, and forward again.
async fn forward_again(server: &Server, init: Init, chunks: usize, ways_back: &[usize]) -> Result<()> {
    let (mut client, _) = begin(server, init).await?;
    let drawn = walk(&mut client, 0..chunks).await?;
    for (turn, &to) in ways_back.iter().enumerate() {
        client.send(Event::rewind(to as u64).id(100 + turn as u64)).await?;
        let first = step(&mut client, to).await?;
        let timeline = first.timeline.as_ref();
        ensure!(
            timeline.is_some_and(|line| line.video_chunk == to as u64 && line.event_id == Some(100 + turn as u64)),
            "back to {to}: {timeline:?}"
        );
        ensure!(first.frames() == drawn[to], "back to {to}");
        ensure!(walk(&mut client, to + 1..chunks).await? == drawn[to + 1..], "forward from {to}");
    }
    client.close().await
}

#[tokio::test]
async fn the_test_card_goes_back_and_draws_the_same_frames_again() -> Result<()> {
    // A state of it is small: one is kept before every chunk.
    forward_again(&testcard(Limits::default())?, stepped(), 22, &[21, 20, 9, 8, 15]).await
}

#[tokio::test]
async fn the_pocket_world_goes_back_and_draws_the_same_frames_again() -> Result<()> {
    let server = Server::start(
        Box::new(|| load_world(&pocket::dir(), &Device::cpu()).map_err(Into::into)) as LoadWorld,
        Limits::default(),
    )?;
    let init = Init::new("a red tower").features(["step", "rewind", "session"]);
    // 4 frames a chunk at 16 a second: a state every four chunks, and up to three of them drawn again.
    forward_again(&server, init, 11, &[8, 7]).await
}

/// C94
#[tokio::test]
async fn chunks_are_counted_on_and_frames_go_back() -> Result<()> {
    let server = testcard(Limits::default())?;
    let (mut client, _) = begin(&server, stepped()).await?;
    walk(&mut client, 0..6).await?;
    client.send(Event::rewind(2)).await?;
    let chunk = step(&mut client, 2).await?;
    let timeline = chunk.timeline.as_ref().expect("it does not follow the one before");
    ensure!((timeline.chunk_index, timeline.video_chunk, timeline.first_frame_index) == (6, 2, 21), "{timeline:?}");
    ensure!((chunk.stats.chunk_index, chunk.batches[0].header.first_frame_index) == (6, Some(21)), "{:?}", chunk.stats);
    let next = step(&mut client, 3).await?;
    ensure!(next.timeline.is_none() && next.stats.chunk_index == 7);
    // By time: a second before the chunk that comes next, which is the fifth.
    client.send(Event::new("rewind", tests::message::map([("seconds", 1.0.into())]))).await?;
    let line = step(&mut client, 2).await?.timeline;
    ensure!(line.as_ref().is_some_and(|line| line.video_chunk == 2), "{line:?}");
    client.close().await
}

/// C95
#[tokio::test]
async fn a_way_back_that_is_not_kept_is_refused_and_the_session_goes_on() -> Result<()> {
    let server = testcard(Limits::default())?;
    let (mut client, _) = begin(&server, stepped()).await?;
    walk(&mut client, 0..20).await?;
    for (to, words) in [(2, "chunks 5 to 20"), (21, "chunks 5 to 20"), (4_000_000, "chunks 5 to 20")] {
        client.send(Event::rewind(to).id(to)).await?;
        let error = client.error().await?;
        ensure!(error.event_id == Some(to) && error.to_string().contains(words), "{error}");
    }
    // Behind a step that waits it would be unclear what it goes back from. A pause lets it wait for sure.
    client.send(Event::pause()).await?;
    client.send(Event::step()).await?;
    client.send(Event::rewind(15).id(9)).await?;
    let error = client.error().await?;
    ensure!(error.event_id == Some(9) && error.to_string().contains("steps wait"), "{error}");
    client.send(Event::resume()).await?;
    ensure!(client.chunk().await?.stats.chunk_index == 20, "and the step is answered");
    client.close().await?;
    // A world that keeps no states says so, and who did not name the feature cannot go back.
    let (server, _strings) = Server::with(Puppet::default())?;
    let (mut client, _) = begin(&server, stepped()).await?;
    walk(&mut client, 0..2).await?;
    client.send(Event::rewind(1).id(3)).await?;
    let error = client.error().await?;
    ensure!(error.event_id == Some(3) && error.to_string().contains("not offered to this session"), "{error}");
    ensure!(step(&mut client, 2).await?.stats.chunk_index == 2, "it goes on");
    client.close().await?;
    let mut other = server.session(small()).await?;
    other.send(Event::rewind(0).id(4)).await?;
    ensure!(other.error().await?.event_id == Some(4));
    other.close().await
}

/// C96
#[tokio::test]
async fn a_session_that_goes_back_is_recorded_as_it_goes_on_and_can_be_resumed() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("causeway-rewind-{}", std::process::id()));
    let server = testcard(Limits { record: Some((folder.clone(), 1 << 20)), ..Limits::default() })?;
    let (mut client, token) = begin(&server, stepped()).await?;
    let drawn = walk(&mut client, 0..9).await?;
    client.send(Event::rewind(5)).await?;
    client.send(steering(11)).await?;
    // Lost on the way back: the new line gets the rest.
    drop(client);
    let mut client = server.connect().await?;
    client.send(tests::message::resume(&token, Some(8))).await?;
    let session = client.hello().await?.session_id;
    let other = client.chunk().await?;
    ensure!(other.timeline.as_ref().is_some_and(|line| line.video_chunk == 5), "{:?}", other.timeline);
    ensure!(other.frames() != drawn[5], "other keys");
    let more = walk(&mut client, 6..8).await?;
    client.close().await?;
    server.stop()?;
    let mut hash = Sha256::new();
    drawn[..5].iter().flatten().chain(&other.frames()).chain(more.iter().flatten()).for_each(|rgb| hash.update(rgb));
    let expected: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let file = folder.join(format!("{session}.causeway"));
    let request = Request { file, out: None, until: None, existing: Existing::Keep, cancel: Cancel::default() };
    let told = replay(&Testcard::new(Duration::ZERO), request.read()?, &request);
    std::fs::remove_dir_all(&folder)?;
    let told = told?.1;
    ensure!(told.contains(&expected), "{told} does not have {expected}");
    Ok(())
}

/// C93
#[tokio::test]
async fn free_and_paced_sessions_go_back_between_chunks_that_come_by_themselves() -> Result<()> {
    let server = testcard(Limits::default())?;
    for init in [small().size(64, 48), small().size(64, 48).paced(48)] {
        let mut client = server.session(init.features(["rewind", "playback"])).await?;
        // Without a playhead a free one would run away.
        client
            .send(Event::new("playback", tests::message::map([("frame", 0.into()), ("lead_ms", 6000.into())])))
            .await?;
        let mut drawn = Vec::new();
        for _ in 0..4 {
            drawn.push(client.chunk().await?.frames());
        }
        client.send(Event::rewind(1).id(1)).await?;
        // It shows nothing of what it has, so nothing of it counts as ahead.
        client.send(Event::new("playback", tests::message::map([("frame", 4000.into())]))).await?;
        let chunk = loop {
            let chunk = client.chunk().await?;
            if chunk.timeline.is_some() {
                break chunk;
            }
        };
        ensure!(chunk.timeline.as_ref().is_some_and(|line| line.video_chunk == 1) && chunk.frames() == drawn[1]);
        ensure!(client.chunk().await?.frames() == drawn[2], "nobody steered");
        client.close().await?;
    }
    Ok(())
}
