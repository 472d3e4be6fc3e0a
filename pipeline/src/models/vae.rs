//! Wan's causal video autoencoder: pictures to latents and back, in pieces, with what a piece needs of the past carried.
//!
//! Inside, tensors are channel-last frames ([`Video`]); latents outside are `(C, F, h, w)`, as the transformer has them, and
//! pictures `(T, H, W, 3)`, as a screen has them.

mod blocks;
mod decoder;
mod encoder;

use self::blocks::pointwise;
use self::decoder::Decoder;
use self::encoder::Encoder;
use super::conv::{Carried, Slots};
use crate::config::VaeConfig;
use crate::ops::conv::Conv;
use crate::ops::pixels;
use crate::ops::video::Video;
use crate::ops::{Result, Tensor};
use crate::weights::{LoadError, Weights};

pub struct Vae {
    encoder: Encoder,
    /// Only the rows that give means: variances are for training.
    quant_conv: Conv,
    post_quant_conv: Conv,
    decoder: Decoder,
    decoder_slots: Slots,
    mean: Vec<f32>,
    std: Vec<f32>,
    /// Pixels each way that one channel-folded pixel is.
    patch: usize,
    spatial_factor: usize,
    temporal_factor: usize,
}

/// What decoding carries from one latent frame of a stream to the next. Dropped with the stream.
#[derive(Default)]
pub struct DecoderState {
    carried: Carried,
    /// Height and width of the stream's latents, from its first frame on.
    latent: Option<(usize, usize)>,
}

impl Vae {
    /// Asks for every tensor of a published checkpoint, under its diffusers name.
    pub fn load(config: &VaeConfig, weights: &Weights) -> std::result::Result<Vae, LoadError> {
        let z = config.z_dim;
        let quant = weights.at("quant_conv");
        let quant_weight = quant.get("weight", (2 * z, 2 * z, 1, 1, 1))?.narrow(0, 0, z)?;
        let quant_bias = quant.get("bias", 2 * z)?.narrow(0, 0, z)?;
        let mut decoder_slots = Slots::default();
        Ok(Vae {
            encoder: Encoder::load(config, &weights.at("encoder"), &mut Slots::default())?,
            quant_conv: Conv::new(&quant_weight, &quant_bias)?,
            post_quant_conv: pointwise(&weights.at("post_quant_conv"), &[z, z, 1, 1, 1])?,
            decoder: Decoder::load(config, &weights.at("decoder"), &mut decoder_slots)?,
            decoder_slots,
            mean: config.latents_mean.clone(),
            std: config.latents_std.clone(),
            patch: config.patch(),
            spatial_factor: config.spatial_factor(),
            temporal_factor: config.temporal_factor(),
        })
    }

    /// Pixels of one latent pixel, each way.
    pub fn spatial_factor(&self) -> usize {
        self.spatial_factor
    }

    /// Video frames of one latent frame, the first one of a stream excepted: that is one.
    pub fn temporal_factor(&self) -> usize {
        self.temporal_factor
    }

    /// The picture followed by grey, `frames` in all, as normalised latents: `(C, F, h, w)`.
    ///
    /// `picture`: `(H, W, 3)` in [-1, 1], both sides a multiple of the spatial factor. `frames`: one more than a multiple of
    /// the temporal factor. Memory does not grow with it: grey is made and encoded a latent frame at a time.
    pub fn encode(&self, picture: &Tensor, frames: usize) -> Result<Tensor> {
        let (height, width, colours) = picture.dims3()?;
        let unit = self.spatial_factor;
        if colours != 3 || height == 0 || width == 0 || height % unit != 0 || width % unit != 0 {
            candle_core::bail!("a picture is (H, W, 3) with sides a multiple of {unit}, not {:?}", picture.dims());
        }
        if frames % self.temporal_factor != 1 % self.temporal_factor || frames == 0 {
            candle_core::bail!("{frames} frames are not one more than a multiple of {}", self.temporal_factor);
        }
        let mut carried = Carried::default();
        let first = pixels::fold(picture, self.patch)?;
        let grey = Video::grey(first.shape, self.temporal_factor);
        let mut latents = self.quant_conv.apply(&self.encoder.encode(&first, &mut carried), None);
        for _ in 0..(frames - 1) / self.temporal_factor {
            let group = self.encoder.encode(&grey, &mut carried);
            latents.frames.extend(self.quant_conv.apply(&group, None).frames);
        }
        let column = |values: &[f32]| Tensor::new(values, picture.device())?.reshape(((), 1, 1, 1));
        latents.to_tensor()?.broadcast_sub(&column(&self.mean)?)?.broadcast_div(&column(&self.std)?)
    }

    /// One normalised latent frame, `(C, h, w)` or `(C, 1, h, w)`, as video: `(T, H, W, 3)`, nominally in [-1, 1], not clamped.
    ///
    /// `T` is 1 for the first frame of a stream and the temporal factor after it.
    pub fn decode(&self, latent: &Tensor, state: &mut DecoderState) -> Result<Tensor> {
        let (channels, height, width) = match *latent.dims() {
            [channels, height, width] | [channels, 1, height, width] => (channels, height, width),
            _ => candle_core::bail!("one latent frame is (C, h, w) or (C, 1, h, w), not {:?}", latent.dims()),
        };
        if channels != self.mean.len() || height == 0 || width == 0 {
            candle_core::bail!("a latent has {} channels, and some pixels: {:?}", self.mean.len(), latent.dims());
        }
        let first = state.latent.is_none();
        let (h, w) = *state.latent.get_or_insert((height, width));
        if (h, w) != (height, width) {
            candle_core::bail!("a stream of {h}x{w} latents goes on with one of {height}x{width}");
        }
        let column = |values: &[f32]| Tensor::new(values, latent.device())?.reshape(((), 1, 1, 1));
        let latent = latent.reshape((channels, 1, height, width))?;
        let latent = latent.broadcast_mul(&column(&self.std)?)?.broadcast_add(&column(&self.mean)?)?;
        let latent = self.post_quant_conv.apply(&Video::from_tensor(&latent)?, None);
        pixels::unfold(&self.decoder.decode(&latent, first, &mut state.carried), self.patch)
    }

    /// What a [`DecoderState`] of `height × width` latents holds once full: from the third latent frame on at the latest.
    pub fn decoder_state_bytes(&self, height: usize, width: usize) -> u64 {
        self.decoder_slots.bytes(height, width)
    }
}

impl DecoderState {
    pub fn new() -> DecoderState {
        DecoderState::default()
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.carried.bytes()
    }

    /// The last one or two input frames of each causal convolution that has had any, as (place in call order,
    /// `(C, frames, H, W)`).
    pub fn carried(&self) -> Result<Vec<(usize, Tensor)>> {
        self.carried.to_tensors()
    }
}
