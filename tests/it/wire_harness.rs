//! The reference's own test harness as a client: strict about types, content with little else.
//!
//! It does what that harness does and does not use [`Client`](tests::client::Client), which knows more. So it is a second
//! opinion: raw frames only, every number an integer, and any error or unknown message is the end.

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use pipeline::testcard::{Testcard, prompt_hash, read};
use pipeline::world::{Held, Picture, Size};
use rmpv::Value;
use server::Limits;
use std::collections::BTreeSet;
use std::time::Duration;
use tests::Server;
use tests::message::{Event, Init, map, script};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const PATIENCE: Duration = Duration::from_secs(60);

struct Collected {
    frames: Vec<Picture>,
    /// As they came.
    stats: Vec<Value>,
}

/// Frames and statistics of so many chunks. An event goes out after the last frames of its chunk; after chunk -1: at once.
async fn collect(url: &str, init: Init, events: Vec<(i64, Event)>, chunks: usize) -> Result<Collected> {
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let (mut socket, _) = connect_async_with_config(url, Some(config), false).await?;
    send(&mut socket, init.into()).await?;
    let mut events = events;
    let mut collected = Collected { frames: Vec::new(), stats: Vec::new() };
    let mut received = BTreeSet::new();
    send_those_after(&mut socket, &mut events, -1).await?;
    while received.len() < chunks || collected.stats.len() < received.len() {
        let message = rmpv::decode::read_value(&mut &binary(&mut socket).await?[..])?;
        let payload = match text(&message, "type")? {
            "chunk_stats" => {
                collected.stats.push(message);
                continue;
            }
            "frame_batch" => match field(&message, "payload")? {
                Value::Binary(payload) => payload.clone(),
                other => bail!("a payload that is {other}"),
            },
            "frame_batch_header" => binary(&mut socket).await?,
            "error" => bail!("generation failed: {}", text(&message, "content")?),
            other => bail!("an unexpected message of type {other:?}"),
        };
        collected.frames.extend(frames(&message, &payload)?);
        if field(&message, "is_final_frame_batch")? == &Value::Boolean(true) {
            let chunk = integer(&message, "chunk_index")?;
            received.insert(chunk);
            send_those_after(&mut socket, &mut events, i64::try_from(chunk)?).await?;
        }
    }
    Ok(collected)
}

fn frames(header: &Value, payload: &[u8]) -> Result<Vec<Picture>> {
    let format = text(header, "content_type")?;
    ensure!(format == "application/x-raw-rgb", "content type {format:?}");
    let [width, height, channels, count, bytes] =
        ["width", "height", "channels", "num_frames", "bytes_per_frame"].map(|key| integer(header, key));
    let (size, bytes) = (Size { width: width? as u32, height: height? as u32 }, bytes?);
    ensure!(bytes == size.pixels() * channels?, "{bytes} bytes a frame of {size}");
    ensure!(payload.len() as u64 == count? * bytes, "a payload of {} bytes", payload.len());
    Ok(payload.chunks(bytes as usize).map(|rgb| Picture { size, rgb: rgb.to_vec() }).collect())
}

async fn send_those_after(socket: &mut Socket, events: &mut Vec<(i64, Event)>, chunk: i64) -> Result<()> {
    for (_, event) in events.extract_if(.., |(after, _)| *after == chunk) {
        send(socket, event.into()).await?;
    }
    Ok(())
}

async fn send(socket: &mut Socket, message: Value) -> Result<()> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &message)?;
    Ok(tokio::time::timeout(PATIENCE, socket.send(Message::Binary(bytes.into()))).await??)
}

async fn binary(socket: &mut Socket) -> Result<Vec<u8>> {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.context("nothing came")?;
        match message.context("the connection ended")?? {
            Message::Binary(bytes) => return Ok(bytes.into()),
            Message::Ping(_) | Message::Pong(_) => {}
            other => bail!("{other:?} where a message is due"),
        }
    }
}

fn field<'a>(message: &'a Value, key: &str) -> Result<&'a Value> {
    let entries = message.as_map().context("not a map")?;
    let found = entries.iter().find(|(name, _)| name.as_str() == Some(key));
    found.map(|(_, value)| value).with_context(|| format!("no {key} in {message}"))
}

fn text<'a>(message: &'a Value, key: &str) -> Result<&'a str> {
    field(message, key)?.as_str().with_context(|| format!("{key} is not text in {message}"))
}

/// A float, a boolean or a string of digits is none.
fn integer(message: &Value, key: &str) -> Result<u64> {
    field(message, key)?.as_u64().with_context(|| format!("{key} is not an integer in {message}"))
}

/// C76. The reference's own case: this size, these numbers, twelve scripted latent frames, four chunks. It gives its picture
/// by an address, which is C24.
#[tokio::test]
async fn the_harness_of_the_reference_collects_forty_five_frames_and_the_statistics_of_four_chunks() -> Result<()> {
    let load: server::LoadWorld = Box::new(|| Ok(Box::new(Testcard::new(Duration::ZERO))));
    let server = Server::start(load, Limits::default())?;
    let mut picture = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(64, 64).write_to(&mut picture, image::ImageFormat::Jpeg)?;
    let walk = [["w"; 6], [""; 6]].concat();
    let init = Init::new("a beach of plastic")
        .set("model", "a model")
        .size(832, 480)
        .set("seconds", 4)
        .first_frame(picture.get_ref())
        .set("fps", 16)
        .set("num_frames", 9)
        .seed(42)
        .set("num_inference_steps", 4)
        .set("guidance_scale", 1.0)
        .set("realtime_causal_sink_size", 9)
        .set("realtime_causal_kv_cache_num_frames", 18)
        .set("condition_inputs", map([("camera_actions", script(walk))]));
    let events = vec![(-1, Event::prompt("rain").id(1)), (0, Event::prompt("snow").id(2))];
    let Collected { frames, stats } = collect(&server.url(), init, events, 4).await?;

    ensure!(frames.len() == 45, "{} frames", frames.len());
    for (index, picture) in frames.iter().enumerate() {
        let reading = read(picture).with_context(|| format!("frame {index} says nothing"))?;
        // Six latent frames of walking: the first is one frame, every other four.
        let held = if index < 21 { Held::default().with('w') } else { Held::default() };
        ensure!((reading.frame, reading.held) == (index, Some(held)), "frame {index}: {reading:?}");
    }
    let last = read(&frames[44]).context("the last frame")?;
    ensure!(last.prompt_hash == prompt_hash("snow"), "the event after chunk 0 never took effect");

    let mut requests = BTreeSet::new();
    for (index, stats) in stats.iter().enumerate() {
        let frames = if index == 0 { 9 } else { 12 };
        ensure!(integer(stats, "chunk_index")? == index as u64 && integer(stats, "num_frames")? == frames, "{stats}");
        ensure!(integer(stats, "raw_bytes")? == frames * 832 * 480 * 3, "{stats}");
        // The largest that the reference's own case lets pass.
        ensure!(integer(stats, "ws_payload_bytes")? <= 16 << 20, "{stats}");
        ensure!(text(stats, "content_type")? == "application/x-raw-rgb", "{stats}");
        requests.insert(text(stats, "request_id")?);
        for key in ["request_prepare", "scheduler_forward", "raw_payload_build", "raw_write", "ws_write", "chunk_total"]
        {
            integer(stats, &format!("{key}_ms"))?;
        }
    }
    ensure!(stats.len() == 4 && requests.len() == 4, "{} statistics, {} requests", stats.len(), requests.len());
    Ok(())
}
