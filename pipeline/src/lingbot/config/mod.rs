//! Everything a model directory says besides its tensors. An impossible configuration is refused here.

pub mod transformer;

use self::transformer::TransformerConfig;
use super::recipe::Recipe;
use crate::load::error::LoadError;
use crate::load::model_dir::ModelDir;
use crate::wan::umt5::config::TextConfig;
use crate::wan::vae::config::VaeConfig;

/// Everything a model directory says besides its tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The diffusion transformer.
    pub transformer: TransformerConfig,
    /// The video autoencoder.
    pub vae: VaeConfig,
    /// What reads the prompt.
    pub text: TextConfig,
    /// How they are run.
    pub recipe: Recipe,
}

/// Pixels to one latent value on a side, and video frames to one latent frame after the first: what the camera condition
/// and the frame arithmetic are made for.
const SPATIAL_FACTOR: usize = 8;
const TEMPORAL_FACTOR: usize = 4;

impl ModelConfig {
    /// Reads every configuration of a directory, and checks that they fit each other.
    pub fn read(dir: &ModelDir) -> Result<ModelConfig, LoadError> {
        let transformer = TransformerConfig::read(dir)?;
        let vae = VaeConfig::read(dir)?;
        let text = TextConfig::read(dir)?;
        let recipe = Recipe::read(dir, &transformer)?;
        let agree = |component: &str, key: &str, value: usize, other: &str, needed: usize| {
            if value == needed {
                return Ok(());
            }
            Err(LoadError::Config {
                file: dir.show(component),
                key: key.to_owned(),
                value: value.to_string(),
                allowed: format!("{needed}, which is {other}"),
            })
        };
        agree("vae", "z_dim", vae.z_dim, "the transformer's out_channels", transformer.out_channels)?;
        agree("text_encoder", "d_model", text.d_model, "the transformer's text_dim", transformer.text_dim)?;
        agree(
            "vae",
            "the side of a latent value in pixels",
            vae.spatial_factor(),
            "the camera's grid",
            SPATIAL_FACTOR,
        )?;
        let frames = "what the chunk arithmetic is made for";
        agree("vae", "the video frames of a latent frame", vae.temporal_factor(), frames, TEMPORAL_FACTOR)?;
        Ok(ModelConfig { transformer, vae, text, recipe })
    }
}

#[cfg(test)]
mod tests;
