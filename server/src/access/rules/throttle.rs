//! What each of many has done of late, in a table of bounded size: whoever fills it pushes out those who are nearest to
//! forgiven.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::rate::{Bucket, Rate};

/// Who did a thing how often of late.
pub(crate) struct Throttle<Who> {
    buckets: HashMap<Who, Bucket>,
    places: usize,
}

impl<Who: Hash + Eq + Clone> Throttle<Who> {
    /// Nobody has done anything yet. At most `places` are remembered.
    pub(crate) fn new(places: usize) -> Throttle<Who> {
        Throttle { buckets: HashMap::new(), places }
    }

    /// How long until one more is allowed; `None`: it is now.
    pub(crate) fn wait(&self, who: &Who, rate: Rate, now: Instant) -> Option<Duration> {
        self.buckets.get(who)?.wait(rate, now)
    }

    /// Whether it is allowed or not.
    pub(crate) fn count(&mut self, who: &Who, rate: Rate, now: Instant) {
        if self.buckets.len() >= self.places && !self.buckets.contains_key(who) {
            self.make_room(now);
        }
        self.buckets.entry(who.clone()).or_default().count(rate, now);
    }

    /// Counted only if it is allowed, as one of so many parts of a whole; otherwise how long to wait.
    pub(crate) fn take_part(&mut self, who: &Who, rate: Rate, parts: u32, now: Instant) -> Result<(), Duration> {
        if let Some(wait) = self.wait(who, rate, now) {
            return Err(wait);
        }
        // As many parts at once as wholes make, and as much faster: what is owed is the same time.
        self.count(who, Rate { at_once: rate.at_once.saturating_mul(parts), every: rate.every / parts }, now);
        Ok(())
    }

    fn make_room(&mut self, now: Instant) {
        self.buckets.retain(|_, bucket| bucket.clear_at() > Some(now));
        if self.buckets.len() >= self.places {
            let nearest = self.buckets.iter().min_by_key(|(_, bucket)| bucket.clear_at()).map(|(who, _)| who.clone());
            self.buckets.remove(&nearest.expect("a full table has an entry"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { at_once: 3, every: Duration::from_secs(10) };

    #[test]
    fn each_has_an_allowance_of_its_own() {
        let (mut throttle, start) = (Throttle::new(8), Instant::now());
        for _ in 0..3 {
            assert_eq!(throttle.take_part(&"a", RATE, 1, start), Ok(()));
        }
        assert_eq!(throttle.take_part(&"a", RATE, 1, start), Err(RATE.every));
        assert_eq!(throttle.take_part(&"b", RATE, 1, start), Ok(()));
        assert_eq!(throttle.take_part(&"a", RATE, 1, start + RATE.every), Ok(()));
    }

    #[test]
    fn ten_parts_count_as_one() {
        let (mut throttle, start) = (Throttle::new(8), Instant::now());
        let taken = (0..1000).take_while(|_| throttle.take_part(&"a", RATE, 10, start).is_ok()).count();
        // The last whole is allowed while anything of it is left.
        assert!((20..=30).contains(&taken), "{taken}");
        assert!(throttle.take_part(&"a", RATE, 1, start).is_err(), "both count on one account");
    }

    #[test]
    fn the_table_never_grows_past_its_places_and_the_worst_stay_in_it() {
        let (mut throttle, start) = (Throttle::new(10), Instant::now());
        for _ in 0..3 {
            throttle.count(&0, RATE, start);
        }
        for who in 1..10_000 {
            throttle.count(&who, RATE, start);
            assert!(throttle.buckets.len() <= 10);
        }
        assert!(throttle.wait(&0, RATE, start).is_some(), "pushed out by those who had done less");
        throttle.count(&10_000, RATE, start + Duration::from_secs(100));
        assert_eq!(throttle.buckets.len(), 1, "whoever is forgiven is forgotten when there is need of room");
    }
}
