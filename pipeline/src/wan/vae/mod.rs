//! Wan's causal video autoencoders, 2.1's and the residual one of 2.2: pictures to latents and back, in pieces, with
//! what a piece needs of the past carried.
//!
//! Inside, tensors are channel-last frames ([`FrameStack`]); latents outside are `(C, F, h, w)`, as the transformer has
//! them, and pictures `(T, H, W, 3)`, as a screen has them.

mod blocks;
pub mod config;
mod decoder;
mod encoder;
mod packed;

use std::ops::Range;

use ops::collective::Team;
use ops::conv::Conv;
use ops::{Bands, Device, Error, FrameStack, Result, Tensor, channels, pixels};

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

/// What decoding carries from one latent frame of a stream to the next. Dropped with the stream. A clone shares the
/// frames, which are never written again.
#[derive(Clone)]
pub struct DecoderState {
    /// What each rank carries for its band.
    carried: Vec<Carried>,
    /// Bands of rows that one rank alone computes every layer in.
    bands: usize,
    /// Height and width of the stream's latents, from its first frame on.
    latent: Option<(usize, usize)>,
}

/// How many of `ranks` decode latents of so many rows: each needs a row, or one does it alone.
pub fn ranks_that_decode(rows: usize, ranks: usize) -> usize {
    if rows < ranks { 1 } else { ranks }
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
            post_quant_conv: weights.at("post_quant_conv").in_f32().conv()?,
            decoder: Decoder::load(config, &weights.at("decoder"), &mut Slots::default())?,
            device,
            mean: config.latents_mean.clone(),
            std: config.latents_std.clone(),
            patch: config.patch(),
            spatial_factor: config.spatial_factor(),
            temporal_factor: config.temporal_factor(),
        })
    }

    /// Channels of a latent.
    pub fn latent_channels(&self) -> usize {
        self.mean.len()
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
    /// `picture`: one frame of three channels in [-1, 1], both sides a multiple of the spatial factor. `frames`: one
    /// more than a multiple of the temporal factor. Memory does not grow with it: grey is made and encoded a latent
    /// frame at a time.
    pub fn encode(&self, picture: FrameStack, frames: usize) -> Result<Tensor> {
        if picture.len() != 1 {
            return Err(Error::new(format_args!("a picture is one frame, not {}", picture.len())));
        }
        let grey = FrameStack::grey(picture.shape(), self.temporal_factor, &self.device)?;
        self.encode_groups(picture, frames, |_| grey.clone())
    }

    /// A whole video as normalised latents, `(C, F, h, w)`: the means of the posterior, standardised.
    ///
    /// `video`: frames of three channels in [-1, 1], one more than a multiple of the temporal factor, both sides a
    /// multiple of the spatial factor.
    pub fn encode_video(&self, video: &FrameStack) -> Result<Tensor> {
        if video.is_empty() {
            return Err(Error::new("a video has a frame"));
        }
        self.encode_groups(video.slice(0..1), video.len(), |frames| video.slice(frames))
    }

    /// `later` gives the frames after the first, a latent frame's worth at a time.
    fn encode_groups(
        &self,
        first: FrameStack,
        frames: usize,
        later: impl Fn(Range<usize>) -> FrameStack,
    ) -> Result<Tensor> {
        let (shape, unit, long) = (first.shape(), self.spatial_factor, self.temporal_factor);
        let fits = |side: usize| side > 0 && side.is_multiple_of(unit);
        if shape.channels != 3 || shape.border != 0 || !fits(shape.height) || !fits(shape.width) {
            return Err(Error::new(format_args!(
                "a picture has 3 channels and sides that are a multiple of {unit}, not {shape:?}"
            )));
        }
        if frames % long != 1 % long || frames == 0 {
            return Err(Error::new(format_args!("{frames} frames are not one more than a multiple of {long}")));
        }
        let mut carried = Carried::default();
        let mut encode = |group: FrameStack| {
            let group = self.encoder.encode(pixels::fold(group, self.patch)?, &mut carried)?;
            self.quant_conv.apply(&group, None)
        };
        let mut latents = encode(first)?;
        for start in (1..frames).step_by(long) {
            latents.append(encode(later(start..start + long))?);
        }
        channels::standardise(&latents.to_tensor()?, &self.mean, &self.std)
    }

    /// One normalised latent frame, `(C, h, w)` or `(C, 1, h, w)`, as video frames of three channels, nominally in [-1,
    /// 1], not clamped.
    ///
    /// They are 1 for the first frame of a stream and the temporal factor after it.
    pub fn decode(&self, latent: &Tensor, state: &mut DecoderState) -> Result<FrameStack> {
        self.decode_over(&Team::alone(), latent, state)
    }

    /// As [`Vae::decode`], each rank of a team that shares its memory a band of rows; one alone if there are fewer rows than
    /// ranks, and the first one if each is a GPU. A stream is decoded by one team from its first frame to its last.
    pub fn decode_over(&self, team: &Team, latent: &Tensor, state: &mut DecoderState) -> Result<FrameStack> {
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
        let latent = self.post_quant_conv.apply(&FrameStack::from_tensor(&latent)?, None)?;
        let ranks = ranks_that_decode(height, team.sharers());
        if first {
            state.carried = vec![Carried::default(); ranks];
        } else if state.carried.len() != ranks {
            return wrong(format!("a stream of {} ranks goes on over {ranks}", state.carried.len()));
        }
        let video = if ranks == 1 {
            self.decoder.decode(Bands::split(latent, state.bands), first, &mut state.carried[0])?.join()?
        } else {
            let bands = team.run(&mut state.carried, |rank, carried| -> Result<_> {
                Ok(self.decoder.decode(Bands::of_rank(&latent, rank), first, carried)?.into_bands())
            })?;
            Bands::of(bands.concat()).join()?
        };
        pixels::unfold(video, self.patch)
    }
}

impl Default for DecoderState {
    fn default() -> DecoderState {
        DecoderState::new()
    }
}

impl DecoderState {
    /// The state before the first frame of a stream.
    pub fn new() -> DecoderState {
        DecoderState::in_bands(1)
    }

    /// As [`DecoderState::new`], for a stream that is decoded in this many bands of rows; no more than latents have
    /// rows.
    ///
    /// Each layer is computed a band at a time: what a convolution reads exists for one band only. The frames are
    /// bit-equal to those of one band.
    pub fn in_bands(bands: usize) -> DecoderState {
        DecoderState { carried: Vec::new(), bands: bands.max(1), latent: None }
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.carried.iter().map(Carried::bytes).sum()
    }

    /// The last one or two input frames of each causal convolution that has had any, as (place in call order,
    /// `(C, frames, H, W)`).
    pub fn carried(&self) -> Result<Vec<(usize, Tensor)>> {
        let ranks = self.carried.iter().map(Carried::to_tensors).collect::<Result<Vec<_>>>()?;
        let Some(first) = ranks.first() else { return Ok(Vec::new()) };
        let whole = (0..first.len()).map(|place| {
            let bands: Vec<&Tensor> = ranks.iter().map(|rank| &rank[place].1).collect();
            Ok((first[place].0, Tensor::cat(&bands, 2)?))
        });
        whole.collect()
    }
}

#[cfg(test)]
mod tests;
