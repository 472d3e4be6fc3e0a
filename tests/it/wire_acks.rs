//! What a client may ask to hear, and to say, beyond the reference: what its session is, what became of its events, where
//! frames stand in the video, and that it goes away for a while.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::client::Client;
use tests::message::{Event, EventAck, Init, Message};
use tests::puppet::{Puppet, Seen, Strings};
use tests::{Server, small};
use tokio::time::timeout;

fn acked() -> Init {
    small().features(["ack"])
}

async fn on_strings(init: Init) -> Result<(Server, Strings, Client)> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let client = server.session(init).await?;
    strings.began().await?;
    Ok((server, strings, client))
}

/// Everything that was sent so far is with the session.
async fn heard(client: &mut Client) -> Result<()> {
    client.ping().await.map(drop)
}

#[tokio::test]
async fn a_client_that_asked_for_it_hears_first_of_all_what_its_session_is() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let init = small().paced(25).set("model", "something/else").max_chunks(1).features(["telepathy", "timing", "ack"]);
    let mut client = server.session(init).await?;
    let Message::Begun(begun) = client.next().await? else { anyhow::bail!("something else came first") };
    ensure!(
        (begun.world.as_str(), begun.fps, begun.paced, begun.chunk_frames) == ("puppet", 25, true, 12),
        "{begun:?}"
    );
    ensure!(begun.features == ["ack", "timing"], "{begun:?}");
    let chunk = client.chunk().await?;
    ensure!(chunk.stats.session_id == begun.session_id && chunk.ack.is_none(), "{chunk:?}");
    ensure!((chunk.batches[0].header.width, chunk.batches[0].header.height) == (begun.width, begun.height));
    Ok(())
}

#[tokio::test]
async fn each_event_is_told_once_with_the_first_chunk_that_shows_it() -> Result<()> {
    let (_server, mut strings, mut client) = on_strings(acked().max_chunks(5)).await?;
    client.send(Event::hold("w").id(3)).await?;
    client.send(Event::prompt("dusk").id(4)).await?;
    heard(&mut client).await?;
    strings.allow(1);
    strings.began().await?;
    client.send(Event::hold("a")).await?;
    client.send(Event::composite([Event::hold("d"), Event::prompt("dawn")]).id(2)).await?;
    heard(&mut client).await?;
    strings.allow(4);
    let mut acks = Vec::new();
    for _ in 0..5 {
        acks.push(client.chunk().await?.ack);
    }
    let ack =
        |chunk_index, applied: &[u64]| Some(EventAck { chunk_index, applied: applied.to_vec(), superseded: vec![] });
    ensure!(acks[0].is_none() && acks[3].is_none() && acks[4].is_none(), "{acks:?}");
    let mut told = [acks[1].clone(), acks[2].clone()];
    told.iter_mut().flatten().for_each(|ack| ack.applied.sort());
    ensure!(told == [ack(1, &[3, 4]), ack(2, &[2])], "{told:?}");
    Ok(())
}

#[tokio::test]
async fn a_prompt_that_another_replaced_is_told_superseded() -> Result<()> {
    let (_server, strings, mut client) = on_strings(acked().max_chunks(2)).await?;
    for (id, prompt) in [(1, "dusk"), (2, "night"), (3, "dawn")] {
        client.send(Event::prompt(prompt).id(id)).await?;
    }
    heard(&mut client).await?;
    strings.allow(2);
    client.chunk().await?;
    let ack = client.chunk().await?.ack;
    ensure!(ack == Some(EventAck { chunk_index: 1, applied: vec![3], superseded: vec![1, 2] }), "{ack:?}");
    Ok(())
}

/// The client of these tests fails on any type that it has not asked for.
#[tokio::test]
async fn a_client_that_asked_for_nothing_is_sent_nothing_new() -> Result<()> {
    let (_server, strings, mut client) = on_strings(small().max_chunks(2)).await?;
    client.send(Event::prompt("dusk").id(1)).await?;
    client.send(Event::prompt("night").id(2)).await?;
    heard(&mut client).await?;
    strings.allow(2);
    for _ in 0..2 {
        let chunk = client.chunk().await?;
        let header = &chunk.batches[0].header;
        ensure!(chunk.ack.is_none(), "{:?}", chunk.ack);
        ensure!(header.first_frame_index.is_none() && header.pts_ms.is_none() && header.controls_age_ms.is_none());
    }
    ensure!(client.closed().await?.code == 1000);
    Ok(())
}

#[tokio::test]
async fn headers_say_where_their_frames_stand_in_the_video_and_how_old_their_keys_are() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    // 200 frames a second: 5 ms each. Puppets draw 9 frames first and 12 after that.
    let init = small().set("fps", 200).max_chunks(3).features(["timing", "session"]);
    let mut client = server.session(init).await?;
    let token = client.hello().await?.resume_token;
    let mut seen = 0;
    for chunk in 0..2 {
        for batch in client.chunk().await?.batches {
            let header = batch.header;
            ensure!(header.first_frame_index == Some(seen) && header.pts_ms == Some(5 * seen), "{chunk}: {header:?}");
            ensure!(header.controls_age_ms.is_some_and(|age| age < 10_000), "{header:?}");
            seen += header.num_frames as u64;
        }
    }
    ensure!(seen == 21, "{seen} frames");
    // After a cut the count goes on.
    drop(client);
    let mut client = server.connect().await?;
    client.send(tests::message::resume(&token, Some(1))).await?;
    client.hello().await?;
    let header = &client.chunk().await?.batches[0].header;
    ensure!(header.first_frame_index == Some(21), "{header:?}");
    Ok(())
}

#[tokio::test]
async fn an_error_names_the_event_it_answers() -> Result<()> {
    let (_server, _strings, mut client) = on_strings(small()).await?;
    client.send(Event::new("jump", "high").id(77)).await?;
    let error = client.error().await?;
    ensure!(error.event_id == Some(77) && error.code.as_deref() == Some("invalid_event"), "{error:?}");
    client.send(Event::new("jump", "high")).await?;
    ensure!(client.error().await?.event_id.is_none());
    client.send(Event::prompt("").id(1 << 33)).await?;
    let error = client.error().await?;
    ensure!(error.event_id.is_none() && error.details.is_some_and(|details| details.field == "event_id"));
    Ok(())
}

#[tokio::test]
async fn a_paused_session_draws_what_was_granted_and_goes_on_in_the_same_rollout_when_it_is_told_to() -> Result<()> {
    for init in [small(), small().paced(240)] {
        let (_server, mut strings, mut client) = on_strings(init.max_chunks(6).features(["pause"])).await?;
        client.send(Event::pause()).await?;
        heard(&mut client).await?;
        strings.allow(6);
        client.chunk().await?;
        // Whatever else had been granted: then nothing comes.
        let mut chunks = 1;
        while let Ok(chunk) = timeout(Duration::from_millis(300), client.next()).await {
            chunks += usize::from(matches!(chunk?, Message::Stats(_)));
        }
        ensure!(chunks <= 2, "{chunks} chunks of a paused session");
        client.send(Event::resume()).await?;
        for _ in chunks..6 {
            client.chunk().await?;
        }
        ensure!(client.closed().await?.code == 1000);
        let rollouts = strings.so_far().iter().filter(|seen| matches!(seen, Seen::Opened { .. })).count();
        ensure!(rollouts == 0, "{rollouts} more rollouts");
    }
    Ok(())
}

#[tokio::test]
async fn a_pause_that_was_not_asked_for_is_an_invalid_event_as_in_the_reference() -> Result<()> {
    let (_server, mut strings, mut client) = on_strings(small().max_chunks(1)).await?;
    client.send(Event::pause()).await?;
    let error = client.error().await?;
    ensure!(error.content == "invalid event" && error.details.is_some_and(|details| details.field == "kind"));
    strings.allow(1);
    client.chunk().await?;
    ensure!(!strings.so_far().iter().any(|seen| matches!(seen, Seen::Cancelled { .. })));
    Ok(())
}
