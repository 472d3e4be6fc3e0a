//! To a client that asked for it: how to come back, and which chunk comes next.

use bytes::Bytes;
use serde::Serialize;

use super::encode;

#[derive(Serialize)]
#[serde(tag = "type", rename = "session")]
struct Hello<'a> {
    session_id: &'a str,
    resume_token: &'a str,
    grace_ms: u32,
    next_chunk: usize,
}

/// `grace_ms`: how long the session waits for its client.
pub(crate) fn hello(session_id: &str, resume_token: &str, grace_ms: u32, next_chunk: usize) -> Bytes {
    encode(&Hello { session_id, resume_token, grace_ms, next_chunk })
}
