//! Which family of models a directory holds, told from its content and never from its name.
//!
//! Configurations are asked first: they are small, and say it also where weights are damaged or not downloaded yet.
//! Where none says it, the names of the transformer's tensors do.

use std::fmt;

use serde_json::Value;

use super::error::LoadError;
use super::model_dir::{Component, ModelDir};
use super::weights::Checkpoint;

/// A family of models: what shares networks, and code here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// LingBot World: a causal world model that held keys steer.
    LingBotWorld,
    /// Cosmos3: text and pictures in, clips out.
    Cosmos3,
}

/// `_class_name` of pipelines and transformers.
const CLASSES: [(&str, Family); 5] = [
    ("LingBotWorldCausalDMDPipeline", Family::LingBotWorld),
    ("CausalLingBotWorldTransformer3DModel", Family::LingBotWorld),
    ("Cosmos3OmniPipeline", Family::Cosmos3),
    ("Cosmos3OmniDiffusersPipeline", Family::Cosmos3),
    ("Cosmos3OmniTransformer", Family::Cosmos3),
];
/// How the names of tensors begin, or what they contain, that only one family has.
const TENSORS: [(&str, Family); 5] = [
    ("patch_embedding_wancamctrl.", Family::LingBotWorld),
    ("c2ws_hidden_states_layer", Family::LingBotWorld),
    (".cam_injector_layer", Family::LingBotWorld),
    (".self_attn.add_q_proj.", Family::Cosmos3),
    ("_moe_gen.", Family::Cosmos3),
];

impl Family {
    /// The family that `dir` holds. If none is recognised, the error says what was found and which families can be
    /// loaded.
    pub fn of(dir: &ModelDir) -> Result<Family, LoadError> {
        let mut found = Vec::new();
        for path in ["model_index.json", "transformer/config.json"] {
            if !dir.has(path) {
                continue;
            }
            let config: Value = dir.read(path)?.json()?;
            if let Some(class) = config["_class_name"].as_str() {
                if let Some((_, family)) = CLASSES.iter().find(|(known, _)| *known == class) {
                    return Ok(*family);
                }
                found.push(format!("{path} names the class {class}"));
            }
            // Published configurations of Cosmos3's transformer name no class, but positions that nothing else has.
            if config["position_embedding_type"] == "unified_3d_mrope" {
                return Ok(Family::Cosmos3);
            }
        }
        let checkpoint = Checkpoint::open(dir, Component::Transformer)?;
        for (part, family) in TENSORS {
            if checkpoint.tensors().any(|(name, _)| name.contains(part)) {
                return Ok(family);
            }
        }
        let names: Vec<_> = checkpoint.tensors().map(|(name, _)| name).take(3).collect();
        found.push(match names.is_empty() {
            true => "its transformer has no tensors".to_owned(),
            false => format!("its transformer has {} tensors: {}, …", checkpoint.tensors().count(), names.join(", ")),
        });
        Err(LoadError::file(
            dir.name(),
            format!(
                "is of no family that is known: {}; what can be loaded is {} and {}",
                found.join(", "),
                Family::LingBotWorld,
                Family::Cosmos3
            ),
        ))
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::LingBotWorld => "LingBot World",
            Family::Cosmos3 => "Cosmos3",
        })
    }
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;

    use super::*;
    use crate::fixture::{TempDir, file};

    const TRANSFORMER: &str = "transformer/diffusion_pytorch_model.safetensors";

    /// A transformer with tensors of these names.
    fn transformer(names: &[&str]) -> Vec<u8> {
        file(&names.iter().map(|name| ((*name).to_owned(), vec![2])).collect(), Dtype::F32)
    }

    #[test]
    fn a_family_is_told_by_any_of_its_marks() {
        let check = |path: &str, content: &[u8], family| {
            let dir = TempDir::new();
            dir.write(path, content);
            assert_eq!(Family::of(&dir.open()).expect("a family"), family, "{path}");
        };
        let lingbot = Family::LingBotWorld;
        check("model_index.json", br#"{"_class_name": "LingBotWorldCausalDMDPipeline"}"#, lingbot);
        check("transformer/config.json", br#"{"_class_name": "CausalLingBotWorldTransformer3DModel"}"#, lingbot);
        check(TRANSFORMER, &transformer(&["a", "blocks.0.cam_injector_layer1.weight"]), lingbot);
        check("model.safetensors", &transformer(&["patch_embedding_wancamctrl.bias"]), lingbot);
        let cosmos = Family::Cosmos3;
        check("model_index.json", br#"{"_class_name": "Cosmos3OmniPipeline"}"#, cosmos);
        check("model_index.json", br#"{"_class_name": "Cosmos3OmniDiffusersPipeline"}"#, cosmos);
        check("transformer/config.json", br#"{"position_embedding_type": "unified_3d_mrope"}"#, cosmos);
        check(TRANSFORMER, &transformer(&["a", "layers.0.self_attn.add_q_proj.weight"]), cosmos);
    }

    #[test]
    fn a_directory_of_no_known_family_says_what_was_found_and_what_can_be_loaded() {
        let dir = TempDir::new();
        dir.write("model_index.json", r#"{"_class_name": "WanPipeline"}"#);
        dir.write(TRANSFORMER, transformer(&["blocks.0.self_attn.q.weight", "head.modulation"]));
        let error = Family::of(&dir.open()).expect_err("a stranger").to_string();
        for part in ["WanPipeline", "2 tensors: blocks.0.self_attn.q.weight, head.modulation", "LingBot World"] {
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        }
        assert!(Family::of(&TempDir::new().open()).expect_err("empty").to_string().contains("holds no transformer"));
    }
}
