//! What a prompt must pass before it is drawn, and frames before they leave: the operator's policy, the same for every
//! world.
//!
//! Without configuration there is no guardrail at all, and the server says so: an empty list that lets everything pass
//! would look like protection.

mod external;
mod guard;
mod lists;
pub mod rules;

pub use self::external::{External, ExternalFrames};
pub use self::guard::{Blocked, FrameGuardrail, Guardrails, OnError, Policy, Switch, TextGuardrail, Verdict};
pub use self::lists::WordList;
