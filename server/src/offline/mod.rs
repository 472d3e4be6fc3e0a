//! The commands that need no network.

pub mod action_script;
pub mod bench;
pub mod film;
pub mod generate;
pub mod progress;
pub mod replay;
