//! A latent on its way from noise to picture, and what its solver remembers.

use ops::Tensor;
use ops::flow::{clean_from_flow, weighted_sum};

use super::schedule::{Schedule, UniPc, Weights};
use crate::noise::Noise;

/// The sample, and what the next steps need of the past.
pub struct Solver {
    schedule: Schedule,
    step: usize,
    sample: Tensor,
    /// The clean picture as it was predicted at the last step and at the one before.
    clean: [Option<Tensor>; 2],
    /// The sample before the last step, corrected.
    last_sample: Option<Tensor>,
}

impl Solver {
    /// From noise, `(C, F, h, w)`.
    pub fn new(schedule: Schedule, noise: Tensor) -> Solver {
        Solver { schedule, step: 0, sample: noise, clean: [None, None], last_sample: None }
    }

    /// Steps done.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Steps in all.
    pub fn steps(&self) -> usize {
        self.schedule.steps()
    }

    /// What the network is told at this step.
    pub fn timestep(&self) -> f64 {
        self.schedule.timestep(self.step)
    }

    /// The latent at this step; after the last one, the clean one.
    pub fn sample(&self) -> &Tensor {
        &self.sample
    }

    /// Put another latent in its place, of which a part was known all along.
    pub fn replace(&mut self, sample: Tensor) {
        self.sample = sample;
    }

    /// Go one step, given the flow at the sample. `noise` is asked where the sampler wants fresh noise.
    pub fn advance(&mut self, flow: &Tensor, noise: &mut Noise) -> ops::Result<()> {
        let step = self.step;
        assert!(step < self.steps(), "a solver that is at its end takes no step");
        let sigma = self.schedule.sigmas()[step];
        let clean = clean_from_flow(&self.sample, flow, sigma)?;
        self.sample = match &self.schedule {
            Schedule::StochasticEuler(_) => match self.schedule.draws_noise_after(step) {
                true => {
                    let next = f64::from(self.schedule.sigmas()[step + 1]);
                    weighted_sum(&[(1.0 - next, &clean), (next, &noise.draw(clean.dims())?)])?
                }
                false => clean,
            },
            Schedule::UniPc(levels) => {
                let corrected = match (&self.last_sample, &self.clean) {
                    (Some(last), [Some(older), oldest]) => {
                        sum(levels.correction(step), [last, oldest.as_ref().unwrap_or(older), older, &clean])?
                    }
                    _ => self.sample.clone(),
                };
                let next = predict(levels, step, &corrected, self.clean[0].as_ref(), &clean)?;
                let [older, _] = std::mem::take(&mut self.clean);
                self.clean = [Some(clean), older];
                self.last_sample = Some(corrected);
                next
            }
        };
        self.step += 1;
        Ok(())
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        let remembered = self.clean.iter().flatten().chain(&self.last_sample);
        self.sample.bytes() + remembered.map(Tensor::bytes).sum::<u64>()
    }
}

fn predict(
    levels: &UniPc,
    step: usize,
    sample: &Tensor,
    older: Option<&Tensor>,
    clean: &Tensor,
) -> ops::Result<Tensor> {
    sum(levels.prediction(step), [sample, older.unwrap_or(clean), clean, clean])
}

/// The terms that weigh something. One that weighs nothing may stand for a value that is not there yet.
fn sum(weights: Weights, terms: [&Tensor; 4]) -> ops::Result<Tensor> {
    let Weights { sample, oldest, older, newest } = weights;
    let terms: Vec<_> =
        [sample, oldest, older, newest].into_iter().zip(terms).filter(|(weight, _)| *weight != 0.0).collect();
    weighted_sum(&terms)
}

#[cfg(test)]
mod tests {
    use ops::Device;

    use super::*;
    use crate::cosmos3::schedule::StochasticEuler;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::from_vec(values.to_vec(), [1, 1, 1, values.len()], &Device::cpu()).expect("numbers")
    }

    fn run(schedule: Schedule, flow: impl Fn(&Tensor, usize) -> Tensor, noise: &mut Noise) -> Vec<f32> {
        let mut solver = Solver::new(schedule, tensor(&[0.7, -1.3, 2.0]));
        while solver.step() < solver.steps() {
            let flow = flow(solver.sample(), solver.step());
            solver.advance(&flow, noise).expect("one shape");
        }
        solver.sample().to_vec().expect("f32")
    }

    #[test]
    fn a_constant_flow_leads_to_the_noise_less_its_first_level_times_the_flow() {
        let flow = tensor(&[0.3, -2.0, 0.05]);
        for steps in (1..=12).chain([35, 113, 200]) {
            for shift in [1.0, 3.0, 10.0] {
                let schedule = Schedule::UniPc(UniPc::new(steps, shift));
                let first = schedule.sigmas()[0];
                let found = run(schedule, |_, _| flow.clone(), &mut Noise::recorded(Vec::new()));
                for ((found, start), flow) in found.iter().zip([0.7f32, -1.3, 2.0]).zip([0.3f32, -2.0, 0.05]) {
                    let expected = start - first * flow;
                    // One rounding of f32 a step.
                    let allowed = 4e-7 * (steps + 1) as f32;
                    assert!(
                        (found - expected).abs() < allowed,
                        "{steps} steps, shift {shift}: {found}, not {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_last_step_gives_the_clean_picture_as_it_is_predicted_there() {
        for steps in [1, 2, 3, 9] {
            let mut solver = Solver::new(Schedule::UniPc(UniPc::new(steps, 5.0)), tensor(&[0.5, 1.5]));
            let mut noise = Noise::recorded(Vec::new());
            while solver.step() + 1 < steps {
                let flow = weighted_sum(&[(0.3, solver.sample())]).expect("one term");
                solver.advance(&flow, &mut noise).expect("one shape");
            }
            let (before, flow) = (solver.sample().clone(), tensor(&[2.0, -1.0]));
            let expected = clean_from_flow(&before, &flow, solver.schedule.sigmas()[steps - 1]).expect("one shape");
            solver.advance(&flow, &mut noise).expect("one shape");
            let numbers = |tensor: &Tensor| tensor.to_vec::<f32>().expect("f32");
            assert_eq!(numbers(solver.sample()), numbers(&expected), "{steps} steps");
        }
    }

    #[test]
    fn a_distilled_sampler_draws_noise_between_levels_and_none_at_the_end() {
        let drawn = |_: usize| tensor(&[1.0, 1.0, 1.0]);
        let mut noise = Noise::recorded((0..2).map(drawn).collect());
        let schedule = Schedule::StochasticEuler(StochasticEuler::new(&[1.0, 0.5, 0.25]));
        // Straight to 0 each time: so the sample is the noise's share, and at the end nothing.
        let sigmas = schedule.sigmas().to_vec();
        let to_zero =
            |sample: &Tensor, step: usize| weighted_sum(&[(1.0 / f64::from(sigmas[step]), sample)]).expect("one");
        let found = run(schedule, to_zero, &mut noise);
        assert!(found.iter().all(|value| value.abs() < 1e-6), "{found:?}");
        assert!(noise.draw(&[1]).expect_err("used up").to_string().contains("used up"));
    }

    #[test]
    fn nothing_becomes_infinite_in_any_number_of_steps() {
        for steps in 1..=200 {
            for shift in [1.0, 3.0, 5.0, 10.0] {
                let schedule = Schedule::UniPc(UniPc::new(steps, shift));
                let wave = |sample: &Tensor, step: usize| weighted_sum(&[((step as f64).sin(), sample)]).expect("one");
                let found = run(schedule, wave, &mut Noise::recorded(Vec::new()));
                assert!(found.iter().all(|value| value.is_finite()), "{steps} steps, shift {shift}: {found:?}");
            }
        }
    }
}
