//! Pictures to latents, a group of frames at a time: the first frame alone, then as many as make one latent frame.

use ops::FrameStack;
use ops::conv::Conv;

use super::super::causal_conv::{Carried, CausalConv, Slots};
use super::blocks::{Head, Middle, Residual};
use super::config::VaeConfig;
use crate::load::error::LoadError;
use crate::load::weights::Weights;

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
        let conv_in = CausalConv::load(&weights.at("conv_in"), slots)?;
        let mut steps = Vec::new();
        let mut index = 0;
        for level in 0..config.dim_mult.len() {
            let mut next = || {
                index += 1;
                weights.at("down_blocks").at(index - 1)
            };
            for _ in 0..config.num_res_blocks {
                steps.push(Step::Residual(Box::new(Residual::load(&next(), slots)?)));
            }
            if let Some(&halves_time) = config.temporal_downsample.get(level) {
                let weights = next();
                steps.push(Step::HalveSize(weights.at("resample.1").downsampling_conv()?));
                if halves_time {
                    let conv = weights.at("time_conv").conv()?;
                    steps.push(Step::HalveTime(HalveTime { conv, slot: slots.take() }));
                }
            }
        }
        let middle = Middle::load(&weights.at("mid_block"), slots)?;
        // Means and logarithms of variances.
        let head = Head::load(weights, slots)?;
        Ok(Encoder { conv_in, steps, middle, head })
    }

    /// One group of frames: the first of a video alone, later as many as one latent frame is.
    pub(super) fn encode(&self, group: &FrameStack, carried: &mut Carried) -> FrameStack {
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
    fn apply(&self, x: FrameStack, carried: &mut Carried) -> FrameStack {
        let (frames, old) = carried.join(self.slot, x);
        let y = if old == 0 {
            // The first frame of a video passes unchanged.
            frames.clone()
        } else {
            assert!(frames.len() % 2 == 1, "one frame carried, and pairs of frames");
            let windows: Vec<_> = (0..frames.len() / 2).map(|i| 2 * i..2 * i + 3).collect();
            self.conv.apply_windows(&frames, &windows, None)
        };
        carried.keep(self.slot, frames, 1);
        y
    }
}
