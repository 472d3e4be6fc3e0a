//! Cosmos3 (NVIDIA): a prompt and perhaps a picture in, a clip or a picture out.
//!
//! One transformer holds two stacks of layers. The first reads the prompt (`understanding.rs`); the second draws
//! (`generation.rs`), and each of its layers looks at the keys and values that the same layer of the first made of the prompt.
//! Names as in the published checkpoints and in diffusers. Surprising: it draws clips and no sessions, so
//! [`World::open`] refuses.

pub mod caption;
pub(crate) mod card;
mod chat;
pub(crate) mod check;
pub mod clip;
pub mod config;
pub mod denoise;
pub mod footprint;
pub mod generation;
mod layer;
pub mod mrope;
pub mod pace;
pub mod prompt;
pub mod schedule;
pub mod solver;
pub mod tensors;
pub mod transformer;
pub mod understanding;

use std::sync::{Arc, Mutex};

use ops::Device;

use self::card::{card, complete};
use self::clip::{Cosmos3Clip, Plan};
use self::config::ModelConfig;
use self::config::transformer::{PATCH, TransformerConfig};
use self::footprint::{ClipShape, Footprint};
use self::pace::Times;
use self::prompt::{PromptTokens, Scene};
use self::transformer::Transformer;
use crate::load::error::LoadError;
use crate::load::fingerprint::Fingerprint;
use crate::load::model_dir::{Component, ModelDir};
use crate::load::weights::Checkpoint;
use crate::noise::Noise;
use crate::team::{Divided, Members};
use crate::wan;
use crate::wan::vae::Vae;
use crate::world::{
    Card, Clip, ClipAsk, ClipBytes, DeviceMemory, Init, Origin, Refusal, Rollout, RolloutBytes, WarmUp, World,
    WorldError,
};

/// A Cosmos3 model, ready to draw.
pub struct Cosmos3 {
    nets: Arc<Nets>,
    card: Arc<Card>,
    origin: Origin,
}

/// All weights, and what a model directory says about running them.
pub(crate) struct Nets {
    device: Device,
    /// All, if each rank has one.
    devices: Vec<Device>,
    transformer: Transformer,
    vae: Vae,
    tokens: Arc<PromptTokens>,
    config: Arc<ModelConfig>,
    /// What pieces of clips took last.
    times: Mutex<Times>,
}

impl Cosmos3 {
    /// Reads the weights of a directory, to be computed with on `device`.
    pub fn load(dir: &ModelDir, device: &Device) -> Result<Cosmos3, LoadError> {
        Cosmos3::load_over_ranks(dir, device, 1)
    }

    /// As [`Cosmos3::load`], for a team of `ranks` on threads of the processor: each takes a share of a clip's tokens, and of the
    /// heads in attention. It draws the same bits.
    pub fn load_over_ranks(dir: &ModelDir, device: &Device, ranks: usize) -> Result<Cosmos3, LoadError> {
        Cosmos3::load_over(dir, &Members::of(device, ranks))
    }

    /// As [`Cosmos3::load`], for those who draw it together. Each GPU has the stack that draws; the first one has all else, too.
    pub fn load_over(dir: &ModelDir, members: &Members) -> Result<Cosmos3, LoadError> {
        let (config, device) = (ModelConfig::read(dir)?, members.first());
        let team = members.team(&divided(&config.transformer))?;
        // What is small comes first: whatever is wrong with it is said before gigabytes are read.
        let card = Arc::new(card(dir, &config)?);
        let tokens = PromptTokens::read(dir, config.transformer.vocab_size)?;
        let list = tensors::transformer(&config.transformer);
        let checkpoint = open_transformer(dir)?;
        let mut print = Fingerprint::of_settings(dir)?;
        print.network(&checkpoint)?;
        let transformer = Transformer::load(&config.transformer, &checkpoint.weights(&list, device)?)?;
        let others = members.devices()[1..].iter().map(|device| checkpoint.weights(&list, device));
        let transformer = transformer.and_on(&config.transformer, others)?.over(team);
        checkpoint.finish(&list)?;
        drop(checkpoint);
        let list = wan::tensors::vae(&config.vae);
        let checkpoint = Checkpoint::open(dir, Component::Vae)?;
        print.network(&checkpoint)?;
        let vae = Vae::load(&config.vae, &checkpoint.weights(&list, device)?)?;
        checkpoint.finish(&list)?;
        // Of a picture: a clip has more rows, for which the library has the same kernels.
        let side = |pixels: u32| (pixels as usize / config.vae.spatial_factor()).div_ceil(PATCH);
        let rows = side(card.default_size.width) * side(card.default_size.height);
        for device in members.devices() {
            device.loaded();
            device.choose_products(rows.div_ceil(members.ranks()))?;
        }
        let (tokens, config) = (Arc::new(tokens), Arc::new(config));
        let origin = Origin::of(&card, print, device);
        let times = Mutex::default();
        let (device, devices) = (device.clone(), members.devices().to_vec());
        let nets = Arc::new(Nets { device, devices, transformer, vae, tokens, config, times });
        Ok(Cosmos3 { nets, card, origin })
    }

    /// What a clip of these values is made of. `Err` names the value that cannot be drawn.
    pub fn plan(&self, mut ask: ClipAsk) -> Result<Plan, WorldError> {
        card::check(&self.card, &ask)?;
        ask.settings = complete(&self.card, &ask);
        Plan::new(&self.nets, ask)
    }

    /// As [`World::clip`], with noise from anywhere: a recording makes runs of other implementations comparable.
    pub fn clip_with_noise(&self, plan: Plan, noise: Noise) -> Cosmos3Clip {
        Cosmos3Clip::new(&self.nets, plan, noise)
    }
}

impl World for Cosmos3 {
    fn card(&self) -> &Arc<Card> {
        &self.card
    }

    fn origin(&self) -> Origin {
        self.origin.clone()
    }

    fn rollout_bytes(&self) -> RolloutBytes {
        // There is no rollout that could hold anything.
        Arc::new(|_| 0)
    }

    fn device_memory(&self) -> Option<DeviceMemory> {
        DeviceMemory::of(&self.nets.devices)
    }

    fn open(&self, _: Init) -> Result<Box<dyn Rollout>, WorldError> {
        let reason = format!("{} draws clips and no sessions: ask for one with POST /v1/videos", self.card.name);
        Err(WorldError::Refused(Refusal { field: "model", reason }))
    }

    fn clip_bytes(&self) -> ClipBytes {
        let sharers = self.nets.transformer.team().sharers();
        // Not all of the networks: whoever asks may outlive them.
        let (tokens, config, card) = (self.nets.tokens.clone(), self.nets.config.clone(), self.card.clone());
        let keeping = self.nets.device.keeping();
        Arc::new(move |ask| {
            let settings = complete(&card, ask);
            let scene = Scene { size: ask.init.size, frames: ask.frames.max(1), fps: clip::fps(&settings) };
            let (prompt_tokens, negative_tokens) = match clip::prompts(&tokens, &ask.init.prompt, &scene, &settings) {
                Ok(prompts) => (prompts.prompt.len(), prompts.negative.map(|negative| negative.len())),
                // A tokenizer that fails does so again when the clip is opened, and says why.
                Err(_) => (0, None),
            };
            let shape = ClipShape { size: scene.size, frames: scene.frames, prompt_tokens, negative_tokens };
            // The picture as it came, and as the encoder sees it.
            let picture = ask.init.first_frame.as_ref().map_or(0, |picture| picture.rgb.len() as u64);
            let frame = if picture > 0 { 4 * scene.size.frame_bytes() } else { 0 };
            Footprint::over(&config, &shape, keeping, sharers).total() + picture + frame
        })
    }

    /// Draws nothing: the smallest clip takes seconds at published sizes, and no session needs to know how long a chunk takes.
    fn warm_up(&self) -> Result<Option<WarmUp>, WorldError> {
        Ok(None)
    }

    fn clip(&self, ask: ClipAsk) -> Result<Box<dyn Clip>, WorldError> {
        let noise = Noise::seeded(ask.init.seed, &self.nets.device);
        let spans = ask.spans.clone();
        let plan = self.plan(ask)?;
        Cosmos3Clip::rehearse(&self.nets, &plan)?;
        Ok(Box::new(self.clip_with_noise(plan, noise).profiled(spans)))
    }
}

/// What ranks divide among themselves.
pub(crate) fn divided(config: &TransformerConfig) -> [Divided; 2] {
    [("heads of queries", config.heads), ("heads of keys", config.key_heads)]
        .map(|(what, count)| Divided { what, count })
}

/// The transformer's tensors without the parts that drawing does not need. An error if it is quantised.
pub(crate) fn open_transformer(dir: &ModelDir) -> Result<Checkpoint, LoadError> {
    let checkpoint = Checkpoint::open(dir, Component::Transformer)?;
    let quantised = checkpoint.tensors().find(|(name, entry)| tensors::is_quantised(name, &entry.dtype.to_string()));
    if let Some((name, entry)) = quantised {
        return Err(LoadError::file(
            dir.show("transformer"),
            format!(
                "is quantised: tensor {name} is {}; FP8 checkpoints are not read, take the bf16 checkpoint of the same model",
                entry.dtype
            ),
        ));
    }
    Ok(checkpoint.without(|name| tensors::unused(name).is_some()))
}
