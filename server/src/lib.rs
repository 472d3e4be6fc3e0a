//! Sessions, the realtime wire, and the one thread that owns the device.
//!
//! [`serve`] is the whole server: it listens at once, says that it is loading until the world is there, and returns when it
//! is told to stop, when the world cannot be loaded, or when the engine has come to an end it should not have.

mod accept;
pub mod access;
pub mod action_script;
pub mod admission;
pub mod animation;
pub mod config;
pub mod engine;
pub mod fetch;
mod http;
pub mod images;
pub mod metrics;
mod observe;
pub mod offline;
#[cfg(feature = "otlp")]
pub mod otlp;
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
use admission::Bounds;
use admission::queue::Queue;
use engine::Engine;
use fetch::Fetcher;
use observe::Observer;
use realtime::resume::Resumable;
use realtime::session::Stay;
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
    /// Share of the device's time that paced sessions may need together.
    pub load: f64,
    /// Sessions that wait for a place.
    pub queue: usize,
    /// How long one of them waits before it is told that there is none: a client that hears of its position, and one that
    /// does not know that there is a queue.
    pub queue_wait: Duration,
    pub busy_wait: Duration,
    /// A client that has not taken a message after this long is dropped.
    pub write_deadline: Duration,
    /// How often a client is asked for a sign of life, and how long it may take to give one.
    pub ping_every: Duration,
    pub pong_within: Duration,
    /// How long a connection may take to send a request's line and headers, and may idle between two requests.
    pub header_timeout: Duration,
    /// WebSockets, running or not; a few more connections may be open that are none.
    pub connections: usize,
    /// Connections of any kind from one address.
    pub connections_per_address: usize,
    /// The longest message a client may send: a large photograph and a prompt.
    pub message_bytes: usize,
    /// How long a session may last, and wait for a client that was lost.
    pub stay: Stay,
    /// What is kept of a session's last chunks for a client that comes back.
    pub replay_bytes: usize,
    /// How long sessions may take to finish what they began when the server is to stop.
    pub drain: Duration,
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
            load: 0.9,
            queue: 16,
            queue_wait: Duration::from_secs(60),
            busy_wait: Duration::from_secs(1),
            write_deadline: Duration::from_secs(10),
            // As the reference has them.
            ping_every: Duration::from_secs(20),
            pong_within: Duration::from_secs(20),
            header_timeout: Duration::from_secs(10),
            connections: 2048,
            connections_per_address: 256,
            message_bytes: 32 << 20,
            stay: Stay {
                idle: Some(Duration::from_secs(15 * 60)),
                lifetime: Some(Duration::from_secs(24 * 3600)),
                grace: Duration::from_secs(30),
            },
            replay_bytes: 64 << 20,
            drain: Duration::from_secs(20),
            trace_file: None,
            access: access::Policy::default(),
            fetch: fetch::rules::Rules::default(),
        }
    }
}

impl Limits {
    fn bounds(&self) -> Bounds {
        Bounds { sessions: self.sessions, memory_bytes: self.memory_bytes, load: self.load, queue: self.queue }
    }
}

/// How long goodbyes and the engine's last chunk may take.
pub const SHUTDOWN: Duration = Duration::from_secs(5);

/// A server's life. It only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Serving,
    /// Nobody new; who is here finishes the chunks that were begun.
    Draining,
    /// Whatever is still going on is cut short.
    Stopping,
}

impl Phase {
    pub(crate) async fn reached(self, phase: &mut watch::Receiver<Phase>) {
        // An error says that the server is gone: that is an end too.
        let _ = phase.wait_for(|&phase| phase >= self).await;
    }
}

/// What every request can reach.
#[derive(Clone)]
struct App {
    engine: Engine,
    limits: Arc<Limits>,
    queue: Arc<Queue>,
    connections: Arc<Semaphore>,
    observer: Arc<Observer>,
    door: Arc<Door>,
    resumable: Arc<Resumable>,
    phase: watch::Receiver<Phase>,
    /// Every socket holds what this gives: when the last is dropped, all have said goodbye.
    present: mpsc::WeakSender<()>,
    fetcher: Arc<Fetcher>,
}

impl App {
    fn connections_open(&self) -> usize {
        self.limits.connections.saturating_sub(self.connections.available_permits())
    }
}

/// `phase` says when to drain, and when to stop even if that is not done: the server does so itself after its time.
pub async fn serve(
    listener: TcpListener,
    load: LoadWorld,
    limits: Limits,
    mut phase: watch::Receiver<Phase>,
) -> anyhow::Result<()> {
    // Dropped last, and with it ends the file.
    let (trace, _trace_writer) = limits.trace_file.as_deref().map(Trace::create).transpose()?.unzip();
    let observer = Arc::new(Observer::new(trace));
    let queue = Queue::new(limits.bounds());
    let (engine, mut thread) = Engine::start(load, Arc::clone(&queue), limits.sessions, Arc::clone(&observer))?;
    let loaded = engine.card.clone();
    let (say, phase_said) = watch::channel(Phase::Serving);
    let (present, mut all_left) = mpsc::channel(1);
    let drain = limits.drain;
    let app = App {
        engine,
        queue,
        connections: Arc::new(Semaphore::new(limits.connections)),
        door: Arc::new(Door::new(limits.access.clone(), limits.connections_per_address, Instant::now())?),
        fetcher: Arc::new(Fetcher::new(limits.fetch.clone(), limits.message_bytes)?),
        limits: Arc::new(limits),
        observer,
        resumable: Arc::default(),
        phase: phase_said.clone(),
        present: present.downgrade(),
    };
    let gate = accept::Gate::of(&app);
    let mut http = tokio::spawn(accept::serve(listener, http::router(app), gate, phase_said));

    let ended_early = tokio::select! {
        () = Phase::Draining.reached(&mut phase) => false,
        () = thread.ended() => true,
        served = &mut http => {
            served.context("the listener's task")?;
            anyhow::bail!("the listener ended");
        }
    };
    drop(present);
    if !ended_early {
        info!(within = ?drain, "draining");
        say.send_replace(Phase::Draining);
        tokio::select! {
            _ = all_left.recv() => {}
            () = Phase::Stopping.reached(&mut phase) => info!("told to stop now"),
            () = tokio::time::sleep(drain) => info!("the time for draining is over"),
            // Nobody is drawn anything any more.
            () = thread.ended() => {}
        }
    }
    info!("stopping");
    say.send_replace(Phase::Stopping);
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
