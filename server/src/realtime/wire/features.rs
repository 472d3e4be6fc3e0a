//! What a client understands beyond the reference's messages.

use pipeline::world::Refusal;

use super::fields::{Fields, list, text};

/// Features beyond the reference's messages that the client lists in `protocol_features`. Unknown names are ignored:
/// they are meant for other servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// Its position while it waits for a place; it may say that it still waits.
    pub queue: bool,
    /// How to come back after a cut.
    pub session: bool,
    /// What its session is, and what became of its events.
    pub ack: bool,
    /// Where frames stand in the video: more fields of a header.
    pub timing: bool,
    /// It may say two more kinds of event.
    pub pause: bool,
    /// It gets a chunk for each step that it asks for, and no other.
    pub step: bool,
    /// It may change how frames are sent.
    pub transport: bool,
    /// It may say what it has shown.
    pub playback: bool,
    /// It may ask for a key frame of its film.
    pub key_frame: bool,
}

impl Features {
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Features, Refusal> {
        let mut features = Features::default();
        let Some(names) = fields.take("protocol_features") else { return Ok(features) };
        for name in list("protocol_features", names)? {
            match text("protocol_features", &name)? {
                "queue" => features.queue = true,
                "session" => features.session = true,
                "ack" => features.ack = true,
                "timing" => features.timing = true,
                "pause" => features.pause = true,
                "step" => features.step = true,
                "transport" => features.transport = true,
                "playback" => features.playback = true,
                "key_frame" => features.key_frame = true,
                _ => {}
            }
        }
        Ok(features)
    }

    /// As the wire calls them.
    pub fn names(&self) -> Vec<&'static str> {
        let Features { queue, session, ack, timing, pause, step, transport, playback, key_frame } = *self;
        let named = [
            (queue, "queue"),
            (session, "session"),
            (ack, "ack"),
            (timing, "timing"),
            (pause, "pause"),
            (step, "step"),
            (transport, "transport"),
            (playback, "playback"),
            (key_frame, "key_frame"),
        ];
        named.into_iter().filter_map(|(has, name)| has.then_some(name)).collect()
    }
}
