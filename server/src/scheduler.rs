//! Who may come in, and whose turn it is.
//!
//! A rollout's memory is known before it is opened, so the one that does not fit is turned away at the door. Of those with
//! credit the one that is due first is next. A paced chunk is due when it is to be shown, any other when it was asked for,
//! and a second credit only from the turn of the first: so who asks for much waits for one that asks for little.

use std::collections::BTreeMap;
use std::time::Instant;

/// A session, as the engine knows it.
pub type SeatId = u64;

pub struct Scheduler {
    memory_bytes: u64,
    seats: BTreeMap<SeatId, Place>,
    turns: u64,
}

struct Place {
    bytes: u64,
    credit: u64,
    /// Of the next chunk; `None` before the first grant.
    due: Option<Instant>,
    /// Decides between those that are due at the same time. When it last had a turn; before its first, when it came.
    last_turn: u64,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overloaded {
    #[error("a session like this takes {bytes} bytes, and {budget} are there for all")]
    Never { bytes: u64, budget: u64 },
    #[error("{bytes} bytes are asked for, and {free} are free")]
    NotNow { bytes: u64, free: u64 },
}

impl Scheduler {
    pub fn new(memory_bytes: u64) -> Scheduler {
        Scheduler { memory_bytes, seats: BTreeMap::new(), turns: 0 }
    }

    pub fn open(&mut self, id: SeatId, bytes: u64) -> Result<(), Overloaded> {
        let budget = self.memory_bytes;
        if bytes > budget {
            return Err(Overloaded::Never { bytes, budget });
        }
        let free = budget - self.seats.values().map(|place| place.bytes).sum::<u64>();
        if bytes > free {
            return Err(Overloaded::NotNow { bytes, free });
        }
        self.turns += 1;
        let earlier = self.seats.insert(id, Place { bytes, credit: 0, due: None, last_turn: self.turns });
        assert!(earlier.is_none(), "seat {id} is taken");
        Ok(())
    }

    /// A session that has closed in the meantime gets nothing.
    pub fn grant(&mut self, id: SeatId, chunks: u64, due: Instant) {
        if let Some(place) = self.seats.get_mut(&id) {
            if place.credit == 0 {
                place.due = Some(due);
            }
            place.credit += chunks;
        }
    }

    /// The session to draw a chunk for: takes one of its credits.
    pub fn take_turn(&mut self, now: Instant) -> Option<SeatId> {
        let ready = self.seats.iter_mut().filter(|(_, place)| place.credit > 0);
        let (&id, place) = ready.min_by_key(|(_, place)| (place.due, place.last_turn))?;
        self.turns += 1;
        place.credit -= 1;
        place.last_turn = self.turns;
        place.due = Some(now);
        Some(id)
    }

    pub fn close(&mut self, id: SeatId) {
        self.seats.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn turns(scheduler: &mut Scheduler) -> Vec<SeatId> {
        let now = Instant::now();
        std::iter::from_fn(|| scheduler.take_turn(now)).collect()
    }

    #[test]
    fn sessions_with_credit_take_turns() {
        let mut scheduler = Scheduler::new(100);
        for id in [1, 2, 3] {
            scheduler.open(id, 10).expect("there is room");
        }
        assert!(turns(&mut scheduler).is_empty());
        let now = Instant::now();
        scheduler.grant(1, 3, now);
        scheduler.grant(3, 2, now);
        assert_eq!(turns(&mut scheduler), [1, 3, 1, 3, 1]);
        let now = Instant::now();
        scheduler.grant(1, 2, now);
        scheduler.grant(2, 1, now);
        assert_eq!(turns(&mut scheduler), [2, 1, 1], "who never had a turn comes first");
    }

    #[test]
    fn a_session_that_always_asks_cannot_starve_one_that_rarely_does() {
        let mut scheduler = Scheduler::new(100);
        scheduler.open(1, 10).expect("there is room");
        scheduler.open(2, 10).expect("there is room");
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        scheduler.grant(1, 1000, start);
        for turn in 0..50 {
            assert_eq!(scheduler.take_turn(at(10 * turn)), Some(1));
        }
        scheduler.grant(2, 1, at(495));
        // What the first has left is due since its last turn began, at 490.
        assert_eq!(scheduler.take_turn(at(500)), Some(1));
        assert_eq!(scheduler.take_turn(at(510)), Some(2));
    }

    #[test]
    fn the_chunk_that_is_due_first_is_drawn_first() {
        let mut scheduler = Scheduler::new(100);
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        for (id, due) in [(1, at(30)), (2, at(10)), (3, at(20))] {
            scheduler.open(id, 10).expect("there is room");
            scheduler.grant(id, 1, due);
        }
        assert_eq!(turns(&mut scheduler), [2, 3, 1]);
    }

    /// Free sessions on one device with a made-up clock: each has two credits, and one more as each chunk ends. Gives the
    /// chunks that each got.
    fn simulate(chunk_ms: &[u64], turns: usize) -> Vec<f64> {
        let mut scheduler = Scheduler::new(100);
        let mut now = Instant::now();
        let mut chunks = vec![0.0; chunk_ms.len()];
        for id in 0..chunk_ms.len() as u64 {
            scheduler.open(id, 1).expect("there is room");
            scheduler.grant(id, 2, now + Duration::from_millis(7 * id));
        }
        for _ in 0..turns {
            let id = scheduler.take_turn(now).expect("all have credit");
            now += Duration::from_millis(chunk_ms[id as usize]);
            chunks[id as usize] += 1.0;
            scheduler.grant(id, 1, now);
        }
        chunks
    }

    #[test]
    fn four_equal_sessions_get_equal_shares_and_a_heavy_one_does_not_starve_a_light_one() {
        let jain = |shares: &[f64]| {
            let sum: f64 = shares.iter().sum();
            sum * sum / (shares.len() as f64 * shares.iter().map(|share| share * share).sum::<f64>())
        };
        let equal = simulate(&[50; 4], 102);
        assert!(jain(&equal) >= 0.99, "{equal:?}");
        let heavy_and_light = simulate(&[2000, 20], 100);
        assert!(jain(&heavy_and_light) >= 0.99, "{heavy_and_light:?}: a chunk for each, however long the other's are");
    }

    #[test]
    fn what_does_not_fit_is_turned_away_until_there_is_room() {
        let mut scheduler = Scheduler::new(100);
        assert_eq!(scheduler.open(1, 101), Err(Overloaded::Never { bytes: 101, budget: 100 }));
        assert_eq!(scheduler.open(2, 60), Ok(()));
        assert_eq!(scheduler.open(3, 41), Err(Overloaded::NotNow { bytes: 41, free: 40 }));
        assert_eq!(scheduler.open(4, 40), Ok(()));
        scheduler.close(2);
        assert_eq!(scheduler.open(3, 41), Ok(()));
    }

    #[test]
    fn a_closed_session_has_no_turn_and_its_grants_go_nowhere() {
        let mut scheduler = Scheduler::new(100);
        scheduler.open(1, 10).expect("there is room");
        let now = Instant::now();
        scheduler.grant(1, 2, now);
        scheduler.close(1);
        scheduler.close(1);
        scheduler.grant(1, 1, now);
        assert!(turns(&mut scheduler).is_empty());
    }
}
