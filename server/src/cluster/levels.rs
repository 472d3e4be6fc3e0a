//! How it is with the cluster: counted where it happens, read by the status pages.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
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
    pulse: Mutex<Pulse>,
}

/// When this process was last seen to run. `None`: it was paused, and has not read the line since.
struct Pulse(Option<Instant>);

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse(Some(Instant::now()))
    }
}

impl Levels {
    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().expect("nothing panics under this lock")
    }

    /// The process runs. `false`: it was paused for so long that others have taken it for dead.
    pub(super) fn beat(&self) -> bool {
        let mut pulse = self.pulse();
        match pulse.0 {
            Some(last) if last.elapsed() < PAUSED => pulse.0 = Some(Instant::now()),
            Some(_) => {
                pulse.0 = None;
                return false;
            }
            None => {}
        }
        true
    }

    /// The whole line was read.
    pub(super) fn has_read(&self) {
        let mut pulse = self.pulse();
        if pulse.0.is_none() {
            pulse.0 = Some(Instant::now());
        }
    }

    /// Whether what was granted here is still known to stand.
    pub(super) fn is_steady(&self) -> bool {
        self.pulse().0.is_some_and(|last| last.elapsed() < PAUSED)
    }
}

/// A record of this node lives for so long; what a paused process would send after that may be another's to send.
const PAUSED: Duration = Duration::from_millis(PRESENT_MS - 500);

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
