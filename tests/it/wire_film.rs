//! Film on the wire: H.264, one access unit a frame (C83).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use openh264::decoder::Decoder;
use pipeline::testcard::{Reading, Testcard, read};
use pipeline::world::Size;
use server::Limits;
use tests::client::{Chunk, Client};
use tests::message::{Event, Init, resume};
use tests::{Server, mp4, refusal, small};

const SIZE: Size = Size { width: 416, height: 240 };

fn start() -> Result<Server> {
    Server::start(Box::new(|| Ok(Box::new(Testcard::new(Duration::from_millis(5))))), Limits::default())
}

fn film() -> Init {
    Init::new("a meadow").size(SIZE.width, SIZE.height).format("h264").features(["session", "key_frame"])
}

/// The frames of a chunk at which decoding can begin.
fn key_frames(chunk: &Chunk) -> Vec<usize> {
    let mut before = 0;
    let mut keys = Vec::new();
    for batch in &chunk.batches {
        keys.extend(batch.header.key_frames.iter().flatten().map(|key| before + key));
        before += batch.header.num_frames;
    }
    keys
}

/// What a player sees.
struct Player(Decoder);

impl Player {
    fn new() -> Result<Player> {
        Ok(Player(Decoder::new()?))
    }

    fn see(&mut self, frames: &[Bytes]) -> Result<Vec<Reading>> {
        let see = |unit: &Bytes| {
            let decoded = self.0.decode(unit)?.context("one access unit is one frame")?;
            read(&mp4::rgb(&decoded, SIZE)).context("a picture that says nothing")
        };
        frames.iter().map(see).collect()
    }
}

async fn begin(server: &Server) -> Result<(Client, String)> {
    let mut client = server.session(film()).await?;
    let token = client.hello().await?.resume_token;
    Ok((client, token))
}

/// C83
#[tokio::test]
async fn a_film_is_one_access_unit_a_frame_with_a_key_frame_at_its_start_and_every_two_seconds() -> Result<()> {
    let server = start()?;
    let (mut client, _) = begin(&server).await?;
    let mut player = Player::new()?;
    let (mut frame, mut keys) = (0, Vec::new());
    // The test card has 16 frames a second.
    while frame < 70 {
        let chunk = client.chunk().await?;
        keys.extend(key_frames(&chunk).into_iter().map(|key| frame + key));
        for reading in player.see(&chunk.frames())? {
            ensure!(reading.frame == frame, "frame {frame} shows {}", reading.frame);
            frame += 1;
        }
    }
    ensure!(keys == [0, 32, 64], "{keys:?}");
    Ok(())
}

#[tokio::test]
async fn a_key_frame_comes_when_it_is_asked_for() -> Result<()> {
    let server = start()?;
    let mut client = server.session(film().features(["session", "key_frame", "step"])).await?;
    client.hello().await?;
    let mut keys = Vec::new();
    for chunk in 0..4 {
        if chunk == 2 {
            client.send(Event::key_frame()).await?;
        }
        client.send(Event::step()).await?;
        keys.push(key_frames(&client.chunk().await?));
    }
    ensure!(keys == [vec![0], vec![], vec![0], vec![]], "{keys:?}");
    Ok(())
}

/// Its decoder may have gone with its line.
#[tokio::test]
async fn a_client_that_comes_back_can_decode_what_is_drawn_from_then_on() -> Result<()> {
    let server = start()?;
    let init = film().features(["session", "step"]);
    let mut client = server.session(init).await?;
    let token = client.hello().await?.resume_token;
    let mut last = 0;
    for _ in 0..2 {
        client.send(Event::step()).await?;
        last = client.chunk().await?.stats.chunk_index;
    }
    drop(client);
    let mut client = server.connect().await?;
    client.send(resume(&token, Some(last))).await?;
    client.hello().await?;
    client.send(Event::step()).await?;
    let chunk = client.chunk().await?;
    ensure!(key_frames(&chunk) == [0], "{:?}", key_frames(&chunk));
    let seen = Player::new()?.see(&chunk.frames())?;
    ensure!(seen[0].chunk == last as usize + 1, "{:?}", seen[0]);
    Ok(())
}

#[tokio::test]
async fn a_film_has_even_sides_and_one_that_is_scaled_down_too() -> Result<()> {
    let server = start()?;
    let mut client = server.connect().await?;
    client.send(small().size(33, 32).format("h264")).await?;
    let refused = refusal(&mut client).await?;
    ensure!(refused.to_string().contains("both sides must be even"), "{refused:?}");
    let mut client = server.session(film().set("realtime_preview_max_width", 201)).await?;
    client.hello().await?;
    let header = client.chunk().await?.batches[0].header.clone();
    ensure!((header.width, header.height) == (200, 116), "{}x{}", header.width, header.height);
    ensure!((header.source_width, header.source_height) == (Some(SIZE.width), Some(SIZE.height)));
    Ok(())
}
