//! What encoder and decoder are made of: residual blocks, and the attention between two of them.

use ops::Bands;
use ops::channel_norm::ChannelNorm;
use ops::conv::Conv;
use ops::spatial_attention::spatial_attention;

use super::super::causal_conv::{Carried, CausalConv, Slots};
use crate::load::error::LoadError;
use crate::load::weights::Weights;

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
    pub(super) fn load(weights: &Weights, slots: &mut Slots) -> Result<Residual, LoadError> {
        let shortcut = weights.at("conv_shortcut");
        Ok(Residual {
            norm1: norm(&weights.at("norm1"))?,
            conv1: CausalConv::load(&weights.at("conv1"), slots)?,
            norm2: norm(&weights.at("norm2"))?,
            conv2: CausalConv::load(&weights.at("conv2"), slots)?,
            conv_shortcut: if shortcut.has("weight") { Some(shortcut.conv()?) } else { None },
        })
    }

    pub(super) fn apply<'a>(&self, x: Bands<'a>, carried: &mut Carried) -> ops::Result<Bands<'a>> {
        let inside = self.conv1.apply(x.clone(), |band| self.norm1.silu(&band), carried, None)?;
        let shortcut = match &self.conv_shortcut {
            None => x,
            Some(shortcut) => x.map(|_, band| shortcut.apply(&band, None))?,
        };
        // What the first convolution gave is dropped band by band, as soon as it is normed.
        self.conv2.apply(inside, |band| self.norm2.silu(&band), carried, Some(&shortcut))
    }
}

impl Attention {
    fn load(weights: &Weights) -> Result<Attention, LoadError> {
        Ok(Attention {
            norm: norm(&weights.at("norm"))?,
            to_qkv: weights.at("to_qkv").conv()?,
            proj: weights.at("proj").conv()?,
        })
    }

    /// Every pixel sees all rows, so bands are joined first. The middle is the smallest picture of the network.
    fn apply<'a>(&self, x: Bands<'a>) -> ops::Result<Bands<'a>> {
        x.map_joined(|x| {
            let qkv = self.to_qkv.apply(&self.norm.apply(&x)?, None)?;
            self.proj.apply(&spatial_attention(&qkv)?, Some(&x))
        })
    }
}

impl Middle {
    pub(super) fn load(weights: &Weights, slots: &mut Slots) -> Result<Middle, LoadError> {
        Ok(Middle {
            first: Residual::load(&weights.at("resnets.0"), slots)?,
            attention: Attention::load(&weights.at("attentions.0"))?,
            second: Residual::load(&weights.at("resnets.1"), slots)?,
        })
    }

    pub(super) fn apply<'a>(&self, x: Bands<'a>, carried: &mut Carried) -> ops::Result<Bands<'a>> {
        let x = self.first.apply(x, carried)?;
        let x = self.attention.apply(x)?;
        self.second.apply(x, carried)
    }
}

impl Head {
    /// `weights` holds `norm_out` and `conv_out`.
    pub(super) fn load(weights: &Weights, slots: &mut Slots) -> Result<Head, LoadError> {
        Ok(Head {
            norm: norm(&weights.at("norm_out"))?,
            conv: CausalConv::load(&weights.at("conv_out").in_f32(), slots)?,
        })
    }

    pub(super) fn apply<'a>(&self, x: Bands<'a>, carried: &mut Carried) -> ops::Result<Bands<'a>> {
        self.conv.apply(x, |band| self.norm.silu(&band), carried, None)
    }
}

fn norm(weights: &Weights) -> Result<ChannelNorm, LoadError> {
    Ok(ChannelNorm::new(&weights.stored("gamma")?, weights.device())?)
}
