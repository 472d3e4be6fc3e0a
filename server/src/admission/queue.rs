//! The queue of sessions: [`Admission`] decides, and the queue notifies the sessions.
//!
//! It does not run on the engine's thread, which may be busy with a chunk for seconds: a refused client should hear at
//! once.
//! A decision takes microseconds, so it is made under a lock; clients, who may be slow, are told outside of it.
//!
//! Over 400 lines: one lock, and all that is asked and told under it.

use std::collections::HashMap;
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use pipeline::recording::Origin;
use pipeline::world::{
    ClipAsk, ClipBytes, DeviceMemory, DeviceMemoryUse, Init, KeptBytes, RolloutBytes, StateBytes, WarmUp, World,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use super::rules::{Admission, Bounds, Kind, Obstacle, Refused, SeatId, Waiting, Wish};

pub(crate) struct Queue {
    state: Mutex<State>,
    /// Known once the world is loaded.
    footprints: OnceLock<Footprints>,
    /// The number of the next session or clip that asks.
    next: AtomicU64,
    /// Before that, the same number may wait as later: their messages are kept, and may be large.
    before_the_world: Semaphore,
    /// What is drawn here, once that is known.
    world: watch::Sender<Option<String>>,
    /// Counts what may have made room.
    freed: watch::Sender<u64>,
}

/// What is taken, and what there is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Room {
    /// Sessions that have a place.
    pub(crate) sessions: usize,
    /// Sessions that may have one.
    pub(crate) sessions_max: usize,
    /// Memory of all that are admitted or parked.
    pub(crate) bytes: u64,
    /// Memory that there is.
    pub(crate) bytes_max: u64,
    /// Share of the device's time that paced sessions need.
    pub(crate) load: f64,
    /// The share that they may need.
    pub(crate) load_max: f64,
}

/// What a world's rollouts and clips will hold.
struct Footprints {
    rollout: RolloutBytes,
    /// `None`: the world's rollouts keep no states.
    state: Option<StateBytes>,
    clip: ClipBytes,
    /// `None`: main memory.
    device: Option<DeviceMemory>,
}

struct State {
    admission: Admission,
    /// Of all that wait, clips too.
    tickets: HashMap<SeatId, watch::Sender<Standing>>,
    /// Of all that offer their place, or are parked: whether they must leave.
    calls: HashMap<SeatId, watch::Sender<bool>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Standing {
    Waits(Waiting),
    /// Admitted.
    Placed,
}

impl Queue {
    pub(crate) fn new(bounds: Bounds) -> Arc<Queue> {
        let state = State { admission: Admission::new(bounds), tickets: HashMap::new(), calls: HashMap::new() };
        let before_the_world = Semaphore::new(bounds.sessions + bounds.queue);
        Arc::new(Queue {
            state: Mutex::new(state),
            footprints: OnceLock::new(),
            next: AtomicU64::new(0),
            before_the_world,
            world: watch::Sender::default(),
            freed: watch::Sender::default(),
        })
    }

    /// What is drawn here, as 16 hexadecimal digits of what its world, weights and type are called: equal ones draw the same.
    /// Returns once the world is loaded.
    pub(crate) async fn world(&self) -> String {
        let mut world = self.world.subscribe();
        let world = world.wait_for(Option::is_some).await.expect("the sender is here");
        world.clone().expect("waited for it")
    }

    /// Counts up whenever something may have become free.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.freed.subscribe()
    }

    /// What is taken, and what there is.
    pub(crate) fn room(&self) -> Room {
        let state = self.state();
        let Bounds { sessions, memory_bytes, load, .. } = *state.admission.bounds();
        let (taken, bytes) = state.admission.taken();
        Room {
            sessions: taken,
            sessions_max: sessions,
            bytes,
            bytes_max: memory_bytes,
            load: state.admission.load(),
            load_max: load,
        }
    }

    /// A place for a session that waits elsewhere, if it fits now. Sessions that rest are asked for theirs if it does not.
    pub(crate) fn try_place(self: &Arc<Self>, wish: Wish) -> Result<Admitted, Refused> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        let asked = state.admission.ask(id, wish, Instant::now());
        if asked.is_ok() && state.admission.has_place(id) {
            state.tell();
            return Ok(Admitted { id, bytes: wish.bytes, queue: Arc::clone(self) });
        }
        let waits = state.admission.waiting().find(|(waiter, _)| *waiter == id).map(|(_, waiting)| waiting);
        state.admission.leave(id, Instant::now());
        state.tell();
        asked?;
        let Waiting { position, obstacle, .. } = waits.expect("it was asked for, and has no place");
        Err(Refused::QueueFull { waiting: position - 1, obstacle })
    }

    fn made_room(&self) {
        self.freed.send_modify(|times| *times += 1);
    }

    /// Wait for the world, if the queue has room. Dropping the value ends the wait.
    pub(crate) fn before_the_world(&self) -> Result<SemaphorePermit<'_>, Refused> {
        let Bounds { sessions, queue, .. } = *self.state().admission.bounds();
        let full = Refused::QueueFull { waiting: sessions + queue, obstacle: Obstacle::Loading };
        self.before_the_world.try_acquire().map_err(|_| full)
    }

    /// The memory of all rollouts and clips together.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.state().admission.bounds().memory_bytes
    }

    /// The world is loaded; `warm_up` says how long it takes for a chunk, if that was measured.
    pub(crate) fn loaded(&self, world: &dyn World, warm_up: Option<WarmUp>) {
        if let Some(WarmUp { size, chunk, .. }) = warm_up {
            self.state().admission.measured(size.pixels(), chunk);
        }
        let footprints = Footprints {
            rollout: world.rollout_bytes(),
            state: world.state_bytes(),
            clip: world.clip_bytes(),
            device: world.device_memory(),
        };
        assert!(self.footprints.set(footprints).is_ok(), "a world is loaded once");
        let Origin { world, weights, compute } = world.origin();
        let digest = Sha256::digest(format!("{world}\n{weights}\n{compute}"));
        let digits = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.world.send_replace(Some(digits));
    }

    /// Where the memory of the device is that draws. `None` while the world loads, and for main memory.
    pub(crate) fn device_memory(&self) -> Option<DeviceMemoryUse> {
        self.footprints.get()?.device.as_ref()?.now()
    }

    /// Ask for admission of a session that begins like this and, if it is paced, needs a chunk every `period`. `frames` of
    /// its video may be drawn and not yet written. It keeps `beside` bytes beside its rollout.
    pub(crate) fn ask(
        self: &Arc<Self>,
        init: &Init,
        period: Option<Duration>,
        frames: usize,
        beside: u64,
    ) -> Result<QueueTicket, Refused> {
        let kind = period.map_or(Kind::Free, |period| Kind::Paced { period });
        let bytes = self.bytes(init, frames, beside);
        self.wait(Wish { bytes, pixels: init.size.pixels(), kind })
    }

    /// The most bytes of such a session.
    pub(crate) fn bytes(&self, init: &Init, frames: usize, beside: u64) -> u64 {
        (self.footprints().rollout)(init) + frames as u64 * init.size.frame_bytes() + beside
    }

    /// What is kept of a rollout that begins like this to go back to. `None`: the world keeps nothing.
    pub(crate) fn state_bytes(&self, init: &Init) -> Option<KeptBytes> {
        self.footprints().state.as_ref().map(|bytes| bytes(init))
    }

    /// A place, or one in the queue, for a clip that is asked like this. `frames` of its video may wait to be taken.
    pub(crate) fn ask_clip(self: &Arc<Self>, ask: &ClipAsk, frames: usize) -> Result<QueueTicket, Refused> {
        let size = ask.init.size;
        let bytes = (self.footprints().clip)(ask) + frames as u64 * size.frame_bytes();
        self.wait(Wish { bytes, pixels: size.pixels(), kind: Kind::Clip })
    }

    /// Whether a clip that is asked like this could be admitted if nothing else were. `Err`: its bytes, and all there are.
    pub(crate) fn fits_clip(&self, ask: &ClipAsk) -> Result<(), (u64, u64)> {
        let (bytes, most) = ((self.footprints().clip)(ask), self.state().admission.bounds().memory_bytes);
        if bytes <= most { Ok(()) } else { Err((bytes, most)) }
    }

    fn wait(self: &Arc<Self>, wish: Wish) -> Result<QueueTicket, Refused> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        state.admission.ask(id, wish, Instant::now())?;
        let standing = state.ticket(id);
        Ok(QueueTicket { admitted: Admitted { id, bytes: wish.bytes, queue: Arc::clone(self) }, standing })
    }

    fn footprints(&self) -> &Footprints {
        self.footprints.get().expect("what is asked for is checked against the card of a loaded world")
    }

    /// This session would do without its place: its client has rested since then. Until what this gives is dropped.
    pub(crate) fn offer(self: &Arc<Self>, id: SeatId, since: Instant) -> Call {
        let mut state = self.state();
        state.admission.offer(id, since, Instant::now());
        let told = state.call(id);
        drop(state);
        self.made_room();
        Call { id, told, queue: Arc::clone(self) }
    }

    /// This session leaves its place, and its rollout would stay; `None` if it must go.
    pub(crate) fn park(self: &Arc<Self>, id: SeatId) -> Option<Call> {
        let mut state = self.state();
        if !state.admission.park(id, Instant::now()) {
            return None;
        }
        let told = state.call(id);
        drop(state);
        self.made_room();
        Some(Call { id, told, queue: Arc::clone(self) })
    }

    /// A place again for a parked session, or one in the queue: where it stands, from now on. `None` if its rollout
    /// must go.
    pub(crate) fn ask_again(&self, id: SeatId) -> Result<Option<watch::Receiver<Standing>>, Refused> {
        let mut state = self.state();
        if !state.admission.ask_again(id, Instant::now())? {
            return Ok(None);
        }
        Ok(Some(state.ticket(id)))
    }

    /// One that has asked again needs no place any more, if it has got one by now or not: it is parked as before.
    /// `None` if it must go.
    pub(crate) fn park_again(self: &Arc<Self>, id: SeatId) -> Option<Call> {
        let mut state = self.state();
        state.tickets.remove(&id);
        if state.admission.has_place(id) {
            drop(state);
            return self.park(id);
        }
        state.admission.stop_waiting(id, Instant::now());
        let told = state.call(id);
        Some(Call { id, told, queue: Arc::clone(self) })
    }

    /// Sessions that wait.
    pub(crate) fn length(&self) -> usize {
        self.state().admission.sessions_waiting().count()
    }

    /// The sessions that wait, the next one first.
    pub(crate) fn directory(&self) -> Vec<Value> {
        let line = |(seat, waiting): (SeatId, Waiting)| {
            json!({
                "seat": seat,
                "position": waiting.position,
                "estimated_wait_ms": waiting.estimate.map(|wait| wait.as_millis() as u64),
                "reason": waiting.obstacle.name(),
            })
        };
        self.state().admission.sessions_waiting().map(line).collect()
    }

    /// Share of the device's time that paced sessions need together.
    pub(crate) fn load(&self) -> f64 {
        self.state().admission.load()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }
}

impl State {
    /// Where one that has asked stands, and will.
    fn ticket(&mut self, id: SeatId) -> watch::Receiver<Standing> {
        let waits = self.admission.waiting().find(|(waiter, _)| *waiter == id);
        let standing = match waits {
            None => watch::channel(Standing::Placed).1,
            Some((_, waiting)) => {
                let (teller, standing) = watch::channel(Standing::Waits(waiting));
                self.tickets.insert(id, teller);
                standing
            }
        };
        self.tell();
        standing
    }

    /// Whether this one must leave, or once will.
    fn call(&mut self, id: SeatId) -> watch::Receiver<bool> {
        let (teller, told) = watch::channel(false);
        self.calls.insert(id, teller);
        self.tell();
        told
    }

    fn tell(&mut self) {
        let State { admission, tickets, calls } = self;
        for (&id, call) in calls {
            let must_leave = admission.must_leave(id);
            call.send_if_modified(|told| std::mem::replace(told, must_leave) != must_leave);
        }
        if tickets.is_empty() {
            return;
        }
        tickets.retain(|&id, ticket| {
            let placed = admission.has_place(id);
            if placed {
                ticket.send_replace(Standing::Placed);
            }
            !placed
        });
        for (id, waiting) in admission.waiting() {
            let Some(ticket) = tickets.get(&id) else { continue };
            let new = Standing::Waits(waiting);
            ticket.send_if_modified(|standing| std::mem::replace(standing, new) != new);
        }
    }
}

/// A session or a clip that may have to wait.
pub(crate) struct QueueTicket {
    admitted: Admitted,
    pub(crate) standing: watch::Receiver<Standing>,
}

impl QueueTicket {
    /// The admitted session, once its standing says so.
    pub(crate) fn into_admitted(self) -> Admitted {
        self.admitted
    }

    /// The most bytes that it will hold.
    pub(crate) fn bytes(&self) -> u64 {
        self.admitted.bytes
    }

    /// Wait until there is a place, however long.
    pub(crate) async fn placed(mut self) -> Admitted {
        let placed = self.standing.wait_for(|standing| *standing == Standing::Placed).await;
        placed.expect("a ticket is told as long as it is held");
        self.admitted
    }
}

/// How a session that offers its place, or is parked, hears that it must leave. The offer ends when this is dropped.
pub(crate) struct Call {
    id: SeatId,
    told: watch::Receiver<bool>,
    queue: Arc<Queue>,
}

impl Call {
    /// Returns once it must leave. May be dropped and called again.
    pub(crate) async fn must_leave(&mut self) {
        if self.told.wait_for(|&must_leave| must_leave).await.is_err() {
            // Its rollout is gone already, and the session hears why from the engine.
            pending().await
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        // Where another has taken its place it is that one's.
        if state.calls.get(&self.id).is_some_and(|call| call.subscribe().same_channel(&self.told)) {
            state.calls.remove(&self.id);
        }
        state.admission.withdraw(self.id);
        state.tell();
    }
}

/// A session's or a clip's share of the server, or its hope for one: given up when this is dropped.
pub(crate) struct Admitted {
    pub(crate) id: SeatId,
    pub(crate) bytes: u64,
    queue: Arc<Queue>,
}

impl Admitted {
    /// Its frames have this many pixels from now on: its next chunks say how long those of this size take.
    pub(crate) fn resized(&self, pixels: u64) {
        self.queue.state().admission.resized(self.id, pixels);
    }

    /// A chunk was drawn in this time.
    pub(crate) fn drew(&self, took: Duration) {
        let mut state = self.queue.state();
        state.admission.drew(self.id, took, Instant::now());
        state.tell();
        drop(state);
        self.queue.made_room();
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.tickets.remove(&self.id);
        state.calls.remove(&self.id);
        state.admission.leave(self.id, Instant::now());
        state.tell();
        drop(state);
        self.queue.made_room();
    }
}
