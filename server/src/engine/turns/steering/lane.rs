//! Values at places of a video, and what lies between them. Places are counted in video frames.

use std::collections::VecDeque;

use pipeline::world::{ChunkPlan, Intrinsics, Pose, Rates, Way};

use super::place::{from, place_of};

/// Rates from a moment on, and the strongest that were given for that moment before them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stroke {
    pub(super) rates: Rates,
    pub(super) peak: Rates,
}

impl Stroke {
    pub(super) fn after(self, earlier: &Stroke) -> Stroke {
        Stroke { rates: self.rates, peak: self.rates.stronger(earlier.peak) }
    }
}

/// What lies between two values.
pub(super) trait Between: Copy {
    /// `part` of the way from this to `to`.
    fn between(&self, to: &Self, part: f64) -> Self;
}

impl Between for Stroke {
    fn between(&self, to: &Stroke, part: f64) -> Stroke {
        let rates = self.rates.toward(to.rates, part);
        Stroke { rates, peak: rates }
    }
}

impl Between for Intrinsics {
    fn between(&self, to: &Intrinsics, part: f64) -> Intrinsics {
        self.toward(to, part)
    }
}

impl Between for Pose {
    fn between(&self, to: &Pose, part: f64) -> Pose {
        self.toward(to, part)
    }
}

/// Values at places of the video, in video frames.
#[derive(Debug, Clone)]
pub(super) struct Lane<T> {
    /// The one in effect, and the place from which the way to the next leads on.
    pub(super) past: Option<(f64, T)>,
    /// In the order of their places.
    pub(super) coming: VecDeque<(f64, T)>,
}

impl<T> Default for Lane<T> {
    fn default() -> Lane<T> {
        Lane { past: None, coming: VecDeque::new() }
    }
}

impl<T: Between> Lane<T> {
    /// Gives the first latent frame that this changes. `join` is given the new value, and the older one of the same
    /// place.
    pub(super) fn put(&mut self, at: f64, value: T, join: impl FnOnce(T, &T) -> T) -> usize {
        let i = self.coming.partition_point(|(place, _)| *place < at);
        match self.coming.get_mut(i).filter(|(place, _)| *place == at) {
            Some((_, older)) => *older = join(value, older),
            None => self.coming.insert(i, (at, value)),
        }
        let before = i.checked_sub(1).map(|i| self.coming[i].0).or(self.past.map(|(place, _)| place));
        match before {
            // The way to it begins there.
            Some(place) => from(place + f64::EPSILON.max(place * f64::EPSILON)),
            None => from(at),
        }
    }

    /// What was to be reached at `from`, the next latent frame, is reached at the earlier `to`; and the way from the value in
    /// effect leads on from there.
    pub(super) fn bring_forward(&mut self, from: f64, to: f64) {
        self.past.iter_mut().for_each(|(place, _)| *place = place.min(to));
        self.coming.iter_mut().filter(|(place, _)| *place == from).for_each(|(place, _)| *place = to);
    }

    /// The value at this place; places only grow. `pass` is given each that has come since the last time.
    pub(super) fn sample(&mut self, at: f64, mut pass: impl FnMut(&T)) -> Option<T> {
        while let Some(passed) = self.coming.pop_front_if(|(place, _)| *place <= at) {
            pass(&passed.1);
            self.past = Some(passed);
        }
        let (place, value) = self.past.as_mut()?;
        match self.coming.front() {
            Some((next, to)) => Some(value.between(to, ((at - *place) / (next - *place)).clamp(0.0, 1.0))),
            None => {
                // Held: the way to the next begins where it is given, not where this was.
                *place = at;
                Some(*value)
            }
        }
    }
}

/// Poses to come.
#[derive(Debug, Default, Clone)]
pub(super) struct Poses {
    pub(super) lane: Lane<Pose>,
    /// Without a time: spread over the next chunk, so that the last is reached at its end.
    pub(super) untimed: Vec<Pose>,
}

impl Poses {
    pub(super) fn add(&mut self, pose: Pose) -> usize {
        self.untimed.push(pose);
        0
    }

    pub(super) fn spread_over(&mut self, plan: &ChunkPlan) {
        let count = self.untimed.len() as f64;
        for (i, pose) in (1..).zip(self.untimed.drain(..)) {
            let gone = plan.latent_frames as f64 * f64::from(i) / count;
            self.lane.put(place_of(plan.first_latent_frame as f64 + gone - 1.0), pose, |pose, _| pose);
        }
    }

    /// `before`: the place of the latent frame before. `None`: the camera is not led.
    pub(super) fn sample(&mut self, at: f64, before: f64) -> Option<Way> {
        let first = self.lane.past.is_none();
        let mut arrived = false;
        let pose = self.lane.sample(at, |_| arrived = true);
        match (pose, self.lane.coming.front()) {
            // Nobody here knows where the camera is: the world goes a part of its way.
            (None, Some((next, pose))) if first => {
                let part = ((at - before) / (next - before)).clamp(f64::MIN_POSITIVE, 1.0);
                Some(Way::part_of(*pose, part).expect("more than 0 and at most 1"))
            }
            (Some(pose), next) if arrived || next.is_some() => Some(Way::to(pose)),
            _ => None,
        }
    }
}
