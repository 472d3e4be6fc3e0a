//! A client whose session another node draws: its messages are passed on, and what the node sends is passed back.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use super::Realtime;
use super::connection::{Connection, Heard, Writer};
use super::line::{Line, Over};
use crate::cluster::relay::{Down, FromNode, PING_EVERY, Relay, SILENT, SILENT_MAX, Up};
use crate::cluster::tickets::Way;
use crate::realtime::wire::close::Close;
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::frames::Group;
use crate::realtime::wire::grant::{hello, is_hello_ack};

/// A line to the node that draws, on which the token was taken.
pub(super) struct Drawn {
    relay: Relay,
    way: Way,
}

impl Drawn {
    /// Connect to the node, and show it the token. `line`: the client's.
    pub(super) async fn connect(way: Way, client: std::net::IpAddr) -> anyhow::Result<Drawn> {
        let greeting = hello(&way.token.text());
        let relay = Relay::connect(&way.url, client, greeting, is_hello_ack).await?;
        Ok(Drawn { relay, way })
    }
}

/// Which side ended it.
enum End {
    /// The client, or its line.
    Client(Heard),
    /// The node ends the session.
    Node(Close),
    /// The client does not take what is sent.
    Stalled,
    /// The node is gone.
    Broken,
}

/// Pass on until one side ends. `first`: what the node hears before anything else. `can_resume`: its client
/// can come back.
pub(super) async fn relay(
    mut line: Line,
    Drawn { relay: Relay { mut up, mut down }, way }: Drawn,
    (first, can_resume): (Vec<Bytes>, bool),
    realtime: &Realtime,
) -> Over {
    let cluster = realtime.cluster.as_ref().expect("only a node of a cluster relays");
    let _counted = cluster.relayed();
    info!(node = way.node, epoch = way.token.epoch, "relayed");
    let is_there = || cluster.is_present(&way.node);
    let writer = line.connection.writer();
    let end = tokio::select! {
        end = pass_on(&mut line.connection, &mut up, first) => end,
        end = pass_back(&mut down, &writer, is_there) => end,
    };
    let close = match end {
        End::Client(heard) => {
            if matches!(heard, Heard::Left) {
                up.close().await;
            }
            heard.last_words()
        }
        End::Node(close) => {
            // The node hears that its close was answered only if the client has answered: it may want the end again.
            if line.finish(realtime.observer.clone(), Some(close.clone())).await {
                up.close().await;
            }
            return Over { line: None, close: Some(close) };
        }
        End::Stalled => None,
        End::Broken => {
            warn!(node = way.node, "the node that drew this session is gone");
            cluster.broken(&way.token);
            if !(way.journal && can_resume) {
                line.connection.tell(&ClientError::node_lost());
            }
            // Otherwise it comes back, and another node goes on.
            Some(Close::NODE_LOST)
        }
    };
    Over { line: Some(line), close }
}

/// The client's messages, one at a time: the next is read when the node has taken the one before.
async fn pass_on(connection: &mut Connection, up: &mut Up, first: Vec<Bytes>) -> End {
    for message in first {
        if up.send(message).await.is_err() {
            return End::Broken;
        }
    }
    let mut pings = interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            heard = connection.hear() => match heard {
                Heard::Binary(message) => up.send(message).await,
                Heard::Text => up.text().await,
                over => return End::Client(over),
            },
            _ = pings.tick() => up.ping().await,
        };
        if sent.is_err() {
            // Its last words may stand in the other direction.
            std::future::pending::<()>().await;
        }
    }
}

/// What the node sends, one at a time: the next is read when the client's socket has taken the one before.
async fn pass_back(down: &mut Down, writer: &Writer, is_there: impl Fn() -> bool) -> End {
    let mut alive = Instant::now();
    loop {
        match timeout(Duration::from_millis(500), down.next()).await {
            Ok(FromNode::Binary(header)) => {
                if writer.send(Group { header, payload: None }, None).await.is_err() {
                    return End::Stalled;
                }
            }
            Ok(FromNode::Alive) => {}
            Ok(FromNode::Close(code, reason)) => return End::Node(Close::of(code, &reason)),
            Ok(FromNode::Gone) => return End::Broken,
            Err(_elapsed) => {
                let silent = alive.elapsed();
                if silent > SILENT_MAX || (silent > SILENT && !is_there()) {
                    return End::Broken;
                }
                continue;
            }
        }
        alive = Instant::now();
    }
}
