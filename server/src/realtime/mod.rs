//! The realtime video endpoint: the wire's messages, the session's decisions, and the socket that connects them.
//!
//! [`wire`] and [`session`] are given values and the time, and return values: they read no clock, wait for nothing and know
//! no transport.

pub mod document;
pub(crate) mod link;
pub mod session;
pub mod wire;
