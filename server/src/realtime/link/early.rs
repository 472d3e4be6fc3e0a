//! What a client says before its session begins, or goes on: kept, within bounds. That it still waits is not kept, but
//! noted.

use std::time::Instant;

use bytes::Bytes;
use pipeline::world::Refusal;

use crate::rate::Bucket;
use crate::realtime::session::rate_limit::{EVENTS, INVALID_MESSAGES};
use crate::realtime::wire::event::{Asked, EVENT_BYTES_MAX};
use crate::realtime::wire::features::Features;
use crate::realtime::wire::fields::refuse;

/// Bytes of all events before a session begins: many connections may wait for few seats. Keys are some dozens of bytes
/// each, and a script or a prompt is sent once.
const EARLY_BYTES_MAX: usize = 4 * EVENT_BYTES_MAX;

/// Events that came before their session began.
pub(super) struct Early {
    features: Features,
    pub(super) events: Vec<Bytes>,
    bytes: usize,
    waits: Bucket,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// It is kept for the session.
    Kept,
    /// The client says that it still waits.
    Waits,
}

impl Early {
    /// `features`: those of the client.
    pub(super) fn new(features: Features) -> Early {
        Early { features, events: Vec::new(), bytes: 0, waits: Bucket::default() }
    }

    pub(super) fn push(&mut self, event: &Bytes, now: Instant) -> Result<Came, Refusal> {
        if Asked::decode(event, self.features) == Ok(Asked::Wait) {
            let taken = self.waits.take(INVALID_MESSAGES, now);
            return taken
                .map(|()| Came::Waits)
                .map_err(|_| refuse("kind", "wait is said too often: once in 10 s will do"));
        }
        // Keep only the first bytes of a long event: it is refused either way.
        let event = Bytes::copy_from_slice(&event[..event.len().min(EVENT_BYTES_MAX + 1)]);
        self.bytes += event.len();
        if self.events.len() == EVENTS.at_once as usize || self.bytes > EARLY_BYTES_MAX {
            let most = format!("{} events, and {EARLY_BYTES_MAX} bytes of them,", EVENTS.at_once);
            return Err(refuse("message", format!("at most {most} may wait for a session to begin")));
        }
        self.events.push(event);
        Ok(Came::Kept)
    }
}
