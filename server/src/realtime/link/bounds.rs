//! The bounds of one session and its connection, as an operator sets them.

use std::time::Duration;

use crate::realtime::session::Stay;

/// However the queue moves, one that waits hears of it no more often.
pub(super) const SAID_EVERY: Duration = Duration::from_millis(250);

/// The bounds of one session and its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkBounds {
    /// Longest wait for admission, for clients that are told their position.
    pub(crate) queue_wait: Duration,
    /// Longest wait for admission, for clients that know of no queue.
    pub(crate) busy_wait: Duration,
    /// Longest time for a client to receive a message.
    pub(crate) write_deadline: Duration,
    /// Time between two pings.
    pub(crate) ping_every: Duration,
    /// Longest time for the answer to a ping.
    pub(crate) pong_within: Duration,
    /// How long a session may last, and wait for a client that was lost.
    pub(crate) stay: Stay,
    /// Bytes that are kept of a session's last chunks for a client that comes back.
    pub(crate) backlog_bytes: usize,
    /// The most bytes of a session's states to go back to: where they need more, none are kept.
    pub(crate) rewind_bytes: u64,
}

/// The bounds of all audiences, as an operator sets them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AudienceBounds {
    /// Viewers of all sessions.
    pub(crate) viewers: usize,
    /// Viewers of one session.
    pub(crate) viewers_of_session: usize,
    /// What is held for all of them.
    pub(crate) bytes: u64,
}
