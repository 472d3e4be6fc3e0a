//! The messages to a session in the queue.

use bytes::Bytes;
use serde::Serialize;

use super::{encode, small, whole_ms};
use crate::admission::rules::Waiting;

#[derive(Serialize)]
#[serde(tag = "type", rename = "queue")]
struct Queue {
    /// Position in the queue; 1 is next.
    position: u32,
    /// What keeps it from a place: `sessions`, `memory`, `time`, `order`.
    reason: &'static str,
    /// Absent while there is no estimate.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_wait_ms: Option<u32>,
}

/// For a client that asked for it.
pub(crate) fn queue(waiting: &Waiting) -> Bytes {
    let position = small(waiting.position as u64);
    encode(&Queue { position, reason: waiting.obstacle.name(), estimated_wait_ms: waiting.estimate.map(whole_ms) })
}
