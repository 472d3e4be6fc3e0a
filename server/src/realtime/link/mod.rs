//! Between a socket, a session and the engine: bytes are moved here, and nothing is decided.

pub(crate) mod connection;
mod delivery;
mod outlet;
pub mod resume;
mod running;
pub(crate) mod seat;
pub(crate) mod socket;
