//! What a session that waits for a place is told.

use bytes::Bytes;
use serde::Serialize;

use super::{encode, small, whole_ms};
use crate::admission::rules::Waiting;

#[derive(Serialize)]
#[serde(tag = "type", rename = "queue")]
struct Queue {
    /// 1: nobody is ahead.
    position: u32,
    /// Absent while nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_wait_ms: Option<u32>,
}

/// For a client that asked to hear it.
pub(crate) fn queue(waiting: &Waiting) -> Bytes {
    let position = small(waiting.position as u64);
    encode(&Queue { position, estimated_wait_ms: waiting.estimate.map(whole_ms) })
}
