//! Sessions, the realtime wire, and the one thread that owns the device.
//!
//! [`serve`] is the whole server: it listens at once, says that it is loading until the world is there, and returns when it
//! is told to stop, when the world cannot be loaded, or when the engine has come to an end it should not have.

mod accept;
pub mod access;
pub mod action_script;
pub mod animation;
pub mod config;
pub mod engine;
pub mod fetch;
mod http;
pub mod images;
pub mod metrics;
mod observe;
pub mod offline;
pub mod pocket;
pub mod realtime;
pub mod scheduler;
#[cfg(test)]
mod smoke;
mod status;
pub mod trace;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::info;

pub use http::bounded_websocket;

use access::door::Door;
use engine::Engine;
use fetch::Fetcher;
use observe::Observer;
use trace::Trace;

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
    /// How long a connection may take to send a request's line and headers, and may idle between two requests.
    pub header_timeout: Duration,
    /// WebSockets, running or not; a few more connections may be open that are none.
    pub connections: usize,
    /// Connections of any kind from one address.
    pub connections_per_address: usize,
    /// The longest message a client may send: a large photograph and a prompt.
    pub message_bytes: usize,
    /// Where to write what every stage did when; it has a bound of its own.
    pub trace_file: Option<PathBuf>,
    /// Who may enter.
    pub access: access::Policy,
    /// Where first frames may be fetched from.
    pub fetch: fetch::rules::Rules,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            sessions: 4,
            memory_bytes: 8 << 30,
            busy_wait: Duration::from_secs(1),
            write_deadline: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            connections: 2048,
            connections_per_address: 256,
            message_bytes: 32 << 20,
            trace_file: None,
            access: access::Policy::default(),
            fetch: fetch::rules::Rules::default(),
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
    observer: Arc<Observer>,
    door: Arc<Door>,
    fetcher: Arc<Fetcher>,
    stop: watch::Receiver<bool>,
    /// Held by every connection: when the last is dropped, all have said goodbye.
    _present: mpsc::Sender<()>,
}

impl App {
    fn connections_open(&self) -> usize {
        self.limits.connections.saturating_sub(self.connections.available_permits())
    }
}

pub async fn serve(
    listener: TcpListener,
    load: LoadWorld,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    // Dropped last, and with it ends the file.
    let (trace, _trace_writer) = limits.trace_file.as_deref().map(Trace::create).transpose()?.unzip();
    let observer = Arc::new(Observer::new(trace));
    let (engine, mut thread) = Engine::start(load, limits.memory_bytes, limits.sessions, Arc::clone(&observer))?;
    let loaded = engine.card.clone();
    let (say_stop, stop) = watch::channel(false);
    let (present, mut all_left) = mpsc::channel(1);
    let app = App {
        engine,
        seats: Arc::new(Semaphore::new(limits.sessions)),
        connections: Arc::new(Semaphore::new(limits.connections)),
        door: Arc::new(Door::new(limits.access.clone(), limits.connections_per_address, Instant::now())?),
        fetcher: Arc::new(Fetcher::new(limits.fetch.clone(), limits.message_bytes)?),
        limits: Arc::new(limits),
        observer,
        stop: stop.clone(),
        _present: present,
    };
    let gate = accept::Gate::of(&app);
    let mut http = tokio::spawn(accept::serve(listener, http::router(app), gate, stop));

    let ended_early = tokio::select! {
        () = shutdown => false,
        () = thread.ended() => true,
        served = &mut http => {
            served.context("the listener's task")?;
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
