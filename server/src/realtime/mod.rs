//! The realtime video endpoint: what the wire says, what a session decides, and the socket between them.
//!
//! [`acks`], [`client_error`], [`conditions`], [`event`], [`flood`], [`init`], [`lenient`], `pace`, [`protocol`], `replay` and [`session`] are given
//! values and the time, and return values: they read no clock, wait for nothing and know no transport.

pub mod acks;
pub mod client_error;
pub mod conditions;
pub mod connection;
mod delivery;
pub mod event;
pub mod flood;
pub mod init;
pub mod lenient;
mod outlet;
mod pace;
pub mod protocol;
mod replay;
pub mod resume;
mod running;
pub mod seat;
pub mod session;
pub mod socket;

/// MessagePack from JSON, for tests.
#[cfg(test)]
pub(crate) fn message(json: &str) -> Vec<u8> {
    let value: serde_json::Value = serde_json::from_str(json).expect("the test's JSON");
    rmp_serde::to_vec(&value).expect("a Vec takes everything")
}
