//! How a world with few words reads a session's prompts, for a client that asked to hear it.

use std::sync::Arc;

use bytes::Bytes;
use pipeline::world::{Card, Init, Words};

use crate::realtime::wire::features::Features;
use crate::realtime::wire::prompt_read::prompt_read;

/// The words of a session's world, and how it read the first prompt. Empty, where nobody is to hear of it.
#[derive(Default)]
pub(super) struct Reads {
    words: Option<Arc<Words>>,
    /// The message about the prompt that the video begins with.
    pub(super) first: Option<Bytes>,
}

impl Reads {
    pub(super) fn of(card: &Card, features: Features, init: &Init) -> Reads {
        let Some(words) = card.words.clone().filter(|_| features.unknown_words) else { return Reads::default() };
        let reading = words.read(&init.prompt);
        let instead = card.begins_instead(&reading, init.first_frame.is_some());
        Reads { first: Some(prompt_read(None, &reading, instead)), words: Some(words) }
    }

    /// The message about the prompt that an event brought.
    pub(super) fn event(&self, event_id: Option<u32>, prompt: &str) -> Option<Bytes> {
        self.words.as_ref().map(|words| prompt_read(event_id, &words.read(prompt), None))
    }
}
