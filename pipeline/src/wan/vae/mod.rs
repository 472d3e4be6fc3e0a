//! Wan's causal video autoencoder: pictures to latents and back, in pieces, with what a piece needs of the past carried.
//!
//! Inside, tensors are channel-last frames ([`Video`]); latents outside are `(C, F, h, w)`, as the transformer has them, and
//! pictures `(T, H, W, 3)`, as a screen has them.

mod blocks;
pub mod config;
mod decoder;
mod encoder;

use self::blocks::pointwise;
use self::config::VaeConfig;
use self::decoder::Decoder;
use self::encoder::Encoder;
use super::causal_conv::{Carried, Slots};
use crate::load::weights::{LoadError, Weights};
use ops::conv::Conv;
use ops::pixels;
use ops::video::Video;
use ops::{Result, Tensor};

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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::load::weights::Checkpoint;
    use ops::Device;

    fn small(patch_size: Option<usize>, dim_mult: &[usize], temporal_downsample: &[bool]) -> VaeConfig {
        VaeConfig {
            base_dim: 6,
            decoder_base_dim: Some(4),
            z_dim: 3,
            dim_mult: dim_mult.to_vec(),
            num_res_blocks: 1,
            temporal_downsample: temporal_downsample.to_vec(),
            patch_size,
            latents_mean: vec![0.5, -0.25, 0.0],
            latents_std: vec![2.0, 0.5, 1.0],
        }
    }

    /// Numbers without a pattern, about ±0.5.
    fn noise(shape: &[usize]) -> Tensor {
        let values = (0..shape.iter().product::<usize>()).map(|i| (i * 7919 % 1009) as f32 / 1009.0 - 0.5);
        Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu).expect("as many as the shape has")
    }

    /// An autoencoder that is given whatever tensors it asks for.
    fn granted(config: &VaeConfig) -> Vae {
        let mut tensors: HashMap<String, Tensor> = HashMap::new();
        loop {
            let bytes = safetensors::serialize(&tensors, None).expect("a file");
            let checkpoint = Checkpoint::from_bytes(&bytes).expect("the file");
            match Vae::load(config, &checkpoint.root()) {
                Ok(vae) => return vae,
                Err(LoadError::Missing { tensor, expected, .. }) => {
                    tensors.insert(tensor, noise(&expected));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn largest(tensor: &Tensor) -> f32 {
        tensor.abs().and_then(|t| t.max_all()).and_then(|t| t.to_scalar()).expect("a number")
    }

    #[test]
    fn sizes_frames_and_carried_bytes_are_what_the_configuration_says() {
        for (patch, dim_mult, halves_time) in [
            (None, &[1, 2, 4, 4][..], &[false, true, true][..]),
            (Some(2), &[1, 2, 4], &[true, true]),
            (Some(1), &[1, 2], &[false]),
            (Some(2), &[2, 2, 4], &[true, false]),
            (None, &[1], &[]),
        ] {
            let vae = granted(&small(patch, dim_mult, halves_time));
            let (unit, long) = (vae.spatial_factor(), vae.temporal_factor());
            let (h, w) = (2, 3);
            let latents = vae.encode(&noise(&[h * unit, w * unit, 3]), 1 + 3 * long).expect("encodes");
            assert_eq!(latents.dims(), [3, 4, h, w]);
            let mut state = DecoderState::new();
            for t in 0..4 {
                let video = vae.decode(&latents.narrow(1, t, 1).expect("a frame"), &mut state).expect("decodes");
                assert_eq!(video.dims(), [if t == 0 { 1 } else { long }, h * unit, w * unit, 3]);
                assert!(state.bytes() <= vae.decoder_state_bytes(h, w));
            }
            assert_eq!(state.bytes(), vae.decoder_state_bytes(h, w));
        }
    }

    #[test]
    fn frames_taken_one_by_one_are_the_frames_taken_together() {
        let vae = granted(&small(None, &[1, 2, 4], &[true, true]));
        let (mut together, mut apart) = (Carried::default(), Carried::default());
        for t in 0..4 {
            let latent = Video::from_tensor(&(noise(&[3, 1, 3, 5]) * f64::from(t)).expect("scaled")).expect("a frame");
            let a = vae.decoder.decode_within(usize::MAX, &latent, t == 0, &mut together).to_tensor().expect("video");
            let b = vae.decoder.decode_within(0, &latent, t == 0, &mut apart).to_tensor().expect("video");
            assert_eq!(a.dims(), b.dims());
            assert_eq!(largest(&(a - b).expect("same shape")), 0.0);
        }
        assert_eq!(together.bytes(), apart.bytes());
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_not_a_panic() {
        let vae = granted(&small(Some(2), &[1, 2], &[true]));
        let unit = vae.spatial_factor();
        assert!(vae.encode(&noise(&[unit, unit, 3]), 4).is_err(), "not one more than a multiple of 2");
        assert!(vae.encode(&noise(&[unit, unit, 3]), 0).is_err());
        assert!(vae.encode(&noise(&[unit + 1, unit, 3]), 1).is_err());
        assert!(vae.encode(&noise(&[unit, unit, 4]), 1).is_err());
        let mut state = DecoderState::new();
        assert!(vae.decode(&noise(&[4, 2, 2]), &mut state).is_err(), "four channels");
        assert!(vae.decode(&noise(&[3, 2, 2, 2]), &mut state).is_err(), "two frames");
        vae.decode(&noise(&[3, 2, 2]), &mut state).expect("fits");
        assert!(vae.decode(&noise(&[3, 2, 3]), &mut state).is_err(), "another size");
        vae.decode(&noise(&[3, 1, 2, 2]), &mut state).expect("the stream goes on");
    }
}
