//! The engine: the thread that owns the device, and whose turn it is.

pub mod thread;
pub mod turns;
