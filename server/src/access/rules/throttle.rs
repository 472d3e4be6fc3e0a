//! How often somebody may do a thing: so many at once, and then at an even pace.
//!
//! It remembers for each only when they will have been forgiven all (the generic cell rate algorithm), and a bounded number
//! of them: whoever fills the table pushes out those who are nearest to forgiven.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub at_once: u32,
    /// Until one more is allowed.
    pub every: Duration,
}

impl Rate {
    pub fn a_minute(times: u32) -> Rate {
        Rate { at_once: times, every: Duration::from_secs(60) / times.max(1) }
    }
}

pub struct Throttle<Who> {
    /// When all is forgiven.
    clear_at: HashMap<Who, Instant>,
    places: usize,
}

impl<Who: Hash + Eq + Clone> Throttle<Who> {
    pub fn new(places: usize) -> Throttle<Who> {
        Throttle { clear_at: HashMap::new(), places }
    }

    /// How long until one more is allowed; `None`: it is now.
    pub fn wait(&self, who: &Who, rate: Rate, now: Instant) -> Option<Duration> {
        let owed = self.clear_at.get(who)?.saturating_duration_since(now);
        let allowed = rate.every * rate.at_once.saturating_sub(1);
        owed.checked_sub(allowed).filter(|wait| !wait.is_zero())
    }

    /// Whether it is allowed or not.
    pub fn count(&mut self, who: &Who, rate: Rate, now: Instant) {
        if self.clear_at.len() >= self.places && !self.clear_at.contains_key(who) {
            self.make_room(now);
        }
        let clear_at = self.clear_at.entry(who.clone()).or_insert(now);
        // Never more than can be done at once: who goes on while refused waits no longer for that.
        let most = now + rate.every * rate.at_once;
        *clear_at = ((*clear_at).max(now) + rate.every).min(most);
    }

    /// Counted only if it is allowed; otherwise how long to wait.
    pub fn take(&mut self, who: &Who, rate: Rate, now: Instant) -> Result<(), Duration> {
        if let Some(wait) = self.wait(who, rate, now) {
            return Err(wait);
        }
        self.count(who, rate, now);
        Ok(())
    }

    fn make_room(&mut self, now: Instant) {
        self.clear_at.retain(|_, clear_at| *clear_at > now);
        if self.clear_at.len() >= self.places {
            let nearest = self.clear_at.iter().min_by_key(|(_, clear_at)| **clear_at).map(|(who, _)| who.clone());
            self.clear_at.remove(&nearest.expect("a full table has an entry"));
        }
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
        let mut throttle = Throttle::new(8);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(throttle.take(&"a", RATE, start), Ok(()));
        }
        assert_eq!(throttle.take(&"a", RATE, start), Err(seconds(10)));
        assert_eq!(throttle.take(&"a", RATE, start + seconds(9)), Err(seconds(1)));
        assert_eq!(throttle.take(&"a", RATE, start + seconds(10)), Ok(()));
        assert_eq!(throttle.take(&"a", RATE, start + seconds(10)), Err(seconds(10)));
        assert_eq!(throttle.take(&"b", RATE, start + seconds(10)), Ok(()), "another is another");
    }

    #[test]
    fn who_has_been_quiet_may_do_three_at_once_again_and_no_more() {
        let mut throttle = Throttle::new(8);
        let start = Instant::now();
        for later in [start, start + seconds(30), start + seconds(3000)] {
            let done = (0..5).filter(|_| throttle.take(&"a", RATE, later).is_ok()).count();
            assert_eq!(done, 3);
        }
    }

    #[test]
    fn going_on_while_refused_makes_the_wait_no_longer_than_one_more_step() {
        let mut throttle = Throttle::new(8);
        let start = Instant::now();
        for _ in 0..1000 {
            throttle.count(&"a", RATE, start);
        }
        assert_eq!(throttle.wait(&"a", RATE, start), Some(seconds(10)));
        assert_eq!(throttle.wait(&"a", RATE, start + seconds(10)), None);
    }

    #[test]
    fn the_table_never_grows_past_its_places_and_the_worst_stay_in_it() {
        let mut throttle = Throttle::new(10);
        let start = Instant::now();
        for _ in 0..3 {
            throttle.count(&0, RATE, start);
        }
        for who in 1..10_000 {
            throttle.count(&who, RATE, start);
            assert!(throttle.clear_at.len() <= 10);
        }
        assert!(throttle.wait(&0, RATE, start).is_some(), "pushed out by those who had done less");
        throttle.count(&10_000, RATE, start + seconds(100));
        assert_eq!(throttle.clear_at.len(), 1, "whoever is forgiven is forgotten when there is need of room");
    }

    #[test]
    fn sixty_a_minute_is_one_a_second() {
        assert_eq!(Rate::a_minute(60), Rate { at_once: 60, every: seconds(1) });
        assert_eq!(Rate::a_minute(1), Rate { at_once: 1, every: seconds(60) });
    }
}
