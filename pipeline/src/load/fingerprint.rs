//! A fingerprint of a model: two models of the same fingerprint draw the same video from the same inputs.
//!
//! Hashing every weight would read 28 GB. Training moves every tensor, so the name, type, shape and first kilobyte of each
//! tell models apart; files of settings and the tokenizer are hashed whole.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::error::LoadError;
use super::model_dir::ModelDir;
use super::weights::Checkpoint;
use crate::lingbot::recipe::QUICK_STEPS;

/// Every file of settings that a model may have.
const SETTINGS: [&str; 10] = [
    "causeway.json",
    "config.json",
    "transformer/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/chat_template.jinja",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/words.json",
];

/// Bytes of each tensor that are hashed.
const OF_A_TENSOR: usize = 1024;

/// Hexadecimal digits of a fingerprint: 128 bits.
const DIGITS: usize = 32;

/// Settings without the key that says how many steps a chunk has that a person waits for. A chunk's input says in how many
/// it is drawn, so a recording from when the setting was another one draws the same video.
fn without_quick_steps(settings: &[u8]) -> Cow<'_, [u8]> {
    let key = format!("\"{QUICK_STEPS}\"");
    let Ok(text) = std::str::from_utf8(settings) else { return settings.into() };
    let Some((before, rest)) = text.split_once(&key) else { return settings.into() };
    let value = |byte: char| byte.is_ascii_digit() || byte.is_whitespace() || byte == ':';
    let after = rest.trim_start_matches(value);
    match after.strip_prefix(',') {
        Some(after) => [before, after.trim_start()].concat().into_bytes().into(),
        // The last key: the comma before it goes, too.
        None => {
            [before.trim_end().trim_end_matches(','), &rest[rest.len() - after.len()..]].concat().into_bytes().into()
        }
    }
}

/// A fingerprint in the making.
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    /// Of the settings of this model; its networks follow.
    pub(crate) fn of_settings(dir: &ModelDir) -> Result<Fingerprint, LoadError> {
        let mut fingerprint = Fingerprint(Sha256::new());
        for path in SETTINGS.into_iter().filter(|path| dir.has(path)) {
            fingerprint.add(path.as_bytes());
            fingerprint.add(&without_quick_steps(dir.read(path)?.bytes()));
        }
        Ok(fingerprint)
    }

    /// The next network.
    pub(crate) fn network(&mut self, checkpoint: &Checkpoint) -> Result<(), LoadError> {
        for (name, entry) in checkpoint.tensors() {
            self.add(name.as_bytes());
            self.add(format!("{} {:?}", entry.dtype, entry.shape).as_bytes());
            let bytes = checkpoint.bytes(name)?;
            self.add(&bytes[..bytes.len().min(OF_A_TENSOR)]);
        }
        Ok(())
    }

    /// In hexadecimal digits.
    pub(crate) fn finish(self) -> String {
        let hash = self.0.finalize();
        let mut digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.truncate(DIGITS);
        digits
    }

    /// With its length, so that no two lists of parts are the same bytes.
    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;
    use safetensors::tensor::{TensorView, serialize};

    use super::*;

    fn of(name: &str, numbers: &[f32], shape: &[usize]) -> String {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).expect("a tensor");
        let file = serialize([(name, view)], None).expect("a file");
        let mut print = Fingerprint(Sha256::new());
        print.network(&Checkpoint::from_bytes(&file).expect("a checkpoint")).expect("readable");
        print.finish()
    }

    #[test]
    fn a_recipe_is_the_same_whatever_it_says_of_quick_steps() {
        let check = |with: &str, without: &str| {
            let found = without_quick_steps(with.as_bytes());
            assert_eq!(String::from_utf8_lossy(&found), without);
        };
        let before = "{\n  \"steps\": 24,\n  \"text_len\": 24\n}\n";
        check(before, before);
        check("{\n  \"steps\": 24,\n  \"quick_steps\": 8,\n  \"text_len\": 24\n}\n", before);
        check("{\"quick_steps\":6,\"steps\":24}", "{\"steps\":24}");
        check("{\"steps\": 24, \"quick_steps\" : 6}", "{\"steps\": 24}");
    }

    #[test]
    fn a_number_a_name_or_a_shape_makes_another_fingerprint() {
        let here = of("a", &[1.0, 2.0], &[2]);
        assert_eq!((here.len(), &here), (DIGITS, &of("a", &[1.0, 2.0], &[2])));
        for other in [of("a", &[1.0, 2.5], &[2]), of("b", &[1.0, 2.0], &[2]), of("a", &[1.0, 2.0], &[1, 2])] {
            assert_ne!(here, other);
        }
    }
}
