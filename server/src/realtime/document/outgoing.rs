//! What the server sends, read off messages that its own code makes: every form of each, so that a field that is not always
//! there is known to be so. A new field needs a line in `ABOUT`, a new message one in `messages`; tests say so.
//!
//! Over 400 lines: every message to a client stands in one list, with an example of each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use pipeline::world::{Reading, Refusal, Size, Unknown};
use rmpv::Value as Packed;
use serde_json::{Map, Value, json};

use super::form::Message;
use super::incoming;
use crate::admission::rules::{Obstacle, Waiting};
use crate::engine::turns::acks::{Acks, Receipt};
use crate::media::pictures::{Batch, Encoding, Format};
use crate::observe::costs::{Costs, Sums};
use crate::realtime::wire::acks::{InitAck, event_ack};
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::event::Invalid;
use crate::realtime::wire::frames::{ChunkLabel, PAYLOAD_ALONE_BYTES, Timing, chunk_stats, frame_group};
use crate::realtime::wire::grant::{hello_ack, redirect};
use crate::realtime::wire::hello::hello;
use crate::realtime::wire::moved::moved;
use crate::realtime::wire::prompt_read::prompt_read;
use crate::realtime::wire::queue::queue;
use crate::realtime::wire::receipts::{SessionClock, applied};
use crate::realtime::wire::sharing::{Reins, Role};
use crate::realtime::wire::timeline::{timeline, viewers_timeline};
use crate::realtime::wire::watch::{self, About, Guest};

const SESSION: &str = "5d41402abc4b2a76b9719d911017c592";

pub(super) fn messages() -> Vec<Message> {
    let message = |name, summary: &str, forms: Vec<Bytes>| Message {
        name,
        summary: summary.to_owned(),
        payload: schema_of(&forms.iter().map(decoded).collect::<Vec<_>>()),
        examples: forms.first().map(|form| json_of(&decoded(form))).into_iter().collect(),
    };
    vec![
        message("frame_batch", "Some frames of a chunk, with their payload.", frames(1)),
        message(
            "frame_batch_header",
            "Some frames of a chunk, whose payload is the next message: 64 KiB and more.",
            frames(PAYLOAD_ALONE_BYTES),
        ),
        message("chunk_stats", "What a chunk cost. Sent after its frames.", [None, Some(17)].map(stats).into()),
        message("error", "Something that was not done, and why.", errors()),
        message(
            "queue",
            "There is no place yet. For a client that named the feature queue.",
            [None, Some(Duration::from_secs(20))].map(waiting).into(),
        ),
        message(
            "session",
            "How to come back after a cut. For a client that named the feature session.",
            vec![hello(SESSION, "0f8fad5bd9cb469fa16570867728950e", 30_000, 0)],
        ),
        message(
            "init_ack",
            "What the session is, before its first chunk. For a client that named the feature ack.",
            [false, true].map(begun).into(),
        ),
        message(
            "prompt_read",
            "How the world reads a prompt, after init_ack and as soon as an event has brought one. For a client that named the feature unknown_words, in worlds that know few words.",
            vec![prompt_read(Some(17), &reading(), None), prompt_read(None, &reading(), Some("snowy hills at noon"))],
        ),
        message(
            "moved",
            "The session goes on at another server, which waits for a resume; this one closes next. For a client that named the feature moved.",
            [Some("wss://b.example/v1/realtime_video"), None].map(|url| moved(url, 57)).into(),
        ),
        message(
            "timeline",
            "Before a chunk that does not follow the one before it. For a client that named the feature rewind, reset or recording, and for every viewer.",
            vec![
                timeline(58, (40, 157), None),
                timeline(58, (40, 157), Some(21)),
                viewers_timeline(58, (0, 0), Size { width: 96, height: 64 }),
            ],
        ),
        message(
            "event_ack",
            "What became of events, before the frames of the chunk. For a client that named the feature ack.",
            acks(),
        ),
        message(
            "event_received",
            "An event has come. For a client that named the feature receipts.",
            [Some(17), None].map(|id| clock().received(id, Instant::now())).into(),
        ),
        message(
            "event_applied",
            "Which frames are the first to show which events, before the frames of the chunk. For a client that named the feature receipts.",
            applied(&acks_of_17(), 3).into_iter().collect(),
        ),
        message(
            "clock",
            "What time it is here, in answer to a client's own time. For a client that named the feature receipts.",
            vec![clock().answer(81234.5, Instant::now(), Instant::now(), 312.5)],
        ),
        message(
            "shared",
            "A token for viewers. For a client that named the feature spectators.",
            [Some(21), None]
                .map(|id| watch::shared(1, Role::View, "cwv_VGhlIG1lYWRvdyBpcyBncmVlbiwgdGhlIHNreSBibHVl", id))
                .into(),
        ),
        message(
            "viewers",
            "Who watches. For a client that named the feature spectators, with each change, at most every 250 ms.",
            vec![watch::viewers(3, reins(), &[Guest { viewer_id: 3, role: Role::Control.name(), share_id: 2 }])],
        ),
        message(
            "watching",
            "What the session is. To a viewer, before anything else.",
            vec![watch::watching(&seen(), 3, Role::Control)],
        ),
        message(
            "stage",
            "Whether the player is there, and who steers. To a viewer, with each change.",
            vec![watch::stage(true, false, reins())],
        ),
        message("hello_ack", "The token was right. To a door, or a client that was sent on.", vec![hello_ack(true)]),
        message(
            "redirect",
            "Another node draws the session: connect there, and say hello with this token. For a client that named the feature redirect.",
            vec![redirect("ws://10.0.0.2:30000/v1/realtime_video", "cwg_2c624232cdd221771294dfbb310aca00.1.c2VjcmV0")],
        ),
        message("skipped", "Chunks that a slow viewer is not sent, before the next one.", vec![watch::skipped(2, 17)]),
    ]
}

fn reins() -> Reins {
    Reins { camera: 3, prompt: Reins::PLAYER }
}

fn seen() -> About {
    let (session_id, world) = (SESSION.to_owned(), "pocket".to_owned());
    About { session_id, world, width: 96, height: 64, fps: 16, paced: true, chunk_frames: 4, features: vec!["rates"] }
}

fn reading() -> Reading {
    let misspelt = Unknown { word: "dessert".to_owned(), suggestion: Some("desert".to_owned()) };
    let stranger = Unknown { word: "dragon".to_owned(), suggestion: None };
    Reading { text: "a snowy".to_owned(), unknown: vec![misspelt, stranger] }
}

fn clock() -> SessionClock {
    SessionClock::new(Instant::now())
}

/// Frames in every form whose payload has so many bytes or a few more.
fn frames(bytes: usize) -> Vec<Bytes> {
    let size = Size { width: 2, height: 1 };
    let now = Instant::now();
    let mut forms = Vec::new();
    let formats =
        [Format::Raw, Format::Jpeg { quality: 50 }, Format::Webp { quality: 50 }, Format::H264 { quantiser: 25 }];
    for format in formats {
        for (event_id, timed) in [(Some(17), true), (None, false)] {
            let label = ChunkLabel {
                timing: timed.then_some(Timing { first_frame: 9, fps: 16, sampled: now }),
                ..label(event_id)
            };
            let payload = vec![0x2a; bytes.next_multiple_of(6)];
            let lengths = (format != Format::Raw).then(|| vec![payload.len() as u32]);
            let key_frames = matches!(format, Format::H264 { .. }).then(|| vec![0]);
            let batch = Batch { frames: 1, payload: payload.into(), lengths, key_frames };
            let encoding = Encoding::new(format, size, None);
            forms.push(frame_group(&label, &encoding, &batch, &Sums::default(), 1, now).header);
        }
    }
    forms
}

fn label(event_id: Option<u32>) -> ChunkLabel {
    let request_id = format!("{SESSION}_7d793037a0760186574b0282f2f435e7");
    ChunkLabel { session_id: SESSION.to_owned(), request_id, chunk_index: 3, event_id, timing: None }
}

fn stats(event_id: Option<u32>) -> Bytes {
    let encoding = Encoding::new(Format::Raw, Size { width: 2, height: 1 }, None);
    let sums = Sums { batches: 1, frames: 4, raw_bytes: 24, socket_bytes: 400 };
    chunk_stats(&label(event_id), &encoding, &Costs::default(), &sums)
}

fn errors() -> Vec<Bytes> {
    let refusal = || Refusal { field: "fps", reason: "300 is not allowed: it must be 1 to 240".to_owned() };
    let errors = [
        ClientError::invalid_init(refusal()),
        ClientError::invalid_event(Invalid { id: Some(17), refusal: refusal() }),
        ClientError::resumed_elsewhere(),
    ];
    errors.iter().map(ClientError::encode).collect()
}

fn waiting(estimate: Option<Duration>) -> Bytes {
    queue(&Waiting { position: 2, estimate, obstacle: Obstacle::Order })
}

fn begun(recorded: bool) -> Bytes {
    let ack = InitAck {
        session_id: SESSION,
        world: "pocket",
        width: 96,
        height: 64,
        fps: 16,
        paced: true,
        chunk_frames: 4,
        features: incoming::FEATURES.to_vec(),
        recorded,
    };
    ack.message()
}

fn acks() -> Vec<Bytes> {
    event_ack(&acks_of_17(), 3).into_iter().collect()
}

fn acks_of_17() -> Acks {
    let mut acks = Acks::default();
    acks.receipt(Receipt { id: 17, latent_frame: 9, arrived: Instant::now() });
    acks.superseded([16]);
    acks
}

fn decoded(message: &Bytes) -> Packed {
    rmpv::decode::read_value(&mut &message[..]).expect("our messages are MessagePack")
}

/// The schema that all these forms of one message have.
fn schema_of(forms: &[Packed]) -> Value {
    let maps = || forms.iter().filter_map(Packed::as_map);
    let mut properties: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut details = Vec::new();
    for (key, value) in maps().flatten() {
        let key = key.as_str().expect("our keys are text");
        properties.entry(key).or_default().insert(type_of(value));
        if value.is_map() {
            details.push(value.clone());
        }
    }
    let always = |key: &str| maps().all(|map| map.iter().any(|(name, _)| name.as_str() == Some(key)));
    let required: Vec<&str> = properties.keys().copied().filter(|key| always(key)).collect();
    let types: Map<String, Value> = properties
        .iter()
        .map(|(key, types)| {
            let schema = match types.iter().copied().collect::<Vec<_>>()[..] {
                ["object"] => schema_of(&details),
                ["bytes"] => json!({ "type": "string", "contentEncoding": "base64" }),
                ["array"] => json!({ "type": "array", "items": items_of(forms, key) }),
                [one] => json!({ "type": one }),
                ref several => json!({ "type": several }),
            };
            let mut schema = schema;
            if *key == "type" {
                schema["const"] =
                    json_of(&maps().next().and_then(|map| field(map, "type")).cloned().unwrap_or(Packed::Nil));
            }
            schema["description"] = about(key).into();
            ((*key).to_owned(), schema)
        })
        .collect();
    json!({ "type": "object", "properties": types, "required": required })
}

fn field<'a>(map: &'a [(Packed, Packed)], name: &str) -> Option<&'a Packed> {
    map.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
}

/// The schema of what the lists under this key hold.
fn items_of(forms: &[Packed], key: &str) -> Value {
    let lists = forms.iter().filter_map(|form| field(form.as_map()?, key)?.as_array());
    let items: Vec<Packed> = lists.flatten().cloned().collect();
    match items.first().expect("a list of an example has an item, which says what it holds") {
        Packed::Map(_) => schema_of(&items),
        item => json!({ "type": type_of(item) }),
    }
}

fn type_of(value: &Packed) -> &'static str {
    match value {
        Packed::Nil => "null",
        Packed::Boolean(_) => "boolean",
        Packed::Integer(_) => "integer",
        Packed::F32(_) | Packed::F64(_) => "number",
        Packed::String(_) => "string",
        Packed::Binary(_) => "bytes",
        Packed::Array(_) => "array",
        Packed::Map(_) => "object",
        Packed::Ext(..) => unreachable!("small decoders read no extensions, so none is sent"),
    }
}

/// As JSON: bytes become text.
fn json_of(value: &Packed) -> Value {
    match value {
        Packed::Nil => Value::Null,
        Packed::Boolean(flag) => (*flag).into(),
        Packed::Integer(number) => number.as_u64().expect("our integers have no sign").into(),
        Packed::String(text) => text.as_str().unwrap_or_default().into(),
        Packed::Binary(bytes) => BASE64_STANDARD.encode(bytes).into(),
        Packed::Array(items) => items.iter().map(json_of).collect(),
        Packed::Map(map) => map
            .iter()
            .map(|(key, value)| (key.as_str().unwrap_or_default().to_owned(), json_of(value)))
            .collect::<Map<_, _>>()
            .into(),
        Packed::F32(_) | Packed::F64(_) => value.as_f64().into(),
        Packed::Ext(..) => unreachable!("small decoders read no extensions, so none is sent"),
    }
}

/// What a field means: the same in every message.
pub(super) fn about(name: &str) -> &'static str {
    let found = ABOUT.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("{name} needs a line in ABOUT")).1
}

const ABOUT: &[(&str, &str)] = &[
    ("share_id", "The number of a token, as unshare names it."),
    ("role", "What a viewer may be allowed: view, director (the prompt) or control (the camera and the prompt)."),
    ("token", "Of shared: for viewers, it stands for the session and the role. Of redirect: opens the place, once."),
    ("place", "Whether a place is kept; false: the client comes back to a session."),
    ("url", "Of the node that draws."),
    ("count", "How many watch."),
    ("url", "The WebSocket where the session is resumed. Absent: the address that the client knows leads there."),
    (
        "messages",
        "How many messages of this connection, behind the first, the session has. Later ones are to be sent again.",
    ),
    ("guests", "The viewers that may be handed something, at most 64."),
    ("viewer_id", "The number of a viewer in the session, counted from 1."),
    ("camera", "The viewer that steers the camera; 0: the player."),
    ("prompt", "The viewer that says the prompt; 0: the player."),
    ("player", "here or away."),
    ("paused", "Whether the player has paused."),
    ("chunks", "How many."),
    ("type", "The type of the message."),
    ("text", "The prompt in the world's own words; empty: it knows none of them, and what is drawn stays as it was."),
    ("unknown", "Words that the world does not know, each once, in their order; at most 16."),
    ("word", "In small letters, the first 32 of them."),
    ("suggestion", "A word that the world knows and that is spelt much the same."),
    (
        "instead",
        "The prompt that the video begins with, where no word of the init's is known and it has no first frame.",
    ),
    ("received_ms", "When it came, in milliseconds of the server's clock since the session began."),
    ("recorded", "True where the server records the session; absent otherwise."),
    ("client_ms", "As the client said it."),
    ("sent_ms", "When the answer was handed to the socket, by the clock of received_ms."),
    ("next_frame_ms", "When the next latent frame that can still be steered is shown, in the time of pts_ms."),
    ("latent_frame", "The first latent frame that the event changes."),
    ("request_id", "The session's id and one for the chunk."),
    ("session_id", "The session, as logs and /v1/realtime_video/sessions name it."),
    ("chunk_index", "Counted from 0, without gaps. Of event_ack: the first chunk that shows the events."),
    ("video_chunk", "The place of that chunk in the video."),
    ("content_type", "application/x-raw-rgb, image/jpeg, image/webp or video/h264."),
    ("num_frames", "Frames in this message; of chunk_stats, in the chunk."),
    ("total_size", "Bytes of the payload."),
    ("frame_batch_index", "Which message of the chunk this is, from 0."),
    ("num_frame_batches", "Frame messages of the chunk."),
    ("is_final_frame_batch", "Whether this is the last of them."),
    ("event_id", "The largest id that steered this chunk or an earlier one; of an error, the event that was wrong."),
    ("format", "rgb24, jpeg, webp or h264."),
    ("encoding", "raw, jpeg, webp or h264."),
    ("width", "Pixels of a row; of frames, as they are sent."),
    ("height", "Pixels of a column; of frames, as they are sent."),
    ("channels", "Always 3."),
    ("bytes_per_frame", "Bytes of a frame as it was drawn, uncompressed."),
    ("raw_size", "Bytes of the payload, of raw frames."),
    ("payload_lengths", "Bytes of each encoded file or access unit; they follow each other in the payload."),
    ("key_frames", "Of h264: the frames of this message, counted from 0, that can be decoded without those before."),
    ("source_width", "Pixels of a row as it was drawn, of encoded frames."),
    ("source_height", "Pixels of a column as it was drawn, of encoded frames."),
    ("preview_width", "Pixels of a row as it is sent, of encoded frames."),
    ("preview_height", "Pixels of a column as it is sent, of encoded frames."),
    (
        "first_frame_index",
        "Where the first frame stands in the video, for a client that named timing; of event_applied, the first that shows the event.",
    ),
    ("pts_ms", "When the first frame is due at fps, for a client that named timing."),
    ("controls_age_ms", "How long before this message the keys were sampled, for a client that named timing."),
    ("payload", "The frames. Raw: RGB8, rows from the top, nothing between frames."),
    ("request_prepare_ms", "Preparing what the model is given."),
    ("scheduler_forward_ms", "All of the model."),
    ("pace_wait_ms", "Held back until it was due."),
    ("header_write_ms", "Writing the headers."),
    ("raw_payload_build_ms", "Encoding the frames."),
    ("raw_write_ms", "Writing the payloads."),
    ("ws_write_ms", "Writing headers and payloads."),
    ("chunk_total_ms", "From the first of it to the last."),
    ("num_batches", "Frame messages of the chunk."),
    ("raw_bytes", "Bytes of the frames, uncompressed."),
    ("ws_payload_bytes", "Bytes of the chunk's frame messages."),
    ("text_ms", "Of the model: reading a prompt."),
    ("dit_ms", "Of the model: denoising."),
    ("vae_ms", "Of the model: decoding."),
    ("content", "In the words of the reference."),
    ("code", "For programs: docs/wire.md lists the codes."),
    ("details", "Which field was wrong, if one was."),
    ("field", "Its name on the wire."),
    ("reason", "What was wrong, and what is allowed; of queue, what is missing: sessions, memory, time, order."),
    ("position", "In the queue; 1 is next."),
    ("estimated_wait_ms", "Absent while there is no estimate."),
    ("resume_token", "For a resume, in place of an init."),
    ("grace_ms", "How long the session waits for its client."),
    ("next_chunk", "The chunk that comes next."),
    ("world", "The served world's name."),
    ("fps", "Video frames a second."),
    ("paced", "Whether chunks are held back until they are due."),
    ("chunk_frames", "Video frames of a chunk; the first may have fewer."),
    ("features", "The features that the client named and the server has."),
    (
        "applied",
        "Events that this chunk is the first to show, at most 256: of event_ack their ids, of event_applied where each shows.",
    ),
    ("superseded", "Ids of events that were replaced before a chunk could show them; at most 256."),
];
