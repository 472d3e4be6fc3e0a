//! Who may come in, and whose turn it is.
//!
//! A rollout's memory is known before it is opened, so the one that does not fit is turned away at the door. Of those with
//! credit the one whose last turn is longest ago is next: a session that asks for much waits for one that asks for little.

use std::collections::BTreeMap;

/// A session, as the engine knows it.
pub type SeatId = u64;

pub struct Scheduler {
    memory_bytes: u64,
    seats: BTreeMap<SeatId, Place>,
    turns: u64,
}

#[derive(Default)]
struct Place {
    bytes: u64,
    credit: u64,
    /// When it last had a turn; before its first, when it came.
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
        let earlier = self.seats.insert(id, Place { bytes, credit: 0, last_turn: self.turns });
        assert!(earlier.is_none(), "seat {id} is taken");
        Ok(())
    }

    /// A session that has closed in the meantime gets nothing.
    pub fn grant(&mut self, id: SeatId, chunks: u64) {
        if let Some(place) = self.seats.get_mut(&id) {
            place.credit += chunks;
        }
    }

    /// The session to draw a chunk for: takes one of its credits.
    pub fn take_turn(&mut self) -> Option<SeatId> {
        let ready = self.seats.iter_mut().filter(|(_, place)| place.credit > 0);
        let (&id, place) = ready.min_by_key(|(_, place)| place.last_turn)?;
        self.turns += 1;
        place.credit -= 1;
        place.last_turn = self.turns;
        Some(id)
    }

    pub fn close(&mut self, id: SeatId) {
        self.seats.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(scheduler: &mut Scheduler) -> Vec<SeatId> {
        std::iter::from_fn(|| scheduler.take_turn()).collect()
    }

    #[test]
    fn sessions_with_credit_take_turns() {
        let mut scheduler = Scheduler::new(100);
        for id in [1, 2, 3] {
            scheduler.open(id, 10).expect("there is room");
        }
        assert!(turns(&mut scheduler).is_empty());
        scheduler.grant(1, 3);
        scheduler.grant(3, 2);
        assert_eq!(turns(&mut scheduler), [1, 3, 1, 3, 1]);
        scheduler.grant(1, 2);
        scheduler.grant(2, 1);
        assert_eq!(turns(&mut scheduler), [2, 1, 1], "who never had a turn comes first");
    }

    #[test]
    fn a_session_that_always_asks_cannot_starve_one_that_rarely_does() {
        let mut scheduler = Scheduler::new(100);
        scheduler.open(1, 10).expect("there is room");
        scheduler.open(2, 10).expect("there is room");
        scheduler.grant(1, 1000);
        for _ in 0..50 {
            scheduler.take_turn();
        }
        scheduler.grant(2, 1);
        assert_eq!(scheduler.take_turn(), Some(2));
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
        scheduler.grant(1, 2);
        scheduler.close(1);
        scheduler.close(1);
        scheduler.grant(1, 1);
        assert!(turns(&mut scheduler).is_empty());
    }
}
