//! The messages of the wire as types: a client's requests, and a server's answers. A server sends four types of message to
//! everybody, and more to a client that asks for them.
//!
//! Over 400 lines: all messages of the wire stand in one place.
//!
//! Requests are maps under the hood, so that a test can put anything anywhere: `Init::new("a meadow").set("fps", 25.5)`.
//!
//! Over 400 lines: every message of the wire stands in one place.

use bytes::Bytes;
use rmpv::Value;
use serde::{Deserialize, Deserializer};

/// The first message of a session.
#[derive(Debug, Clone)]
pub struct Init(Value);

impl Init {
    pub fn new(prompt: &str) -> Init {
        Init(map([("type", "init".into()), ("prompt", prompt.into())]))
    }
    /// Any field, by its name on the wire. Setting it again replaces it.
    pub fn set(self, field: &str, value: impl Into<Value>) -> Init {
        Init(with(self.0, field, value.into()))
    }
    /// Whether this field was set.
    pub fn has(&self, field: &str) -> bool {
        !self.0[field].is_nil()
    }
    /// Without this field, also if `new` set it.
    pub fn without(self, field: &str) -> Init {
        let Value::Map(mut fields) = self.0 else { unreachable!("an init is a map") };
        fields.retain(|(key, _)| key.as_str() != Some(field));
        Init(Value::Map(fields))
    }
    pub fn size(self, width: u32, height: u32) -> Init {
        self.set("size", format!("{width}x{height}"))
    }
    /// The encoded picture to start from: PNG, JPEG or WebP.
    pub fn first_frame(self, file: &[u8]) -> Init {
        self.set("first_frame", Value::Binary(file.to_vec()))
    }
    pub fn seed(self, seed: u64) -> Init {
        self.set("seed", seed)
    }
    /// Stop after so many chunks.
    pub fn max_chunks(self, chunks: u64) -> Init {
        self.set("max_chunks", chunks)
    }
    /// `raw`, `jpeg` or `webp`.
    pub fn format(self, format: &str) -> Init {
        self.set("realtime_output_format", format)
    }
    /// The features beyond the reference that the client understands.
    pub fn features<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Init {
        self.set("protocol_features", Value::Array(names.into_iter().map(Value::from).collect()))
    }
    /// Name the feature `queue`: hear the position in it, and wait longer.
    pub fn queued(self) -> Init {
        self.features(["queue"])
    }
    /// Frames arrive no faster than they are shown.
    pub fn paced(self, fps: u64) -> Init {
        self.set("fps", fps).set("realtime_output_pacing", true)
    }
}

/// Something that happens during a session.
#[derive(Debug, Clone)]
pub struct Event(Value);

impl Event {
    pub fn new(kind: &str, payload: impl Into<Value>) -> Event {
        Event(map([("type", "event".into()), ("kind", kind.into()), ("payload", payload.into())]))
    }
    /// Draw no more for now. Only for a client that named the feature `pause`.
    pub fn pause() -> Event {
        Event::new("pause", Value::Nil)
    }
    pub fn resume() -> Event {
        Event::new("resume", Value::Nil)
    }
    /// Go back to this chunk of the video. Only for a client that named the feature `rewind`.
    pub fn rewind(chunk: u64) -> Event {
        Event::new("rewind", map([("chunk", chunk.into())]))
    }
    /// Begin another video in this session: with `prompt`, `seed`, `size` or `first_frame`, or as the one before. Only for a
    /// client that named the feature `reset`.
    pub fn reset<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Event {
        Event::new("reset", map(fields))
    }
    /// Draw one more chunk. Only for a client that named the feature `step`.
    pub fn step() -> Event {
        Event::new("step", Value::Nil)
    }
    /// Draw one more chunk with all of these.
    pub fn step_with(parts: impl IntoIterator<Item = Event>) -> Event {
        Event::composite(parts).set("kind", "step")
    }
    /// Let the film's next frame be one that can be decoded alone. Only for a client that named the feature `key_frame`.
    pub fn key_frame() -> Event {
        Event::new("key_frame", Value::Nil)
    }
    /// Keep the place in the queue. Only for a client that named the feature `queue`.
    pub fn wait() -> Event {
        Event::new("wait", Value::Nil)
    }
    /// A new prompt, from the next chunk on.
    pub fn prompt(text: &str) -> Event {
        Event::new("prompt", text)
    }
    /// These keys are held from now on: `hold("wl")` walks and turns right, `hold("")` lets go.
    pub fn hold(keys: &str) -> Event {
        Event::changes([keys])
    }
    /// What was held after each change since the last message: `changes(["w", ""])` is a tap.
    pub fn changes<'a>(held: impl IntoIterator<Item = &'a str>) -> Event {
        let transitions = held.into_iter().map(|keys| map([("actions", keys_of(keys))])).collect();
        Event::new("camera_actions", map([("mode", "state".into()), ("transitions", Value::Array(transitions))]))
    }
    /// Move at a part of what a held key does: forward, to the right, turning right, looking up, each from -1 to 1. Only in
    /// worlds that follow rates, for a client that named the feature.
    pub fn rates([forward, strafe, yaw, pitch]: [f64; 4]) -> Event {
        let rates = [("forward", forward), ("strafe", strafe), ("yaw", yaw), ("pitch", pitch)];
        Event::led("rates", map(rates.map(|(name, rate)| (name, rate.into()))))
    }
    /// Lead the camera: the matrix, row by row, that takes a point of the world into the camera's axes (x right, y down, z
    /// forward). Only in worlds that follow poses, for a client that named the feature.
    pub fn pose(camera_from_world: &[f64; 16]) -> Event {
        Event::led("pose", Value::Array(camera_from_world.iter().map(|&number| number.into()).collect()))
    }
    fn led(field: &str, value: Value) -> Event {
        let transitions = Value::Array(vec![map([(field, value)])]);
        Event::new("camera_actions", map([("mode", "state".into()), ("transitions", transitions)]))
    }
    /// A change of what steers the camera: `steer([("rates", …), ("at_ms", 250.into())])`.
    pub fn steer<'a>(transition: impl IntoIterator<Item = (&'a str, Value)>) -> Event {
        Event::steers([map(transition)])
    }
    /// Several such changes, each a map.
    pub fn steers(transitions: impl IntoIterator<Item = Value>) -> Event {
        let transitions = Value::Array(transitions.into_iter().collect());
        Event::new("camera_actions", map([("mode", "state".into()), ("transitions", transitions)]))
    }
    /// What time is it there? Only for a client that named the feature `receipts`.
    pub fn clock(client_ms: f64) -> Event {
        Event::new("clock", map([("client_ms", client_ms.into())]))
    }
    /// One item a latent frame, then nothing held.
    pub fn script<'a>(items: impl IntoIterator<Item = &'a str>) -> Event {
        Event::new("camera_actions", script(items))
    }
    /// Make a token for viewers of this role: `view`, `director` or `control`. This and the next three only for a client that
    /// named the feature `spectators`.
    pub fn share(role: &str) -> Event {
        Event::new("share", map([("role", role.into())]))
    }
    /// End a token, and send away who came with it.
    pub fn unshare(share_id: u32) -> Event {
        Event::new("unshare", map([("share_id", share_id.into())]))
    }
    /// Let a viewer hold what its role allows.
    pub fn hand_over(viewer_id: u32) -> Event {
        Event::new("hand_over", map([("viewer_id", viewer_id.into())]))
    }
    /// Steer alone again.
    pub fn take_back() -> Event {
        Event::new("take_back", Value::Nil)
    }
    /// Several parts that take effect together, or not at all.
    pub fn composite(parts: impl IntoIterator<Item = Event>) -> Event {
        let (mut types, mut payload) = (Vec::new(), Vec::new());
        for Event(part) in parts {
            let kind = part["kind"].clone();
            payload.push((kind.clone(), part["payload"].clone()));
            types.push(kind);
        }
        payload.push(("input_types".into(), Value::Array(types)));
        Event::new("composite_input", Value::Map(payload))
    }
    /// The number that frames and statistics carry once this event has taken effect.
    pub fn id(self, id: u64) -> Event {
        self.set("event_id", id)
    }
    /// Its kind, by its name on the wire.
    pub fn kind(&self) -> Option<&str> {
        self.0["kind"].as_str()
    }
    /// Its number, if it has one.
    pub fn id_of(&self) -> Option<u32> {
        self.0["event_id"].as_u64().and_then(|id| u32::try_from(id).ok())
    }
    /// Any field, by its name on the wire.
    pub fn set(self, field: &str, value: impl Into<Value>) -> Event {
        Event(with(self.0, field, value.into()))
    }
}

impl From<Init> for Value {
    fn from(init: Init) -> Value {
        init.0
    }
}

impl From<Event> for Value {
    fn from(event: Event) -> Value {
        event.0
    }
}

/// Instead of an init: go on with the session that gave this token, after the last chunk that came whole.
pub fn resume(token: &str, last_chunk: Option<u64>) -> Value {
    let last_chunk = last_chunk.map_or(Value::Nil, Value::from);
    map([("type", "resume".into()), ("token", token.into()), ("last_chunk", last_chunk)])
}

/// Instead of an init: watch the session that this token stands for.
#[derive(Debug, Clone)]
pub struct Watch(Value);

impl Watch {
    pub fn new(token: &str) -> Watch {
        Watch(map([("type", "watch".into()), ("token", token.into())]))
    }
    /// Any field, by its name on the wire.
    pub fn set(self, field: &str, value: impl Into<Value>) -> Watch {
        Watch(with(self.0, field, value.into()))
    }
    /// `raw`, `jpeg`, `webp` or `h264`; as the player's without this.
    pub fn format(self, format: &str) -> Watch {
        self.set("realtime_output_format", format)
    }
}

impl From<Watch> for Value {
    fn from(watch: Watch) -> Value {
        watch.0
    }
}

/// A camera script as a value: one list of tokens a latent frame.
pub fn script<'a>(items: impl IntoIterator<Item = &'a str>) -> Value {
    Value::Array(items.into_iter().map(keys_of).collect())
}

/// A map with these entries.
pub fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

fn keys_of(keys: &str) -> Value {
    Value::Array(keys.chars().map(|key| key.to_string().into()).collect())
}

fn with(message: Value, field: &str, value: Value) -> Value {
    let Value::Map(mut fields) = message else { unreachable!("a message is a map") };
    match fields.iter_mut().find(|(key, _)| key.as_str() == Some(field)) {
        Some(entry) => entry.1 = value,
        None => fields.push((field.into(), value)),
    }
    Value::Map(fields)
}

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
