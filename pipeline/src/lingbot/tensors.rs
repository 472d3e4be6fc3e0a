//! Every tensor a network has, by name and shape, told from its configuration alone.
//!
//! So a directory can be checked, and a model counted, without loading it.

use crate::lingbot::config::{TextConfig, TransformerConfig};
use crate::wan::vae::config::VaeConfig;

/// Names and shapes, in the order they are read.
pub type Tensors = Vec<(String, Vec<usize>)>;

/// Numbers in all of them.
pub fn parameters(tensors: &Tensors) -> u64 {
    tensors.iter().map(|(_, shape)| shape.iter().map(|&side| side as u64).product::<u64>()).sum()
}

/// Values of a patch: 2×2 latent pixels of one frame.
const PATCH: usize = 4;
/// Channels of the camera condition: 6 of a ray for each of 8×8 pixels.
const CAMERA_CHANNELS: usize = 6 * 64;

struct List(Tensors);

impl List {
    fn add(&mut self, name: String, shape: &[usize]) {
        self.0.push((name, shape.to_vec()));
    }

    /// A weight of this shape, and a bias.
    fn layer(&mut self, name: String, shape: &[usize]) {
        self.add(format!("{name}.bias"), &shape[..1]);
        self.add(format!("{name}.weight"), shape);
    }
}

pub fn transformer(config: &TransformerConfig) -> Tensors {
    let d = config.width();
    let mut list = List(Vec::new());
    list.layer("patch_embedding".into(), &[d, config.in_channels, 1, 2, 2]);
    list.layer("patch_embedding_wancamctrl".into(), &[d, CAMERA_CHANNELS * PATCH]);
    for layer in 1..=2 {
        list.layer(format!("c2ws_hidden_states_layer{layer}"), &[d, d]);
    }
    list.layer("text_embedding.0".into(), &[d, config.text_dim]);
    list.layer("text_embedding.2".into(), &[d, d]);
    list.layer("time_embedding.0".into(), &[d, config.freq_dim]);
    list.layer("time_embedding.2".into(), &[d, d]);
    list.layer("time_projection.1".into(), &[6 * d, d]);
    for block in 0..config.num_layers {
        let block = format!("blocks.{block}");
        list.add(format!("{block}.modulation"), &[1, 6, d]);
        for attention in ["self_attn", "cross_attn"] {
            for part in ["q", "k", "v", "o"] {
                list.layer(format!("{block}.{attention}.{part}"), &[d, d]);
            }
            list.add(format!("{block}.{attention}.norm_q.weight"), &[d]);
            list.add(format!("{block}.{attention}.norm_k.weight"), &[d]);
        }
        list.layer(format!("{block}.norm3"), &[d]);
        list.layer(format!("{block}.ffn.0"), &[config.ffn_dim, d]);
        list.layer(format!("{block}.ffn.2"), &[d, config.ffn_dim]);
        for part in ["cam_injector_layer1", "cam_injector_layer2", "cam_scale_layer", "cam_shift_layer"] {
            list.layer(format!("{block}.{part}"), &[d, d]);
        }
    }
    list.add("head.modulation".into(), &[1, 2, d]);
    list.layer("head.head".into(), &[PATCH * config.out_channels, d]);
    list.0
}

pub fn text_encoder(config: &TextConfig) -> Tensors {
    let (d, inner) = (config.d_model, config.num_heads * config.d_kv);
    let mut list = List(Vec::new());
    list.add("shared.weight".into(), &[config.vocab_size, d]);
    for layer in 0..config.num_layers {
        let layer = format!("encoder.block.{layer}.layer");
        for part in ["q", "k", "v"] {
            list.add(format!("{layer}.0.SelfAttention.{part}.weight"), &[inner, d]);
        }
        list.add(format!("{layer}.0.SelfAttention.o.weight"), &[d, inner]);
        let bias = [config.relative_attention_num_buckets, config.num_heads];
        list.add(format!("{layer}.0.SelfAttention.relative_attention_bias.weight"), &bias);
        list.add(format!("{layer}.0.layer_norm.weight"), &[d]);
        list.add(format!("{layer}.1.DenseReluDense.wi_0.weight"), &[config.d_ff, d]);
        list.add(format!("{layer}.1.DenseReluDense.wi_1.weight"), &[config.d_ff, d]);
        list.add(format!("{layer}.1.DenseReluDense.wo.weight"), &[d, config.d_ff]);
        list.add(format!("{layer}.1.layer_norm.weight"), &[d]);
    }
    list.add("encoder.final_layer_norm.weight".into(), &[d]);
    list.0
}

pub fn vae(config: &VaeConfig) -> Tensors {
    let mut list = List(Vec::new());
    let pixels = config.picture_channels();
    let z = config.z_dim;

    let (base, last) = (config.base_dim, config.dim_mult.len() - 1);
    list.layer("encoder.conv_in".into(), &[base, pixels, 3, 3, 3]);
    let (mut channels, mut number) = (base, 0);
    let mut next = || {
        number += 1;
        format!("encoder.down_blocks.{}", number - 1)
    };
    for (level, mult) in config.dim_mult.iter().enumerate() {
        for _ in 0..config.num_res_blocks {
            resnet(&mut list, &next(), channels, base * mult);
            channels = base * mult;
        }
        if level < last {
            let down = next();
            list.layer(format!("{down}.resample.1"), &[channels, channels, 3, 3]);
            if config.temporal_downsample[level] {
                list.layer(format!("{down}.time_conv"), &[channels, channels, 3, 1, 1]);
            }
        }
    }
    middle(&mut list, "encoder", channels);
    list.add("encoder.norm_out.gamma".into(), &[channels, 1, 1, 1]);
    list.layer("encoder.conv_out".into(), &[2 * z, channels, 3, 3, 3]);

    list.layer("quant_conv".into(), &[2 * z, 2 * z, 1, 1, 1]);
    list.layer("post_quant_conv".into(), &[z, z, 1, 1, 1]);

    let levels = decoder_levels(config);
    list.layer("decoder.conv_in".into(), &[levels[0].channels_in, z, 3, 3, 3]);
    middle(&mut list, "decoder", levels[0].channels_in);
    for (number, level) in levels.iter().enumerate() {
        let block = format!("decoder.up_blocks.{number}");
        let (mut channels, out) = (level.channels_in, level.channels);
        for resnet_number in 0..=config.num_res_blocks {
            resnet(&mut list, &format!("{block}.resnets.{resnet_number}"), channels, out);
            channels = out;
        }
        if level.upsample.is_some() {
            list.layer(format!("{block}.upsamplers.0.resample.1"), &[out / 2, out, 3, 3]);
        }
        if level.upsample == Some(Upsample::SpaceAndTime) {
            list.layer(format!("{block}.upsamplers.0.time_conv"), &[2 * out, out, 3, 1, 1]);
        }
    }
    let channels = levels[last].channels;
    list.add("decoder.norm_out.gamma".into(), &[channels, 1, 1, 1]);
    list.layer("decoder.conv_out".into(), &[pixels, channels, 3, 3, 3]);
    list.0
}

/// One resolution of the decoder, coarsest first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecoderLevel {
    pub(crate) channels_in: usize,
    pub(crate) channels: usize,
    /// `None` at the last level.
    pub(crate) upsample: Option<Upsample>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upsample {
    Space,
    SpaceAndTime,
}

/// An upsampler halves the channels, so a level starts with half of what the one before it worked on.
pub(crate) fn decoder_levels(config: &VaeConfig) -> Vec<DecoderLevel> {
    let base = config.decoder_base_dim.unwrap_or(config.base_dim);
    let mut times = config.temporal_downsample.iter().rev();
    let mut channels_in = base * config.dim_mult.last().expect("an autoencoder has a level");
    let mut levels = Vec::new();
    for mult in config.dim_mult.iter().rev() {
        let upsample = times.next().map(|&doubles| if doubles { Upsample::SpaceAndTime } else { Upsample::Space });
        levels.push(DecoderLevel { channels_in, channels: base * mult, upsample });
        channels_in = base * mult / 2;
    }
    levels
}

fn resnet(list: &mut List, name: &str, channels_in: usize, channels: usize) {
    list.add(format!("{name}.norm1.gamma"), &[channels_in, 1, 1, 1]);
    list.layer(format!("{name}.conv1"), &[channels, channels_in, 3, 3, 3]);
    list.add(format!("{name}.norm2.gamma"), &[channels, 1, 1, 1]);
    list.layer(format!("{name}.conv2"), &[channels, channels, 3, 3, 3]);
    if channels_in != channels {
        list.layer(format!("{name}.conv_shortcut"), &[channels, channels_in, 1, 1, 1]);
    }
}

fn middle(list: &mut List, half: &str, channels: usize) {
    for number in 0..2 {
        resnet(list, &format!("{half}.mid_block.resnets.{number}"), channels, channels);
    }
    let attention = format!("{half}.mid_block.attentions.0");
    list.add(format!("{attention}.norm.gamma"), &[channels, 1, 1]);
    list.layer(format!("{attention}.to_qkv"), &[3 * channels, channels, 1, 1]);
    list.layer(format!("{attention}.proj"), &[channels, channels, 1, 1]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn published(heads: usize, layers: usize, ffn: usize) -> TransformerConfig {
        let json = serde_json::json!({
            "num_attention_heads": heads, "attention_head_dim": 128, "num_layers": layers, "ffn_dim": ffn
        });
        serde_json::from_value(json).expect("a published configuration")
    }

    #[test]
    fn published_models_have_their_published_number_of_parameters() {
        let check = |tensors: Tensors, count: usize, numbers: u64| {
            assert_eq!((tensors.len(), parameters(&tensors)), (count, numbers));
        };
        check(transformer(&published(40, 40, 13824)), 1421, 18_544_332_864);
        check(transformer(&published(12, 30, 8960)), 1071, 1_709_502_016);
        check(text_encoder(&TextConfig::umt5_xxl()), 242, 5_680_910_336);
        let numbers = parameters(&vae(&VaeConfig::default()));
        assert_eq!((numbers + 5_000) / 10_000, 12_689, "126.89 million");
    }

    #[test]
    fn wans_autoencoder_has_exactly_the_published_tensors() {
        let shapes: BTreeMap<String, Vec<usize>> =
            serde_json::from_str(include_str!("../../../tests/golden/lingbot/vae_param_shapes.json"))
                .expect("names and shapes");
        assert_eq!(shapes.len(), 194);
        assert_eq!(vae(&VaeConfig::default()).into_iter().collect::<BTreeMap<_, _>>(), shapes);
    }
}
