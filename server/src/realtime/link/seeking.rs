//! A place in the cluster: asked for, waited for, and the line to the node that has granted it. And the way back to a session
//! that another node has, or had.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{debug, warn};

use super::bounds::SAID_EVERY;
use super::connection::Writer;
use super::relayed::Drawn;
use crate::admission::rules::{Obstacle, Refused, Waiting};
use crate::cluster::node::Cluster;
use crate::cluster::rules::ticket::{KeyShare, Needs};
use crate::cluster::tickets::{Asked, Located, Outcome, Place, Way};
use crate::realtime::wire::queue;

/// What a client that seeks a place brings.
pub(super) struct Sought {
    /// The place that the cluster has granted it here.
    pub(super) place: Option<Place>,
    /// The name of its key, and the sessions that this may have.
    pub(super) key: Option<(String, usize)>,
    /// Where it comes from.
    pub(super) client: IpAddr,
}

/// What came of it.
pub(super) enum Found {
    Here(Place),
    /// On another node, which has taken the token.
    Elsewhere(Box<Drawn>),
    /// On another node, for a client that goes there itself.
    Redirect(Way),
    Refused(Refused),
    TooManySessions(usize),
    /// No place in time.
    Nothing(Obstacle),
    Failed(String),
}

/// Stand in the line of the cluster, for as long as this since the client last said that it waits. A node that is granted and
/// does not answer costs nobody the place in the line.
pub(super) async fn seek(
    cluster: &Cluster,
    (needs, Sought { key, client, .. }): (Needs, Sought),
    (patience, mut waits_still): (Duration, watch::Receiver<Instant>),
    writer: Option<&Writer>,
    goes_itself: bool,
) -> Found {
    let key = key.map(|(name, sessions)| KeyShare { name, sessions });
    let mut asked = match cluster.ask(needs, key) {
        Ok(asked) => asked,
        Err(error) => return Found::Failed(format!("{error:#}")),
    };
    let came = Instant::now();
    let mut said = None;
    loop {
        let deadline = came.max(*waits_still.borrow_and_update()) + patience;
        let mut waiting = asked.waiting.clone();
        let outcome = tokio::select! {
            biased;
            outcome = asked.outcome() => outcome,
            () = sleep_until(deadline.into()) => return Found::Nothing(obstacle(&asked)),
            Ok(()) = waits_still.changed() => continue,
            () = tell(&mut waiting, writer, &mut said) => continue,
        };
        match outcome {
            Outcome::Here(place) => return Found::Here(place),
            Outcome::Refused(refused) => return Found::Refused(refused),
            Outcome::TooManySessions(most) => return Found::TooManySessions(most),
            Outcome::Elsewhere(way) if goes_itself => {
                asked.arrived();
                return Found::Redirect(way);
            }
            Outcome::Elsewhere(way) => match Drawn::connect(way, client).await {
                Ok(drawn) => {
                    asked.arrived();
                    return Found::Elsewhere(Box::new(drawn));
                }
                Err(error) => {
                    warn!(error = format!("{error:#}"), "a node that was granted does not answer: granted again");
                    asked.again();
                }
            },
        }
    }
}

fn obstacle(asked: &Asked) -> Obstacle {
    asked.waiting.borrow().as_ref().map_or(Obstacle::Order, |waiting| waiting.obstacle)
}

/// Tell the client where it stands, if that is news. Returns once it was told; never for one that knows of no queue.
async fn tell(waiting: &mut watch::Receiver<Option<Waiting>>, writer: Option<&Writer>, said: &mut Option<Waiting>) {
    let Some(writer) = writer else { return std::future::pending().await };
    if said.is_some() {
        sleep(SAID_EVERY).await;
    }
    let before = *said;
    let Ok(new) = waiting.wait_for(|waiting| waiting.is_some() && *waiting != before).await.map(|new| *new) else {
        return std::future::pending().await;
    };
    *said = new;
    // A client that is gone or does not read is noticed where its messages are read.
    let _ = writer.say(queue::queue(&new.expect("waited for it"))).await;
}

/// Where a client comes back to its session.
pub(super) enum Back {
    /// On another node, which has taken the token.
    At(Box<Drawn>),
    /// Nowhere yet: here is a place for it.
    Here(Place),
    Nowhere,
}

/// Find the session of a resume token on another node, or a place where it goes on from its journal.
pub(super) async fn find(cluster: &Cluster, token: &str, (account, client): (Option<Arc<str>>, IpAddr)) -> Back {
    let came = Instant::now();
    loop {
        let way = match cluster.find(token, account.as_deref()).await {
            Located::At(way) => way,
            Located::Lost(needs, key) => return place_for(cluster, (needs, key), client).await,
            Located::Nowhere => return Back::Nowhere,
        };
        // A node that has died is there for three seconds more.
        let goes_on = way.journal && came.elapsed() < GONE_WITHIN;
        match Drawn::connect(way, client).await {
            Ok(drawn) => return Back::At(Box::new(drawn)),
            Err(error) if goes_on => {
                debug!(error = format!("{error:#}"), "the node of a resumed session does not answer yet");
                sleep(LOOKED_EVERY).await;
            }
            Err(error) => {
                warn!(error = format!("{error:#}"), "the node of a resumed session does not answer");
                return Back::Nowhere;
            }
        }
    }
}

/// A place for the session of a lost node, before all that wait.
async fn place_for(cluster: &Cluster, (needs, key): (Needs, Option<String>), client: IpAddr) -> Back {
    let asked = cluster.ask_to_move(needs, key, 0);
    let Ok(mut asked) = asked else { return Back::Nowhere };
    loop {
        match timeout(PLACED_WITHIN, asked.outcome()).await {
            Ok(Outcome::Here(place)) => return Back::Here(place),
            Ok(Outcome::Elsewhere(way)) => match Drawn::connect(way, client).await {
                Ok(drawn) => {
                    asked.arrived();
                    return Back::At(Box::new(drawn));
                }
                Err(error) => {
                    warn!(error = format!("{error:#}"), "a node that was granted does not answer: granted again");
                    asked.again();
                }
            },
            Ok(Outcome::Refused(_) | Outcome::TooManySessions(_)) | Err(_) => return Back::Nowhere,
        }
    }
}

/// The record of a dead node is gone by then.
const GONE_WITHIN: Duration = Duration::from_secs(8);

/// How often a node that may have died is looked for.
const LOOKED_EVERY: Duration = Duration::from_millis(200);

/// A client that comes back to a session of a lost node waits for so long for a place.
const PLACED_WITHIN: Duration = Duration::from_secs(20);
