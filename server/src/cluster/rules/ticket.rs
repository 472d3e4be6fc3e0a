//! A ticket: a session that waits for a place, as all nodes know it. Its picture and its prompt stay where its client is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::admission::rules::{Kind, Wish};

/// A session that waits for a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// The node that its client is connected to.
    pub door: String,
    /// SHA-256 of the secret with which the door will come, in hexadecimal. The secret itself is never in NATS.
    pub secret: String,
    /// 1 for the first grant of this session, one more for each after it.
    pub epoch: u32,
    /// Where it stands in the line, if it had a number there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came: Option<u64>,
    /// What it needs.
    pub needs: Needs,
    /// Whose it is. Absent: all clients are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyShare>,
}

/// What a session needs of the node that draws it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Memory.
    pub bytes: u64,
    /// Pixels of a frame.
    pub pixels: u64,
    /// Microseconds between two of its chunks. Absent: it takes what others leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_us: Option<u64>,
}

/// A key, and how many sessions it may have in the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyShare {
    /// Its name, never the key itself.
    pub name: String,
    /// Sessions at once.
    pub sessions: usize,
}

impl Needs {
    /// As a node's own admission asks for them.
    pub fn wish(&self) -> Wish {
        let kind = self.period_us.map_or(Kind::Free, |us| Kind::Paced { period: Duration::from_micros(us.max(1)) });
        Wish { bytes: self.bytes, pixels: self.pixels, kind }
    }
}
