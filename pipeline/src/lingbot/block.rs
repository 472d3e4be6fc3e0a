//! One transformer block: attention to the video so far, the camera, attention to the prompt, feed-forward.
//!
//! Wan 2.1's block (<https://github.com/Wan-Video/Wan2.1/blob/main/wan/modules/model.py>, `WanAttentionBlock`) with the camera
//! injection of LingBot World. What the camera does to a block depends on the chunk alone, so it is computed once a chunk
//! ([`Block::camera_modulation`]) and used by every pass.

use crate::lingbot::config::TransformerConfig;
use crate::load::weights::{LoadError, Weights};
use ops::activation::{gelu_tanh, silu};
use ops::attention::attention;
use ops::norm::{layer_norm, layer_norm_modulate, rms_norm};
use ops::residual::{add_gated, scale_shift};
use ops::{Linear, Result, Tensor};

use super::dit::Memory;

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

/// What one chunk's camera does to one block: `h·gain + shift`, `(N, D)` each.
pub struct CameraModulation {
    gain: Tensor,
    shift: Tensor,
}

impl Block {
    pub fn load(config: &TransformerConfig, weights: &Weights, layer: usize) -> std::result::Result<Block, LoadError> {
        let width = config.width();
        let square = |name: &str| weights.at(name).linear(width, width);
        let norm3 = weights.at("norm3");
        let ffn = weights.at("ffn");
        Ok(Block {
            layer,
            heads: config.num_attention_heads,
            eps: config.eps,
            modulation: weights.get("modulation", (1, 6, width))?.squeeze(0)?,
            self_attn: Attention::load(&weights.at("self_attn"), width)?,
            norm3: (norm3.get("weight", width)?, norm3.get("bias", width)?),
            cross_attn: Attention::load(&weights.at("cross_attn"), width)?,
            ffn: (ffn.at(0).linear(width, config.ffn_dim)?, ffn.at(2).linear(config.ffn_dim, width)?),
            camera: Camera {
                injector: (square("cam_injector_layer1")?, square("cam_injector_layer2")?),
                scale: square("cam_scale_layer")?,
                shift: square("cam_shift_layer")?,
            },
        })
    }

    /// The whole block. `h`: `(N, D)`; `time`: `(6, D)`, the same for every block of a pass.
    pub fn forward(&self, h: &Tensor, time: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let modulation = self.modulate(time)?;
        let heads = self.look_back(h, &modulation, memory)?;
        let h = add_gated(h, &self.self_attn.o.apply(&heads)?, &modulation.attention.gate)?;
        let h = match &memory.condition.camera {
            Some(blocks) => scale_shift(&h, &blocks[self.layer].gain, &blocks[self.layer].shift)?,
            None => h,
        };
        let h = (&h + self.read_prompt(&h, memory)?)?;
        add_gated(&h, &self.feed_forward(&h, &modulation)?, &modulation.feed_forward.gate)
    }

    /// Only store the chunk's keys and values: all that the last block of a clean-context pass is for.
    pub fn remember(&self, h: &Tensor, time: &Tensor, memory: &mut Memory) -> Result<()> {
        let y = self.before_attention(h, &self.modulate(time)?)?;
        let (keys, values) = self.self_attn.keys_values(&y, self.eps)?;
        let keys = memory.condition.rotary.apply(&keys)?;
        memory.history.stage(self.layer, &keys, &values, memory.condition.recent)?;
        Ok(())
    }

    pub fn modulate(&self, time: &Tensor) -> Result<Modulation> {
        let all = (&self.modulation + time)?;
        let three = |first: usize| -> Result<ShiftScaleGate> {
            Ok(ShiftScaleGate { shift: all.get(first)?, scale: all.get(first + 1)?, gate: all.get(first + 2)? })
        };
        Ok(Modulation { attention: three(0)?, feed_forward: three(3)? })
    }

    /// Attention to the chunk itself and the history, before its output layer: `(N, D)`. Stores the chunk's keys and values.
    pub fn look_back(&self, h: &Tensor, modulation: &Modulation, memory: &mut Memory) -> Result<Tensor> {
        let rotary = &memory.condition.rotary;
        let y = self.before_attention(h, modulation)?;
        let q = rotary.apply(&self.self_attn.queries(&y, self.eps)?)?;
        let (keys, values) = self.self_attn.keys_values(&y, self.eps)?;
        let view = memory.history.stage(self.layer, &rotary.apply(&keys)?, &values, memory.condition.recent)?;
        attention(&q, &view.keys, &view.values, self.heads)
    }

    /// Attention to the prompt: `(N, D)`, to be added.
    pub fn read_prompt(&self, h: &Tensor, memory: &Memory) -> Result<Tensor> {
        let y = layer_norm(h, &self.norm3.0, &self.norm3.1, self.eps)?;
        let q = self.cross_attn.queries(&y, self.eps)?;
        let (keys, values) = (memory.prompt.keys(self.layer), memory.prompt.values(self.layer));
        self.cross_attn.o.apply(&attention(&q, &[keys], &[values], self.heads)?)
    }

    /// `(N, D)`, to be gated and added.
    pub fn feed_forward(&self, h: &Tensor, modulation: &Modulation) -> Result<Tensor> {
        let ShiftScaleGate { shift, scale, .. } = &modulation.feed_forward;
        let y = layer_norm_modulate(h, scale, shift, self.eps)?;
        self.ffn.1.apply(&gelu_tanh(&self.ffn.0.apply(&y)?)?)
    }

    /// Once per prompt. `text`: `(text length, D)` → keys and values.
    pub fn prompt_keys_values(&self, text: &Tensor) -> Result<(Tensor, Tensor)> {
        self.cross_attn.keys_values(text, self.eps)
    }

    /// Once per chunk. `camera`: `(N, D)`, the embedded rays.
    pub fn camera_modulation(&self, camera: &Tensor) -> Result<CameraModulation> {
        let Camera { injector, scale, shift } = &self.camera;
        let injected = (injector.1.apply(&silu(&injector.0.apply(camera)?)?)? + camera)?;
        Ok(CameraModulation { gain: (scale.apply(&injected)? + 1.0)?, shift: shift.apply(&injected)? })
    }

    fn before_attention(&self, h: &Tensor, modulation: &Modulation) -> Result<Tensor> {
        let ShiftScaleGate { shift, scale, .. } = &modulation.attention;
        layer_norm_modulate(h, scale, shift, self.eps)
    }
}

impl Attention {
    fn load(weights: &Weights, width: usize) -> std::result::Result<Attention, LoadError> {
        let square = |name: &str| weights.at(name).linear(width, width);
        Ok(Attention {
            q: square("q")?,
            k: square("k")?,
            v: square("v")?,
            o: square("o")?,
            norm_q: weights.at("norm_q").get("weight", width)?,
            norm_k: weights.at("norm_k").get("weight", width)?,
        })
    }

    fn queries(&self, x: &Tensor, eps: f64) -> Result<Tensor> {
        rms_norm(&self.q.apply(x)?, &self.norm_q, eps)
    }

    fn keys_values(&self, x: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
        Ok((rms_norm(&self.k.apply(x)?, &self.norm_k, eps)?, self.v.apply(x)?))
    }
}
