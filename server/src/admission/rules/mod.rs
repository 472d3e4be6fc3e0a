//! Who gets a place, and who waits for one: by number of sessions, by memory, and by the device's time.
//!
//! Whoever waits is served in order, with one exception: a session that fits may pass one that does not yet, but nobody is
//! passed more than [`PASSED_MAX`] times. So a large session cannot wait for ever while small ones come and go, and small
//! ones do not wait for it longer than it takes for enough of those that run to leave.

pub mod drawing_times;
mod obstacle;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use drawing_times::{DrawingTimes, Mean};
pub use obstacle::{Obstacle, Refused};

/// A session, as the engine knows it.
pub type SeatId = u64;

/// How often one that does not fit yet is passed by others: they fill what it cannot use, and do not keep it out.
pub const PASSED_MAX: u32 = 8;

#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub sessions: usize,
    /// For all rollouts together.
    pub memory_bytes: u64,
    /// Share of the device's time that paced sessions may need together.
    pub load: f64,
    /// Sessions that wait.
    pub queue: usize,
}

/// What a session will take.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    pub bytes: u64,
    /// Of one frame: a newcomer is expected to be as slow as others of its size.
    pub pixels: u64,
    /// A paced session needs a chunk this often. `None`: it takes what the others leave.
    pub period: Option<Duration>,
}

/// One that waits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Waiting {
    /// 1: nobody is ahead.
    pub position: usize,
    /// `None` while nobody has left yet: then nothing is known.
    pub estimate: Option<Duration>,
    pub obstacle: Obstacle,
}

pub struct Admission {
    bounds: Bounds,
    placed: BTreeMap<SeatId, Placed>,
    queue: VecDeque<Waiter>,
    times: DrawingTimes,
    /// How long sessions stay.
    stay: Mean,
}

struct Placed {
    wish: Wish,
    since: Instant,
    drawing: Mean,
}

struct Waiter {
    id: SeatId,
    wish: Wish,
    passed: u32,
    obstacle: Obstacle,
}

impl Admission {
    pub fn new(bounds: Bounds) -> Admission {
        Admission {
            bounds,
            placed: BTreeMap::new(),
            queue: VecDeque::new(),
            times: DrawingTimes::default(),
            stay: Mean::default(),
        }
    }

    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// A session would like to begin. From here on it has a place or waits for one, until it leaves.
    pub fn ask(&mut self, id: SeatId, wish: Wish, now: Instant) -> Result<(), Refused> {
        let budget = self.bounds.memory_bytes;
        if wish.bytes > budget {
            return Err(Refused::TooLarge { bytes: wish.bytes, budget });
        }
        self.queue.push_back(Waiter { id, wish, passed: 0, obstacle: Obstacle::Order });
        self.admit(now);
        match self.queue.back() {
            Some(last) if last.id == id && self.queue.len() > self.bounds.queue => {
                let obstacle = last.obstacle;
                self.queue.pop_back();
                Err(Refused::QueueFull { waiting: self.queue.len(), obstacle })
            }
            _ => Ok(()),
        }
    }

    /// One is gone, from its place or from the queue.
    pub fn leave(&mut self, id: SeatId, now: Instant) {
        match self.placed.remove(&id) {
            Some(placed) => self.stay.add(now.saturating_duration_since(placed.since)),
            None => self.queue.retain(|waiter| waiter.id != id),
        }
        self.admit(now);
    }

    /// A chunk was drawn in this time.
    pub fn drew(&mut self, id: SeatId, took: Duration, now: Instant) {
        let Some(placed) = self.placed.get_mut(&id) else { return };
        placed.drawing.add(took);
        self.times.add(placed.wish.pixels, took);
        self.admit(now);
    }

    pub fn has_place(&self, id: SeatId) -> bool {
        self.placed.contains_key(&id)
    }

    /// All that wait, the next one first.
    pub fn waiting(&self) -> impl Iterator<Item = (SeatId, Waiting)> {
        let places = self.placed.len().max(1) as u32;
        // One of them leaves every so often.
        let interval = self.stay.get().map(|stay| stay / places);
        self.queue.iter().enumerate().map(move |(ahead, waiter)| {
            let position = ahead + 1;
            let estimate = interval.map(|interval| interval * position as u32);
            (waiter.id, Waiting { position, estimate, obstacle: waiter.obstacle })
        })
    }

    /// Share of the device's time that the paced sessions need.
    pub fn load(&self) -> f64 {
        self.placed.values().map(|placed| self.share(&placed.wish, placed.drawing.get())).sum()
    }

    /// Nothing is known before the first chunk: then it counts as nothing.
    fn share(&self, wish: &Wish, drawing: Option<Duration>) -> f64 {
        let Some(period) = wish.period else { return 0.0 };
        let drawing = drawing.or_else(|| self.times.expected(wish.pixels)).unwrap_or_default();
        drawing.as_secs_f64() / period.as_secs_f64()
    }

    fn admit(&mut self, now: Instant) {
        let mut at = 0;
        let mut in_order = false;
        while let Some(waiter) = self.queue.get(at) {
            let obstacle = if in_order { Some(Obstacle::Order) } else { self.obstacle(&waiter.wish) };
            if let Some(obstacle) = obstacle {
                let waiter = &mut self.queue[at];
                waiter.obstacle = obstacle;
                in_order |= waiter.passed == PASSED_MAX;
                at += 1;
                continue;
            }
            let Waiter { id, wish, .. } = self.queue.remove(at).expect("it was just looked at");
            for passed in self.queue.range_mut(..at) {
                passed.passed += 1;
            }
            in_order = self.queue.range(..at).any(|waiter| waiter.passed == PASSED_MAX);
            let earlier = self.placed.insert(id, Placed { wish, since: now, drawing: Mean::default() });
            assert!(earlier.is_none(), "seat {id} is taken");
        }
    }

    fn obstacle(&self, wish: &Wish) -> Option<Obstacle> {
        let Bounds { sessions, memory_bytes: budget, load: allowed, .. } = self.bounds;
        if self.placed.len() >= sessions {
            return Some(Obstacle::Sessions { max: sessions });
        }
        let free = budget - self.placed.values().map(|placed| placed.wish.bytes).sum::<u64>();
        if wish.bytes > free {
            return Some(Obstacle::Memory { bytes: wish.bytes, free, budget });
        }
        // One that asks for more than there is gets it all if it is alone: it will be late, but nobody else.
        let beside_paced = self.placed.values().any(|placed| placed.wish.period.is_some());
        let (needed, taken) = (self.share(wish, None), self.load());
        if wish.period.is_some() && beside_paced && taken + needed > allowed {
            return Some(Obstacle::Time { needed, taken, allowed });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Bounds = Bounds { sessions: 100, memory_bytes: 1000, load: 0.9, queue: 100 };

    const FREE: Wish = Wish { bytes: 1, pixels: 100, period: None };

    fn paced(period_ms: u64) -> Wish {
        Wish { period: Some(Duration::from_millis(period_ms)), ..FREE }
    }

    fn large(bytes: u64) -> Wish {
        Wish { bytes, ..FREE }
    }

    /// A made-up clock, and an admission that is asked by ids in order.
    struct Desk {
        admission: Admission,
        now: Instant,
        asked: SeatId,
    }

    impl Desk {
        fn new(bounds: Bounds) -> Desk {
            Desk { admission: Admission::new(bounds), now: Instant::now(), asked: 0 }
        }

        fn ask(&mut self, wish: Wish) -> SeatId {
            self.try_ask(wish).expect("it may at least wait")
        }

        fn try_ask(&mut self, wish: Wish) -> Result<SeatId, Refused> {
            self.asked += 1;
            self.admission.ask(self.asked, wish, self.now).map(|()| self.asked)
        }

        fn leave(&mut self, id: SeatId) {
            self.admission.leave(id, self.now);
        }

        fn drew(&mut self, id: SeatId, ms: u64) {
            self.admission.drew(id, Duration::from_millis(ms), self.now);
        }

        fn placed(&self, id: SeatId) -> bool {
            self.admission.has_place(id)
        }

        fn queue(&self) -> Vec<SeatId> {
            self.admission.waiting().map(|(id, _)| id).collect()
        }

        fn obstacle(&self, id: SeatId) -> &'static str {
            let found = self.admission.waiting().find(|(waiter, _)| *waiter == id);
            found.expect("it waits").1.obstacle.name()
        }
    }

    #[test]
    fn the_one_too_many_waits_and_places_are_given_in_order() {
        let mut desk = Desk::new(Bounds { sessions: 2, ..ROOMY });
        let [a, b, c, d] = [(); 4].map(|()| desk.ask(FREE));
        assert!(desk.placed(a) && desk.placed(b));
        assert_eq!((desk.queue(), desk.obstacle(c)), (vec![c, d], "sessions"));
        desk.leave(b);
        assert!(desk.placed(c));
        assert_eq!(desk.queue(), [d]);
    }

    #[test]
    fn one_that_leaves_while_it_waits_is_forgotten_and_those_behind_move_up() {
        let mut desk = Desk::new(Bounds { sessions: 1, ..ROOMY });
        let [a, b, c, d] = [(); 4].map(|()| desk.ask(FREE));
        desk.leave(b);
        let positions: Vec<_> = desk.admission.waiting().map(|(id, waiting)| (id, waiting.position)).collect();
        assert_eq!(positions, [(c, 1), (d, 2)]);
        desk.leave(a);
        // Twice is once: a socket that is dropped says so, and so does its rollout.
        desk.leave(a);
        assert!(desk.placed(c) && !desk.placed(d));
    }

    #[test]
    fn a_full_queue_refuses_the_next_and_one_that_fits_needs_no_queue() {
        let mut desk = Desk::new(Bounds { sessions: 3, queue: 2, ..ROOMY });
        let a = desk.ask(large(600));
        for _ in 0..2 {
            desk.ask(large(600));
        }
        let obstacle = Obstacle::Memory { bytes: 600, free: 400, budget: 1000 };
        assert_eq!(desk.try_ask(large(600)), Err(Refused::QueueFull { waiting: 2, obstacle }));
        let small = desk.ask(FREE);
        assert!(desk.placed(small));
        desk.leave(a);
        assert_eq!(desk.queue().len(), 1);
        let mut none_wait = Desk::new(Bounds { sessions: 1, queue: 0, ..ROOMY });
        none_wait.ask(FREE);
        assert!(none_wait.try_ask(FREE).is_err());
    }

    #[test]
    fn memory_is_shared_out_to_the_last_byte_and_what_can_never_fit_is_refused_at_once() {
        let mut desk = Desk::new(ROOMY);
        assert_eq!(desk.try_ask(large(1001)), Err(Refused::TooLarge { bytes: 1001, budget: 1000 }));
        let a = desk.ask(large(600));
        let b = desk.ask(large(401));
        assert!(desk.placed(a) && !desk.placed(b));
        assert_eq!(desk.obstacle(b), "memory");
        let c = desk.ask(large(400));
        assert!(desk.placed(c));
        desk.leave(a);
        assert!(desk.placed(b));
    }

    #[test]
    fn a_small_session_passes_a_large_one_but_not_for_ever() {
        let mut desk = Desk::new(ROOMY);
        let mut small = desk.ask(large(600));
        let big = desk.ask(large(1000));
        for turn in 0..PASSED_MAX {
            let next = desk.ask(large(400));
            assert!(desk.placed(next), "{turn}");
            desk.leave(std::mem::replace(&mut small, next));
        }
        // Four hundred are taken and six hundred free, and nobody may use them any more.
        let late = desk.ask(large(400));
        assert!(!desk.placed(late));
        assert_eq!((desk.obstacle(big), desk.obstacle(late)), ("memory", "order"));
        desk.leave(small);
        assert!(desk.placed(big) && !desk.placed(late));
        desk.leave(big);
        assert!(desk.placed(late), "who was held up for the large one goes next");
    }

    #[test]
    fn when_one_that_holds_up_the_others_leaves_they_go_on() {
        let mut desk = Desk::new(ROOMY);
        let first = desk.ask(large(600));
        let big = desk.ask(large(1000));
        for _ in 0..PASSED_MAX {
            let passing = desk.ask(large(10));
            desk.leave(passing);
        }
        let held_up = [desk.ask(large(200)), desk.ask(large(200))];
        assert!(held_up.iter().all(|&id| !desk.placed(id)));
        desk.leave(big);
        assert!(held_up.iter().all(|&id| desk.placed(id)) && desk.placed(first));
    }

    #[test]
    fn paced_sessions_get_as_much_of_the_devices_time_as_is_given_out() {
        let mut desk = Desk::new(ROOMY);
        let a = desk.ask(paced(1000));
        // Nothing is known yet: an unmeasured world turns nobody away.
        let b = desk.ask(paced(1000));
        assert!(desk.placed(a) && desk.placed(b));
        desk.drew(a, 300);
        let c = desk.ask(paced(1000));
        assert!(desk.placed(c), "three times 0.3");
        let d = desk.ask(paced(1000));
        assert_eq!(desk.obstacle(d), "time");
        desk.drew(b, 250);
        assert!(!desk.placed(d), "0.3 + 0.25, and twice the mean of both");
        for _ in 0..50 {
            desk.drew(c, 100);
        }
        assert!(desk.placed(d), "measured to be faster than it was expected to be");
    }

    #[test]
    fn a_free_session_needs_no_time_and_passes_a_paced_one_that_waits_for_it() {
        let mut desk = Desk::new(ROOMY);
        let a = desk.ask(paced(1000));
        desk.drew(a, 800);
        let b = desk.ask(paced(1000));
        let c = desk.ask(FREE);
        assert!(!desk.placed(b) && desk.placed(c));
        assert!((desk.admission.load() - 0.8).abs() < 1e-9, "{}", desk.admission.load());
        desk.leave(a);
        assert!(desk.placed(b));
    }

    #[test]
    fn a_paced_session_that_the_device_is_too_slow_for_gets_it_if_no_other_paced_one_is_there() {
        let mut desk = Desk::new(ROOMY);
        let free = desk.ask(FREE);
        desk.drew(free, 2000);
        let a = desk.ask(paced(1000));
        assert!(desk.placed(a));
        let b = desk.ask(paced(1000));
        assert!(!desk.placed(b));
        desk.leave(a);
        assert!(desk.placed(b));
    }

    #[test]
    fn a_newcomer_is_expected_to_be_as_slow_as_its_size() {
        let mut desk = Desk::new(ROOMY);
        let a = desk.ask(paced(1000));
        desk.drew(a, 300);
        let twice = desk.ask(Wish { pixels: 200, ..paced(1000) });
        assert!(desk.placed(twice), "0.3 + 0.6");
        let again = desk.ask(Wish { pixels: 10, ..paced(1000) });
        assert!(!desk.placed(again));
    }

    #[test]
    fn a_wait_is_estimated_from_how_long_others_stayed() {
        let mut desk = Desk::new(Bounds { sessions: 2, ..ROOMY });
        let [a, b, c, _] = [(); 4].map(|()| desk.ask(FREE));
        let estimates = |desk: &Desk| -> Vec<_> { desk.admission.waiting().map(|(_, w)| w.estimate).collect() };
        assert_eq!(estimates(&desk), [None, None]);
        desk.now += Duration::from_secs(60);
        desk.leave(a);
        assert!(desk.placed(b) && desk.placed(c));
        // Two places, each held for a minute.
        assert_eq!(estimates(&desk), [Some(Duration::from_secs(30))]);
    }
}
