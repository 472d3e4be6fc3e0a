//! A report of a model directory, in words and numbers. It says `complete` if and only if the directory loads.

mod cosmos3;
mod held;
mod json;

use std::collections::BTreeMap;
use std::fmt;

use ops::{Compute, Keeping};

use crate::lingbot;
use crate::lingbot::card;
use crate::lingbot::config::ModelConfig;
use crate::lingbot::config::transformer::TransformerConfig;
use crate::lingbot::footprint::{Footprint, Human, RolloutShape};
use crate::lingbot::recipe::Lineage;
use crate::load::error::LoadError;
use crate::load::family::Family;
use crate::load::model_dir::{Component, Layout, ModelDir};
use crate::load::tensor_list::TensorList;
use crate::load::weights::Checkpoint;
use crate::wan;
use crate::wan::text::PromptTokens;
use crate::wan::umt5::config::TextConfig;
use crate::wan::vae::config::VaeConfig;
use crate::world::{Card, Refusal, Size};

pub use self::cosmos3::Report as Cosmos3Report;
pub use self::held::{OnGpu, OnRanks};

/// What a model directory holds, by the family of its model.
#[derive(Debug)]
pub enum Inspection {
    /// A LingBot World model.
    LingBot(Box<Report>),
    /// A Cosmos3 model.
    Cosmos3(Box<Cosmos3Report>),
}

/// What the directory of a LingBot World model holds.
#[derive(Debug)]
pub struct Report {
    /// The path it was opened with.
    pub name: String,
    /// How its files are laid out.
    pub layout: Layout,
    /// Which generation it descends from.
    pub lineage: Lineage,
    /// The type that was asked about.
    pub compute: Compute,
    /// One a [`Component`]. `Err`: it is not there, or cannot be read.
    pub networks: Vec<(Component, Result<Network, String>)>,
    /// `Err`: the networks do not make a model, and why.
    pub config: Result<ModelConfig, String>,
    /// `Err`: an error in the tokenizer, the gallery or the suggested prompts.
    pub beside: Result<(), String>,
    /// The bytes of a session with the given size and window, or why there can be none. `None` if this is not a model.
    pub session: Option<Result<(RolloutShape, Footprint), Refusal>>,
    /// The same session where a GPU draws it.
    pub session_on_gpu: Option<Footprint>,
}

/// One network as its files describe it.
#[derive(Debug)]
pub struct Network {
    /// The configuration in one line.
    pub summary: String,
    /// How many files hold it.
    pub files: usize,
    /// How many tensors it has.
    pub tensors: usize,
    /// Numbers in all of them.
    pub parameters: u64,
    /// Tensors of each type.
    pub types: BTreeMap<String, usize>,
    /// Bytes of its files.
    pub disk_bytes: u64,
    /// In memory, in the type that was asked about.
    pub load_bytes: u64,
    /// What keeps it from loading: every tensor that is missing, of another shape or type, or not part of it; if there
    /// is none of these, every tensor that holds numbers which are not finite.
    pub faults: Vec<String>,
}

/// Look at a model directory that is to be computed in this type, and at a session or clip of this size (and window): by default
/// the model's own.
///
/// Checks all that loading checks. That includes the numbers, so every weight is read once, but none is kept.
pub fn inspect(
    dir: &ModelDir,
    compute: Compute,
    size: Option<Size>,
    window: Option<usize>,
) -> Result<Inspection, LoadError> {
    match Family::of(dir)? {
        Family::LingBotWorld => Ok(Inspection::LingBot(Box::new(lingbot_report(dir, compute, size, window)?))),
        Family::Cosmos3 => Ok(Inspection::Cosmos3(Box::new(Cosmos3Report::of(dir, compute, size)))),
    }
}

fn lingbot_report(
    dir: &ModelDir,
    compute: Compute,
    size: Option<Size>,
    window: Option<usize>,
) -> Result<Report, LoadError> {
    let network = |component| {
        let expected = match component {
            Component::Transformer => {
                TransformerConfig::read(dir).map(|c| (summary(&c), lingbot::tensors::transformer(&c)))
            }
            Component::Vae => VaeConfig::read(dir).map(|c| (vae_summary(&c), wan::tensors::vae(&c))),
            Component::TextEncoder => TextConfig::read(dir).map(|c| (text_summary(&c), wan::tensors::text_encoder(&c))),
        };
        let found = expected
            .and_then(|(said, tensors)| Ok(Network::new(said, &tensors, compute, &Checkpoint::open(dir, component)?)));
        (component, found.map_err(|error| error.to_string()))
    };
    let config = ModelConfig::read(dir);
    let (mut beside, mut asked, mut session_on_gpu) = (Ok(()), None, None);
    if let Ok(config) = &config {
        match card(dir, config) {
            Ok(card) => {
                let session = session(&card, config, compute, size, window);
                let on_gpu = |shape| Footprint::of(config, shape, Keeping::GPU).of_rank(config, shape, 0, 1);
                session_on_gpu = session.as_ref().ok().map(|(shape, _)| on_gpu(shape));
                asked = Some(session);
            }
            Err(error) => beside = Err(error.to_string()),
        }
        let recipe = &config.recipe;
        let tokens = PromptTokens::read(dir, &config.text, recipe.text_len, recipe.append_eos);
        beside = beside.and(tokens.map(|_| ()).map_err(|error| error.to_string()));
    }
    Ok(Report {
        name: dir.name().to_owned(),
        layout: dir.layout()?,
        lineage: Lineage::of(dir)?,
        compute,
        networks: Component::ALL.map(network).into(),
        config: config.map_err(|error| error.to_string()),
        beside,
        session: asked,
        session_on_gpu,
    })
}

fn session(
    card: &Card,
    config: &ModelConfig,
    compute: Compute,
    size: Option<Size>,
    window: Option<usize>,
) -> Result<(RolloutShape, Footprint), Refusal> {
    let size = card.choose_size(size)?;
    let (sink, window) = card.choose_window(None, window)?;
    let shape = RolloutShape { size, sink, window, ..RolloutShape::of(&config.recipe) };
    Ok((shape, Footprint::of(config, &shape, Keeping::processor(compute))))
}

impl Inspection {
    /// Nothing is missing or wrong: it will load.
    pub fn is_complete(&self) -> bool {
        match self {
            Inspection::LingBot(report) => report.is_complete(),
            Inspection::Cosmos3(report) => report.is_complete(),
        }
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Inspection::LingBot(report) => report.fmt(f),
            Inspection::Cosmos3(report) => report.fmt(f),
        }
    }
}

impl Report {
    /// Nothing is missing or wrong: it will load.
    pub fn is_complete(&self) -> bool {
        let whole = |network: &Result<Network, String>| network.as_ref().is_ok_and(|network| network.faults.is_empty());
        self.config.is_ok() && self.beside.is_ok() && self.networks.iter().all(|(_, network)| whole(network))
    }
}

impl Network {
    fn new(summary: String, expected: &TensorList, compute: Compute, checkpoint: &Checkpoint) -> Network {
        let mut faults: Vec<String> = checkpoint.faults(expected).map(in_short).collect();
        if faults.is_empty() {
            let check = |(name, _)| checkpoint.stored(name).and_then(|stored| Ok(stored.check()?)).err();
            faults = expected.iter().filter_map(check).map(in_short).collect();
        }
        let (mut types, mut parameters) = (BTreeMap::new(), 0);
        for (_, entry) in checkpoint.tensors() {
            *types.entry(entry.dtype.to_string()).or_default() += 1;
            parameters += entry.elements();
        }
        Network {
            summary,
            files: checkpoint.file_count(),
            tensors: checkpoint.tensors().count(),
            parameters,
            types,
            disk_bytes: checkpoint.file_bytes(),
            load_bytes: expected.bytes(compute),
            faults,
        }
    }
}

/// An error in a tensor, listed below the name of its network.
fn in_short(fault: LoadError) -> String {
    match fault {
        LoadError::Missing { tensor, expected, .. } => format!("{tensor} {expected:?} is missing"),
        LoadError::Shape { tensor, expected, found, .. } => format!("{tensor} is {found:?}, expected {expected:?}"),
        LoadError::Type { tensor, found, .. } => {
            format!("{tensor} is stored as {found}; it must be F32, F16 or BF16")
        }
        LoadError::Extra { tensor, found, .. } => format!("{tensor} {found:?} is not part of it"),
        other => other.to_string(),
    }
}

fn summary(config: &TransformerConfig) -> String {
    format!(
        "width {} = {} heads of {}, {} blocks, feed-forward {}, text {}, channels {} in, {} out",
        config.width(),
        config.num_attention_heads,
        config.attention_head_dim,
        config.num_layers,
        config.ffn_dim,
        config.text_dim,
        config.in_channels,
        config.out_channels
    )
}

fn vae_summary(config: &VaeConfig) -> String {
    format!(
        "{}, base {}, decoder {}, multiples {:?}, {} resnets a level, {} latent channels, one latent value to {}x{} pixels and {} frames",
        if config.residual { "Wan 2.2's" } else { "Wan 2.1's" },
        config.base_dim,
        config.decoder_base_dim.unwrap_or(config.base_dim),
        config.dim_mult,
        config.num_res_blocks,
        config.z_dim,
        config.spatial_factor(),
        config.spatial_factor(),
        config.temporal_factor()
    )
}

fn text_summary(config: &TextConfig) -> String {
    format!(
        "UMT5, width {}, {} heads of {}, {} layers, feed-forward {}, {} tokens known",
        config.d_model, config.num_heads, config.d_kv, config.num_layers, config.d_ff, config.vocab_size
    )
}

/// Faults shown of one network: a wrong configuration makes hundreds, and the first few tell.
const FAULTS_SHOWN: usize = 5;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\nlayout: {}; lineage: {}", self.name, self.layout, self.lineage)?;
        let (mut parameters, mut bytes) = (0, 0);
        for (component, network) in &self.networks {
            match network {
                Ok(network) => {
                    writeln!(f, "\n{component}: {network}")?;
                    parameters += network.parameters;
                    bytes += network.load_bytes;
                }
                Err(reason) => writeln!(f, "\n{component}: {reason}")?,
            }
        }
        writeln!(f, "\n{} parameters, {} to load in {}", Grouped(parameters), Human(bytes), self.compute)?;
        match &self.config {
            Ok(config) => writeln!(f, "\n{}", config.recipe)?,
            Err(reason) => writeln!(f, "\nnot a whole model: {reason}")?,
        }
        if let Err(reason) = &self.beside {
            writeln!(f, "\nbeside the networks: {reason}")?;
        }
        match &self.session {
            Some(Ok((shape, bytes))) => {
                writeln!(f, "\na session at {}, window {}:\n{bytes}", shape.size, shape.window)?;
                if let Some(on_gpu) = self.on_gpu() {
                    writeln!(f, "\non a GPU: {on_gpu}")?;
                }
            }
            Some(Err(refusal)) => writeln!(f, "\nno such session: {refusal}")?,
            None => {}
        }
        write!(f, "\n{}", if self.is_complete() { "complete" } else { "INCOMPLETE: it will not load" })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types: Vec<_> = self.types.iter().map(|(name, count)| format!("{count} {name}")).collect();
        write!(
            f,
            "{}\n  {} parameters in {} tensors ({}), {} file{}, {} on disk, {} to load",
            self.summary,
            Grouped(self.parameters),
            self.tensors,
            types.join(", "),
            self.files,
            if self.files == 1 { "" } else { "s" },
            Human(self.disk_bytes),
            Human(self.load_bytes)
        )?;
        for fault in self.faults.iter().take(FAULTS_SHOWN) {
            write!(f, "\n  {fault}")?;
        }
        match self.faults.len().saturating_sub(FAULTS_SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// `18 544 332 864`
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut grouped = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                grouped.push(' ');
            }
            grouped.push(digit);
        }
        f.write_str(&grouped)
    }
}

#[cfg(test)]
mod tests;
