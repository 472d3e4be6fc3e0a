//! Samplers: how a chunk goes from noise to picture, given a network that predicts the flow.
//!
//! The flow `v ≈ noise − clean` says two things: where the clean chunk lies (`x − sigma·v`), and in which direction to move
//! for a smaller share of noise. [`Sampler::Renoise`] uses the first, [`Sampler::Euler`] and [`Sampler::Heun`] the second.
//! No network is named here, so that tests can integrate flows whose answer is known.

use std::fmt;

use ops::flow::{along_flow, clean_from_flow, renoise};
use ops::{Result, Tensor};

use super::schedule::Level;

/// How a chunk goes from one noise level to the next. After the last level each ends at the clean chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampler {
    /// Distribution matching distillation: predict the clean chunk, then mix in fresh noise down to the next level. One pass a
    /// level, one draw of noise between two levels. Self-Forcing (<https://arxiv.org/abs/2506.08009>), and LingBot World.
    Renoise,
    /// Euler's method: follow the flow to the next level in a straight line. One pass a level, no more noise.
    Euler,
    /// Heun's method: as Euler, then look at the flow from there too, and follow the mean of both. Two passes a level, but one
    /// for the last: the clean chunk has no flow. Algorithm 1 of EDM (<https://arxiv.org/abs/2206.00364>), without its churn.
    Heun,
    /// As Euler down to the last level but one, then as Renoise: the last pass sees fresh noise and may mend what it sees.
    EulerRenoise,
}

impl Sampler {
    /// What `causeway.json` calls each.
    pub const NAMES: [(&str, Sampler); 4] = [
        ("renoise", Sampler::Renoise),
        ("euler", Sampler::Euler),
        ("heun", Sampler::Heun),
        ("euler_renoise", Sampler::EulerRenoise),
    ];

    /// Go from `x`, which is noise, through `levels` to the clean chunk.
    ///
    /// `flow(x, i)` predicts the flow of `x` at level `i`; `fresh` draws noise in the shape of `x`. Errors are theirs.
    pub(crate) fn sample<E: From<ops::Error>>(
        self,
        levels: &[Level],
        mut x: Tensor,
        mut flow: impl FnMut(&Tensor, usize) -> std::result::Result<Tensor, E>,
        mut fresh: impl FnMut() -> Result<Tensor>,
    ) -> std::result::Result<Tensor, E> {
        for (i, level) in levels.iter().enumerate() {
            let here = flow(&x, i)?;
            let Some(next) = levels.get(i + 1) else {
                return Ok(clean_from_flow(&x, &here, level.sigma)?);
            };
            let is_last = i + 2 == levels.len();
            let renoises = self == Sampler::Renoise || self == Sampler::EulerRenoise && is_last;
            x = if renoises {
                renoise(&clean_from_flow(&x, &here, level.sigma)?, &fresh()?, next.sigma)?
            } else if self == Sampler::Heun {
                let there = flow(&along_flow(&x, &here, level.sigma, next.sigma)?, i + 1)?;
                // Half the way with each flow: together the mean of both.
                let middle = (level.sigma + next.sigma) / 2.0;
                along_flow(&along_flow(&x, &here, level.sigma, middle)?, &there, middle, next.sigma)?
            } else {
                along_flow(&x, &here, level.sigma, next.sigma)?
            };
        }
        Ok(x)
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = Sampler::NAMES.iter().find(|(_, sampler)| sampler == self).expect("every sampler has a name");
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use ops::Device;

    use super::*;
    use crate::lingbot::schedule::Schedule;

    fn number(value: f32) -> Tensor {
        Tensor::from_vec(vec![value], [1, 1], &Device::cpu()).expect("one number")
    }

    fn value(tensor: &Tensor) -> f32 {
        tensor.to_vec::<f32>().expect("one number")[0]
    }

    /// Levels that are evenly spaced, from 1 down.
    fn even(count: usize) -> Vec<Level> {
        Schedule::new(1.0, &Schedule::even_steps(count)).levels
    }

    /// Where `sampler` takes 1 under the flow `dx/dsigma = flow(x, sigma)`, when all fresh noise is 1 too; how many passes that
    /// takes; how often noise is drawn.
    fn run(sampler: Sampler, levels: &[Level], flow: impl Fn(f32, f32) -> f32) -> (f32, usize, usize) {
        let (passes, draws) = (Cell::new(0), Cell::new(0));
        let predict = |x: &Tensor, i: usize| {
            passes.set(passes.get() + 1);
            Ok::<_, ops::Error>(number(flow(value(x), levels[i].sigma)))
        };
        let fresh = || {
            draws.set(draws.get() + 1);
            Ok(number(1.0))
        };
        let clean = sampler.sample(levels, number(1.0), predict, fresh).expect("a sample");
        (value(&clean), passes.get(), draws.get())
    }

    #[test]
    fn a_straight_flow_leads_every_sampler_to_its_end_in_any_number_of_steps() {
        for (_, sampler) in Sampler::NAMES {
            for levels in [even(1), even(2), even(7), Schedule::new(5.0, &[1000, 750, 500, 250]).levels] {
                let (clean, ..) = run(sampler, &levels, |_, _| 3.0);
                // From noise 1 to 1 − 3, rounded once a step.
                assert!((clean + 2.0).abs() < 1e-6, "{sampler}, {} steps: {clean}", levels.len());
            }
        }
    }

    #[test]
    fn a_sampler_takes_so_many_passes_and_draws_noise_so_often() {
        let counts = |sampler, steps| {
            let (_, passes, draws) = run(sampler, &even(steps), |x, _| x);
            (passes, draws)
        };
        assert_eq!(counts(Sampler::Renoise, 4), (4, 3));
        assert_eq!(counts(Sampler::Euler, 4), (4, 0));
        assert_eq!(counts(Sampler::Heun, 4), (7, 0));
        assert_eq!(counts(Sampler::EulerRenoise, 4), (4, 1));
        for (_, sampler) in Sampler::NAMES {
            assert_eq!(counts(sampler, 1), (1, 0), "{sampler}");
        }
    }

    #[test]
    fn half_the_step_halves_eulers_error_and_quarters_heuns() {
        // x(sigma) = e^(sigma − 1), so the clean end is 1/e.
        let error = |sampler, steps| {
            let (clean, ..) = run(sampler, &even(steps), |x, _| x);
            f64::from(clean) - (-1f64).exp()
        };
        let ratio = |sampler| error(sampler, 20) / error(sampler, 40);
        // In the limit 2 and 4; terms of the next order are worth a twentieth at 20 steps.
        assert!((ratio(Sampler::Euler) - 2.0).abs() < 0.1, "{}", ratio(Sampler::Euler));
        assert!((ratio(Sampler::Heun) - 4.0).abs() < 0.2, "{}", ratio(Sampler::Heun));
    }

    #[test]
    fn renoising_mixes_the_predicted_clean_chunk_with_fresh_noise() {
        let levels = [1.0, 0.6, 0.2].map(|sigma| Level { t: 1000.0 * sigma, sigma });
        // Under dx/dsigma = x the clean chunk is predicted at (1 − sigma)·x; fresh noise is 1.
        let clean = |x: f32, sigma: f32| (1.0 - sigma) * x;
        let mixed = |clean: f32, sigma: f32| (1.0 - sigma) * clean + sigma;
        let check = |sampler, expected: f32| {
            let (found, ..) = run(sampler, &levels, |x, _| x);
            assert!((found - expected).abs() < 1e-6, "{sampler}: {found}, not {expected}");
        };
        let second = mixed(clean(1.0, 1.0), 0.6);
        check(Sampler::Renoise, clean(mixed(clean(second, 0.6), 0.2), 0.2));
        // First a straight line: 1 + (0.6 − 1)·1.
        check(Sampler::EulerRenoise, clean(mixed(clean(0.6, 0.6), 0.2), 0.2));
    }
}
