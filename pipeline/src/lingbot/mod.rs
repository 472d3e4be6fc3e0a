//! LingBot World: a picture, a prompt and held keys in, video out.
//!
//! Every value here lives as long as what it depends on: weights and noise levels with the process (`nets.rs`),
//! history, camera, decoder and noise with a video ([`LingBotRollout`]), text states with a prompt, everything else
//! with a chunk. Nothing is ever reset; it is dropped.

pub mod block;
pub mod camera;
pub(crate) mod check;
pub mod config;
pub mod context;
pub mod denoiser;
pub mod dit;
pub mod footprint;
pub mod memory;
pub mod motion_window;
mod nets;
mod operations;
mod past;
pub mod recipe;
pub mod rollout;
pub mod sampler;
pub mod schedule;
pub mod tensors;

use std::sync::Arc;

use ops::Device;

use self::config::ModelConfig;
use self::config::transformer::TransformerConfig;
use self::denoiser::Denoiser;
use self::dit::Dit;
use self::footprint::{Footprint, RolloutShape};
use self::nets::Nets;
use self::rollout::LingBotRollout;
use self::schedule::Schedule;
use crate::load::error::LoadError;
use crate::load::fingerprint::Fingerprint;
use crate::load::model_dir::{Component, ModelDir};
use crate::load::tensor_list::TensorList;
use crate::load::weights::{Checkpoint, Weights};
use crate::noise::Noise;
use crate::team::{Divided, Members};
use crate::wan;
use crate::wan::text::{PromptTokens, TextEncoder};
use crate::wan::vae::Vae;
use crate::world::{
    Card, ClipCard, DeviceMemory, Init, KeptBytes, LookStep, Operation, Origin, Rollout, RolloutBytes, Size, Sizes,
    StateBytes, World, WorldError,
};

/// A LingBot World model, ready to draw.
pub struct LingBot {
    nets: Arc<Nets>,
    card: Arc<Card>,
}

/// Latents are an eighth of the picture on each side, and tokens 2×2 latents.
const SIDE_MULTIPLE: u32 = 16;
/// Larger pictures than the published models were trained for (832×480, 1280×720) work; this only bounds the
/// arithmetic.
const PIXELS_MAX: u64 = 4096 * 2304;

impl LingBot {
    /// Reads the weights of a directory, to be computed with on `device`.
    pub fn load(dir: &ModelDir, device: &Device) -> Result<LingBot, LoadError> {
        LingBot::load_over_ranks(dir, device, 1)
    }

    /// As [`LingBot::load`], for a team of `ranks` on threads of the processor: each takes a share of a chunk's tokens, and of
    /// the heads in attention. It draws the same bits.
    pub fn load_over_ranks(dir: &ModelDir, device: &Device, ranks: usize) -> Result<LingBot, LoadError> {
        LingBot::load_over(dir, &Members::of(device, ranks))
    }

    /// As [`LingBot::load`], for those who draw it together. Each GPU has the transformer; the first one has all else, too.
    pub fn load_over(dir: &ModelDir, members: &Members) -> Result<LingBot, LoadError> {
        let (config, device) = (ModelConfig::read(dir)?, members.first());
        let team = members.team(&divided(&config.transformer))?;
        let recipe = &config.recipe;
        // Small files come first: an error in them is reported before gigabytes are read.
        let card = Arc::new(card(dir, &config)?);
        let tokens = PromptTokens::read(dir, &config.text, recipe.text_len, recipe.append_eos)?;
        let mut print = Fingerprint::of_settings(dir)?;
        // One network after the other: a checkpoint's mapping goes when its tensors have been packed.
        let list = tensors::transformer(&config.transformer);
        let load_dit = |weights: &Weights| Dit::load(&config.transformer, weights);
        let dits = load_on(dir, Component::Transformer, &list, &mut print, members.devices(), load_dit)?;
        let list = wan::tensors::vae(&config.vae);
        let vae = load(dir, Component::Vae, &list, &mut print, device, |w| Vae::load(&config.vae, w))?;
        let list = wan::tensors::text_encoder(&config.text);
        let text = load(dir, Component::TextEncoder, &list, &mut print, device, |w| {
            TextEncoder::load(&config.text, w, tokens)
        })?;
        let schedule = Schedule::new(recipe.shift, &recipe.steps);
        let denoiser = Denoiser::of(dits, team, recipe.sampler, &schedule)?;
        let denoiser = denoiser.with_other_steps(recipe.shift, recipe.quick_steps)?;
        let rows = card.chunk * nets::tokens(&config, card.default_size);
        for device in members.devices() {
            device.loaded();
            device.choose_products(rows.div_ceil(members.ranks()))?;
        }
        let origin = Origin::of(&card, print, device);
        let words = card.words.clone();
        let (device, devices) = (device.clone(), members.devices().to_vec());
        let nets = Arc::new(Nets { device, devices, denoiser, vae, words, text, config, origin });
        Ok(LingBot { nets, card })
    }

    /// As [`World::open`], with noise from anywhere: a recording makes runs of other implementations comparable.
    pub fn open_with_noise(&self, init: Init, noise: Noise) -> Result<LingBotRollout, WorldError> {
        LingBotRollout::open(&self.nets, &self.card, init, noise)
    }

    /// Bytes of a rollout that begins like an init, out of its footprint.
    fn bytes_of<T>(
        &self,
        part: impl Fn(Footprint) -> T + Send + Sync + 'static,
    ) -> Arc<dyn Fn(&Init) -> T + Send + Sync> {
        let (config, card, keeping) = (self.nets.config.clone(), self.card.clone(), self.nets.device.keeping());
        let (sharers, copies) = (self.nets.denoiser.team().sharers(), self.nets.devices.len());
        Arc::new(move |init| {
            let first_chunk = init.chunking(&card).first;
            let shape = RolloutShape {
                size: init.size,
                sink: init.sink,
                window: init.window,
                first_chunk,
                condition_frames: config.recipe.choose_condition_frames(init.condition_frames, first_chunk),
            };
            part(Footprint::over(&config, &shape, keeping, sharers).with_prompts(copies as u64))
        })
    }
}

impl World for LingBot {
    fn card(&self) -> &Arc<Card> {
        &self.card
    }

    fn origin(&self) -> Origin {
        self.nets.origin.clone()
    }

    fn rollout_bytes(&self) -> RolloutBytes {
        self.bytes_of(|footprint| footprint.total())
    }

    fn state_bytes(&self) -> Option<StateBytes> {
        Some(self.bytes_of(|footprint| KeptBytes {
            state: footprint.state(),
            chunk: footprint.chunk_latents + footprint.chunk_pictures,
        }))
    }

    fn device_memory(&self) -> Option<DeviceMemory> {
        DeviceMemory::of(&self.nets.devices)
    }

    fn operations(&self, init: &Init) -> Result<Vec<Operation<'_>>, WorldError> {
        operations::operations(&self.nets, &self.card, init)
    }

    fn open(&self, init: Init) -> Result<Box<dyn Rollout>, WorldError> {
        let noise = Noise::seeded(init.seed, &self.nets.device);
        Ok(Box::new(self.open_with_noise(init, noise)?))
    }

    fn open_at(&self, init: Init, packed: &[u8]) -> Result<Box<dyn Rollout>, WorldError> {
        let noise = Noise::seeded(init.seed, &self.nets.device);
        Ok(Box::new(LingBotRollout::open_at(&self.nets, &self.card, init, noise, packed)?))
    }
}

fn load<T>(
    dir: &ModelDir,
    component: Component,
    tensors: &TensorList,
    print: &mut Fingerprint,
    device: &Device,
    network: impl FnOnce(&Weights) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    let mut network = Some(network);
    let once = |weights: &Weights| (network.take().expect("one device"))(weights);
    let mut networks = load_on(dir, component, tensors, print, std::slice::from_ref(device), once)?;
    Ok(networks.pop().expect("one device"))
}

/// One for each device.
fn load_on<T>(
    dir: &ModelDir,
    component: Component,
    tensors: &TensorList,
    print: &mut Fingerprint,
    devices: &[Device],
    mut network: impl FnMut(&Weights) -> Result<T, LoadError>,
) -> Result<Vec<T>, LoadError> {
    let checkpoint = Checkpoint::open(dir, component)?;
    print.network(&checkpoint)?;
    let networks = devices.iter().map(|device| network(&checkpoint.weights(tensors, device)?));
    let networks = networks.collect::<Result<_, LoadError>>()?;
    checkpoint.finish(tensors)?;
    Ok(networks)
}

/// What ranks divide among themselves.
pub(crate) fn divided(config: &TransformerConfig) -> [Divided; 1] {
    [Divided { what: "heads", count: config.num_attention_heads }]
}

/// The card of a model, read from its files alone.
pub(crate) fn card(dir: &ModelDir, config: &ModelConfig) -> Result<Card, LoadError> {
    let recipe = &config.recipe;
    let own_size = recipe.size.map(|[width, height]| Size { width, height });
    let name = dir.name().trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let clips = ClipCard::of_rollouts(&name, recipe.default_size(), !recipe.text_start);
    Ok(Card {
        name,
        sizes: match own_size {
            Some(size) => Sizes::Only(vec![size]),
            None => Sizes::MultiplesOf { multiple: SIDE_MULTIPLE, pixels_max: PIXELS_MAX },
        },
        default_size: recipe.default_size(),
        fps: recipe.fps,
        chunk: recipe.chunk,
        first_chunk: recipe.first_chunk,
        sink: recipe.sink,
        window: recipe.window,
        window_is_fixed: recipe.window_is_fixed,
        needs_first_frame: !recipe.text_start,
        look_step: Some(LookStep {
            yaw_deg: recipe.camera.yaw_deg_per_latent,
            pitch_deg: recipe.camera.pitch_deg_per_latent,
        }),
        steering: recipe.camera.steering(),
        quick_steps: recipe.quick_steps,
        gallery: dir.gallery()?,
        presets: dir.presets()?,
        words: dir.words()?.map(Arc::new),
        clips,
    })
}
