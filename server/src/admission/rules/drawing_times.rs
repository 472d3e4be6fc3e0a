//! How long chunks take, by frame size: the expected cost of a session that has not begun.
//!
//! A size that was never drawn is estimated from the nearest one, as if time grew with pixels. It grows faster where
//! attention dominates and slower where a pass has fixed costs; the first chunks of that size correct it.

use std::time::Duration;

/// Sizes remembered. Past it, the size not drawn for longest is forgotten. A world that draws any size lets clients
/// choose among millions.
pub const SIZES_MAX: usize = 64;

/// A mean in which the newest values weigh most.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mean {
    mean: f64,
    count: u32,
}

/// The weight of a new value, once there are as many: an eighth.
const MEAN_OF: u32 = 8;

impl Mean {
    /// One more value.
    pub fn add(&mut self, value: Duration) {
        self.count = (self.count + 1).min(MEAN_OF);
        self.mean += (value.as_secs_f64() - self.mean) / f64::from(self.count);
    }

    /// `None` before the first value.
    pub fn get(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_secs_f64(self.mean.max(0.0)))
    }
}

/// Drawing times by pixels of a frame: of chunks, or of a clip's pieces.
#[derive(Default)]
pub struct DrawingTimes {
    /// The size drawn last at the end.
    sizes: Vec<OfSize>,
}

/// What is known of one size.
#[derive(Default)]
struct OfSize {
    pixels: u64,
    mean: Mean,
    slowest: Duration,
}

impl DrawingTimes {
    /// A frame size was drawn in this time.
    pub fn add(&mut self, pixels: u64, took: Duration) {
        let known = self.sizes.iter().position(|size| size.pixels == pixels);
        let mut size = known.map_or(OfSize { pixels, ..OfSize::default() }, |at| self.sizes.remove(at));
        size.mean.add(took);
        size.slowest = size.slowest.max(took);
        if self.sizes.len() == SIZES_MAX {
            self.sizes.remove(0);
        }
        self.sizes.push(size);
    }

    /// How long the next one of this size will take; `None` if nothing was ever drawn.
    pub fn expected(&self, pixels: u64) -> Option<Duration> {
        let (size, ratio) = self.nearest(pixels)?;
        size.mean.get().map(|took| took.mul_f64(ratio))
    }

    /// How long the slowest of this size took; `None` if nothing was ever drawn.
    pub fn slowest(&self, pixels: u64) -> Option<Duration> {
        self.nearest(pixels).map(|(size, ratio)| size.slowest.mul_f64(ratio))
    }

    /// The size nearest to this one, and how many times as many pixels this one has.
    fn nearest(&self, pixels: u64) -> Option<(&OfSize, f64)> {
        let ratio = |size: &OfSize| pixels.max(1) as f64 / size.pixels.max(1) as f64;
        let distance = |size: &OfSize| ratio(size).ln().abs();
        let nearest = self.sizes.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
        Some((nearest, ratio(nearest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_mean_forgets_what_was_long_ago() {
        let mut mean = Mean::default();
        assert_eq!(mean.get(), None);
        mean.add(ms(100));
        mean.add(ms(200));
        assert_eq!(mean.get(), Some(ms(150)));
        for _ in 0..100 {
            mean.add(ms(10));
        }
        assert!(mean.get().is_some_and(|mean| mean < ms(11)), "{mean:?}");
    }

    #[test]
    fn a_size_that_was_never_drawn_is_told_from_the_nearest_by_its_pixels() {
        let mut times = DrawingTimes::default();
        assert_eq!(times.expected(100), None);
        times.add(100, ms(10));
        times.add(1000, ms(50));
        let expected = |pixels| times.expected(pixels).expect("something was drawn").as_micros();
        assert_eq!([expected(100), expected(200), expected(1000), expected(2000)], [10_000, 20_000, 50_000, 100_000]);
    }

    #[test]
    fn the_slowest_of_a_size_is_kept_however_many_were_faster() {
        let mut times = DrawingTimes::default();
        assert_eq!(times.slowest(100), None);
        for took in [30, 70, 10, 10, 10] {
            times.add(100, ms(took));
        }
        times.add(1000, ms(50));
        assert_eq!([100, 200, 1000].map(|pixels| times.slowest(pixels)), [70, 140, 50].map(|took| Some(ms(took))));
    }

    #[test]
    fn only_so_many_sizes_are_remembered() {
        let mut times = DrawingTimes::default();
        times.add(1, ms(1));
        times.add(2, ms(1));
        for size in 0..SIZES_MAX as u64 - 2 {
            times.add(1000 + size, ms(7));
        }
        times.add(1, ms(1));
        assert_eq!(times.sizes.len(), SIZES_MAX);
        times.add(5000, ms(7));
        assert_eq!(times.sizes.len(), SIZES_MAX);
        let remembered = |pixels| times.sizes.iter().any(|size| size.pixels == pixels);
        assert!(remembered(1) && !remembered(2), "the one longest not drawn is forgotten");
    }
}
