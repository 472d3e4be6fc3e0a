//! The two stacks as one network: a prompt is read once, then the flow of a latent is predicted at each step.

use ops::rope_halves::HalvesRotary;
use ops::{Device, Tensor};

use super::config::transformer::TransformerConfig;
use super::generation::Generation;
use super::mrope::{Grid, Mrope};
use super::understanding::{Prefix, Understanding};
use crate::load::error::LoadError;
use crate::load::weights::Weights;
use crate::world::{Cancel, Spans, WorldError};

/// The weights of both stacks.
pub struct Transformer {
    device: Device,
    mrope: Mrope,
    understanding: Understanding,
    generation: Generation,
}

/// One prompt of one clip: what it is to every step. A value, made once and dropped with the clip.
pub struct Branch {
    prefix: Prefix,
    /// Depends on the prompt: the video stands behind it.
    rotary: HalvesRotary,
}

impl Branch {
    /// What the stack that reads made of the prompt.
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// The positions of the video's tokens.
    pub fn rotary(&self) -> &HalvesRotary {
        &self.rotary
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        self.prefix.bytes() + self.rotary.bytes()
    }
}

impl Transformer {
    /// `weights` holds the tensors that [`tensors::transformer`](super::tensors::transformer) lists.
    pub fn load(config: &TransformerConfig, weights: &Weights) -> Result<Transformer, LoadError> {
        Ok(Transformer {
            device: weights.device().clone(),
            mrope: Mrope::new(config),
            understanding: Understanding::load(config, weights)?,
            generation: Generation::load(config, weights)?,
        })
    }

    /// What computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The stack that reads.
    pub fn understanding(&self) -> &Understanding {
        &self.understanding
    }

    /// The stack that draws.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// How positions become angles.
    pub fn mrope(&self) -> &Mrope {
        &self.mrope
    }

    /// Read a prompt for a video of this grid. Looks at `cancel` before each layer.
    pub fn read(&self, tokens: &[u32], grid: &Grid, cancel: &Cancel) -> Result<Branch, WorldError> {
        let text = self.mrope.rotary(&self.mrope.text(tokens.len()), &self.device)?;
        Ok(Branch {
            prefix: self.understanding.read(tokens, &text, cancel)?,
            rotary: self.mrope.rotary(&self.mrope.video(tokens.len(), grid), &self.device)?,
        })
    }

    /// The flow of `latent`, `(C, F, h, w)`, at the time of [`Generation::time_embedding`]. The first `given` latent frames are
    /// clean; what is predicted for them means nothing. Looks at `cancel` before each layer; what each takes goes to `spans`.
    pub fn predict_flow(
        &self,
        latent: &Tensor,
        given: usize,
        time: &Tensor,
        branch: &Branch,
        cancel: &Cancel,
        spans: &Spans,
    ) -> Result<Tensor, WorldError> {
        let (_, frames, height, width) = latent.dims4()?;
        let tokens = branch.rotary.tables().0.dim(0)?;
        let mut h = self.generation.begin(latent, given * tokens / frames, time)?;
        for layer in 0..self.generation.layers() {
            cancel.check()?;
            let _span = spans.begin(|| format!("layer{layer}"));
            h = self.generation.layer(layer, &h, &branch.prefix, &branch.rotary)?;
        }
        Ok(self.generation.finish(&self.generation.norm(&h)?, height, width)?)
    }
}
