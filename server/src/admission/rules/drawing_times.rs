//! How long chunks take, by the size of their pictures: what is known of a session that has not begun.
//!
//! A size that was never drawn is told from the one nearest to it, as if time grew with pixels. It grows faster where
//! attention dominates and slower where a pass has fixed costs; the first chunks of that size correct it.

use std::time::Duration;

/// Sizes that are remembered; of more, the one longest not drawn is forgotten. A world that draws any size lets clients
/// choose among millions.
pub const SIZES_MAX: usize = 64;

/// A mean in which the last few count most.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mean {
    mean: f64,
    count: u32,
}

/// The weight of a new value, once there are as many: an eighth.
const MEAN_OF: u32 = 8;

impl Mean {
    pub fn add(&mut self, value: Duration) {
        self.count = (self.count + 1).min(MEAN_OF);
        self.mean += (value.as_secs_f64() - self.mean) / f64::from(self.count);
    }

    /// `None` before the first value.
    pub fn get(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_secs_f64(self.mean.max(0.0)))
    }
}

/// Chunks' drawing times by pixels of a frame.
#[derive(Default)]
pub struct DrawingTimes {
    /// The one drawn last at the end.
    sizes: Vec<(u64, Mean)>,
}

impl DrawingTimes {
    pub fn add(&mut self, pixels: u64, took: Duration) {
        let known = self.sizes.iter().position(|&(size, _)| size == pixels);
        let (_, mut mean) = known.map_or((pixels, Mean::default()), |at| self.sizes.remove(at));
        mean.add(took);
        if self.sizes.len() == SIZES_MAX {
            self.sizes.remove(0);
        }
        self.sizes.push((pixels, mean));
    }

    /// What a chunk of this size will take; `None` if nothing was ever drawn.
    pub fn expected(&self, pixels: u64) -> Option<Duration> {
        let ratio = |size: u64| pixels.max(1) as f64 / size.max(1) as f64;
        let distance = |size: u64| ratio(size).ln().abs();
        let (size, mean) = self.sizes.iter().min_by(|a, b| distance(a.0).total_cmp(&distance(b.0)))?;
        mean.get().map(|took| took.mul_f64(ratio(*size)))
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
        let remembered = |size| times.sizes.iter().any(|&(known, _)| known == size);
        assert!(remembered(1) && !remembered(2), "the one longest not drawn is forgotten");
    }
}
