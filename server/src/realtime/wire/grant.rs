//! Between the nodes of a cluster, and for a client that goes to the node itself: the token that opens a granted place.

use bytes::Bytes;
use pipeline::world::Refusal;
use serde::Serialize;

use super::encode;
use super::fields::{Fields, refuse};

/// The first message of a door, or of a client that was sent on: an init or a resume follows on the same connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelloRequest {
    /// Good once, on one node.
    pub token: String,
}

impl HelloRequest {
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<HelloRequest, Refusal> {
        let token = fields.text("token")?.ok_or_else(|| refuse("token", "is missing"))?.to_owned();
        Ok(HelloRequest { token })
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "hello")]
struct Hello<'a> {
    token: &'a str,
}

/// As a door says it.
pub(crate) fn hello(token: &str) -> Bytes {
    encode(&Hello { token })
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "hello_ack")]
struct HelloAck {
    /// Whether a place is kept for the session.
    place: bool,
}

/// The token was right.
pub(crate) fn hello_ack(place: bool) -> Bytes {
    encode(&HelloAck { place })
}

/// Whether a message says that the token was right.
pub(crate) fn is_hello_ack(message: &[u8]) -> bool {
    message == hello_ack(true) || message == hello_ack(false)
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "redirect")]
struct Redirect<'a> {
    url: &'a str,
    token: &'a str,
}

/// To a client that named the feature: connect there, say hello with this token, and then the same first message again.
pub(crate) fn redirect(url: &str, token: &str) -> Bytes {
    encode(&Redirect { url, token })
}
