//! One video in the making: a chunk at a time out of noise, a latent frame at a time into pixels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvcache::{PromptKvCache, RollingKvCache, Window};
use ops::threads::among_workers;
use ops::{Tensor, pixels};

use super::camera::CameraPath;
use super::context::PassContext;
use super::dit::ChunkConditions;
use super::motion_window::MotionWindow;
use super::nets::Nets;
use crate::first_frame;
use crate::noise::Noise;
use crate::wan::vae::DecoderState;
use crate::world::{Cancel, ChunkInput, ChunkPlan, Frames, Init, Refusal, Rollout, Size, Timings, WorldError};

/// One video in the making.
pub struct LingBotRollout {
    nets: Arc<Nets>,
    size: Size,
    chunks: usize,
    prompt: PromptKvCache,
    /// Mask and condition latents, cut into pieces of a chunk: `(20, pieces·F, h, w)`. The last piece serves for ever.
    fixed: Tensor,
    history: RollingKvCache,
    camera: CameraPath,
    motion: Option<MotionWindow>,
    noise: Noise,
    decoder: DecoderState,
    /// Time spent on a prompt that no chunk has accounted for yet.
    text_time: Duration,
}

impl LingBotRollout {
    /// A rollout that begins with `init`.
    pub(super) fn open(nets: &Arc<Nets>, init: Init, noise: Noise) -> Result<LingBotRollout, WorldError> {
        let recipe = &nets.config.recipe;
        let refuse = |field, reason: String| WorldError::Refused(Refusal { field, reason });
        if init.first_frame.is_none() && !recipe.text_start {
            return Err(refuse("first_frame", "this world starts from a picture; none was given".into()));
        }
        let window = Window::new(recipe.stored_frames(init.sink, init.window), init.sink, recipe.chunk)
            .map_err(|error| refuse("realtime_causal_kv_cache_num_frames", error.to_string()))?;

        let started = Instant::now();
        let prompt = nets.read_prompt(&init.prompt)?;
        let text_time = started.elapsed();

        let frames = recipe.choose_condition_frames(init.condition_frames);
        let fixed = match init.first_frame {
            Some(picture) => nets.condition_on(&first_frame::fit(picture, init.size), frames)?,
            None => nets.condition_on_nothing(init.size)?,
        };

        let (_, _, height, width) = fixed.dims4()?;
        Ok(LingBotRollout {
            size: init.size,
            chunks: 0,
            prompt,
            fixed,
            history: RollingKvCache::new(window, nets.config.transformer.num_layers, height / 2 * (width / 2)),
            camera: CameraPath::new(&recipe.camera, init.size, &nets.device),
            motion: recipe.motion.map(MotionWindow::new),
            noise,
            decoder: DecoderState::new(),
            text_time,
            nets: nets.clone(),
        })
    }

    /// The next chunk's clean latent, `(16, F, h, w)`, normalised.
    pub fn chunk_latents(&mut self, input: &ChunkInput, cancel: &Cancel) -> Result<(Tensor, Timings), WorldError> {
        among_workers(|| self.sample(input, cancel))
    }

    fn sample(&mut self, input: &ChunkInput, cancel: &Cancel) -> Result<(Tensor, Timings), WorldError> {
        let plan = self.plan();
        let mut started = Instant::now();
        if let Some(prompt) = &input.prompt {
            self.prompt = self.nets.read_prompt(prompt)?;
            self.text_time += started.elapsed();
            started = Instant::now();
        }
        input.check(&plan)?;

        let controls = input.controls.as_deref();
        let rays = controls.map(|controls| self.camera.advance(controls)).transpose()?;
        let (_, frames, height, width) = self.fixed.dims4()?;
        let last_piece = frames / plan.latent_frames - 1;
        let piece = plan.index.min(last_piece) * plan.latent_frames;
        let condition = self.nets.denoiser.dit().condition(ChunkConditions {
            first_latent_frame: plan.first_latent_frame,
            fixed: &self.fixed.narrow(1, piece, plan.latent_frames)?,
            camera: rays.as_ref(),
            recent: self.motion.as_mut().and_then(|motion| motion.recent(controls)),
        })?;
        let mut context = PassContext { condition: &condition, prompt: &self.prompt, history: &mut self.history };
        let shape = [self.nets.config.transformer.out_channels, plan.latent_frames, height, width];
        let latent = self.nets.denoiser.sample(shape, &mut self.noise, &mut context, cancel)?;
        if !latent.is_finite()? {
            return Err(WorldError::Failed(format!("chunk {} holds values that are not finite", plan.index)));
        }
        self.chunks += 1;
        let text = std::mem::take(&mut self.text_time);
        Ok((latent, Timings { text, dit: started.elapsed(), vae: Duration::ZERO }))
    }

    /// One latent frame's pictures. `latent`: `(16, 1, h, w)`, normalised. Frames must come in order.
    pub fn decode(&mut self, latent: &Tensor) -> Result<Frames, WorldError> {
        let video = among_workers(|| self.nets.vae.decode(latent, &mut self.decoder))?;
        Ok(Frames { size: self.size, count: video.len(), rgb: pixels::to_rgb8(&video)? })
    }
}

impl Rollout for LingBotRollout {
    fn plan(&self) -> ChunkPlan {
        ChunkPlan::new(self.chunks, self.nets.config.recipe.chunk)
    }

    fn generate(
        &mut self,
        input: &ChunkInput,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Frames),
    ) -> Result<Timings, WorldError> {
        let (latent, mut timings) = self.chunk_latents(input, cancel)?;
        for frame in 0..latent.dim(1)? {
            cancel.check()?;
            let started = Instant::now();
            let frames = self.decode(&latent.narrow(1, frame, 1)?)?;
            timings.vae += started.elapsed();
            sink(frames);
        }
        Ok(timings)
    }
}
