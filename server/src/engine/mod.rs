//! The engine: the thread that owns the device, and whose turn it is.

pub mod clip;
pub mod clip_seat;
pub mod elsewhere;
mod inbox;
pub mod messages;
pub mod offer;
mod rollout;
mod room;
pub mod thread;
pub mod turns;

#[cfg(test)]
mod tests;
