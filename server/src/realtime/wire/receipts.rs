//! Receipts for a client that asked for them (`protocol_features: ["receipts"]`): that an event has come, which frame is
//! the first to show it, and a pair of times from which a client learns how its clock and the server's differ.
//!
//! Times are milliseconds of the server's clock since the session began, with fractions.

use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;

use super::{encode, small};
use crate::engine::turns::acks::Acks;
use crate::engine::turns::steering::first_frame_of;

/// The server's clock of one session.
#[derive(Debug, Clone, Copy)]
pub struct SessionClock {
    began: Instant,
}

impl SessionClock {
    /// A clock that says 0 at this moment.
    pub fn new(began: Instant) -> SessionClock {
        SessionClock { began }
    }

    /// What it says at this moment.
    pub(crate) fn ms(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.began).as_secs_f64() * 1000.0
    }

    /// An event has come at `at`. `id`: its own, if it has one.
    pub fn received(&self, id: Option<u32>, at: Instant) -> Bytes {
        encode(&Received { event_id: id, received_ms: self.ms(at) })
    }

    /// The answer to a client that says it is `client_ms` by its clock. `next_ms`: where the next latent frame that is
    /// not sampled yet stands in the video.
    pub fn answer(&self, client_ms: f64, received: Instant, sent: Instant, next_ms: f64) -> Bytes {
        let (received_ms, sent_ms) = (self.ms(received), self.ms(sent));
        encode(&Clock { client_ms, received_ms, sent_ms, next_frame_ms: next_ms })
    }
}

/// Which frames are the first to show which events, if there is anything to say.
pub fn applied(acks: &Acks, chunk_index: usize) -> Option<Bytes> {
    let Acks { receipts, superseded, .. } = acks;
    let news = !receipts.is_empty() || !superseded.is_empty();
    let applied = receipts.iter().map(|receipt| First {
        event_id: receipt.id,
        latent_frame: small(receipt.latent_frame as u64),
        first_frame_index: small(first_frame_of(receipt.latent_frame) as u64),
    });
    news.then(|| encode(&Applied { chunk_index, applied: applied.collect(), superseded }))
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "event_received")]
struct Received {
    /// Absent for an event without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<u32>,
    received_ms: f64,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "event_applied")]
struct Applied<'a> {
    /// The chunk that is the first to show them.
    chunk_index: usize,
    applied: Vec<First>,
    /// Replaced before a chunk could show them.
    superseded: &'a [u32],
}

#[derive(Serialize)]
struct First {
    event_id: u32,
    /// The first latent frame that it changes.
    latent_frame: u32,
    /// The first video frame of that, counted from 0 at the beginning of the video.
    first_frame_index: u32,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "clock")]
struct Clock {
    /// As the client said it.
    client_ms: f64,
    received_ms: f64,
    /// When this was handed to the socket.
    sent_ms: f64,
    /// When the next latent frame that can still be steered is shown, in the time of `pts_ms`.
    next_frame_ms: f64,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::turns::acks::Receipt;

    fn said(message: &Bytes) -> serde_json::Value {
        rmp_serde::from_slice(message).expect("a map")
    }

    #[test]
    fn a_receipt_names_chunk_latent_frame_and_first_video_frame() {
        let mut acks = Acks::default();
        assert_eq!(applied(&acks, 3), None);
        acks.receipts.push(Receipt { id: 7, latent_frame: 10, arrived: Instant::now() });
        acks.superseded([5]);
        let message = said(&applied(&acks, 3).expect("news"));
        let expected = serde_json::json!({
            "type": "event_applied", "chunk_index": 3, "superseded": [5],
            "applied": [{ "event_id": 7, "latent_frame": 10, "first_frame_index": 37 }],
        });
        assert_eq!(message, expected);
    }

    #[test]
    fn times_are_milliseconds_since_the_session_began() {
        let began = Instant::now();
        let clock = SessionClock::new(began);
        let at = |us| began + Duration::from_micros(us);
        let received = said(&clock.received(Some(7), at(1500)));
        assert_eq!(received, serde_json::json!({ "type": "event_received", "event_id": 7, "received_ms": 1.5 }));
        assert!(said(&clock.received(None, at(1500))).get("event_id").is_none());
        let answer = said(&clock.answer(-12.25, at(2000), at(2250), 312.5));
        let expected = serde_json::json!({
            "type": "clock", "client_ms": -12.25, "received_ms": 2.0, "sent_ms": 2.25, "next_frame_ms": 312.5,
        });
        assert_eq!(answer, expected);
    }
}
