//! Shards, names and every way a file can be wrong.

use std::borrow::Cow;
use std::collections::BTreeSet;

use safetensors::Dtype;

use super::*;
use crate::fixture::{TempDir, file, file_as, index, value};
use crate::load::file::File;
use crate::load::tensor_list::TensorList;
use crate::wan::tensors;
use crate::wan::umt5::config::TextConfig;
use crate::wan::vae::config::VaeConfig;

const FILE: &str = "transformer/diffusion_pytorch_model.safetensors";

fn some() -> TensorList {
    [("a.weight", vec![3, 5]), ("a.bias", vec![3]), ("b.0.weight", vec![2, 1, 700]), ("scalar", vec![])]
        .map(|(name, shape)| (name.to_owned(), shape))
        .into_iter()
        .collect()
}

/// The first tensor alone, and all others.
fn dealt_out() -> (TensorList, TensorList) {
    let tensors: Vec<_> = some().iter().map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
    let (first, others) = tensors.split_at(1);
    (first.iter().cloned().collect(), others.iter().cloned().collect())
}

fn open(dir: &TempDir) -> Result<Checkpoint, LoadError> {
    Checkpoint::open(&dir.open(), Component::Transformer)
}

/// Every tensor is there with the values of `value`, as far as its type can hold them.
fn check_values(checkpoint: &Checkpoint, tensors: &TensorList, tolerance: f32) {
    let weights = checkpoint.weights(tensors, &Device::cpu()).expect("every tensor");
    for (name, _) in tensors.iter() {
        let numbers: Vec<f32> = weights.tensor(name).and_then(|t| Ok(t.to_vec()?)).expect("a tensor that was written");
        for (position, number) in numbers.into_iter().enumerate() {
            let expected = value(name, position);
            assert!((number - expected).abs() <= tolerance * expected.abs(), "{name}[{position}]: {number} {expected}");
        }
    }
    checkpoint.finish(tensors).expect("nothing but these tensors");
}

fn check_refused(result: Result<impl Sized, LoadError>, parts: &[&str]) {
    let error = result.err().expect("an error").to_string();
    for part in parts {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

#[test]
fn f32_f16_and_bf16_files_give_the_same_numbers_within_their_rounding() {
    // Half of the last place: 24, 11 and 8 bits of mantissa. An f16 below 2⁻¹⁴ has fewer, and no value here is.
    for (dtype, tolerance) in [(Dtype::F32, 0.0), (Dtype::F16, 2f32.powi(-11)), (Dtype::BF16, 2f32.powi(-8))] {
        let dir = TempDir::new();
        dir.write(FILE, file(&some(), dtype));
        check_values(&open(&dir).expect("a good file"), &some(), tolerance);
        check_values(&Checkpoint::from_bytes(&file(&some(), dtype)).expect("a good file"), &some(), tolerance);
    }
}

#[test]
fn shards_with_and_without_an_index_give_the_tensors_of_a_single_file() {
    let (first, second) = dealt_out();
    let names =
        ["diffusion_pytorch_model-00001-of-00002.safetensors", "diffusion_pytorch_model-00002-of-00002.safetensors"];
    let dir = TempDir::new();
    dir.write(&format!("transformer/{}", names[0]), file(&first, Dtype::F32));
    dir.write(&format!("transformer/{}", names[1]), file(&second, Dtype::F32));
    check_values(&open(&dir).expect("numbered shards"), &some(), 0.0);
    dir.write(&format!("{FILE}.index.json"), index(&[(names[0], &first), (names[1], &second)]));
    check_values(&open(&dir).expect("indexed shards"), &some(), 0.0);
}

#[test]
fn embedded_files_are_read_in_place() {
    static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    fn read(path: &str) -> Option<Cow<'static, [u8]>> {
        (path == "vae/diffusion_pytorch_model.safetensors")
            .then(|| Cow::Borrowed(BYTES.get_or_init(|| file(&some(), Dtype::F32)).as_slice()))
    }
    let dir = ModelDir::embedded("pocket", read);
    check_values(&Checkpoint::open(&dir, Component::Vae).expect("an embedded file"), &some(), 0.0);
    check_refused(Checkpoint::open(&dir, Component::Transformer), &["pocket: holds no transformer"]);
}

#[test]
fn a_tensor_that_is_missing_misshapen_or_left_over_is_named_with_its_file() {
    let dir = TempDir::new();
    dir.write(FILE, file(&some(), Dtype::F32));
    let checkpoint = open(&dir).expect("a good file");
    let cpu = Device::cpu();
    let root = checkpoint.weights(&some(), &cpu).expect("every tensor");
    let at = root.at("a");
    assert!(at.has("weight") && !at.has("width") && root.at("b").at(0).has("weight"));
    let one = |name: &str, shape: &[usize]| TensorList::from_iter([(name.to_owned(), shape.to_vec())]);
    let refused = |list: &TensorList, parts: &[&str]| check_refused(checkpoint.weights(list, &cpu), parts);
    refused(&one("a.width", &[7]), &[FILE, "a.width is missing", "expected shape [7]"]);
    refused(&one("a.weight", &[5, 3]), &[FILE, "a.weight has shape [3, 5]", "expected [5, 3]"]);
    check_refused(at.tensor("width"), &[FILE, "a.width is missing"]);
    let bias = one("a.bias", &[3]);
    checkpoint.weights(&bias, &cpu).and_then(|weights| weights.tensor("a.bias")).expect("it is there");
    check_refused(checkpoint.finish(&bias), &[FILE, "a.weight (shape [3, 5]) is not part of this model"]);

    let bytes = Checkpoint::from_bytes(&file(&some(), Dtype::U8)).expect("a good header");
    check_refused(bytes.weights(&bias, &cpu), &["a.bias is stored as U8; it must be F32, F16 or BF16"]);
}

#[test]
fn a_file_whose_header_cannot_be_true_is_refused() {
    let good = file(&some(), Dtype::F32);
    let header = |json: &str, data: usize| {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.bytes());
        bytes.extend(vec![0; data]);
        bytes
    };
    let check = |bytes: &[u8], reason: &str| {
        let dir = TempDir::new();
        dir.write(FILE, bytes);
        check_refused(open(&dir), &[FILE, reason]);
    };
    check(&good[..good.len() - 1], "truncated: its header describes");
    check(&good[..20], "truncated: its header takes");
    check(&good[..7], "not a safetensors file: 7 bytes");
    check(b"", "not a safetensors file: 0 bytes");
    check(&[good.as_slice(), b"x"].concat(), "longer than its header says");
    check(&[0xff; 64], "announce a header of 18446744073709551615 bytes");
    check(&header("no json", 0), "its header is not usable");
    check(&header(r#"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#, 4), "F31");
    check(&header(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4), "its header is not usable");
    check(&header(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#, 4), "not usable");
    let two = |first: &str, second: &str| {
        let tensor = |offsets: &str| format!(r#"{{"dtype":"F32","shape":[1],"data_offsets":[{offsets}]}}"#);
        header(&format!(r#"{{"a":{},"b":{}}}"#, tensor(first), tensor(second)), 8)
    };
    check(&two("0,4", "0,4"), "its header is not usable");
    check(&two("0,4", "2,6"), "its header is not usable");
    check(&two("0,4", "8,12"), "its header is not usable");
}

#[test]
fn an_index_that_does_not_fit_its_files_is_refused() {
    let (first, second) = dealt_out();
    let check = |index: &str, reason: &str| {
        let dir = TempDir::new();
        dir.write("transformer/one.safetensors", file(&first, Dtype::F32));
        dir.write("transformer/two.safetensors", file(&second, Dtype::F32));
        dir.write("transformer/again.safetensors", file(&first, Dtype::F32));
        dir.write(&format!("{FILE}.index.json"), index);
        check_refused(open(&dir), &[reason]);
    };
    check("{", "index.json: EOF");
    check("{}", "weight_map");
    check(&index(&[("three.safetensors", &first)]), "names the file three.safetensors, which is not there");
    check(&index(&[("one.safetensors", &second)]), "one.safetensors holds the tensor a.bias, which it does not");
    check(&index(&[("../transformer/one.safetensors", &first)]), "which is not a safetensors file beside it");
    let map = r#"{"weight_map": {"a.weight": "one.safetensors", "x": "again.safetensors"}}"#;
    check(map, "again.safetensors holds the tensor x, which it does not");
    // The index is right about both; the second file holds more than it says.
    let dir = TempDir::new();
    dir.write("transformer/one.safetensors", file(&first, Dtype::F32));
    dir.write("transformer/two.safetensors", file(&some(), Dtype::F32));
    dir.write(&format!("{FILE}.index.json"), index(&[("one.safetensors", &first), ("two.safetensors", &second)]));
    check_refused(open(&dir), &["tensor a.weight stands in", "one.safetensors", "two.safetensors"]);
}

/// Wan's names of an autoencoder's tensors, in Wan's numbering.
fn original_vae_name(published: &str) -> String {
    const PLAIN: [(&str, &str); 12] = [
        ("post_quant_conv.", "conv2."),
        ("quant_conv.", "conv1."),
        (".conv_in.", ".conv1."),
        (".norm_out.", ".head.0."),
        (".conv_out.", ".head.2."),
        (".mid_block.resnets.0.", ".middle.0."),
        (".mid_block.attentions.0.", ".middle.1."),
        (".mid_block.resnets.1.", ".middle.2."),
        (".down_blocks.", ".downsamples."),
        (".norm1.gamma", ".residual.0.gamma"),
        (".norm2.gamma", ".residual.3.gamma"),
        (".conv_shortcut.", ".shortcut."),
    ];
    let mut name = published.to_owned();
    if name.contains("block") {
        name = name.replace(".conv1.", ".residual.2.").replace(".conv2.", ".residual.6.");
    }
    for (new, old) in PLAIN {
        if name.contains(new) {
            name = name.replacen(new, old, 1);
            if new.ends_with("quant_conv.") {
                return name;
            }
        }
    }
    for stage in 0..4 {
        for layer in 0..3 {
            name = name
                .replace(&format!("up_blocks.{stage}.resnets.{layer}."), &format!("upsamples.{}.", 4 * stage + layer));
        }
        name = name.replace(&format!("up_blocks.{stage}.upsamplers.0."), &format!("upsamples.{}.", 4 * stage + 3));
    }
    name
}

fn original_text_name(published: &str) -> String {
    const PLAIN: [(&str, &str); 9] = [
        ("shared.", "token_embedding."),
        ("encoder.final_layer_norm.", "norm."),
        ("encoder.block.", "blocks."),
        ("layer.0.SelfAttention.relative_attention_bias.", "pos_embedding.embedding."),
        ("layer.0.SelfAttention.", "attn."),
        ("layer.0.layer_norm.", "norm1."),
        ("layer.1.layer_norm.", "norm2."),
        ("layer.1.DenseReluDense.wi_0.", "ffn.gate.0."),
        ("layer.1.DenseReluDense.wi_1.", "ffn.fc1."),
    ];
    let name = PLAIN.iter().fold(published.to_owned(), |name, (new, old)| name.replacen(new, old, 1));
    name.replacen("layer.1.DenseReluDense.wo.", "ffn.fc2.", 1)
}

#[test]
fn original_names_give_the_tensors_of_the_published_ones() {
    let tiny_vae = r#"{"base_dim": 2, "z_dim": 16}"#;
    let vae = tensors::vae(&VaeConfig::from_file(&File::new("vae", tiny_vae.as_bytes())).expect("a small autoencoder"));
    let text = tensors::text_encoder(&TextConfig {
        vocab_size: 11,
        d_model: 4,
        d_kv: 2,
        d_ff: 6,
        num_layers: 2,
        num_heads: 2,
        ..TextConfig::umt5_xxl()
    });
    let check = |component, path: &str, published: &TensorList, rename: fn(&str) -> String| {
        let names: Vec<_> =
            published.iter().map(|(name, shape)| (rename(name), name.to_owned(), shape.to_vec())).collect();
        let stored: TensorList = names.iter().map(|(old, _, shape)| (old.clone(), shape.clone())).collect();
        let unlike = names.iter().filter(|(old, new, _)| old != new).count();
        assert_eq!(names.iter().map(|(old, ..)| old).collect::<BTreeSet<_>>().len(), published.len());
        assert!(unlike > published.len() / 2, "{unlike} names differ");
        let back = |stored: &str| names.iter().find(|(old, ..)| old == stored).expect("stored").1.clone();
        let dir = TempDir::new();
        dir.write(path, file_as(&stored, Dtype::F32, back));
        let checkpoint = Checkpoint::open(&dir.open(), component).expect("original names");
        check_values(&checkpoint, published, 0.0);
        let (old, new, _) = &names[0];
        let wrong = TensorList::from_iter([(new.clone(), vec![99])]);
        check_refused(checkpoint.weights(&wrong, &Device::cpu()), &[&format!("{new} (stored as {old}) has shape")]);
    };
    check(Component::Vae, "Wan2.1_VAE.safetensors", &vae, original_vae_name);
    check(Component::Vae, "vae/Wan2.1_VAE.safetensors", &vae, original_vae_name);
    check(Component::TextEncoder, "models_t5_umt5-xxl-enc-bf16.safetensors", &text, original_text_name);

    let listed = |name: &str| original_vae_name(name);
    assert_eq!(listed("decoder.up_blocks.1.upsamplers.0.time_conv.bias"), "decoder.upsamples.7.time_conv.bias");
    assert_eq!(listed("encoder.down_blocks.3.conv_shortcut.bias"), "encoder.downsamples.3.shortcut.bias");
    assert_eq!(listed("decoder.mid_block.resnets.1.conv2.weight"), "decoder.middle.2.residual.6.weight");
    assert_eq!(listed("encoder.conv_in.weight"), "encoder.conv1.weight");
}

#[test]
fn the_embedding_of_a_text_encoder_may_stand_there_under_its_alias_or_twice() {
    let tensors = |names: &[(&str, usize)]| -> TensorList {
        names.iter().map(|&(name, rows)| (name.to_owned(), vec![rows, 2])).collect()
    };
    let (shared, alias) = ("shared.weight", "encoder.embed_tokens.weight");
    for names in [&[(alias, 3)][..], &[(shared, 3), (alias, 3)][..]] {
        let checkpoint = Checkpoint::from_bytes(&file(&tensors(names), Dtype::F32)).expect("a good file");
        let embedding = tensors(&[(shared, 3)]);
        let weights = checkpoint.weights(&embedding, &Device::cpu()).expect("the embedding");
        weights.tensor(shared).expect("the embedding");
        checkpoint.finish(&embedding).expect("the alias is not one too many");
    }
    let unlike = Checkpoint::from_bytes(&file(&tensors(&[(shared, 3), (alias, 4)]), Dtype::F32));
    check_refused(unlike, &["encoder.embed_tokens.weight has shape [4, 2]; expected [3, 2]"]);
}

#[test]
fn what_is_no_model_or_only_a_pickle_is_refused_with_what_to_do() {
    let dir = TempDir::new();
    check_refused(
        Checkpoint::open(&dir.open(), Component::Vae),
        &["holds no vae", "vae/diffusion_pytorch_model.safetensors"],
    );
    dir.write("Wan2.1_VAE.pth", "PK");
    check_refused(
        Checkpoint::open(&dir.open(), Component::Vae),
        &["Wan2.1_VAE.pth: a PyTorch pickle", "save_file(", "'Wan2.1_VAE.safetensors'"],
    );
    check_refused(ModelDir::open(dir.path().join("nowhere")), &["nowhere"]);
    check_refused(ModelDir::open(dir.path().join("Wan2.1_VAE.pth")), &["not a directory"]);
}
