//! A prompt becomes the context that the transformer's cross-attention reads.
//!
//! The context always has `text_len` rows. Rows past the prompt are zero, and the transformer attends to them like to
//! any other: it was trained that way.

use ops::{Device, Error, Result, Tensor};
use tokenizers::Tokenizer;

use super::umt5::Umt5;
use super::umt5::config::TextConfig;
use crate::load::error::LoadError;
use crate::load::file::File;
use crate::load::model_dir::ModelDir;
use crate::load::weights::Weights;

/// Prompts in, contexts out.
pub struct TextEncoder {
    tokens: PromptTokens,
    encoder: Umt5,
    device: Device,
    width: usize,
}

/// Prompts in, token numbers out: the half of a [`TextEncoder`] that has no weights.
pub struct PromptTokens {
    tokenizer: Tokenizer,
    text_len: usize,
    /// The token that ends every prompt, where the model was trained with one.
    eos: Option<u32>,
}

impl PromptTokens {
    /// The tokenizer of a model directory, for prompts of `text_len` tokens. An error if it cannot be used with a text
    /// encoder of this configuration.
    pub fn read(
        dir: &ModelDir,
        config: &TextConfig,
        text_len: usize,
        append_eos: bool,
    ) -> std::result::Result<PromptTokens, LoadError> {
        PromptTokens::new(&dir.tokenizer()?, config, text_len, append_eos)
    }

    /// From `tokenizer.json`. Its padding and truncation are not used; `text_len` is.
    pub fn new(
        file: &File,
        config: &TextConfig,
        text_len: usize,
        append_eos: bool,
    ) -> std::result::Result<PromptTokens, LoadError> {
        let refuse = |reason: String| LoadError::file(file.name(), reason);
        // Parsed as any JSON first: that error says more than the tokenizer's own, which knows only that no kind fits.
        file.json::<serde::de::IgnoredAny>()?;
        let mut tokenizer = Tokenizer::from_bytes(file.text()?).map_err(|error| refuse(error.to_string()))?;
        tokenizer.with_padding(None).with_truncation(None).map_err(|error| refuse(error.to_string()))?;
        // A token without a row in the table would be an error in the middle of a session.
        if let Some((token, id)) = tokenizer.get_vocab(true).into_iter().max_by_key(|&(_, id)| id)
            && id as usize >= config.vocab_size
        {
            return Err(refuse(format!(
                "token {token:?} is number {id}; the text encoder knows {}",
                config.vocab_size
            )));
        }
        let eos = match append_eos {
            true => Some(
                tokenizer
                    .token_to_id("</s>")
                    .ok_or_else(|| refuse("there is no </s>, which ends every prompt".into()))?,
            ),
            false => None,
        };
        assert!(text_len > 0, "a context has rows");
        Ok(PromptTokens { tokenizer, text_len, eos })
    }

    /// The prompt's own tokens, at most `text_len`: a longer prompt loses its end, but keeps its `</s>`.
    pub fn of(&self, prompt: &str) -> Result<Vec<u32>> {
        let encoding = self.tokenizer.encode_fast(prompt, false).map_err(Error::new)?;
        let room = self.text_len - usize::from(self.eos.is_some());
        let mut tokens: Vec<u32> = encoding.get_ids().iter().copied().take(room).collect();
        tokens.extend(self.eos);
        Ok(tokens)
    }
}

impl TextEncoder {
    /// `weights` holds the tensors that [`tensors::text_encoder`](crate::wan::tensors::text_encoder) lists.
    pub fn load(
        config: &TextConfig,
        weights: &Weights,
        tokens: PromptTokens,
    ) -> std::result::Result<TextEncoder, LoadError> {
        let device = weights.device().clone();
        Ok(TextEncoder { tokens, encoder: Umt5::load(config, weights)?, device, width: config.d_model })
    }

    /// How prompts become token numbers.
    pub fn tokens(&self) -> &PromptTokens {
        &self.tokens
    }

    /// The context of a prompt: `(text_len, d_model)`.
    pub fn encode(&self, prompt: &str) -> Result<Tensor> {
        let (tokens, rows) = (self.tokens.of(prompt)?, self.tokens.text_len);
        if tokens.is_empty() {
            return Tensor::zeros([rows, self.width], &self.device);
        }
        self.encoder.encode(&tokens)?.pad_with_zeros(0, 0, rows - tokens.len())
    }
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;
    use serde_json::{Value, json};

    use super::*;
    use crate::fixture::file_as;
    use crate::load::weights::Checkpoint;
    use crate::wan::tensors;

    const CONFIG: TextConfig = TextConfig {
        vocab_size: 5,
        d_model: 4,
        d_kv: 2,
        d_ff: 6,
        num_layers: 1,
        num_heads: 2,
        relative_attention_num_buckets: 8,
        relative_attention_max_distance: 16,
        layer_norm_epsilon: 1e-6,
    };

    /// A whole-word tokenizer that would pad and truncate by itself if it were let.
    fn tokenizer(vocab: Value) -> Value {
        json!({
            "version": "1.0",
            "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
            "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                        "pad_type_id": 0, "pad_token": "<pad>"},
            "added_tokens": [],
            "normalizer": null,
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": null,
            "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
        })
    }

    fn vocab() -> Value {
        json!({"<pad>": 0, "</s>": 1, "<unk>": 2, "red": 3, "hill": 4})
    }

    fn prompt_tokens(vocab: Value, text_len: usize, append_eos: bool) -> std::result::Result<PromptTokens, LoadError> {
        let file = File::new("model/tokenizer.json", tokenizer(vocab).to_string().into_bytes());
        PromptTokens::new(&file, &CONFIG, text_len, append_eos)
    }

    #[test]
    fn a_prompt_is_cut_to_the_context_and_keeps_its_end_mark() {
        let check = |append_eos, prompt: &str, expected: &[u32]| {
            let tokens = prompt_tokens(vocab(), 4, append_eos).expect("a tokenizer");
            assert_eq!(tokens.of(prompt).expect("tokens"), expected, "{prompt:?}");
        };
        check(true, "", &[1]);
        check(true, "red hill", &[3, 4, 1]);
        check(true, "red blue hill", &[3, 2, 4, 1]);
        check(true, "red red red hill hill", &[3, 3, 3, 1]);
        check(false, "", &[]);
        check(false, "red red red hill hill", &[3, 3, 3, 4]);
    }

    #[test]
    fn rows_past_the_prompt_are_zero_and_an_empty_prompt_is_all_zero() -> Result<()> {
        let tensors = tensors::text_encoder(&CONFIG);
        let checkpoint = Checkpoint::from_bytes(&file_as(&tensors, Dtype::F32, str::to_owned)).expect("a file");
        let weights = checkpoint.weights(&tensors, &Device::cpu()).expect("every tensor");
        let tokens = prompt_tokens(vocab(), 4, false).expect("a tokenizer");
        let encoder = TextEncoder::load(&CONFIG, &weights, tokens).expect("a text encoder");
        checkpoint.finish(&tensors).expect("every tensor is read");
        for (prompt, len) in [("", 0), ("hill", 1), ("red hill", 2), ("red hill red hill red", 4)] {
            let context = encoder.encode(prompt)?;
            assert_eq!(context.dims(), [4, 4]);
            let rows = context.to_vec::<f32>()?;
            let is_zero = |row: &[f32]| row.iter().all(|&x| x == 0.0);
            assert!(
                !rows[..len * 4].chunks(4).any(is_zero) && rows[len * 4..].chunks(4).all(is_zero),
                "{prompt:?}: {rows:?}"
            );
        }
        Ok(())
    }

    #[test]
    fn a_tokenizer_that_does_not_fit_is_refused() {
        let check = |vocab: Value, reason: &str| {
            let error = prompt_tokens(vocab, 4, true).err().expect("a refusal").to_string();
            assert!(error.contains("model/tokenizer.json") && error.contains(reason), "{error}");
        };
        check(json!({"<unk>": 0, "red": 5, "</s>": 1}), "\"red\" is number 5; the text encoder knows 5");
        check(json!({"<unk>": 0, "red": 3}), "no </s>");
        check(json!({"<unk>": "zero"}), "");
    }
}
