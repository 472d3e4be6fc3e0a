//! The one thread that owns the world and every rollout. It waits for work and for nothing else: each credit reserved
//! room in the session's channel, so handing a chunk over never blocks.
//!
//! It loads the world itself, so the server listens while weights are read. An error in a rollout ends that session; a
//! panic is a bug, ends the thread, and with it the server.
//!
//! Over 400 lines: what the thread owns, what it is told, and what it does with each of it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use pipeline::recording::encode_init;
use pipeline::world::{
    Cancel, Card, ChunkInput, ChunkPlan, Chunking, Frames, Init, Rollout, State, Timings, WarmUp, World, WorldError,
};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use super::clip::{Drawing, OpenClip, Stepped};
use super::elsewhere::{Again, Another, Journaled, OpenError, PackedRollout, Redraw, Replayed, Then, another_world};
use super::inbox::{Inbox, Waited};
use super::turns::acks::Acks;
use super::turns::clips::NextGrant;
use super::turns::hurry::{Hurry, NewBeginning};
use super::turns::rewinds::{Rewinds, Spacing};
use super::turns::scheduler::{Next, Scheduler};
use super::turns::under_way::{Begun, Conditions};
use crate::admission::queue::{Admitted, Queue};
use crate::admission::rules::SeatId;
use crate::observe::Observer;
use crate::recordings::{Recordings, Tape};

/// Called on the engine's thread.
pub type LoadWorld = Box<dyn FnOnce() -> anyhow::Result<Box<dyn World>> + Send>;

/// What the engine is told.
pub enum Command {
    /// A session begins. The answer says whether its rollout is open.
    Open(Box<Open>, oneshot::Sender<Result<(), OpenError>>),
    /// Draw this many more chunks, due at this time.
    Grant(SeatId, u64, Instant),
    /// When a paced session without credit will grant its next chunk.
    ExpectGrant(SeatId, NextGrant),
    /// A clip begins.
    OpenClip(OpenClip),
    /// All that a clip's last piece gave was taken.
    Taken(SeatId),
    /// Go back, so that this chunk is drawn next. The answer comes when all before it is drawn again; `Err` says why the
    /// session goes on where it was.
    Rewind(SeatId, usize, oneshot::Sender<Result<(), String>>),
    /// Begin another video in this session, which has been sent all that it was granted. The answer comes when it is open;
    /// where it cannot be, the session's channel says why.
    Reset(SeatId, Box<Another>, oneshot::Sender<()>),
    /// What the session's rollout is, for another process. Nothing of it is under way; `Err` says why it stays.
    Pack(SeatId, oneshot::Sender<Result<PackedRollout, String>>),
    /// A session or a clip is given up.
    Close(SeatId),
}

/// A session to open.
pub struct Open {
    /// Freed when the rollout is dropped.
    pub(crate) admitted: Admitted,
    /// What its world is told.
    pub init: Init,
    /// Its chunks are due at known times, and go before those of free sessions.
    pub paced: bool,
    /// What steers its chunks: sampled when a chunk begins.
    pub conditions: Arc<Mutex<Conditions>>,
    /// Its capacity is [`parts_places`].
    pub parts: mpsc::Sender<Result<ChunkPart, String>>,
    /// Stops its chunk between two passes.
    pub cancel: Cancel,
    /// Where it is recorded, and its name there.
    pub(crate) record: Option<(Arc<Recordings>, String)>,
    /// How the states are spaced that are kept to go back to.
    pub(crate) rewinds: Option<Spacing>,
    /// Chunks of a recording that are drawn first.
    pub(crate) again: Option<Box<Again>>,
    /// The state that it goes on from: it began in another process.
    pub(crate) state: Option<Vec<u8>>,
    /// The number of its video, and the bytes of its recording there.
    pub(crate) recorded: Option<(u32, Vec<u8>)>,
    /// For a session with a journal: whether it wants the state before the next chunk.
    pub(crate) journal: Option<Arc<AtomicBool>>,
}

/// A chunk, piece by piece as it is drawn: a `First`, `More` for each latent frame after it, and an `End`.
pub enum ChunkPart {
    /// What is known of the chunk, and its first frames.
    First(Drawn, Frames),
    /// The frames of its next latent frame, and when they were handed over.
    More(Frames, Instant),
    /// All is drawn.
    End {
        /// The time it took.
        generate: Duration,
        /// How the world spent that.
        world: Timings,
    },
}

/// A chunk's facts, known once its controls are sampled.
pub struct Drawn {
    /// Which frames it has.
    pub plan: ChunkPlan,
    /// The largest id of the events that it is drawn with.
    pub event_id: Option<u32>,
    /// A key is held in it.
    pub moves: bool,
    /// Which events it shows first, and which were replaced.
    pub acks: Acks,
    /// When its controls were sampled, and for how long.
    pub began: Instant,
    /// How long that took.
    pub prepare: Duration,
    /// When its first frames were handed over.
    pub handed: Instant,
    /// Drawn in as many steps as most are, and begun once: the next one will take as long.
    pub usual: bool,
    /// For the journal of its session.
    pub journal: Option<Box<Journaled>>,
}

/// Capacity of a session's channel, so that handing over never waits: for each credit the latent frames of a
/// chunk and its end, and one for the error that may come after.
pub fn parts_places(chunk: usize, credit: u64) -> usize {
    credit as usize * (chunk + 1) + 1
}

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
            let (rollouts, to_open, to_reset) = (HashMap::new(), HashMap::new(), HashMap::new());
            Room { world, scheduler, rollouts, to_open, to_reset, clip: None, observer }.run(Inbox::new(inbox)?);
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

/// What the thread owns.
struct Room {
    world: Box<dyn World>,
    scheduler: Scheduler,
    rollouts: HashMap<SeatId, OpenRollout>,
    /// Sessions that wait for their opening, and who is told of it.
    to_open: HashMap<SeatId, (Open, oneshot::Sender<Result<(), OpenError>>)>,
    /// Sessions whose next video waits for its opening, and who is told of it.
    to_reset: HashMap<SeatId, (Box<Another>, oneshot::Sender<()>)>,
    clip: Option<Drawing>,
    observer: Arc<Observer>,
}

struct OpenRollout {
    rollout: Box<dyn Rollout>,
    chunking: Chunking,
    conditions: Arc<Mutex<Conditions>>,
    parts: mpsc::Sender<Result<ChunkPart, String>>,
    cancel: Cancel,
    tape: Option<Tape>,
    paced: bool,
    hurry: Hurry,
    /// For a client that may go back.
    rewinds: Option<Rewinds<State>>,
    /// Chunks that are drawn again and not sent.
    redraw: Option<Redraw>,
    /// What steers the next chunks, before any event does.
    replay: VecDeque<Replayed>,
    journal: Option<Arc<AtomicBool>>,
    /// The last field, so that it is dropped last: the rollout's memory is free when its share goes back to admission.
    admitted: Admitted,
}

impl OpenRollout {
    /// Keep a state before the next chunk, if one is due.
    fn keep_state(&mut self) -> Result<(), WorldError> {
        if let Some(rewinds) = self.rewinds.as_mut().filter(|rewinds| rewinds.is_due()) {
            let began = Instant::now();
            rewinds.keep(self.rollout.save()?);
            debug!(seat = self.admitted.id, took = ?began.elapsed(), "a state was kept");
        }
        Ok(())
    }

    /// The state before the next chunk, if the journal wants one. What is left of a recording would be missing in it.
    fn state_for_journal(&mut self) -> Option<Vec<u8>> {
        let wants = self.journal.as_ref()?;
        if !self.replay.is_empty() || !wants.swap(false, Ordering::Relaxed) {
            return None;
        }
        match self.rollout.pack() {
            Ok(state) => Some(state),
            Err(error) => {
                warn!(seat = self.admitted.id, %error, "no journal: its world gives no states");
                self.journal = None;
                None
            }
        }
    }

    fn journaled(&self, input: &ChunkInput) -> Option<Box<Journaled>> {
        self.journal.as_ref()?;
        let conditions = self.conditions.lock().expect("nothing panics under this lock").pack();
        Some(Box::new(Journaled { input: input.clone(), conditions, state: None }))
    }

    /// What the next chunk begins with: of a recording, or what its client asks for by now.
    fn begin(&mut self, plan: &ChunkPlan, again: Option<NewBeginning>) -> Begun {
        if let Some(Replayed { input, event_id, acks }) = self.replay.pop_front() {
            return Begun { input, event_id, acks, awaited: false };
        }
        let mut begun = self.conditions.lock().expect("nothing panics under this lock").begin(plan, again);
        begun.input.steps = self.hurry.steps().filter(|_| begun.awaited);
        begun
    }

    /// A chunk has ended like this. Whether it was given up for an event: then its conditions are those of the next.
    fn is_begun_again(&mut self, result: &Result<Timings, WorldError>) -> bool {
        let mut conditions = self.conditions.lock().expect("nothing panics under this lock");
        // Asked for under the lock, and only of a chunk that is under way.
        self.cancel.goes_on();
        let given_up = matches!(result, Err(WorldError::GivenUp));
        if given_up {
            conditions.take_back()
        } else {
            conditions.keep()
        }
        given_up
    }

    /// A chunk was drawn with this for the first time.
    fn drew(&mut self, input: ChunkInput) {
        self.tape.iter_mut().for_each(|tape| tape.chunk(&input));
        if let Some(rewinds) = &mut self.rewinds {
            rewinds.drew((input, self.rollout.last_drawn()));
        }
    }
}

impl Room {
    /// Until nobody is left who could command.
    fn run(mut self, mut inbox: Inbox<Command>) {
        loop {
            // Everything that came, then one chunk or piece: a close takes effect before time is spent on it.
            loop {
                match inbox.next() {
                    Ok(command) => self.obey(command),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => return,
                }
            }
            let now = Instant::now();
            match self.scheduler.take_turn(now) {
                Some(Next::Open(id)) => self.open(id),
                Some(Next::Chunk(id)) => self.generate(id),
                Some(Next::Piece(id)) => self.draw_piece(id),
                None => match inbox.wait(self.scheduler.look_again_at(now)) {
                    Waited::Command(command) => self.obey(command),
                    Waited::Enough => {}
                    Waited::Over => return,
                },
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Open(open, reply) => {
                let id = open.admitted.id;
                self.scheduler.openings.ask(id, open.init.size.pixels(), Instant::now());
                self.to_open.insert(id, (*open, reply));
            }
            Command::Grant(id, chunks, due) => self.scheduler.grant(id, chunks, due),
            Command::ExpectGrant(id, next_grant) => self.scheduler.expect_grant(id, next_grant),
            Command::OpenClip(open) => {
                let clip = Drawing::new(open);
                self.scheduler.clips.begin(clip.admitted.id, clip.pixels, Instant::now());
                self.clip = Some(clip);
            }
            Command::Taken(id) => self.scheduler.clips.taken(id, Instant::now()),
            Command::Rewind(id, to, reply) => self.rewind(id, to, reply),
            Command::Reset(id, another, reply) => {
                // It grants nothing before it is open, so the opening need not leave time for it.
                self.scheduler.expect_grant(id, NextGrant::Never);
                self.scheduler.openings.ask(id, another.init.size.pixels(), Instant::now());
                self.to_reset.insert(id, (another, reply));
            }
            // An error: nobody waits any more.
            Command::Pack(id, reply) => drop(reply.send(self.pack(id))),
            Command::Close(id) => self.close(id),
        }
    }

    fn open(&mut self, id: SeatId) {
        if let Some((another, reply)) = self.to_reset.remove(&id) {
            return self.reset(id, *another, reply);
        }
        let (mut open, reply) = self.to_open.remove(&id).expect("the scheduler knows only sessions that wait");
        // The client may have left: then there is nothing to open. If it leaves after this check, its `Close` comes and
        // removes the rollout.
        if reply.is_closed() {
            return;
        }
        let hidden = open.again.as_mut().map(|again| std::mem::take(&mut again.hidden)).unwrap_or_default();
        match self.open_rollout(open) {
            Ok(()) => self.redraw(id, Redraw::beginning(hidden, reply)),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn open_rollout(&mut self, open: Open) -> Result<(), OpenError> {
        let Open { admitted, init, paced, conditions, parts, cancel, record, rewinds, again, state, recorded, journal } =
            open;
        let replay = again.map_or(Ok(VecDeque::new()), |again| match again.origin {
            Some(origin) if origin != self.world.origin() => Err(another_world(&origin, &self.world.origin())),
            _ => Ok(again.shown),
        })?;
        let (id, bytes, pixels, began) = (admitted.id, admitted.bytes, init.size.pixels(), Instant::now());
        let chunking = init.chunking(self.world.card());
        let beginning = record.as_ref().map(|_| encode_init(&init, Some(&self.world.origin()))).transpose();
        let beginning = beginning.map_err(|invalid| OpenError::Failed(invalid.to_string()))?;
        let opened = match &state {
            Some(state) => self.world.open_at(init, state),
            None => self.world.open(init),
        };
        let rollout = opened.map_err(|error| match error {
            WorldError::Refused(refusal) => OpenError::Refused(refusal),
            other => OpenError::Failed(other.to_string()),
        })?;
        self.scheduler.openings.took(pixels, began.elapsed());
        let tape = record.zip(beginning).map(|((to, name), beginning)| match recorded {
            Some((video, so_far)) => to.go_on(&name, video, so_far),
            None => to.begin(&name, beginning),
        });
        let rewinds = rewinds.map(|spacing| Rewinds::going_on(spacing, rollout.plan().index));
        let redraw = None;
        let hurry = Hurry::new(self.world.card().quick_steps, paced);
        let open = OpenRollout {
            rollout,
            chunking,
            conditions,
            parts,
            cancel,
            tape,
            paced,
            hurry,
            rewinds,
            redraw,
            replay,
            journal,
            admitted,
        };
        self.rollouts.insert(id, open);
        self.observer.rollout_opened(id, bytes);
        debug!(seat = id, bytes, "opened");
        Ok(())
    }

    fn close(&mut self, id: SeatId) {
        self.scheduler.close(id);
        self.to_open.remove(&id);
        self.to_reset.remove(&id);
        let clip = self.clip.take_if(|clip| clip.admitted.id == id);
        if self.rollouts.remove(&id).is_some() || clip.is_some() {
            drop(clip);
            self.observer.rollout_closed(id);
            debug!(seat = id, "closed");
        }
    }

    fn draw_piece(&mut self, id: SeatId) {
        let clip = self.clip.take().expect("the scheduler knows only the clip that is there");
        let (pixels, bytes) = (clip.pixels, clip.admitted.bytes);
        let clips = &mut self.scheduler.clips;
        match clip.step(&*self.world) {
            Stepped::Opened(clip, took) => {
                clips.opened(pixels, took);
                self.observer.rollout_opened(id, bytes);
                debug!(clip = id, bytes, "opened");
                self.clip = Some(clip);
            }
            Stepped::Drew(clip, took) => {
                clips.drew(pixels, took);
                self.clip = Some(clip);
            }
            Stepped::Ended(took) => {
                clips.drew(pixels, took);
                clips.end(id);
                self.observer.rollout_closed(id);
            }
            Stepped::Broke => {
                clips.end(id);
                self.observer.rollout_closed(id);
            }
        }
    }

    fn generate(&mut self, id: SeatId) {
        let open = self.rollouts.get_mut(&id).expect("the scheduler knows only seats that are taken");
        if open.redraw.is_some() {
            return self.draw_again(id);
        }
        if let Err(error) = open.keep_state() {
            warn!(seat = id, %error, "no state was kept");
            // It would be missed only by a client that goes back, and then it must not be another's.
            open.rewinds = None;
        }
        let plan = open.rollout.plan();
        let mut state = open.state_for_journal();
        let parts = open.parts.clone();
        // Each frame leaves as soon as it is there: the first can be on a screen while the last is being decoded.
        let hand_over = |part| {
            if let Err(mpsc::error::TrySendError::Full(_)) = parts.try_send(part) {
                panic!("a credit is a place for each latent frame: seat {id} had none left");
            }
        };
        let mut drew = None;
        let mut counts = Vec::with_capacity(plan.latent_frames);
        let mut begun_again = false;
        let (began, sampled, input, event_id, result) = loop {
            let began = Instant::now();
            let again = open.hurry.again(self.scheduler.others(id, began)).filter(|_| !begun_again && plan.index > 0);
            let Begun { input, event_id, acks, .. } = open.begin(&plan, again);
            let sampled = Instant::now();
            let moves = input.controls.iter().flatten().any(|controls| !controls.is_still());
            let usual = !begun_again && input.steps.is_none();
            let prepare = sampled - began;
            let journal = open.journaled(&input);
            let mut drawn =
                Some(Drawn { plan, event_id, moves, acks, began, prepare, handed: sampled, usual, journal });
            let result = open.rollout.generate(&input, &open.cancel, &mut |frames| {
                counts.push(frames.count);
                hand_over(Ok(match drawn.take() {
                    Some(mut drawn) => {
                        // A chunk that was given up has shown nothing: the state is still the one before.
                        drawn.journal.iter_mut().for_each(|journal| journal.state = state.take());
                        ChunkPart::First(Drawn { handed: Instant::now(), ..drawn }, frames)
                    }
                    None => ChunkPart::More(frames, Instant::now()),
                }));
            });
            begun_again |= open.is_begun_again(&result);
            if !matches!(result, Err(WorldError::GivenUp)) {
                break (began, sampled, input, event_id, result);
            }
        };
        let generate = sampled.elapsed();
        let outcome = match result {
            // The number of messages was announced with the first of them.
            Ok(_) if !plan.frames_of_each().eq(counts.iter().copied()) => {
                warn!(seat = id, ?plan, ?counts, "other frames than planned");
                Err(format!("{counts:?} frames were drawn for {plan:?}"))
            }
            Ok(world) => {
                if input.steps.is_none() {
                    open.admitted.drew(generate);
                }
                open.hurry.drew(input.steps.is_some(), generate);
                self.observer.generated(id, &plan, began, sampled, &world);
                self.observer.hurried(input.steps.is_some(), begun_again);
                debug!(seat = id, chunk = plan.index, ?event_id, ?input, begun_again, ?generate, ?world, "chunk");
                drew = Some(input);
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
        drew.into_iter().for_each(|input| open.drew(input));
        if failed {
            self.close(id);
        }
    }
}

impl Room {
    /// Nothing is under way: the session has been sent all that it was granted.
    fn pack(&self, id: SeatId) -> Result<PackedRollout, String> {
        let open = self.rollouts.get(&id).filter(|open| open.redraw.is_none()).ok_or("nothing is open to be packed")?;
        let began = Instant::now();
        let state = open.rollout.pack().map_err(|error| error.to_string())?;
        let recording = open.tape.as_ref().and_then(Tape::so_far);
        debug!(seat = id, bytes = state.len(), took = ?began.elapsed(), "packed");
        let replay = open.replay.iter().map(|replayed| replayed.input.clone()).collect();
        Ok(PackedRollout { state, replay, origin: self.world.origin(), recording })
    }

    /// Draw these chunks again, and say when it is done. In time that no paced session needs, whatever this one is.
    fn redraw(&mut self, id: SeatId, redraw: Redraw) {
        let open = self.rollouts.get_mut(&id).expect("it is open");
        let chunks = redraw.chunks.len() as u64;
        let paced = open.paced && chunks == 0;
        if chunks == 0 {
            redraw.then.done();
        } else {
            open.redraw = Some(redraw);
        }
        self.scheduler.close(id);
        self.scheduler.open(id, paced);
        if chunks > 0 {
            self.scheduler.grant(id, chunks, Instant::now());
        }
    }

    fn draw_again(&mut self, id: SeatId) {
        let open = self.rollouts.get_mut(&id).expect("the scheduler knows only seats that are taken");
        let Some(Redraw { mut chunks, then }) = open.redraw.take() else { return };
        let (input, drawn) = chunks.pop_front().expect("there is a chunk for each credit");
        let (began, plan) = (Instant::now(), open.rollout.plan());
        let is_new = matches!(then, Then::Opened(_));
        let kept = if is_new { open.keep_state() } else { Ok(()) };
        match kept.and_then(|()| open.rollout.draw_again(&input, drawn.as_ref(), &open.cancel)) {
            Ok(world) => {
                debug!(seat = id, chunk = plan.index, took = ?began.elapsed(), ?world, "drawn again");
                if is_new {
                    open.admitted.drew(began.elapsed());
                    self.observer.generated(id, &plan, began, began, &world);
                    open.drew(input);
                }
                if chunks.is_empty() {
                    self.redraw(id, Redraw { chunks, then });
                } else {
                    open.redraw = Some(Redraw { chunks, then });
                }
            }
            Err(WorldError::Cancelled) => self.close(id),
            Err(error) => {
                warn!(seat = id, chunk = plan.index, %error, "a chunk could not be drawn again");
                then.failed(&error.to_string());
                self.close(id);
            }
        }
    }

    /// Go back to a chunk. Nothing is under way: the session has been sent all that it was granted.
    fn rewind(&mut self, id: SeatId, to: usize, reply: oneshot::Sender<Result<(), String>>) {
        let Some(open) = self.rollouts.get_mut(&id) else { return };
        let now = open.rollout.plan().index;
        let back = match &mut open.rewinds {
            None => Err("this world keeps no states to go back to".to_owned()),
            Some(rewinds) => rewinds.back(to),
        };
        let chunks = match back {
            Ok((state, chunks)) => open.rollout.restore(state).map(|()| chunks),
            Err(reason) => return drop(reply.send(Err(reason))),
        };
        match chunks {
            Ok(chunks) => {
                open.tape.iter_mut().for_each(|tape| tape.cut(now - to));
                open.replay.clear();
                let first = ChunkPlan::new(to, open.chunking).first_latent_frame;
                open.conditions.lock().expect("nothing panics under this lock").goes_back_to(first);
                debug!(seat = id, from = now, to, redraw = chunks.len(), "back");
                self.redraw(id, Redraw { chunks, then: Then::Back(reply) });
            }
            Err(error) => {
                warn!(seat = id, %error, "a state could not be restored");
                drop(open.parts.try_send(Err(error.to_string())));
                self.close(id);
            }
        }
    }
}

impl Room {
    /// The video before is dropped first: a session has memory for one.
    fn reset(&mut self, id: SeatId, another: Another, reply: oneshot::Sender<()>) {
        let Another { init, beginning, rewinds } = another;
        let Some(before) = self.rollouts.remove(&id) else { return };
        drop((before.rollout, before.rewinds));
        let tape = before.tape;
        let (pixels, began, chunking) = (init.size.pixels(), Instant::now(), init.chunking(self.world.card()));
        let recorded = tape.as_ref().map(|_| encode_init(&init, Some(&self.world.origin()))).transpose();
        let opened = recorded.map_err(|invalid| invalid.to_string());
        let opened = opened.and_then(|first| self.world.open(init).map(|to| (to, first)).map_err(|e| e.to_string()));
        let (rollout, recorded) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                warn!(seat = id, error, "the next video could not be opened");
                self.scheduler.close(id);
                self.observer.rollout_closed(id);
                return drop(before.parts.try_send(Err(error)));
            }
        };
        self.scheduler.openings.took(pixels, began.elapsed());
        before.admitted.resized(pixels);
        before.conditions.lock().expect("nothing panics under this lock").begins_anew(beginning);
        let tape = tape.zip(recorded).map(|(tape, beginning)| tape.next(beginning));
        let (redraw, replay, rewinds) = (None, VecDeque::new(), rewinds.map(Rewinds::new));
        let hurry = Hurry::new(self.world.card().quick_steps, before.paced);
        let open = OpenRollout { rollout, chunking, tape, hurry, rewinds, redraw, replay, ..before };
        self.rollouts.insert(id, open);
        debug!(seat = id, "another video");
        // An error: nobody waits any more, and a close is on its way.
        let _ = reply.send(());
    }
}
