//! A prompt becomes token numbers: a sentence about the clip's length or a structured caption, the chat that the model was
//! trained on, the tokenizer, and two tokens that say that a picture follows.

use ops::{Error, Result};
use serde_json::Value;
use tokenizers::Tokenizer;

use super::caption;
use super::chat::{ChatTemplate, TURN_END, TURN_START, of_qwen};
use crate::load::error::LoadError;
use crate::load::file::File;
use crate::load::model_dir::ModelDir;
use crate::world::Size;

/// What a prompt is put into words for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scene {
    /// Of the clip.
    pub size: Size,
    /// Video frames; 1 is a picture.
    pub frames: usize,
    /// Video frames a second.
    pub fps: f64,
}

/// The text that the tokenizer is given for a prompt. A negative prompt is used as it is instead.
///
/// `says_duration`: whether a prompt in prose is told the clip's length. A JSON object is always told.
pub fn final_prompt(prompt: &str, scene: &Scene, says_duration: bool) -> String {
    let Scene { size, frames, fps } = *scene;
    match caption::structured(prompt, size, frames, fps) {
        Some(caption) => caption,
        None if says_duration && frames > 1 => {
            // A tie is decided on the exact binary value, by Rust as by Python: 1.25 is 1.2, 3.75 is 3.8.
            let seconds = frames as f64 / fps;
            format!("{prompt} The video is {seconds:.1} seconds long and is of {fps} FPS.")
        }
        None => prompt.to_owned(),
    }
}

/// What the model is told to be, where a request wants that.
pub fn system_prompt(scene: &Scene) -> &'static str {
    match scene.frames {
        1 => "You are a helpful assistant who will generate images from a given prompt.",
        _ => "You are a helpful assistant who will generate videos from a given prompt.",
    }
}

/// Prompts in, token numbers out.
pub struct PromptTokens {
    tokenizer: Tokenizer,
    /// `None`: the checkpoint brings none.
    template: Option<ChatTemplate>,
    /// Ends the text.
    eos: u32,
    /// Begins the picture.
    vision_start: u32,
}

const FOLDER: &str = "text_tokenizer";
const VISION_START: &str = "<|vision_start|>";

impl PromptTokens {
    /// The tokenizer of a model directory. An error if it cannot be used with a transformer that knows `vocab_size` tokens, or
    /// brings a chat of another kind.
    pub fn read(dir: &ModelDir, vocab_size: usize) -> std::result::Result<PromptTokens, LoadError> {
        let path = |name: &str| format!("{FOLDER}/{name}");
        let config_path = path("tokenizer_config.json");
        let config = if dir.has(&config_path) { dir.read(&config_path)?.json()? } else { Value::Null };
        // A token is told as a text, or as an object that holds it.
        let eos = config["eos_token"].as_str().or(config["eos_token"]["content"].as_str()).unwrap_or(TURN_END);
        let tokens = PromptTokens::new(&dir.read(&path("tokenizer.json"))?, vocab_size, eos)?;
        let template = path("chat_template.jinja");
        if dir.has(&template) {
            let file = dir.read(&template)?;
            return tokens.with_template(file.name(), &String::from_utf8_lossy(file.text()?), eos);
        }
        // Older tokenizers have it in their configuration: one text, or several with names.
        let named = config["chat_template"].as_array().and_then(|all| all.iter().find(|one| one["name"] == "default"));
        match config["chat_template"].as_str().or_else(|| named?["template"].as_str()) {
            Some(text) => tokens.with_template(&config_path, text, eos),
            None => Ok(tokens),
        }
    }

    /// The same, with the chat of a template that stands in `file`. An error if it is a chat of another kind.
    pub fn with_template(self, file: &str, text: &str, eos: &str) -> std::result::Result<PromptTokens, LoadError> {
        let template = ChatTemplate::new(text, eos);
        let template = template.map_err(|reason| LoadError::file(file, format!("the chat template {reason}")))?;
        Ok(PromptTokens { template: Some(template), ..self })
    }

    /// From `tokenizer.json`. `eos`: the token that ends a text.
    pub fn new(file: &File, vocab_size: usize, eos: &str) -> std::result::Result<PromptTokens, LoadError> {
        let refuse = |reason: String| LoadError::file(file.name(), reason);
        // Parsed as any JSON first: that error says more than the tokenizer's own.
        file.json::<serde::de::IgnoredAny>()?;
        let mut tokenizer = Tokenizer::from_bytes(file.text()?).map_err(|error| refuse(error.to_string()))?;
        tokenizer.with_padding(None).with_truncation(None).map_err(|error| refuse(error.to_string()))?;
        let largest = tokenizer.get_vocab(true).into_iter().max_by_key(|&(_, id)| id);
        if let Some((token, id)) = largest.filter(|&(_, id)| id as usize >= vocab_size) {
            return Err(refuse(format!("token {token:?} is number {id}; the transformer knows {vocab_size}")));
        }
        let id = |token: &str| {
            tokenizer.token_to_id(token).ok_or_else(|| refuse(format!("there is no {token}, which every prompt needs")))
        };
        for token in [TURN_START, TURN_END] {
            id(token)?;
        }
        Ok(PromptTokens { eos: id(eos)?, vision_start: id(VISION_START)?, tokenizer, template: None })
    }

    /// The tokens of a prompt in its final form, at most `longest` (at least 2): what is too long loses its end, but keeps the
    /// two tokens behind it. An error where the tokenizer has none.
    pub fn of(&self, prompt: &str, system: Option<&str>, longest: usize) -> Result<Vec<u32>> {
        let chat = match &self.template {
            Some(template) => template.render(prompt, system).map_err(Error::new)?,
            None => of_qwen(prompt, system),
        };
        let encoding = self.tokenizer.encode_fast(chat, false).map_err(Error::new)?;
        let mut tokens: Vec<u32> = encoding.get_ids().iter().copied().take(longest.saturating_sub(2)).collect();
        tokens.extend([self.eos, self.vision_start]);
        Ok(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::TempDir;

    /// Knows a few words and the special tokens.
    fn tokenizer() -> Value {
        let special = |(id, token): (usize, &&str)| {
            serde_json::json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                               "normalized": false, "special": true})
        };
        let names = [TURN_START, TURN_END, VISION_START, "<|end|>"];
        serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null, "decoder": null,
            "added_tokens": names.iter().enumerate().map(special).collect::<Vec<_>>(),
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": {"type": "WordLevel", "unk_token": "?", "vocab": {
                TURN_START: 0, TURN_END: 1, VISION_START: 2, "<|end|>": 3, "?": 4, "user": 5, "assistant": 6, "system": 7, "sea": 8
            }}
        })
    }

    fn read(files: &[(&str, String)], vocab_size: usize) -> std::result::Result<PromptTokens, String> {
        let dir = TempDir::new();
        for (name, text) in files {
            dir.write(&format!("{FOLDER}/{name}"), text);
        }
        PromptTokens::read(&dir.open(), vocab_size).map_err(|error| error.to_string())
    }

    #[test]
    fn a_prompt_is_a_turn_of_a_chat_and_a_picture_follows() {
        let tokens = read(&[("tokenizer.json", tokenizer().to_string())], 9).expect("a tokenizer");
        let check = |prompt: &str, system, longest, expected: &[u32]| {
            assert_eq!(tokens.of(prompt, system, longest).expect("tokens"), expected, "{prompt:?}");
        };
        check("", None, 100, &[0, 5, 1, 0, 6, 1, 2]);
        check("sea sky", None, 100, &[0, 5, 8, 4, 1, 0, 6, 1, 2]);
        check("sea", Some("sea sea"), 100, &[0, 7, 8, 8, 1, 0, 5, 8, 1, 0, 6, 1, 2]);
        check("sea sea sea", None, 5, &[0, 5, 8, 1, 2]);
    }

    #[test]
    fn the_token_that_ends_a_text_is_told_by_the_tokenizers_configuration() {
        for eos in [serde_json::json!("<|end|>"), serde_json::json!({"content": "<|end|>", "special": true})] {
            let config = serde_json::json!({"eos_token": eos}).to_string();
            let files = [("tokenizer.json", tokenizer().to_string()), ("tokenizer_config.json", config)];
            let tokens = read(&files, 9).expect("a tokenizer");
            assert_eq!(tokens.of("", None, 100).expect("tokens"), [0, 5, 1, 0, 6, 3, 2]);
        }
    }

    #[test]
    fn a_tokenizer_that_does_not_fit_is_refused() {
        let check = |files: &[(&str, String)], vocab_size, said: &str| {
            let error = read(files, vocab_size).err().expect(said);
            assert!(error.contains(said), "{error:?} does not say {said:?}");
        };
        let own = ("tokenizer.json", tokenizer().to_string());
        check(&[], 9, "tokenizer.json");
        check(std::slice::from_ref(&own), 8, "token \"sea\" is number 8; the transformer knows 8");
        check(&[own.clone(), ("tokenizer_config.json", r#"{"eos_token": "</s>"}"#.into())], 9, "there is no </s>");
        let inst = "[INST] {{ messages[0].content }} [/INST]";
        check(&[own.clone(), ("chat_template.jinja", inst.into())], 9, "a chat of another kind");
        let config = serde_json::json!({ "chat_template": inst }).to_string();
        check(&[own, ("tokenizer_config.json", config)], 9, "tokenizer_config.json");
    }

    #[test]
    fn the_checkpoint_s_own_chat_is_written_wherever_its_template_stands() {
        let text = "{% for m in messages %}<|im_start|>{{ m.role }} sea {{ m.content }}<|im_end|>{% endfor %}";
        let config = |template| serde_json::json!({ "chat_template": template }).to_string();
        let several =
            serde_json::json!([{ "name": "tool_use", "template": "?" }, { "name": "default", "template": text }]);
        for (name, file) in [
            ("chat_template.jinja", text.to_owned()),
            ("tokenizer_config.json", config(text.into())),
            ("tokenizer_config.json", config(several)),
        ] {
            let tokens = read(&[("tokenizer.json", tokenizer().to_string()), (name, file)], 9).expect("a tokenizer");
            assert_eq!(tokens.of("sea", None, 100).expect("tokens"), [0, 5, 8, 8, 1, 1, 2], "{name}");
        }
    }

    #[test]
    fn prose_is_told_its_length_unless_it_is_a_picture_or_nobody_wants_it() {
        let scene = |frames, fps| Scene { size: Size { width: 64, height: 64 }, frames, fps };
        let check = |frames, fps, says, expected: &str| {
            assert_eq!(final_prompt("sea", &scene(frames, fps), says), expected);
        };
        check(81, 24.0, true, "sea The video is 3.4 seconds long and is of 24 FPS.");
        check(5, 4.0, true, "sea The video is 1.2 seconds long and is of 4 FPS.");
        check(45, 12.0, true, "sea The video is 3.8 seconds long and is of 12 FPS.");
        check(121, 29.97, true, "sea The video is 4.0 seconds long and is of 29.97 FPS.");
        check(81, 24.0, false, "sea");
        check(1, 24.0, true, "sea");
    }
}
