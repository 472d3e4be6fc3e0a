//! A checked event, which steers a session's video, as a list of parts.

use pipeline::world::Held;

/// What a client wants changed, all of it at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Chosen by the client; comes back on the chunks that were drawn with the event.
    pub id: Option<u32>,
    /// In the order in which they take effect. A step may have none.
    pub parts: Vec<EventPart>,
}

/// One thing that an event changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventPart {
    /// The prompt from the next chunk on.
    Prompt {
        /// What the world looks like.
        text: String,
        /// Make what is remembered of earlier frames again under this prompt, before the chunk is drawn.
        recache: bool,
    },
    /// Keys for the latent frames to come, one by one.
    Script(Vec<Held>),
    /// The keys held after each transition.
    State(Vec<Held>),
}

impl EventPart {
    /// A new prompt, and the past as it is.
    pub fn prompt(text: impl Into<String>) -> EventPart {
        EventPart::Prompt { text: text.into(), recache: false }
    }
}
