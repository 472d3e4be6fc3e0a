//! Prompts: cleaning, tokens and UMT5's states against what the reference gave.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ops::{Device, Tensor};
use pipeline::load::file::File;
use pipeline::load::weights::Checkpoint;
use pipeline::wan::prompt::clean;
use pipeline::wan::tensors;
use pipeline::wan::text::{PromptTokens, TextEncoder};
use pipeline::wan::umt5::Umt5;
use pipeline::wan::umt5::config::TextConfig;

use super::{Golden, assert_close, relative_error};

/// Sums in another order, in f32.
const TOLERANCE: f64 = 1e-4;

#[test]
fn prompts_are_cleaned_as_the_reference_cleans_them() {
    super::for_each_folder("lingbot", check_prompt_cleaning);
}

#[test]
fn umt5_states_are_the_reference_s() {
    super::for_each_folder("lingbot", |dir| check_umt5(dir, &Device::cpu()));
}

#[test]
fn the_pocket_world_reads_its_prompts() {
    super::for_each_folder("pocket", |dir| check_pocket_text(dir, &super::pocket_weights()));
}

/// `prompt_clean.json`: prompts as sent → prompts as trained.
fn check_prompt_cleaning(dir: &Path) {
    let json = fs::read(dir.join("prompt_clean.json")).expect("prompt_clean.json");
    let cases: BTreeMap<String, String> = serde_json::from_slice(&json).expect("a map of texts");
    assert!(!cases.is_empty());
    for (prompt, expected) in cases {
        assert_eq!(clean(&prompt), expected, "{prompt:?}");
    }
}

/// `umt5_tiny.safetensors` and, with the same weights, `umt5_tiny_512.safetensors`.
pub(super) fn check_umt5(dir: &Path, device: &Device) {
    let tiny = Golden::open(&dir.join("umt5_tiny.safetensors"));
    let config: TextConfig = tiny.json("config");
    // The file holds inputs and outputs beside the weights, so `Checkpoint::finish` does not apply.
    let checkpoint = Checkpoint::from_bytes(&tiny.file).expect("weights");
    let weights = checkpoint.weights(&tensors::text_encoder(&config), device).expect("every tensor");
    let encoder = Umt5::load(&config, &weights).expect("the tiny UMT5");

    // Rows of padding hold what nobody reads: only as many as the prompt has are compared.
    let masks: Vec<i64> = tiny["attention_mask"].to_vec().expect("masks");
    let (_, columns) = tiny["attention_mask"].dims2().expect("(batch, tokens)");
    for (i, mask) in masks.chunks(columns).enumerate() {
        let len = mask.iter().filter(|&&seen| seen != 0).count();
        let states = check_one(&encoder, "umt5_tiny out_raw", &tiny["input_ids"], &tiny["out_raw"], i, len);
        let padded = states.pad_with_zeros(0, 0, mask.len() - len).expect("padding");
        let expected = tiny["out_zeropadded"].get(i).expect("one prompt");
        assert_close(&format!("umt5_tiny out_zeropadded {i}"), &padded, &expected, TOLERANCE);
    }

    let long = Golden::open(&dir.join("umt5_tiny_512.safetensors"));
    let (batch, len) = long["input_ids"].dims2().expect("(batch, tokens)");
    for i in 0..batch {
        check_one(&encoder, "umt5_tiny_512", &long["input_ids"], &long["out"], i, len);
    }
}

/// How far the states of the tiny UMT5 on `device` are from the reference's, as shares of their size.
pub(super) fn umt5_errors(dir: &Path, device: &Device) -> Vec<f64> {
    let tiny = Golden::open(&dir.join("umt5_tiny.safetensors"));
    let config: TextConfig = tiny.json("config");
    let checkpoint = Checkpoint::from_bytes(&tiny.file).expect("weights");
    let weights = checkpoint.weights(&tensors::text_encoder(&config), device).expect("every tensor");
    let encoder = Umt5::load(&config, &weights).expect("the tiny UMT5");
    let long = Golden::open(&dir.join("umt5_tiny_512.safetensors"));
    let (batch, _) = long["input_ids"].dims2().expect("(batch, tokens)");
    let error = |i: usize| {
        let ids: Vec<i64> = long["input_ids"].get(i).and_then(|ids| ids.to_vec()).expect("token numbers");
        let ids: Vec<u32> = ids.iter().map(|&id| u32::try_from(id).expect("a token number")).collect();
        relative_error(&encoder.encode(&ids).expect("states"), &long["out"].get(i).expect("one prompt"))
    };
    (0..batch).map(error).collect()
}

fn check_one(encoder: &Umt5, what: &str, ids: &Tensor, expected: &Tensor, i: usize, len: usize) -> Tensor {
    let ids: Vec<i64> = ids.get(i).and_then(|ids| ids.to_vec()).expect("token numbers");
    let ids: Vec<u32> = ids[..len].iter().map(|&id| u32::try_from(id).expect("a token number")).collect();
    let states = encoder.encode(&ids).expect("states");
    let expected = expected.get(i).and_then(|rows| rows.narrow(0, 0, len)).expect("as many rows as tokens");
    assert_close(&format!("{what} {i}"), &states, &expected, TOLERANCE);
    states
}

/// `stream.safetensors` of a model directory: prompts to token numbers to contexts, through files as they are shipped.
fn check_pocket_text(dir: &Path, model: &Path) {
    let stream = Golden::open(&dir.join("stream.safetensors"));
    let meta: serde_json::Value = stream.json("meta");
    let read = |path: &str| fs::read(model.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let config: TextConfig = serde_json::from_slice(&read("text_encoder/config.json")).expect("a UMT5 configuration");
    let checkpoint = Checkpoint::from_bytes(&read("text_encoder/model.safetensors")).expect("weights");
    let text_len = meta["policy"]["text_len"].as_u64().expect("a length") as usize;
    let append_eos = meta["policy"]["append_eos"].as_bool().expect("yes or no");
    let file = File::new("tokenizer.json", read("tokenizer/tokenizer.json"));
    let tokens = PromptTokens::new(&file, &config, text_len, append_eos).expect("a tokenizer");
    let list = tensors::text_encoder(&config);
    let weights = checkpoint.weights(&list, &Device::cpu()).expect("every tensor");
    let encoder = TextEncoder::load(&config, &weights, tokens).expect("a text encoder");
    checkpoint.finish(&list).expect("no other tensor");

    let check = |prompt: &serde_json::Value, ids: &str, context: &str| {
        let prompt = clean(prompt.as_str().expect("a prompt"));
        let mut tokens: Vec<i32> = encoder
            .tokens()
            .of(&prompt)
            .expect("tokens")
            .into_iter()
            .map(|id| i32::try_from(id).expect("small"))
            .collect();
        tokens.resize(text_len, 0);
        let expected: Vec<i32> = stream[ids].get(0).and_then(|ids| ids.to_vec()).expect("token numbers");
        assert_eq!(tokens, expected, "{ids} of {prompt:?}");
        let expected = stream[context].get(0).expect("one prompt");
        assert_close(context, &encoder.encode(&prompt).expect("a context"), &expected, TOLERANCE);
    };
    check(&meta["prompt"], "token_ids", "context");
    check(&meta["switch"]["prompt"], "token_ids_after_switch", "context_after_switch");

    let empty = encoder.encode("").expect("a context");
    let width = *stream["context"].dims().last().expect("a width");
    assert_close("no prompt", &empty, &Tensor::zeros([text_len, width], &Device::cpu()).expect("zeros"), 0.0);
}
