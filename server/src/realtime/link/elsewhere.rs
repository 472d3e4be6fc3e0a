//! Where a session goes that does not go on: back in its video, or to another one.

use std::future::pending;
use std::pin::Pin;

use pipeline::world::Chunking;
use tokio::sync::oneshot;

use super::anew::Next;
use crate::realtime::wire::error::ClientError;

/// The next video, while its picture is read and its prompt checked.
type Preparing<'a> = Pin<Box<dyn Future<Output = Result<Next, ClientError>> + Send + 'a>>;

/// A way that a session goes. The first field is the id of the event that asked for it.
pub(super) enum Way<'a> {
    /// To this chunk, which is to be drawn next; what the engine says.
    Back(Option<u32>, usize, oneshot::Receiver<Result<(), String>>),
    Preparing(Option<u32>, Preparing<'a>),
    /// The engine opens the next video.
    Opening(Option<u32>, Chunking, oneshot::Receiver<()>),
}

/// What became of a way.
pub(super) enum Arrival {
    /// At this chunk; or why it is not kept.
    Back(Option<u32>, usize, Result<(), String>),
    Prepared(Option<u32>, Result<Next, ClientError>),
    Opened(Option<u32>, Chunking),
}

/// A session's way, one at a time, and the last place that it came to.
pub(super) struct Elsewhere<'a> {
    way: Option<Way<'a>>,
    /// The next chunk does not follow the one before it, for the event of this id.
    pub(super) arrived: Option<Option<u32>>,
}

impl<'a> Elsewhere<'a> {
    /// It goes nowhere. `arrived`: its first chunk follows none that its client has, for the event of this id.
    pub(super) fn at(arrived: Option<Option<u32>>) -> Elsewhere<'a> {
        Elsewhere { way: None, arrived }
    }

    pub(super) fn goes(&mut self, way: Way<'a>) {
        self.way = Some(way);
    }

    /// What became of the way; never, where the session goes nowhere. Cancel-safe.
    pub(super) async fn news(&mut self) -> Arrival {
        let arrival = match &mut self.way {
            Some(Way::Back(id, to, answer)) => answer.await.ok().map(|answer| Arrival::Back(*id, *to, answer)),
            Some(Way::Preparing(id, next)) => Some(Arrival::Prepared(*id, next.await)),
            Some(Way::Opening(id, chunking, answer)) => answer.await.ok().map(|()| Arrival::Opened(*id, *chunking)),
            None => None,
        };
        match arrival {
            Some(arrival) => {
                self.way = None;
                arrival
            }
            // It goes nowhere; or the rollout is gone, and the channel of its chunks says why.
            None => pending().await,
        }
    }
}
