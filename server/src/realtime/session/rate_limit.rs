//! How many messages a client may send, and how many mistakes it may make: one with a bug in it finds out, one that floods is
//! not read, or answered, for ever.

use std::time::Duration;

use crate::rate::Rate;

/// Invalid messages.
pub(crate) const INVALID_MESSAGES: Rate = Rate { at_once: 64, every: Duration::from_millis(100) };

/// Events: a game that reports 60 changes a second has room three times over.
pub(crate) const EVENTS: Rate = Rate { at_once: 256, every: Duration::from_millis(5) };
