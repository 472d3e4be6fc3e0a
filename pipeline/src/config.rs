//! What a model directory says about its networks and how they are run. An impossible configuration is refused here.

use serde::Deserialize;

use crate::weights::LoadError;

/// `transformer/config.json`: the causal diffusion transformer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TransformerConfig {
    pub num_attention_heads: usize,
    pub attention_head_dim: usize,
    pub ffn_dim: usize,
    pub num_layers: usize,
    #[serde(default = "text_dim")]
    pub text_dim: usize,
    #[serde(default = "freq_dim")]
    pub freq_dim: usize,
    #[serde(default = "in_channels")]
    pub in_channels: usize,
    #[serde(default = "out_channels")]
    pub out_channels: usize,
    #[serde(default = "eps")]
    pub eps: f64,
    /// Latent frames pinned, visible in all, and denoised together.
    #[serde(default = "sink_size")]
    pub sink_size: usize,
    #[serde(default = "sliding_window_num_frames")]
    pub sliding_window_num_frames: usize,
    #[serde(default = "num_frames_per_block")]
    pub num_frames_per_block: usize,
}

// The published LingBot World values, where a file leaves them out.
fn text_dim() -> usize {
    4096
}
fn freq_dim() -> usize {
    256
}
fn in_channels() -> usize {
    36
}
fn out_channels() -> usize {
    16
}
fn eps() -> f64 {
    1e-6
}
fn sink_size() -> usize {
    9
}
fn sliding_window_num_frames() -> usize {
    18
}
fn num_frames_per_block() -> usize {
    3
}

impl TransformerConfig {
    /// Model width `D`.
    pub fn width(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }
}

/// `vae/config.json`: Wan's causal video autoencoder.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct VaeConfig {
    pub base_dim: usize,
    pub decoder_base_dim: Option<usize>,
    pub z_dim: usize,
    pub dim_mult: Vec<usize>,
    pub num_res_blocks: usize,
    #[serde(rename = "temperal_downsample")]
    pub temporal_downsample: Vec<bool>,
    /// Pixels folded into channels on both sides before the first and after the last convolution: 1 or 2.
    pub patch_size: Option<usize>,
    pub latents_mean: Vec<f32>,
    pub latents_std: Vec<f32>,
}

impl Default for VaeConfig {
    /// Wan 2.1.
    fn default() -> VaeConfig {
        VaeConfig {
            base_dim: 96,
            decoder_base_dim: None,
            z_dim: 16,
            dim_mult: vec![1, 2, 4, 4],
            num_res_blocks: 2,
            temporal_downsample: vec![false, true, true],
            patch_size: None,
            latents_mean: vec![
                -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632,
                -0.1922, -0.9497, 0.2503, -0.2921,
            ],
            latents_std: vec![
                2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382,
                1.1253, 2.8251, 1.9160,
            ],
        }
    }
}

impl VaeConfig {
    /// Pixels folded into one, each way.
    pub fn patch(&self) -> usize {
        self.patch_size.unwrap_or(1)
    }

    /// Channels of a folded picture.
    pub fn picture_channels(&self) -> usize {
        3 * self.patch() * self.patch()
    }

    /// An error if no such autoencoder can be: which value, and what is allowed.
    pub fn check(&self) -> Result<(), LoadError> {
        // Beyond any published autoencoder, and small enough that no product of two overflows.
        const CHANNELS_MAX: usize = 1 << 14;
        const LEVELS_MAX: usize = 8;
        let refuse = |reason: String| Err(LoadError::File { file: "vae/config.json".into(), reason });
        let decoder_base = self.decoder_base_dim.unwrap_or(self.base_dim);
        for (name, value, most) in [
            ("base_dim", self.base_dim, CHANNELS_MAX),
            ("decoder_base_dim", decoder_base, CHANNELS_MAX),
            ("z_dim", self.z_dim, CHANNELS_MAX),
            ("num_res_blocks", self.num_res_blocks, 64),
            ("dim_mult: levels", self.dim_mult.len(), LEVELS_MAX),
        ] {
            if value == 0 || value > most {
                return refuse(format!("{name} is {value}: it must be 1 to {most}"));
            }
        }
        for multiple in &self.dim_mult {
            match multiple.checked_mul(self.base_dim.max(decoder_base)) {
                Some(1..=CHANNELS_MAX) => (),
                _ => return refuse(format!("dim_mult {multiple} must give 1 to {CHANNELS_MAX} channels")),
            }
        }
        if self.temporal_downsample.len() + 1 != self.dim_mult.len() {
            let (levels, steps) = (self.dim_mult.len(), self.temporal_downsample.len());
            return refuse(format!(
                "temperal_downsample has {steps} values: {levels} levels have {} between",
                levels - 1
            ));
        }
        // Every level of the decoder but the last halves its channels.
        if let Some(multiple) =
            self.dim_mult.iter().skip(1).find(|&multiple| !(decoder_base * multiple).is_multiple_of(2))
        {
            return refuse(format!("dim_mult {multiple} of {decoder_base} channels must be even"));
        }
        if !matches!(self.patch(), 1 | 2) {
            return refuse(format!("patch_size is {}: it must be 1 or 2", self.patch()));
        }
        for (name, values) in [("latents_mean", &self.latents_mean), ("latents_std", &self.latents_std)] {
            if values.len() != self.z_dim || !values.iter().all(|value| value.is_finite()) {
                return refuse(format!("{name} must be {} finite numbers: one a latent channel", self.z_dim));
            }
        }
        if !self.latents_std.iter().all(|&std| std > 0.0) {
            return refuse("latents_std must be positive".into());
        }
        Ok(())
    }
}

/// `text_encoder/config.json`: UMT5.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TextConfig {
    pub vocab_size: usize,
    pub d_model: usize,
    pub d_kv: usize,
    pub d_ff: usize,
    pub num_layers: usize,
    pub num_heads: usize,
    pub relative_attention_num_buckets: usize,
    pub relative_attention_max_distance: usize,
    pub layer_norm_epsilon: f64,
}

/// How the networks are run: `causeway.json`, and what the transformer's own configuration says where that is silent.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub fps: u32,
    /// `None`: any multiple of 16 that fits.
    pub size: Option<[u32; 2]>,
    pub chunk: usize,
    pub sink: usize,
    pub window: usize,
    /// The policy file names the window: the model was trained with no other.
    pub window_is_fixed: bool,
    pub shift: f64,
    /// Nominal steps of 1000, first to last.
    pub steps: Vec<u32>,
    pub text_len: usize,
    pub append_eos: bool,
    /// Video frames encoded for the image condition: the picture, then grey.
    pub condition_frames: usize,
    pub camera: CameraConfig,
}

/// How keys become a camera path, and a path rays.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CameraConfig {
    pub rays: Rays,
    /// Directions are multiplied by this when `rays` is `delta`.
    pub ray_scale: f64,
    /// Horizontal field of view; `None`: 500 pixels of focal length at every size, as LingBot World.
    pub fov_x_deg: Option<f64>,
    pub translation: Translation,
    /// With `translation: fixed`: metres to one unit of ray origin.
    pub translation_scale: f64,
    pub move_per_latent: f64,
    pub yaw_deg_per_latent: f64,
    pub pitch_deg_per_latent: f64,
}

/// What the direction channels of a ray hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rays {
    /// `R·d`
    Absolute,
    /// `ray_scale·(R·d − d)`
    Delta,
}

/// What a step's translation is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Translation {
    /// The longest step of the session so far.
    RunningMax,
    /// `translation_scale`
    Fixed,
}

impl Default for CameraConfig {
    /// LingBot World.
    fn default() -> CameraConfig {
        CameraConfig {
            rays: Rays::Absolute,
            ray_scale: 1.0,
            fov_x_deg: None,
            translation: Translation::RunningMax,
            translation_scale: 1.0,
            move_per_latent: 0.05,
            yaw_deg_per_latent: 6.0,
            pitch_deg_per_latent: 4.0,
        }
    }
}
