//! A client's connection, and how it ends.

use std::sync::Arc;

use tracing::info;

use super::connection::Connection;
use crate::access::http::Visitor;
use crate::cluster::tickets::Place;
use crate::observe::{Dropped, Observer};
use crate::realtime::wire::close::Close;
use crate::realtime::wire::error::ClientError;

/// A client's connection, and the account that it counts for.
pub(super) struct Line {
    pub(super) connection: Connection,
    pub(super) visitor: Visitor,
    /// The place that its token has opened.
    pub(super) place: Option<Place>,
}

impl Line {
    /// Whether the client closed the connection.
    pub(super) async fn finish(self, observer: Arc<Observer>, close: Option<Close>) -> bool {
        observer.closed(close.as_ref().map(|close| (close.code, close.reason)));
        if let Some(why) = close.as_ref().and_then(dropped) {
            observer.dropped(why);
        }
        if close == Some(Close::TOO_MUCH) {
            self.connection.tell(&ClientError::denied(self.visitor.sent_too_much()));
        }
        match &close {
            Some(Close { code, reason }) => info!(code, reason, "closing"),
            None => info!("client left"),
        }
        self.connection.finish(close).await
    }
}

/// Which denial a close stands for, if it is one.
fn dropped(close: &Close) -> Option<Dropped> {
    match *close {
        Close::FLOOD => Some(Dropped::Flood),
        Close::KEEPALIVE => Some(Dropped::Keepalive),
        Close::TOO_BIG => Some(Dropped::TooBig),
        _ => None,
    }
}

/// The end of a connection: the close to send, if the connection still stands.
pub(super) struct Over {
    pub(super) line: Option<Line>,
    pub(super) close: Option<Close>,
}
