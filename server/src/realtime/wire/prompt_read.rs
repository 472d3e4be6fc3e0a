//! What a world with few words makes of a prompt, for a client that asked to hear it
//! (`protocol_features: ["unknown_words"]`).

use bytes::Bytes;
use pipeline::world::Reading;
use serde::Serialize;

use super::encode;

/// The message. `event_id`: of the event that brought the prompt; `instead`: the preset that a video begins with in place of
/// words that are all unknown.
pub(crate) fn prompt_read(event_id: Option<u32>, reading: &Reading, instead: Option<&str>) -> Bytes {
    let unknown =
        reading.unknown.iter().map(|told| Stranger { word: &told.word, suggestion: told.suggestion.as_deref() });
    encode(&PromptRead { event_id, text: &reading.text, unknown: unknown.collect(), instead })
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "prompt_read")]
struct PromptRead<'a> {
    /// Absent for the first prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<u32>,
    text: &'a str,
    unknown: Vec<Stranger<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instead: Option<&'a str>,
}

#[derive(Serialize)]
struct Stranger<'a> {
    word: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<&'a str>,
}
