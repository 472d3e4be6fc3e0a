//! The one thread that owns the world and every rollout. It waits for work and for nothing else: a
//! credit was a place in the session's channel, so handing a chunk over cannot block.
//!
//! It loads the world itself, so the server listens while weights are read. An error in a rollout ends that session; a panic
//! is a bug, ends the thread, and with it the server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use pipeline::world::{Cancel, Card, ChunkPlan, Frames, Init, Refusal, Rollout, Timings, World, WorldError};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use super::turns::acks::Acks;
use super::turns::conditions::ConditionQueue;
use super::turns::scheduler::Scheduler;
use crate::admission::queue::{Admitted, Queue};
use crate::admission::rules::SeatId;
use crate::observe::Observer;

/// Called on the engine's thread.
pub type LoadWorld = Box<dyn FnOnce() -> anyhow::Result<Box<dyn World>> + Send>;

pub enum Command {
    Open(Open, oneshot::Sender<Result<(), OpenError>>),
    /// So many more chunks, due then.
    Grant(SeatId, u64, Instant),
    Close(SeatId),
}

/// A session that begins.
pub struct Open {
    /// Given back when the rollout is gone.
    pub(crate) admitted: Admitted,
    pub init: Init,
    pub paced: bool,
    pub conditions: Arc<Mutex<ConditionQueue>>,
    /// Has [`parts_places`].
    pub parts: mpsc::Sender<Result<ChunkPart, String>>,
    pub cancel: Cancel,
}

pub enum OpenError {
    Refused(Refusal),
    Failed(String),
}

/// A chunk, piece by piece as it is drawn: a `First`, `More` for each latent frame after it, and an `End`.
pub enum ChunkPart {
    First(Drawn, Frames),
    More(Frames),
    End { generate: Duration, world: Timings },
}

/// What is known of a chunk once its controls are sampled.
pub struct Drawn {
    pub plan: ChunkPlan,
    pub event_id: Option<u32>,
    /// A key is held in it.
    pub moves: bool,
    pub acks: Acks,
    /// When its controls were sampled, and for how long.
    pub began: Instant,
    pub prepare: Duration,
}

/// Places that a session's channel needs, so that handing over never waits: for each credit the latent frames of a chunk
/// and its end, and one for the error that may come after.
pub fn parts_places(card: &Card, credit: u64) -> usize {
    credit as usize * (card.chunk + 1) + 1
}

/// How others reach the engine.
#[derive(Clone)]
pub struct Engine {
    pub commands: mpsc::Sender<Command>,
    /// `None` while the world loads.
    pub card: watch::Receiver<Option<Arc<Card>>>,
}

/// The thread, to be waited for.
pub struct EngineThread {
    thread: JoinHandle<anyhow::Result<()>>,
    alive: oneshot::Receiver<()>,
}

/// Commands on their way for each session at most: open, two grants, close; and the close of one that was turned away, whose
/// place another may have taken. There may be as many sessions without a place as there are places.
const COMMANDS_PER_SESSION: usize = 5;

impl Engine {
    pub(crate) fn start(
        load: LoadWorld,
        queue: Arc<Queue>,
        sessions: usize,
        observer: Arc<Observer>,
    ) -> anyhow::Result<(Engine, EngineThread)> {
        let (commands, inbox) = mpsc::channel(COMMANDS_PER_SESSION * 2 * sessions.max(1));
        let (card_said, card) = watch::channel(None);
        let (alive_until_dropped, alive) = oneshot::channel();
        let work = move || {
            let _alive: oneshot::Sender<()> = alive_until_dropped;
            let began = Instant::now();
            let world = load().context("loading the world")?;
            let name = &world.card().name;
            info!(world = %name, seconds = began.elapsed().as_secs_f32(), "ready");
            queue.loaded(world.rollout_bytes());
            card_said.send_replace(Some(Arc::clone(world.card())));
            Room { world, scheduler: Scheduler::default(), rollouts: HashMap::new(), observer }.run(inbox);
            Ok(())
        };
        let thread = std::thread::Builder::new().name("engine".into()).spawn(work).context("starting the engine")?;
        Ok((Engine { commands, card }, EngineThread { thread, alive }))
    }
}

impl EngineThread {
    /// Returns once the thread has come to its end, for whatever reason.
    pub async fn ended(&mut self) {
        // The sender is never used: it is dropped with the thread's stack.
        let _ = (&mut self.alive).await;
    }

    pub fn join(self) -> anyhow::Result<()> {
        self.thread.join().unwrap_or_else(|panic| {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(anyhow!("the engine panicked: {message}"))
        })
    }
}

/// What the thread owns.
struct Room {
    world: Box<dyn World>,
    scheduler: Scheduler,
    rollouts: HashMap<SeatId, OpenRollout>,
    observer: Arc<Observer>,
}

struct OpenRollout {
    rollout: Box<dyn Rollout>,
    conditions: Arc<Mutex<ConditionQueue>>,
    parts: mpsc::Sender<Result<ChunkPart, String>>,
    cancel: Cancel,
    /// Last: what is given back is free by then.
    admitted: Admitted,
}

impl Room {
    /// Until nobody is left who could command.
    fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        loop {
            // Everything that came, then one chunk: a close takes effect before time is spent on it.
            loop {
                match inbox.try_recv() {
                    Ok(command) => self.obey(command),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => return,
                }
            }
            if let Some(id) = self.scheduler.take_turn(Instant::now()) {
                self.generate(id);
            } else if let Some(command) = inbox.blocking_recv() {
                self.obey(command);
            } else {
                return;
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Open(open, reply) => {
                // Whoever asked may have left: then there is nothing to open. If that is seen too late, the close of a
                // seat that nobody took is already on its way.
                if !reply.is_closed() {
                    let _ = reply.send(self.open(open));
                }
            }
            Command::Grant(id, chunks, due) => self.scheduler.grant(id, chunks, due),
            Command::Close(id) => self.close(id),
        }
    }

    fn open(&mut self, open: Open) -> Result<(), OpenError> {
        let Open { admitted, init, paced, conditions, parts, cancel } = open;
        let (id, bytes) = (admitted.id, admitted.bytes);
        let rollout = self.world.open(init).map_err(|error| match error {
            WorldError::Refused(refusal) => OpenError::Refused(refusal),
            other => OpenError::Failed(other.to_string()),
        })?;
        self.scheduler.open(id, paced);
        self.rollouts.insert(id, OpenRollout { rollout, conditions, parts, cancel, admitted });
        self.observer.rollout_opened(id, bytes);
        debug!(seat = id, bytes, "opened");
        Ok(())
    }

    fn close(&mut self, id: SeatId) {
        self.scheduler.close(id);
        if self.rollouts.remove(&id).is_some() {
            self.observer.rollout_closed(id);
            debug!(seat = id, "closed");
        }
    }

    fn generate(&mut self, id: SeatId) {
        let open = self.rollouts.get_mut(&id).expect("the scheduler knows only seats that are taken");
        let began = Instant::now();
        let plan = open.rollout.plan();
        let mut conditions = open.conditions.lock().expect("nothing panics under this lock");
        let (input, event_id) = conditions.sample(&plan);
        let acks = conditions.acks();
        drop(conditions);
        let sampled = Instant::now();
        let moves = input.controls.iter().flatten().any(|controls| !controls.is_still());
        let mut drawn = Some(Drawn { plan, event_id, moves, acks, began, prepare: sampled - began });
        let parts = &open.parts;
        // Each frame leaves as soon as it is there: the first can be on a screen while the last is being decoded.
        let hand_over = |part| {
            if let Err(mpsc::error::TrySendError::Full(_)) = parts.try_send(part) {
                panic!("a credit is a place for each latent frame: seat {id} had none left");
            }
        };
        let mut counts = Vec::with_capacity(plan.latent_frames);
        let result = open.rollout.generate(&input, &open.cancel, &mut |frames| {
            counts.push(frames.count);
            hand_over(Ok(match drawn.take() {
                Some(drawn) => ChunkPart::First(drawn, frames),
                None => ChunkPart::More(frames),
            }));
        });
        let generate = sampled.elapsed();
        let outcome = match result {
            // The number of messages was announced with the first of them.
            Ok(_) if !plan.frames_of_each().eq(counts.iter().copied()) => {
                warn!(seat = id, ?plan, ?counts, "other frames than planned");
                Err(format!("{counts:?} frames were drawn for {plan:?}"))
            }
            Ok(world) => {
                open.admitted.drew(generate);
                self.observer.generated(id, &plan, began, sampled, &world);
                debug!(seat = id, chunk = plan.index, ?event_id, ?input, ?generate, ?world, "chunk");
                Ok(ChunkPart::End { generate, world })
            }
            Err(WorldError::Cancelled) => return self.close(id),
            Err(error) => {
                warn!(seat = id, chunk = plan.index, %error, "rollout failed");
                Err(error.to_string())
            }
        };
        let failed = outcome.is_err();
        hand_over(outcome);
        if failed {
            self.close(id);
        }
    }
}
