//! How often a thing may be done: so many times at once, and then at an even pace (the generic cell rate algorithm).

use std::time::{Duration, Instant};

/// How often a thing may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Times in a row, after a rest.
    pub at_once: u32,
    /// Until one more is allowed.
    pub every: Duration,
}

impl Rate {
    /// So many times a minute, and as many at once.
    pub fn a_minute(times: u32) -> Rate {
        Rate { at_once: times, every: Duration::from_secs(60) / times.max(1) }
    }
}

/// What somebody has done of late. Every use costs [`Rate::every`] of time, and time pays it back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When all is paid back; `None` before the first use.
    clear_at: Option<Instant>,
}

impl Bucket {
    /// How long until one more is allowed; `None`: it is now.
    pub fn wait(&self, rate: Rate, now: Instant) -> Option<Duration> {
        let owed = self.clear_at?.saturating_duration_since(now);
        let allowed = rate.every * rate.at_once.saturating_sub(1);
        owed.checked_sub(allowed).filter(|wait| !wait.is_zero())
    }

    /// Whether it is allowed or not.
    pub fn count(&mut self, rate: Rate, now: Instant) {
        // Never more than can be done at once: going on while refused makes the wait no longer.
        let most = now + rate.every * rate.at_once;
        let from = self.clear_at.map_or(now, |clear_at| clear_at.max(now));
        self.clear_at = Some((from + rate.every).min(most));
    }

    /// Counted only if it is allowed; otherwise how long to wait.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        match self.wait(rate, now) {
            Some(wait) => Err(wait),
            None => {
                self.count(rate, now);
                Ok(())
            }
        }
    }

    /// When all is paid back: from then on it is as good as new.
    pub fn clear_at(&self) -> Option<Instant> {
        self.clear_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { at_once: 3, every: Duration::from_secs(10) };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn three_at_once_and_then_one_every_ten_seconds() {
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(bucket.take(RATE, start), Ok(()));
        }
        assert_eq!(bucket.take(RATE, start), Err(seconds(10)));
        assert_eq!(bucket.take(RATE, start + seconds(9)), Err(seconds(1)));
        assert_eq!(bucket.take(RATE, start + seconds(10)), Ok(()));
        assert_eq!(bucket.take(RATE, start + seconds(10)), Err(seconds(10)));
    }

    #[test]
    fn after_a_rest_three_are_allowed_at_once_again_and_no_more() {
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        for later in [start, start + seconds(30), start + seconds(3000)] {
            let done = (0..5).filter(|_| bucket.take(RATE, later).is_ok()).count();
            assert_eq!(done, 3);
        }
    }

    #[test]
    fn a_trickle_is_never_too_much() {
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        assert!((0..100).all(|i| bucket.take(RATE, start + i * RATE.every).is_ok()));
    }

    #[test]
    fn going_on_while_refused_makes_the_wait_no_longer_than_one_more_step() {
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        for _ in 0..1000 {
            bucket.count(RATE, start);
        }
        assert_eq!(bucket.wait(RATE, start), Some(seconds(10)));
        assert_eq!(bucket.wait(RATE, start + seconds(10)), None);
    }

    #[test]
    fn sixty_a_minute_is_one_a_second() {
        assert_eq!(Rate::a_minute(60), Rate { at_once: 60, every: seconds(1) });
        assert_eq!(Rate::a_minute(1), Rate { at_once: 1, every: seconds(60) });
    }
}
