//! A server's message, read in place: nothing is copied and nothing is allocated, so that a frame costs a game no more than
//! its bytes.

use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

/// Fields of every type of message that a walk needs. Those of another type, and those that a server does not send, are
/// absent.
#[derive(Debug, Deserialize)]
pub(crate) struct Fields<'a> {
    pub(crate) chunk_index: Option<u64>,
    pub(crate) event_id: Option<u32>,
    // Of frames.
    #[serde(borrow)]
    pub(crate) content_type: Option<&'a str>,
    pub(crate) num_frames: Option<u32>,
    pub(crate) total_size: Option<u64>,
    pub(crate) width: Option<u32>,
    pub(crate) height: Option<u32>,
    pub(crate) is_final_frame_batch: Option<bool>,
    pub(crate) first_frame_index: Option<u64>,
    pub(crate) pts_ms: Option<u64>,
    #[serde(default)]
    pub(crate) payload_lengths: List<u32, 16>,
    pub(crate) payload: Option<&'a serde_bytes::Bytes>,
    // Of a session.
    pub(crate) resume_token: Option<&'a str>,
    pub(crate) grace_ms: Option<u64>,
    /// Where it goes on.
    pub(crate) url: Option<&'a str>,
    #[serde(default)]
    pub(crate) features: Names,
    pub(crate) fps: Option<u32>,
    pub(crate) position: Option<u32>,
    // Of receipts.
    #[serde(default)]
    pub(crate) applied: List<u32, 256>,
    #[serde(default)]
    pub(crate) superseded: List<u32, 256>,
    // Of errors.
    pub(crate) content: Option<&'a str>,
    pub(crate) details: Option<Details<'a>>,
}

/// What an error says beside its text.
#[derive(Debug, Deserialize)]
pub(crate) struct Details<'a> {
    #[serde(borrow)]
    pub(crate) field: Option<&'a str>,
    pub(crate) reason: Option<&'a str>,
}

/// The type of a message, by its name on the wire. Fields of a type that nobody knows may have any form, so it is read first.
pub(crate) fn kind(message: &[u8]) -> Result<&str, rmp_serde::decode::Error> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow)]
        r#type: &'a str,
    }
    Ok(rmp_serde::from_slice::<Kind<'_>>(message)?.r#type)
}

/// Which frames are the first to show which events.
#[derive(Debug, Deserialize)]
pub(crate) struct Applied {
    pub(crate) chunk_index: u64,
    #[serde(default)]
    pub(crate) applied: List<First, 256>,
    #[serde(default)]
    pub(crate) superseded: List<u32, 256>,
}

/// Where an event shows first.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(crate) struct First {
    pub(crate) event_id: u32,
    pub(crate) first_frame_index: u64,
}

pub(crate) fn applied(message: &[u8]) -> Result<Applied, rmp_serde::decode::Error> {
    rmp_serde::from_slice(message)
}

pub(crate) fn fields(message: &[u8]) -> Result<Fields<'_>, rmp_serde::decode::Error> {
    rmp_serde::from_slice(message)
}

/// A list of at most `N` items, held in place. A server sends no more: 6 lengths a message, 256 ids.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List<T, const N: usize> {
    count: usize,
    items: [T; N],
}

impl<T: Copy + Default, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        List { count: 0, items: [T::default(); N] }
    }
}

impl<T, const N: usize> List<T, N> {
    pub(crate) fn as_slice(&self) -> &[T] {
        &self.items[..self.count]
    }
}

impl<'de, T: Copy + Default + Deserialize<'de>, const N: usize> Deserialize<'de> for List<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const N: usize>(PhantomData<T>);
        impl<'de, T: Copy + Default + Deserialize<'de>, const N: usize> Visitor<'de> for Items<T, N> {
            type Value = List<T, N>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a list of at most {N} items")
            }

            fn visit_unit<E>(self) -> Result<List<T, N>, E> {
                Ok(List::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T, N>, A::Error> {
                let mut read = List::default();
                while let Some(item) = list.next_element::<T>()? {
                    if read.count == N {
                        return Err(serde::de::Error::invalid_length(N + 1, &self));
                    }
                    read.items[read.count] = item;
                    read.count += 1;
                }
                Ok(read)
            }
        }
        deserializer.deserialize_any(Items(PhantomData))
    }
}

/// Which of the features that change what a walk does are in a list.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Names {
    pub(crate) ack: bool,
    pub(crate) receipts: bool,
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Names;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of names")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
                let mut names = Names::default();
                while let Some(name) = list.next_element::<&str>()? {
                    names.ack |= name == "ack";
                    names.receipts |= name == "receipts";
                }
                Ok(names)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::map;
    use rmpv::Value;

    fn bytes_of(entries: Vec<(&str, Value)>) -> Vec<u8> {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &map(entries)).expect("a Vec takes everything");
        bytes
    }

    #[test]
    fn fields_of_other_types_and_fields_that_nobody_knows_are_passed_by() {
        let message = bytes_of(vec![
            ("type", "chunk_stats".into()),
            ("surprise", map([("deep", Value::Array(vec![1.into()]))])),
            ("chunk_index", 7.into()),
            ("event_id", Value::Nil),
        ]);
        let fields = fields(&message).expect("MessagePack");
        assert_eq!((kind(&message).expect("MessagePack"), fields.chunk_index), ("chunk_stats", Some(7)));
        assert_eq!(fields.event_id, None);
        assert!(fields.payload.is_none() && fields.payload_lengths.as_slice().is_empty());
    }

    #[test]
    fn payload_and_lists_are_read_in_place() {
        let list = |numbers: &[u32]| Value::Array(numbers.iter().map(|&number| number.into()).collect());
        let message = bytes_of(vec![
            ("type", "frame_batch".into()),
            ("payload_lengths", list(&[3, 70_000])),
            ("payload", Value::Binary(vec![1, 2, 3])),
        ]);
        let fields = fields(&message).expect("MessagePack");
        assert_eq!(fields.payload_lengths.as_slice(), [3, 70_000]);
        assert_eq!(fields.payload.map(|payload| payload.as_ref()), Some(&[1u8, 2, 3][..]));
        let message = bytes_of(vec![("type", "event_ack".into()), ("applied", list(&[5; 257]))]);
        assert!(super::fields(&message).is_err(), "more ids than a server may send");
    }
}
