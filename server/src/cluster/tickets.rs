//! What sessions hold of the cluster: a ticket while they wait, a place once they are granted one, a name to be found by.
//! Each tells the node's task when it is dropped.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use super::levels::Levels;
use super::rules::grant::NotGranted;
use super::rules::ticket::{KeyShare, Needs};
use super::rules::token::GrantToken;
use crate::admission::queue::Admitted;
use crate::admission::rules::{Refused, Waiting};

/// What the node's task is told.
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
    /// The relay to the node that drew this session under this epoch is broken: its grant stands no more.
    Broken(String, u32),
    /// A resumable session is here.
    Known(Knowing),
    /// It is here no more.
    Forget(String, Ending),
    /// Where the session of this resume token is, for a client of this account.
    Find(String, Option<String>, oneshot::Sender<Located>),
    /// The process was stopped for longer than a node may be silent.
    Paused,
}

/// A resumable session that is here.
pub(super) struct Knowing {
    /// The hash of its token.
    pub(super) known: String,
    /// What a node needs to go on with it, and whose it is, if it has a journal.
    pub(super) journaled: Option<(Needs, Option<String>)>,
    /// Told when another node has it.
    pub(super) lost: watch::Sender<bool>,
    /// Told when all nodes can find it.
    pub(super) reply: oneshot::Sender<()>,
}

/// Where a resumable session is.
pub(crate) enum Located {
    /// On another node.
    At(Way),
    /// On a node that is gone. What it needs, and whose it is.
    Lost(Needs, Option<String>),
    /// Here, or nowhere.
    Nowhere,
}

/// The way to the node's task. It has a bound: who asks waits for room. What is said by something that ends cannot wait: it waits
/// in a task of its own, of which there are no more than sessions and tickets.
#[derive(Clone)]
pub(super) struct Commands(mpsc::Sender<Command>);

impl Commands {
    /// With room for what so many connections say at once.
    pub(super) fn new(connections: usize) -> (Commands, mpsc::Receiver<Command>) {
        let (commands, obeyed) = mpsc::channel(COMMANDS_PER_CONNECTION * connections.max(1));
        (Commands(commands), obeyed)
    }

    /// An error: the task is gone, and the server with it.
    pub(super) async fn ask(&self, command: Command) {
        let _ = self.0.send(command).await;
    }

    pub(super) fn say(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Full(command)) = self.0.try_send(command)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let commands = self.clone();
            runtime.spawn(async move { commands.ask(command).await });
        }
    }
}

/// A ticket, a claim, a name and a grant, each with its end.
const COMMANDS_PER_CONNECTION: usize = 8;

/// Why a resumable session is not here any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It has ended.
    Over,
    /// Another node has it.
    Moved,
}

/// A client's wish for a place.
pub(super) struct Ask {
    pub(super) id: String,
    pub(super) token: GrantToken,
    pub(super) needs: Needs,
    pub(super) key: Option<KeyShare>,
    /// Its client comes with the token, also to this node.
    pub(super) comes: bool,
    /// It runs already, and looks for another node: where it stood in the line.
    pub(super) moves: Option<u64>,
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
    /// If that node dies another can go on with the session.
    pub(crate) journal: bool,
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
    /// Where its ticket stood in the line.
    pub(crate) came: u64,
    pub(super) lost: watch::Receiver<bool>,
    pub(super) commands: Commands,
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
        self.commands.say(Command::Over(std::mem::take(&mut self.id), self.epoch));
    }
}

/// A client in the line of the cluster. Given back when this is dropped.
pub(crate) struct Asked {
    pub(super) id: String,
    /// Where it stands; `None` before it stands anywhere.
    pub(crate) waiting: watch::Receiver<Option<Waiting>>,
    /// `None`: nothing is told any more.
    pub(super) outcome: Option<oneshot::Receiver<Outcome>>,
    pub(super) commands: Commands,
    pub(super) arrived: bool,
}

impl Asked {
    /// What becomes of it. Cancel-safe; once it has said so, it says no more.
    pub(crate) async fn outcome(&mut self) -> Outcome {
        if let Some(told) = &mut self.outcome {
            let outcome = told.await;
            self.outcome = None;
            if let Ok(outcome) = outcome {
                return outcome;
            }
        }
        // The node's task is gone, and the server with it.
        std::future::pending().await
    }

    /// The node that it was granted to does not answer: back to its place in the line.
    pub(crate) fn again(&mut self) {
        let (waiting, hears) = watch::channel(None);
        let (outcome, told) = oneshot::channel();
        (self.waiting, self.outcome) = (hears, Some(told));
        self.commands.say(Command::Again(self.id.clone(), waiting, outcome));
    }

    /// It runs on the node that it was granted to.
    pub(crate) fn arrived(mut self) {
        self.arrived = true;
        self.commands.say(Command::Arrived(self.id.clone()));
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.arrived {
            self.commands.say(Command::Leave(self.id.clone()));
        }
    }
}

/// A resumable session that any node finds, until this is dropped.
pub(crate) struct Known {
    pub(super) name: String,
    pub(super) ending: Ending,
    /// Told once all nodes can find it.
    pub(super) told: Option<oneshot::Receiver<()>>,
    pub(super) lost: watch::Receiver<bool>,
    pub(super) levels: Arc<Levels>,
    pub(super) commands: Commands,
}

impl Known {
    /// Whether what is drawn for it may be sent.
    pub(crate) fn may_send(&self) -> MaySend {
        MaySend { levels: Arc::clone(&self.levels), lost: self.lost.clone() }
    }

    /// Returns once all nodes can find it.
    pub(crate) async fn is_known(&mut self) {
        if let Some(told) = self.told.take() {
            // An error: the node's task is gone, and the server with it.
            let _ = told.await;
        }
    }

    /// Returns once another node has it: nothing may be sent from then on.
    pub(crate) async fn lost(&mut self) {
        if self.lost.wait_for(|&lost| lost).await.is_err() {
            // The node's task is gone, and the server with it.
            std::future::pending().await
        }
    }

    /// Another node has it from now on.
    pub(crate) fn moved(&mut self) {
        self.ending = Ending::Moved;
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.commands.say(Command::Forget(std::mem::take(&mut self.name), self.ending));
    }
}

/// Fencing of a session that another node may go on with: whether this one may send for it.
#[derive(Clone)]
pub(crate) struct MaySend {
    levels: Arc<Levels>,
    lost: watch::Receiver<bool>,
}

/// How often a session looks whether its node may send again.
const LOOKED_EVERY: Duration = Duration::from_millis(20);

impl MaySend {
    /// Not after a pause, until all was read that was written meanwhile; and never again once another node has the session.
    pub(crate) fn now(&self) -> bool {
        // In this order: a session is lost before all is read.
        self.levels.is_steady() && !*self.lost.borrow()
    }

    /// Returns once it may; never, if another node has the session. Cancel-safe.
    pub(crate) async fn wait(&self) {
        while !self.now() {
            sleep(LOOKED_EVERY).await;
        }
    }
}
