//! What a client says before its session begins, or goes on: kept, within bounds.

use bytes::Bytes;
use pipeline::world::Refusal;

use crate::realtime::session::rate_limit::EVENTS;
use crate::realtime::wire::event::EVENT_BYTES_MAX;
use crate::realtime::wire::fields::refuse;

/// Bytes of all events before a session begins: many connections may wait for few seats. Keys are some dozens of bytes
/// each, and a script or a prompt is sent once.
const EARLY_BYTES_MAX: usize = 4 * EVENT_BYTES_MAX;

/// Events that came before their session began.
#[derive(Default)]
pub(super) struct Early {
    pub(super) events: Vec<Bytes>,
    bytes: usize,
}

impl Early {
    pub(super) fn push(&mut self, event: &Bytes) -> Result<(), Refusal> {
        // Keep only the first bytes of a long event: it is refused either way.
        let event = Bytes::copy_from_slice(&event[..event.len().min(EVENT_BYTES_MAX + 1)]);
        self.bytes += event.len();
        if self.events.len() == EVENTS.at_once as usize || self.bytes > EARLY_BYTES_MAX {
            let most = format!("{} events, and {EARLY_BYTES_MAX} bytes of them,", EVENTS.at_once);
            return Err(refuse("message", format!("at most {most} may wait for a session to begin")));
        }
        self.events.push(event);
        Ok(())
    }
}
