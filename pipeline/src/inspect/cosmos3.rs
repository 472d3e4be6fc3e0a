//! What a Cosmos3 directory holds.

use std::collections::BTreeMap;
use std::fmt;

use ops::{Compute, Keeping};

use super::{Grouped, Network, OnGpu, vae_summary};
use crate::cosmos3;
use crate::cosmos3::config::transformer::{Activation, TransformerConfig};
use crate::cosmos3::config::{ModelConfig, TRANSFORMER};
use crate::cosmos3::footprint::{ClipShape, Footprint, OnRanks};
use crate::cosmos3::prompt::PromptTokens;
use crate::cosmos3::tensors::{self, Unused};
use crate::lingbot::footprint::Human;
use crate::load::error::LoadError;
use crate::load::model_dir::{Component, ModelDir};
use crate::load::weights::Checkpoint;
use crate::team;
use crate::wan;
use crate::wan::vae::config::VaeConfig;
use crate::world::{Card, Refusal, Size};

/// What a Cosmos3 directory holds.
#[derive(Debug)]
pub struct Report {
    /// The path it was opened with.
    pub name: String,
    /// The type that was asked about.
    pub compute: Compute,
    /// `Err`: it is not there, cannot be read, or is quantised.
    pub transformer: Result<Network, String>,
    /// As `transformer`.
    pub vae: Result<Network, String>,
    /// Parts of the transformer's files that drawing does not need, and how many tensors each has.
    pub unused: BTreeMap<Unused, usize>,
    /// `Err`: the networks do not make a model, and why.
    pub config: Result<ModelConfig, String>,
    /// `Err`: what is wrong with the tokenizer, the gallery or the suggested prompts.
    pub beside: Result<(), String>,
    /// What clips would hold, or why there can be none of the size that was asked about. `None`: not a model.
    pub clips: Option<Result<Vec<(ClipShape, Footprint)>, Refusal>>,
    /// The same clips where a GPU draws them.
    pub clips_on_gpu: Vec<(ClipShape, Footprint)>,
}

/// Tokens of a prompt that is a paragraph long, and of an empty one.
const PROMPT_TOKENS: usize = 512;
const EMPTY_TOKENS: usize = 10;

impl Report {
    /// Look at a Cosmos3 directory, and at clips of this size: by default the usual ones.
    pub(super) fn of(dir: &ModelDir, compute: Compute, size: Option<Size>) -> Report {
        let words = |error: LoadError| error.to_string();
        let mut unused = BTreeMap::new();
        if let Ok(checkpoint) = Checkpoint::open(dir, Component::Transformer) {
            for part in checkpoint.tensors().filter_map(|(name, _)| tensors::unused(name)) {
                *unused.entry(part).or_default() += 1;
            }
        }
        let transformer =
            dir.read(TRANSFORMER).and_then(|file| TransformerConfig::from_file(&file)).and_then(|config| {
                let checkpoint = cosmos3::open_transformer(dir)?;
                Ok(Network::new(summary(&config), &tensors::transformer(&config), compute, &checkpoint))
            });
        let vae = VaeConfig::read(dir).and_then(|config| {
            let checkpoint = Checkpoint::open(dir, Component::Vae)?;
            Ok(Network::new(vae_summary(&config), &wan::tensors::vae(&config), compute, &checkpoint))
        });
        let config = ModelConfig::read(dir);
        let (mut beside, mut clips, mut clips_on_gpu) = (Ok(()), None, Vec::new());
        if let Ok(config) = &config {
            match cosmos3::card::card(dir, config) {
                Ok(card) => {
                    let shapes = shapes(&card, size);
                    clips_on_gpu =
                        shapes.as_ref().map_or_else(|_| Vec::new(), |shapes| held(config, shapes, Keeping::GPU));
                    clips = Some(shapes.map(|shapes| held(config, &shapes, Keeping::PROCESSOR)));
                }
                Err(error) => beside = Err(words(error)),
            }
            let tokens = PromptTokens::read(dir, config.transformer.vocab_size);
            beside = beside.and(tokens.map(|_| ()).map_err(words));
        }
        Report {
            name: dir.name().to_owned(),
            compute,
            transformer: transformer.map_err(words),
            vae: vae.map_err(words),
            unused,
            config: config.map_err(words),
            beside,
            clips,
            clips_on_gpu,
        }
    }

    /// Of the clips that were asked about, the longest.
    pub(super) fn on_gpu(&self) -> Option<OnGpu> {
        let parameters: u64 =
            [&self.transformer, &self.vae].into_iter().flatten().map(|network| network.parameters).sum();
        let config = &self.config.as_ref().ok()?.transformer;
        let table = (config.vocab_size * config.hidden_size) as u64;
        let (_, longest) = self.clips_on_gpu.last()?;
        Some(OnGpu { weights: 2 * (parameters - table), session: longest.total(), unit: "clip" })
    }

    /// As [`Report::on_gpu`], of the GPU of rank `rank` of `ranks`.
    pub(super) fn on_gpu_of(&self, rank: usize, ranks: usize) -> ops::Result<Option<OnGpu>> {
        let Ok(config) = &self.config else { return Ok(None) };
        team::check(ranks, &cosmos3::divided(&config.transformer))?;
        let (Some(whole), Some((shape, longest))) = (self.on_gpu(), self.clips_on_gpu.last()) else { return Ok(None) };
        // Of the transformer, others have the stack that draws.
        let drawing = tensors::drawing_parameters(&config.transformer);
        let weights = if rank == 0 { whole.weights } else { 2 * drawing };
        Ok(Some(OnGpu { weights, session: longest.of_rank(config, shape, rank, ranks).total(), ..whole }))
    }

    /// How the longest of the clips that were asked about is divided among ranks on the processor.
    pub(super) fn on_ranks(&self, ranks: usize) -> ops::Result<Option<OnRanks>> {
        let (Ok(config), Some(Ok(clips))) = (&self.config, &self.clips) else { return Ok(None) };
        let Some((shape, _)) = clips.last() else { return Ok(None) };
        team::check(ranks, &cosmos3::divided(&config.transformer))?;
        Ok(Some(OnRanks::of(config, shape, Keeping::PROCESSOR, ranks)))
    }

    /// Nothing is missing or wrong: it will load.
    pub fn is_complete(&self) -> bool {
        let whole = |network: &Result<Network, String>| network.as_ref().is_ok_and(|network| network.faults.is_empty());
        self.config.is_ok() && self.beside.is_ok() && whole(&self.transformer) && whole(&self.vae)
    }
}

/// A short video and a long one of this size; by default of the card's size, and a picture beside them.
fn shapes(card: &Card, size: Option<Size>) -> Result<Vec<(Size, usize)>, Refusal> {
    let video = card.choose_size(size)?;
    let picture = size.unwrap_or(card.clips.picture_size);
    let lengths = [93, 189].map(|frames| (video, frames));
    Ok([(picture, 1)].into_iter().chain(lengths).collect())
}

fn held(config: &ModelConfig, shapes: &[(Size, usize)], keeping: Keeping) -> Vec<(ClipShape, Footprint)> {
    let negative_tokens = (!config.sampling.is_distilled()).then_some(EMPTY_TOKENS);
    let shape =
        |&(size, frames): &(Size, usize)| ClipShape { size, frames, prompt_tokens: PROMPT_TOKENS, negative_tokens };
    shapes.iter().map(shape).map(|shape| (shape, Footprint::of(config, &shape, keeping))).collect()
}

fn summary(config: &TransformerConfig) -> String {
    format!(
        "width {}, twice {} layers, {} heads of {} on {} of keys, feed-forward {} ({}), {} tokens known, {} latent channels",
        config.hidden_size,
        config.layers,
        config.heads,
        config.head_dim,
        config.key_heads,
        config.intermediate_size,
        match config.activation {
            Activation::SwiGlu => "SwiGLU",
            Activation::ReluSquared => "squared ReLU",
        },
        config.vocab_size,
        config.latent_channels
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.config {
            Ok(config) => {
                // Checkpoints that were trained further for one task are of this kind, and say no more of it.
                let parts =
                    if self.unused.keys().any(|part| *part != Unused::LanguageHead) { "" } else { ", visual only" };
                writeln!(f, "{}\n{}{parts}; {}", self.name, config.variant(), config.sampling)?;
            }
            Err(reason) => writeln!(f, "{}\nCosmos3, not a whole model: {reason}", self.name)?,
        }
        let (mut parameters, mut bytes) = (0, 0);
        for (name, network) in [("transformer", &self.transformer), ("vae", &self.vae)] {
            match network {
                Ok(network) => {
                    writeln!(f, "\n{name}: {network}")?;
                    parameters += network.parameters;
                    bytes += network.load_bytes;
                }
                Err(reason) => writeln!(f, "\n{name}: {reason}")?,
            }
        }
        for (part, tensors) in &self.unused {
            writeln!(f, "  not loaded: {tensors} tensors of {part}")?;
        }
        writeln!(f, "\n{} parameters, {} to load in {}", Grouped(parameters), Human(bytes), self.compute)?;
        if let Err(reason) = &self.beside {
            writeln!(f, "\nbeside the networks: {reason}")?;
        }
        match &self.clips {
            Some(Ok(clips)) => {
                for (shape, held) in clips {
                    match shape.frames {
                        1 => writeln!(f, "\na picture of {}:\n{held}", shape.size)?,
                        frames => writeln!(f, "\na clip of {frames} frames at {}:\n{held}", shape.size)?,
                    }
                }
            }
            Some(Err(refusal)) => writeln!(f, "\nno such clip: {refusal}")?,
            None => {}
        }
        if let Some(on_gpu) = self.on_gpu().filter(|_| self.is_complete()) {
            writeln!(f, "\non a GPU: {on_gpu}, the longest of these")?;
        }
        write!(f, "\n{}", if self.is_complete() { "complete" } else { "INCOMPLETE: it will not load" })
    }
}
