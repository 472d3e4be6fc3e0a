//! The autoencoder's configuration. Where a file is silent, Wan's values count: 2.2's if `is_residual` is true, else
//! 2.1's.

use ops::Keeping;
use ops::shortcut::Resize;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::load::error::LoadError;
use crate::load::file::File;
use crate::load::model_dir::{Component, ModelDir};
use crate::load::object::Object;

/// `vae/config.json`: Wan's causal video autoencoder.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub struct VaeConfig {
    /// Wan 2.2's network: every change of size has a shortcut beside it, and going up keeps the channels. `is_residual`
    /// in the file. `false`: Wan 2.1's.
    pub residual: bool,
    /// Channels of the encoder's first level.
    pub base_dim: usize,
    /// Of the decoder's last level; `None`: as the encoder.
    pub decoder_base_dim: Option<usize>,
    /// Channels of a latent.
    pub z_dim: usize,
    /// Each level's channels as a multiple of the base, finest level first.
    pub dim_mult: Vec<usize>,
    /// Residual blocks of a level; the decoder has one more.
    pub num_res_blocks: usize,
    /// Does the step down to the next level halve the frames, too? `temperal_downsample` in the file.
    pub temporal_downsample: Vec<bool>,
    /// Pixels folded into channels on both sides before the first and after the last convolution: 1 or 2.
    pub patch_size: Option<usize>,
    /// Of each latent channel, over the training data.
    pub latents_mean: Vec<f32>,
    /// As `latents_mean`: the standard deviation.
    pub latents_std: Vec<f32>,
}

impl VaeConfig {
    /// From `config.json`; Wan 2.1 where there is none, as in the original layout.
    pub fn read(dir: &ModelDir) -> Result<VaeConfig, LoadError> {
        match dir.network(Component::Vae)?.config {
            Some(path) => VaeConfig::from_file(&dir.read(&path)?),
            None => Ok(VaeConfig::default()),
        }
    }

    /// From `vae/config.json`.
    pub fn from_file(file: &File) -> Result<VaeConfig, LoadError> {
        VaeConfig::from_object(&Object::of(file)?)
    }

    fn from_object(object: &Object) -> Result<VaeConfig, LoadError> {
        let residual = object.flag("is_residual", false)?;
        let wan = if residual { VaeConfig::wan22() } else { VaeConfig::default() };
        let base_dim = object.count("base_dim", 1..=1024, Some(wan.base_dim))?;
        let decoder_base_dim = match object.has("decoder_base_dim") {
            true => Some(object.count("decoder_base_dim", 1..=1024, None)?),
            false => wan.decoder_base_dim,
        };
        let z_dim = object.count("z_dim", 1..=256, Some(wan.z_dim))?;
        let dim_mult = object.counts("dim_mult", 1..=6, 1..=16)?.unwrap_or(wan.dim_mult);
        // Wan 2.1's upsampler halves the channels of every level but the last.
        let decoder_base = decoder_base_dim.unwrap_or(base_dim);
        let odd = dim_mult[1..].iter().map(|mult| mult * decoder_base).find(|channels| channels % 2 != 0);
        if let (false, Some(odd)) = (residual, odd) {
            return Err(object.refuse("dim_mult times base_dim", odd, "even above the first level"));
        }
        let levels = dim_mult.len();
        let downsample =
            object.list("temperal_downsample", levels - 1..=levels - 1, "times true or false", Value::as_bool)?;
        let temporal_downsample = match downsample {
            Some(list) => list,
            None if levels == wan.temporal_downsample.len() + 1 => wan.temporal_downsample,
            None => {
                return Err(
                    object.wrong("temperal_downsample", format!("a list of {} times true or false", levels - 1))
                );
            }
        };
        let patch_size = match object.has("patch_size") {
            true => Some(object.count("patch_size", 1..=2, None)?),
            false => wan.patch_size,
        };
        let pixels = 3 * patch_size.unwrap_or(1) * patch_size.unwrap_or(1);
        object.only("in_channels", &[json!(pixels)])?;
        object.only("out_channels", &[json!(pixels)])?;
        object.only("attn_scales", &[json!([])])?;
        let channel_list = |key: &str, wan: Vec<f32>, least: f64| {
            let what = format!("numbers (one a channel of z_dim) above {least:?} and below 1000.0");
            let number = |value: &Value| value.as_f64().filter(|&n| n > least && n < 1000.0).map(|n| n as f32);
            match object.list(key, z_dim..=z_dim, &what, number)? {
                Some(list) => Ok(list),
                None if wan.len() == z_dim => Ok(wan),
                None => Err(object.wrong(key, format!("a list of {z_dim} {what}"))),
            }
        };
        let config = VaeConfig {
            latents_mean: channel_list("latents_mean", wan.latents_mean, -1000.0)?,
            latents_std: channel_list("latents_std", wan.latents_std, 0.0)?,
            num_res_blocks: object.count("num_res_blocks", 1..=8, Some(wan.num_res_blocks))?,
            residual,
            base_dim,
            decoder_base_dim,
            z_dim,
            dim_mult,
            temporal_downsample,
            patch_size,
        };
        // A shortcut shares channels out evenly.
        let down = config.encoder_levels();
        let down = down.iter().filter_map(|level| Some((level.channels_in, level.channels, level.shortcut(&config)?)));
        let up = config.decoder_levels();
        let up = up.iter().filter_map(|level| Some((level.channels, level.channels_in, level.shortcut(&config)?)));
        for (larger, smaller, resize) in down.chain(up) {
            if !(larger * resize.block()).is_multiple_of(smaller) {
                let value = format!("{larger} beside {smaller}");
                let allowed = format!("{} times the first a multiple of the second", resize.block());
                return Err(object.refuse("dim_mult times base_dim", value, allowed));
            }
        }
        Ok(config)
    }

    /// Pixels folded into one, each way.
    pub fn patch(&self) -> usize {
        self.patch_size.unwrap_or(1)
    }

    /// Channels of a folded picture.
    pub fn picture_channels(&self) -> usize {
        3 * self.patch() * self.patch()
    }

    /// Pixels on a side to one latent value.
    pub fn spatial_factor(&self) -> usize {
        self.patch() << (self.dim_mult.len() - 1)
    }

    /// Video frames to one latent frame after the first.
    pub fn temporal_factor(&self) -> usize {
        1 << self.temporal_downsample.iter().filter(|&&halves| halves).count()
    }

    /// Where the tensors of an upsampler stand below their level.
    pub(crate) fn upsampler(&self) -> &'static str {
        if self.residual { "upsampler" } else { "upsamplers.0" }
    }

    /// The encoder's levels, finest first.
    pub(crate) fn encoder_levels(&self) -> Vec<EncoderLevel> {
        let mut channels_in = self.base_dim;
        // Wan 2.1 counts residual blocks and steps down as one list, Wan 2.2 counts levels.
        let mut index = 0;
        let mut next = || {
            index += 1;
            format!("down_blocks.{}", index - 1)
        };
        let mut levels = Vec::new();
        for (number, mult) in self.dim_mult.iter().enumerate() {
            let halving = self.temporal_downsample.get(number);
            let (residuals, downsampler) = match self.residual {
                true => {
                    let level = next();
                    let residuals = (0..self.num_res_blocks).map(|block| format!("{level}.resnets.{block}"));
                    (residuals.collect(), format!("{level}.downsampler"))
                }
                false => {
                    let residuals = (0..self.num_res_blocks).map(|_| next()).collect();
                    (residuals, if halving.is_some() { next() } else { String::new() })
                }
            };
            levels.push(EncoderLevel {
                residuals,
                downsampler,
                channels_in,
                channels: self.base_dim * mult,
                halves_size: halving.is_some(),
                halves_time: halving == Some(&true),
            });
            channels_in = self.base_dim * mult;
        }
        levels
    }

    /// The decoder's levels, coarsest first. Wan 2.1's upsampler halves the channels, so a level starts with half of
    /// what the one before it worked on.
    pub(crate) fn decoder_levels(&self) -> Vec<DecoderLevel> {
        let base = self.decoder_base_dim.unwrap_or(self.base_dim);
        let mut doublings = self.temporal_downsample.iter().rev();
        let mut channels_in = base * self.dim_mult.last().expect("an autoencoder has a level");
        let mut levels: Vec<DecoderLevel> = Vec::new();
        for mult in self.dim_mult.iter().rev() {
            let doubling = doublings.next();
            levels.push(DecoderLevel {
                channels_in,
                channels: base * mult,
                doubles_size: doubling.is_some(),
                doubles_time: doubling == Some(&true),
            });
            channels_in = levels.last().expect("just pushed").channels_behind(self);
        }
        levels
    }

    /// What decoding `height × width` latents carries from frame to frame, in bytes, from the third latent frame on at
    /// the latest: the last two input frames of every causal convolution, with the border that a 3×3 reads around them.
    /// Each of `bands` has its own border, where the device keeps borders.
    pub fn decoder_state_bytes(&self, height: usize, width: usize, bands: usize, keeping: Keeping) -> u64 {
        let levels = self.decoder_levels();
        let (above_and_below, beside) = if keeping.borders { (2 * bands.clamp(1, height) as u64, 2) } else { (0, 0) };
        let (mut height, mut width) = (height as u64, width as u64);
        let bordered = |height: u64, width: u64| (height + above_and_below) * (width + beside);
        // The first convolution, and the two of each of the two middle resnets.
        let mut values = (self.z_dim + 4 * levels[0].channels_in) as u64 * bordered(height, width);
        let mut last_channels = 0;
        for level in levels {
            // Every resnet has two convolutions over `channels`, but the very first sees what the level before left.
            let convolutions = 2 * (self.num_res_blocks + 1);
            let channels = level.channels_in + (convolutions - 1) * level.channels;
            values += channels as u64 * bordered(height, width);
            if level.doubles_time {
                // Over time alone: it has no border.
                values += level.channels as u64 * height * width;
            }
            if level.doubles_size {
                (height, width) = (2 * height, 2 * width);
            }
            last_channels = level.channels;
        }
        values += last_channels as u64 * bordered(height, width);
        2 * values * keeping.bytes
    }
}

/// One resolution of the encoder.
#[derive(Debug, Clone)]
pub(crate) struct EncoderLevel {
    /// Names of its residual blocks, below `encoder`.
    pub(crate) residuals: Vec<String>,
    /// Name of the step down, if there is one.
    pub(crate) downsampler: String,
    /// Channels that its first residual block is given.
    pub(crate) channels_in: usize,
    /// Channels after that.
    pub(crate) channels: usize,
    /// Half the height and width behind it: at every level but the last.
    pub(crate) halves_size: bool,
    /// Half the frames behind it.
    pub(crate) halves_time: bool,
}

impl EncoderLevel {
    /// How the shortcut beside this level resizes, if there is one: Wan 2.2 has it at every level.
    pub(crate) fn shortcut(&self, config: &VaeConfig) -> Option<Resize> {
        config.residual.then_some(resize(self.halves_size, self.halves_time))
    }
}

fn resize(size: bool, time: bool) -> Resize {
    Resize { time: 1 + usize::from(time), side: 1 + usize::from(size) }
}

/// One resolution of the decoder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecoderLevel {
    /// Channels that its first residual block is given.
    pub(crate) channels_in: usize,
    /// Channels after that.
    pub(crate) channels: usize,
    /// Twice the height and width behind it: at every level but the last.
    pub(crate) doubles_size: bool,
    /// Twice the frames behind it.
    pub(crate) doubles_time: bool,
}

impl DecoderLevel {
    /// Channels that it gives to the next level.
    pub(crate) fn channels_behind(&self, config: &VaeConfig) -> usize {
        if config.residual || !self.doubles_size { self.channels } else { self.channels / 2 }
    }

    /// How the shortcut beside this level resizes, if there is one: Wan 2.2 has it where the picture grows.
    pub(crate) fn shortcut(&self, config: &VaeConfig) -> Option<Resize> {
        (config.residual && self.doubles_size).then_some(resize(self.doubles_size, self.doubles_time))
    }
}

impl TryFrom<Value> for VaeConfig {
    type Error = LoadError;
    fn try_from(value: Value) -> Result<VaeConfig, LoadError> {
        VaeConfig::from_object(&Object::new("vae/config.json", value)?)
    }
}

impl VaeConfig {
    /// Wan 2.2's TI2V autoencoder, which Cosmos3 uses as well.
    pub fn wan22() -> VaeConfig {
        VaeConfig {
            residual: true,
            base_dim: 160,
            decoder_base_dim: Some(256),
            z_dim: 48,
            patch_size: Some(2),
            latents_mean: vec![
                -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
                0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
                -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
                -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
            ],
            latents_std: vec![
                0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901, 0.6885,
                0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659, 0.7069, 0.5338,
                0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458,
                1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
            ],
            ..VaeConfig::default()
        }
    }
}

impl Default for VaeConfig {
    /// Wan 2.1.
    fn default() -> VaeConfig {
        VaeConfig {
            residual: false,
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
