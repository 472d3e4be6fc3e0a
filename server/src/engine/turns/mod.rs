//! Whose turn it is, and what it is drawn with: decisions, given values and the time.

pub mod acks;
pub mod clips;
pub mod conditions;
pub mod event;
pub mod hurry;
pub(crate) mod openings;
pub mod rewinds;
pub(crate) mod scheduler;
pub mod steering;
pub mod under_way;
