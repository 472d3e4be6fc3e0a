//! One transformer block: attention to the video so far, the camera, attention to the prompt, feed-forward.
//!
//! Wan 2.1's block (<https://github.com/Wan-Video/Wan2.1/blob/main/wan/modules/model.py>, `WanAttentionBlock`) with the
//! camera injection of LingBot World. A camera's effect on a block depends on the chunk alone, so it is computed once a
//! chunk ([`Block::camera_modulation`]) and used by every pass.

use ops::activation::Activation;
use ops::attention::attention;
use ops::norm::{layer_norm, layer_norm_modulate};
use ops::residual::scale_shift;
use ops::rope::Rotary;
use ops::{Linear, Result, Tensor, Then};

use super::config::transformer::TransformerConfig;
use super::context::{CameraModulation, PassContext};
use crate::load::error::LoadError;
use crate::load::weights::Weights;

/// The weights of one block.
pub struct Block {
    /// Which of the caches' layers is this block's.
    layer: usize,
    heads: usize,
    eps: f64,
    /// `(6, D)`: shift, scale and gate of self-attention, then of the feed-forward; the time's part is added.
    modulation: Tensor,
    self_attn: Attention,
    norm3: (Tensor, Tensor),
    cross_attn: Attention,
    ffn: (Linear, Linear),
    camera: Camera,
}

struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    norm_q: Tensor,
    norm_k: Tensor,
}

struct Camera {
    injector: (Linear, Linear),
    scale: Linear,
    shift: Linear,
}

/// The six rows of [`Block::modulate`], `(D)` each.
pub struct Modulation {
    attention: ShiftScaleGate,
    feed_forward: ShiftScaleGate,
}

struct ShiftScaleGate {
    shift: Tensor,
    scale: Tensor,
    gate: Tensor,
}

impl Block {
    /// `weights` holds block number `layer`, counted from 0.
    pub fn load(config: &TransformerConfig, weights: &Weights, layer: usize) -> std::result::Result<Block, LoadError> {
        let linear = |name: &str| weights.at(name).linear();
        Ok(Block {
            layer,
            heads: config.num_attention_heads,
            eps: config.eps,
            modulation: weights.tensor("modulation")?.squeeze(0)?,
            self_attn: Attention::load(&weights.at("self_attn"))?,
            norm3: (weights.tensor("norm3.weight")?, weights.tensor("norm3.bias")?),
            cross_attn: Attention::load(&weights.at("cross_attn"))?,
            ffn: (linear("ffn.0")?, linear("ffn.2")?),
            camera: Camera {
                injector: (linear("cam_injector_layer1")?, linear("cam_injector_layer2")?),
                scale: linear("cam_scale_layer")?,
                shift: linear("cam_shift_layer")?,
            },
        })
    }

    /// The whole block, of the rank's tokens. `h`: `(n, D)`; `time`: `(6, D)`, the same for every block of a pass.
    pub fn forward(&self, h: &Tensor, time: &Tensor, context: &mut PassContext) -> Result<Tensor> {
        let modulation = self.modulate(time)?;
        let heads = self.look_back(h, &modulation, context)?;
        let h = self.self_attn.o.apply_then(&heads, Then::AddGated(h, &modulation.attention.gate))?;
        let h = match &context.condition.camera {
            Some(blocks) => scale_shift(&h, &blocks[self.layer].gain, &blocks[self.layer].shift)?,
            None => h,
        };
        let h = self.cross_attn.o.apply_then(&self.look_at_prompt(&h, context)?, Then::Add(&h))?;
        let inner = self.feed_forward_inner(&h, &modulation)?;
        self.ffn.1.apply_then(&inner, Then::AddGated(&h, &modulation.feed_forward.gate))
    }

    /// Only store the chunk's keys and values: all that the last block of a clean-context pass is for.
    pub fn remember(&self, h: &Tensor, time: &Tensor, context: &mut PassContext) -> Result<()> {
        let y = self.before_attention(h, &self.modulate(time)?)?;
        let (keys, values) = self.self_attn.turned_keys_values(&y, self.eps, &context.condition.rotary)?;
        let [keys, values] = context.rank.own_heads([&keys, &values])?;
        context.history.stage(self.layer, &keys, &values, context.condition.recent)?;
        Ok(())
    }

    /// The six modulations that the time gives this block. `time`: `(6, D)`.
    pub fn modulate(&self, time: &Tensor) -> Result<Modulation> {
        let all = (&self.modulation + time)?;
        let three = |first: usize| -> Result<ShiftScaleGate> {
            Ok(ShiftScaleGate { shift: all.get(first)?, scale: all.get(first + 1)?, gate: all.get(first + 2)? })
        };
        Ok(Modulation { attention: three(0)?, feed_forward: three(3)? })
    }

    /// Attention to the chunk itself and the history, before its output layer: `(n, D)`. Stores the chunk's keys and
    /// values of the rank's heads.
    pub fn look_back(&self, h: &Tensor, modulation: &Modulation, context: &mut PassContext) -> Result<Tensor> {
        let rotary = &context.condition.rotary;
        let y = self.before_attention(h, modulation)?;
        let q = self.self_attn.q.apply_then(&y, Then::RmsNormTurned(&self.self_attn.norm_q, self.eps, rotary))?;
        let (keys, values) = self.self_attn.turned_keys_values(&y, self.eps, rotary)?;
        let [q, keys, values] = context.rank.own_heads([&q, &keys, &values])?;
        let view = context.history.stage(self.layer, &keys, &values, context.condition.recent)?;
        context.rank.own_tokens(view.attend(&q)?)
    }

    /// Attention to the prompt: `(n, D)`, to be added.
    pub fn read_prompt(&self, h: &Tensor, context: &PassContext) -> Result<Tensor> {
        self.cross_attn.o.apply(&self.look_at_prompt(h, context)?)
    }

    /// As [`Block::read_prompt`], before its output layer.
    fn look_at_prompt(&self, h: &Tensor, context: &PassContext) -> Result<Tensor> {
        let y = layer_norm(h, &self.norm3.0, &self.norm3.1, self.eps)?;
        let q = self.cross_attn.q.apply_then(&y, Then::RmsNorm(&self.cross_attn.norm_q, self.eps))?;
        let (keys, values) = (context.prompt.keys(self.layer), context.prompt.values(self.layer));
        attention(&q, &[keys], &[values], self.heads)
    }

    /// `(n, D)`, to be gated and added.
    pub fn feed_forward(&self, h: &Tensor, modulation: &Modulation) -> Result<Tensor> {
        self.ffn.1.apply(&self.feed_forward_inner(h, modulation)?)
    }

    /// As [`Block::feed_forward`], before its last layer.
    fn feed_forward_inner(&self, h: &Tensor, modulation: &Modulation) -> Result<Tensor> {
        let ShiftScaleGate { shift, scale, .. } = &modulation.feed_forward;
        self.ffn.0.apply_then(&layer_norm_modulate(h, scale, shift, self.eps)?, Then::Activate(Activation::GeluTanh))
    }

    /// Once per prompt. `text`: `(text length, D)` → keys and values.
    pub fn prompt_keys_values(&self, text: &Tensor) -> Result<(Tensor, Tensor)> {
        self.cross_attn.keys_values(text, self.eps)
    }

    /// Once per chunk. `camera`: `(n, D)`, the embedded rays.
    pub fn camera_modulation(&self, camera: &Tensor) -> Result<CameraModulation> {
        let Camera { injector, scale, shift } = &self.camera;
        let injected = injector
            .1
            .apply_then(&injector.0.apply_then(camera, Then::Activate(Activation::Silu))?, Then::Add(camera))?;
        Ok(CameraModulation { gain: scale.apply(&injected)?.plus(1.0)?, shift: shift.apply(&injected)? })
    }

    fn before_attention(&self, h: &Tensor, modulation: &Modulation) -> Result<Tensor> {
        let ShiftScaleGate { shift, scale, .. } = &modulation.attention;
        layer_norm_modulate(h, scale, shift, self.eps)
    }
}

impl Attention {
    fn load(weights: &Weights) -> std::result::Result<Attention, LoadError> {
        let linear = |name: &str| weights.at(name).linear();
        Ok(Attention {
            q: linear("q")?,
            k: linear("k")?,
            v: linear("v")?,
            o: linear("o")?,
            norm_q: weights.tensor("norm_q.weight")?,
            norm_k: weights.tensor("norm_k.weight")?,
        })
    }

    fn keys_values(&self, x: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
        Ok((self.k.apply_then(x, Then::RmsNorm(&self.norm_k, eps))?, self.v.apply(x)?))
    }

    /// As `keys_values`, keys rotated by their position.
    fn turned_keys_values(&self, x: &Tensor, eps: f64, rotary: &Rotary) -> Result<(Tensor, Tensor)> {
        Ok((self.k.apply_then(x, Then::RmsNormTurned(&self.norm_k, eps, rotary))?, self.v.apply(x)?))
    }
}
