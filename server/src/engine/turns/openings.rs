//! When a session is opened: its prompt and its first frame are encoded, which takes about as long as a chunk and is not
//! interrupted. It is done in time that no paced session needs. One that waited for [`BESIDE_PACED`] is done even if a paced
//! chunk may then be late.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::clips::NextGrant;
use crate::admission::rules::SeatId;
use crate::admission::rules::drawing_times::DrawingTimes;

/// Beside paced sessions an opening waits no longer than this for time that they leave. It is long against a chunk, and
/// short for somebody who has just asked for a world.
pub(crate) const BESIDE_PACED: Duration = Duration::from_secs(1);

/// The sessions that are to be opened, and what is known of how long that takes.
#[derive(Default)]
pub(crate) struct Openings {
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
    times: DrawingTimes,
}

struct Waiting {
    id: SeatId,
    /// Of one frame.
    pixels: u64,
    since: Instant,
}

impl Openings {
    /// A session is to be opened. `pixels` are those of one frame.
    pub(crate) fn ask(&mut self, id: SeatId, pixels: u64, now: Instant) {
        self.waiting.push_back(Waiting { id, pixels, since: now });
    }

    /// Whether a session is to be opened.
    pub(super) fn is_any(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A session was opened in this time.
    pub(crate) fn took(&mut self, pixels: u64, took: Duration) {
        self.times.add(pixels, took);
    }

    /// The session that came first, and since when it waits, unless it would take time that a paced session needs.
    pub(super) fn next(&self, next_grant: NextGrant, now: Instant) -> Option<(SeatId, Instant)> {
        let first = self.waiting.front()?;
        let fits = match next_grant {
            NextGrant::Never => true,
            NextGrant::Soon => false,
            NextGrant::At(start) => self.times.slowest(first.pixels).is_some_and(|opening| now + opening < start),
        };
        let has_waited = now.saturating_duration_since(first.since) >= BESIDE_PACED;
        (fits || has_waited).then_some((first.id, first.since))
    }

    /// This one is opened now, or its client is gone.
    pub(super) fn remove(&mut self, id: SeatId) {
        self.waiting.retain(|waiting| waiting.id != id);
    }

    /// When to look again for a session that waits although nobody has credit. `None`: none waits.
    pub(super) fn look_again_at(&self, next_grant: NextGrant) -> Option<Instant> {
        let anyway = self.waiting.front()?.since + BESIDE_PACED;
        Some(next_grant.overdue().map_or(anyway, |overdue| overdue.min(anyway)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIXELS: u64 = 100;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Openings took 100 ms, and one waits since `start`.
    fn one_waits(start: Instant) -> Openings {
        let mut openings = Openings::default();
        openings.took(PIXELS, ms(100));
        openings.took(PIXELS, ms(40));
        openings.ask(1, PIXELS, start);
        openings
    }

    #[test]
    fn a_session_is_opened_at_once_where_nobody_is_paced_and_in_the_order_of_coming() {
        let start = Instant::now();
        let mut openings = one_waits(start);
        openings.ask(2, PIXELS, start + ms(1));
        assert_eq!(openings.next(NextGrant::Never, start + ms(2)), Some((1, start)));
        openings.remove(1);
        assert_eq!(openings.next(NextGrant::Never, start + ms(2)), Some((2, start + ms(1))));
        openings.remove(2);
        assert_eq!(openings.next(NextGrant::Never, start + ms(2)), None);
    }

    #[test]
    fn it_is_opened_before_a_paced_grant_only_if_the_slowest_opening_would_end_before_it() {
        let start = Instant::now();
        let openings = one_waits(start);
        assert_eq!(openings.next(NextGrant::At(start + ms(101)), start), Some((1, start)));
        assert_eq!(openings.next(NextGrant::At(start + ms(100)), start), None);
        assert_eq!(openings.next(NextGrant::Soon, start), None);
        let mut nothing_known = Openings::default();
        nothing_known.ask(1, PIXELS, start);
        assert_eq!(nothing_known.next(NextGrant::At(start + ms(900)), start), None);
    }

    #[test]
    fn after_its_wait_it_is_opened_whatever_is_expected() {
        let start = Instant::now();
        let openings = one_waits(start);
        assert_eq!(openings.next(NextGrant::Soon, start + BESIDE_PACED - ms(1)), None);
        assert_eq!(openings.next(NextGrant::Soon, start + BESIDE_PACED), Some((1, start)));
        assert_eq!(openings.look_again_at(NextGrant::Soon), Some(start + BESIDE_PACED));
        let near = NextGrant::At(start + ms(5));
        assert_eq!(openings.look_again_at(near), near.overdue());
        assert_eq!(Openings::default().look_again_at(near), None);
    }
}
