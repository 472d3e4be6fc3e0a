//! The realtime video endpoint: what the wire says, what a session decides, and the socket between them.
//!
//! Everything here but [`socket`] and its connection is given values and the time, and returns values: it reads no clock, waits for nothing
//! and knows no transport.

pub mod conditions;
pub mod connection;
pub mod event;
pub mod init;
pub mod lenient;
pub mod protocol;
pub mod session;
pub mod socket;

/// MessagePack from JSON, for tests.
#[cfg(test)]
pub(crate) fn message(json: &str) -> Vec<u8> {
    let value: serde_json::Value = serde_json::from_str(json).expect("the test's JSON");
    rmp_serde::to_vec(&value).expect("a Vec takes everything")
}
