//! The stack that reads the prompt: a causal language model, whose keys and values the other stack looks at.
//!
//! It never sees the picture or the time, so what it makes of a prompt is a value: made once, used by every step, dropped with
//! the clip.

use std::ops::Range;

use kvcache::PromptKvCache;
use ops::attention::causal_attention;
use ops::collective::Rank;
use ops::rope_halves::HalvesRotary;
use ops::{Embedding, Result, Tensor};

use super::config::transformer::TransformerConfig;
use super::layer::{Layer, Names};
use crate::load::error::LoadError;
use crate::load::weights::Weights;
use crate::world::{Cancel, WorldError};

/// The weights that read a prompt.
pub struct Understanding {
    embedding: Embedding,
    layers: Vec<ReadingLayer>,
}

/// One layer of it.
pub struct ReadingLayer {
    layer: Layer,
    /// Where the picture sees keys under another norm than the text itself does.
    norm_for_picture: Option<Tensor>,
}

/// What a prompt is to the stack that draws: every layer's keys, at their positions, and values, `(L, keys·d)` each.
pub struct Prefix {
    keys_values: PromptKvCache,
    /// Tokens of the prompt.
    tokens: usize,
}

impl Prefix {
    /// Tokens of the prompt, `L`.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Of its keys and values, which the first rank has, only some of the channels, those of neighbouring heads, where `rank` has its
    /// memory.
    pub(super) fn of_channels(&self, channels: Range<usize>, rank: &Rank) -> Result<Prefix> {
        let there = self.keys_values.map(|all| rank.spread(all)?.narrow(1, channels.start, channels.len())?.copy())?;
        Ok(Prefix { keys_values: there, tokens: self.tokens })
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        self.keys_values.bytes()
    }

    /// The keys of `layer`.
    pub fn keys(&self, layer: usize) -> &Tensor {
        self.keys_values.keys(layer)
    }

    /// The values of `layer`.
    pub fn values(&self, layer: usize) -> &Tensor {
        self.keys_values.values(layer)
    }
}

impl Understanding {
    pub(super) fn load(config: &TransformerConfig, weights: &Weights) -> std::result::Result<Understanding, LoadError> {
        let names = Names {
            suffix: "",
            q: "to_q",
            k: "to_k",
            v: "to_v",
            out: "to_out",
            norms: config.norms_text_heads.then_some(["norm_q", "norm_k"]),
        };
        let layer = |layer: usize| {
            let weights = weights.at("layers").at(layer);
            let norm_for_picture = match config.norms_text_keys_for_picture {
                true => Some(weights.tensor("self_attn.k_norm_und_for_gen.weight")?),
                false => None,
            };
            Ok(ReadingLayer { layer: Layer::load(config, &weights, &names)?, norm_for_picture })
        };
        Ok(Understanding {
            embedding: Embedding::new(&weights.stored("embed_tokens.weight")?, weights.device())?,
            layers: (0..config.layers).map(layer).collect::<std::result::Result<_, LoadError>>()?,
        })
    }

    /// Its layers, first to last.
    pub fn layers(&self) -> &[ReadingLayer] {
        &self.layers
    }

    /// What enters the first layer: `(L, D)`. An error if there is no such token.
    pub fn embed(&self, tokens: &[u32]) -> Result<Tensor> {
        self.embedding.look_up(tokens)
    }

    /// Read a prompt. `rotary`: of the positions of its tokens.
    pub(super) fn read(
        &self,
        tokens: &[u32],
        rotary: &HalvesRotary,
        cancel: &Cancel,
    ) -> std::result::Result<Prefix, WorldError> {
        let mut h = self.embed(tokens)?;
        let mut keys_values = Vec::with_capacity(self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            cancel.check()?;
            let x = layer.layer.before_attention(&h)?;
            let (raw_keys, values) = (layer.layer.raw_keys(&x)?, layer.layer.values(&x)?);
            // Nothing reads what the last layer makes of the text itself.
            if i + 1 < self.layers.len() {
                h = layer.attend(&h, &x, &raw_keys, &values, rotary)?;
            }
            keys_values.push((layer.keys_for_picture(&raw_keys, rotary)?, values));
        }
        Ok(Prefix { keys_values: PromptKvCache::new(keys_values), tokens: tokens.len() })
    }
}

impl ReadingLayer {
    /// What the text becomes in this layer: `(L, D)` → `(L, D)`.
    pub fn forward(&self, h: &Tensor, rotary: &HalvesRotary) -> Result<Tensor> {
        let x = self.layer.before_attention(h)?;
        self.attend(h, &x, &self.layer.raw_keys(&x)?, &self.layer.values(&x)?, rotary)
    }

    fn attend(
        &self,
        h: &Tensor,
        x: &Tensor,
        raw_keys: &Tensor,
        values: &Tensor,
        rotary: &HalvesRotary,
    ) -> Result<Tensor> {
        let keys = self.layer.keys(raw_keys, rotary)?;
        let attended = causal_attention(&self.layer.queries(x, rotary)?, &keys, values, self.layer.heads())?;
        self.layer.after_attention(h, &attended)
    }

    fn keys_for_picture(&self, raw_keys: &Tensor, rotary: &HalvesRotary) -> Result<Tensor> {
        match &self.norm_for_picture {
            Some(norm) => self.layer.turn(raw_keys, Some(norm), rotary),
            None => self.layer.keys(raw_keys, rotary),
        }
    }
}
