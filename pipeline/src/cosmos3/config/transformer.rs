//! The transformer's configuration: one decoder shape, of which the model holds two sets of weights.
//!
//! Published files hold many more keys, some of them left over (`qk_norm`, say). A key that is not read here is ignored, but
//! one that asks for another network is refused.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::load::error::LoadError;
use crate::load::file::File;
use crate::load::object::{HEADS_MAX, LAYERS_MAX, Object, WIDTH_MAX};

/// `transformer/config.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub struct TransformerConfig {
    /// Model width `D`. It need not be heads times head width: Super has 5120 and 64·128.
    pub hidden_size: usize,
    /// Layers of each of the two stacks.
    pub layers: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values, which divide `heads`.
    pub key_heads: usize,
    /// Width of a head: even.
    pub head_dim: usize,
    /// Width inside the feed-forward.
    pub intermediate_size: usize,
    /// Tokens of text that are known.
    pub vocab_size: usize,
    /// Inside the feed-forward.
    pub activation: Activation,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How many pairs of a head the axes time, row and column are given; together `head_dim / 2`.
    pub mrope_section: [usize; 3],
    /// Added to a mean square before its root is taken.
    pub eps: f64,
    /// Whether the heads of the text's queries and keys are normalised.
    pub norms_text_heads: bool,
    /// Whether the picture sees the text's keys under a norm of their own.
    pub norms_text_keys_for_picture: bool,
    /// Latent channels.
    pub latent_channels: usize,
    /// Frames a second that a position of 1 a latent frame stands for, times the autoencoder's factor in time.
    pub base_fps: f64,
    /// Whether frames a second move the positions in time.
    pub fps_modulation: bool,
    /// What a timestep is multiplied with before it is told as cosines and sines.
    pub timestep_scale: f64,
    /// Positions that are left free between the text and the picture.
    pub modality_margin: usize,
}

/// What stands between the two layers of a feed-forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `silu(gate)·up`
    SwiGlu,
    /// `max(up, 0)²`; there is no gate.
    ReluSquared,
}

/// Latent pixels of a token, each way.
pub(crate) const PATCH: usize = 2;
/// Cosines and sines that the time is told as. Every published model has 256, and no key says so.
pub(crate) const TIME_WIDTH: usize = 256;

impl TransformerConfig {
    /// From `transformer/config.json`.
    pub fn from_file(file: &File) -> Result<TransformerConfig, LoadError> {
        TransformerConfig::from_object(&Object::of(file)?)
    }

    fn from_object(object: &Object) -> Result<TransformerConfig, LoadError> {
        refuse_other_networks(object)?;
        let heads = object.count("num_attention_heads", 1..=HEADS_MAX, None)?;
        let key_heads = object.count("num_key_value_heads", 1..=HEADS_MAX, Some(heads))?;
        if heads % key_heads != 0 {
            return Err(object.wrong("num_key_value_heads", format!("a divisor of the {heads} heads of queries")));
        }
        let head_dim = object.count("head_dim", 2..=1024, Some(128))?;
        if head_dim % 2 != 0 {
            return Err(object.wrong("head_dim", "even: positions turn pairs"));
        }
        let latent_channels = object.count("latent_channel", 1..=256, Some(48))?;
        object.only("patch_latent_dim", &[json!(latent_channels * PATCH * PATCH)])?;
        let edge = object.choice("backbone_type", &[("cosmos3_edge_nemotron_dense", true)], false)?;
        let activations = [("silu", Activation::SwiGlu), ("relu2", Activation::ReluSquared)];
        let usual = if edge { Activation::ReluSquared } else { Activation::SwiGlu };
        let config = TransformerConfig {
            hidden_size: object.count("hidden_size", 1..=WIDTH_MAX, None)?,
            layers: object.count("num_hidden_layers", 1..=LAYERS_MAX, None)?,
            heads,
            key_heads,
            head_dim,
            intermediate_size: object.count("intermediate_size", 1..=1 << 18, None)?,
            vocab_size: object.count("vocab_size", 1..=1 << 24, None)?,
            activation: object.choice("hidden_act", &activations, usual)?,
            rope_theta: object.number("rope_theta", 1.0..=1e12, Some(5e6))?,
            mrope_section: sections(object, head_dim)?,
            eps: object.number("rms_norm_eps", 1e-12..=1e-2, Some(1e-6))?,
            norms_text_heads: object.flag("qk_norm_for_text", true)?,
            norms_text_keys_for_picture: object.flag("use_und_k_norm_for_gen", false)?,
            latent_channels,
            base_fps: object.number("base_fps", 1.0..=1000.0, Some(24.0))?,
            fps_modulation: object.flag("enable_fps_modulation", true)?,
            timestep_scale: object.number("timestep_scale", 1e-6..=1.0, Some(1e-3))?,
            modality_margin: object.count("unified_3d_mrope_temporal_modality_margin", 0..=1 << 20, Some(15_000))?,
        };
        if config.heads * config.head_dim > WIDTH_MAX {
            let width = config.heads * config.head_dim;
            return Err(object.refuse("num_attention_heads times head_dim", width, format!("at most {WIDTH_MAX}")));
        }
        Ok(config)
    }

    /// Numbers in a row of queries.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Numbers in a row of keys, or of values.
    pub fn key_width(&self) -> usize {
        self.key_heads * self.head_dim
    }

    /// Numbers of a patch of latent pixels.
    pub fn patch_width(&self) -> usize {
        self.latent_channels * PATCH * PATCH
    }

    /// Whether this is the small dense member of the family, told by its feed-forward.
    pub fn is_edge(&self) -> bool {
        self.activation == Activation::ReluSquared
    }
}

/// Keys that say that this is a network of another kind.
fn refuse_other_networks(object: &Object) -> Result<(), LoadError> {
    for key in ["quantization_config", "quantization"] {
        if object.has(key) {
            let allowed =
                "absent: quantised (FP8) checkpoints are not read; take the bf16 checkpoint of the same model";
            return Err(object.wrong(key, allowed));
        }
    }
    object.only("position_embedding_type", &[json!("unified_3d_mrope")])?;
    object.only("unified_3d_mrope_reset_spatial_ids", &[json!(true)])?;
    object.only("joint_attn_implementation", &[json!("two_way")])?;
    object.only("video_temporal_causal", &[json!(false)])?;
    object.only("attention_bias", &[json!(false)])?;
    object.only("qk_norm_for_diffusion", &[json!(true)])?;
    object.only("latent_patch_size", &[json!(PATCH)])
}

/// How a head's pairs are dealt out to the axes, and that the dealing stays inside the head.
fn sections(object: &Object, head_dim: usize) -> Result<[usize; 3], LoadError> {
    let scaling = object.object("rope_scaling", "rope_scaling.")?;
    scaling.only("mrope_interleaved", &[json!(true)])?;
    scaling.only("rope_type", &[json!("default")])?;
    let pairs = head_dim / 2;
    let section = match scaling.counts("mrope_section", 3..=3, 0..=pairs)? {
        Some(section) => <[usize; 3]>::try_from(section).expect("three were asked for"),
        None => [24, 20, 20],
    };
    let [_, rows, columns] = section;
    let last = (3 * rows).saturating_sub(2).max((3 * columns).saturating_sub(1));
    if section.iter().sum::<usize>() != pairs || last >= pairs {
        let allowed =
            format!("three numbers whose sum is {pairs}, half of head_dim, and of which every third pair is taken");
        return Err(scaling.wrong("mrope_section", allowed));
    }
    Ok(section)
}

impl TryFrom<Value> for TransformerConfig {
    type Error = LoadError;
    fn try_from(value: Value) -> Result<TransformerConfig, LoadError> {
        TransformerConfig::from_object(&Object::new("transformer/config.json", value)?)
    }
}
