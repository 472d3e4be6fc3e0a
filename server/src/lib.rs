//! Sessions, the realtime wire, and the one thread that owns the device.
//!
//! [`serve`] is the whole server: it listens at once, says that it is loading until the world is there, and returns when it
//! is told to stop, when the world cannot be loaded, or when the engine has come to an end it should not have.

pub mod action_script;
pub mod animation;
pub mod config;
pub mod engine;
mod http;
pub mod images;
pub mod offline;
pub mod pocket;
pub mod realtime;
pub mod scheduler;
#[cfg(test)]
mod smoke;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use axum::serve::ListenerExt;
use dashmap::DashMap;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::{debug, info};

pub use http::bounded_websocket;

use engine::Engine;
use realtime::init::Terms;
use realtime::protocol::Sums;

/// Called on the engine's thread.
pub type LoadWorld = Box<dyn FnOnce() -> anyhow::Result<Box<dyn pipeline::world::World>> + Send>;

/// What an operator bounds. What need not be chosen is a constant beside its reason.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Sessions that run at once.
    pub sessions: usize,
    /// For all rollouts together.
    pub memory_bytes: u64,
    /// How long a session waits for a place before it is told that there is none.
    pub busy_wait: Duration,
    /// A client that has not taken a message after this long is dropped.
    pub write_deadline: Duration,
    /// Sockets, running or not.
    pub connections: usize,
    /// The longest message a client may send: a large photograph and a prompt.
    pub message_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            sessions: 4,
            memory_bytes: 8 << 30,
            busy_wait: Duration::from_secs(1),
            write_deadline: Duration::from_secs(10),
            connections: 2048,
            message_bytes: 32 << 20,
        }
    }
}

/// How long sessions may take to say goodbye when the server stops.
pub const SHUTDOWN: Duration = Duration::from_secs(5);

/// What every request can reach.
#[derive(Clone)]
struct App {
    engine: Engine,
    limits: Arc<Limits>,
    seats: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    /// The running sessions, for whoever looks in from outside. Plain data: no rollout lives here.
    directory: Arc<DashMap<String, SessionInfo>>,
    stop: watch::Receiver<bool>,
    /// Held by every connection: when the last is dropped, all have said goodbye.
    _present: mpsc::Sender<()>,
}

#[derive(Debug, Clone, Serialize)]
struct SessionInfo {
    started_unix: u64,
    size: String,
    format: &'static str,
    fps: u32,
    paced: bool,
    chunks: u64,
    frames: u64,
    sent_bytes: u64,
}

impl SessionInfo {
    fn new(output: &images::Output, terms: &Terms) -> SessionInfo {
        SessionInfo {
            started_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            size: output.source().to_string(),
            format: output.format().name(),
            fps: terms.fps,
            paced: terms.paced,
            chunks: 0,
            frames: 0,
            sent_bytes: 0,
        }
    }
}

/// Takes a session off the list when it ends, however it ends.
struct Listed<'a> {
    directory: &'a DashMap<String, SessionInfo>,
    id: &'a str,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.directory.remove(self.id);
    }
}

impl App {
    fn list<'a>(&'a self, id: &'a str, info: SessionInfo) -> Listed<'a> {
        self.directory.insert(id.to_owned(), info);
        Listed { directory: &self.directory, id }
    }

    fn count(&self, id: &str, sums: &Sums) {
        if let Some(mut info) = self.directory.get_mut(id) {
            info.chunks += 1;
            info.frames += sums.frames as u64;
            info.sent_bytes += sums.socket_bytes;
        }
    }
}

pub async fn serve(
    listener: TcpListener,
    load: LoadWorld,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let (engine, mut thread) = Engine::start(load, limits.memory_bytes, limits.sessions)?;
    let loaded = engine.card.clone();
    let (say_stop, stop) = watch::channel(false);
    let (present, mut all_left) = mpsc::channel(1);
    let app = App {
        engine,
        seats: Arc::new(Semaphore::new(limits.sessions)),
        connections: Arc::new(Semaphore::new(limits.connections)),
        limits: Arc::new(limits),
        directory: Arc::default(),
        stop: stop.clone(),
        _present: present,
    };
    // A frame must not wait for the next to fill a packet.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "TCP_NODELAY");
        }
    });
    let mut told = stop;
    let stopped = async move {
        let _ = told.wait_for(|&stop| stop).await;
    };
    let mut http = tokio::spawn(axum::serve(listener, http::router(app)).with_graceful_shutdown(stopped).into_future());

    let ended_early = tokio::select! {
        () = shutdown => false,
        () = thread.ended() => true,
        served = &mut http => {
            served.context("the listener's task")?.context("listening")?;
            anyhow::bail!("the listener ended");
        }
    };
    info!("stopping");
    say_stop.send_replace(true);
    let goodbyes = async {
        let _ = (&mut http).await;
        let _ = all_left.recv().await;
    };
    let _ = tokio::time::timeout(SHUTDOWN, goodbyes).await;
    // Ends what has not: with it go the last senders of commands, and so the engine.
    http.abort();
    // Reading weights cannot be interrupted; a process that ends need not wait for it.
    if ended_early || loaded.borrow().is_some() {
        let joined = tokio::task::spawn_blocking(|| thread.join());
        match tokio::time::timeout(SHUTDOWN, joined).await {
            Ok(joined) => joined.context("waiting for the engine")??,
            Err(_elapsed) => anyhow::bail!("the engine did not stop within {SHUTDOWN:?}"),
        }
        anyhow::ensure!(!ended_early, "the engine stopped");
    }
    Ok(())
}
