//! Which sessions run and which wait: by number of sessions, by memory, and by the device's time.
//!
//! Clips share the sessions' memory and wait in the same queue, take no session's place, and are drawn one at a time.
//!
//! Waiting sessions are admitted in order, with one exception: a session that fits may pass one that does not fit yet,
//! but none is passed more than [`PASSED_MAX`] times. So a large session cannot wait for ever while small ones come and
//! go, and small ones wait for it only until enough running sessions have left.
//!
//! A session whose client rests offers its place. It is asked to leave once another session waits; its rollout may
//! stay, parked, until a session that waits needs the memory.
//!
//! Over 400 lines: who has a place, who waits and who leaves is one decision.

pub mod drawing_times;
mod obstacle;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use drawing_times::{DrawingTimes, Mean};
pub use obstacle::{Obstacle, Refused};

/// A session or a clip, as the engine knows it.
pub type SeatId = u64;

/// How often a session that does not fit yet may be passed: others fill the room it cannot use, without keeping it out.
pub const PASSED_MAX: u32 = 8;

/// What the operator allows all sessions together.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Sessions that run at once.
    pub sessions: usize,
    /// For all rollouts together.
    pub memory_bytes: u64,
    /// Share of the device's time that paced sessions may need together.
    pub load: f64,
    /// Sessions that wait.
    pub queue: usize,
    /// Clips that wait.
    pub clips: usize,
}

/// What a session or a clip will take.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// Memory, while it has its place.
    pub bytes: u64,
    /// Pixels of one frame: a newcomer is expected to be as slow as others of its size.
    pub pixels: u64,
    /// How it takes the device's time.
    pub kind: Kind,
}

/// How something takes the device's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A session that takes what the others leave.
    Free,
    /// A session that needs chunks on time.
    Paced {
        /// How often it needs one.
        period: Duration,
    },
    /// A clip: drawn in time that no session needs, and never beside another clip.
    Clip,
}

/// A waiting session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Waiting {
    /// 1: nobody of its kind, session or clip, is ahead.
    pub position: usize,
    /// `None` while nobody has left yet: then nothing is known. Also `None` for a clip.
    pub estimate: Option<Duration>,
    /// What keeps it from a place.
    pub obstacle: Obstacle,
}

/// Who has a place and who waits for one.
pub struct Admission {
    bounds: Bounds,
    placed: BTreeMap<SeatId, Placed>,
    /// Rollouts without a place. There are never more of them than there are places.
    parked: BTreeMap<SeatId, Parked>,
    queue: VecDeque<Waiter>,
    times: DrawingTimes,
    /// How long sessions stay.
    stay: Mean,
}

struct Placed {
    wish: Wish,
    since: Instant,
    drawing: Mean,
    offer: Offer,
}

/// Whether a session would do without its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    None,
    /// Its client has rested since then.
    Since(Instant),
    /// It was asked for its place, and will leave it.
    Asked,
}

struct Parked {
    wish: Wish,
    since: Instant,
    /// It must go: a session that waits needs its memory.
    evicted: bool,
}

struct Waiter {
    id: SeatId,
    wish: Wish,
    passed: u32,
    obstacle: Obstacle,
}

impl Wish {
    fn is_clip(&self) -> bool {
        self.kind == Kind::Clip
    }
}

impl Waiter {
    /// Whether this waiter waits longer when `other` is admitted. A clip takes memory alone, so it delays those that
    /// wait for memory. A clip that waits for the clip before it is delayed by no session.
    fn is_passed_by(&self, other: &Wish) -> bool {
        match self.obstacle {
            Obstacle::Clip => false,
            Obstacle::Memory { .. } => true,
            _ => !other.is_clip(),
        }
    }
}

impl Admission {
    /// Nobody is there yet.
    pub fn new(bounds: Bounds) -> Admission {
        Admission {
            bounds,
            placed: BTreeMap::new(),
            parked: BTreeMap::new(),
            queue: VecDeque::new(),
            times: DrawingTimes::default(),
            stay: Mean::default(),
        }
    }

    /// What the operator allows.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Add a session. It is admitted or waits, until it leaves.
    pub fn ask(&mut self, id: SeatId, wish: Wish, now: Instant) -> Result<(), Refused> {
        let budget = self.bounds.memory_bytes;
        if wish.bytes > budget {
            return Err(Refused::TooLarge { bytes: wish.bytes, budget });
        }
        self.wait(id, wish, now)
    }

    fn wait(&mut self, id: SeatId, wish: Wish, now: Instant) -> Result<(), Refused> {
        self.queue.push_back(Waiter { id, wish, passed: 0, obstacle: Obstacle::Order });
        self.admit(now);
        let bound = if wish.is_clip() { self.bounds.clips } else { self.bounds.queue };
        let waiting = self.queue.iter().filter(|waiter| waiter.wish.is_clip() == wish.is_clip()).count();
        match self.queue.back() {
            Some(last) if last.id == id && waiting > bound => {
                let (waiting, obstacle) = (waiting - 1, last.obstacle);
                self.queue.pop_back();
                Err(if wish.is_clip() {
                    Refused::ClipsFull { waiting }
                } else {
                    Refused::QueueFull { waiting, obstacle }
                })
            }
            _ => Ok(()),
        }
    }

    /// One is gone, from its place, the queue, or where it was parked.
    pub fn leave(&mut self, id: SeatId, now: Instant) {
        self.queue.retain(|waiter| waiter.id != id);
        self.parked.remove(&id);
        if let Some(placed) = self.placed.remove(&id).filter(|placed| !placed.wish.is_clip()) {
            self.stay.add(now.saturating_duration_since(placed.since));
        }
        self.admit(now);
    }

    /// A session would do without its place if somebody waits: its client has rested since then.
    pub fn offer(&mut self, id: SeatId, since: Instant, now: Instant) {
        if let Some(placed) = self.placed.get_mut(&id) {
            placed.offer = Offer::Since(since);
            self.admit(now);
        }
    }

    /// Its client rests no more. If it was asked already, another is asked instead.
    pub fn withdraw(&mut self, id: SeatId) {
        if let Some(placed) = self.placed.get_mut(&id) {
            placed.offer = Offer::None;
            self.make_room();
        }
    }

    /// A session has left its place, and its rollout would stay. `false` if it must go: so many are parked already.
    pub fn park(&mut self, id: SeatId, now: Instant) -> bool {
        if self.parked.len() >= self.bounds.sessions {
            return false;
        }
        let Some(placed) = self.placed.remove(&id) else { return false };
        self.stay.add(now.saturating_duration_since(placed.since));
        self.parked.insert(id, Parked { wish: placed.wish, since: now, evicted: false });
        self.admit(now);
        true
    }

    /// The client of a parked session is back, and needs a place again. `Ok(false)`: the rollout must go, it is too
    /// late.
    pub fn ask_again(&mut self, id: SeatId, now: Instant) -> Result<bool, Refused> {
        match self.parked.get(&id) {
            Some(Parked { wish, evicted: false, .. }) => self.wait(id, *wish, now).map(|()| true),
            _ => Ok(false),
        }
    }

    /// One that had asked again waits no more, and is parked as before.
    pub fn stop_waiting(&mut self, id: SeatId, now: Instant) {
        self.queue.retain(|waiter| waiter.id != id);
        self.admit(now);
    }

    /// Whether a session must leave: its place, or with its rollout.
    pub fn must_leave(&self, id: SeatId) -> bool {
        let asked = self.placed.get(&id).is_some_and(|placed| placed.offer == Offer::Asked);
        asked || self.parked.get(&id).is_some_and(|parked| parked.evicted)
    }

    /// A chunk was drawn in this time.
    pub fn drew(&mut self, id: SeatId, took: Duration, now: Instant) {
        let Some(placed) = self.placed.get_mut(&id) else { return };
        placed.drawing.add(took);
        self.times.add(placed.wish.pixels, took);
        self.admit(now);
    }

    /// A session goes on with another video, whose frames have this many pixels: no more than it was admitted with.
    pub fn resized(&mut self, id: SeatId, pixels: u64) {
        self.placed.get_mut(&id).into_iter().for_each(|placed| placed.wish.pixels = pixels);
    }

    /// A chunk of frames of this size was drawn in this time before any session came: a newcomer is expected to take as
    /// long.
    pub fn measured(&mut self, pixels: u64, took: Duration) {
        self.times.add(pixels, took);
    }

    /// Whether this session has a place: it does not wait, and has not left.
    pub fn has_place(&self, id: SeatId) -> bool {
        self.placed.contains_key(&id)
    }

    /// All waiting sessions, the next one first.
    pub fn waiting(&self) -> impl Iterator<Item = (SeatId, Waiting)> {
        // Sessions leave at an even rate on average.
        let interval = self.stay.get().map(|stay| stay / self.sessions().max(1) as u32);
        let mut ahead = [0; 2];
        self.queue.iter().map(move |waiter| {
            let is_clip = waiter.wish.is_clip();
            let position = &mut ahead[usize::from(is_clip)];
            *position += 1;
            let estimate = interval.filter(|_| !is_clip).map(|interval| interval * *position as u32);
            (waiter.id, Waiting { position: *position, estimate, obstacle: waiter.obstacle })
        })
    }

    /// The sessions that wait, the next one first.
    pub fn sessions_waiting(&self) -> impl Iterator<Item = (SeatId, Waiting)> {
        let is_session = self.queue.iter().map(|waiter| !waiter.wish.is_clip());
        self.waiting().zip(is_session).filter_map(|(waiting, is_session)| is_session.then_some(waiting))
    }

    /// Sessions that have a place.
    fn sessions(&self) -> usize {
        self.placed.values().filter(|placed| !placed.wish.is_clip()).count()
    }

    /// Sessions that have a place, and the memory of all that are placed or parked.
    pub fn taken(&self) -> (usize, u64) {
        let placed = self.placed.values().map(|placed| placed.wish.bytes);
        let parked = self.parked.values().map(|parked| parked.wish.bytes);
        (self.sessions(), placed.chain(parked).sum())
    }

    /// Share of the device's time that the paced sessions need.
    pub fn load(&self) -> f64 {
        self.placed.values().map(|placed| self.share(&placed.wish, placed.drawing.get())).sum()
    }

    /// The share of one session. 0 while no chunk was measured.
    fn share(&self, wish: &Wish, drawing: Option<Duration>) -> f64 {
        let Kind::Paced { period } = wish.kind else { return 0.0 };
        let drawing = drawing.or_else(|| self.times.expected(wish.pixels)).unwrap_or_default();
        drawing.as_secs_f64() / period.as_secs_f64()
    }

    fn admit(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(waiter) = self.queue.get(at) {
            if let Some(obstacle) = self.obstacle(at, waiter) {
                self.queue[at].obstacle = obstacle;
                at += 1;
                continue;
            }
            let Waiter { id, wish, .. } = self.queue.remove(at).expect("it was just looked at");
            self.parked.remove(&id);
            for waiter in self.queue.range_mut(..at).filter(|waiter| waiter.is_passed_by(&wish)) {
                waiter.passed += 1;
            }
            let placed = Placed { wish, since: now, drawing: Mean::default(), offer: Offer::None };
            let earlier = self.placed.insert(id, placed);
            assert!(earlier.is_none(), "seat {id} is taken");
        }
        self.make_room();
    }

    /// Where it helps a session that waits, remove parked rollouts and ask resting sessions for their places. In both
    /// groups the one that has rested longest goes first.
    fn make_room(&mut self) {
        let short_of_memory = self.queue.iter().find_map(|waiter| match waiter.obstacle {
            Obstacle::Memory { bytes, free, .. } => Some(bytes - free),
            _ => None,
        });
        if let Some(missing) = short_of_memory {
            self.evict(missing);
        }
        let asked = self.placed.values().filter(|placed| placed.offer == Offer::Asked).count();
        for _ in asked..self.sessions_waiting().count() {
            let offers = self.placed.values_mut().filter_map(|placed| match placed.offer {
                Offer::Since(since) => Some((since, &mut placed.offer)),
                Offer::None | Offer::Asked => None,
            });
            let Some((_, longest)) = offers.min_by_key(|(since, _)| *since) else { return };
            *longest = Offer::Asked;
        }
    }

    /// Parked rollouts go, the one parked first before the others, if that frees so many bytes. One that has asked
    /// again stays.
    fn evict(&mut self, missing: u64) {
        let queue = &self.queue;
        let waits = |id: SeatId| queue.iter().any(|waiter| waiter.id == id);
        let mut can_go: Vec<_> =
            self.parked.iter_mut().filter(|(id, _)| !waits(**id)).map(|(_, parked)| parked).collect();
        if can_go.iter().map(|parked| parked.wish.bytes).sum::<u64>() < missing {
            return;
        }
        can_go.sort_by_key(|parked| (!parked.evicted, parked.since));
        let mut freed = 0;
        for parked in can_go {
            if freed >= missing {
                return;
            }
            freed += parked.wish.bytes;
            parked.evicted = true;
        }
    }

    /// What keeps the one at this place of the queue from being admitted.
    fn obstacle(&self, at: usize, Waiter { id, wish, .. }: &Waiter) -> Option<Obstacle> {
        let Bounds { sessions, memory_bytes: budget, load: allowed, .. } = self.bounds;
        let ahead = || self.queue.range(..at);
        let clips_drawn = || self.placed.values().any(|placed| placed.wish.is_clip());
        if wish.is_clip() && (clips_drawn() || ahead().any(|waiter| waiter.wish.is_clip())) {
            return Some(Obstacle::Clip);
        }
        if ahead().any(|waiter| waiter.passed == PASSED_MAX && waiter.is_passed_by(wish)) {
            return Some(Obstacle::Order);
        }
        if !wish.is_clip() && self.sessions() >= sessions {
            return Some(Obstacle::Sessions { max: sessions });
        }
        let free = budget - self.taken().1;
        // One that is parked has its memory already.
        if wish.bytes > free && !self.parked.contains_key(id) {
            return Some(Obstacle::Memory { bytes: wish.bytes, free, budget });
        }
        // A session that needs more than the device has may run alone: it will be late, but delays no other.
        let is_paced = |wish: &Wish| matches!(wish.kind, Kind::Paced { .. });
        let beside_paced = self.placed.values().any(|placed| is_paced(&placed.wish));
        let (needed, taken) = (self.share(wish, None), self.load());
        if is_paced(wish) && beside_paced && taken + needed > allowed {
            return Some(Obstacle::Time { needed, taken, allowed });
        }
        None
    }
}

#[cfg(test)]
mod tests;
