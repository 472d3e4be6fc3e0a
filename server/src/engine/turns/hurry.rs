//! Chunks that a person waits for: which are drawn in fewer steps, and which are begun again for an event that came while
//! they were being denoised.
//!
//! Fewer steps draw a softer picture, so only one chunk in [`APART`] has fewer, however fast events come: one that follows
//! a mouse brings an event a frame. And time that another session or a clip waits for is never spent twice on one chunk.

use std::time::{Duration, Instant};

use super::clips::NextGrant;

/// From one chunk that is drawn in fewer steps to the next, at least.
pub const APART: usize = 2;

/// What is known of one session's chunks.
#[derive(Debug)]
pub struct Hurry {
    /// Steps of a chunk that a person waits for. `None`: of this session none is drawn in fewer.
    steps: Option<usize>,
    /// Chunks since the last one in fewer steps.
    since: usize,
    /// How long the last of those took; before the first, how long any took.
    takes: Option<Duration>,
}

/// How a chunk that is being denoised may be begun again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewBeginning {
    /// When the first of the others needs the device.
    others: NextGrant,
    /// How long the new beginning is expected to take.
    takes: Duration,
}

impl Hurry {
    /// `steps`: as the world's card says. Nobody waits for a chunk of a session that is not paced: it runs ahead.
    pub fn new(steps: Option<usize>, paced: bool) -> Hurry {
        Hurry { steps: steps.filter(|_| paced), since: APART, takes: None }
    }

    /// The steps of the next chunk, if somebody waits for it. `None`: as many as any other has.
    pub fn steps(&self) -> Option<usize> {
        self.steps.filter(|_| self.since >= APART)
    }

    /// How the next chunk may be begun again, where `others` need the device. `None`: not at all.
    pub fn again(&self, others: NextGrant) -> Option<NewBeginning> {
        self.steps()?;
        Some(NewBeginning { others, takes: self.takes? })
    }

    /// A chunk was drawn in this time, since it was begun last. `quick`: in fewer steps.
    pub fn drew(&mut self, quick: bool, took: Duration) {
        // The chunk after a quick one is the first between it and the next.
        self.since = if quick { 1 } else { self.since.saturating_add(1) };
        if quick || self.steps.is_some() && self.takes.is_none() {
            self.takes = Some(took);
        }
    }
}

impl NewBeginning {
    /// Whether nobody else waits longer for a chunk that is begun again now.
    pub fn harms_nobody(self, now: Instant) -> bool {
        match self.others {
            NextGrant::Soon => false,
            NextGrant::At(start) => now + self.takes <= start,
            NextGrant::Never => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: usize = 8;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn one_chunk_in_so_many_is_drawn_in_fewer_steps_however_many_events_come() {
        let mut hurry = Hurry::new(Some(STEPS), true);
        let quick: Vec<bool> = (0..3 * APART)
            .map(|_| {
                let quick = hurry.steps().is_some();
                hurry.drew(quick, ms(50));
                quick
            })
            .collect();
        let expected: Vec<bool> = (0..3 * APART).map(|chunk| chunk % APART == 0).collect();
        assert_eq!(quick, expected);
    }

    #[test]
    fn no_chunk_of_a_free_session_or_of_a_world_without_quick_ones_is_drawn_in_fewer_steps_or_begun_again() {
        for mut hurry in [Hurry::new(Some(STEPS), false), Hurry::new(None, true)] {
            hurry.drew(false, ms(100));
            assert_eq!((hurry.steps(), hurry.again(NextGrant::Never)), (None, None));
        }
    }

    #[test]
    fn a_chunk_is_begun_again_only_where_it_ends_before_anybody_else_needs_the_device() {
        let now = Instant::now();
        let mut hurry = Hurry::new(Some(STEPS), true);
        assert_eq!(hurry.again(NextGrant::Never), None, "nobody knows yet how long it would take");
        hurry.drew(false, ms(100));
        let check = |hurry: &Hurry, others, expected: bool| {
            assert_eq!(hurry.again(others).expect("it may").harms_nobody(now), expected, "{others:?}");
        };
        check(&hurry, NextGrant::Never, true);
        check(&hurry, NextGrant::Soon, false);
        check(&hurry, NextGrant::At(now + ms(100)), true);
        check(&hurry, NextGrant::At(now + ms(99)), false);
        // From the first quick one on it is known.
        hurry.drew(true, ms(40));
        assert_eq!(hurry.again(NextGrant::Never), None, "one was just drawn");
        (0..APART).for_each(|_| hurry.drew(false, ms(100)));
        check(&hurry, NextGrant::At(now + ms(40)), true);
    }
}
