//! How far a session has come on its way to another server.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::engine::elsewhere::PackedRollout;
use crate::moving::Taken;

/// How far a session has come on its way out.
pub(super) enum Departure {
    /// It stays.
    No,
    /// It leaves once its events are checked.
    Checking,
    /// The engine packs its rollout.
    Packing(oneshot::Receiver<Result<PackedRollout, String>>),
    /// Another node is looked for and takes it.
    Sending(Pin<Box<dyn Future<Output = Result<Gone, String>> + Send>>),
}

/// Taken by another node.
pub(super) struct Gone {
    pub(super) taken: Taken,
    pub(super) bytes: usize,
    pub(super) took: Duration,
}

/// What happened on the way out.
pub(super) enum DepartureNews {
    Packed(Result<PackedRollout, String>),
    Sent(Result<Gone, String>),
}

impl Departure {
    /// What happens next; never, where nothing is under way. Cancel-safe.
    pub(super) async fn news(&mut self) -> DepartureNews {
        match self {
            Departure::No | Departure::Checking => pending().await,
            Departure::Packing(answer) => {
                let packed = answer.await.unwrap_or_else(|_gone| Err("the engine has ended".to_owned()));
                DepartureNews::Packed(packed)
            }
            Departure::Sending(sending) => DepartureNews::Sent(sending.await),
        }
    }

    /// Nothing of the session may change any more: what its client says now is not heard here.
    pub(super) fn is_packed(&self) -> bool {
        matches!(self, Departure::Packing(_) | Departure::Sending(_))
    }
}
