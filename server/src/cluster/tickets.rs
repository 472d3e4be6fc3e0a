//! What sessions hold of the cluster: a ticket while they wait, a place once they are granted one, a name to be found by.
//! Each tells the node's task when it is dropped.

use tokio::sync::{mpsc, oneshot, watch};

use super::rules::grant::NotGranted;
use super::rules::ticket::{KeyShare, Needs};
use super::rules::token::GrantToken;
use crate::admission::queue::Admitted;
use crate::admission::rules::{Refused, Waiting};

/// What the node's task is told. The channel has no bound of its own: each message is about a session or a ticket, and these
/// have theirs.
pub(super) enum Command {
    /// A client wants a place.
    Ask(Box<Ask>),
    /// The node that was granted did not answer: the session of this id is to be granted again.
    Again(String, watch::Sender<Option<Waiting>>, oneshot::Sender<Outcome>),
    /// The session of this id runs elsewhere: its ticket is done.
    Arrived(String),
    /// Its client is gone, or has a place: the ticket is given back.
    Leave(String),
    /// A door, or a client that was sent on, comes with a token.
    Claim(GrantToken, oneshot::Sender<Result<Claim, NotGranted>>),
    /// A session that was drawn here under this epoch is over.
    Over(String, u32),
    /// The relay to the node that drew this session is broken: its grant stands no more.
    Broken(String),
    /// A resumable session is here, by the hash of its token; or it is over.
    Known(String, bool),
    /// Where the session of this resume token is, for a client of this account.
    Find(String, Option<String>, oneshot::Sender<Option<Way>>),
}

/// A client's wish for a place.
pub(super) struct Ask {
    pub(super) id: String,
    pub(super) token: GrantToken,
    pub(super) needs: Needs,
    pub(super) key: Option<KeyShare>,
    /// Its client comes with the token, also to this node.
    pub(super) comes: bool,
    pub(super) waiting: watch::Sender<Option<Waiting>>,
    pub(super) outcome: oneshot::Sender<Outcome>,
}

/// What became of a wish.
pub(crate) enum Outcome {
    /// It is drawn here.
    Here(Place),
    /// It is drawn by another node.
    Elsewhere(Way),
    /// It does not even wait.
    Refused(Refused),
    /// Its key has so many sessions in the cluster, and may have no more.
    TooManySessions(usize),
}

/// The way to a session that another node draws, or to a place there.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    /// `ws://HOST:PORT`
    pub(crate) url: String,
    /// Opens it once.
    pub(crate) token: GrantToken,
    /// The node there.
    pub(crate) node: String,
}

/// A place on this node, granted by the cluster.
pub(crate) struct Place {
    /// Of its own admission.
    pub(crate) admitted: Admitted,
    /// The grant.
    pub(crate) grant: HeldGrant,
}

/// What a token has opened.
pub(crate) struct Claim {
    /// The key that it counts for.
    pub(crate) account: Option<String>,
    /// A place; `None` for a client that comes back to a session.
    pub(crate) place: Option<Place>,
}

/// A grant under which a session is drawn here. The record is removed when this is dropped.
pub(crate) struct HeldGrant {
    pub(super) id: String,
    pub(super) epoch: u32,
    pub(super) lost: watch::Receiver<bool>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

impl HeldGrant {
    /// Returns once the grant stands no more: nothing may be sent from then on.
    pub(crate) async fn lost(&mut self) {
        if self.lost.wait_for(|&lost| lost).await.is_err() {
            // The node's task is gone, and the server with it.
            std::future::pending().await
        }
    }
}

impl Drop for HeldGrant {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Over(std::mem::take(&mut self.id), self.epoch));
    }
}

/// A client in the line of the cluster. Given back when this is dropped.
pub(crate) struct Asked {
    pub(super) id: String,
    /// Where it stands; `None` before it stands anywhere.
    pub(crate) waiting: watch::Receiver<Option<Waiting>>,
    pub(super) outcome: oneshot::Receiver<Outcome>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) arrived: bool,
}

impl Asked {
    /// What becomes of it. Cancel-safe; once it has said so, it says no more.
    pub(crate) async fn outcome(&mut self) -> Outcome {
        match (&mut self.outcome).await {
            Ok(outcome) => outcome,
            // The node's task is gone, and the server with it.
            Err(_) => std::future::pending().await,
        }
    }

    /// The node that it was granted to does not answer: back to its place in the line.
    pub(crate) fn again(&mut self) {
        let (waiting, hears) = watch::channel(None);
        let (outcome, told) = oneshot::channel();
        (self.waiting, self.outcome) = (hears, told);
        let _ = self.commands.send(Command::Again(self.id.clone(), waiting, outcome));
    }

    /// It runs on the node that it was granted to.
    pub(crate) fn arrived(mut self) {
        self.arrived = true;
        let _ = self.commands.send(Command::Arrived(self.id.clone()));
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.arrived {
            let _ = self.commands.send(Command::Leave(self.id.clone()));
        }
    }
}

/// A resumable session that any node finds, until this is dropped.
pub(crate) struct Known {
    pub(super) name: String,
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

impl Drop for Known {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Known(std::mem::take(&mut self.name), false));
    }
}
