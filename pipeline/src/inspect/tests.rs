//! Reports of complete and of broken directories.

use safetensors::Dtype;
use serde_json::json;

use super::*;
use crate::fixture::{TempDir, file};

const TRANSFORMER: &str = "transformer/diffusion_pytorch_model.safetensors";

fn small_transformer() -> serde_json::Value {
    json!({"num_attention_heads": 1, "attention_head_dim": 128, "ffn_dim": 8, "num_layers": 2, "text_dim": 4, "freq_dim": 4})
}

fn tensors() -> TensorList {
    lingbot::tensors::transformer(&serde_json::from_value(small_transformer()).expect("a configuration"))
}

/// A tokenizer that a text encoder of seven tokens can use.
fn tokenizer(vocab: &serde_json::Value) -> String {
    let model = json!({"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null, "model": model
    })
    .to_string()
}

/// A whole model with the transformer of `transformer` in diffusers layout.
fn model(transformer: &TensorList) -> TempDir {
    let vae = json!({"base_dim": 2});
    let text = json!({"vocab_size": 7, "d_model": 4, "d_kv": 2, "d_ff": 6, "num_layers": 1, "num_heads": 2});
    let dir = TempDir::new();
    dir.write("transformer/config.json", small_transformer().to_string())
        .write(TRANSFORMER, file(transformer, Dtype::BF16));
    dir.write("vae/config.json", vae.to_string());
    dir.write("text_encoder/config.json", text.to_string());
    let vae = wan::tensors::vae(&serde_json::from_value(vae).expect("a configuration"));
    let text = wan::tensors::text_encoder(&serde_json::from_value(text).expect("a configuration"));
    dir.write("vae/diffusion_pytorch_model.safetensors", file(&vae, Dtype::F32));
    dir.write("text_encoder/model.safetensors", file(&text, Dtype::F16));
    dir.write("tokenizer/tokenizer.json", tokenizer(&json!({"<unk>": 0, "</s>": 1, "hill": 6})));
    dir
}

#[test]
fn dense_layers_of_the_blocks_take_half_the_memory_in_bf16_and_a_quarter_in_int8() {
    let dir = model(&tensors());
    let load_bytes = |compute| {
        let report = lingbot_report(&dir.open(), compute, None, None).expect("a report");
        assert!(report.to_string().contains(&format!("to load in {compute}")), "{report}");
        report.networks.iter().map(|(_, network)| network.as_ref().expect("a network").load_bytes).collect::<Vec<_>>()
    };
    let numbers = |part: &dyn Fn(&str) -> bool| -> (u64, u64) {
        let shapes: Vec<_> = tensors().iter().filter(|(name, _)| part(name)).map(|(_, shape)| shape.to_vec()).collect();
        let weights = shapes.iter().map(|shape| (shape[0] * shape[1]) as u64).sum();
        (weights, shapes.iter().map(|shape| shape[0] as u64).sum())
    };
    let is_dense = |name: &str| name.starts_with("blocks.") && name.ends_with(".weight") && !name.contains("norm");
    let (of_camera, _) = numbers(&|name| is_dense(name) && name.contains(".cam_"));
    let (of_blocks, outputs) = numbers(&|name| is_dense(name) && !name.contains(".cam_"));
    let [whole, half, bytes] = [Compute::F32, Compute::Bf16, Compute::Int8].map(load_bytes);
    assert_eq!(half[0], whole[0] - 2 * (of_camera + of_blocks));
    assert_eq!(bytes[0], whole[0] - 2 * of_camera - 3 * of_blocks + 8 * outputs);
    assert_eq!((half[1], bytes[1]), (whole[1], whole[1]), "the autoencoder is f32");
    assert!(half[2] < whole[2] && bytes[2] == half[2], "the text encoder is bf16 at most");
}

#[test]
fn a_whole_model_is_complete_and_its_numbers_are_those_of_its_files() {
    let dir = model(&tensors());
    let report = lingbot_report(&dir.open(), Compute::F32, None, None).expect("a report");
    assert!(report.is_complete(), "{report}");
    assert_eq!((report.layout, report.lineage), (Layout::Diffusers, Lineage::V2));
    let (_, network) = &report.networks[0];
    let network = network.as_ref().expect("a transformer");
    let parameters = tensors().parameters();
    assert_eq!((network.parameters, network.load_bytes, network.tensors), (parameters, 4 * parameters, 21 + 35 * 2));
    assert_eq!(network.disk_bytes, std::fs::metadata(dir.path().join(TRANSFORMER)).expect("a file").len());
    assert_eq!(network.types, BTreeMap::from([("BF16".to_owned(), 91)]));
    let text = report.to_string();
    for part in [
        "layout: diffusers",
        "91 BF16",
        "steps [1000, 750, 500, 250]",
        "a session at 832x480, window 18",
        "in all",
        "on a GPU: ",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(text.ends_with("\ncomplete"), "{text}");
    let (shape, bytes) = report.session.as_ref().expect("a model").as_ref().expect("its own size");
    let (window, total) = (shape.window, bytes.total());
    let told = Inspection::LingBot(Box::new(report)).to_json();
    assert_eq!((&told["complete"], &told["errors"]), (&json!(true), &json!([])));
    assert_eq!(told["networks"]["transformer"]["parameters"], parameters);
    assert!(told["on_gpu"]["session_bytes"].as_u64().expect("bytes") < total, "a GPU keeps bf16");
    assert_eq!((&told["session"]["window"], &told["session"]["bytes"]["total"]), (&json!(window), &json!(total)));
}

#[test]
fn every_fault_of_a_network_is_listed() {
    let mut wrong: Vec<_> = tensors().iter().map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
    let (missing, shape) = wrong.remove(3);
    wrong[0].1 = vec![9];
    wrong.push(("stranger".to_owned(), vec![2]));
    let report =
        lingbot_report(&model(&wrong.iter().cloned().collect()).open(), Compute::F32, None, None).expect("a report");
    assert!(!report.is_complete());
    let network = report.networks[0].1.as_ref().expect("a transformer");
    assert_eq!(
        network.faults,
        [
            format!("{} is [9], expected [128]", wrong[0].0),
            format!("{missing} {shape:?} is missing"),
            "stranger [2] is not part of it".to_owned()
        ]
    );
    assert!(report.to_string().ends_with("INCOMPLETE: it will not load"));
}

#[test]
fn networks_that_do_not_fit_each_other_are_no_model() {
    let dir = model(&tensors());
    let check = |file: &str, json: serde_json::Value, part: &str| {
        let before = std::fs::read(dir.path().join(file)).expect("a file");
        dir.write(file, json.to_string());
        let reason = lingbot_report(&dir.open(), Compute::F32, None, None).expect("a report").config.expect_err(part);
        assert!(reason.contains(part), "{reason:?} does not say {part:?}");
        dir.write(file, before);
    };
    let vae = json!({"base_dim": 2, "dim_mult": [1, 2, 4], "temperal_downsample": [true, true]});
    check("vae/config.json", vae, "the side of a latent value in pixels is 4; it must be 8");
    let vae = json!({"base_dim": 2, "temperal_downsample": [true, true, true]});
    check("vae/config.json", vae, "the video frames of a latent frame is 8; it must be 4");
    let vae = json!({"base_dim": 2, "z_dim": 4, "latents_mean": [0, 0, 0, 0], "latents_std": [1, 1, 1, 1]});
    check("vae/config.json", vae, "z_dim is 4; it must be 16");
    let text = json!({"vocab_size": 7, "d_model": 5, "d_kv": 2, "d_ff": 6, "num_layers": 1, "num_heads": 2});
    check("text_encoder/config.json", text, "d_model is 5; it must be 4");
}

#[test]
fn a_transformer_alone_is_described_by_its_tensors() {
    let dir = TempDir::new();
    dir.write("model.safetensors", file(&tensors(), Dtype::F32));
    let report = lingbot_report(&dir.open(), Compute::F32, None, None).expect("a report");
    assert_eq!(report.layout, Layout::TransformerOnly);
    assert!(report.networks[0].1.as_ref().is_ok_and(|network| network.faults.is_empty()), "{report}");
    let [reason, other] = [1, 2].map(|network: usize| report.networks[network].1.as_ref().expect_err("not there"));
    assert!(reason.contains("holds no vae") && other.contains("holds no text_encoder"), "{report}");
    let read = TransformerConfig::read(&dir.open()).expect("told from the tensors");
    assert_eq!(read, serde_json::from_value(small_transformer()).expect("a configuration"));
    let half = tensors().iter().take(4).map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
    dir.write("model.safetensors", file(&half, Dtype::F32));
    let error = TransformerConfig::read(&dir.open()).expect_err("half a transformer").to_string();
    assert!(error.contains("no config.json, and no tensor"), "{error}");
}

#[test]
fn the_first_generation_is_told_by_its_name() {
    let check = |folder: &str, index: &str, lineage| {
        let dir = TempDir::new();
        dir.write(&format!("{folder}/config.json"), small_transformer().to_string());
        dir.write(&format!("{folder}/model.safetensors"), file(&tensors(), Dtype::F32))
            .write("model_index.json", index);
        assert_eq!(Lineage::of(&dir.open()).expect("a lineage"), lineage, "{folder} {index}");
    };
    check("transformer", "{}", Lineage::V2);
    check("transformers", "{}", Lineage::V2);
    check("lingbot_world_fast", "{}", Lineage::V1Fast);
    check("transformer", r#"{"_name_or_path": "robbyant/LingBot-World-Fast-diffusers"}"#, Lineage::V1Fast);
    check("transformer", r#"{"_name_or_path": "robbyant/lingbot-world-v2-14b-causal-fast-diffusers"}"#, Lineage::V2);
}

/// `inspect` says complete, `load_world` loads: one must not go without the other.
#[track_caller]
fn assert_told(dir: &TempDir, complete: bool, said: &str) {
    let report = lingbot_report(&dir.open(), Compute::F32, None, None);
    let says = report.as_ref().is_ok_and(Report::is_complete);
    let text = report.map_or_else(|error| error.to_string(), |report| report.to_string());
    let loads = crate::load_world(&dir.open(), &crate::Device::cpu());
    let error = loads.as_ref().err().map(ToString::to_string);
    assert_eq!((says, loads.is_ok()), (complete, complete), "{text}\n{error:?}");
    assert!(text.contains(said), "{text:?} does not say {said:?}");
    assert!(complete || error.as_ref().is_some_and(|error| error.contains(said)), "{error:?} does not say {said:?}");
}

#[test]
fn it_says_complete_exactly_of_what_loads() {
    let whole = || model(&tensors());
    assert_told(&whole(), true, "complete");
    let changed = |path: &str, content: &[u8], said: &str| {
        let dir = whole();
        dir.write(path, content);
        assert_told(&dir, false, said);
    };
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n";
    for path in [
        TRANSFORMER,
        "transformer/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "text_encoder/model.safetensors",
        "text_encoder/config.json",
        "tokenizer/tokenizer.json",
        "causeway.json",
        "model_index.json",
        "presets.json",
        "first_frames/prompts.json",
    ] {
        changed(path, pointer, &format!("{path}: "));
        changed(path, pointer, "git-lfs pointer");
        changed(path, b"<!DOCTYPE html><html>", "web page");
        changed(path, b"", "empty");
    }
    changed("tokenizer/tokenizer.json", b"not JSON", "tokenizer/tokenizer.json: ");
    let large = tokenizer(&json!({"<unk>": 0, "</s>": 1, "hill": 7}));
    changed("tokenizer/tokenizer.json", large.as_bytes(), "\"hill\" is number 7; the text encoder knows 7");
    changed("first_frames/prompts.json", br#"{"gone.png": {"prompt": "a hill"}}"#, "first_frames/gone.png");
    changed("causeway.json", br#"{"fps": 0}"#, "fps is 0");
    let bytes = std::fs::read(whole().path().join(TRANSFORMER)).expect("a file");
    changed(TRANSFORMER, &bytes[..bytes.len() / 2], "truncated");
    let dir = whole();
    std::fs::remove_dir_all(dir.path().join("tokenizer")).expect("a folder");
    assert_told(&dir, false, "holds no tokenizer");
}

#[test]
fn a_byte_order_mark_in_any_text_is_read_over() {
    let dir = model(&tensors());
    dir.write("causeway.json", "{}").write("presets.json", "[]").write("model_index.json", "{}");
    for path in [
        "transformer/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "tokenizer/tokenizer.json",
        "causeway.json",
        "presets.json",
        "model_index.json",
    ] {
        let text = std::fs::read(dir.path().join(path)).expect("a file");
        dir.write(path, [b"\xef\xbb\xbf", text.as_slice()].concat());
    }
    assert_told(&dir, true, "complete");
}

#[test]
fn weights_that_are_not_finite_are_found_in_every_network_and_type() {
    // How a file of each network ends: bf16, f32, f16.
    for (path, not_finite) in [
        (TRANSFORMER, &[0xc0, 0x7f][..]),
        (TRANSFORMER, &[0x80, 0xff]),
        ("vae/diffusion_pytorch_model.safetensors", &[0, 0, 0xc0, 0x7f]),
        ("vae/diffusion_pytorch_model.safetensors", &[0, 0, 0x80, 0x7f]),
        ("text_encoder/model.safetensors", &[0, 0x7e]),
        ("text_encoder/model.safetensors", &[0, 0xfc]),
    ] {
        let dir = model(&tensors());
        let mut bytes = std::fs::read(dir.path().join(path)).expect("a file");
        let end = bytes.len() - not_finite.len();
        bytes[end..].copy_from_slice(not_finite);
        dir.write(path, bytes);
        assert_told(&dir, false, &format!("{path}: tensor "));
        assert_told(&dir, false, "a weight is a finite number");
    }
}
