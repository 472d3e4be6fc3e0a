//! Denoising: how a chunk is made out of noise.
//!
//! At each noise level of the schedule the network predicts the flow, and a [`Sampler`] goes from there to the next
//! level. At the end the clean chunk is shown to the network once more, so that the history remembers it and not a
//! noisy draft. As in Self-Forcing (<https://arxiv.org/abs/2506.08009>), every frame of a chunk shares one noise level.

use super::context::{Condition, PassContext, TeamContext};
use super::dit::{ChunkConditions, Dit, TimeEmbedding};
use super::sampler::Sampler;
use super::schedule::{Level, Schedule};
use crate::noise::Noise;
use crate::world::{Cancel, WorldError};
use kvcache::{PromptKvCache, RollingKvCache};
use ops::collective::{Rank, Team};
use ops::{Result, Tensor};

/// The network, the noise levels it is run at, and how a chunk goes from one to the next.
pub struct Denoiser {
    /// One that all ranks share, or one a rank where each has memory of its own. So are the embeddings of noise levels.
    dits: Vec<Dit>,
    /// The ranks that each pass is shared by. Between two passes one thread goes on alone, so all ranks are cancelled at the
    /// same one.
    team: Team,
    sampler: Sampler,
    /// As the recipe says.
    usual: Levels,
    /// For a person who waits.
    quick: Option<Levels>,
    /// Bends the levels of other numbers of steps.
    shift: f64,
    /// The embedding of `t = 0`, a clean chunk.
    clean: Vec<TimeEmbedding>,
}

/// The noise levels of a chunk, and the embedding of each.
struct Levels {
    levels: Vec<Level>,
    /// By network, then by level.
    times: Vec<Vec<TimeEmbedding>>,
}

impl Levels {
    fn of(dits: &[Dit], schedule: &Schedule) -> Result<Levels> {
        let levels = schedule.levels.clone();
        let times = |dit: &Dit| levels.iter().map(|level| dit.time_embedding(f64::from(level.t))).collect();
        let times = dits.iter().map(times).collect::<Result<_>>()?;
        Ok(Levels { levels, times })
    }
}

impl Denoiser {
    /// Computes every noise level's embedding: they are the same for the life of the process.
    pub fn new(dit: Dit, team: Team, sampler: Sampler, schedule: &Schedule) -> Result<Denoiser> {
        Denoiser::of(vec![dit], team, sampler, schedule)
    }

    /// As [`Denoiser::new`], with the network once, or once for each rank of the team.
    pub fn of(dits: Vec<Dit>, team: Team, sampler: Sampler, schedule: &Schedule) -> Result<Denoiser> {
        assert!(dits.len() == 1 || dits.len() == team.ranks(), "ranks share a network, or each has one");
        let usual = Levels::of(&dits, schedule)?;
        let clean = dits.iter().map(|dit| dit.time_embedding(0.0)).collect::<Result<_>>()?;
        Ok(Denoiser { usual, quick: None, shift: 1.0, clean, sampler, dits, team })
    }

    /// The same, which also draws chunks in other numbers of steps: evenly spaced, bent by `shift`. Those of `quick` steps
    /// are prepared for.
    pub fn with_other_steps(self, shift: f64, quick: Option<usize>) -> Result<Denoiser> {
        let quick = quick.map(|steps| Levels::of(&self.dits, &Schedule::even(shift, steps))).transpose()?;
        Ok(Denoiser { quick, shift, ..self })
    }

    /// Steps of a usual chunk, which has the most.
    pub fn steps_max(&self) -> usize {
        self.usual.levels.len()
    }

    /// The network, as the first rank has it.
    pub fn dit(&self) -> &Dit {
        &self.dits[0]
    }

    /// Which of the networks, and of what belongs to them, is the rank's.
    fn own(&self, rank: &Rank) -> usize {
        rank.number().min(self.dits.len() - 1)
    }

    /// Once per prompt: one for each network. `context`: `(text length, text width)`.
    pub fn read_prompt(&self, context: &Tensor) -> Result<Vec<PromptKvCache>> {
        match &self.dits[..] {
            [dit] => Ok(vec![dit.read_prompt(context)?]),
            dits => self
                .team
                .run(&mut vec![(); dits.len()], |rank, ()| dits[rank.number()].read_prompt(&rank.spread(context)?)),
        }
    }

    /// The ranks that each pass is shared by.
    pub fn team(&self) -> &Team {
        &self.team
    }

    /// What is the same for every pass over a chunk, one value a rank. Once per chunk.
    pub fn conditions(&self, chunk: ChunkConditions<'_>) -> Result<Vec<Condition>> {
        self.team.run(&mut vec![(); self.team.ranks()], |rank, ()| {
            let (fixed, camera) = (rank.spread(chunk.fixed)?, chunk.camera.map(|rays| rank.spread(rays)).transpose()?);
            let chunk = ChunkConditions { fixed: &fixed, camera: camera.as_ref(), ..chunk };
            self.dits[self.own(rank)].condition(chunk, rank)
        })
    }

    /// Do a pass over `x` on every rank, whose own network is counted. → what the first one made of it.
    fn pass_of_all<T: Send>(
        &self,
        x: &Tensor,
        context: &mut TeamContext,
        pass: impl Fn(usize, &Tensor, &mut PassContext) -> Result<T> + Sync,
    ) -> Result<T> {
        let (conditions, prompts) = (context.conditions, context.prompts);
        let on_rank = |rank: &Rank, history: &mut RollingKvCache| {
            let own = self.own(rank);
            let (condition, prompt) = (&conditions[rank.number()], &prompts[own]);
            pass(own, &rank.spread(x)?, &mut PassContext { rank, condition, prompt, history })
        };
        let mut results = self.team.run(context.histories, on_rank)?;
        Ok(results.swap_remove(0))
    }

    /// Make one chunk and remember it.
    ///
    /// `shape`: `(C, F, h, w)` of the latent. `steps`: 1 to [`Denoiser::steps_max`]; `None`: as the recipe says. Noise is drawn in this order: the chunk `(C, F, h, w)`, then one `(F, C,
    /// h, w)` each time the sampler mixes in fresh noise, frame-major as in the published pipeline. → the clean latent.
    pub fn sample(
        &self,
        (shape, steps): ([usize; 4], Option<usize>),
        noise: &mut Noise,
        context: &mut TeamContext,
        cancel: &Cancel,
    ) -> std::result::Result<Tensor, WorldError> {
        let [channels, frames, height, width] = shape;
        let other;
        let Levels { levels, times } = match (steps, &self.quick) {
            (None, _) => &self.usual,
            (Some(steps), Some(quick)) if quick.levels.len() == steps => quick,
            // A recording from when the recipe said otherwise.
            (Some(steps), _) => {
                other = Levels::of(&self.dits, &Schedule::even(self.shift, steps))?;
                &other
            }
        };
        let x = noise.draw(&shape)?;
        let flow = |x: &Tensor, level: usize| {
            cancel.check_unkept()?;
            Ok::<_, WorldError>(self.pass_at(x, times, level, context)?)
        };
        let fresh = || noise.draw(&[frames, channels, height, width])?.permute(&[1, 0, 2, 3]);
        let x = self.sampler.sample(levels, x, flow, fresh)?;
        cancel.check_unkept()?;
        self.remember(&x, context)?;
        Ok(x)
    }

    /// One pass at a noise level of the schedule, counted from 0. Nothing of it is kept.
    pub fn pass(&self, x: &Tensor, level: usize, context: &mut TeamContext) -> Result<Tensor> {
        self.pass_at(x, &self.usual.times, level, context)
    }

    fn pass_at(
        &self,
        x: &Tensor,
        times: &[Vec<TimeEmbedding>],
        level: usize,
        context: &mut TeamContext,
    ) -> Result<Tensor> {
        self.pass_of_all(x, context, |own, x, context| self.dits[own].predict_flow(x, &times[own][level], context))
    }

    /// Keep the keys and values of clean latents, `(C, F, h, w)`, as those of the frames that are staged now.
    pub fn remember(&self, clean: &Tensor, context: &mut TeamContext) -> Result<()> {
        self.pass_of_all(clean, context, |own, clean, context| {
            self.dits[own].remember(clean, &self.clean[own], context)
        })?;
        context.histories.iter_mut().for_each(RollingKvCache::commit);
        Ok(())
    }
}

impl From<ops::Error> for WorldError {
    fn from(error: ops::Error) -> WorldError {
        WorldError::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests;
