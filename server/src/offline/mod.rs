//! The commands that need no network.

pub mod action_script;
pub mod generate;
