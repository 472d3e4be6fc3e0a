//! Pictures to latents, a group of frames at a time: the first frame alone, then as many as make one latent frame.
//!
//! Always in one piece. Bands that are padded to equal heights would bring rows into the attention that are not of the
//! picture.

use ops::conv::Conv;
use ops::shortcut::{Resize, add_averaged};
use ops::{Bands, FrameStack};

use super::super::causal_conv::{Carried, CausalConv, Slots};
use super::blocks::{Head, Middle, Residual};
use super::config::VaeConfig;
use crate::load::error::LoadError;
use crate::load::weights::Weights;

pub(super) struct Encoder {
    conv_in: CausalConv,
    levels: Vec<Level>,
    middle: Middle,
    head: Head,
}

struct Level {
    residuals: Vec<Residual>,
    /// Half the height and width.
    halve_size: Option<Conv>,
    halve_time: Option<HalveTime>,
    /// Wan 2.2: what the level was given, made as small as what it gives, is added.
    shortcut: Option<Resize>,
}

/// Every second frame, seen together with the one before and the one after it.
struct HalveTime {
    conv: Conv,
    slot: usize,
}

impl Encoder {
    pub(super) fn load(config: &VaeConfig, weights: &Weights, slots: &mut Slots) -> Result<Encoder, LoadError> {
        let conv_in = CausalConv::load(&weights.at("conv_in").in_f32(), slots)?;
        let mut levels = Vec::new();
        for level in config.encoder_levels() {
            let residuals = level
                .residuals
                .iter()
                .map(|name| Residual::load(&weights.at(name), slots))
                .collect::<Result<_, LoadError>>()?;
            let downsampler = weights.at(&level.downsampler);
            levels.push(Level {
                residuals,
                halve_size: match level.halves_size {
                    true => Some(downsampler.at("resample.1").downsampling_conv()?),
                    false => None,
                },
                halve_time: match level.halves_time {
                    true => Some(HalveTime { conv: downsampler.at("time_conv").conv()?, slot: slots.take() }),
                    false => None,
                },
                shortcut: level.shortcut(config),
            });
        }
        let middle = Middle::load(&weights.at("mid_block"), slots)?;
        // Means and logarithms of variances.
        let head = Head::load(weights, slots)?;
        Ok(Encoder { conv_in, levels, middle, head })
    }

    /// One group of frames: the first of a video alone, later as many as one latent frame is.
    pub(super) fn encode(&self, group: FrameStack, carried: &mut Carried) -> ops::Result<FrameStack> {
        let mut x = self.conv_in.apply(Bands::whole(group), |band| band.bordered(), carried, None)?;
        for level in &self.levels {
            let given = level.shortcut.map(|resize| (resize, x.clone()));
            for residual in &level.residuals {
                x = residual.apply(x, carried)?;
            }
            let mut y = x.join()?;
            if let Some(conv) = &level.halve_size {
                y = conv.apply(&y.bordered(), None)?;
            }
            if let Some(halve) = &level.halve_time {
                y = halve.apply(y, carried)?;
            }
            if let Some((resize, given)) = given {
                y = add_averaged(y, given.band(0), resize)?;
            }
            x = Bands::whole(y);
        }
        let x = self.middle.apply(x, carried)?;
        self.head.apply(x, carried)?.join()
    }
}

impl HalveTime {
    fn apply(&self, x: FrameStack, carried: &mut Carried) -> ops::Result<FrameStack> {
        let (frames, old) = carried.join(self.slot, 0, x)?;
        let y = if old == 0 {
            // The first frame of a video passes unchanged.
            frames.clone()
        } else {
            assert!(frames.len() % 2 == 1, "one frame carried, and pairs of frames");
            let windows: Vec<_> = (0..frames.len() / 2).map(|i| 2 * i..2 * i + 3).collect();
            self.conv.apply_windows(&frames, &windows, None)?
        };
        carried.keep(self.slot, 0, frames, 1);
        Ok(y)
    }
}
