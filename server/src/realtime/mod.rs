//! The realtime video endpoint: what the wire says, what a session decides, and the socket between them.
//!
//! [`wire`] and [`session`] are given values and the time, and return values: they read no clock, wait for nothing and know
//! no transport.

pub(crate) mod link;
pub mod session;
pub mod wire;
