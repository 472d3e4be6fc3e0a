//! The messages about chunks, in MessagePack that the smallest decoder reads.
//!
//! A client that knows only the reference may take an unknown message for a frame header, and pixels for a message: so
//! any other type is sent only to clients that asked for it by name (`protocol_features`), and a header and its payload
//! are built here as one group.
//!
//! Over 400 lines: half of it are tests that read headers as the smallest decoder does.

use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;

use super::{encode, small, whole_ms};
use crate::media::pictures::{Batch, Encoding};
use crate::observe::costs::{Costs, Sums};

/// A payload from this size on follows its header as a message of its own, uncopied.
pub(crate) const PAYLOAD_ALONE_BYTES: usize = 65_536;

/// The messages of one batch of frames, to be sent with nothing between them.
pub(crate) struct Group {
    /// Says what the frames are.
    pub(crate) header: Bytes,
    /// `None`: the payload stands in the header message.
    pub(crate) payload: Option<Bytes>,
}

impl Group {
    /// Of both.
    pub(crate) fn bytes(&self) -> u64 {
        (self.header.len() + self.payload.as_ref().map_or(0, Bytes::len)) as u64
    }
}

/// The fields that all messages of a chunk share.
#[derive(Debug, Clone)]
pub(crate) struct ChunkLabel {
    /// The session's id.
    pub(crate) session_id: String,
    /// The chunk's own id: the session's and a random one.
    pub(crate) request_id: String,
    /// Counted from 0.
    pub(crate) chunk_index: usize,
    /// The largest id of the events that it shows.
    pub(crate) event_id: Option<u32>,
    /// For a client that asked for it.
    pub(crate) timing: Option<Timing>,
}

/// Where a chunk stands in time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Video frames before it.
    pub(crate) first_frame: u64,
    /// Video frames a second.
    pub(crate) fps: u32,
    /// When its controls were sampled.
    pub(crate) sampled: Instant,
}

#[derive(Serialize)]
struct FrameBatch<'a> {
    r#type: &'static str,
    request_id: &'a str,
    chunk_index: usize,
    content_type: &'static str,
    num_frames: usize,
    total_size: usize,
    frame_batch_index: usize,
    num_frame_batches: usize,
    is_final_frame_batch: bool,
    /// Absent rather than nil: clients compare it as a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<u32>,
    format: &'static str,
    width: u32,
    height: u32,
    channels: u32,
    /// Width of the frame as drawn, even if it is sent smaller, as in the reference.
    bytes_per_frame: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_size: Option<usize>,
    encoding: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preview_width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preview_height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_lengths: Option<&'a [u32]>,
    /// For a film alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_frames: Option<&'a [u32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_frame_index: Option<u32>,
    /// Computed from the session's rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pts_ms: Option<u32>,
    /// A duration, so that no two clocks need to agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    controls_age_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a serde_bytes::Bytes>,
}

/// The message, or two, of some of a chunk's frames, after what was sent of it `before`. `of` is how many batches there
/// will be.
pub(crate) fn frame_group(
    label: &ChunkLabel,
    encoding: &Encoding,
    batch: &Batch,
    before: &Sums,
    of: usize,
    now: Instant,
) -> Group {
    let alone = batch.payload.len() >= PAYLOAD_ALONE_BYTES;
    let encoded = batch.lengths.as_deref();
    let (source, sent) = (encoding.source(), encoding.sent());
    let when_encoded = |value: u32| encoded.map(|_| value);
    let first_frame = label.timing.map_or(0, |timing| timing.first_frame) + before.frames as u64;
    let header = encode(&FrameBatch {
        r#type: if alone { "frame_batch_header" } else { "frame_batch" },
        request_id: &label.request_id,
        chunk_index: label.chunk_index,
        content_type: encoding.format().content_type(),
        num_frames: batch.frames,
        total_size: batch.payload.len(),
        frame_batch_index: before.batches,
        num_frame_batches: of,
        is_final_frame_batch: before.batches + 1 == of,
        event_id: label.event_id,
        format: if encoded.is_some() { encoding.format().name() } else { "rgb24" },
        width: sent.width,
        height: sent.height,
        channels: 3,
        bytes_per_frame: source.frame_bytes(),
        raw_size: encoded.is_none().then_some(batch.payload.len()),
        encoding: encoding.format().name(),
        source_width: when_encoded(source.width),
        source_height: when_encoded(source.height),
        preview_width: when_encoded(sent.width),
        preview_height: when_encoded(sent.height),
        payload_lengths: encoded,
        key_frames: batch.key_frames.as_deref(),
        first_frame_index: label.timing.map(|_| small(first_frame)),
        pts_ms: label.timing.map(|timing| small(first_frame * 1000 / u64::from(timing.fps))),
        controls_age_ms: label.timing.map(|timing| whole_ms(now.duration_since(timing.sampled))),
        payload: (!alone).then(|| serde_bytes::Bytes::new(&batch.payload)),
    });
    Group { header, payload: alone.then(|| batch.payload.clone()) }
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "chunk_stats")]
struct ChunkStats<'a> {
    session_id: &'a str,
    request_id: &'a str,
    chunk_index: usize,
    event_id: Option<u32>,
    request_prepare_ms: u32,
    scheduler_forward_ms: u32,
    pace_wait_ms: u32,
    header_write_ms: u32,
    raw_payload_build_ms: u32,
    raw_write_ms: u32,
    ws_write_ms: u32,
    chunk_total_ms: u32,
    num_batches: usize,
    num_frames: usize,
    raw_bytes: u32,
    ws_payload_bytes: u32,
    content_type: &'static str,
    // Beyond the reference: where the world's time went.
    text_ms: u32,
    dit_ms: u32,
    vae_ms: u32,
}

/// The message after a chunk's frames: what it cost and what it came to.
pub(crate) fn chunk_stats(label: &ChunkLabel, encoding: &Encoding, costs: &Costs, sums: &Sums) -> Bytes {
    encode(&ChunkStats {
        session_id: &label.session_id,
        request_id: &label.request_id,
        chunk_index: label.chunk_index,
        event_id: label.event_id,
        request_prepare_ms: whole_ms(costs.prepare),
        scheduler_forward_ms: whole_ms(costs.generate),
        pace_wait_ms: whole_ms(costs.pace_wait),
        header_write_ms: whole_ms(costs.header_write),
        raw_payload_build_ms: whole_ms(costs.encode),
        raw_write_ms: whole_ms(costs.payload_write),
        ws_write_ms: whole_ms(costs.header_write + costs.payload_write),
        chunk_total_ms: whole_ms(costs.total),
        num_batches: sums.batches,
        num_frames: sums.frames,
        raw_bytes: small(sums.raw_bytes),
        ws_payload_bytes: small(sums.socket_bytes),
        content_type: encoding.format().content_type(),
        text_ms: whole_ms(costs.world.text),
        dit_ms: whole_ms(costs.world.dit),
        vae_ms: whole_ms(costs.world.vae),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pipeline::world::Size;
    use rmpv::Value;

    use super::*;
    use crate::media::pictures::Format;

    fn label(event_id: Option<u32>) -> ChunkLabel {
        let session_id = "0123456789abcdef0123456789abcdef".to_owned();
        ChunkLabel {
            request_id: format!("{session_id}_{session_id}"),
            session_id,
            chunk_index: 0,
            event_id,
            timing: None,
        }
    }

    fn batch(frames: usize, bytes: usize, encoded: bool) -> Batch {
        let lengths = encoded.then(|| vec![(bytes / frames) as u32; frames]);
        Batch { frames, payload: vec![0x2a; bytes].into(), lengths, key_frames: None }
    }

    fn encoding(format: Format) -> Encoding {
        Encoding::new(format, Size { width: 2, height: 2 }, None)
    }

    fn decoded(bytes: &[u8]) -> Value {
        assert_readable_by_small_decoders(bytes);
        rmpv::decode::read_value(&mut &bytes[..]).expect("we encode MessagePack")
    }

    /// Fails on any form that the reference's page cannot read.
    fn assert_readable_by_small_decoders(bytes: &[u8]) {
        fn walk(bytes: &mut &[u8]) {
            let marker = rmpv_marker(bytes[0]);
            assert!(marker, "marker {:02x}", bytes[0]);
            let value = rmpv::decode::read_value(bytes).expect("MessagePack");
            let mut again = Vec::new();
            for child in match value {
                Value::Array(items) => items,
                Value::Map(pairs) => pairs.into_iter().flat_map(|(key, value)| [key, value]).collect(),
                _ => Vec::new(),
            } {
                again.clear();
                rmpv::encode::write_value(&mut again, &child).expect("a Vec takes everything");
                walk(&mut &again[..]);
            }
        }
        fn rmpv_marker(byte: u8) -> bool {
            !matches!(byte, 0xe0..=0xff | 0xd0..=0xd3 | 0xcf | 0xc7..=0xc9 | 0xd4..=0xd8 | 0xdb | 0xdf)
        }
        walk(&mut &bytes[..]);
    }

    fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
        let map = value.as_map().expect("a map");
        map.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
    }

    #[test]
    fn a_small_raw_chunk_begins_as_the_reference_does() {
        let group = frame_group(
            &label(None),
            &encoding(Format::Raw),
            &batch(9, 108, false),
            &Sums::default(),
            1,
            Instant::now(),
        );
        let message = &group.header;
        let mut expected = b"\xde\x00\x11\xa4type\xabframe_batch\xaarequest_id\xd9\x41".to_vec();
        expected.extend_from_slice(label(None).request_id.as_bytes());
        expected.extend_from_slice(b"\xabchunk_index\x00\xaccontent_type\xb5application/x-raw-rgb");
        expected.extend_from_slice(b"\xaanum_frames\x09\xaatotal_size\x6c");
        assert_eq!(&message[..expected.len()], expected);
        let payload = [&b"\xa7payload\xc4\x6c"[..], &[0x2a; 108]].concat();
        assert!(message.ends_with(&payload) && group.payload.is_none());
    }

    #[test]
    fn maps_have_the_sizes_of_the_reference() {
        let check = |format: Format, event_id, bytes: usize, expected: usize| {
            let encoded = format != Format::Raw;
            let group = frame_group(
                &label(event_id),
                &encoding(format),
                &batch(2, bytes, encoded),
                &Sums::default(),
                1,
                Instant::now(),
            );
            let message = decoded(&group.header);
            assert_eq!(message.as_map().expect("a map").len(), expected);
            assert_eq!(field(&message, "event_id").and_then(Value::as_u64), event_id.map(u64::from));
        };
        check(Format::Raw, None, 70_000, 16);
        check(Format::Raw, Some(7), 70_000, 17);
        check(Format::Raw, None, 24, 17);
        check(Format::Jpeg { quality: 50 }, None, 70_000, 20);
        check(Format::Webp { quality: 50 }, Some(u32::MAX), 24, 22);
    }

    #[test]
    fn a_payload_of_64_kib_stands_alone_and_one_byte_less_does_not() {
        for (bytes, r#type) in [(65_535, "frame_batch"), (65_536, "frame_batch_header")] {
            let group = frame_group(
                &label(None),
                &encoding(Format::Raw),
                &batch(1, bytes, false),
                &Sums::default(),
                1,
                Instant::now(),
            );
            let message = rmpv::decode::read_value(&mut &group.header[..]).expect("MessagePack");
            assert_eq!(field(&message, "type").and_then(Value::as_str), Some(r#type));
            assert_eq!(field(&message, "total_size").and_then(Value::as_u64), Some(bytes as u64));
            let alone = group.payload.as_ref().map(Bytes::len);
            assert_eq!(alone, (bytes >= PAYLOAD_ALONE_BYTES).then_some(bytes));
        }
    }

    #[test]
    fn an_encoded_batch_says_how_long_each_frame_is_and_what_it_was() {
        let encoding = Encoding::new(Format::Webp { quality: 50 }, Size { width: 101, height: 51 }, Some(40));
        let before = Sums { batches: 1, frames: 6, ..Sums::default() };
        let group = frame_group(&label(None), &encoding, &batch(3, 30, true), &before, 2, Instant::now());
        let message = decoded(&group.header);
        let number = |name| field(&message, name).and_then(Value::as_u64);
        assert_eq!((number("width"), number("height")), (Some(40), Some(20)));
        assert_eq!((number("source_width"), number("source_height")), (Some(101), Some(51)));
        assert_eq!((number("preview_width"), number("preview_height")), (Some(40), Some(20)));
        assert_eq!(number("bytes_per_frame"), Some(101 * 51 * 3));
        assert_eq!((number("frame_batch_index"), number("num_frame_batches")), (Some(1), Some(2)));
        assert_eq!(field(&message, "is_final_frame_batch"), Some(&Value::from(true)));
        assert_eq!(field(&message, "payload_lengths"), Some(&Value::Array(vec![Value::from(10); 3])));
        assert!(field(&message, "raw_size").is_none());
    }

    #[test]
    fn a_header_says_where_its_frames_stand_in_the_video_to_whom_asked_for_that() {
        let now = Instant::now();
        let timing = Timing { first_frame: 9, fps: 25, sampled: now };
        let before = Sums { batches: 1, frames: 4, ..Sums::default() };
        for (timing, expected) in [(Some(timing), [Some(13), Some(520)]), (None, [None, None])] {
            let label = ChunkLabel { timing, ..label(None) };
            let message = decoded(
                &frame_group(
                    &label,
                    &encoding(Format::Raw),
                    &batch(2, 24, false),
                    &before,
                    2,
                    now + Duration::from_millis(40),
                )
                .header,
            );
            let number = |name| field(&message, name).and_then(Value::as_u64);
            assert_eq!([number("first_frame_index"), number("pts_ms")], expected);
            assert_eq!(number("controls_age_ms"), expected[0].map(|_| 40));
        }
    }

    #[test]
    fn stats_are_integers_rounded_half_up() {
        let costs = Costs {
            generate: Duration::from_micros(1_500),
            pace_wait: Duration::from_micros(1_499),
            header_write: Duration::from_micros(300),
            payload_write: Duration::from_micros(300),
            ..Costs::default()
        };
        let sums = Sums { batches: 2, frames: 9, raw_bytes: 108, socket_bytes: 1 << 40 };
        let bytes = chunk_stats(&label(None), &encoding(Format::Raw), &costs, &sums);
        let stats = decoded(&bytes);
        let number = |name| field(&stats, name).and_then(Value::as_u64);
        assert_eq!((number("scheduler_forward_ms"), number("pace_wait_ms")), (Some(2), Some(1)));
        assert_eq!(
            (number("header_write_ms"), number("raw_write_ms"), number("ws_write_ms")),
            (Some(0), Some(0), Some(1))
        );
        assert_eq!(number("ws_payload_bytes"), Some(u64::from(u32::MAX)));
        assert_eq!(field(&stats, "event_id"), Some(&Value::Nil), "nil here, absent in a header");
        for key in [
            "type",
            "session_id",
            "request_id",
            "chunk_index",
            "event_id",
            "request_prepare_ms",
            "scheduler_forward_ms",
            "pace_wait_ms",
            "header_write_ms",
            "raw_payload_build_ms",
            "raw_write_ms",
            "ws_write_ms",
            "chunk_total_ms",
            "num_batches",
            "num_frames",
            "raw_bytes",
            "ws_payload_bytes",
            "content_type",
        ] {
            assert!(field(&stats, key).is_some(), "{key}");
        }
    }
}
