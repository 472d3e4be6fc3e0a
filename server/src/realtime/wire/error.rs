//! Error messages to a client.

use bytes::Bytes;
use pipeline::world::Refusal;
use serde::Serialize;

use super::encode;
use super::event::Invalid;
use crate::access::rules::denied::Denied;
use crate::admission::rules::{Obstacle, Refused};

/// `content` is the reference's text, word for word; `code` and
/// `details` are ours and say more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "error")]
pub struct ClientError {
    /// In the words of the reference.
    pub content: String,
    /// The code, for programs.
    pub code: &'static str,
    /// What exactly was wrong, if a field was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// Id of the wrong event, if it was readable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<u32>,
}

/// The field that was wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Details {
    /// Its name on the wire.
    pub field: &'static str,
    /// What was wrong, and what is allowed.
    pub reason: String,
}

impl ClientError {
    /// The code of [`ClientError::viewers_full`].
    pub(crate) const VIEWERS_FULL: &str = "viewers_full";

    /// An init with a mistake.
    pub fn invalid_init(refusal: Refusal) -> ClientError {
        ClientError::refused("invalid generate request", "invalid_generate_request", refusal)
    }

    /// An event with a mistake.
    pub fn invalid_event(invalid: Invalid) -> ClientError {
        let error = ClientError::refused("invalid event", "invalid_event", invalid.refusal);
        ClientError { event_id: invalid.id, ..error }
    }

    /// A resume request with a mistake.
    pub fn invalid_resume(refusal: Refusal) -> ClientError {
        ClientError::refused("invalid resume request", "invalid_resume_request", refusal)
    }

    /// A viewer's request with a mistake.
    pub fn invalid_watch(refusal: Refusal) -> ClientError {
        ClientError::refused("invalid watch request", "invalid_watch_request", refusal)
    }

    /// A token that opens nothing.
    pub fn invalid_hello(refusal: Refusal) -> ClientError {
        ClientError::refused("invalid hello", "invalid_hello", refusal)
    }

    /// The node that drew a session is gone, and the session with it.
    pub fn node_lost() -> ClientError {
        let content = "the node that drew this session is gone: begin anew".to_owned();
        ClientError { content, code: "node_lost", details: None, event_id: None }
    }

    /// There is no room for another viewer, for this reason.
    pub fn viewers_full(reason: String) -> ClientError {
        let details = Some(Details { field: "token", reason });
        ClientError {
            content: "no room for another viewer".to_owned(),
            code: ClientError::VIEWERS_FULL,
            details,
            event_id: None,
        }
    }

    /// The session has moved to a newer connection.
    pub fn resumed_elsewhere() -> ClientError {
        let content = "this session goes on on another connection".to_owned();
        ClientError { content, code: "resumed_elsewhere", details: None, event_id: None }
    }

    fn refused(content: &str, code: &'static str, refusal: Refusal) -> ClientError {
        let mut reason = refusal.reason;
        // A client's own words may stand in it, and a string of 64 KiB would need a form that small decoders lack.
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        ClientError {
            content: content.to_owned(),
            code,
            details: Some(Details { field: refusal.field, reason }),
            event_id: None,
        }
    }

    /// The wait for admission ended without a place; the obstacle.
    pub fn busy(obstacle: &Obstacle) -> ClientError {
        let because = |field| Some(Details { field, reason: obstacle.to_string() });
        let (code, details) = match obstacle {
            Obstacle::Sessions { .. } | Obstacle::Order | Obstacle::Clip | Obstacle::Loading => ("session_busy", None),
            Obstacle::Memory { .. } => ("memory_busy", because("size")),
            Obstacle::Time { .. } => ("device_busy", because("realtime_output_pacing")),
        };
        ClientError { content: BUSY.to_owned(), code, details, event_id: None }
    }

    /// The queue is full.
    pub fn queue_full(refused: &Refused) -> ClientError {
        let reason = refused.to_string();
        let details = Some(Details { field: "queue", reason });
        ClientError { content: BUSY.to_owned(), code: "queue_full", details, event_id: None }
    }

    /// A guardrail does not let this prompt be drawn: the init's, or that of the event with this id.
    pub fn guardrail_blocked(event_id: Option<u32>) -> ClientError {
        let content = "Guardrail blocked prompt.".to_owned();
        ClientError { content, code: "guardrail_blocked", details: None, event_id }
    }

    /// A guardrail does not let a frame leave: the session ends.
    pub fn frames_blocked() -> ClientError {
        let content = "Guardrail blocked frames.".to_owned();
        ClientError { content, code: "guardrail_blocked", details: None, event_id: None }
    }

    /// The client may not enter.
    pub fn denied(denied: Denied) -> ClientError {
        ClientError { content: denied.to_string(), code: denied.code(), details: None, event_id: None }
    }

    /// The world could not go on; of `message` the first line is told.
    pub fn failed(message: &str) -> ClientError {
        let line = message.lines().next().unwrap_or_default();
        let line = &line[..line.floor_char_boundary(REASON_BYTES_MAX)];
        let content = format!("error during generate loop: {line}");
        ClientError { content, code: "generation_error", details: None, event_id: None }
    }

    /// In MessagePack.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }
}

const REASON_BYTES_MAX: usize = 4096;

/// Clients search for these exact words.
const BUSY: &str = "another realtime session is already active";

#[cfg(test)]
mod tests {
    use super::*;

    fn said(error: &ClientError) -> serde_json::Value {
        rmp_serde::from_slice(&error.encode()).expect("a map of text and numbers")
    }

    #[test]
    fn an_error_begins_with_the_words_of_the_reference() {
        let refusal = Refusal { field: "kind", reason: "x".repeat(100_000) };
        let error = ClientError::invalid_event(refusal.into());
        assert!(error.encode()[1..].starts_with(b"\xa4type\xa5error\xa7content\xadinvalid event"));
        let error = said(&error);
        assert_eq!((&error["code"], &error["details"]["field"]), (&"invalid_event".into(), &"kind".into()));
        assert_eq!(error["details"]["reason"].as_str().map(str::len), Some(REASON_BYTES_MAX));
        let error = said(&ClientError::failed("it broke\nat line 7"));
        assert_eq!(error["content"], "error during generate loop: it broke");
    }

    #[test]
    fn an_error_names_the_event_that_was_wrong_if_it_had_a_name() {
        let refusal = || Refusal { field: "kind", reason: "is missing".to_owned() };
        let error = said(&ClientError::invalid_event(Invalid { id: Some(7), refusal: refusal() }));
        assert_eq!(error["event_id"], 7);
        assert!(said(&ClientError::invalid_event(refusal().into())).get("event_id").is_none());
    }
}
