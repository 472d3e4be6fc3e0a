//! Who gets a place, and who waits for one: the rules, and the queue that applies them under a lock.

pub(crate) mod queue;
pub mod rules;
