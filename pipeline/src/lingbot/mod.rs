//! LingBot World: a picture, a prompt and held keys in, video out.
//!
//! Every value here lives as long as what it depends on: weights and noise levels with the process ([`Nets`]), history,
//! camera, decoder and noise with a video ([`Video`]), text states with a prompt, everything else with a chunk. Nothing is
//! ever reset; it is dropped.

pub mod block;
pub mod camera;
pub mod config;
pub mod denoiser;
pub mod dit;
pub mod footprint;
pub mod motion_window;
pub mod recipe;
pub mod sampler;
pub mod tensors;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvcache::{CrossKvCache, RollingKvCache, Window};

use crate::first_frame;
use crate::lingbot::camera::CameraPath;
use crate::lingbot::config::{ModelConfig, TransformerConfig};
use crate::lingbot::denoiser::{Denoiser, Schedule};
use crate::lingbot::dit::{ChunkConditions, Dit, Memory};
use crate::lingbot::footprint::{RolloutShape, rollout_bytes};
use crate::lingbot::motion_window::MotionWindow;
use crate::load::model_dir::{Component, ModelDir};
use crate::load::weights::{Checkpoint, LoadError, Weights};
use crate::noise::Noise;
use crate::wan::prompt;
use crate::wan::text::TextEncoder;
use crate::wan::vae::{DecoderState, Vae};
use crate::world::{
    Cancel, Card, ChunkInput, ChunkPlan, Frames, Init, Picture, Refusal, Rollout, RolloutBytes, Size, Sizes, Timings,
    World, WorldError,
};
use ops::{Device, Tensor, pixels};

/// A LingBot World model, ready to draw.
pub struct LingBot {
    nets: Arc<Nets>,
    card: Arc<Card>,
}

/// All weights, and what a model directory says about running them.
struct Nets {
    denoiser: Denoiser,
    vae: Vae,
    text: TextEncoder,
    config: ModelConfig,
}

/// One video in the making.
pub struct Video {
    nets: Arc<Nets>,
    size: Size,
    chunks: usize,
    prompt: CrossKvCache,
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

/// Latents are an eighth of the picture on each side, and tokens 2×2 latents.
const SIDE_MULTIPLE: u32 = 16;
/// Planes of the mask that marks the given picture.
const MASK_PLANES: usize = 4;
/// Larger pictures than the published models were trained for (832×480, 1280×720) work; this only bounds the arithmetic.
const PIXELS_MAX: u64 = 4096 * 2304;

impl LingBot {
    pub fn load(dir: &ModelDir) -> Result<LingBot, LoadError> {
        let config = ModelConfig::read(dir)?;
        // One network after the other: a checkpoint's mapping goes when its tensors have been cast.
        let dit = load(dir, Component::Transformer, |weights| Dit::load(&config.transformer, weights))?;
        let vae = load(dir, Component::Vae, |weights| Vae::load(&config.vae, weights))?;
        let text = load(dir, Component::TextEncoder, |weights| {
            let policy = &config.policy;
            TextEncoder::load(&config.text, weights, &dir.tokenizer()?, policy.text_len, policy.append_eos)
        })?;
        let schedule = Schedule::new(config.policy.shift, &config.policy.steps);
        let card = Arc::new(card(dir, &config)?);
        let denoiser = Denoiser::new(dit, config.policy.sampler, &schedule)?;
        Ok(LingBot { nets: Arc::new(Nets { denoiser, vae, text, config }), card })
    }

    /// As [`World::open`], with noise from anywhere: a recording makes runs of other implementations comparable.
    pub fn open_with_noise(&self, init: Init, noise: Noise) -> Result<Video, WorldError> {
        Video::open(&self.nets, init, noise)
    }
}

impl World for LingBot {
    fn card(&self) -> &Arc<Card> {
        &self.card
    }

    fn rollout_bytes(&self) -> RolloutBytes {
        let config = self.nets.config.clone();
        Arc::new(move |init| {
            let shape = RolloutShape {
                size: init.size,
                sink: init.sink,
                window: init.window,
                condition_frames: config.policy.choose_condition_frames(init.condition_frames),
            };
            rollout_bytes(&config, &shape).total()
        })
    }

    fn open(&self, init: Init) -> Result<Box<dyn Rollout>, WorldError> {
        let noise = Noise::seeded(init.seed);
        Ok(Box::new(self.open_with_noise(init, noise)?))
    }
}

/// Run `work` on one of the threads that compute. Thousands of small operations a chunk share their work with the others,
/// and from outside each would have to be handed over and waited for.
fn among_workers<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| work())
}

fn load<T>(
    dir: &ModelDir,
    component: Component,
    network: impl FnOnce(&Weights) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    let checkpoint = Checkpoint::open(dir, component)?;
    let network = network(&checkpoint.root())?;
    checkpoint.finish()?;
    Ok(network)
}

/// What a model offers, told from its files alone.
pub(crate) fn card(dir: &ModelDir, config: &ModelConfig) -> Result<Card, LoadError> {
    let policy = &config.policy;
    let own_size = policy.size.map(|[width, height]| Size { width, height });
    Ok(Card {
        name: dir.name().trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned(),
        sizes: match own_size {
            Some(size) => Sizes::Only(vec![size]),
            None => Sizes::MultiplesOf { multiple: SIDE_MULTIPLE, pixels_max: PIXELS_MAX },
        },
        default_size: policy.default_size(),
        fps: policy.fps,
        chunk: policy.chunk,
        sink: policy.sink,
        window: policy.window,
        window_is_fixed: policy.window_is_fixed,
        needs_first_frame: !policy.text_start,
        gallery: dir.gallery()?,
        presets: dir.presets()?,
    })
}

impl Nets {
    /// Text → every block's keys and values. Once per prompt.
    fn read_prompt(&self, prompt: &str) -> ops::Result<CrossKvCache> {
        self.denoiser.dit().read_prompt(&self.text.encode(&prompt::clean(prompt))?)
    }

    /// Mask and condition latents of a video that starts from `picture`: `(20, pieces·F, h, w)`. Once per video.
    ///
    /// The encoder sees the picture and then grey; `frames` is how many frames of that in all.
    fn condition_on(&self, picture: &Picture, frames: usize) -> ops::Result<Tensor> {
        let chunk = self.config.policy.chunk;
        let Picture { size, rgb } = picture;
        let picture = pixels::from_rgb8(rgb, size.height as usize, size.width as usize)?;
        let latents = self.vae.encode(&picture, frames)?;
        let (_, encoded, height, width) = latents.dims4()?;
        let latents = latents.narrow(1, 0, encoded - encoded % chunk)?;
        let kept = latents.dim(1)?;
        let device = latents.device();
        let given = Tensor::ones((MASK_PLANES, 1, height, width), latents.dtype(), device)?;
        let made = Tensor::zeros((MASK_PLANES, kept - 1, height, width), latents.dtype(), device)?;
        Tensor::cat(&[Tensor::cat(&[given, made], 1)?, latents], 0)
    }

    /// As [`Nets::condition_on`] for a video that starts from text alone: zeros, mask and latents both, as trained.
    fn condition_on_nothing(&self, size: Size) -> ops::Result<Tensor> {
        let vae = &self.config.vae;
        let side = |pixels: u32| pixels as usize / vae.spatial_factor();
        let shape = [MASK_PLANES + vae.z_dim, self.config.policy.chunk, side(size.height), side(size.width)];
        Tensor::from_vec(vec![0f32; shape.iter().product()], &shape, &Device::Cpu)
    }

    fn transformer(&self) -> &TransformerConfig {
        &self.config.transformer
    }
}

impl Video {
    fn open(nets: &Arc<Nets>, init: Init, noise: Noise) -> Result<Video, WorldError> {
        let policy = &nets.config.policy;
        let refuse = |field, reason: String| WorldError::Refused(Refusal { field, reason });
        if init.first_frame.is_none() && !policy.text_start {
            return Err(refuse("first_frame", "this world starts from a picture; none was given".into()));
        }
        let window = Window::new(policy.stored_frames(init.sink, init.window), init.sink, policy.chunk)
            .map_err(|error| refuse("realtime_causal_kv_cache_num_frames", error.to_string()))?;

        let started = Instant::now();
        let prompt = nets.read_prompt(&init.prompt)?;
        let text_time = started.elapsed();

        let frames = policy.choose_condition_frames(init.condition_frames);
        let fixed = match init.first_frame {
            Some(picture) => nets.condition_on(&first_frame::fit(picture, init.size), frames)?,
            None => nets.condition_on_nothing(init.size)?,
        };

        let (_, _, height, width) = fixed.dims4()?;
        Ok(Video {
            size: init.size,
            chunks: 0,
            prompt,
            fixed,
            history: RollingKvCache::new(window, nets.transformer().num_layers, height / 2 * (width / 2)),
            camera: CameraPath::new(&policy.camera, init.size),
            motion: policy.motion.map(MotionWindow::new),
            noise,
            decoder: DecoderState::new(),
            text_time,
            nets: nets.clone(),
        })
    }

    /// The next chunk's clean latent, `(16, F, h, w)`, normalised.
    pub fn make_chunk(&mut self, input: &ChunkInput, cancel: &Cancel) -> Result<(Tensor, Timings), WorldError> {
        among_workers(|| self.denoise(input, cancel))
    }

    fn denoise(&mut self, input: &ChunkInput, cancel: &Cancel) -> Result<(Tensor, Timings), WorldError> {
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
            first_frame: plan.first_latent_frame,
            fixed: &self.fixed.narrow(1, piece, plan.latent_frames)?,
            camera: rays.as_ref(),
            recent: self.motion.as_mut().and_then(|motion| motion.recent(controls)),
        })?;
        let mut memory = Memory { condition: &condition, prompt: &self.prompt, history: &mut self.history };
        let shape = [self.nets.transformer().out_channels, plan.latent_frames, height, width];
        let latent = self.nets.denoiser.make_chunk(shape, &mut self.noise, &mut memory, cancel)?;
        self.chunks += 1;
        let text = std::mem::take(&mut self.text_time);
        Ok((latent, Timings { text, dit: started.elapsed(), vae: Duration::ZERO }))
    }

    /// One latent frame's pictures. `latent`: `(16, 1, h, w)`, normalised. Frames must come in order.
    pub fn decode(&mut self, latent: &Tensor) -> Result<Frames, WorldError> {
        let video = among_workers(|| self.nets.vae.decode(latent, &mut self.decoder))?;
        Ok(Frames { size: self.size, count: video.dim(0)?, rgb: pixels::to_rgb8(&video)? })
    }
}

impl Rollout for Video {
    fn plan(&self) -> ChunkPlan {
        ChunkPlan::new(self.chunks, self.nets.config.policy.chunk)
    }

    fn generate(
        &mut self,
        input: &ChunkInput,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Frames),
    ) -> Result<Timings, WorldError> {
        let (latent, mut timings) = self.make_chunk(input, cancel)?;
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
