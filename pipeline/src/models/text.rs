//! A prompt becomes the context that the transformer's cross-attention reads.
//!
//! The context always has `text_len` rows. Rows past the prompt are zero, and the transformer attends to them like to any
//! other: it was trained that way.

use tokenizers::Tokenizer;

use super::umt5::Umt5;
use crate::config::TextConfig;
use crate::ops::{Device, Error, Result, Tensor};
use crate::weights::{LoadError, Weights};

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
