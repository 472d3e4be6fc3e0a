//! The engine: the thread that owns the device, and whose turn it is.

pub mod clip;
pub mod clip_seat;
pub mod elsewhere;
mod inbox;
pub mod offer;
pub mod thread;
pub mod turns;

#[cfg(test)]
mod tests;
