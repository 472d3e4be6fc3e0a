//! What an operator chooses: the command line, the variables that complete it, and the bounds both set.

pub mod environment;
pub mod flags;
pub mod limits;
