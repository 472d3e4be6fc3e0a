//! Noise levels, and how a sampler goes from one to the next: numbers alone, without a tensor.
//!
//! [`UniPc`] is FlowUniPC of order 2 (<https://arxiv.org/abs/2302.04867>, "bh2", which predicts the clean picture), in the form
//! of the reference: sigmas evenly spaced below 1, shifted once. [`StochasticEuler`] is the sampler of distilled checkpoints.
//! Surprising: the network is told a whole timestep that is cut off, not rounded, while the solver knows the exact level; the
//! distilled ones are told the exact one.

use super::config::sampling::Sampling;

/// The noise levels of one clip.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// Of the usual checkpoints.
    UniPc(UniPc),
    /// Of distilled checkpoints.
    StochasticEuler(StochasticEuler),
}

/// FlowUniPC's levels.
#[derive(Debug, Clone, PartialEq)]
pub struct UniPc {
    /// One a step, and 0 at the end.
    sigmas: Vec<f32>,
    timesteps: Vec<u32>,
}

/// The levels of stochastic Euler: predict the clean picture, then mix in fresh noise.
#[derive(Debug, Clone, PartialEq)]
pub struct StochasticEuler {
    /// One a step, and 0 at the end.
    sigmas: Vec<f32>,
    timesteps: Vec<f32>,
}

/// One step of a solver as weights of what it is the sum of.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Weights {
    /// Of the sample that the step starts from: in a correction the one before.
    pub sample: f64,
    /// Of the clean picture predicted two steps ago, in a prediction one step ago.
    pub oldest: f64,
    /// Of the clean picture predicted one step ago, in a prediction now.
    pub older: f64,
    /// Of the clean picture predicted now. Zero in a prediction.
    pub newest: f64,
}

impl Schedule {
    /// The levels of a clip of this many `steps` and this `shift`; a distilled checkpoint has its own.
    pub fn new(sampling: &Sampling, steps: usize, shift: f64) -> Schedule {
        match sampling {
            Sampling::FlowUniPc => Schedule::UniPc(UniPc::new(steps, shift)),
            Sampling::Distilled { sigmas } => Schedule::StochasticEuler(StochasticEuler::new(sigmas)),
        }
    }

    /// How many steps there are.
    pub fn steps(&self) -> usize {
        self.sigmas().len() - 1
    }

    /// The level of each step, and 0 at the end.
    pub fn sigmas(&self) -> &[f32] {
        match self {
            Schedule::UniPc(levels) => &levels.sigmas,
            Schedule::StochasticEuler(levels) => &levels.sigmas,
        }
    }

    /// What the network is told at a step.
    pub fn timestep(&self, step: usize) -> f64 {
        match self {
            Schedule::UniPc(levels) => f64::from(levels.timesteps[step]),
            Schedule::StochasticEuler(levels) => f64::from(levels.timesteps[step]),
        }
    }

    /// Whether noise is drawn after a step.
    pub fn draws_noise_after(&self, step: usize) -> bool {
        matches!(self, Schedule::StochasticEuler(levels) if levels.sigmas[step + 1] > 0.0)
    }
}

impl UniPc {
    /// `steps` is at least 1; `shift` is positive.
    pub fn new(steps: usize, shift: f64) -> UniPc {
        assert!(steps > 0 && shift > 0.0, "a schedule has a step and a positive shift");
        // The largest level of a training with 1000 of them, which the reference keeps in f32.
        let largest = f64::from(1.0f32 - 1.0 / 1000.0);
        let sigma = |step: usize| {
            let even = largest * (1.0 - step as f64 / steps as f64);
            shift * even / (1.0 + (shift - 1.0) * even)
        };
        let exact: Vec<f64> = (0..steps).map(sigma).collect();
        UniPc {
            sigmas: exact.iter().map(|&sigma| sigma as f32).chain([0.0]).collect(),
            timesteps: exact.iter().map(|&sigma| (1000.0 * sigma) as u32).collect(),
        }
    }

    /// The order of the prediction at a step: 1 at both ends, where one prediction is all there is or all that helps.
    pub fn order(&self, step: usize) -> usize {
        let steps = self.sigmas.len() - 1;
        2.min(steps - step).min(step + 1)
    }

    /// Correct the sample at `step`, which is not the first, now that the clean picture has been predicted there.
    pub fn correction(&self, step: usize) -> Weights {
        let (from, to) = (step - 1, step);
        let Move { ratio, scale, phi, hh, h } = self.step(from, to);
        if self.order(from) == 1 {
            let newest = -0.5 * scale * phi;
            return Weights { sample: ratio, oldest: 0.0, older: -scale * phi - newest, newest };
        }
        let r = (self.lambda(step - 2) - self.lambda(from)) / h;
        let b1 = (phi / hh - 1.0) / phi;
        let b2 = ((phi / hh - 1.0) / hh - 0.5) * 2.0 / phi;
        let (rho1, rho2) = ((b1 - b2) / (1.0 - r), (b2 - r * b1) / (1.0 - r));
        let (oldest, newest) = (-scale * phi * rho1 / r, -scale * phi * rho2);
        Weights { sample: ratio, oldest, older: -scale * phi - oldest - newest, newest }
    }

    /// From the (corrected) sample at `step` to the next level.
    pub fn prediction(&self, step: usize) -> Weights {
        // To level 0, where a logarithm has no value: the clean picture itself.
        if step + 2 == self.sigmas.len() {
            return Weights { older: 1.0, ..Weights::default() };
        }
        let Move { ratio, scale, phi, h, .. } = self.step(step, step + 1);
        let oldest = match self.order(step) {
            1 => 0.0,
            _ => -scale * phi * 0.5 / ((self.lambda(step - 1) - self.lambda(step)) / h),
        };
        Weights { sample: ratio, oldest, older: -scale * phi - oldest, newest: 0.0 }
    }

    fn step(&self, from: usize, to: usize) -> Move {
        let sigma = |step: usize| f64::from(self.sigmas[step]);
        let h = self.lambda(to) - self.lambda(from);
        Move { ratio: sigma(to) / sigma(from), scale: 1.0 - sigma(to), phi: libm::expm1(-h), hh: -h, h }
    }

    /// Half the logarithm of the signal-to-noise ratio.
    fn lambda(&self, step: usize) -> f64 {
        let sigma = f64::from(self.sigmas[step]);
        libm::log(1.0 - sigma) - libm::log(sigma)
    }
}

/// Between two levels, in the words of the paper.
struct Move {
    ratio: f64,
    scale: f64,
    phi: f64,
    hh: f64,
    h: f64,
}

impl StochasticEuler {
    /// `sigmas`: of the steps, falling.
    pub fn new(sigmas: &[f64]) -> StochasticEuler {
        StochasticEuler {
            sigmas: sigmas.iter().map(|&sigma| sigma as f32).chain([0.0]).collect(),
            timesteps: sigmas.iter().map(|&sigma| (1000.0 * sigma) as f32).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_timesteps_are_those_of_the_reference() {
        let check = |steps, shift, timesteps: &[u32], sigmas: &[f32]| {
            let levels = UniPc::new(steps, shift);
            assert_eq!(levels.timesteps, timesteps, "{steps} steps, shift {shift}");
            for (found, expected) in levels.sigmas.iter().zip(sigmas) {
                assert!((found - expected).abs() <= 1e-7, "{found}, expected {expected}");
            }
        };
        check(4, 10.0, &[999, 967, 908, 768], &[0.999_899_9, 0.967_617, 0.908_925_5, 0.768_993_9, 0.0]);
        check(4, 3.0, &[999, 899, 749, 499], &[0.999_666_45, 0.899_639_8, 0.749_624_8, 0.499_666_57, 0.0]);
        check(5, 1.0, &[999, 799, 599, 399, 199], &[0.999, 0.7992, 0.5994, 0.3996, 0.1998, 0.0]);
        let usual = UniPc::new(35, 10.0).timesteps;
        assert_eq!((usual.len(), &usual[..4], &usual[32..]), (35, &[999, 996, 993, 990][..], &[483, 377, 227][..]));
    }

    #[test]
    fn weights_are_finite_for_every_number_of_steps_and_every_shift() {
        for steps in 1..=200 {
            for shift in [0.1, 1.0, 3.0, 5.0, 10.0, 100.0] {
                let levels = UniPc::new(steps, shift);
                for step in 0..steps {
                    let all =
                        [levels.prediction(step), if step > 0 { levels.correction(step) } else { Weights::default() }];
                    for Weights { sample, oldest, older, newest } in all {
                        let sum = sample + oldest + older + newest;
                        assert!(sum.is_finite(), "{steps} steps, shift {shift}, step {step}");
                    }
                }
            }
        }
    }

    #[test]
    fn neighbouring_timesteps_may_be_equal_and_steps_are_counted_all_the_same() {
        let levels = UniPc::new(113, 10.0);
        assert_eq!(levels.timesteps[..2], [999, 999]);
        assert_eq!(Schedule::UniPc(levels).steps(), 113);
    }

    #[test]
    fn a_distilled_network_is_told_the_exact_level() {
        let levels = StochasticEuler::new(&[1.0, 0.9375, 0.8333333333333334, 0.625]);
        assert_eq!(levels.timesteps, [1000.0, 937.5, 833.333_3, 625.0]);
        let schedule = Schedule::StochasticEuler(levels);
        assert_eq!((schedule.steps(), schedule.draws_noise_after(2), schedule.draws_noise_after(3)), (4, true, false));
    }
}
