//! What a load run needs of a server's message: read in place, and leniently, so that any server of this wire will do. What a
//! server does not send is absent.

use anyhow::Context;
use causeway_client::Message;
use serde::Deserialize;

/// A message of a server.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// Some frames of a chunk, with their payload.
    Frames(Frames),
    /// A chunk is over.
    Stats(Stats),
    /// An error, with what the server said.
    Refused(String),
    /// A message that measures nothing.
    Other,
}

/// The header of some frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Frames {
    /// From 0.
    pub chunk_index: u64,
    /// In this message.
    pub num_frames: u32,
    /// Whether the chunk ends with it.
    #[serde(default)]
    pub is_final_frame_batch: bool,
    /// The last event that shows in these frames or earlier ones.
    #[serde(default)]
    pub event_id: Option<u64>,
}

/// What the server says of a chunk, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
pub struct Stats {
    /// From its preparation to its last byte on the socket.
    #[serde(default)]
    pub chunk_total_ms: Option<f64>,
    /// Of this, waiting for the time to send it.
    #[serde(default)]
    pub pace_wait_ms: Option<f64>,
}

#[derive(Deserialize)]
struct Refused<'a> {
    content: &'a str,
    #[serde(borrow, default)]
    details: Option<Details<'a>>,
}

#[derive(Deserialize)]
struct Details<'a> {
    field: Option<&'a str>,
    reason: Option<&'a str>,
}

impl Heard {
    /// Read a MessagePack map.
    ///
    /// # Errors
    /// If it is none, has no `type`, or lacks a field that every server of this wire sends.
    pub fn read(map: &[u8]) -> anyhow::Result<Heard> {
        let kind = Message::kind_of(map).context("a message of the server")?;
        let wrong = || format!("a message of the type {kind}");
        Ok(match kind {
            "frame_batch" | "frame_batch_header" => Heard::Frames(rmp_serde::from_slice(map).with_context(wrong)?),
            "chunk_stats" => Heard::Stats(rmp_serde::from_slice(map).with_context(wrong)?),
            "error" => {
                let Refused { content, details } = rmp_serde::from_slice(map).with_context(wrong)?;
                let words = details.into_iter().flat_map(|details| [details.field, details.reason]).flatten();
                Heard::Refused(std::iter::once(content).chain(words).collect::<Vec<_>>().join(": "))
            }
            _ => Heard::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use causeway_client::message::map;
    use rmpv::Value;

    use super::*;

    fn read(entries: Vec<(&str, Value)>) -> anyhow::Result<Heard> {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &map(entries)).expect("a Vec takes everything");
        Heard::read(&bytes)
    }

    #[test]
    fn a_message_is_read_whether_or_not_the_server_sends_more_than_the_least() {
        let least = vec![
            ("type", "frame_batch".into()),
            ("chunk_index", 3.into()),
            ("num_frames", 12.into()),
            ("payload", Value::Binary(vec![0; 9])),
        ];
        let frames = Frames { chunk_index: 3, num_frames: 12, is_final_frame_batch: false, event_id: None };
        assert_eq!(read(least.clone()).expect("frames"), Heard::Frames(frames));
        let more = [("is_final_frame_batch", true.into()), ("event_id", 7.into()), ("surprise", Value::Array(vec![]))];
        let frames = Frames { is_final_frame_batch: true, event_id: Some(7), ..frames };
        assert_eq!(read([least, more.to_vec()].concat()).expect("frames"), Heard::Frames(frames));
        let stats = vec![("type", "chunk_stats".into()), ("chunk_total_ms", 250.into()), ("event_id", Value::Nil)];
        let expected = Stats { chunk_total_ms: Some(250.0), pace_wait_ms: None };
        assert_eq!(read(stats).expect("statistics"), Heard::Stats(expected));
    }

    #[test]
    fn a_refusal_says_what_the_server_said_and_other_messages_are_passed_by() {
        let error = vec![("type", "error".into()), ("content", "invalid event".into())];
        assert_eq!(read(error.clone()).expect("an error"), Heard::Refused("invalid event".into()));
        let details = map([("field", "size".into()), ("reason", "too large".into())]);
        let error = [error, vec![("code", "x".into()), ("details", details)]].concat();
        assert_eq!(read(error).expect("an error"), Heard::Refused("invalid event: size: too large".into()));
        assert_eq!(read(vec![("type", "queue".into()), ("num_frames", "x".into())]).expect("another"), Heard::Other);
        assert!(read(vec![("type", "frame_batch".into())]).is_err());
        assert!(Heard::read(b"\x01").is_err());
    }
}
