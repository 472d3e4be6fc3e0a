//! One decoder layer, as language models have them: attention and a gated feed-forward, each behind a norm.
//!
//! Both stacks of the transformer are made of it. They differ in the names of their tensors and in what attention looks at.

use ops::activation::{self, swiglu};
use ops::attention::Heads;
use ops::norm::rms_norm;
use ops::rope_halves::HalvesRotary;
use ops::{Linear, Result, Tensor, Then};

use super::config::transformer::{Activation, TransformerConfig};
use crate::load::error::LoadError;
use crate::load::weights::Weights;

/// What the tensors of a stack's layers are called.
pub(super) struct Names {
    /// Behind the names of norms and of the feed-forward.
    pub suffix: &'static str,
    pub q: &'static str,
    pub k: &'static str,
    pub v: &'static str,
    pub out: &'static str,
    /// Norms of the heads of queries and keys.
    pub norms: Option<[&'static str; 2]>,
}

/// The weights of one layer.
pub(super) struct Layer {
    heads: Heads,
    eps: f64,
    input_norm: Tensor,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    norm_q: Option<Tensor>,
    norm_k: Option<Tensor>,
    post_norm: Tensor,
    feed_forward: FeedForward,
}

struct FeedForward {
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
}

impl Layer {
    /// `weights` holds the layer, both stacks' tensors.
    pub(super) fn load(
        config: &TransformerConfig,
        weights: &Weights,
        names: &Names,
    ) -> std::result::Result<Layer, LoadError> {
        let attention = weights.at("self_attn");
        let linear = |name: &str| attention.at(name).linear_without_bias();
        let norm = |name: String| weights.tensor(&format!("{name}.weight"));
        let head_norm = |i: usize| names.norms.map(|norms| norm(format!("self_attn.{}", norms[i]))).transpose();
        let feed_forward = weights.at(format!("mlp{}", names.suffix));
        Ok(Layer {
            heads: Heads { queries: config.heads, keys: config.key_heads },
            eps: config.eps,
            input_norm: norm(format!("input_layernorm{}", names.suffix))?,
            q: linear(names.q)?,
            k: linear(names.k)?,
            v: linear(names.v)?,
            out: linear(names.out)?,
            norm_q: head_norm(0)?,
            norm_k: head_norm(1)?,
            post_norm: norm(format!("post_attention_layernorm{}", names.suffix))?,
            feed_forward: FeedForward {
                gate: match config.activation {
                    Activation::SwiGlu => Some(feed_forward.at("gate_proj").linear_without_bias()?),
                    Activation::ReluSquared => None,
                },
                up: feed_forward.at("up_proj").linear_without_bias()?,
                down: feed_forward.at("down_proj").linear_without_bias()?,
            },
        })
    }

    pub(super) fn heads(&self) -> Heads {
        self.heads
    }

    /// What queries, keys and values are made from. `h`: `(N, D)` → `(N, D)`.
    pub(super) fn before_attention(&self, h: &Tensor) -> Result<Tensor> {
        rms_norm(h, &self.input_norm, self.eps)
    }

    /// Queries at their positions: `(N, queries·d)`. `x`: of [`Layer::before_attention`].
    pub(super) fn queries(&self, x: &Tensor, rotary: &HalvesRotary) -> Result<Tensor> {
        self.turn(&self.q.apply(x)?, self.norm_q.as_ref(), rotary)
    }

    /// Keys before their norm and position: `(N, keys·d)`. `x`: of [`Layer::before_attention`].
    pub(super) fn raw_keys(&self, x: &Tensor) -> Result<Tensor> {
        self.k.apply(x)
    }

    /// Keys under the layer's own norm, at their positions: `(N, keys·d)`. `raw`: of [`Layer::raw_keys`].
    pub(super) fn keys(&self, raw: &Tensor, rotary: &HalvesRotary) -> Result<Tensor> {
        self.turn(raw, self.norm_k.as_ref(), rotary)
    }

    /// Heads under `norm`, if there is one, at their positions.
    pub(super) fn turn(&self, x: &Tensor, norm: Option<&Tensor>, rotary: &HalvesRotary) -> Result<Tensor> {
        match norm {
            Some(norm) => rotary.apply_to_normed(x, norm, self.eps),
            None => rotary.apply(x),
        }
    }

    /// Values: `(N, keys·d)`. `x`: of [`Layer::before_attention`].
    pub(super) fn values(&self, x: &Tensor) -> Result<Tensor> {
        self.v.apply(x)
    }

    /// The rest of the layer. `h`: `(N, D)`, what entered it; `attended`: `(N, queries·d)`.
    pub(super) fn after_attention(&self, h: &Tensor, attended: &Tensor) -> Result<Tensor> {
        let h = self.out.apply_then(attended, Then::Add(h))?;
        self.feed_forward.add_to(&h, &rms_norm(&h, &self.post_norm, self.eps)?)
    }
}

impl FeedForward {
    /// `h` with the feed-forward of `x`.
    fn add_to(&self, h: &Tensor, x: &Tensor) -> Result<Tensor> {
        let inner = match &self.gate {
            Some(gate) => swiglu(&gate.apply(x)?, &self.up.apply(x)?)?,
            None => self.up.apply_then(x, Then::Activate(activation::Activation::ReluSquared))?,
        };
        self.down.apply_then(&inner, Then::Add(h))
    }
}
