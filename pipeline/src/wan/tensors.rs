//! Every tensor of the networks made for Wan, by name and shape, told from a configuration alone.
//!
//! Loading asks for these and no others, and `causeway inspect` compares a directory with them.

use ops::Compute;

use super::umt5::config::TextConfig;
use super::vae::config::VaeConfig;
use crate::load::tensor_list::TensorList;

/// The tensors of UMT5's encoder, under the names of the transformers library. Its layers may be computed in bf16, in which it is
/// published. Not in int8: a few of its activations are far larger than the others of their token.
pub fn text_encoder(config: &TextConfig) -> TensorList {
    let (d, inner) = (config.d_model, config.num_heads * config.d_kv);
    let mut list = TensorList::default();
    list.add("shared.weight".into(), &[config.vocab_size, d]);
    for layer in 0..config.num_layers {
        let layer = format!("encoder.block.{layer}.layer");
        for part in ["q", "k", "v"] {
            list.dense(format!("{layer}.0.SelfAttention.{part}.weight"), [inner, d], Compute::Bf16);
        }
        list.dense(format!("{layer}.0.SelfAttention.o.weight"), [d, inner], Compute::Bf16);
        let bias = [config.relative_attention_num_buckets, config.num_heads];
        list.add(format!("{layer}.0.SelfAttention.relative_attention_bias.weight"), &bias);
        list.add(format!("{layer}.0.layer_norm.weight"), &[d]);
        list.dense(format!("{layer}.1.DenseReluDense.wi_0.weight"), [config.d_ff, d], Compute::Bf16);
        list.dense(format!("{layer}.1.DenseReluDense.wi_1.weight"), [config.d_ff, d], Compute::Bf16);
        list.dense(format!("{layer}.1.DenseReluDense.wo.weight"), [d, config.d_ff], Compute::Bf16);
        list.add(format!("{layer}.1.layer_norm.weight"), &[d]);
    }
    list.add("encoder.final_layer_norm.weight".into(), &[d]);
    list
}

/// The tensors of the video autoencoder, under the names of diffusers.
pub fn vae(config: &VaeConfig) -> TensorList {
    let mut list = TensorList::default();
    let pixels = config.picture_channels();
    let z = config.z_dim;

    list.layer("encoder.conv_in".into(), &[config.base_dim, pixels, 3, 3, 3]);
    let mut channels = config.base_dim;
    for level in config.encoder_levels() {
        for name in &level.residuals {
            resnet(&mut list, &format!("encoder.{name}"), channels, level.channels);
            channels = level.channels;
        }
        if level.halves_size {
            list.layer(format!("encoder.{}.resample.1", level.downsampler), &[channels, channels, 3, 3]);
        }
        if level.halves_time {
            list.layer(format!("encoder.{}.time_conv", level.downsampler), &[channels, channels, 3, 1, 1]);
        }
    }
    middle(&mut list, "encoder", channels);
    list.add("encoder.norm_out.gamma".into(), &[channels, 1, 1, 1]);
    list.layer("encoder.conv_out".into(), &[2 * z, channels, 3, 3, 3]);

    list.layer("quant_conv".into(), &[2 * z, 2 * z, 1, 1, 1]);
    list.layer("post_quant_conv".into(), &[z, z, 1, 1, 1]);

    let levels = config.decoder_levels();
    list.layer("decoder.conv_in".into(), &[levels[0].channels_in, z, 3, 3, 3]);
    middle(&mut list, "decoder", levels[0].channels_in);
    for (number, level) in levels.iter().enumerate() {
        let block = format!("decoder.up_blocks.{number}");
        let (mut channels, out) = (level.channels_in, level.channels);
        for resnet_number in 0..=config.num_res_blocks {
            resnet(&mut list, &format!("{block}.resnets.{resnet_number}"), channels, out);
            channels = out;
        }
        if level.doubles_size {
            let shape = [level.channels_behind(config), out, 3, 3];
            list.layer(format!("{block}.{}.resample.1", config.upsampler()), &shape);
        }
        if level.doubles_time {
            list.layer(format!("{block}.{}.time_conv", config.upsampler()), &[2 * out, out, 3, 1, 1]);
        }
    }
    let channels = levels.last().expect("an autoencoder has a level").channels;
    list.add("decoder.norm_out.gamma".into(), &[channels, 1, 1, 1]);
    list.layer("decoder.conv_out".into(), &[pixels, channels, 3, 3, 3]);
    list
}

fn resnet(list: &mut TensorList, name: &str, channels_in: usize, channels: usize) {
    list.add(format!("{name}.norm1.gamma"), &[channels_in, 1, 1, 1]);
    list.layer(format!("{name}.conv1"), &[channels, channels_in, 3, 3, 3]);
    list.add(format!("{name}.norm2.gamma"), &[channels, 1, 1, 1]);
    list.layer(format!("{name}.conv2"), &[channels, channels, 3, 3, 3]);
    if channels_in != channels {
        list.layer(format!("{name}.conv_shortcut"), &[channels, channels_in, 1, 1, 1]);
    }
}

fn middle(list: &mut TensorList, half: &str, channels: usize) {
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

    #[test]
    fn published_networks_have_their_published_number_of_parameters() {
        let text = text_encoder(&TextConfig::umt5_xxl());
        assert_eq!((text.len(), text.parameters()), (242, 5_680_910_336));
        assert_eq!((vae(&VaeConfig::default()).parameters() + 5_000) / 10_000, 12_689, "126.89 million");
        let residual = vae(&VaeConfig::wan22());
        assert_eq!((residual.len(), (residual.parameters() + 50_000) / 100_000), (196, 7_047), "704.7 million");
        let decoder = residual.iter().filter(|(name, _)| name.starts_with("decoder."));
        let decoder: usize = decoder.map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!((decoder + 50_000) / 100_000, 5_550, "555.0 million");
    }

    #[test]
    fn wans_autoencoder_has_exactly_the_published_tensors() {
        let shapes: BTreeMap<String, Vec<usize>> =
            serde_json::from_str(include_str!("../../../tests/golden/lingbot/vae_param_shapes.json"))
                .expect("names and shapes");
        assert_eq!(shapes.len(), 194);
        let listed = vae(&VaeConfig::default());
        assert_eq!(
            listed.iter().map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect::<BTreeMap<_, _>>(),
            shapes
        );
    }
}
