//! Fencing: a session is drawn by one node at a time, and each grant of it has a higher epoch than the one before.
//!
//! It is kept at both ends. A node that draws under an epoch ends the session once it reads that the grant stands no more.
//! And a door passes on what comes under the newest epoch alone, so what a paused node still sends reaches nobody.

use super::grant::Grant;

/// A node's side: under which epoch it draws a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// This node.
    pub node: String,
    /// The epoch of its grant.
    pub epoch: u32,
}

impl Held {
    /// Whether the node may go on sending. `standing`: the session's grant, as the log has it.
    pub fn may_send(&self, standing: Option<&Grant>) -> bool {
        standing.is_some_and(|grant| grant.node == self.node && grant.epoch == self.epoch)
    }
}

/// A door's side: which epoch it passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    epoch: u32,
}

impl Default for Fence {
    fn default() -> Fence {
        Fence { epoch: 1 }
    }
}

impl Fence {
    /// The epoch that counts now.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether what comes under this epoch is passed on.
    pub fn passes(&self, epoch: u32) -> bool {
        epoch == self.epoch
    }

    /// The session is to be granted again: nothing of earlier epochs passes from now on.
    pub fn advance(&mut self) -> u32 {
        self.epoch += 1;
        self.epoch
    }
}
