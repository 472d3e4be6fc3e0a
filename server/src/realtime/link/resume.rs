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
use crate::cluster::journal::Journal;
use crate::cluster::node::Cluster;
use crate::cluster::rules::ticket::Needs;
use crate::cluster::tickets::{Known, MaySend};
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

/// What a node needs to go on with a session, and whose it is.
type Journaled = (Needs, Option<String>);

/// A session's side of it. Taken off the list when it is dropped.
pub(super) struct ResumeTicket {
    token: String,
    resumable: Arc<Resumable>,
    returns: mpsc::Receiver<Handover>,
    /// Other nodes find it too.
    known: Option<Known>,
    /// For a session that another node can go on with when this one dies.
    pub(super) journal: Option<Journal>,
}

impl ResumeTicket {
    /// `journaled`: what a node needs to go on with the session, and whose it is, if it has a journal.
    pub(super) fn new(
        resumable: Arc<Resumable>,
        cluster: Option<&Cluster>,
        journaled: Option<Journaled>,
    ) -> ResumeTicket {
        // 122 bits that nobody can guess.
        let token = uuid::Uuid::new_v4().simple().to_string();
        ResumeTicket::of(token, resumable, cluster, journaled).expect("nobody has guessed it")
    }

    /// For a token that a client has already. `None`: a session has it here.
    pub(super) fn of(
        token: String,
        resumable: Arc<Resumable>,
        cluster: Option<&Cluster>,
        journaled: Option<Journaled>,
    ) -> Option<ResumeTicket> {
        // One at a time: the next waits at its own expense.
        let (came, returns) = mpsc::channel(1);
        match resumable.0.entry(token.clone()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(vacant) => {
                vacant.insert(came);
                let known = cluster.map(|cluster| cluster.know(&token, journaled));
                Some(ResumeTicket { token, resumable: Arc::clone(&resumable), returns, known, journal: None })
            }
        }
    }

    /// The secret that its client comes back with.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Returns once all nodes can find the session.
    pub(super) async fn is_known(&mut self) {
        if let Some(known) = &mut self.known {
            known.is_known().await;
        }
    }

    /// Whether this node may send for the session; `None`: it is in no cluster.
    pub(super) fn may_send(&self) -> Option<MaySend> {
        self.known.as_ref().map(Known::may_send)
    }

    /// Another node has the session from now on.
    pub(super) fn moved(&mut self) {
        self.known.iter_mut().for_each(Known::moved);
        self.journal.iter().for_each(Journal::leave);
    }

    /// A line on which its client comes back; `None`: another node has gone on with the session. Cancel-safe.
    pub(super) async fn somebody_returns(&mut self) -> Option<Handover> {
        let ResumeTicket { returns, known, .. } = self;
        let elsewhere = async {
            match known {
                Some(known) => known.lost().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            handover = returns.recv() => Some(handover.expect("the sender stands in the list as long as this")),
            () = elsewhere => None,
        }
    }

    pub(super) fn hello(&self, session_id: &str, grace: Duration, next_chunk: usize) -> Bytes {
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        hello(session_id, &self.token, grace_ms, next_chunk)
    }
}

impl Drop for ResumeTicket {
    fn drop(&mut self) {
        // What a paused process ends may be another's by now.
        if self.may_send().is_some_and(|may_send| !may_send.now()) {
            self.moved();
        }
        self.resumable.0.remove(&self.token);
    }
}
