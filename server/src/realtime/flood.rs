//! How many mistakes a client may make: one with a bug in it finds out, one that floods is not answered for ever.

use std::time::{Duration, Instant};

/// Invalid messages that a client may send at once, and how soon each is forgiven.
pub const INVALID_BURST: u32 = 64;
pub const INVALID_FORGIVEN: Duration = Duration::from_millis(100);

/// A bucket that fills with invalid messages and drains with time.
pub struct InvalidMessages {
    level: u32,
    since: Instant,
}

impl InvalidMessages {
    pub fn none(now: Instant) -> InvalidMessages {
        InvalidMessages { level: 0, since: now }
    }

    /// One more; `true` if that is too many.
    pub fn count(&mut self, now: Instant) -> bool {
        let forgiven = (now.saturating_duration_since(self.since).as_millis() / INVALID_FORGIVEN.as_millis()) as u32;
        if forgiven >= self.level {
            (self.level, self.since) = (0, now);
        } else {
            self.level -= forgiven;
            self.since += forgiven * INVALID_FORGIVEN;
        }
        self.level += 1;
        self.level > INVALID_BURST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_too_many_and_a_trickle_is_not() {
        let now = Instant::now();
        let mut flood = InvalidMessages::none(now);
        for i in 1..=INVALID_BURST + 1 {
            assert_eq!(flood.count(now), i > INVALID_BURST, "message {i}");
        }
        let mut trickle = InvalidMessages::none(now);
        assert!((0..10 * INVALID_BURST).all(|i| !trickle.count(now + i * INVALID_FORGIVEN)));
    }
}
