//! Denoising: how a chunk is made out of noise.
//!
//! At each noise level of the schedule the network predicts the flow, and a [`Sampler`] goes from there to the next
//! level. At the end the clean chunk is shown to the network once more, so that the history remembers it and not a
//! noisy draft. As in Self-Forcing (<https://arxiv.org/abs/2506.08009>), every frame of a chunk shares one noise level.

use super::context::PassContext;
use super::dit::{Dit, TimeEmbedding};
use super::sampler::Sampler;
use super::schedule::{Level, Schedule};
use crate::noise::Noise;
use crate::world::{Cancel, WorldError};
use ops::{Result, Tensor};

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

    /// The network.
    pub fn dit(&self) -> &Dit {
        &self.dit
    }

    /// Make one chunk and remember it.
    ///
    /// `shape`: `(C, F, h, w)` of the latent. Noise is drawn in this order: the chunk `(C, F, h, w)`, then one `(F, C,
    /// h, w)` each time the sampler mixes in fresh noise, frame-major as in the published pipeline. → the clean latent.
    pub fn sample(
        &self,
        shape: [usize; 4],
        noise: &mut Noise,
        context: &mut PassContext,
        cancel: &Cancel,
    ) -> std::result::Result<Tensor, WorldError> {
        let [channels, frames, height, width] = shape;
        let x = noise.draw(&shape)?;
        let flow = |x: &Tensor, level: usize| {
            cancel.check()?;
            Ok::<_, WorldError>(self.dit.predict_flow(x, &self.times[level], context)?)
        };
        let fresh = || noise.draw(&[frames, channels, height, width])?.permute(&[1, 0, 2, 3]);
        let x = self.sampler.sample(&self.levels, x, flow, fresh)?;
        cancel.check()?;
        self.remember(&x, context)?;
        Ok(x)
    }

    /// One pass at the first noise level, of which nothing is kept: to be measured.
    pub fn pass(&self, x: &Tensor, context: &mut PassContext) -> Result<Tensor> {
        self.dit.predict_flow(x, &self.times[0], context)
    }

    /// Keep the keys and values of clean latents, `(C, F, h, w)`, as those of the frames that are staged now.
    pub fn remember(&self, clean: &Tensor, context: &mut PassContext) -> Result<()> {
        self.dit.remember(clean, &self.clean, context)?;
        context.history.commit();
        Ok(())
    }
}

impl From<ops::Error> for WorldError {
    fn from(error: ops::Error) -> WorldError {
        WorldError::Failed(error.to_string())
    }
}
