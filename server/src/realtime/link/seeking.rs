//! A place in the cluster: asked for, waited for, and the line to the node that has granted it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};
use tracing::warn;

use super::bounds::SAID_EVERY;
use super::connection::Writer;
use super::relayed::Drawn;
use crate::admission::rules::{Obstacle, Refused, Waiting};
use crate::cluster::node::Cluster;
use crate::cluster::rules::ticket::{KeyShare, Needs};
use crate::cluster::tickets::{Asked, Outcome, Place, Way};
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
