//! Latents to pictures, one latent frame at a time.
//!
//! The first latent frame of a stream is one video frame and is not doubled in time; every later one is, at each level that
//! doubles. So the doubling convolutions begin their history at the second latent frame.

use super::super::causal_conv::{Carried, CausalConv, Place, Slots};
use super::blocks::{Head, Middle, Residual};
use super::config::VaeConfig;
use crate::load::weights::{LoadError, Weights};
use ops::conv::Conv;
use ops::video::Video;

/// Frames beyond this many values do not stay in a cache anyway, and four of the widest at 832×480 would be 600 MB each time
/// they are all held. All else being causal, one by one is the same.
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
    /// Twice the height and width; half the channels.
    double_size: Option<Conv>,
}

/// Two convolutions over time, one for even and one for odd frames of the result, over the same past.
struct DoubleTime {
    even: Conv,
    odd: Conv,
    slot: usize,
}

impl Decoder {
    pub(super) fn load(config: &VaeConfig, weights: &Weights, slots: &mut Slots) -> Result<Decoder, LoadError> {
        let base = config.decoder_base_dim.unwrap_or(config.base_dim);
        let widths: Vec<usize> = config.dim_mult.iter().rev().map(|multiple| base * multiple).collect();
        let latent = Place { channels: config.z_dim, scale: 1 };
        let mut place = Place { channels: widths[0], scale: 1 };

        let conv_in = CausalConv::load(&weights.at("conv_in"), latent, place.channels, 3, slots)?;
        let middle = Middle::load(&weights.at("mid_block"), place, slots)?;
        let mut levels = Vec::new();
        for (i, &width) in widths.iter().enumerate() {
            let weights = weights.at("up_blocks").at(i);
            let mut residuals = Vec::new();
            for j in 0..=config.num_res_blocks {
                residuals.push(Residual::load(&weights.at("resnets").at(j), place, width, slots)?);
                place.channels = width;
            }
            let (mut double_time, mut double_size) = (None, None);
            // The last level has nothing to double. Levels go up here, and the configuration names them going down.
            if let Some(doubles_time) = config.temporal_downsample.iter().rev().nth(i) {
                let weights = weights.at("upsamplers.0");
                if *doubles_time {
                    double_time = Some(DoubleTime::load(&weights.at("time_conv"), place, slots)?);
                }
                let weights = weights.at("resample.1");
                let weight = weights.get("weight", (width / 2, width, 3, 3))?;
                double_size = Some(Conv::upsampling(&weight, &weights.get("bias", width / 2)?)?);
                place = Place { channels: width / 2, scale: 2 * place.scale };
            }
            levels.push(Level { residuals, double_time, double_size });
        }
        let head = Head::load(weights, place, config.picture_channels(), slots)?;
        Ok(Decoder { conv_in, middle, levels, head })
    }

    /// `latent`: one frame. `first`: no frame came before it.
    pub(super) fn decode(&self, latent: &Video, first: bool, carried: &mut Carried) -> Video {
        self.decode_within(TOGETHER, latent, first, carried)
    }

    /// Frames of more than `together` values are taken through the rest of the network one by one.
    pub(super) fn decode_within(&self, together: usize, latent: &Video, first: bool, carried: &mut Carried) -> Video {
        let x = self.conv_in.apply(latent.bordered(), carried, None);
        let x = self.middle.apply(&x, carried);
        self.rise(&self.levels, x, first, together, carried)
    }

    /// Through `levels` and the head.
    fn rise(&self, levels: &[Level], mut x: Video, first: bool, together: usize, carried: &mut Carried) -> Video {
        if x.frames.len() > 1 && x.shape.values() > together {
            let mut frames = x.frames.into_iter().map(|frame| {
                let x = Video { shape: x.shape, frames: vec![frame] };
                self.rise(levels, x, first, together, carried)
            });
            let mut video = frames.next().expect("more than one");
            frames.for_each(|next| video.frames.extend(next.frames));
            return video;
        }
        let Some((level, above)) = levels.split_first() else {
            return self.head.apply(&x, carried);
        };
        for residual in &level.residuals {
            x = residual.apply(&x, carried);
        }
        if let Some(double_time) = level.double_time.as_ref().filter(|_| !first) {
            x = double_time.apply(x, carried);
        }
        if let Some(double_size) = &level.double_size {
            x = double_size.apply(&x.bordered(), None);
        }
        self.rise(above, x, first, together, carried)
    }
}

impl DoubleTime {
    fn load(weights: &Weights, place: Place, slots: &mut Slots) -> Result<DoubleTime, LoadError> {
        let channels = place.channels;
        let weight = weights.get("weight", (2 * channels, channels, 3, 1, 1))?;
        let bias = weights.get("bias", 2 * channels)?;
        let half = |i: usize| -> ops::Result<Conv> {
            Conv::new(&weight.narrow(0, i * channels, channels)?, &bias.narrow(0, i * channels, channels)?)
        };
        Ok(DoubleTime { even: half(0)?, odd: half(1)?, slot: slots.take(place, 0) })
    }

    fn apply(&self, x: Video, carried: &mut Carried) -> Video {
        let shape = x.shape;
        let (frames, old) = carried.join(self.slot, x);
        let windows: Vec<_> = (old..frames.len()).map(|t| &frames[(t + 1).saturating_sub(3)..=t]).collect();
        let even = self.even.apply_windows(shape, &windows, None);
        let odd = self.odd.apply_windows(shape, &windows, None);
        carried.keep(self.slot, shape, frames, 2);
        let frames = even.frames.into_iter().zip(odd.frames).flat_map(|(even, odd)| [even, odd]);
        Video { shape: even.shape, frames: frames.collect() }
    }
}
