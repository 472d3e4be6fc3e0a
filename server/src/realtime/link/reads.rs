//! How a world with few words reads a session's prompts, for a client that asked to hear it.

use std::sync::Arc;

use bytes::Bytes;
use pipeline::world::{Card, Init};

use crate::realtime::wire::features::Features;
use crate::realtime::wire::prompt_read::prompt_read;

/// How a session's world reads prompts. Empty, where nobody is to hear of it.
#[derive(Default)]
pub(super) struct Reads {
    /// Of a world that knows few words.
    card: Option<Arc<Card>>,
    /// The message about the prompt that the first video begins with.
    pub(super) first: Option<Bytes>,
}

impl Reads {
    pub(super) fn of(card: &Arc<Card>, features: Features, init: &Init) -> Reads {
        let card = features.unknown_words.then(|| Arc::clone(card)).filter(|card| card.words.is_some());
        let mut reads = Reads { card, first: None };
        reads.first = reads.beginning(None, init);
        reads
    }

    /// The message about the prompt that a video begins with; `event_id`: of the event that asked for it.
    pub(super) fn beginning(&self, event_id: Option<u32>, init: &Init) -> Option<Bytes> {
        let card = self.card.as_ref()?;
        let reading = card.read_prompt(&init.prompt);
        Some(prompt_read(event_id, &reading, card.begins_instead(&reading, init.first_frame.is_some())))
    }

    /// The message about the prompt that an event brought.
    pub(super) fn event(&self, event_id: Option<u32>, prompt: &str) -> Option<Bytes> {
        self.card.as_ref().map(|card| prompt_read(event_id, &card.read_prompt(prompt), None))
    }
}
