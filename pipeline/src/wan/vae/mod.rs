//! Wan's causal video autoencoder: pictures to latents and back, in pieces, with what a piece needs of the past carried.
//!
//! Inside, tensors are channel-last frames ([`Video`]); latents outside are `(C, F, h, w)`, as the transformer has them, and
//! pictures `(T, H, W, 3)`, as a screen has them.

mod blocks;
pub mod config;
mod decoder;
mod encoder;

use ops::conv::Conv;
use ops::{Device, Error, FrameStack, Result, Tensor, channels, pixels};

use self::config::VaeConfig;
use self::decoder::Decoder;
use self::encoder::Encoder;
use super::causal_conv::{Carried, Slots};
use crate::load::error::LoadError;
use crate::load::weights::Weights;

/// The weights of an autoencoder.
pub struct Vae {
    encoder: Encoder,
    /// Only the rows that give means: variances are for training.
    quant_conv: Conv,
    post_quant_conv: Conv,
    decoder: Decoder,
    device: Device,
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
    /// `weights` holds the tensors that [`tensors::vae`](crate::wan::tensors::vae) lists.
    pub fn load(config: &VaeConfig, weights: &Weights) -> std::result::Result<Vae, LoadError> {
        let z = config.z_dim;
        let quant = weights.at("quant_conv");
        let (quant_weight, quant_bias) = (quant.stored("weight")?, quant.stored("bias")?);
        // The rest is not computed with, but if it is damaged, so is the file.
        quant_weight.check()?;
        quant_bias.check()?;
        let device = weights.device().clone();
        Ok(Vae {
            encoder: Encoder::load(config, &weights.at("encoder"), &mut Slots::default())?,
            quant_conv: Conv::new(&quant_weight.narrow(0, z)?, &quant_bias.narrow(0, z)?, &device)?,
            post_quant_conv: weights.at("post_quant_conv").conv()?,
            decoder: Decoder::load(config, &weights.at("decoder"), &mut Slots::default())?,
            device,
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
    /// `picture`: one frame of three channels in [-1, 1], both sides a multiple of the spatial factor. `frames`: one more than
    /// a multiple of the temporal factor. Memory does not grow with it: grey is made and encoded a latent frame at a time.
    pub fn encode(&self, picture: FrameStack, frames: usize) -> Result<Tensor> {
        let (shape, unit) = (picture.shape(), self.spatial_factor);
        let fits = |side: usize| side > 0 && side.is_multiple_of(unit);
        if picture.len() != 1 || shape.channels != 3 || !fits(shape.height) || !fits(shape.width) {
            return Err(Error::new(format_args!(
                "a picture is one frame of 3 channels with sides a multiple of {unit}, not {} of {shape:?}",
                picture.len()
            )));
        }
        if frames % self.temporal_factor != 1 % self.temporal_factor || frames == 0 {
            return Err(Error::new(format_args!(
                "{frames} frames are not one more than a multiple of {}",
                self.temporal_factor
            )));
        }
        let mut carried = Carried::default();
        let first = pixels::fold(picture, self.patch);
        let grey = FrameStack::grey(first.shape(), self.temporal_factor, &self.device);
        let mut latents = self.quant_conv.apply(&self.encoder.encode(&first, &mut carried), None);
        for _ in 0..(frames - 1) / self.temporal_factor {
            let group = self.encoder.encode(&grey, &mut carried);
            latents.append(self.quant_conv.apply(&group, None));
        }
        channels::standardise(&latents.to_tensor()?, &self.mean, &self.std)
    }

    /// One normalised latent frame, `(C, h, w)` or `(C, 1, h, w)`, as video frames of three channels, nominally in [-1, 1], not
    /// clamped.
    ///
    /// They are 1 for the first frame of a stream and the temporal factor after it.
    pub fn decode(&self, latent: &Tensor, state: &mut DecoderState) -> Result<FrameStack> {
        let wrong = |message: String| Err(Error::new(message));
        let (channels, height, width) = match *latent.dims() {
            [channels, height, width] | [channels, 1, height, width] => (channels, height, width),
            _ => return wrong(format!("one latent frame is (C, h, w) or (C, 1, h, w), not {:?}", latent.dims())),
        };
        if channels != self.mean.len() || height == 0 || width == 0 {
            return wrong(format!("a latent has {} channels, and some pixels: {:?}", self.mean.len(), latent.dims()));
        }
        let first = state.latent.is_none();
        let (h, w) = *state.latent.get_or_insert((height, width));
        if (h, w) != (height, width) {
            return wrong(format!("a stream of {h}x{w} latents goes on with one of {height}x{width}"));
        }
        let latent = channels::restore(&latent.reshape([channels, 1, height, width])?, &self.mean, &self.std)?;
        let latent = self.post_quant_conv.apply(&FrameStack::from_tensor(&latent)?, None);
        Ok(pixels::unfold(self.decoder.decode(&latent, first, &mut state.carried), self.patch))
    }
}

impl DecoderState {
    /// The state before the first frame of a stream.
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
    use safetensors::Dtype;

    use super::*;
    use crate::fixture::file;
    use crate::load::weights::Checkpoint;
    use crate::wan::tensors;

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
        Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::cpu()).expect("as many as the shape has")
    }

    /// One frame of `channels`.
    fn picture(channels: usize, height: usize, width: usize) -> FrameStack {
        FrameStack::from_tensor(&noise(&[channels, 1, height, width])).expect("one frame")
    }

    /// An autoencoder of numbers that mean nothing.
    fn made_up(config: &VaeConfig) -> Vae {
        let tensors = tensors::vae(config);
        let checkpoint = Checkpoint::from_bytes(&file(&tensors, Dtype::F32)).expect("a file");
        let vae = Vae::load(config, &checkpoint.weights(&tensors, &Device::cpu()).expect("every tensor"));
        checkpoint.finish(&tensors).expect("no other tensor");
        vae.expect("an autoencoder")
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
            let config = small(patch, dim_mult, halves_time);
            let vae = made_up(&config);
            let (unit, long) = (vae.spatial_factor(), vae.temporal_factor());
            let (h, w) = (2, 3);
            let latents = vae.encode(picture(3, h * unit, w * unit), 1 + 3 * long).expect("encodes");
            assert_eq!(latents.dims(), [3, 4, h, w]);
            let mut state = DecoderState::new();
            for t in 0..4 {
                let video = vae.decode(&latents.narrow(1, t, 1).expect("a frame"), &mut state).expect("decodes");
                let shape = video.shape();
                assert_eq!((shape.height, shape.width, shape.channels, shape.border), (h * unit, w * unit, 3, 0));
                assert_eq!(video.len(), if t == 0 { 1 } else { long });
                assert!(state.bytes() <= config.decoder_state_bytes(h, w));
            }
            assert_eq!(state.bytes(), config.decoder_state_bytes(h, w));
        }
    }

    #[test]
    fn frames_taken_one_by_one_are_the_frames_taken_together() {
        let vae = made_up(&small(None, &[1, 2, 4], &[true, true]));
        let (mut together, mut apart) = (Carried::default(), Carried::default());
        for t in 0..4 {
            let values = noise(&[3, 1, 3, 5]).to_vec::<f32>().expect("f32").into_iter().map(|x| x * t as f32).collect();
            let latent = Tensor::from_vec(values, [3, 1, 3, 5], &Device::cpu()).expect("scaled");
            let latent = FrameStack::from_tensor(&latent).expect("a frame");
            let a = vae.decoder.decode_within(usize::MAX, &latent, t == 0, &mut together).to_tensor().expect("video");
            let b = vae.decoder.decode_within(0, &latent, t == 0, &mut apart).to_tensor().expect("video");
            assert_eq!(a.dims(), b.dims());
            assert_eq!(a.to_vec::<f32>().expect("f32"), b.to_vec::<f32>().expect("f32"));
        }
        assert_eq!(together.bytes(), apart.bytes());
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_not_a_panic() {
        let vae = made_up(&small(Some(2), &[1, 2], &[true]));
        let unit = vae.spatial_factor();
        assert!(vae.encode(picture(3, unit, unit), 4).is_err(), "not one more than a multiple of 2");
        assert!(vae.encode(picture(3, unit, unit), 0).is_err());
        assert!(vae.encode(picture(3, unit + 1, unit), 1).is_err());
        assert!(vae.encode(picture(4, unit, unit), 1).is_err());
        let mut state = DecoderState::new();
        assert!(vae.decode(&noise(&[4, 2, 2]), &mut state).is_err(), "four channels");
        assert!(vae.decode(&noise(&[3, 2, 2, 2]), &mut state).is_err(), "two frames");
        vae.decode(&noise(&[3, 2, 2]), &mut state).expect("fits");
        assert!(vae.decode(&noise(&[3, 2, 3]), &mut state).is_err(), "another size");
        vae.decode(&noise(&[3, 1, 2, 2]), &mut state).expect("the stream goes on");
    }
}
