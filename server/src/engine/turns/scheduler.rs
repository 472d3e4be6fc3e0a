//! Whose turn it is.
//!
//! A paced chunk is due when it is to be shown; of those that have credit the one due first is next. What paced sessions
//! leave, the free ones share: a chunk for each in turn, in the order in which they asked, a second credit counting only from
//! the turn of the first. They yield to every paced chunk, but if none of theirs was drawn for [`PATIENCE`] the next one is.
//! A session is opened before free chunks, and beside paced ones as [`Openings`] says. A clip is drawn a piece at a time, as
//! [`Clips`] says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::clips::{Against, Clips, NextGrant};
use super::openings::Openings;
use crate::admission::rules::SeatId;

/// Free sessions starve no longer than this, and a chunk beside them is late no more often: admission leaves them a share of
/// the device, so it takes an overloaded one to get here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Decides what the device does next.
#[derive(Default)]
pub(crate) struct Scheduler {
    seats: BTreeMap<SeatId, Turn>,
    turns: u64,
    /// A free session has the turn.
    free_has_it: bool,
    /// When a free session's last turn ended.
    free_until: Option<Instant>,
    /// The sessions that are to be opened.
    pub(crate) openings: Openings,
    /// The clip that is drawn beside the sessions.
    pub(crate) clips: Clips,
}

/// What the device does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// This session's opening.
    Open(SeatId),
    /// A chunk for this session.
    Chunk(SeatId),
    /// A piece of this clip.
    Piece(SeatId),
}

/// A session's place in the order of turns.
struct Turn {
    paced: bool,
    credit: u64,
    /// Of the next chunk; `None` before the first grant.
    due: Option<Instant>,
    /// Decides between those that are due at the same time. When it last had a turn; before its first, when it came.
    last_turn: u64,
    /// Of a paced session without credit.
    next_grant: NextGrant,
}

impl Scheduler {
    /// A session begins, without credit.
    pub(crate) fn open(&mut self, id: SeatId, paced: bool) {
        self.turns += 1;
        let turn = Turn { paced, credit: 0, due: None, last_turn: self.turns, next_grant: NextGrant::Soon };
        let earlier = self.seats.insert(id, turn);
        assert!(earlier.is_none(), "seat {id} is taken");
    }

    /// A session that has closed in the meantime gets nothing.
    pub(crate) fn grant(&mut self, id: SeatId, chunks: u64, due: Instant) {
        if let Some(turn) = self.seats.get_mut(&id) {
            if turn.credit == 0 {
                turn.due = Some(due);
            }
            turn.credit += chunks;
        }
    }

    /// A paced session says when it will grant its next chunk, unless its client brings that forward.
    pub(crate) fn expect_grant(&mut self, id: SeatId, next_grant: NextGrant) {
        if let Some(turn) = self.seats.get_mut(&id) {
            turn.next_grant = next_grant;
        }
    }

    /// What to draw: takes a credit of it. What was drawn before it has ended.
    pub(crate) fn take_turn(&mut self, now: Instant) -> Option<Next> {
        if std::mem::take(&mut self.free_has_it) {
            self.free_until = Some(now);
        }
        let first = |paced: bool| {
            let ready = self.seats.iter().filter(|(_, turn)| turn.credit > 0 && turn.paced == paced);
            let first = ready.min_by_key(|(_, turn)| (turn.due, turn.last_turn));
            first.map(|(&id, turn)| (Next::Chunk(id), turn.due))
        };
        let (paced, next_grant) = (first(true), self.next_grant(now));
        let opening = self.openings.next(next_grant, now).map(|(id, since)| (Next::Open(id), Some(since)));
        let free = opening.or_else(|| first(false));
        let against = Against { paced: paced.is_some(), free: free.is_some(), next_grant };
        if let Some(clip) = self.clips.take_turn(against, now) {
            return Some(Next::Piece(clip));
        }
        let (next, is_free) = match (paced, free) {
            (Some((paced, _)), Some((free, asked))) => {
                let waits_since = asked.max(self.free_until);
                let starves = waits_since.is_some_and(|since| now.saturating_duration_since(since) >= PATIENCE);
                if starves { (free, true) } else { (paced, false) }
            }
            (Some((paced, _)), None) => (paced, false),
            (None, Some((free, _))) => (free, true),
            (None, None) => return None,
        };
        self.free_has_it = is_free;
        match next {
            Next::Open(id) => self.openings.remove(id),
            Next::Chunk(id) => self.take_credit(id, now),
            Next::Piece(_) => unreachable!("no session is a clip"),
        }
        Some(next)
    }

    fn take_credit(&mut self, id: SeatId, now: Instant) {
        self.turns += 1;
        let turn = self.seats.get_mut(&id).expect("it was just found");
        turn.credit -= 1;
        turn.last_turn = self.turns;
        turn.due = Some(now);
        turn.next_grant = NextGrant::Soon;
    }

    /// When to ask again, if nobody has a turn now and nothing happens until then.
    pub(crate) fn look_again_at(&self, now: Instant) -> Option<Instant> {
        let next_grant = self.next_grant(now);
        self.clips.look_again_at(next_grant).into_iter().chain(self.openings.look_again_at(next_grant)).min()
    }

    /// When a paced session without credit will grant first.
    fn next_grant(&self, now: Instant) -> NextGrant {
        let without_credit = self.seats.values().filter(|turn| turn.paced && turn.credit == 0);
        without_credit.map(|turn| turn.next_grant.still_expected(now)).min().unwrap_or(NextGrant::Never)
    }

    /// When the first but this session needs the device. `Soon`: somebody waits for it already.
    pub(crate) fn others(&self, id: SeatId, now: Instant) -> NextGrant {
        let others = || self.seats.iter().filter(|(other, _)| **other != id).map(|(_, turn)| turn);
        if self.clips.is_any() || self.openings.is_any() || others().any(|turn| turn.credit > 0) {
            return NextGrant::Soon;
        }
        let paced = others().filter(|turn| turn.paced);
        paced.map(|turn| turn.next_grant.still_expected(now)).min().unwrap_or(NextGrant::Never)
    }

    /// The session, or the clip, is gone.
    pub(crate) fn close(&mut self, id: SeatId) {
        self.seats.remove(&id);
        self.openings.remove(id);
        self.clips.end(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: bool = false;
    const PACED: bool = true;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn with(seats: impl IntoIterator<Item = (SeatId, bool)>) -> Scheduler {
        let mut scheduler = Scheduler::default();
        for (id, paced) in seats {
            scheduler.open(id, paced);
        }
        scheduler
    }

    /// The session that has the turn: there is no clip here.
    fn chunk(scheduler: &mut Scheduler, now: Instant) -> Option<SeatId> {
        scheduler.take_turn(now).map(|next| match next {
            Next::Chunk(id) => id,
            other => panic!("{other:?}"),
        })
    }

    fn turns(scheduler: &mut Scheduler) -> Vec<SeatId> {
        let now = Instant::now();
        std::iter::from_fn(|| chunk(scheduler, now)).collect()
    }

    #[test]
    fn sessions_with_credit_take_turns() {
        let mut scheduler = with([(1, FREE), (2, FREE), (3, FREE)]);
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
        let mut scheduler = with([(1, FREE), (2, FREE)]);
        let start = Instant::now();
        scheduler.grant(1, 1000, start);
        for turn in 0..50 {
            assert_eq!(chunk(&mut scheduler, start + ms(10 * turn)), Some(1));
        }
        scheduler.grant(2, 1, start + ms(495));
        // What the first has left is due since its last turn began, at 490.
        assert_eq!(chunk(&mut scheduler, start + ms(500)), Some(1));
        assert_eq!(chunk(&mut scheduler, start + ms(510)), Some(2));
    }

    #[test]
    fn the_chunk_that_is_due_first_is_drawn_first() {
        let now = Instant::now();
        let mut scheduler = with([(1, PACED), (2, PACED), (3, PACED)]);
        for (id, due) in [(1, 30), (2, 10), (3, 20)] {
            scheduler.grant(id, 1, now + ms(due));
        }
        assert_eq!(turns(&mut scheduler), [2, 3, 1]);
    }

    #[test]
    fn a_paced_chunk_goes_before_free_ones_that_asked_earlier() {
        let now = Instant::now();
        let mut scheduler = with([(1, FREE), (2, PACED), (3, FREE)]);
        scheduler.grant(1, 1, now);
        scheduler.grant(3, 1, now + ms(100));
        scheduler.grant(2, 1, now + ms(900));
        let order = [500, 600, 700, 800].map(|at| chunk(&mut scheduler, now + ms(at)));
        assert_eq!(order, [Some(2), Some(1), Some(3), None]);
    }

    #[test]
    fn free_sessions_get_a_chunk_a_second_of_a_device_that_paced_ones_keep_busy() {
        let start = Instant::now();
        let mut scheduler = with([(1, PACED), (2, FREE), (3, FREE)]);
        scheduler.grant(2, 100, start);
        scheduler.grant(3, 100, start);
        let mut drawn = Vec::new();
        for turn in 0..35 {
            let now = start + ms(100 * turn);
            scheduler.grant(1, 1, now);
            drawn.extend(chunk(&mut scheduler, now));
        }
        let free: Vec<_> = drawn.iter().enumerate().filter(|(_, id)| **id != 1).collect();
        // The second begins with the end of a free turn.
        assert_eq!(free, [(10, &2), (21, &3), (32, &2)]);
    }

    #[test]
    fn an_opening_goes_before_free_chunks_and_takes_time_of_paced_ones_only_after_its_wait() {
        let start = Instant::now();
        let mut scheduler = with([(1, FREE)]);
        scheduler.grant(1, 2, start);
        scheduler.openings.ask(2, 100, start + ms(1));
        let next = |scheduler: &mut Scheduler, at| scheduler.take_turn(start + ms(at));
        assert_eq!(next(&mut scheduler, 5), Some(Next::Open(2)));
        assert_eq!(next(&mut scheduler, 10), Some(Next::Chunk(1)));
        assert_eq!(next(&mut scheduler, 15), Some(Next::Chunk(1)));

        let mut scheduler = with([(1, PACED)]);
        scheduler.openings.ask(2, 100, start);
        let drawn = (0..14).map(|turn| {
            scheduler.grant(1, 1, start + ms(100 * turn));
            next(&mut scheduler, 100 * turn).expect("the paced one has credit")
        });
        let opened: Vec<_> = drawn.enumerate().filter(|(_, next)| *next == Next::Open(2)).collect();
        assert_eq!(opened, [(10, Next::Open(2))], "after a second, and once");
    }

    /// Free sessions on one device with a made-up clock: each has two credits, and one more as each chunk ends. Gives the
    /// chunks that each got.
    fn simulate(chunk_ms: &[u64], turns: usize) -> Vec<f64> {
        let mut scheduler = Scheduler::default();
        let mut now = Instant::now();
        let mut chunks = vec![0.0; chunk_ms.len()];
        for id in 0..chunk_ms.len() as u64 {
            scheduler.open(id, FREE);
            scheduler.grant(id, 2, now + ms(7 * id));
        }
        for _ in 0..turns {
            let id = chunk(&mut scheduler, now).expect("all have credit");
            now += ms(chunk_ms[id as usize]);
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
    fn a_closed_session_has_no_turn_and_its_grants_go_nowhere() {
        let mut scheduler = with([(1, FREE)]);
        let now = Instant::now();
        scheduler.grant(1, 2, now);
        scheduler.close(1);
        scheduler.close(1);
        scheduler.grant(1, 1, now);
        assert!(turns(&mut scheduler).is_empty());
    }
}
