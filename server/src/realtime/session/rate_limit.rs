//! Limits on a client's messages and mistakes: a client with a bug learns of it, a client that floods is
//! closed.

use std::time::Duration;

use crate::rate::Rate;

/// Invalid messages.
pub(crate) const INVALID_MESSAGES: Rate = Rate { at_once: 64, every: Duration::from_millis(100) };

/// Events: a game that reports 60 changes a second has room three times over.
pub(crate) const EVENTS: Rate = Rate { at_once: 256, every: Duration::from_millis(5) };
