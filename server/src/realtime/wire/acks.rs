//! Acknowledgements for a client that asked for them (`protocol_features: ["ack"]`): the session's settings,
//! and with each chunk the events it was drawn with, and the events that later ones replaced before they took effect.

use bytes::Bytes;
use serde::Serialize;

use super::encode;
use crate::engine::turns::acks::Acks;

/// The message about a chunk's events, if there is anything to say.
pub fn event_ack(acks: &Acks, chunk_index: usize) -> Option<Bytes> {
    let Acks { applied, superseded, .. } = acks;
    let news = !applied.is_empty() || !superseded.is_empty();
    news.then(|| encode(&EventAck { chunk_index, applied, superseded }))
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "event_ack")]
struct EventAck<'a> {
    /// The chunk that is the first to show them.
    chunk_index: usize,
    applied: &'a [u32],
    superseded: &'a [u32],
}

/// The session's settings, sent once before the first chunk.
#[derive(Serialize)]
#[serde(tag = "type", rename = "init_ack")]
pub struct InitAck<'a> {
    /// The session, as logs and `/v1/realtime_video/sessions` name it.
    pub session_id: &'a str,
    /// The served world's name, whatever `model` the init named.
    pub world: &'a str,
    /// Of the video as it is drawn.
    pub width: u32,
    /// Pixels of a column of the video as it is drawn.
    pub height: u32,
    /// Video frames a second.
    pub fps: u32,
    /// Whether chunks are held back until they are due.
    pub paced: bool,
    /// Video frames; the first chunk may have fewer.
    pub chunk_frames: usize,
    /// The features of `protocol_features` that this server has.
    pub features: Vec<&'static str>,
    /// Whether the server records it; said only where it does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recorded: bool,
}

impl InitAck<'_> {
    /// In MessagePack.
    pub fn message(&self) -> Bytes {
        encode(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_without_news_of_events_says_nothing() {
        let mut acks = Acks::default();
        assert_eq!(event_ack(&acks, 3), None);
        acks.applied([9, 7]);
        let said: serde_json::Value = rmp_serde::from_slice(&event_ack(&acks, 3).expect("news")).expect("a map");
        assert_eq!((&said["type"], &said["chunk_index"]), (&"event_ack".into(), &3.into()));
        assert_eq!((&said["applied"], &said["superseded"]), (&serde_json::json!([9, 7]), &serde_json::json!([])));
    }
}
