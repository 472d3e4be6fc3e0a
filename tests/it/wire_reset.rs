//! A client that named `reset` begins another video in its session. C100 to C103.
//!
//! The proof is by bytes: it is the video that a session of its own shows.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use pipeline::testcard::{Testcard, prompt_hash, read};
use pipeline::world::{Cancel, Picture, Size, World};
use pipeline::{Device, load_world};
use rmpv::Value;
use server::offline::replay::{Request, replay};
use server::whole_file::Existing;
use server::{Limits, LoadWorld, pocket};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tests::client::{Chunk, Client};
use tests::message::{Event, Init, Message, resume};
use tests::puppet::Puppet;
use tests::{Server, small};

fn testcard(limits: Limits) -> Result<Server> {
    Server::start(Box::new(|| Ok(Box::new(Testcard::new(Duration::ZERO)) as Box<dyn World>)), limits)
}

fn stepped() -> Init {
    small().size(64, 48).features(["step", "reset", "timing", "ack", "receipts"])
}

async fn step(client: &mut Client, chunk: usize) -> Result<Chunk> {
    let keys = Event::hold(["w", "wl", "", "sj"][chunk % 4]);
    let parts = if chunk == 2 { vec![keys, Event::prompt("night")] } else { vec![keys] };
    client.send(Event::step_with(parts)).await?;
    client.chunk().await
}

async fn walk(client: &mut Client, chunks: usize) -> Result<Vec<Vec<Bytes>>> {
    let mut frames = Vec::new();
    for chunk in 0..chunks {
        frames.push(step(client, chunk).await?.frames());
    }
    Ok(frames)
}

/// C100: `to`: what the reset says, and the init of the session that shows the same.
async fn like_its_own(server: &Server, init: Init, chunks: usize, to: Vec<(Event, Init)>) -> Result<()> {
    let mut client = server.session(init).await?;
    let first = step(&mut client, 0).await?;
    let (session, mut next) = (first.stats.session_id.clone(), 1);
    for (turn, (reset, own)) in to.into_iter().enumerate() {
        // Nothing is held: this is not to differ from a session of its own.
        client.send(Event::hold("")).await?;
        client.send(reset.id(500 + turn as u64)).await?;
        let began = step(&mut client, 0).await?;
        let line = began.timeline.as_ref().context("it does not follow the chunk before")?;
        ensure!(
            (line.chunk_index, line.video_chunk, line.first_frame_index) == (next, 0, 0)
                && line.event_id == Some(500 + turn as u64),
            "{line:?}"
        );
        let mut frames = vec![began.frames()];
        for chunk in 1..chunks {
            frames.push(step(&mut client, chunk).await?.frames());
        }
        ensure!(began.stats.session_id == session, "another session");
        next += chunks as u64;
        let mut other = server.session(own).await?;
        ensure!(walk(&mut other, chunks).await? == frames, "turn {turn}: another video");
        other.close().await?;
    }
    client.close().await
}

#[tokio::test]
async fn a_video_that_is_begun_again_is_that_of_a_session_of_its_own() -> Result<()> {
    let own = || small().size(64, 48).features(["step"]);
    let to = vec![
        (Event::reset([]), own()),
        (Event::reset([("prompt", "a beach".into())]), own().set("prompt", "a beach")),
        // What was said stays.
        (Event::reset([("size", "32x48".into())]), own().set("prompt", "a beach").size(32, 48)),
    ];
    like_its_own(&testcard(Limits::default())?, stepped(), 3, to).await
}

#[tokio::test]
async fn the_pocket_world_begins_again_with_its_seed_and_picture_or_with_others() -> Result<()> {
    let server = Server::start(
        Box::new(|| load_world(&pocket::dir(), &Device::cpu()).map_err(Into::into)) as LoadWorld,
        Limits::default(),
    )?;
    let picture = || {
        let rgb = image::RgbImage::from_fn(96, 64, |x, y| image::Rgb([(x * 2) as u8, (y * 3) as u8, 90]));
        let mut png = std::io::Cursor::new(Vec::new());
        rgb.write_to(&mut png, image::ImageFormat::Png).expect("a picture");
        Value::Binary(png.into_inner())
    };
    let own = || Init::new("a red tower").features(["step"]);
    let to = vec![
        (Event::reset([]), own()),
        (Event::reset([("seed", 7.into()), ("first_frame", picture())]), own().seed(7).set("first_frame", picture())),
        (Event::reset([("seed", 42.into())]), own().set("first_frame", picture())),
        (Event::reset([("first_frame", false.into())]), own()),
    ];
    like_its_own(&server, Init::new("a red tower").features(["step", "reset"]), 2, to).await
}

/// C100
#[tokio::test]
async fn what_is_held_is_held_on_and_a_prompt_after_it_is_for_the_new_video() -> Result<()> {
    let server = testcard(Limits::default())?;
    for init in [small().size(64, 48), small().size(64, 48).paced(48)] {
        let mut client = server.session(init.features(["reset"])).await?;
        client.send(Event::hold("w")).await?;
        client.chunk().await?;
        client.send(Event::reset([])).await?;
        client.send(Event::prompt("a beach")).await?;
        let mut chunk = client.chunk().await?;
        while chunk.timeline.is_none() {
            chunk = client.chunk().await?;
        }
        let readings = |chunk: &Chunk| {
            let read_one = |rgb: &Bytes| {
                let picture = Picture { size: Size { width: 64, height: 48 }, rgb: rgb.to_vec() };
                read(&picture).context("a card")
            };
            chunk.frames().iter().map(read_one).collect::<Result<Vec<_>>>()
        };
        let first = readings(&chunk)?;
        ensure!(
            first[0].chunk == 0 && first.iter().all(|card| card.held.is_some_and(|held| !held.is_empty())),
            "{first:?}"
        );
        let second = readings(&client.chunk().await?)?;
        ensure!(second[0].chunk == 1 && second[0].prompt_hash == prompt_hash("a beach"), "{second:?}");
        client.close().await?;
    }
    Ok(())
}

/// C101
#[tokio::test]
async fn a_video_that_cannot_begin_is_refused_by_name_and_the_one_before_goes_on() -> Result<()> {
    let server = testcard(Limits::default())?;
    let mut client = server.session(stepped()).await?;
    step(&mut client, 0).await?;
    let wrong = [
        ("size", Value::from("640x480"), "more than this session was admitted with"),
        ("size", "0x48".into(), ""),
        ("prompt", "p".repeat(9000).into(), "at most 8192"),
        ("seed", "much".into(), ""),
        ("first_frame", Value::Binary(b"no picture".to_vec()), "no JPEG, PNG or WebP"),
        ("first_frame", 5.into(), "must be the bytes of a picture"),
    ];
    for (turn, (field, value, words)) in (1..).zip(wrong) {
        client.send(Event::reset([(field, value)]).id(turn)).await?;
        let error = client.error().await?;
        ensure!(error.event_id == Some(turn) && error.to_string().contains(field), "{error}");
        ensure!(error.to_string().contains(words), "{error} does not say {words}");
        let chunk = step(&mut client, 1).await?;
        ensure!(chunk.stats.chunk_index == turn && chunk.timeline.is_none(), "it goes on: {:?}", chunk.stats);
    }
    client.close().await?;
    // Who has not named it does not know it.
    let mut other = server.session(small()).await?;
    other.send(Event::reset([]).id(4)).await?;
    ensure!(other.error().await?.event_id == Some(4));
    other.close().await
}

/// C102
#[tokio::test]
async fn a_recording_of_its_own_receipts_and_a_resume_go_on_with_the_new_video() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("causeway-reset-{}", std::process::id()));
    let server = testcard(Limits { record: Some((folder.clone(), 1 << 20)), ..Limits::default() })?;
    let all = ["step", "reset", "session", "timing", "ack", "receipts"];
    let mut client = server.session(stepped().features(all)).await?;
    let hello = client.hello().await?;
    let before = walk(&mut client, 3).await?;
    client.send(Event::hold("").id(9)).await?;
    client.send(Event::reset([("prompt", "a beach".into())]).id(10)).await?;
    client.send(Event::step_with([Event::hold("d")]).id(11)).await?;
    // Lost on the way: the new line gets the rest.
    drop(client);
    let mut client = server.connect().await?;
    client.send(resume(&hello.resume_token, Some(2))).await?;
    client.hello().await?;
    let first = client.chunk().await?;
    ensure!(first.timeline.as_ref().is_some_and(|line| line.video_chunk == 0), "{:?}", first.timeline);
    ensure!(first.batches[0].header.first_frame_index == Some(0));
    let applied = first.applied.as_ref().context("a receipt")?;
    ensure!(applied.applied.iter().any(|shown| shown.event_id == 11 && shown.first_frame_index == 0), "{applied:?}");
    let second = step(&mut client, 1).await?;
    client.close().await?;
    server.stop()?;
    let hash = |chunks: &[Vec<Bytes>]| {
        let mut hash = Sha256::new();
        chunks.iter().flatten().for_each(|rgb| hash.update(rgb));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let id = &hello.session_id;
    for (name, expected) in [(id.clone(), hash(&before)), (format!("{id}-2"), hash(&[first.frames(), second.frames()]))]
    {
        let file = folder.join(format!("{name}.causeway"));
        let request = Request { file, out: None, until: None, existing: Existing::Keep, cancel: Cancel::default() };
        let told = replay(&Testcard::new(Duration::ZERO), request.read()?, &request)?.1;
        ensure!(told.contains(&expected), "{name}: {told} does not have {expected}");
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// C102
#[tokio::test]
async fn a_film_begins_again_with_a_key_frame_in_its_new_size() -> Result<()> {
    let server = testcard(Limits::default())?;
    let init = small().size(64, 48).format("h264").features(["reset", "step", "rewind"]);
    let mut client = server.session(init).await?;
    let keys = |chunk: &Chunk| chunk.batches[0].header.key_frames.clone();
    ensure!(keys(&step(&mut client, 0).await?) == Some(vec![0]));
    ensure!(keys(&step(&mut client, 1).await?) == Some(vec![]));
    client.send(Event::rewind(1)).await?;
    ensure!(keys(&step(&mut client, 1).await?) == Some(vec![0]), "after a way back, too");
    client.send(Event::reset([("size", "32x48".into())])).await?;
    let chunk = step(&mut client, 0).await?;
    let header = &chunk.batches[0].header;
    ensure!(keys(&chunk) == Some(vec![0]) && (header.width, header.height) == (32, 48), "{header:?}");
    client.close().await
}

/// C103
#[tokio::test]
async fn a_way_back_is_offered_where_states_are_kept() -> Result<()> {
    let offered = async |server: &Server| -> Result<bool> {
        let mut client = server.session(small().features(["ack", "rewind"])).await?;
        loop {
            match client.next().await? {
                Message::Begun(begun) => {
                    client.close().await?;
                    return Ok(begun.features.iter().any(|feature| feature == "rewind"));
                }
                Message::Closed(close) => bail!("{close:?}"),
                _ => {}
            }
        }
    };
    ensure!(offered(&testcard(Limits::default())?).await?);
    ensure!(!offered(&testcard(Limits { rewind_bytes: 0, ..Limits::default() })?).await?, "the operator wants none");
    let (server, _strings) = Server::with(Puppet::default())?;
    ensure!(!offered(&server).await?, "the world keeps none");
    Ok(())
}
