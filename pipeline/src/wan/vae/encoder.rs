//! Pictures to latents, a group of frames at a time: the first frame alone, then as many as make one latent frame.

use super::super::causal_conv::{Carried, CausalConv, Place, Slots};
use super::blocks::{Head, Middle, Residual};
use super::config::VaeConfig;
use crate::load::weights::{LoadError, Weights};
use ops::conv::Conv;
use ops::video::Video;

pub(super) struct Encoder {
    conv_in: CausalConv,
    /// `down_blocks` of the checkpoint, which counts all kinds as one list.
    steps: Vec<Step>,
    middle: Middle,
    head: Head,
}

enum Step {
    Residual(Box<Residual>),
    /// Half the height and width.
    HalveSize(Conv),
    HalveTime(HalveTime),
}

/// Every second frame, seen together with the one before and the one after it.
struct HalveTime {
    conv: Conv,
    slot: usize,
}

impl Encoder {
    pub(super) fn load(config: &VaeConfig, weights: &Weights, slots: &mut Slots) -> Result<Encoder, LoadError> {
        // What an encoder carries is never counted: it is gone when the picture is encoded. So all places are at scale 1.
        let at = |channels| Place { channels, scale: 1 };
        let mut channels = config.base_dim;
        let conv_in = CausalConv::load(&weights.at("conv_in"), at(config.picture_channels()), channels, 3, slots)?;
        let mut steps = Vec::new();
        let mut index = 0;
        for (level, multiple) in config.dim_mult.iter().enumerate() {
            let mut next = || {
                index += 1;
                weights.at("down_blocks").at(index - 1)
            };
            for _ in 0..config.num_res_blocks {
                let width = config.base_dim * multiple;
                steps.push(Step::Residual(Box::new(Residual::load(&next(), at(channels), width, slots)?)));
                channels = width;
            }
            if let Some(&halves_time) = config.temporal_downsample.get(level) {
                let weights = next();
                let size = weights.at("resample.1");
                let weight = size.get("weight", (channels, channels, 3, 3))?;
                steps.push(Step::HalveSize(Conv::downsampling(&weight, &size.get("bias", channels)?)?));
                if halves_time {
                    let time = weights.at("time_conv");
                    let weight = time.get("weight", (channels, channels, 3, 1, 1))?;
                    let conv = Conv::new(&weight, &time.get("bias", channels)?)?;
                    steps.push(Step::HalveTime(HalveTime { conv, slot: slots.take(at(channels), 0) }));
                }
            }
        }
        let middle = Middle::load(&weights.at("mid_block"), at(channels), slots)?;
        // Means and logarithms of variances.
        let head = Head::load(weights, at(channels), 2 * config.z_dim, slots)?;
        Ok(Encoder { conv_in, steps, middle, head })
    }

    /// One group of frames: the first of a video alone, later as many as one latent frame is.
    pub(super) fn encode(&self, group: &Video, carried: &mut Carried) -> Video {
        let mut x = self.conv_in.apply(group.bordered(), carried, None);
        for step in &self.steps {
            x = match step {
                Step::Residual(residual) => residual.apply(&x, carried),
                Step::HalveSize(conv) => conv.apply(&x.bordered(), None),
                Step::HalveTime(halve) => halve.apply(x, carried),
            };
        }
        self.head.apply(&self.middle.apply(&x, carried), carried)
    }
}

impl HalveTime {
    fn apply(&self, x: Video, carried: &mut Carried) -> Video {
        let shape = x.shape;
        let (frames, old) = carried.join(self.slot, x);
        let y = if old == 0 {
            // The first frame of a video passes unchanged.
            Video { shape, frames: frames.clone() }
        } else {
            assert!(frames.len() % 2 == 1, "one frame carried, and pairs of frames");
            let windows: Vec<_> = (0..frames.len() / 2).map(|i| &frames[2 * i..2 * i + 3]).collect();
            self.conv.apply_windows(shape, &windows, None)
        };
        carried.keep(self.slot, shape, frames, 1);
        y
    }
}
