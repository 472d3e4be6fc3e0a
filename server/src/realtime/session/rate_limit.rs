//! How many messages a client may send, and how many mistakes it may make: one with a bug in it finds out, one that floods is
//! not read, or answered, for ever.

use std::time::{Duration, Instant};

/// Invalid messages that a client may send at once, and how soon each is forgiven.
pub const INVALID_BURST: u32 = 64;
pub const INVALID_FORGIVEN: Duration = Duration::from_millis(100);

/// Events at once, and how soon there may be one more: a game that reports 60 changes a second has room three times over.
pub const EVENTS_BURST: u32 = 256;
pub const EVENTS_EVERY: Duration = Duration::from_millis(5);

/// A bucket that fills with messages and drains with time.
pub struct RateLimit {
    level: u32,
    since: Instant,
    burst: u32,
    every: Duration,
}

impl RateLimit {
    pub fn of_invalid_messages(now: Instant) -> RateLimit {
        RateLimit { level: 0, since: now, burst: INVALID_BURST, every: INVALID_FORGIVEN }
    }

    pub fn of_events(now: Instant) -> RateLimit {
        RateLimit { level: 0, since: now, burst: EVENTS_BURST, every: EVENTS_EVERY }
    }

    /// One more; `false` if that is too many. What is too many is not counted.
    pub fn takes(&mut self, now: Instant) -> bool {
        let drained = now.saturating_duration_since(self.since).as_millis() / self.every.as_millis();
        let drained = u32::try_from(drained).unwrap_or(u32::MAX);
        if drained >= self.level {
            (self.level, self.since) = (0, now);
        } else {
            self.level -= drained;
            self.since += drained * self.every;
        }
        let takes = self.level < self.burst;
        self.level += u32::from(takes);
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_too_many_and_a_trickle_is_not() {
        let now = Instant::now();
        for (bucket, burst, every) in [
            (RateLimit::of_invalid_messages as fn(Instant) -> RateLimit, INVALID_BURST, INVALID_FORGIVEN),
            (RateLimit::of_events, EVENTS_BURST, EVENTS_EVERY),
        ] {
            let mut flood = bucket(now);
            for i in 1..=burst + 1 {
                assert_eq!(flood.takes(now), i <= burst, "message {i}");
            }
            assert!(flood.takes(now + every) && !flood.takes(now + every));
            let mut trickle = bucket(now);
            assert!((0..10 * burst).all(|i| trickle.takes(now + i * every)));
        }
    }
}
