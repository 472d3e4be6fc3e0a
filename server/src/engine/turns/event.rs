//! What steers a session's video: a checked event, as a list of parts.

use pipeline::world::Held;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Chosen by the client; comes back on the chunks that were drawn with the event.
    pub id: Option<u32>,
    pub parts: Vec<EventPart>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventPart {
    Prompt(String),
    /// Keys for the latent frames to come, one by one.
    Script(Vec<Held>),
    /// The keys held after each transition.
    State(Vec<Held>),
}
