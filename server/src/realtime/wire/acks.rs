//! What became of a client's own words, for one that asked to hear it (`protocol_features: ["ack"]`): what its session is,
//! and with each chunk the events it was drawn with, and those that others replaced before they could be seen.

use bytes::Bytes;
use serde::Serialize;

use super::encode;

/// Ids told with one chunk, of each sort. Of more, the oldest are not told: only a client that means harm sends so many.
pub const ACKS_MAX: usize = 256;

/// The ids of events since the chunk before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acks {
    applied: Vec<u32>,
    superseded: Vec<u32>,
}

impl Acks {
    pub fn applied(&mut self, ids: impl IntoIterator<Item = u32>) {
        note(&mut self.applied, ids);
    }

    pub fn superseded(&mut self, ids: impl IntoIterator<Item = u32>) {
        note(&mut self.superseded, ids);
    }

    /// The message, if there is anything to say.
    pub fn message(&self, chunk_index: usize) -> Option<Bytes> {
        let Acks { applied, superseded } = self;
        let news = !applied.is_empty() || !superseded.is_empty();
        news.then(|| encode(&EventAck { chunk_index, applied, superseded }))
    }
}

/// Each once, at most [`ACKS_MAX`].
pub fn note(noted: &mut Vec<u32>, ids: impl IntoIterator<Item = u32>) {
    for id in ids {
        noted.retain(|&earlier| earlier != id);
        noted.push(id);
    }
    noted.drain(..noted.len().saturating_sub(ACKS_MAX));
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "event_ack")]
struct EventAck<'a> {
    /// The chunk that is the first to show them.
    chunk_index: usize,
    applied: &'a [u32],
    superseded: &'a [u32],
}

/// What a session is, before its first chunk: said once.
#[derive(Serialize)]
#[serde(tag = "type", rename = "init_ack")]
pub struct InitAck<'a> {
    pub session_id: &'a str,
    /// Whatever `model` the init asked for.
    pub world: &'a str,
    /// Of the video as it is drawn.
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    pub paced: bool,
    /// Video frames; the first chunk may have fewer.
    pub chunk_frames: usize,
    /// Of `protocol_features`, those that this server has.
    pub features: Vec<&'static str>,
}

impl InitAck<'_> {
    pub fn message(&self) -> Bytes {
        encode(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_told_once_and_no_more_than_there_is_room_for() {
        let mut acks = Acks::default();
        assert_eq!(acks.message(3), None);
        acks.applied([7, 9, 7]);
        acks.superseded(0..ACKS_MAX as u32 + 5);
        assert_eq!(acks.applied, [9, 7]);
        assert_eq!((acks.superseded.len(), acks.superseded[0]), (ACKS_MAX, 5));
        let said: serde_json::Value = rmp_serde::from_slice(&acks.message(3).expect("news")).expect("a map");
        assert_eq!((&said["type"], &said["chunk_index"]), (&"event_ack".into(), &3.into()));
        assert_eq!(said["applied"], serde_json::json!([9, 7]));
    }
}
