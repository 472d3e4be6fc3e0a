//! Every tensor of Cosmos3's transformer, by name and shape, told from its configuration alone, and what else its files may
//! hold.
//!
//! "moe" in a name means the second set of weights, the one that draws; there is no router.

use std::fmt;

use ops::Compute;

use super::config::transformer::{Activation, TIME_WIDTH, TransformerConfig};
use crate::load::tensor_list::TensorList;

/// The tensors that drawing needs. The layers that draw may be computed in int8; those that read the prompt, a language model's,
/// in bf16.
pub fn transformer(config: &TransformerConfig) -> TensorList {
    let d = config.hidden_size;
    let (queries, keys, inner) = (config.query_width(), config.key_width(), config.intermediate_size);
    let mut list = TensorList::default();
    list.add("embed_tokens.weight".into(), &[config.vocab_size, d]);
    for layer in 0..config.layers {
        let layer = format!("layers.{layer}");
        let (reads, draws) = (Compute::Bf16, Compute::Int8);
        for (stack, narrowest) in [("", reads), ("_moe_gen", draws)] {
            list.add(format!("{layer}.input_layernorm{stack}.weight"), &[d]);
            list.add(format!("{layer}.post_attention_layernorm{stack}.weight"), &[d]);
            if config.activation == Activation::SwiGlu {
                list.dense(format!("{layer}.mlp{stack}.gate_proj.weight"), [inner, d], narrowest);
            }
            list.dense(format!("{layer}.mlp{stack}.up_proj.weight"), [inner, d], narrowest);
            list.dense(format!("{layer}.mlp{stack}.down_proj.weight"), [d, inner], narrowest);
        }
        for ([q, k, v, out], narrowest) in [
            (["to_q", "to_k", "to_v", "to_out"], reads),
            (["add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"], draws),
        ] {
            list.dense(format!("{layer}.self_attn.{q}.weight"), [queries, d], narrowest);
            list.dense(format!("{layer}.self_attn.{k}.weight"), [keys, d], narrowest);
            list.dense(format!("{layer}.self_attn.{v}.weight"), [keys, d], narrowest);
            list.dense(format!("{layer}.self_attn.{out}.weight"), [d, queries], narrowest);
        }
        let text_norms = if config.norms_text_heads { &["norm_q", "norm_k"][..] } else { &[] };
        let key_norm = if config.norms_text_keys_for_picture { &["k_norm_und_for_gen"][..] } else { &[] };
        for norm in text_norms.iter().chain(key_norm).chain(&["norm_added_q", "norm_added_k"]) {
            list.add(format!("{layer}.self_attn.{norm}.weight"), &[config.head_dim]);
        }
    }
    list.add("norm_moe_gen.weight".into(), &[d]);
    list.layer("proj_in".into(), &[d, config.patch_width()]);
    list.layer("proj_out".into(), &[config.patch_width(), d]);
    list.layer("time_embedder.linear_1".into(), &[d, TIME_WIDTH]);
    list.layer("time_embedder.linear_2".into(), &[d, d]);
    list
}

/// Numbers of the stack that draws.
pub fn drawing_parameters(config: &TransformerConfig) -> u64 {
    let draws = |name: &str| {
        name.contains("_moe_gen")
            || [".add_", ".to_add_out", ".norm_added_"].iter().any(|part| name.contains(part))
            || ["proj_in.", "proj_out.", "time_embedder."].iter().any(|part| name.starts_with(part))
    };
    let numbers = |shape: &[usize]| shape.iter().map(|&side| side as u64).product::<u64>();
    transformer(config).iter().filter(|(name, _)| draws(name)).map(|(_, shape)| numbers(shape)).sum()
}

/// A part of the family that published files hold and that drawing does not need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unused {
    /// What would make the first stack write text.
    LanguageHead,
    /// Sound, which is not built.
    Sound,
    /// Actions of robots, which are not built.
    Action,
}

/// Which unused part the tensor of this name belongs to.
pub fn unused(name: &str) -> Option<Unused> {
    let begins = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    match name {
        "lm_head.weight" | "norm.weight" => Some(Unused::LanguageHead),
        "audio_modality_embed" => Some(Unused::Sound),
        "action_modality_embed" => Some(Unused::Action),
        _ if begins(&["audio_proj_in.", "audio_proj_out."]) => Some(Unused::Sound),
        _ if begins(&["action_proj_in.", "action_proj_out."]) => Some(Unused::Action),
        _ => None,
    }
}

/// The mark of a quantised (FP8) checkpoint that the name of a tensor or its type is, if it is one.
pub fn is_quantised(name: &str, dtype: &str) -> bool {
    dtype.starts_with("F8_")
        || name.contains("_quantizer.")
        || name.ends_with(".weight_scale")
        || name.ends_with(".input_scale")
}

impl fmt::Display for Unused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unused::LanguageHead => "the head that writes text",
            Unused::Sound => "sound, which is not built",
            Unused::Action => "actions, which are not built",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_models_have_their_published_number_of_parameters() {
        let check = |json: serde_json::Value, count: usize, numbers: u64| {
            let config: TransformerConfig = serde_json::from_value(json).expect("a published configuration");
            let tensors = transformer(&config);
            assert_eq!((tensors.len(), tensors.parameters()), (count, numbers));
            // Both stacks have the same layers; the one that reads has a table of tokens, the one that draws its ends.
            let table = (config.vocab_size * config.hidden_size) as u64;
            let (drawing, reading) = (drawing_parameters(&config), numbers - table - drawing_parameters(&config));
            assert!(drawing > reading && drawing - reading < numbers / 100, "{drawing} and {reading}");
        };
        // Published: 814 tensors of 15.174 billion numbers (Nano), 1420 of 63.998 (Super), 549 of 3.370 (Edge). Here without 2
        // of the head (0.622, 0.778, 0.268 billion), 5 of sound (Nano) and 5 of action (Nano, Edge).
        let nano = serde_json::json!({
            "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
            "head_dim": 128, "intermediate_size": 12288, "vocab_size": 151936, "latent_channel": 48
        });
        let large = serde_json::json!({
            "hidden_size": 5120, "num_hidden_layers": 64, "num_attention_heads": 64, "num_key_value_heads": 8,
            "head_dim": 128, "intermediate_size": 25600, "vocab_size": 151936, "latent_channel": 48
        });
        let edge = serde_json::json!({
            "hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
            "head_dim": 128, "intermediate_size": 9216, "vocab_size": 131072, "latent_channel": 48,
            "hidden_act": "relu2", "qk_norm_for_text": false, "use_und_k_norm_for_gen": true
        });
        check(nano, 802, 14_533_888_192);
        check(large, 1418, 63_220_011_200);
        check(edge, 542, 3_092_761_280);
    }

    #[test]
    fn what_drawing_does_not_need_is_known_by_name() {
        for (name, part) in [
            ("lm_head.weight", Some(Unused::LanguageHead)),
            ("norm.weight", Some(Unused::LanguageHead)),
            ("audio_proj_in.bias", Some(Unused::Sound)),
            ("action_proj_out.fc.weight", Some(Unused::Action)),
            ("action_modality_embed", Some(Unused::Action)),
            ("norm_moe_gen.weight", None),
            ("layers.0.action_proj_in.weight", None),
        ] {
            assert_eq!(unused(name), part, "{name}");
        }
        assert!(is_quantised("proj_in.weight", "F8_E4M3") && is_quantised("proj_in.weight_scale", "F32"));
        assert!(!is_quantised("proj_in.weight", "BF16"));
    }
}
