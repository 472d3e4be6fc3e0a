//! The networks of one model: what all its rollouts share.

use std::sync::Arc;

use kvcache::{KvShape, PromptKvCache};
use ops::{Device, Tensor, pixels};

use super::config::ModelConfig;
use super::denoiser::Denoiser;
use crate::wan::prompt;
use crate::wan::text::TextEncoder;
use crate::wan::vae::Vae;
use crate::world::{Chunking, Origin, Picture, Size, Words};

/// All weights, and the settings that the model directory gives for running them.
pub(super) struct Nets {
    /// Where everything lies that is there once.
    pub(super) device: Device,
    /// All, if each rank has one.
    pub(super) devices: Vec<Device>,
    pub(super) denoiser: Denoiser,
    pub(super) vae: Vae,
    pub(super) words: Option<Arc<Words>>,
    pub(super) text: TextEncoder,
    pub(super) config: ModelConfig,
    /// What all of this is, for recordings and states.
    pub(super) origin: Origin,
}

/// Tokens of a latent frame of a video of this size: 2×2 latents each.
pub(super) fn tokens(config: &ModelConfig, size: Size) -> usize {
    let side = |pixels: u32| pixels as usize / config.vae.spatial_factor() / 2;
    side(size.height) * side(size.width)
}

/// Planes of the mask that marks the given picture.
pub(super) const MASK_PLANES: usize = 4;

impl Nets {
    /// A prompt as the text encoder is to read it; `None`: this world knows none of its words.
    pub(super) fn in_own_words(&self, prompt: &str) -> Option<String> {
        match &self.words {
            Some(words) => words.in_own_words(prompt),
            None => Some(prompt::clean(prompt)),
        }
    }

    /// [`Nets::in_own_words`] → every block's keys and values, for each network. Once per prompt.
    pub(super) fn read_prompt(&self, text: &str) -> ops::Result<Vec<PromptKvCache>> {
        self.denoiser.read_prompt(&self.text.encode(text)?)
    }

    /// Tokens of a latent frame of a video of this size: 2×2 latents each.
    pub(super) fn tokens(&self, size: Size) -> usize {
        tokens(&self.config, size)
    }

    /// What each rank remembers of a latent frame of a video of this size: its heads, all tokens.
    pub(super) fn remembered(&self, size: Size) -> KvShape {
        let all = self.config.transformer.remembers(self.tokens(size), &self.device);
        KvShape { heads: all.heads / self.denoiser.team().ranks(), ..all }
    }

    /// Mask and condition latents of a video that starts from `picture`, in whole chunks: `(20, pieces·F, h, w)`. Once
    /// per video.
    ///
    /// The encoder sees the picture and then grey; `frames` is how many frames of that in all.
    pub(super) fn condition_on(&self, picture: &Picture, frames: usize, chunking: Chunking) -> ops::Result<Tensor> {
        let Picture { size, rgb } = picture;
        let picture = pixels::from_rgb8(rgb, size.height as usize, size.width as usize, &self.device)?;
        let latents = self.vae.encode(picture, frames)?;
        let (_, encoded, height, width) = latents.dims4()?;
        let latents = latents.narrow(1, 0, encoded - (encoded - chunking.first) % chunking.later)?;
        let kept = latents.dim(1)?;
        let given = Tensor::full(1.0, [MASK_PLANES, 1, height, width], &self.device)?;
        let made = Tensor::zeros([MASK_PLANES, kept - 1, height, width], &self.device)?;
        Tensor::cat(&[Tensor::cat(&[given, made], 1)?, latents], 0)
    }

    /// As [`Nets::condition_on`] for a video that starts from text alone: zeros, mask and latents both, as trained.
    pub(super) fn condition_on_nothing(&self, size: Size, chunking: Chunking) -> ops::Result<Tensor> {
        let vae = &self.config.vae;
        let side = |pixels: u32| pixels as usize / vae.spatial_factor();
        let latent_frames = chunking.first + chunking.later;
        let shape = [MASK_PLANES + vae.z_dim, latent_frames, side(size.height), side(size.width)];
        Tensor::zeros(shape, &self.device)
    }
}
