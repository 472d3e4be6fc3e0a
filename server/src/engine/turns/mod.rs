//! Whose turn it is, and what it is drawn with: decisions, given values and the time.

pub mod conditions;
pub mod scheduler;
