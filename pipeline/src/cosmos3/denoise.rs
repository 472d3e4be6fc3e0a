//! From noise to a clean latent, a step at a time: the loop over steps as a value, so that whoever owns the device can do
//! other work between two of them.

use ops::Tensor;

use super::schedule::Schedule;
use super::solver::Solver;
use super::transformer::{Branch, Transformer};
use crate::noise::Noise;
use crate::world::{Cancel, Spans, WorldError};

/// How strongly, and when, the negative prompt is left behind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guidance {
    /// On above 1.
    pub scale: f64,
    /// The first and the last timestep at which it is on. `None`: at all of them.
    pub interval: Option<[f64; 2]>,
}

impl Guidance {
    /// The prompt alone.
    pub const OFF: Guidance = Guidance { scale: 1.0, interval: None };

    /// Whether it can be on at some step.
    pub fn can_be_on(&self) -> bool {
        self.scale > 1.0
    }

    /// Its scale at a timestep; 1 where it is off.
    pub fn at(&self, timestep: f64) -> f64 {
        match self.interval {
            Some([first, last]) if timestep < first || timestep > last => 1.0,
            _ => self.scale,
        }
    }
}

/// The prompts of one clip, as every step looks at them.
pub struct Branches {
    /// What is to be drawn.
    pub prompt: Branch,
    /// What guidance leads away from. There if guidance can be on.
    pub negative: Option<Branch>,
}

impl Branches {
    /// Bytes that they hold.
    pub fn bytes(&self) -> u64 {
        self.prompt.bytes() + self.negative.as_ref().map_or(0, Branch::bytes)
    }
}

/// A latent between noise and picture.
pub struct Denoise {
    solver: Solver,
    noise: Noise,
    guidance: Guidance,
    branches: Branches,
    /// The latent of a given picture, `(C, 1, h, w)`: the first latent frame, which stays as it is.
    given: Option<Tensor>,
    spans: Spans,
}

impl Denoise {
    /// From noise of this shape, `(C, F, h, w)`. The start is the first draw of `noise`; a distilled sampler draws more.
    pub fn new(
        schedule: Schedule,
        shape: [usize; 4],
        mut noise: Noise,
        guidance: Guidance,
        branches: Branches,
        given: Option<Tensor>,
    ) -> ops::Result<Denoise> {
        let start = noise.draw(&shape)?;
        let start = match &given {
            Some(given) => with_first(given, &start)?,
            None => start,
        };
        assert!(branches.negative.is_some() || !guidance.can_be_on(), "guidance leads away from something");
        let spans = Spans::default();
        Ok(Denoise { solver: Solver::new(schedule, start), noise, guidance, branches, given, spans })
    }

    /// The same; what its parts take goes to `spans`.
    pub(super) fn profiled(self, spans: Spans) -> Denoise {
        Denoise { spans, ..self }
    }

    /// Steps done.
    pub fn done(&self) -> usize {
        self.solver.step()
    }

    /// Steps in all.
    pub fn steps(&self) -> usize {
        self.solver.steps()
    }

    /// The latent so far: `(C, F, h, w)`.
    pub fn latent(&self) -> &Tensor {
        self.solver.sample()
    }

    /// Do one step. Looks at `cancel` before each layer.
    pub fn step(&mut self, transformer: &Transformer, cancel: &Cancel) -> Result<(), WorldError> {
        transformer.team().lead(|| self.advance(transformer, cancel))
    }

    fn advance(&mut self, transformer: &Transformer, cancel: &Cancel) -> Result<(), WorldError> {
        let latent = self.solver.sample().clone();
        let timestep = self.solver.timestep();
        let time = transformer.generation().time_embedding(timestep)?;
        let given = usize::from(self.given.is_some());
        let forward = self.spans.begin(|| "dit_forward_cond".into());
        let mut flow = transformer.predict_flow(&latent, given, &time, &self.branches.prompt, cancel, &self.spans)?;
        drop(forward);
        let scale = self.guidance.at(timestep);
        if scale > 1.0 {
            let negative = self.branches.negative.as_ref().expect("it is there where guidance can be on");
            let _forward = self.spans.begin(|| "dit_forward_uncond".into());
            let away = transformer.predict_flow(&latent, given, &time, negative, cancel, &self.spans)?;
            flow = guide(&away, &flow, scale)?;
        }
        if let Some(given) = &self.given {
            let still = Tensor::zeros(given.dims(), &given.device())?;
            flow = with_first(&still, &flow)?;
        }
        let step = self.spans.begin(|| "solver_step".into());
        self.solver.advance(&flow, &mut self.noise)?;
        drop(step);
        // The solver rescales also what does not flow, so the given frame is put back.
        if let Some(given) = &self.given {
            let whole = with_first(given, self.solver.sample())?;
            self.solver.replace(whole);
        }
        if !self.solver.sample().is_finite()? {
            let step = self.solver.step();
            return Err(WorldError::Failed(format!("step {step} of {} gave values that are not finite", self.steps())));
        }
        Ok(())
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        self.solver.bytes() + self.branches.bytes() + self.given.as_ref().map_or(0, Tensor::bytes)
    }
}

/// `away + scale·(towards − away)`, in this order.
fn guide(away: &Tensor, towards: &Tensor, scale: f64) -> ops::Result<Tensor> {
    let difference = (towards - away)?;
    ops::flow::weighted_sum(&[(1.0, away), (scale, &difference)])
}

/// `rest`, `(C, F, h, w)`, with `first`, `(C, 1, h, w)`, in place of its first latent frame.
fn with_first(first: &Tensor, rest: &Tensor) -> ops::Result<Tensor> {
    match rest.dim(1)? {
        1 => Ok(first.clone()),
        frames => Tensor::cat(&[first.clone(), rest.narrow(1, 1, frames - 1)?], 1),
    }
}
