//! Sessions, the realtime wire, and the one thread that owns the device.
//!
//! [`serve`] is the whole server: it listens at once, says that it is loading until the world is there, and returns
//! when it is told to stop, when the world cannot be loaded, or when the engine ended unexpectedly.

#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod access;
pub mod admission;
pub mod browser;
pub mod cluster;
pub mod config;
pub mod engine;
pub mod fetch;
pub mod guardrails;
mod http;
pub mod media;
pub mod moving;
pub mod observe;
pub mod offline;
pub mod openai;
mod phase;
pub mod pocket;
mod post;
pub mod rate;
pub mod realtime;
pub mod recordings;
pub mod say;
#[cfg(test)]
mod scratch;
pub mod service;
pub mod whole_file;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::info;

pub use config::limits::{JobLimits, Limits};
pub use engine::offer::Offer;
pub use engine::thread::LoadWorld;
pub use http::routes::bounded_websocket;
pub use phase::Phase;

use access::door::Door;
use access::http::Entrance;
use access::inbound::Inbound;
use access::listener::{self, Gate};
use access::rules::denied::REASONS;
use admission::queue::Queue;
use cluster::leaving::Leaving;
use cluster::node::Cluster;
use engine::thread::Engine;
use fetch::Fetcher;
use http::app::App;
use media::picture_reader::PictureReader;
use moving::Nodes;
use observe::Observer;
use observe::trace::Trace;
use openai::state::OpenAi;
use realtime::link::Realtime;
use realtime::link::audience::Audiences;

/// Longest time for closing sockets and for the engine's last chunk.
pub const SHUTDOWN: Duration = Duration::from_secs(5);

/// Sessions of another server that are read and opened at once; others wait for their turn.
const ARRIVALS_AT_ONCE: usize = 4;

/// `phase` says when to drain, and when to stop before draining is done. The server stops by itself after its time for
/// draining.
pub async fn serve(
    listener: TcpListener,
    load: LoadWorld,
    limits: Limits,
    phase: watch::Receiver<Phase>,
) -> anyhow::Result<()> {
    serve_telling(listener, load, limits, phase, |_engine| ()).await
}

/// As [`serve`], for a program that asks the engine for clips itself. What it is told with `tell` must be dropped
/// before the server can stop.
pub async fn serve_telling(
    listener: TcpListener,
    load: LoadWorld,
    limits: Limits,
    mut phase: watch::Receiver<Phase>,
    tell: impl FnOnce(Engine),
) -> anyhow::Result<()> {
    // Dropped last: this ends the trace file.
    let (trace, _trace_writer) = limits.trace_file.as_deref().map(Trace::create).transpose()?.unzip();
    if let Some(folder) = &limits.profile_dir {
        std::fs::create_dir_all(folder).with_context(|| format!("--profile-dir {}", folder.display()))?;
    }
    // As the trace: every session has ended by then.
    let (recordings, _recordings_writer) = limits.recordings()?.unzip();
    let observer = Arc::new(Observer::new(trace, &REASONS));
    let queue = Queue::new(limits.bounds());
    let (engine, mut thread) =
        Engine::start(limits.offer.of(load), Arc::clone(&queue), limits.sessions, Arc::clone(&observer))?;
    tell(engine.clone());
    let loaded = engine.card.clone();
    let (say, phase_said) = watch::channel(Phase::Serving);
    let cluster = match &limits.cluster {
        Some(settings) => {
            let listens = listener.local_addr()?;
            Some(Cluster::start(
                settings,
                (Arc::clone(&queue), limits.queue, limits.connections),
                listens,
                phase_said.clone(),
            )?)
        }
        None => None,
    };
    let moving: Option<Arc<dyn Nodes>> = match (&cluster, &limits.moving) {
        (None, moving) => moving.clone(),
        (Some(cluster), None) => Some(Arc::new(Leaving(Arc::clone(cluster)))),
        (Some(_), Some(_)) => anyhow::bail!("--move-secret: sessions of a cluster move through its line"),
    };
    let (present, mut all_left) = mpsc::channel(1);
    let drain = limits.drain;
    let door = Arc::new(Door::new(limits.access.clone(), limits.connections_per_address, Instant::now())?);
    let gate = Gate::new(limits.connections, limits.header_timeout, door.clone(), observer.clone());
    let fetcher = Arc::new(Fetcher::new(limits.fetch.clone(), limits.message_bytes)?);
    let pictures = Arc::new(PictureReader::start()?);
    let entrance = Entrance { door, observer: observer.clone(), inbound: Inbound::new(limits.inbound_bytes) };
    let openai = OpenAi::new(
        engine.clone(),
        (fetcher.clone(), pictures.clone()),
        limits.guardrails.clone(),
        (observer.clone(), entrance.clone()),
        (phase_said.clone(), present.downgrade()),
        (limits.openai_bounds(), limits.profile_dir.clone()),
    );
    let results = Arc::clone(&openai);
    let audiences = Audiences::new(limits.audience_bounds(), observer.clone());
    let realtime = Realtime {
        engine,
        queue,
        fetcher,
        guardrails: limits.guardrails.clone(),
        pictures,
        recordings,
        observer,
        resumable: Arc::default(),
        audiences,
        moving,
        arrivals: Semaphore::new(ARRIVALS_AT_ONCE),
        cluster,
        phase: phase_said.clone(),
        bounds: limits.link_bounds(),
    };
    let app = App {
        entrance,
        connections: Arc::new(Semaphore::new(limits.connections)),
        limits: Arc::new(limits),
        present: present.downgrade(),
        realtime: Arc::new(realtime),
        openai,
    };
    let mut http = tokio::spawn(listener::serve(listener, http::routes::router(app), gate, phase_said));

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
            // The engine has ended; no more chunks will come.
            () = thread.ended() => {}
        }
    }
    if ended_early && results.levels().completed > 0 {
        // Nothing is drawn any more, but what was drawn is here and nowhere else.
        info!(within = ?drain, "the engine has ended: results can be fetched before the server stops");
        tokio::select! {
            () = Phase::Stopping.reached(&mut phase) => {}
            () = tokio::time::sleep(drain) => {}
        }
    }
    info!("stopping");
    say.send_replace(Phase::Stopping);
    let goodbyes = async {
        let _ = (&mut http).await;
        let _ = all_left.recv().await;
    };
    let _ = tokio::time::timeout(SHUTDOWN, goodbyes).await;
    // Ends the remaining tasks. This drops the last command senders, and so ends the engine.
    http.abort();
    drop(results);
    // Reading weights cannot be interrupted, so do not wait for it.
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
