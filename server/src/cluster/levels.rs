//! How it is with the cluster: counted where it happens, read by the status pages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::rules::nodes::PRESENT_MS;

/// How it is with the cluster.
#[derive(Default)]
pub(crate) struct Levels {
    /// Nodes of the same world that are there, with this one.
    pub(crate) nodes: AtomicUsize,
    /// Tickets that wait, of all doors.
    pub(crate) waiting: AtomicUsize,
    /// Grants that this node has given.
    pub(crate) grants: AtomicU64,
    /// Sessions that are drawn elsewhere for clients of this node.
    pub(crate) relayed: AtomicUsize,
    /// NATS takes this node's records.
    pub(crate) joined: watch::Sender<bool>,
}

/// A session that is counted as relayed.
pub(crate) struct Relayed(Arc<Levels>);

impl Relayed {
    pub(super) fn new(levels: Arc<Levels>) -> Relayed {
        levels.relayed.fetch_add(1, Ordering::Relaxed);
        Relayed(levels)
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        self.0.relayed.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether NATS has taken this node's record so lately that the others know of it.
pub(super) fn is_fresh(taken: Option<Instant>) -> bool {
    taken.is_some_and(|taken| taken.elapsed() < Duration::from_millis(PRESENT_MS))
}
