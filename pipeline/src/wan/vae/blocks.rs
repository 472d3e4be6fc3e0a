//! What encoder and decoder are made of: residual blocks, and the attention between two of them.

use super::super::causal_conv::{Carried, CausalConv, Place, Slots};
use crate::load::weights::{LoadError, Weights};
use ops::channel_norm::ChannelNorm;
use ops::conv::Conv;
use ops::spatial_attention::spatial_attention;
use ops::video::Video;

/// Norm, SiLU, convolution, twice, beside a shortcut.
pub(super) struct Residual {
    norm1: ChannelNorm,
    conv1: CausalConv,
    norm2: ChannelNorm,
    conv2: CausalConv,
    /// 1×1×1, where the number of channels changes.
    conv_shortcut: Option<Conv>,
}

/// Attention inside each frame.
struct Attention {
    norm: ChannelNorm,
    to_qkv: Conv,
    proj: Conv,
}

/// Residual, attention, residual: the middle of encoder and decoder.
pub(super) struct Middle {
    first: Residual,
    attention: Attention,
    second: Residual,
}

/// Norm, SiLU, convolution: the end of encoder and decoder.
pub(super) struct Head {
    norm: ChannelNorm,
    conv: CausalConv,
}

impl Residual {
    pub(super) fn load(
        weights: &Weights,
        place: Place,
        outputs: usize,
        slots: &mut Slots,
    ) -> Result<Residual, LoadError> {
        let inside = Place { channels: outputs, ..place };
        Ok(Residual {
            norm1: norm(&weights.at("norm1"), &[place.channels, 1, 1, 1])?,
            conv1: CausalConv::load(&weights.at("conv1"), place, outputs, 3, slots)?,
            norm2: norm(&weights.at("norm2"), &[outputs, 1, 1, 1])?,
            conv2: CausalConv::load(&weights.at("conv2"), inside, outputs, 3, slots)?,
            conv_shortcut: match place.channels == outputs {
                true => None,
                false => Some(pointwise(&weights.at("conv_shortcut"), &[outputs, place.channels, 1, 1, 1])?),
            },
        })
    }

    pub(super) fn apply(&self, x: &Video, carried: &mut Carried) -> Video {
        // One expression, so that what the convolution gives is dropped as soon as it is normed.
        let inside = self.norm2.silu(&self.conv1.apply(self.norm1.silu(x), carried, None));
        match &self.conv_shortcut {
            None => self.conv2.apply(inside, carried, Some(x)),
            Some(shortcut) => self.conv2.apply(inside, carried, Some(&shortcut.apply(x, None))),
        }
    }
}

impl Attention {
    fn load(weights: &Weights, channels: usize) -> Result<Attention, LoadError> {
        Ok(Attention {
            norm: norm(&weights.at("norm"), &[channels, 1, 1])?,
            to_qkv: pointwise(&weights.at("to_qkv"), &[3 * channels, channels, 1, 1])?,
            proj: pointwise(&weights.at("proj"), &[channels, channels, 1, 1])?,
        })
    }

    fn apply(&self, x: &Video) -> Video {
        let qkv = self.to_qkv.apply(&self.norm.apply(x), None);
        self.proj.apply(&spatial_attention(&qkv), Some(x))
    }
}

impl Middle {
    pub(super) fn load(weights: &Weights, place: Place, slots: &mut Slots) -> Result<Middle, LoadError> {
        Ok(Middle {
            first: Residual::load(&weights.at("resnets.0"), place, place.channels, slots)?,
            attention: Attention::load(&weights.at("attentions.0"), place.channels)?,
            second: Residual::load(&weights.at("resnets.1"), place, place.channels, slots)?,
        })
    }

    pub(super) fn apply(&self, x: &Video, carried: &mut Carried) -> Video {
        let x = self.first.apply(x, carried);
        let x = self.attention.apply(&x);
        self.second.apply(&x, carried)
    }
}

impl Head {
    /// `weights` holds `norm_out` and `conv_out`.
    pub(super) fn load(weights: &Weights, place: Place, outputs: usize, slots: &mut Slots) -> Result<Head, LoadError> {
        Ok(Head {
            norm: norm(&weights.at("norm_out"), &[place.channels, 1, 1, 1])?,
            conv: CausalConv::load(&weights.at("conv_out"), place, outputs, 3, slots)?,
        })
    }

    pub(super) fn apply(&self, x: &Video, carried: &mut Carried) -> Video {
        self.conv.apply(self.norm.silu(x), carried, None)
    }
}

fn norm(weights: &Weights, shape: &[usize]) -> Result<ChannelNorm, LoadError> {
    Ok(ChannelNorm::new(&weights.get("gamma", shape)?)?)
}

/// A 1×1 convolution: `weight` of this shape, and `bias`.
pub(super) fn pointwise(weights: &Weights, shape: &[usize]) -> Result<Conv, LoadError> {
    Ok(Conv::new(&weights.get("weight", shape)?, &weights.get("bias", shape[0])?)?)
}
