//! Configurations of the published variants: what is read from them, and what is refused.

use serde_json::{Value, json};

use super::*;
use crate::load::file::File;

fn sizes() -> Value {
    json!({
        "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "intermediate_size": 12288, "vocab_size": 151936, "latent_channel": 48, "patch_latent_dim": 192,
        "rope_scaling": {"mrope_interleaved": true, "mrope_section": [24, 20, 20], "rope_type": "default"},
        "position_embedding_type": "unified_3d_mrope", "use_moe": true, "qk_norm": false, "backbone_type": null
    })
}

fn with(changes: Value) -> Result<TransformerConfig, String> {
    let mut config = sizes();
    for (key, value) in changes.as_object().expect("an object") {
        config[key] = value.clone();
    }
    let file = File::new("model/transformer/config.json", config.to_string().into_bytes());
    TransformerConfig::from_file(&file).map_err(|error| error.to_string())
}

#[test]
fn the_published_configurations_are_read_with_their_left_over_keys() {
    let nano = with(json!({})).expect("Nano");
    assert_eq!((nano.query_width(), nano.key_width(), nano.patch_width(), nano.is_edge()), (4096, 1024, 192, false));
    assert_eq!((nano.eps, nano.rope_theta, nano.modality_margin), (1e-6, 5e6, 15_000));
    let edge = with(json!({"backbone_type": "cosmos3_edge_nemotron_dense", "rms_norm_eps": 1e-5})).expect("Edge");
    assert!(edge.is_edge() && edge.eps == 1e-5);
    assert!(with(json!({"hidden_act": "relu2"})).expect("Edge").is_edge());
}

#[test]
fn what_is_impossible_or_another_network_is_refused_by_key_value_and_what_is_allowed() {
    let check = |changes: Value, said: &str| {
        let error = with(changes.clone()).expect_err(said);
        assert!(error.starts_with("model/transformer/config.json: ") && error.contains(said), "{changes}: {error}");
    };
    check(json!({"hidden_size": null}), "hidden_size is null; it must be a whole number");
    check(json!({"num_key_value_heads": 5}), "num_key_value_heads is 5; it must be a divisor of the 32 heads");
    check(json!({"head_dim": 127}), "head_dim is 127; it must be even");
    check(json!({"patch_latent_dim": 12}), "patch_latent_dim is 12; it must be 192");
    check(json!({"latent_patch_size": 4}), "latent_patch_size is 4; it must be 2");
    check(json!({"hidden_act": "gelu"}), "hidden_act is \"gelu\"; it must be \"silu\" or \"relu2\"");
    check(json!({"video_temporal_causal": true}), "video_temporal_causal is true; it must be false");
    check(json!({"attention_bias": true}), "attention_bias is true");
    check(json!({"backbone_type": "another"}), "backbone_type is \"another\"");
    check(json!({"rope_scaling": {"mrope_section": [24, 20, 21]}}), "rope_scaling.mrope_section is [24,20,21]");
    check(json!({"rope_scaling": {"mrope_section": [4, 30, 30]}}), "rope_scaling.mrope_section is [4,30,30]");
    check(json!({"rope_scaling": {"mrope_interleaved": false}}), "rope_scaling.mrope_interleaved is false");
    check(json!({"quantization_config": {"quant_algo": "FP8"}}), "quantised (FP8) checkpoints are not read");
    check(json!({"num_attention_heads": 512, "head_dim": 1024}), "mrope_section");
}

#[test]
fn a_sampler_is_told_by_its_class_and_a_distilled_one_by_its_levels() {
    let read = |config: Value| {
        let file = File::new("model/scheduler/scheduler_config.json", config.to_string().into_bytes());
        Sampling::from_file(&file).map_err(|error| error.to_string())
    };
    let base = json!({
        "_class_name": "UniPCMultistepScheduler", "use_karras_sigmas": true, "prediction_type": "flow_prediction",
        "sigma_max": 200, "sigma_min": 0.147
    });
    assert_eq!(read(base), Ok(Sampling::FlowUniPc));
    let distilled = |fixed: Value, shift: Value| {
        read(
            json!({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": shift, "fixed_step_sampler_config": fixed}),
        )
    };
    let levels = [1.0, 0.9375, 0.8333333333333334, 0.625];
    let sde = json!({"sample_type": "sde", "t_list": levels});
    assert_eq!(distilled(sde.clone(), json!(1)), Ok(Sampling::Distilled { sigmas: levels.to_vec() }));
    let check = |found: Result<Sampling, String>, said: &str| {
        let error = found.expect_err(said);
        assert!(error.contains(said), "{error:?} does not say {said:?}");
    };
    check(distilled(sde, json!(3.0)), "shift is 3.0; it must be 1");
    check(distilled(json!({"sample_type": "ode", "t_list": levels}), json!(1)), "sample_type is \"ode\"");
    check(distilled(json!({}), json!(1)), "fixed_step_sampler_config.t_list is missing");
    check(distilled(json!({"t_list": []}), json!(1)), "t_list is []");
    check(distilled(json!({"t_list": [0.5, 0.75]}), json!(1)), "t_list is [0.5,0.75]");
    check(distilled(json!({"t_list": [1.5]}), json!(1)), "t_list is [1.5]");
    check(read(json!({"_class_name": "DDIMScheduler"})), "_class_name is \"DDIMScheduler\"");
    check(read(json!({"prediction_type": "epsilon"})), "prediction_type is \"epsilon\"");
}
