//! Sessions of this node that leave when it is stopped: each stands first in the line, and goes to the node that grants it a
//! place. The token of the grant lets it in there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;
use url::Url;

use super::node::Cluster;
use super::rules::ticket::Needs;
use super::tickets::Outcome;
use crate::moving::{Nodes, NotTaken, Promise, Taken, Wish, send};

/// Between a refusal and the next attempt.
const AGAIN: Duration = Duration::from_millis(100);

/// The nodes of the cluster, for sessions that leave this one.
pub(crate) struct Leaving(pub(crate) Arc<Cluster>);

impl fmt::Debug for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leaving")
    }
}

impl Nodes for Leaving {
    /// Waits until a node has room, however long: the server's time for draining ends it.
    fn give<'a>(&'a self, wish: &'a Wish, session: Bytes) -> Promise<'a, Result<Taken, String>> {
        Box::pin(async move {
            let period_us = wish.period.map(|period| u64::try_from(period.as_micros()).unwrap_or(u64::MAX));
            let needs = Needs { bytes: wish.bytes, pixels: wish.pixels, period_us };
            let asked = self.0.ask_to_move(needs, wish.account.clone(), wish.came);
            let mut asked = asked.map_err(|error| format!("{error:#}"))?;
            loop {
                let way = match asked.outcome().await {
                    Outcome::Elsewhere(way) => way,
                    Outcome::Here(_) => return Err("this node stops".to_owned()),
                    Outcome::Refused(refused) => return Err(refused.to_string()),
                    Outcome::TooManySessions(most) => return Err(format!("its key may have {most} sessions")),
                };
                let address = way.url.replacen("ws://", "http://", 1);
                let address: Url = address.parse().map_err(|error| format!("{address}: {error}"))?;
                match send(&address, &way.token.text(), session.clone()).await {
                    Ok(()) => {
                        asked.arrived();
                        let clients = wish.goes_itself.then(|| format!("{}/v1/realtime_video", way.url));
                        return Ok(Taken { node: address.host_str().unwrap_or_default().to_owned(), clients });
                    }
                    Err(NotTaken { reason, for_now: false }) => return Err(reason),
                    Err(NotTaken { reason, for_now: true }) => {
                        tracing::info!(reason, "a session that leaves was not taken: back into the line");
                        sleep(AGAIN).await;
                        asked.again();
                    }
                }
            }
        })
    }

    /// A grant lets in, and is asked for by its token.
    fn admits(&self, _secret: &str) -> bool {
        false
    }
}
