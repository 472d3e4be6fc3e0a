//! A server's life: it serves, drains, stops.

use tokio::sync::watch;

/// A server's life. It only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Sessions are taken.
    Serving,
    /// No new sessions; running ones finish the chunks that were begun.
    Draining,
    /// Remaining work is cut short.
    Stopping,
}

impl Phase {
    pub(crate) async fn reached(self, phase: &mut watch::Receiver<Phase>) {
        // An error means that the server is gone, which is past every phase.
        let _ = phase.wait_for(|&phase| phase >= self).await;
    }
}
