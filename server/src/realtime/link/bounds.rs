//! The bounds of one session and its connection, as an operator sets them.

use std::time::Duration;

use crate::realtime::session::Stay;

/// The bounds of one session and its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkBounds {
    /// How long a session waits for a place whose client hears its position.
    pub(crate) queue_wait: Duration,
    /// How long a session waits for a place whose client knows of no queue.
    pub(crate) busy_wait: Duration,
    /// How long a client may take to take one message.
    pub(crate) write_deadline: Duration,
    /// How often a client is asked for a sign of life.
    pub(crate) ping_every: Duration,
    /// How long a client may take to give that sign.
    pub(crate) pong_within: Duration,
    /// How long a session may last, and wait for a client that was lost.
    pub(crate) stay: Stay,
    /// Bytes that are kept of a session's last chunks for a client that comes back.
    pub(crate) backlog_bytes: usize,
}
