//! A server that has none of our features: it answers as SGLang diffusion 0.5.23's realtime endpoint does, flaws included.
//!
//! Clients are tried against it, so it shares no code with ours. What a client sees differently from our server: one session
//! at a time, errors without a code, no acknowledgement, ids that vanish, a mistake in `size` found in the first chunk, and a
//! connection that is dropped without a close frame after such a mistake. What it draws is flat: the red of a picture counts
//! the keys held, the green is the chunk's number, so that a client sees what it was drawn from.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::routing::any;
use rmpv::Value;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, sleep_until, timeout};

use crate::message::map;
use chunk::{Label, picture};
use controls::{Controls, script, tokens};

/// Latent frames of a chunk: those of LingBot World 1.
const CHUNK: usize = 3;
/// Video frames of a latent frame, but the first.
const FRAMES_PER_LATENT: usize = 4;
/// How long a chunk takes to draw. Short, so that tests are; longer than a round trip, so that events arrive meanwhile.
const CHUNK_MS: u64 = 20;
const SLOT_WAIT: Duration = Duration::from_secs(1);

mod chunk;
mod controls;

/// Serve until the future is dropped.
pub async fn serve(listener: tokio::net::TcpListener) -> Result<()> {
    let slot = Arc::new(Mutex::new(()));
    let upgrade = async |State(slot): State<Arc<Mutex<()>>>, upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async move |mut socket| {
            // An error here is a client that went away, or a session that the reference drops without a close frame.
            let _ = session(&mut socket, slot).await;
        })
    };
    let models = async || r#"{"object":"list","data":[{"id":"lingbot-world","object":"model"}]}"#;
    let app = Router::new()
        .route("/v1/realtime_video/generate", any(upgrade))
        .route("/v1/models", any(models))
        .with_state(slot);
    axum::serve(listener, app).await.context("serving")
}

/// A reference server on a free port of this machine, until it is dropped.
pub struct Reference {
    pub address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Reference {
    pub async fn start() -> Result<Reference> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move { drop(serve(listener).await) });
        Ok(Reference { address, task })
    }

    pub fn url(&self) -> String {
        format!("ws://{}/v1/realtime_video/generate", self.address)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn session(socket: &mut WebSocket, slot: Arc<Mutex<()>>) -> Result<()> {
    let session_id = uuid_like();
    let init = loop {
        match next_binary(socket).await? {
            Some(bytes) => match Init::read(&bytes) {
                Ok(init) => break init,
                Err(_) => say_error(socket, "invalid generate request").await?,
            },
            // A text frame.
            None => say_error(socket, "invalid generate request").await?,
        }
    };
    let Ok(_place): Result<OwnedMutexGuard<()>, _> = timeout(SLOT_WAIT, slot.lock_owned()).await else {
        say_error(socket, "another realtime session is already active").await?;
        return close(socket, 1008, "").await;
    };
    match generate(socket, &session_id, &init).await? {
        None => close(socket, 1000, "generation complete").await,
        Some(why) => say_error(socket, &format!("error during generate loop: {why}")).await,
    }
}

struct Init {
    size: String,
    fps: i64,
    paced: bool,
    max_chunks: Option<u64>,
    seed: i64,
    format: String,
    script: Vec<Value>,
}

impl Init {
    /// What the reference finds wrong before it begins.
    fn read(bytes: &[u8]) -> Result<Init> {
        let message = rmpv::decode::read_value(&mut &bytes[..])?;
        ensure!(message["type"].as_str() == Some("init"), "another type");
        ensure!(message["prompt"].is_str(), "a prompt is missing");
        let integer = |name: &str| lax_integer(&message[name]);
        let max_chunks = integer("max_chunks")?;
        ensure!(max_chunks.is_none_or(|chunks| chunks >= 1), "max_chunks");
        let format = match &message["realtime_output_format"] {
            Value::Nil => "raw".to_owned(),
            value => value.as_str().context("a format is text")?.to_owned(),
        };
        ensure!(["raw", "jpeg", "webp"].contains(&&*format), "realtime_output_format");
        ensure!(message["enhance_prompt"].as_bool() != Some(true), "enhance_prompt");
        match &message["first_frame"] {
            Value::Nil | Value::Binary(_) => {}
            Value::String(text) => {
                let text = text.as_str().unwrap_or_default();
                ensure!(text.starts_with("data:image") && text.contains(";base64,"), "first_frame");
            }
            _ => bail!("first_frame"),
        }
        let script = match &message["condition_inputs"]["camera_actions"] {
            Value::Nil => Vec::new(),
            value => script(value)?,
        };
        Ok(Init {
            size: message["size"].as_str().unwrap_or("832x480").to_owned(),
            fps: integer("fps")?.unwrap_or(16),
            paced: message["realtime_output_pacing"].as_bool().unwrap_or(false),
            max_chunks: max_chunks.map(|chunks| chunks as u64),
            seed: integer("seed")?.unwrap_or(42),
            format,
            script,
        })
    }

    /// What it finds wrong in the first chunk only.
    fn check(&self) -> Result<(usize, usize), String> {
        let size = self.size.to_lowercase().replace(' ', "");
        let sides = size.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
        let sides = sides.filter(|&(width, height): &(usize, usize)| width > 0 && height > 0);
        let (width, height) = sides.ok_or("400: size must be formatted as positive WIDTHxHEIGHT")?;
        if self.fps <= 0 {
            return Err(format!("400: fps must be a positive int, got {}", self.fps));
        }
        if self.seed < 0 {
            return Err("400: seed must be a non-negative int".to_owned());
        }
        Ok((width, height))
    }
}

/// As pydantic reads an integer that need not be one.
fn lax_integer(value: &Value) -> Result<Option<i64>> {
    Ok(match value {
        Value::Nil => None,
        Value::Boolean(flag) => Some(i64::from(*flag)),
        Value::F32(_) | Value::F64(_) => {
            let number = value.as_f64().context("a number")?;
            ensure!(number.fract() == 0.0, "a fraction");
            Some(number as i64)
        }
        Value::String(text) => Some(text.as_str().context("text")?.parse()?),
        other => Some(other.as_i64().context("not an integer")?),
    })
}

/// Draws until all chunks are sent (`None`) or something is wrong (`Some`).
async fn generate(socket: &mut WebSocket, session_id: &str, init: &Init) -> Result<Option<String>> {
    let (width, height) = match init.check() {
        Ok(size) => size,
        Err(why) => return Ok(Some(why)),
    };
    let mut controls = Controls::default();
    controls.script = init.script.iter().map(|item| (tokens(item), None)).collect();
    controls.armed = !controls.script.is_empty();
    let (mut due, mut paced_event) = (Instant::now(), None);
    for chunk in 0.. {
        if init.max_chunks.is_some_and(|max| chunk >= max) {
            break;
        }
        let began = Instant::now();
        let sampled = controls.sample(chunk == 0);
        let event_id = controls.event_id;
        listen_until(socket, &mut controls, began + Duration::from_millis(CHUNK_MS)).await?;
        let forward = began.elapsed();
        let latents = sampled.unwrap_or_else(|| vec![Vec::new(); CHUNK]);
        let frames: Vec<Vec<u8>> = latents
            .iter()
            .enumerate()
            .flat_map(|(latent, keys)| {
                let count = if chunk == 0 && latent == 0 { 1 } else { FRAMES_PER_LATENT };
                vec![picture(width, height, keys.len(), chunk, &init.format); count]
            })
            .collect();
        let now = Instant::now();
        if init.paced {
            if event_id.is_some() && event_id != paced_event {
                (due, paced_event) = (due.min(now), event_id);
            }
            let at = due.max(now);
            listen_until(socket, &mut controls, at).await?;
            due = at + Duration::from_secs_f64(frames.len() as f64 / init.fps as f64);
        }
        let wait = now.elapsed();
        let label = Label { session_id, chunk, event_id, width, height, format: &init.format };
        let sent = label.send(socket, &frames).await?;
        let stats = label.stats(&sent, frames.len(), forward, wait, began.elapsed());
        send(socket, &stats).await?;
    }
    Ok(None)
}

/// Hear events until then. A text frame ends the session without a word, as in the reference.
async fn listen_until(socket: &mut WebSocket, controls: &mut Controls, then: Instant) -> Result<()> {
    loop {
        tokio::select! {
            () = sleep_until(then) => return Ok(()),
            came = next_binary(socket) => {
                let bytes = came?.context("a text frame")?;
                if controls.event(&bytes).is_err() {
                    say_error(socket, "invalid event").await?;
                }
            }
        }
    }
}

/// The next binary message; `None` for text. A client that closes is an error: the session is over.
async fn next_binary(socket: &mut WebSocket) -> Result<Option<axum::body::Bytes>> {
    loop {
        match socket.recv().await.context("the client went away")?? {
            Message::Binary(bytes) => return Ok(Some(bytes)),
            Message::Text(_) => return Ok(None),
            Message::Close(_) => bail!("the client closed"),
            Message::Ping(_) | Message::Pong(_) => {}
        }
    }
}

async fn send(socket: &mut WebSocket, message: &Value) -> Result<usize> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, message)?;
    let length = bytes.len();
    socket.send(Message::Binary(bytes.into())).await?;
    Ok(length)
}

async fn say_error(socket: &mut WebSocket, content: &str) -> Result<()> {
    send(socket, &map([("type", "error".into()), ("content", content.into())])).await.map(drop)
}

async fn close(socket: &mut WebSocket, code: u16, reason: &str) -> Result<()> {
    socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
    // The client's answer, so that the last frames are not lost with the connection.
    while let Some(Ok(_)) = socket.recv().await {}
    Ok(())
}

/// 32 hexadecimal digits that no other call gave.
fn uuid_like() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static MADE: AtomicU64 = AtomicU64::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}{number:016x}", std::process::id())
}
