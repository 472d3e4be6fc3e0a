//! Every tensor of LingBot World's transformer, by name and shape, told from its configuration alone.
//!
//! Loading asks for these and no others, and `causeway inspect` compares a directory with them.

use ops::Compute;

use super::config::transformer::TransformerConfig;
use crate::load::tensor_list::TensorList;

/// Values of a patch: 2×2 latent pixels of one frame.
pub(crate) const PATCH: usize = 4;
/// Channels of the camera condition: 6 of a ray for each of 8×8 pixels.
pub(crate) const CAMERA_CHANNELS: usize = 6 * 64;

/// The tensors of the transformer: both published layouts store them under Wan's own names.
///
/// The layers of the blocks may be computed in int8. What enters and leaves them, and what modulates them by the time, stays f32.
/// The camera's layers modulate, too, and are run once a chunk: bf16 at most.
pub fn transformer(config: &TransformerConfig) -> TensorList {
    let d = config.width();
    let mut list = TensorList::default();
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
                list.dense_layer(format!("{block}.{attention}.{part}"), [d, d], Compute::Int8);
            }
            list.add(format!("{block}.{attention}.norm_q.weight"), &[d]);
            list.add(format!("{block}.{attention}.norm_k.weight"), &[d]);
        }
        list.layer(format!("{block}.norm3"), &[d]);
        list.dense_layer(format!("{block}.ffn.0"), [config.ffn_dim, d], Compute::Int8);
        list.dense_layer(format!("{block}.ffn.2"), [d, config.ffn_dim], Compute::Int8);
        for part in ["cam_injector_layer1", "cam_injector_layer2", "cam_scale_layer", "cam_shift_layer"] {
            list.dense_layer(format!("{block}.{part}"), [d, d], Compute::Bf16);
        }
    }
    list.add("head.modulation".into(), &[1, 2, d]);
    list.layer("head.head".into(), &[PATCH * config.out_channels, d]);
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_models_have_their_published_number_of_parameters() {
        let check = |heads: usize, layers: usize, ffn: usize, count: usize, numbers: u64| {
            let json = serde_json::json!({
                "num_attention_heads": heads, "attention_head_dim": 128, "num_layers": layers, "ffn_dim": ffn
            });
            let tensors = transformer(&serde_json::from_value(json).expect("a published configuration"));
            assert_eq!((tensors.len(), tensors.parameters()), (count, numbers));
        };
        check(40, 40, 13824, 1421, 18_544_332_864);
        check(12, 30, 8960, 1071, 1_709_502_016);
    }
}
