//! The commands that serve nobody: they draw, measure, and put a load on a server.

pub mod action_script;
pub mod bench;
pub mod check;
pub mod film;
pub mod generate;
pub mod load;
pub mod machine;
pub mod progress;
pub mod replay;
