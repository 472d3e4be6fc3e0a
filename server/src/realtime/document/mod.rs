//! The wire as one AsyncAPI document, served at `/asyncapi.json`: every message, every field, and examples.
//!
//! What a client may send is described beside its limits in `incoming.rs` and `events.rs`. What the server sends is read off messages that the
//! server's own code makes (`outgoing.rs`), so the document cannot say otherwise than the code. Tests hold the rest together:
//! every key that a parser looks for is in the document and the other way round, each example is accepted, a value past each
//! limit is refused, and the tests' client checks every message that it receives against the document.

mod events;
mod form;
mod incoming;
mod outgoing;

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use form::Message;

/// The document. It does not change while the process runs.
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| document_of(&incoming::messages(), &outgoing::messages()));
    &DOCUMENT
}

fn document_of(incoming: &[Message], outgoing: &[Message]) -> Value {
    let all = || incoming.iter().chain(outgoing);
    let reference = |path: &str, name: &str| json!({ "$ref": format!("#/{path}/{name}") });
    let by_name = |of: fn(&Message) -> Value| all().map(|message| (message.name.to_owned(), of(message))).collect();
    let components: Map<String, Value> = by_name(|message| {
        let examples: Vec<Value> = message.examples.iter().map(|example| json!({ "payload": example })).collect();
        json!({
            "name": message.name,
            "summary": message.summary,
            "contentType": "application/msgpack",
            "payload": message.payload,
            "examples": examples,
        })
    });
    let channel: Map<String, Value> =
        all().map(|message| (message.name.to_owned(), reference("components/messages", message.name))).collect();
    let operation = |action: &str, summary: &str, messages: &[Message]| {
        let messages: Vec<Value> =
            messages.iter().map(|message| reference("channels/session/messages", message.name)).collect();
        json!({ "action": action, "summary": summary, "channel": reference("channels", "session"), "messages": messages })
    };
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Causeway's realtime wire",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
        },
        "defaultContentType": "application/msgpack",
        "channels": {
            "session": {
                "address": "/v1/realtime_video",
                "title": "One session",
                "description": "/v1/realtime_video/generate is the same channel.",
                "messages": channel,
            },
        },
        "operations": {
            "say": operation("receive", "What a client may send.", incoming),
            "hear": operation("send", "What the server sends.", outgoing),
        },
        "components": { "messages": components },
    })
}

const DESCRIPTION: &str = "Every message in both directions is one binary WebSocket message that holds one MessagePack map. The \
    one exception is the message after a frame_batch_header: it is the payload itself. In this document MessagePack's bytes stand \
    as text with the encoding base64. The server reads leniently: a number may come as text or as a float without a fraction, text \
    as bytes, a nil counts as absent, and unknown keys are ignored. A client ignores messages of types that it does not know.";

#[cfg(test)]
mod tests;
