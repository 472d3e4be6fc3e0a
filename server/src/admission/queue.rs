//! Where sessions wait for a place: [`Admission`] decides, this tells everybody.
//!
//! Not on the engine's thread: that one may be busy with a chunk for seconds, and the one too many should hear at once. What
//! is decided here takes microseconds, so it is decided under a lock; nobody is told under it who could be slow to listen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use pipeline::world::{Init, RolloutBytes};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use super::rules::{Admission, Bounds, Obstacle, Refused, SeatId, Waiting, Wish};

pub(crate) struct Queue {
    state: Mutex<State>,
    /// Known once the world is loaded.
    rollout_bytes: OnceLock<RolloutBytes>,
    /// Until then as many wait as may afterwards: what they said is kept, and may be large.
    before_the_world: Semaphore,
}

struct State {
    admission: Admission,
    /// Of all that wait.
    tickets: HashMap<SeatId, watch::Sender<Standing>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Standing {
    Waits(Waiting),
    /// There is a place.
    Placed,
}

impl Queue {
    pub(crate) fn new(bounds: Bounds) -> Arc<Queue> {
        let state = State { admission: Admission::new(bounds), tickets: HashMap::new() };
        let before_the_world = Semaphore::new(bounds.sessions + bounds.queue);
        Arc::new(Queue { state: Mutex::new(state), rollout_bytes: OnceLock::new(), before_the_world })
    }

    /// Wait for the world, if there is room; until this is dropped.
    pub(crate) fn before_the_world(&self) -> Result<SemaphorePermit<'_>, Refused> {
        let Bounds { sessions, queue, .. } = *self.state().admission.bounds();
        let full = Refused::QueueFull { waiting: sessions + queue, obstacle: Obstacle::Loading };
        self.before_the_world.try_acquire().map_err(|_| full)
    }

    /// The world is there, and this is what its rollouts will hold.
    pub(crate) fn loaded(&self, rollout_bytes: RolloutBytes) {
        assert!(self.rollout_bytes.set(rollout_bytes).is_ok(), "a world is loaded once");
    }

    /// A place, or one in the queue, for a session that begins like this and needs a chunk every `period` if it is paced.
    pub(crate) fn ask(
        self: &Arc<Self>,
        id: SeatId,
        init: &Init,
        period: Option<Duration>,
    ) -> Result<QueueTicket, Refused> {
        let rollout_bytes = self.rollout_bytes.get().expect("an init is checked against the card of a loaded world");
        let wish = Wish { bytes: rollout_bytes(init), pixels: init.size.pixels(), period };
        let mut state = self.state();
        state.admission.ask(id, wish, Instant::now())?;
        let waits = state.admission.waiting().find(|(waiter, _)| *waiter == id);
        let standing = match waits {
            None => watch::channel(Standing::Placed).1,
            Some((_, waiting)) => {
                let (teller, standing) = watch::channel(Standing::Waits(waiting));
                state.tickets.insert(id, teller);
                standing
            }
        };
        state.tell();
        Ok(QueueTicket { admitted: Admitted { id, bytes: wish.bytes, queue: Arc::clone(self) }, standing })
    }

    /// Sessions that wait.
    pub(crate) fn length(&self) -> usize {
        self.state().tickets.len()
    }

    /// All of them, the next one first.
    pub(crate) fn directory(&self) -> Vec<Value> {
        let line = |(seat, waiting): (SeatId, Waiting)| {
            json!({
                "seat": seat,
                "position": waiting.position,
                "estimated_wait_ms": waiting.estimate.map(|wait| wait.as_millis() as u64),
                "reason": waiting.obstacle.name(),
            })
        };
        self.state().admission.waiting().map(line).collect()
    }

    /// Share of the device's time that paced sessions need.
    pub(crate) fn load(&self) -> f64 {
        self.state().admission.load()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }
}

impl State {
    fn tell(&mut self) {
        let State { admission, tickets } = self;
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

/// A session that may have to wait.
pub(crate) struct QueueTicket {
    admitted: Admitted,
    pub(crate) standing: watch::Receiver<Standing>,
}

impl QueueTicket {
    /// Once its standing says so.
    pub(crate) fn into_admitted(self) -> Admitted {
        self.admitted
    }
}

/// A session's share of the server, or its hope for one: given up when this is dropped.
pub(crate) struct Admitted {
    pub(crate) id: SeatId,
    pub(crate) bytes: u64,
    queue: Arc<Queue>,
}

impl Admitted {
    /// A chunk was drawn in this time.
    pub(crate) fn drew(&self, took: Duration) {
        let mut state = self.queue.state();
        state.admission.drew(self.id, took, Instant::now());
        state.tell();
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.tickets.remove(&self.id);
        state.admission.leave(self.id, Instant::now());
        state.tell();
    }
}
