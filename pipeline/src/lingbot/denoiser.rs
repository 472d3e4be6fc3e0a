//! Denoising: how a chunk is made out of noise.
//!
//! At each noise level of the schedule the network predicts the flow, and a [`Sampler`] goes from there to the next level. At
//! the end the clean chunk is shown to the network once more, so that the history remembers it and not a noisy draft. As in
//! Self-Forcing (<https://arxiv.org/abs/2506.08009>), every frame of a chunk shares one noise level.

use crate::lingbot::dit::{Dit, Memory, TimeEmbedding};
use crate::lingbot::sampler::Sampler;
use crate::noise::Noise;
use crate::world::{Cancel, WorldError};
use ops::{Result, Tensor};

/// The noise levels of a chunk, first to last.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// At least one, `sigma` descending.
    pub levels: Vec<Level>,
}

/// One noise level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// What the network is told: `1000·sigma`.
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

    /// All 1000 levels, in f32 as the reference tabulates them: `sigma = shift·s / (1 + (shift − 1)·s)`, `s = 1 − i/1000`.
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

/// The network, the noise levels it is run at, and how a chunk goes from one to the next.
pub struct Denoiser {
    dit: Dit,
    sampler: Sampler,
    levels: Vec<Level>,
    /// The embedding of each level.
    times: Vec<TimeEmbedding>,
    /// The embedding of `t = 0`, a clean chunk.
    clean: TimeEmbedding,
}

impl Denoiser {
    /// Computes every noise level's embedding: they are the same for the life of the process.
    pub fn new(dit: Dit, sampler: Sampler, schedule: &Schedule) -> Result<Denoiser> {
        let levels = schedule.levels.clone();
        let times = levels.iter().map(|level| dit.time_embedding(f64::from(level.t))).collect::<Result<_>>()?;
        Ok(Denoiser { levels, times, clean: dit.time_embedding(0.0)?, sampler, dit })
    }

    pub fn dit(&self) -> &Dit {
        &self.dit
    }

    /// Make one chunk and remember it.
    ///
    /// `shape`: `(C, F, h, w)` of the latent. Noise is drawn in this order: the chunk `(C, F, h, w)`, then one `(F, C, h, w)`
    /// each time the sampler mixes in fresh noise, frame-major as in the published pipeline. → the clean latent.
    pub fn make_chunk(
        &self,
        shape: [usize; 4],
        noise: &mut Noise,
        memory: &mut Memory,
        cancel: &Cancel,
    ) -> std::result::Result<Tensor, WorldError> {
        let [channels, frames, height, width] = shape;
        let x = noise.draw(&shape)?;
        let flow = |x: &Tensor, level: usize| {
            cancel.check()?;
            Ok::<_, WorldError>(self.dit.denoise(x, &self.times[level], memory)?)
        };
        let fresh = || noise.draw(&[frames, channels, height, width])?.transpose(0, 1);
        let x = self.sampler.sample(&self.levels, x, flow, fresh)?;
        cancel.check()?;
        self.dit.remember(&x, &self.clean, memory)?;
        memory.history.commit();
        Ok(x)
    }
}

impl From<ops::Error> for WorldError {
    fn from(error: ops::Error) -> WorldError {
        WorldError::Failed(error.to_string())
    }
}
