//! How a world of few words reads the prompts of a clip: the field `prompt_read` of answers, and a header where the answer is a
//! file.

use pipeline::world::{Card, Reading};
use serde_json::{Value, json};

use super::resolve::Resolved;

/// A prompt of a clip as its world reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptRead {
    /// The chunk from which it counts.
    chunk: usize,
    reading: Reading,
    /// The preset that the clip begins with in its place.
    instead: Option<String>,
}

/// All prompts of a clip, in their order. `None`: the world reads any text.
pub fn read(card: &Card, resolved: &Resolved, has_picture: bool) -> Option<Vec<PromptRead>> {
    card.words.as_ref()?;
    let reading = card.read_prompt(&resolved.prompt);
    let instead = card.begins_instead(&reading, has_picture).map(str::to_owned);
    let later = resolved.prompts.iter().map(|switch| PromptRead {
        chunk: switch.chunk,
        reading: card.read_prompt(&switch.prompt),
        instead: None,
    });
    Some(std::iter::once(PromptRead { chunk: 0, reading, instead }).chain(later).collect())
}

impl PromptRead {
    /// In the fields of a session's `prompt_read`, and the chunk.
    pub fn json(&self) -> Value {
        let PromptRead { chunk, reading: Reading { text, .. }, instead } = self;
        json!({ "chunk": chunk, "text": text, "unknown": self.unknown(), "instead": instead })
    }

    fn unknown(&self) -> Vec<Value> {
        let told = self.reading.unknown.iter();
        told.map(|told| json!({ "word": told.word, "suggestion": told.suggestion })).collect()
    }
}

/// For a header: the words that the first prompt with strangers names, as JSON without a character that a header cannot hold.
/// `None`: all words are known.
pub fn unknown_words(read: &[PromptRead]) -> Option<String> {
    let unknown = read.iter().map(PromptRead::unknown).find(|unknown| !unknown.is_empty())?;
    let mut ascii = String::new();
    for unit in Value::from(unknown).to_string().encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte @ b' '..=b'~') => ascii.push(byte.into()),
            _ => ascii.push_str(&format!("\\u{unit:04x}")),
        }
    }
    Some(ascii)
}
