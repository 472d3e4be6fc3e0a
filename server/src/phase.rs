//! A server's life: it serves, drains, stops.

use tokio::sync::watch;

/// A server's life. It only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Sessions are taken.
    Serving,
    /// Nobody new; who is here finishes the chunks that were begun.
    Draining,
    /// Whatever is still going on is cut short.
    Stopping,
}

impl Phase {
    pub(crate) async fn reached(self, phase: &mut watch::Receiver<Phase>) {
        // An error says that the server is gone: that is an end too.
        let _ = phase.wait_for(|&phase| phase >= self).await;
    }
}
