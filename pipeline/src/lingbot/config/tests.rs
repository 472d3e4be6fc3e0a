//! What configurations may and may not say.

use serde_json::{Value, json};

use super::*;
use crate::lingbot::recipe::{CameraConfig, Lineage, MotionWindowConfig};
use crate::lingbot::sampler::Sampler;
use crate::load::file::File;

fn transformer() -> Value {
    json!({"num_attention_heads": 2, "attention_head_dim": 8, "ffn_dim": 32, "num_layers": 1, "text_dim": 12})
}

fn text() -> Value {
    json!({"vocab_size": 7, "d_model": 12, "d_kv": 2, "d_ff": 6, "num_layers": 1, "num_heads": 2})
}

/// `base` with some keys put in.
fn with(mut base: Value, keys: Value) -> File {
    let more = keys.as_object().expect("keys").clone();
    base.as_object_mut().expect("a configuration").extend(more);
    file(base.to_string())
}

fn file(json: impl Into<String>) -> File {
    File::new("x.json", json.into().into_bytes())
}

fn check<T: std::fmt::Debug>(result: Result<T, LoadError>, part: &str) {
    let error = result.expect_err(part).to_string();
    assert!(error.starts_with("x.json: ") && error.contains(part), "{error:?} does not say {part:?}");
}

#[test]
fn an_impossible_transformer_is_refused_by_key_and_value() {
    let refused = |keys: Value, part: &str| check(TransformerConfig::from_file(&with(transformer(), keys)), part);
    refused(json!({"num_layers": 0}), "num_layers is 0; it must be a whole number from 1 to 512");
    refused(json!({"num_layers": "one"}), "num_layers is \"one\"; it must be a whole number");
    refused(json!({"num_layers": 1.5}), "num_layers is 1.5");
    refused(json!({"num_layers": -1}), "num_layers is -1");
    refused(json!({"num_layers": null}), "num_layers is null");
    refused(json!({"num_layers": 1u64 << 60}), "num_layers is 1152921504606846976");
    refused(json!({"num_attention_heads": 0}), "num_attention_heads is 0");
    refused(json!({"ffn_dim": 0}), "ffn_dim is 0");
    refused(json!({"text_dim": 1e30}), "text_dim is 1e+30");
    refused(json!({"freq_dim": 255}), "freq_dim is 255; it must be even");
    refused(json!({"attention_head_dim": 7}), "attention_head_dim is 7; it must be even and at least 6");
    refused(json!({"attention_head_dim": 4}), "attention_head_dim is 4; it must be even and at least 6");
    refused(json!({"num_attention_heads": 512, "attention_head_dim": 128}), "heads times head dimension is 65536");
    refused(json!({"dim": 17}), "dim is 17; it must be 16: 2 heads of 8");
    refused(json!({"in_channels": 32}), "in_channels is 32; it must be 36");
    refused(json!({"out_channels": 8, "in_channels": 36}), "in_channels is 36; it must be 20");
    refused(json!({"patch_size": [1, 1, 1]}), "patch_size is [1,1,1]; it must be [1,2,2]");
    refused(json!({"qk_norm": "layer_norm"}), "qk_norm is \"layer_norm\"; it must be \"rms_norm_across_heads\"");
    refused(json!({"cross_attn_norm": false}), "cross_attn_norm is false");
    refused(json!({"image_dim": 1280}), "image_dim is 1280; it must be null or absent");
    refused(json!({"added_kv_proj_dim": 5120}), "added_kv_proj_dim is 5120");
    refused(json!({"eps": 0.0}), "eps is 0.0");
    refused(json!({"sink_size": 18}), "sink_size is 18; it must be less than sliding_window_num_frames, 18");
    refused(json!({"num_frames_per_block": 10}), "num_frames_per_block is 10; it must be at most 9");
    refused(json!({"sliding_window_num_frames": 0}), "sliding_window_num_frames is 0");
    refused(json!({"local_attn_size": 5}), "sink_size is 9; it must be less than local_attn_size, 5");
    check(TransformerConfig::from_file(&file("[1]")), "must hold a JSON object; it holds [1]");
    check(TransformerConfig::from_file(&file("{")), "EOF");
    check(TransformerConfig::from_file(&file("{}")), "num_attention_heads is missing");
}

#[test]
fn both_sets_of_keys_describe_the_same_transformer() {
    let published = TransformerConfig::from_file(&with(transformer(), json!({}))).expect("a configuration");
    let original = json!({
        "dim": 16, "num_heads": 2, "ffn_dim": 32, "num_layers": 1, "text_dim": 12, "in_dim": 36, "out_dim": 16,
        "freq_dim": 256, "eps": 1e-6, "patch_size": [1, 2, 2], "qk_norm": true, "cross_attn_norm": true
    });
    let read = |keys| TransformerConfig::from_file(&with(original.clone(), keys));
    assert_eq!(read(json!({})).expect("a configuration"), published);
    assert_eq!((published.width(), published.in_channels, published.sliding_window_num_frames), (16, 36, 18));
    check(read(json!({"num_heads": 3})), "dim is 16; it must be a multiple of the 3 heads");
    check(read(json!({"num_heads": 4})), "dim / num_heads is 4; it must be even and at least 6");
    check(read(json!({"in_dim": 16})), "in_dim is 16; it must be 36");
    let local = TransformerConfig::from_file(&with(transformer(), json!({"local_attn_size": 21})));
    assert_eq!(local.expect("a configuration").sliding_window_num_frames, 21);
}

#[test]
fn memory_is_absent_or_says_every_number_within_its_bound() {
    let memory = |keys: Value| {
        let mut memory = json!({
            "frames": 256, "seen": 3, "apart_metres": 0.75, "apart_degrees": 7.5, "reach_metres": 4.0, "eye_height": 2.2
        });
        memory.as_object_mut().expect("an object").extend(keys.as_object().expect("keys").clone());
        let transformer = serde_json::from_value(transformer()).expect("a configuration");
        Recipe::from_file(&file(json!({"memory": memory}).to_string()), &transformer, Lineage::V2)
    };
    let read = memory(json!({})).expect("a recipe");
    let config = read.memory.expect("a memory");
    assert_eq!((config.frames, config.seen, config.reach_metres, config.eye_height), (256, 3, 4.0, 2.2));
    assert!(read.to_string().contains("remembers up to 256 pictures by place, shows 3 within 4 m"), "{read}");
    let transformer = serde_json::from_value(transformer()).expect("a configuration");
    for none in ["{}", r#"{"memory": null}"#] {
        let plain = Recipe::from_file(&file(none), &transformer, Lineage::V2).expect("a recipe");
        assert!(plain.memory.is_none() && !plain.to_string().contains("remembers"));
    }
    let refused = |keys: Value, part: &str| check(memory(keys), part);
    refused(json!({"frames": 0}), "memory.frames is 0; it must be a whole number from 1 to 1024");
    refused(json!({"frames": 4096}), "memory.frames is 4096");
    refused(json!({"seen": 0}), "memory.seen is 0; it must be a whole number from 1 to 16");
    refused(json!({"apart_metres": -1}), "memory.apart_metres is -1; it must be a number from 0.0");
    refused(json!({"apart_degrees": 181}), "memory.apart_degrees is 181; it must be a number from 0.0 to 180.0");
    refused(json!({"reach_metres": 0}), "memory.reach_metres is 0; it must be a number from 0.001");
    refused(json!({"eye_height": 0}), "memory.eye_height is 0; it must be a number from 0.001");
    refused(json!({"eye_height": null}), "memory.eye_height is null");
    refused(json!({"metres": 1}), "unknown key memory.metres; known are frames, seen");
    check(Recipe::from_file(&file(r#"{"memory": 3}"#), &transformer, Lineage::V2), "memory is 3; it must be an object");
}

#[test]
fn an_impossible_autoencoder_is_refused_by_key_and_value() {
    let refused = |keys: Value, part: &str| check(VaeConfig::from_file(&with(json!({}), keys)), part);
    refused(json!({"base_dim": 0}), "base_dim is 0");
    refused(json!({"decoder_base_dim": 100_000}), "decoder_base_dim is 100000");
    refused(json!({"base_dim": 3, "dim_mult": [1, 1, 1, 1]}), "dim_mult times base_dim is 3; it must be even");
    refused(json!({"dim_mult": []}), "dim_mult is []; it must be a list of 1 to 6");
    refused(json!({"dim_mult": [1, 0, 1, 1]}), "dim_mult is [1,0,1,1]");
    refused(json!({"dim_mult": [1, 2]}), "temperal_downsample is missing; it must be a list of 1 times true or false");
    refused(json!({"temperal_downsample": [true]}), "temperal_downsample is [true]; it must be a list of 3");
    refused(json!({"num_res_blocks": 0}), "num_res_blocks is 0");
    refused(json!({"patch_size": 3}), "patch_size is 3; it must be a whole number from 1 to 2");
    refused(json!({"patch_size": 2, "out_channels": 3}), "out_channels is 3; it must be 12");
    refused(json!({"attn_scales": [1.0]}), "attn_scales is [1.0]; it must be []");
    refused(json!({"is_residual": "yes"}), "is_residual is \"yes\"; it must be true or false");
    refused(json!({"is_residual": true, "base_dim": 3, "dim_mult": [1, 2, 4, 5]}), "dim_mult times base_dim is");
    refused(json!({"z_dim": 8}), "latents_mean is missing; it must be a list of 8");
    refused(json!({"latents_mean": [0.5]}), "latents_mean is [0.5]; it must be a list of 16");
    refused(json!({"latents_std": vec![0.0; 16]}), "numbers (one a channel of z_dim) above 0.0");
    assert_eq!(VaeConfig::from_file(&file("{}")).expect("Wan's values"), VaeConfig::default());
    let wan = VaeConfig::default();
    assert_eq!((wan.spatial_factor(), wan.temporal_factor()), (8, 4));
    let residual = VaeConfig::from_file(&file(r#"{"is_residual": true}"#)).expect("Wan 2.2's values");
    assert_eq!(residual, VaeConfig::wan22());
    assert_eq!((residual.spatial_factor(), residual.temporal_factor()), (16, 4));
}

#[test]
fn an_impossible_text_encoder_is_refused_by_key_and_value() {
    let refused = |keys: Value, part: &str| check(TextConfig::from_file(&with(text(), keys)), part);
    refused(json!({"vocab_size": 0}), "vocab_size is 0");
    refused(json!({"num_heads": 10_000}), "num_heads is 10000");
    refused(json!({"model_type": "t5"}), "model_type is \"t5\"; it must be \"umt5\"");
    refused(json!({"feed_forward_proj": "relu"}), "feed_forward_proj is \"relu\"");
    refused(
        json!({"relative_attention_num_buckets": 6}),
        "relative_attention_num_buckets is 6; it must be a multiple of 4",
    );
    refused(json!({"relative_attention_max_distance": 8}), "relative_attention_max_distance is 8");
    check(TextConfig::from_file(&file("{}")), "vocab_size is missing");
    assert!(TextConfig::from_file(&with(text(), json!({}))).is_ok());
}

fn recipe(keys: Value, lineage: Lineage) -> Result<Recipe, LoadError> {
    let transformer = TransformerConfig::from_file(&with(transformer(), json!({}))).expect("a configuration");
    Recipe::from_file(&with(json!({}), keys), &transformer, lineage)
}

#[test]
fn an_impossible_recipe_is_refused_by_key_and_value() {
    let refused = |keys: Value, part: &str| check(recipe(keys, Lineage::V2), part);
    refused(json!({"chunks": 3}), "unknown key chunks; known are fps, size, chunk");
    refused(json!({"camera": {"fov": 75}}), "unknown key camera.fov; known are rays");
    refused(json!({"camera": 75}), "camera is 75; it must be an object");
    refused(json!({"camera": {"rays": "bent"}}), "camera.rays is \"bent\"; it must be \"absolute\" or \"delta\"");
    refused(json!({"camera": {"translation": "none"}}), "camera.translation is \"none\"");
    refused(json!({"camera": {"fov_x_deg": 180}}), "camera.fov_x_deg is 180");
    refused(json!({"camera": {"translation_scale": 0}}), "camera.translation_scale is 0");
    refused(json!({"fps": 0}), "fps is 0");
    refused(json!({"size": [96]}), "size is [96]; it must be a list of 2");
    refused(json!({"size": [96, 60]}), "size is 60; it must be a multiple of 16");
    refused(json!({"size": [96, 0]}), "size is [96,0]");
    refused(json!({"chunk": 0}), "chunk is 0");
    refused(json!({"sink": 18}), "sink is 18; it must be less than window, 18");
    refused(json!({"window": 10, "sink": 8}), "chunk is 3; it must be at most 2: window 10 less sink 8");
    refused(json!({"window": 4096}), "window is 4096");
    refused(json!({"shift": 0}), "shift is 0");
    refused(json!({"shift": -5.0}), "shift is -5.0");
    refused(json!({"steps": []}), "steps is []");
    refused(json!({"steps": [1000, 500, 500]}), "steps is [1000,500,500]; it must be strictly descending");
    refused(json!({"steps": [1001, 5]}), "whole numbers from 1 to 1000");
    refused(json!({"steps": [5, 0]}), "whole numbers from 1 to 1000");
    let either = "it must be how many evenly spaced steps, from 1 to 1000, or a list of 1 to 1000 whole numbers";
    refused(json!({"steps": 0}), &format!("steps is 0; {either}"));
    refused(json!({"steps": 1001}), &format!("steps is 1001; {either}"));
    refused(json!({"steps": "many"}), &format!("steps is \"many\"; {either}"));
    refused(json!({"steps": 24, "quick_steps": 0}), "quick_steps is 0; it must be a whole number from 1 to 23");
    refused(json!({"steps": 24, "quick_steps": 24}), "quick_steps is 24; it must be a whole number from 1 to 23");
    refused(json!({"quick_steps": 4}), "quick_steps is 4; it must be a whole number from 1 to 3");
    refused(json!({"steps": 1, "quick_steps": 1}), "quick_steps is 1; it must be absent where a chunk has one step");
    let names = "it must be \"renoise\" or \"euler\" or \"heun\" or \"euler_renoise\"";
    refused(json!({"sampler": "dpm"}), &format!("sampler is \"dpm\"; {names}"));
    refused(json!({"sampler": 1}), &format!("sampler is 1; {names}"));
    refused(json!({"text_len": 0}), "text_len is 0");
    refused(json!({"append_eos": 1}), "append_eos is 1; it must be true or false");
    refused(json!({"text_start": "yes"}), "text_start is \"yes\"; it must be true or false");
    refused(json!({"condition_frames": 17}), "condition_frames is 17; it must be a whole number from 21 to 1025");
    refused(json!({"condition_frames": 22}), "condition_frames is 22; it must be a multiple of 4, and 1");
    refused(json!({"moving_window": 12}), "still_window is missing");
    refused(json!({"moving_window": 1020, "still_window": 3, "still_chunks": 2}), "moving_window is 1020");
}

#[test]
fn a_silent_recipe_is_lingbots_and_its_lineage_chooses_the_schedule() {
    let v2 = recipe(json!({}), Lineage::V2).expect("LingBot's values");
    assert_eq!((v2.chunk, v2.sink, v2.window, v2.fps, v2.text_len), (3, 9, 18, 16, 512));
    assert_eq!((v2.shift, v2.steps.as_slice()), (5.0, &[1000, 750, 500, 250][..]));
    assert_eq!(v2.sampler, Sampler::Renoise);
    assert_eq!((v2.default_size(), v2.size), (crate::world::Size { width: 832, height: 480 }, None));
    assert_eq!((v2.condition_frames, v2.append_eos, v2.window_is_fixed, v2.motion), (21, true, false, None));
    assert!(!v2.text_start, "LingBot World starts from a picture");
    assert_eq!(v2.camera, CameraConfig::default());
    let v1 = recipe(json!({}), Lineage::V1Fast).expect("LingBot's values");
    assert_eq!((v1.shift, v1.steps), (10.0, vec![1000, 821, 642, 321]));
    assert_eq!(recipe(json!({"shift": 5}), Lineage::V1Fast).expect("a recipe").shift, 5.0);
    assert_eq!(recipe(json!({"chunk": 4}), Lineage::V2).expect("a recipe").condition_frames, 29);
    let motion = json!({"moving_window": 12, "still_window": 3, "still_chunks": 2, "window": 18});
    let motion = recipe(motion, Lineage::V2).expect("a recipe");
    assert_eq!(motion.motion, Some(MotionWindowConfig { moving: 12, still: 3, still_chunks: 2 }));
    assert!(motion.window_is_fixed && motion.stored_frames(9, 18) == 24);
}

#[test]
fn a_number_of_steps_means_evenly_spaced_ones() {
    let steps =
        |steps: Value| recipe(json!({"steps": steps, "sampler": "euler"}), Lineage::V2).expect("a recipe").steps;
    assert_eq!(steps(json!(1)), [1000]);
    assert_eq!(steps(json!(4)), steps(json!([1000, 750, 500, 250])));
    assert_eq!(steps(json!(12)), [1000, 917, 833, 750, 667, 583, 500, 417, 333, 250, 167, 83]);
    assert_eq!(steps(json!(16))[13..], [188, 125, 63], "halves are rounded up");
    assert_eq!(steps(json!(1000)), (1..=1000).rev().collect::<Vec<_>>());
}

#[test]
fn a_recipe_says_in_words_how_a_chunk_is_drawn() {
    let text = recipe(json!({"steps": 3, "sampler": "heun", "shift": 1}), Lineage::V2).expect("a recipe").to_string();
    assert!(text.contains("sampler heun, 3 steps [1000, 667, 333], shift 1\n"), "{text}");
    let text = recipe(json!({}), Lineage::V2).expect("a recipe").to_string();
    assert!(text.contains("sampler renoise, 4 steps [1000, 750, 500, 250], shift 5\n"), "{text}");
}
