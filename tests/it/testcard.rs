//! The whole way and back: keys go in at a socket, and the pictures that come out show which keys were held.
//!
//! With the test card for a world, which writes into each picture what it was drawn with, legibly for people and, in a strip
//! that survives an encoder, for [`read`].

use anyhow::{Context, Result, ensure};
use pipeline::testcard::{Reading, Testcard, prompt_hash, read};
use pipeline::world::{Held, Picture, Size};
use server::Limits;
use std::time::Duration;
use tests::Server;
use tests::client::Chunk;
use tests::message::{Event, Init};

const SIZE: Size = Size { width: 416, height: 240 };

fn start(chunk_time: Duration) -> Result<Server> {
    Server::start(Box::new(move || Ok(Box::new(Testcard::new(chunk_time)))), Limits::default())
}

fn card(format: &str) -> Init {
    Init::new("a meadow").size(SIZE.width, SIZE.height).format(format)
}

/// What each picture of a chunk says, however it came.
fn readings(chunk: &Chunk) -> Result<Vec<Reading>> {
    let raw = chunk.stats.content_type == "application/x-raw-rgb";
    let picture = |frame: &[u8]| -> Result<Picture> {
        let rgb = if raw { frame.to_vec() } else { image::load_from_memory(frame)?.into_rgb8().into_raw() };
        Ok(Picture { size: SIZE, rgb })
    };
    chunk.frames().iter().map(|frame| read(&picture(frame)?).context("a picture that says nothing")).collect()
}

#[tokio::test]
async fn every_picture_says_its_place_in_the_video_in_every_format() -> Result<()> {
    let server = start(Duration::ZERO)?;
    for format in ["raw", "jpeg", "webp"] {
        let mut client = server.session(card(format)).await?;
        let mut frame = 0;
        for chunk in 0..3 {
            for reading in readings(&client.chunk().await?)? {
                ensure!((reading.chunk, reading.frame) == (chunk, frame), "{format}: {reading:?}");
                ensure!(reading.latent_frame == frame.div_ceil(4), "{format}: {reading:?}");
                ensure!(reading.held.is_none() && reading.prompt_hash == prompt_hash("a meadow"));
                frame += 1;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_pictures_show_the_keys_and_the_prompt_from_the_chunk_that_carries_their_id() -> Result<()> {
    let server = start(Duration::from_millis(20))?;
    let mut client = server.session(card("jpeg")).await?;
    client.chunk().await?;
    client.send(Event::composite([Event::hold("wl"), Event::prompt("rain")]).id(5)).await?;
    let mut seen = 0;
    while seen < 3 {
        let chunk = client.chunk().await?;
        ensure!(chunk.stats.chunk_index < 20, "the event never took effect");
        let applied = chunk.stats.event_id == Some(5);
        seen += usize::from(applied);
        for reading in readings(&chunk)? {
            let held = applied.then(|| Held::from_tokens(["w", "l"]));
            ensure!(reading.held == held, "chunk {}: {reading:?}", chunk.stats.chunk_index);
            ensure!(reading.prompt_hash == prompt_hash(if applied { "rain" } else { "a meadow" }));
        }
    }
    Ok(())
}

#[tokio::test]
async fn two_players_do_not_see_each_others_keys() -> Result<()> {
    let server = start(Duration::from_millis(10))?;
    let mut players = Vec::new();
    for (keys, format) in [("w", "raw"), ("d", "jpeg")] {
        let mut client = server.session(card(format)).await?;
        client.send(Event::hold(keys).id(1)).await?;
        players.push((client, Held::from_tokens([keys])));
    }
    for _ in 0..6 {
        for (client, keys) in &mut players {
            let chunk = client.chunk().await?;
            let steered = chunk.stats.event_id == Some(1);
            ensure!(steered || chunk.stats.chunk_index < 3, "the key never took effect");
            for reading in readings(&chunk)? {
                ensure!(reading.held == steered.then_some(*keys), "{reading:?}");
            }
        }
    }
    Ok(())
}

/// An [`Init`] and the chunks' inputs are a recording: the same ones give the same bytes.
#[tokio::test]
async fn the_same_session_twice_gives_the_same_bytes() -> Result<()> {
    let server = start(Duration::ZERO)?;
    let mut takes = Vec::new();
    for _ in 0..2 {
        let script = tests::message::script(["w", "w", "wl", "l", "", "s"]);
        let inputs = tests::message::map([("camera_actions", script)]);
        let mut client = server.session(card("raw").set("condition_inputs", inputs).max_chunks(3)).await?;
        let mut frames = Vec::new();
        for _ in 0..3 {
            frames.extend(client.chunk().await?.frames());
        }
        takes.push(frames);
    }
    ensure!(takes[0] == takes[1] && takes[0].len() == 33, "{} and {} frames", takes[0].len(), takes[1].len());
    Ok(())
}
