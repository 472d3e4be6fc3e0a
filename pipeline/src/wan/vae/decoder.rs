//! Latents to pictures, one latent frame at a time.
//!
//! The first latent frame of a stream is one video frame and is not doubled in time; every later one is, at each level
//! that doubles. So the doubling convolutions begin their history at the second latent frame.
//!
//! Each layer is computed band by band before the next layer begins, so a stream in bands is bit-equal to one in one
//! piece, and so is one of which each rank decodes a band.

use ops::conv::Conv;
use ops::shortcut::{Resize, add_repeated};
use ops::{Bands, FrameStack, Result};

use super::super::causal_conv::{Carried, CausalConv, Slots, windows_of_three};
use super::blocks::{Head, Middle, Residual};
use super::config::VaeConfig;
use crate::load::error::LoadError;
use crate::load::weights::Weights;

/// Frames beyond this many values do not stay in a cache anyway, and four of the widest at 832×480 would be 600 MB each
/// time they are all held. All else being causal, one by one is the same.
const TOGETHER: usize = 1 << 20;

pub(super) struct Decoder {
    conv_in: CausalConv,
    middle: Middle,
    levels: Vec<Level>,
    head: Head,
}

struct Level {
    residuals: Vec<Residual>,
    /// Twice the frames.
    double_time: Option<DoubleTime>,
    /// Twice the height and width. Wan 2.1 halves the channels here.
    double_size: Option<Conv>,
    /// Wan 2.2: what the level was given, made as large as what it gives, is added.
    shortcut: Option<Resize>,
}

/// Two convolutions over time, one for even and one for odd frames of the result, over the same past.
struct DoubleTime {
    even: Conv,
    odd: Conv,
    slot: usize,
}

impl Decoder {
    pub(super) fn load(
        config: &VaeConfig,
        weights: &Weights,
        slots: &mut Slots,
    ) -> std::result::Result<Decoder, LoadError> {
        let conv_in = CausalConv::load(&weights.at("conv_in").in_f32(), slots)?;
        let middle = Middle::load(&weights.at("mid_block"), slots)?;
        let mut levels = Vec::new();
        for (number, level) in config.decoder_levels().iter().enumerate() {
            let weights = weights.at("up_blocks").at(number);
            let residuals = (0..=config.num_res_blocks)
                .map(|residual| Residual::load(&weights.at("resnets").at(residual), slots))
                .collect::<std::result::Result<_, LoadError>>()?;
            let upsampler = weights.at(config.upsampler());
            levels.push(Level {
                residuals,
                double_time: match level.doubles_time {
                    true => Some(DoubleTime::load(&upsampler.at("time_conv"), slots)?),
                    false => None,
                },
                double_size: match level.doubles_size {
                    true => Some(upsampler.at("resample.1").upsampling_conv()?),
                    false => None,
                },
                shortcut: level.shortcut(config),
            });
        }
        let head = Head::load(weights, slots)?;
        Ok(Decoder { conv_in, middle, levels, head })
    }

    /// `latent`: one frame, cut as all others of its stream. `first`: no frame came before it. → the frames, cut the same
    /// way.
    pub(super) fn decode<'a>(&self, latent: Bands<'a>, first: bool, carried: &mut Carried) -> Result<Bands<'a>> {
        self.decode_within(TOGETHER, latent, first, carried)
    }

    /// Frames of more than `together` values are taken through the rest of the network one by one.
    pub(super) fn decode_within<'a>(
        &self,
        together: usize,
        latent: Bands<'a>,
        first: bool,
        carried: &mut Carried,
    ) -> Result<Bands<'a>> {
        let x = self.conv_in.apply(latent, |band| band.bordered(), carried, None)?;
        let x = self.middle.apply(x, carried)?;
        self.rise(&self.levels, x, first, together, carried)
    }

    /// Through `levels` and the head.
    fn rise<'a>(
        &self,
        levels: &[Level],
        mut x: Bands<'a>,
        first: bool,
        together: usize,
        carried: &mut Carried,
    ) -> Result<Bands<'a>> {
        if x.frames() > 1 && x.values() > together {
            let mut frames = x.into_frames().map(|frame| self.rise(levels, frame, first, together, carried));
            let mut video = frames.next().expect("more than one")?;
            for next in frames {
                video.append(next?);
            }
            return Ok(video);
        }
        let Some((level, above)) = levels.split_first() else {
            return self.head.apply(x, carried);
        };
        let given = level.shortcut.map(|resize| (resize, x.clone()));
        for residual in &level.residuals {
            x = residual.apply(x, carried)?;
        }
        if let Some(double_time) = level.double_time.as_ref().filter(|_| !first) {
            x = x.map(|band, rows| double_time.apply(band, rows, carried))?;
        }
        if let Some(double_size) = &level.double_size {
            x = x.map_with_edges(|_, band| double_size.apply(&band.bordered()?, None))?;
        }
        if let Some((resize, given)) = given {
            x = x.map(|band, rows| add_repeated(rows, given.band(band), resize))?;
        }
        self.rise(above, x, first, together, carried)
    }
}

impl DoubleTime {
    fn load(weights: &Weights, slots: &mut Slots) -> std::result::Result<DoubleTime, LoadError> {
        let (weight, bias) = (weights.stored("weight")?, weights.stored("bias")?);
        let (channels, convolving) = (bias.elements() / 2, weights.convolving());
        let half = |i: usize| -> Result<Conv> {
            let (weight, bias) = (weight.narrow(i * channels, channels)?, bias.narrow(i * channels, channels)?);
            Conv::new(&weight, &bias, convolving)
        };
        Ok(DoubleTime { even: half(0)?, odd: half(1)?, slot: slots.take() })
    }

    fn apply(&self, band: usize, x: FrameStack, carried: &mut Carried) -> Result<FrameStack> {
        let (frames, old) = carried.join(self.slot, band, x)?;
        let windows = windows_of_three(old..frames.len());
        let even = self.even.apply_windows(&frames, &windows, None)?;
        let odd = self.odd.apply_windows(&frames, &windows, None)?;
        carried.keep(self.slot, band, frames, 2);
        Ok(even.interleave(odd))
    }
}
