//! The wire: values from bytes and bytes from values.

pub mod acks;
pub mod close;
pub mod control;
pub(crate) mod data_url;
pub mod error;
pub mod event;
pub mod features;
pub(crate) mod fields;
pub mod first_frame;
pub mod first_message;
pub(crate) mod frames;
pub mod from_recording;
pub mod grant;
pub(crate) mod hello;
pub mod init;
pub(crate) mod moved;
pub(crate) mod prompt_read;
pub(crate) mod queue;
pub mod receipts;
pub mod reset;
pub mod sharing;
mod steering;
pub(crate) mod timeline;
pub mod watch;

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

/// Small decoders read no 64-bit integers.
pub(crate) fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Half a millisecond counts as one.
pub(crate) fn whole_ms(duration: Duration) -> u32 {
    u32::try_from((duration.as_micros() + 500) / 1000).unwrap_or(u32::MAX)
}

pub(crate) fn encode(message: &impl Serialize) -> Bytes {
    rmp_serde::to_vec_named(message).expect("our messages are maps of numbers, text and bytes").into()
}

/// MessagePack from JSON, for tests.
#[cfg(test)]
pub(crate) fn message(json: &str) -> Vec<u8> {
    let value: serde_json::Value = serde_json::from_str(json).expect("the test's JSON");
    rmp_serde::to_vec(&value).expect("a Vec takes everything")
}
