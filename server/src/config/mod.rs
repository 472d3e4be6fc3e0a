//! What an operator chooses: the command line, and the bounds it sets.

pub mod flags;
pub mod limits;
