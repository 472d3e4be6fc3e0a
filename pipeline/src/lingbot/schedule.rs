//! The noise levels at which a chunk is looked at, from noise to picture.

/// The noise levels of a chunk, first to last.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// At least one, `sigma` descending.
    pub levels: Vec<Level>,
}

/// One noise level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// The time that the network is given: `1000·sigma`.
    pub t: f32,
    /// Share of noise, 0 to 1.
    pub sigma: f32,
}

/// Nominal steps count down from this.
pub(crate) const TRAIN_STEPS: usize = 1000;

impl Schedule {
    /// `steps`: nominal steps of 1000, descending. `shift` bends the levels towards noise.
    pub fn new(shift: f64, steps: &[u32]) -> Schedule {
        let table = Schedule::table(shift);
        Schedule { levels: steps.iter().map(|&step| table[TRAIN_STEPS - step as usize]).collect() }
    }

    /// `count` nominal steps, 1 to 1000, evenly spaced from 1000 down, each rounded to a whole one (halves up).
    pub fn even_steps(count: usize) -> Vec<u32> {
        (0..count).map(|i| ((TRAIN_STEPS * (count - i) + count / 2) / count) as u32).collect()
    }

    /// In so many steps, evenly spaced, bent by `shift`.
    pub fn even(shift: f64, count: usize) -> Schedule {
        Schedule::new(shift, &Schedule::even_steps(count))
    }

    /// All 1000 levels, in f32 as the reference tabulates them: `sigma = shift·s / (1 + (shift − 1)·s)`, `s = 1 −
    /// i/1000`.
    pub fn table(shift: f64) -> Vec<Level> {
        let shift = shift as f32;
        let step = -1.0 / TRAIN_STEPS as f32;
        let level = |i: usize| {
            // Counted from the nearer end, as torch.linspace does.
            let s = if 2 * i <= TRAIN_STEPS { 1.0 + step * i as f32 } else { -step * (TRAIN_STEPS - i) as f32 };
            let sigma = shift * s / (1.0 + (shift - 1.0) * s);
            Level { t: 1000.0 * sigma, sigma }
        };
        (0..TRAIN_STEPS).map(level).collect()
    }
}
