//! What a Cosmos3 directory says of its model, checked: which member of the family it is follows from the content, never from
//! a name.

pub mod sampling;
pub mod transformer;

use std::fmt;

use self::sampling::Sampling;
use self::transformer::TransformerConfig;
use crate::load::error::LoadError;
use crate::load::model_dir::ModelDir;
use crate::wan::vae::config::VaeConfig;

/// All configurations of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `transformer/config.json`
    pub transformer: TransformerConfig,
    /// `vae/config.json`
    pub vae: VaeConfig,
    /// `scheduler/scheduler_config.json`
    pub sampling: Sampling,
}

/// Which member of the family a checkpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// 36 layers of width 4096.
    Nano,
    /// 64 layers of width 5120.
    Super,
    /// The small dense one, with another feed-forward and another tokenizer.
    Edge,
    /// Of the same kind as Nano and Super, and of a size that was not published.
    Other,
}

/// Where each configuration stands.
pub(crate) const TRANSFORMER: &str = "transformer/config.json";
pub(crate) const SCHEDULER: &str = "scheduler/scheduler_config.json";

impl ModelConfig {
    /// All configurations, each on its own and then together. Errors name the file, the key and what is allowed.
    pub fn read(dir: &ModelDir) -> Result<ModelConfig, LoadError> {
        let transformer = TransformerConfig::from_file(&dir.read(TRANSFORMER)?)?;
        let vae = VaeConfig::read(dir)?;
        let sampling = Sampling::from_file(&dir.read(SCHEDULER)?)?;
        if vae.z_dim != transformer.latent_channels {
            return Err(LoadError::file(
                dir.show("vae/config.json"),
                format!("z_dim is {}; {TRANSFORMER} has latent_channel {}", vae.z_dim, transformer.latent_channels),
            ));
        }
        if vae.temporal_factor() != crate::world::FRAMES_PER_LATENT {
            return Err(LoadError::file(
                dir.show("vae/config.json"),
                format!("makes {} video frames of a latent frame; it must be 4", vae.temporal_factor()),
            ));
        }
        Ok(ModelConfig { transformer, vae, sampling })
    }

    /// Told by the size and the kind of the transformer.
    pub fn variant(&self) -> Variant {
        match (self.transformer.is_edge(), self.transformer.layers, self.transformer.hidden_size) {
            (true, ..) => Variant::Edge,
            (_, 36, 4096) => Variant::Nano,
            (_, 64, 5120) => Variant::Super,
            _ => Variant::Other,
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Variant::Nano => "Cosmos3-Nano",
            Variant::Super => "Cosmos3-Super",
            Variant::Edge => "Cosmos3-Edge",
            Variant::Other => "Cosmos3 of a size that was not published",
        })
    }
}

#[cfg(test)]
mod tests;
