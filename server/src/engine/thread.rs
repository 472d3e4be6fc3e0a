//! The one thread that owns the world and every rollout: its beginning and its end. What it does between is in `room`.
//!
//! It loads the world itself, so the server listens while weights are read. An error in a rollout ends that session; a
//! panic is a bug, ends the thread, and with it the server.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, anyhow};
use pipeline::world::{Card, WarmUp, World, WorldError};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use super::inbox::Inbox;
use super::messages::Command;
use super::room::Room;
use super::turns::scheduler::Scheduler;
use crate::admission::queue::Queue;
use crate::observe::Observer;

/// Called on the engine's thread.
pub type LoadWorld = Box<dyn FnOnce() -> anyhow::Result<Box<dyn World>> + Send>;

/// A handle to the engine.
#[derive(Clone)]
pub struct Engine {
    /// Has a place for all that may be on its way.
    pub commands: mpsc::Sender<Command>,
    /// `None` while the world loads.
    pub card: watch::Receiver<Option<Arc<Card>>>,
    /// Where clips wait for their turn.
    pub(super) queue: Arc<Queue>,
}

/// The engine's thread, to be joined.
pub struct EngineThread {
    thread: JoinHandle<anyhow::Result<()>>,
    alive: oneshot::Receiver<()>,
}

/// Commands on their way for each session, six at most: one `Open`; two `Grant`s, or a `Grant` and an `ExpectGrant`;
/// one `Rewind`, `Reset` or `Pack`; one `Close`; and the `Close` of an earlier session that was refused and whose place is used again. There may be as many
/// sessions without a place as there are places.
const COMMANDS_PER_SESSION: usize = 6;

/// Commands on their way for clips at most: open, taken, close; and the close of the clip before, which had ended.
const COMMANDS_OF_CLIPS: usize = 4;

impl Engine {
    pub(crate) fn start(
        load: LoadWorld,
        queue: Arc<Queue>,
        sessions: usize,
        observer: Arc<Observer>,
    ) -> anyhow::Result<(Engine, EngineThread)> {
        let (commands, inbox) = mpsc::channel(COMMANDS_PER_SESSION * 2 * sessions.max(1) + COMMANDS_OF_CLIPS);
        let (card_said, card) = watch::channel(None);
        let (alive_until_dropped, alive) = oneshot::channel();
        let loads = Arc::clone(&queue);
        let work = move || {
            let _alive: oneshot::Sender<()> = alive_until_dropped;
            let began = Instant::now();
            let world = load().context("loading the world")?;
            let loaded = began.elapsed();
            let warm_up = warm_up(&*world, loads.memory_bytes()).context("drawing a first chunk")?;
            let name = &world.card().name;
            info!(world = %name, seconds = began.elapsed().as_secs_f32(), ?loaded, ?warm_up, "ready");
            loads.loaded(&*world, warm_up);
            card_said.send_replace(Some(Arc::clone(world.card())));
            let mut scheduler = Scheduler::default();
            if let Some(WarmUp { size, opened, chunk }) = warm_up {
                scheduler.openings.took(size.pixels(), opened);
                scheduler.clips.opened(size.pixels(), opened);
                scheduler.clips.drew(size.pixels(), chunk);
            }
            Room::new(world, scheduler, observer).run(Inbox::new(inbox)?);
            Ok(())
        };
        let thread = std::thread::Builder::new().name("engine".into()).spawn(work).context("starting the engine")?;
        Ok((Engine { commands, card, queue }, EngineThread { thread, alive }))
    }
}

/// Draw a first chunk before the world is said to be ready. Nothing is drawn if a usual session does not fit into
/// `memory_bytes`.
fn warm_up(world: &dyn World, memory_bytes: u64) -> Result<Option<WarmUp>, WorldError> {
    let bytes = (world.rollout_bytes())(&WarmUp::init(world.card()));
    if bytes > memory_bytes {
        warn!(
            bytes,
            memory_bytes,
            "a session of the usual size does not fit into --memory: no chunk is drawn before the first session"
        );
        return Ok(None);
    }
    world.warm_up()
}

impl EngineThread {
    /// Returns once the thread has come to its end, for whatever reason.
    pub async fn ended(&mut self) {
        // The sender is never used: it is dropped with the thread's stack.
        let _ = (&mut self.alive).await;
    }

    /// Waits for the thread's end. `Err`: why the world could not be loaded, or the words of a panic.
    pub fn join(self) -> anyhow::Result<()> {
        self.thread.join().unwrap_or_else(|panic| {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(anyhow!("the engine panicked: {message}"))
        })
    }
}
