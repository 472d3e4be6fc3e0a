//! Coming back: whose line was cut takes their session up on a new one, with the token they were given.
//!
//! The new connection moves into the task of the session, which has gone on without it: nothing of the session is copied.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use pipeline::world::Refusal;
use serde::Serialize;
use tokio::sync::mpsc;

use super::line::Line;
use crate::realtime::wire::encode;
use crate::realtime::wire::event::EVENT_BYTES_MAX;
use crate::realtime::wire::fields::{Fields, refuse};

/// A client's first message, in place of an init.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub token: String,
    /// The last chunk that the client has whole.
    pub last_chunk: Option<usize>,
}

impl Request {
    /// `None` if the message is something else.
    pub fn decode(bytes: &[u8]) -> Option<Result<Request, Refusal>> {
        // An init may be long: it is not read here for its type alone.
        let mut fields = Fields::decode(bytes.get(..bytes.len().min(EVENT_BYTES_MAX + 1))?).ok()?;
        let is_this = fields.text("type").ok()?.as_deref() == Some("resume");
        is_this.then(|| {
            let token = fields.text("token")?.ok_or_else(|| refuse("token", "is missing"))?;
            let last = fields.integer_in("last_chunk", -1..=i64::from(u32::MAX))?;
            Ok(Request { token, last_chunk: last.and_then(|last| usize::try_from(last).ok()) })
        })
    }
}

/// To a client that asked for it: how to come back, and which chunk comes next.
#[derive(Serialize)]
#[serde(tag = "type", rename = "session")]
struct Hello<'a> {
    session_id: &'a str,
    resume_token: &'a str,
    grace_ms: u32,
    next_chunk: usize,
}

/// A connection on its way to the session it belongs to.
pub(super) struct Handover {
    pub(super) line: Line,
    pub(super) last_chunk: Option<usize>,
}

/// The sessions that somebody may come back to.
#[derive(Default)]
pub(crate) struct Resumable(DashMap<String, mpsc::Sender<Handover>>);

impl Resumable {
    /// `Err` gives the line back: there is no such session, or there is none any more.
    pub(super) async fn hand_over(&self, token: &str, handover: Handover) -> Result<(), Line> {
        let to = self.0.get(token).map(|entry| entry.value().clone());
        let Some(to) = to else { return Err(handover.line) };
        to.send(handover).await.map_err(|gone| gone.0.line)
    }
}

/// A session's side of it. Taken off the list when it is dropped.
pub(super) struct ResumeTicket {
    token: String,
    resumable: Arc<Resumable>,
    returns: mpsc::Receiver<Handover>,
}

impl ResumeTicket {
    pub(super) fn new(resumable: Arc<Resumable>) -> ResumeTicket {
        // 122 bits that nobody can guess.
        let token = uuid::Uuid::new_v4().simple().to_string();
        // One at a time: the next waits at its own expense.
        let (came, returns) = mpsc::channel(1);
        resumable.0.insert(token.clone(), came);
        ResumeTicket { token, resumable, returns }
    }

    pub(super) async fn somebody_returns(&mut self) -> Handover {
        self.returns.recv().await.expect("the sender stands in the list as long as this")
    }

    pub(super) fn hello(&self, session_id: &str, grace: Duration, next_chunk: usize) -> Bytes {
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        encode(&Hello { session_id, resume_token: &self.token, grace_ms, next_chunk })
    }
}

impl Drop for ResumeTicket {
    fn drop(&mut self) {
        self.resumable.0.remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realtime::wire::message;

    #[test]
    fn a_request_names_a_token_and_may_name_a_chunk() {
        let read = |json: &str| Request::decode(&message(json)).map(|read| read.map_err(|refusal| refusal.field));
        let of = |last_chunk| Some(Ok(Request { token: "t".into(), last_chunk }));
        assert_eq!(read(r#"{"type":"resume","token":"t","last_chunk":7}"#), of(Some(7)));
        for none in [r#"{"type":"resume","token":"t"}"#, r#"{"type":"resume","token":"t","last_chunk":-1}"#] {
            assert_eq!(read(none), of(None));
        }
        assert_eq!(read(r#"{"type":"resume"}"#), Some(Err("token")));
        assert_eq!(read(r#"{"type":"resume","token":"t","last_chunk":"x"}"#), Some(Err("last_chunk")));
        assert_eq!(read(r#"{"type":"init","token":"t"}"#), None);
        assert_eq!(Request::decode(b""), None);
    }
}
