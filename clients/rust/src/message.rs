//! The messages of the wire as types: what a server says, and (from `request`) what a client says. A server sends four types of
//! message to everybody, and more to a client that asks for them.

use bytes::Bytes;
use serde::{Deserialize, Deserializer};

pub use crate::request::{Event, Init, Watch, map, resume, script};

/// What a server says.
#[derive(Debug, Clone)]
pub enum Message {
    Batch(Batch),
    Stats(Stats),
    Error(Refused),
    /// For a client that named the feature `session`.
    Session(Hello),
    /// While there is no place; for a client that named the feature `queue`.
    Queue(Standing),
    /// Before a chunk that does not follow the one before it; for a client that named `rewind` or `recording`.
    Timeline(Timeline),
    /// For a client that named the feature `unknown_words`, in a world that knows few.
    PromptRead(PromptRead),
    /// The session goes on at another server.
    Moved(Moved),
    /// For a client that named the feature `ack`, before the first chunk.
    Begun(InitAck),
    /// For such a client too, before the frames of each chunk that an event steered.
    Ack(EventAck),
    /// For a client that named the feature `receipts`: an event has come.
    Received(Received),
    /// For such a client too, before the frames of each chunk that an event steered.
    Applied(Applied),
    /// For such a client too, in answer to its own time.
    Clock(Clock),
    /// To a viewer, before anything else.
    Watching(Watching),
    /// To a viewer: whether the player is there, and who steers.
    Stage(Stage),
    /// To a viewer that was too slow.
    Skipped(Skipped),
    /// For a client that named the feature `spectators`: the token that it asked for.
    Shared(Shared),
    /// For such a client too: who watches.
    Viewers(Viewers),
    Closed(Close),
}

/// What a viewer watches.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Watching {
    pub session_id: String,
    /// The viewer's own number in the session, from 1.
    pub viewer_id: u32,
    pub role: String,
    pub world: String,
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    pub paced: bool,
    pub chunk_frames: usize,
    /// How the camera can be steered beside keys.
    #[serde(default)]
    pub features: Vec<String>,
}

/// Who is there, and who steers.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Stage {
    /// `here` or `away`.
    pub player: String,
    pub paused: bool,
    /// The viewer that holds the camera; 0: the player.
    pub camera: u32,
    /// The viewer that holds the prompt; 0: the player.
    pub prompt: u32,
}

/// Chunks that a slow viewer was not sent.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
pub struct Skipped {
    pub chunks: u64,
    pub next_chunk: u64,
}

/// A token for viewers.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Shared {
    pub share_id: u32,
    pub role: String,
    pub token: String,
    pub event_id: Option<u64>,
}

/// Who watches.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Viewers {
    pub count: usize,
    pub camera: u32,
    pub prompt: u32,
    /// Those that may be handed something.
    pub guests: Vec<Guest>,
}

/// A viewer that may be handed something.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Guest {
    pub viewer_id: u32,
    pub role: String,
    pub share_id: u32,
}

/// What a session is.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct InitAck {
    pub session_id: String,
    pub world: String,
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    pub paced: bool,
    pub chunk_frames: usize,
    pub features: Vec<String>,
}

/// An event has come.
#[derive(Debug, Clone, Deserialize, PartialEq)]
pub struct Received {
    pub event_id: Option<u64>,
    /// By the server's clock of this session, as all times of receipts.
    pub received_ms: f64,
}

/// Which frames are the first to show which events.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Applied {
    pub chunk_index: u64,
    pub applied: Vec<First>,
    pub superseded: Vec<u64>,
}

/// Where an event shows first.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
pub struct First {
    pub event_id: u64,
    pub latent_frame: u64,
    pub first_frame_index: u64,
}

/// The server's times in answer to a client's.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq)]
pub struct Clock {
    pub client_ms: f64,
    pub received_ms: f64,
    pub sent_ms: f64,
    /// Where the next latent frame that can still be steered stands in the video.
    pub next_frame_ms: f64,
}

/// What became of events, by their ids.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct EventAck {
    /// The first chunk that shows them.
    pub chunk_index: u64,
    pub applied: Vec<u64>,
    /// Replaced before any chunk could show them.
    pub superseded: Vec<u64>,
}

/// Where in the video the next chunk stands.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Timeline {
    pub chunk_index: u64,
    pub video_chunk: u64,
    pub first_frame_index: u64,
    pub event_id: Option<u64>,
    /// To a viewer: of the video from there.
    pub width: Option<u32>,
    pub height: Option<u32>,
}

/// How the world reads a prompt.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct PromptRead {
    /// Of the event that brought it; `None`: the first prompt.
    pub event_id: Option<u64>,
    /// In the world's own words. Empty: it knows none of them.
    pub text: String,
    pub unknown: Vec<UnknownWord>,
    /// What the video begins with in place of words that are all unknown.
    pub instead: Option<String>,
}

/// A word that the world does not know.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct UnknownWord {
    pub word: String,
    /// One that it knows, and that is spelt much the same.
    pub suggestion: Option<String>,
}

/// How to come back to a session after a cut.
#[derive(Debug, Clone, Deserialize)]
pub struct Hello {
    pub session_id: String,
    pub resume_token: String,
    /// How long the session waits.
    pub grace_ms: u64,
    /// The chunk that comes next.
    pub next_chunk: u64,
}

/// The session goes on at another server, which waits for a `resume` with its token. This connection is closed next.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Moved {
    /// Of the WebSocket there. `None`: the address that is known leads there.
    pub url: Option<String>,
    /// How many messages of this connection, behind the first, the session has; later ones are to be sent again.
    pub messages: u64,
}

/// Some consecutive frames of a chunk.
#[derive(Debug, Clone)]
pub struct Batch {
    pub header: Header,
    pub payload: Bytes,
}

impl Batch {
    /// Each frame as it came: a picture file, or `3·width·height` bytes where the format is raw.
    pub fn frames(&self) -> Vec<Bytes> {
        let mut rest = self.payload.clone();
        let lengths = match &self.header.payload_lengths {
            Some(lengths) => lengths.clone(),
            None => vec![self.header.bytes_per_frame; self.header.num_frames],
        };
        lengths.into_iter().map(|length| rest.split_to(length)).collect()
    }
}

/// The map that goes with some frames.
#[derive(Debug, Clone, Deserialize)]
pub struct Header {
    pub request_id: String,
    pub chunk_index: u64,
    pub content_type: String,
    pub num_frames: usize,
    pub total_size: usize,
    pub frame_batch_index: usize,
    pub num_frame_batches: usize,
    pub is_final_frame_batch: bool,
    /// Absent, rather than nil, until an event with an id took effect.
    #[serde(default, deserialize_with = "never_nil")]
    pub event_id: Option<u64>,
    pub format: String,
    pub width: u32,
    pub height: u32,
    pub channels: u32,
    /// Bytes of a frame before it was scaled and encoded.
    pub bytes_per_frame: usize,
    /// Raw frames only.
    #[serde(default, deserialize_with = "never_nil")]
    pub raw_size: Option<usize>,
    pub encoding: String,
    /// These five come with encoded frames only.
    #[serde(default, deserialize_with = "never_nil")]
    pub source_width: Option<u32>,
    #[serde(default, deserialize_with = "never_nil")]
    pub source_height: Option<u32>,
    #[serde(default, deserialize_with = "never_nil")]
    pub preview_width: Option<u32>,
    #[serde(default, deserialize_with = "never_nil")]
    pub preview_height: Option<u32>,
    #[serde(default, deserialize_with = "never_nil")]
    pub payload_lengths: Option<Vec<usize>>,
    /// With frames of a film only: which of them can be decoded without those before.
    #[serde(default, deserialize_with = "never_nil")]
    pub key_frames: Option<Vec<usize>>,
    /// These three are sent to a client that named the feature `timing`.
    #[serde(default, deserialize_with = "never_nil")]
    pub first_frame_index: Option<u64>,
    #[serde(default, deserialize_with = "never_nil")]
    pub pts_ms: Option<u64>,
    /// From the sampling of what was held to the encoding of these frames.
    #[serde(default, deserialize_with = "never_nil")]
    pub controls_age_ms: Option<u64>,
}

/// Where a chunk's time and bytes went. Milliseconds are whole.
#[derive(Debug, Clone, Deserialize)]
pub struct Stats {
    pub session_id: String,
    pub request_id: String,
    pub chunk_index: u64,
    /// Always there, nil where no event has an id.
    #[serde(deserialize_with = "always_there")]
    pub event_id: Option<u64>,
    pub request_prepare_ms: u64,
    pub scheduler_forward_ms: u64,
    pub pace_wait_ms: u64,
    pub header_write_ms: u64,
    pub raw_payload_build_ms: u64,
    pub raw_write_ms: u64,
    pub ws_write_ms: u64,
    pub chunk_total_ms: u64,
    pub num_batches: usize,
    pub num_frames: usize,
    pub raw_bytes: u64,
    pub ws_payload_bytes: u64,
    pub content_type: String,
}

/// What keeps a client from a place.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    Sessions,
    Memory,
    Time,
    Order,
}

/// The place of a client in the queue.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
pub struct Standing {
    /// 1 is the next to get a place.
    pub position: u64,
    pub reason: Reason,
    /// Absent while the server cannot estimate it.
    #[serde(default, deserialize_with = "never_nil")]
    pub estimated_wait_ms: Option<u64>,
}

/// A refusal. The connection is still good unless a close follows.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Refused {
    pub content: String,
    /// A stable word for programs, and which field was wrong in which way: not in the reference.
    pub code: Option<String>,
    pub details: Option<Details>,
    /// The id of the refused event, if it had one.
    #[serde(default, deserialize_with = "never_nil")]
    pub event_id: Option<u64>,
}

#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Details {
    pub field: String,
    pub reason: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.content)?;
        self.details.iter().try_for_each(|details| write!(f, " ({}: {})", details.field, details.reason))
    }
}

/// Why the server closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    pub code: u16,
    pub reason: String,
}

fn never_nil<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn always_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::deserialize(deserializer)
}
