//! A prompt becomes the context that the transformer's cross-attention reads.
//!
//! The context always has `text_len` rows. Rows past the prompt are zero, and the transformer attends to them like to any
//! other: it was trained that way.

use tokenizers::Tokenizer;

use super::umt5::Umt5;
use crate::lingbot::config::TextConfig;
use crate::load::weights::{LoadError, Weights};
use ops::{Device, Error, Result, Tensor};

pub struct TextEncoder {
    tokenizer: Tokenizer,
    encoder: Umt5,
    width: usize,
    text_len: usize,
    /// The token that ends every prompt, where the model was trained with one.
    eos: Option<u32>,
}

impl TextEncoder {
    /// `tokenizer_json`: `tokenizer/tokenizer.json`. Its padding and truncation are not used; `text_len` is.
    pub fn load(
        config: &TextConfig,
        weights: &Weights,
        tokenizer_json: &[u8],
        text_len: usize,
        append_eos: bool,
    ) -> std::result::Result<TextEncoder, LoadError> {
        let refuse = |reason: String| LoadError::File { file: "tokenizer.json".to_owned(), reason };
        let mut tokenizer = Tokenizer::from_bytes(tokenizer_json).map_err(|error| refuse(error.to_string()))?;
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
        Ok(TextEncoder { tokenizer, encoder: Umt5::load(config, weights)?, width: config.d_model, text_len, eos })
    }

    /// The prompt's own tokens, at most `text_len`: what is too long loses its end, but keeps its `</s>`.
    pub fn tokens(&self, prompt: &str) -> Result<Vec<u32>> {
        let encoding = self.tokenizer.encode_fast(prompt, false).map_err(Error::wrap)?;
        let room = self.text_len - usize::from(self.eos.is_some());
        let mut tokens: Vec<u32> = encoding.get_ids().iter().copied().take(room).collect();
        tokens.extend(self.eos);
        Ok(tokens)
    }

    /// The context of a prompt: `(text_len, d_model)`.
    pub fn encode(&self, prompt: &str) -> Result<Tensor> {
        let tokens = self.tokens(prompt)?;
        if tokens.is_empty() {
            return Tensor::from_vec(vec![0f32; self.text_len * self.width], (self.text_len, self.width), &Device::Cpu);
        }
        self.encoder.encode(&tokens)?.pad_with_zeros(0, 0, self.text_len - tokens.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::load::weights::Checkpoint;

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

    fn checkpoint() -> Result<Checkpoint> {
        let block = "encoder.block.0.layer";
        let names: [(&str, Vec<usize>); 12] = [
            ("shared.weight", vec![5, 4]),
            ("encoder.embed_tokens.weight", vec![5, 4]),
            (&format!("{block}.0.SelfAttention.q.weight"), vec![4, 4]),
            (&format!("{block}.0.SelfAttention.k.weight"), vec![4, 4]),
            (&format!("{block}.0.SelfAttention.v.weight"), vec![4, 4]),
            (&format!("{block}.0.SelfAttention.o.weight"), vec![4, 4]),
            (&format!("{block}.0.SelfAttention.relative_attention_bias.weight"), vec![8, 2]),
            (&format!("{block}.0.layer_norm.weight"), vec![4]),
            (&format!("{block}.1.DenseReluDense.wi_0.weight"), vec![6, 4]),
            (&format!("{block}.1.DenseReluDense.wi_1.weight"), vec![6, 4]),
            (&format!("{block}.1.DenseReluDense.wo.weight"), vec![4, 6]),
            (&format!("{block}.1.layer_norm.weight"), vec![4]),
        ];
        let mut tensors = HashMap::from([("encoder.final_layer_norm.weight".to_owned(), tensor(&[4])?)]);
        for (name, shape) in names {
            tensors.insert(name.to_owned(), tensor(&shape)?);
        }
        let bytes = safetensors::serialize(tensors.iter().map(|(name, tensor)| (name.clone(), tensor)), None);
        Ok(Checkpoint::from_bytes(&bytes.map_err(Error::wrap)?).expect("a safetensors file"))
    }

    fn tensor(shape: &[usize]) -> Result<Tensor> {
        let values = (0..shape.iter().product()).map(|i: usize| (i as f32 * 0.7).cos()).collect::<Vec<_>>();
        Tensor::from_vec(values, shape, &Device::Cpu)
    }

    fn load(vocab: Value, text_len: usize, append_eos: bool) -> std::result::Result<TextEncoder, LoadError> {
        let checkpoint = checkpoint().expect("weights");
        let json = tokenizer(vocab).to_string();
        let encoder = TextEncoder::load(&CONFIG, &checkpoint.root(), json.as_bytes(), text_len, append_eos)?;
        checkpoint.finish().expect("every tensor is read, or known to be one that need not be");
        Ok(encoder)
    }

    #[test]
    fn a_prompt_is_cut_to_the_context_and_keeps_its_end_mark() -> Result<()> {
        let check = |append_eos, prompt: &str, expected: &[u32]| {
            let encoder = load(vocab(), 4, append_eos).expect("a text encoder");
            assert_eq!(encoder.tokens(prompt).expect("tokens"), expected, "{prompt:?}");
        };
        check(true, "", &[1]);
        check(true, "red hill", &[3, 4, 1]);
        check(true, "red blue hill", &[3, 2, 4, 1]);
        check(true, "red red red hill hill", &[3, 3, 3, 1]);
        check(false, "", &[]);
        check(false, "red red red hill hill", &[3, 3, 3, 4]);
        Ok(())
    }

    #[test]
    fn rows_past_the_prompt_are_zero_and_an_empty_prompt_is_all_zero() -> Result<()> {
        let encoder = load(vocab(), 4, false).expect("a text encoder");
        let is_zero = |row: &Vec<f32>| row.iter().all(|&x| x == 0.0);
        for (prompt, len) in [("", 0), ("hill", 1), ("red hill", 2), ("red hill red hill red", 4)] {
            let context = encoder.encode(prompt)?.to_vec2::<f32>()?;
            assert_eq!((context.len(), context[0].len()), (4, 4));
            assert!(
                !context[..len].iter().any(is_zero) && context[len..].iter().all(is_zero),
                "{prompt:?}: {context:?}"
            );
        }
        Ok(())
    }

    #[test]
    fn a_tokenizer_that_does_not_fit_is_refused() {
        let check = |vocab: Value, reason: &str| {
            let error = load(vocab, 4, true).err().expect("a refusal").to_string();
            assert!(error.contains("tokenizer.json") && error.contains(reason), "{error}");
        };
        check(json!({"<unk>": 0, "red": 5, "</s>": 1}), "\"red\" is number 5; the text encoder knows 5");
        check(json!({"<unk>": 0, "red": 3}), "no </s>");
        check(json!({"<unk>": "zero"}), "");
    }

    #[test]
    fn impossible_buckets_are_refused() {
        for (buckets, max_distance) in [(0, 16), (6, 16), (8, 2)] {
            let config = TextConfig {
                relative_attention_num_buckets: buckets,
                relative_attention_max_distance: max_distance,
                ..CONFIG
            };
            let checkpoint = checkpoint().expect("weights");
            let error = Umt5::load(&config, &checkpoint.root()).err().expect("a refusal").to_string();
            assert!(error.contains("relative_attention_num_buckets"), "{error}");
        }
    }
}
