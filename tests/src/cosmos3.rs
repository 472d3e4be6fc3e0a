//! A small Cosmos3 model as a directory, laid out as the published ones are: made of the golden weights, and of a tokenizer
//! that knows a few words.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use pipeline::Device;
use pipeline::cosmos3::Cosmos3;
use pipeline::load::error::LoadError;
use pipeline::load::model_dir::ModelDir;
use pipeline::world::{ClipAsk, Init, Size};
use safetensors::SafeTensors;
use safetensors::tensor::{TensorView, serialize_to_file};
use serde_json::{Value, json};

/// A directory of its own, removed with the value.
pub struct ModelFolder(PathBuf);

/// The words that its tokenizer knows, after the special tokens. Every other word is the last of these.
const WORDS: [&str; 8] = ["user", "assistant", "system", "red", "hill", "sea", "boat", "?"];
const SPECIAL: [&str; 4] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>"];
/// Where published models keep their transformer.
pub const TRANSFORMER: &str = "transformer/diffusion_pytorch_model.safetensors";

impl ModelFolder {
    /// A usual model of the golden files in `golden`: `dit_nano/`, `vae/`.
    pub fn of(golden: &Path) -> ModelFolder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("causeway-cosmos3-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = ModelFolder(std::env::temp_dir().join(name));
        folder.write_json("model_index.json", &json!({"_class_name": "Cosmos3OmniPipeline"}));
        folder.copy(&golden.join("dit_nano/config.json"), "transformer/config.json");
        folder.copy(&golden.join("dit_nano/model.safetensors"), TRANSFORMER);
        folder.copy(&golden.join("vae/config.json"), "vae/config.json");
        folder.copy(&golden.join("vae/diffusion_pytorch_model.safetensors"), "vae/diffusion_pytorch_model.safetensors");
        let scheduler = json!({"_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction"});
        folder.write_json("scheduler/scheduler_config.json", &scheduler);
        folder.write_json("text_tokenizer/tokenizer.json", &tokenizer());
        folder
    }

    /// The same model with these noise levels, as a distilled one has them.
    pub fn distilled(golden: &Path, levels: &[f64]) -> ModelFolder {
        let folder = ModelFolder::of(golden);
        let fixed = json!({"sample_type": "sde", "t_list": levels});
        let scheduler = json!({
            "_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0, "stochastic_sampling": true,
            "fixed_step_sampler_config": fixed
        });
        folder.write_json("scheduler/scheduler_config.json", &scheduler);
        folder
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// As a model directory.
    pub fn open(&self) -> ModelDir {
        ModelDir::open(&self.0).expect("a directory")
    }

    /// The model.
    pub fn load(&self) -> Result<Cosmos3, LoadError> {
        self.load_on(&Device::cpu())
    }

    /// The model, computed with on `device`.
    pub fn load_on(&self, device: &Device) -> Result<Cosmos3, LoadError> {
        Cosmos3::load(&self.open(), device)
    }

    /// Put a file of JSON in place of what is there.
    pub fn write_json(&self, path: &str, json: &Value) {
        self.write(path, json.to_string().as_bytes());
    }

    /// Put a file in place of what is there.
    pub fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().expect("a file stands in a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }

    /// The JSON of a file.
    pub fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.0.join(path)).expect("a file")).expect("JSON")
    }

    /// Deal the transformer's tensors out to two shards, with an index beside them.
    pub fn split_in_two(&self) {
        let whole = std::fs::read(self.0.join(TRANSFORMER)).expect("a file");
        let tensors = SafeTensors::deserialize(&whole).expect("a safetensors file").tensors();
        let shard = |number: usize| format!("diffusion_pytorch_model-0000{}-of-00002.safetensors", number + 1);
        let mut map = serde_json::Map::new();
        for number in 0..2 {
            let part: Vec<_> =
                tensors.iter().enumerate().filter(|(i, _)| i % 2 == number).map(|(_, t)| t.clone()).collect();
            map.extend(part.iter().map(|(name, _)| (name.clone(), Value::from(shard(number)))));
            serialize_to_file(part, None, &self.0.join("transformer").join(shard(number))).expect("a shard");
        }
        self.write_json(&format!("{TRANSFORMER}.index.json"), &json!({"metadata": {}, "weight_map": map}));
        std::fs::remove_file(self.0.join(TRANSFORMER)).expect("the whole file");
    }

    /// Write the transformer's tensors again, changed: `change` is given each and gives what stands there instead, or nothing.
    /// Then `more` are added, zeros of this name and shape.
    pub fn change_transformer(
        &self,
        change: impl Fn(&str, Vec<usize>) -> Option<(String, Vec<usize>)>,
        more: &[(&str, &[usize])],
    ) {
        let whole = std::fs::read(self.0.join(TRANSFORMER)).expect("a file");
        let mut changed: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        for (name, view) in SafeTensors::deserialize(&whole).expect("a safetensors file").tensors() {
            if let Some((name, shape)) = change(&name, view.shape().to_vec()) {
                let mut bytes = view.data().to_vec();
                bytes.resize(4 * shape.iter().product::<usize>(), 0);
                changed.push((name, shape, bytes));
            }
        }
        for (name, shape) in more {
            changed.push(((*name).to_owned(), shape.to_vec(), vec![0; 4 * shape.iter().product::<usize>()]));
        }
        let views = changed.iter().map(|(name, shape, bytes)| {
            (
                name.clone(),
                TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).expect("as many as the shape has"),
            )
        });
        serialize_to_file(views, None, &self.0.join(TRANSFORMER)).expect("a file");
    }

    fn copy(&self, from: &Path, to: &str) {
        self.write(to, &std::fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())));
    }
}

impl Drop for ModelFolder {
    fn drop(&mut self) {
        // Best effort: a test that failed has something better to say.
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The golden files of this repository.
pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cosmos3")
}

/// A clip of this size and length, with everything else as the card says.
pub fn ask(prompt: &str, size: Size, frames: usize, seed: u64) -> ClipAsk {
    let init = Init {
        prompt: prompt.to_owned(),
        first_frame: None,
        size,
        seed,
        sink: 0,
        window: 1,
        first_chunk: None,
        condition_frames: None,
    };
    ClipAsk::new(init, frames, Vec::new())
}

fn tokenizer() -> Value {
    let special = |(id, token): (usize, &&str)| {
        json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
               "special": true})
    };
    let vocab: serde_json::Map<String, Value> =
        SPECIAL.iter().chain(&WORDS).enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null, "decoder": null,
        "added_tokens": SPECIAL.iter().enumerate().map(special).collect::<Vec<_>>(),
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "unk_token": "?", "vocab": vocab}
    })
}
