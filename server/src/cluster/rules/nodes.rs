//! Who is in the cluster. Each node writes a record each second; a node that has written none for three seconds is gone.
//!
//! Time is what NATS has stamped on the records, not this machine's: a node that was paused reads the records it missed in
//! their order, and takes nobody for dead who wrote all the while.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::admission::rules::Obstacle;

use super::ticket::Needs;

/// After so long without a record a node is gone.
pub const PRESENT_MS: u64 = 3000;

/// After so long a node that is gone is taken for lost: what it wrote may be removed.
pub const LOST_MS: u64 = 10_000;

/// After so long nobody comes back to a session of a lost node: its journal may be removed, too.
pub const JOURNAL_LOST_MS: u64 = 50_000;

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Presence {
    /// Fingerprint of its world: only tickets of the same world are for it.
    pub world: String,
    /// The version that it runs.
    pub version: String,
    /// Where other nodes reach it: `ws://HOST:PORT`.
    pub url: String,
    /// Sessions that it may draw.
    pub sessions_max: usize,
    /// Of these, those that it could begin.
    pub sessions_free: usize,
    /// Memory of all its sessions.
    pub bytes_max: u64,
    /// Of this, what is free.
    pub bytes_free: u64,
    /// Share of its device's time that is taken.
    pub load: f64,
    /// The share that may be.
    pub load_max: f64,
    /// It takes no more sessions.
    pub draining: bool,
}

/// The nodes of a cluster, as the records tell it.
#[derive(Debug, Default)]
pub struct Nodes {
    /// The newest stamp of all records.
    now_ms: u64,
    /// The oldest.
    since_ms: Option<u64>,
    nodes: BTreeMap<String, (Presence, u64)>,
}

impl Nodes {
    /// A node's record, and its stamp.
    pub fn heard(&mut self, node: &str, presence: Presence, at_ms: u64) {
        self.now_ms = self.now_ms.max(at_ms);
        self.since_ms = Some(self.since_ms.map_or(at_ms, |since| since.min(at_ms)));
        self.nodes.insert(node.to_owned(), (presence, at_ms));
        let now_ms = self.now_ms;
        self.nodes.retain(|_, (_, at)| now_ms.saturating_sub(*at) <= 6 * LOST_MS);
    }

    /// It has said goodbye.
    pub fn left(&mut self, node: &str) {
        self.nodes.remove(node);
    }

    /// Its record, if it is there.
    pub fn present(&self, node: &str) -> Option<&Presence> {
        let (presence, at) = self.nodes.get(node)?;
        (self.now_ms.saturating_sub(*at) <= PRESENT_MS).then_some(presence)
    }

    /// All nodes that are there.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Presence)> {
        let is_present = |at: u64| self.now_ms.saturating_sub(at) <= PRESENT_MS;
        self.nodes.iter().filter(move |(_, (_, at))| is_present(*at)).map(|(node, (presence, _))| (&**node, presence))
    }

    /// Whether what it wrote may be removed: it was silent for long, or never said a word.
    pub fn is_lost(&self, node: &str) -> bool {
        self.is_lost_for(node, LOST_MS)
    }

    /// As [`Nodes::is_lost`], for so long.
    pub fn is_lost_for(&self, node: &str, ms: u64) -> bool {
        let last = self.nodes.get(node).map(|(_, at)| *at).or(self.since_ms);
        last.is_some_and(|at| self.now_ms.saturating_sub(at) > ms)
    }

    /// What keeps the ticket at this position (1: the next) from a place, as far as the records tell. `granted`: the sessions
    /// that a node has been granted by now; its record may be a second old.
    pub fn obstacle(&self, needs: &Needs, position: usize, granted: impl Fn(&str) -> usize) -> Obstacle {
        let draws = || self.all().filter(|(_, presence)| !presence.draining);
        let max = draws().map(|(_, presence)| presence.sessions_max).sum();
        let has_place =
            |node: &str, presence: &Presence| presence.sessions_free > 0 && granted(node) < presence.sessions_max;
        let with_place = || draws().filter(|(node, presence)| has_place(node, presence)).map(|(_, presence)| presence);
        if position > 1 && with_place().next().is_some() {
            return Obstacle::Order;
        }
        let Some(most) = with_place().max_by_key(|presence| presence.bytes_free) else {
            return Obstacle::Sessions { max };
        };
        if most.bytes_free < needs.bytes {
            return Obstacle::Memory { bytes: needs.bytes, free: most.bytes_free, budget: most.bytes_max };
        }
        Obstacle::Order
    }

    /// Whether no node that is there could ever hold so many bytes: how many the largest could. `None`: one could, or
    /// none is there.
    pub fn too_large(&self, bytes: u64) -> Option<u64> {
        let largest = self.all().filter(|(_, node)| node.sessions_max > 0).map(|(_, node)| node.bytes_max).max()?;
        (bytes > largest).then_some(largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(free: usize) -> Presence {
        Presence {
            world: "w".into(),
            version: "1".into(),
            url: "ws://127.0.0.1:1".into(),
            sessions_max: 4,
            sessions_free: free,
            bytes_max: 100,
            bytes_free: 50,
            load: 0.0,
            load_max: 0.9,
            draining: false,
        }
    }

    #[test]
    fn a_node_is_gone_after_three_seconds_of_stamps_without_its_own() {
        let mut nodes = Nodes::default();
        nodes.heard("a", presence(1), 1000);
        nodes.heard("b", presence(1), 1100);
        for at in [2000, 3000, 4000] {
            nodes.heard("a", presence(1), at);
            assert!(nodes.present("b").is_some(), "at {at}");
        }
        nodes.heard("a", presence(1), 4101);
        assert!(nodes.present("b").is_none() && !nodes.is_lost("b"));
        assert_eq!(nodes.all().map(|(node, _)| node).collect::<Vec<_>>(), ["a"]);
        nodes.heard("a", presence(1), 11_101);
        assert!(nodes.is_lost("b") && !nodes.is_lost("a") && nodes.is_lost("never heard of"));
        nodes.heard("b", presence(1), 11_200);
        assert!(nodes.present("b").is_some(), "it is back");
        nodes.left("b");
        assert!(nodes.present("b").is_none());
    }

    #[test]
    fn a_node_that_was_paused_takes_nobody_for_dead_who_wrote_meanwhile() {
        let mut nodes = Nodes::default();
        nodes.heard("me", presence(1), 0);
        nodes.heard("b", presence(1), 0);
        // What it reads after a pause of 10 s, in the order of the log.
        for at in (1000..=10_000).step_by(1000) {
            nodes.heard("b", presence(1), at);
            assert!(nodes.present("b").is_some());
        }
        nodes.heard("me", presence(1), 10_500);
        assert!(nodes.present("b").is_some() && nodes.present("me").is_some());
    }

    #[test]
    fn what_keeps_a_ticket_waiting_is_told_from_the_records() {
        let needs = |bytes| Needs { bytes, pixels: 1, period_us: None };
        let mut nodes = Nodes::default();
        nodes.heard("a", presence(0), 0);
        assert_eq!(nodes.obstacle(&needs(10), 1, |_| 0), Obstacle::Sessions { max: 4 });
        nodes.heard("b", presence(1), 0);
        assert_eq!(nodes.obstacle(&needs(60), 1, |_| 0), Obstacle::Memory { bytes: 60, free: 50, budget: 100 });
        assert_eq!(nodes.obstacle(&needs(60), 2, |_| 0), Obstacle::Order);
        // A record is older than the grants.
        assert_eq!(nodes.obstacle(&needs(10), 1, |_| 4), Obstacle::Sessions { max: 8 });
        assert_eq!((nodes.too_large(100), nodes.too_large(101)), (None, Some(100)));
    }
}
