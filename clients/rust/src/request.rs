//! What a client says. Requests are maps under the hood, so that a test can put anything anywhere:
//! `Init::new("a meadow").set("fps", 25.5)`.

use rmpv::Value;

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
