//! To a client that asked for it: its session goes on at another server.

use bytes::Bytes;
use serde::Serialize;

use super::{encode, small};

#[derive(Serialize)]
#[serde(tag = "type", rename = "moved")]
struct Moved<'a> {
    /// Absent: the address that the client knows leads there.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    messages: u32,
}

/// `url`: of the WebSocket where it is resumed. `messages`: how many of the client's on this connection, behind the first, the
/// session has; later ones are to be sent again.
pub(crate) fn moved(url: Option<&str>, messages: u64) -> Bytes {
    encode(&Moved { url, messages: small(messages) })
}
