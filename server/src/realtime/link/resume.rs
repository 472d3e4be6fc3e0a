//! Resuming: a client whose connection was cut continues its session on a new one, with the token it was given.
//!
//! The new connection moves into the task of the session, which has gone on without it: nothing of the session is
//! copied.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::{DashMap, Entry};
use pipeline::world::Refusal;
use tokio::sync::mpsc;

use super::line::Line;
use crate::cluster::node::Cluster;
use crate::cluster::tickets::Known;
use crate::realtime::wire::fields::refuse;
use crate::realtime::wire::hello::hello;

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

/// To a client whose session is not there, or no more.
pub(super) fn gone() -> Refusal {
    refuse("token", "names no session that still waits for its client: begin anew")
}

/// A session's side of it. Taken off the list when it is dropped.
pub(super) struct ResumeTicket {
    token: String,
    resumable: Arc<Resumable>,
    returns: mpsc::Receiver<Handover>,
    /// Other nodes find it too.
    _known: Option<Known>,
}

impl ResumeTicket {
    pub(super) fn new(resumable: Arc<Resumable>, cluster: Option<&Cluster>) -> ResumeTicket {
        // 122 bits that nobody can guess.
        let token = uuid::Uuid::new_v4().simple().to_string();
        ResumeTicket::of(token, resumable, cluster).expect("nobody has guessed it")
    }

    /// For a token that a client has already. `None`: a session has it here.
    pub(super) fn of(token: String, resumable: Arc<Resumable>, cluster: Option<&Cluster>) -> Option<ResumeTicket> {
        // One at a time: the next waits at its own expense.
        let (came, returns) = mpsc::channel(1);
        match resumable.0.entry(token.clone()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(vacant) => {
                vacant.insert(came);
                let known = cluster.map(|cluster| cluster.know(&token));
                Some(ResumeTicket { token, resumable: Arc::clone(&resumable), returns, _known: known })
            }
        }
    }

    /// The secret that its client comes back with.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) async fn somebody_returns(&mut self) -> Handover {
        self.returns.recv().await.expect("the sender stands in the list as long as this")
    }

    pub(super) fn hello(&self, session_id: &str, grace: Duration, next_chunk: usize) -> Bytes {
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        hello(session_id, &self.token, grace_ms, next_chunk)
    }
}

impl Drop for ResumeTicket {
    fn drop(&mut self) {
        self.resumable.0.remove(&self.token);
    }
}
