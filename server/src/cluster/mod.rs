//! Equal nodes around NATS: one queue for all clients, and a grant for each session, so that a full node's client is drawn
//! where there is room.
//!
//! `rules` decides. `nats` writes and reads records. `node` is the task that does both for this server. `relay` is the line
//! from a door to the node that draws. Video never passes through NATS.

// Without the feature nobody connects, and what follows is compiled all the same: so it stays right.
#![cfg_attr(
    not(feature = "cluster"),
    allow(dead_code, unreachable_code, unused_assignments, unused_mut, unused_variables)
)]

pub mod credentials;
pub(crate) mod journal;
pub(crate) mod leaving;
mod levels;
#[cfg_attr(not(feature = "cluster"), path = "nats_absent.rs")]
pub(crate) mod nats;
pub(crate) mod node;
mod reading;
pub(crate) mod relay;
pub mod rules;
mod serving;
pub(crate) mod tickets;

use std::path::PathBuf;

/// How this server joins a cluster.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Servers of NATS, as `nats://HOST:PORT` or `tls://HOST:PORT`.
    pub servers: Vec<String>,
    /// How to sign in there. `None`: as nobody.
    pub credentials: Option<PathBuf>,
    /// Where other nodes and redirected clients reach this one: `ws://HOST:PORT`. `None`: where it listens.
    pub advertise: Option<String>,
    /// After so many chunks a session's state is kept in NATS, and what steers each chunk: so another node can go on with it when
    /// this one dies. `None`: it ends then.
    pub journal: Option<u32>,
}
