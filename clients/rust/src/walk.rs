//! A walk: one session over as many connections as it takes, polled from a program's own loop.
//!
//! A frame is handed out as it lies in the socket's buffer. After the first frames nothing is allocated for one more, but for
//! a buffer that grows with the largest message.

mod batch;
mod line;
mod news;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rmpv::Value;

use crate::message::{Event, Init, Watch, resume};
use crate::read::{self, Fields};
use batch::{Arriving, Batch, New};
use line::{Came, Line};
pub use news::{Error, Frame, News, Receipt};

/// How often the queue is told that somebody is still there: a server waits for a minute by default.
const STILL_EVERY: Duration = Duration::from_secs(20);
/// Events whose receipts may be outstanding.
const RECEIPTS_MAX: usize = 1024;
/// Types of message that are read field by field. Others are passed by, but for one that has a form of its own.
const KNOWN: [&str; 9] =
    ["frame_batch", "frame_batch_header", "session", "init_ack", "watching", "queue", "event_ack", "moved", "error"];
const COMPLETE: &str = "generation complete";
/// What a walk understands beyond the reference.
const FEATURES: [&str; 11] =
    ["queue", "session", "ack", "timing", "pause", "reset", "rates", "poses", "intrinsics", "receipts", "moved"];
/// Kinds of event that steer.
const STEERS: [&str; 3] = ["prompt", "camera_actions", "composite_input"];

/// News that were found and are about to be told.
enum Found {
    Frame,
    Receipt(Receipt),
    Waiting(u32),
    Refused { event_id: Option<u32>, why: String },
    Away,
    Back,
    Complete,
}

/// One session over as many connections as it takes.
pub struct Walk {
    line: Line,
    /// The message whose frames are handed out.
    batch: Option<Batch>,
    /// The last header that came without its payload.
    header: Vec<u8>,
    payload_is_next: bool,
    found: Option<Found>,
    receipts: VecDeque<Receipt>,
    outstanding: VecDeque<u32>,
    last_id: u32,
    /// The largest id whose event is known to have arrived.
    seen: u32,
    /// What steered last: keys and the like, and the prompt.
    steered: [Option<(u32, Vec<u8>)>; 2],
    acks: bool,
    /// The server says which frame shows an event first, in a message of its own.
    names_frames: bool,
    fps: Option<u32>,
    arriving: Arriving,
    /// The last chunk that came whole.
    whole: Option<u64>,
    /// Frames handed out so far.
    frames: u64,
    /// How to come back, and how long that is possible.
    token: Option<(String, Duration)>,
    /// When the queue was told last that somebody is still there.
    waits: Option<Instant>,
    resumes: u32,
}

impl Walk {
    /// Connect, and say how the video begins. `init` need not name features: all that a walk understands are named, unless
    /// `init` names some itself. Waits for the connection, not for the first frame.
    pub fn connect(url: &str, init: Init) -> Result<Walk, Error> {
        let init = if init.has("protocol_features") { init } else { init.features(FEATURES) };
        Walk::open(url, &init.into())
    }

    /// Watch the session that a token of its player stands for. Its events are refused but for what it was handed. A line that
    /// breaks is not replaced: watch again.
    pub fn watch(url: &str, watch: Watch) -> Result<Walk, Error> {
        Walk::open(url, &watch.into())
    }

    fn open(url: &str, first: &Value) -> Result<Walk, Error> {
        Ok(Walk {
            line: Line::open(url, encoded(first))?,
            batch: None,
            header: Vec::new(),
            payload_is_next: false,
            found: None,
            receipts: VecDeque::with_capacity(RECEIPTS_MAX),
            outstanding: VecDeque::with_capacity(RECEIPTS_MAX),
            last_id: 0,
            seen: 0,
            steered: [None, None],
            acks: false,
            names_frames: false,
            fps: None,
            arriving: Arriving::default(),
            whole: None,
            frames: 0,
            token: None,
            waits: None,
            resumes: 0,
        })
    }

    /// How often the walk went on after a cut.
    pub fn resumes(&self) -> u32 {
        self.resumes
    }

    /// Steer, with an id of its own that frames and its receipt carry. While the line is cut, what steered last is kept and
    /// said on the next connection. An event that carries an id already keeps it. Events that do not steer (`pause`, `resume`,
    /// `wait`) get none: the last one is given back. Others, as `reset`, get one that a refusal names, and are said once.
    pub fn send(&mut self, event: Event) -> u32 {
        // These do not steer, and nothing answers them.
        if matches!(event.kind(), Some("pause" | "resume" | "wait")) {
            self.line.send(encoded(&event.into()));
            return self.last_id;
        }
        let id = event.id_of().unwrap_or(self.last_id + 1);
        self.last_id = self.last_id.max(id);
        let (steers, is_prompt) =
            (event.kind().is_some_and(|kind| STEERS.contains(&kind)), event.kind() == Some("prompt"));
        let bytes = encoded(&event.id(u64::from(id)).into());
        if !steers {
            self.line.send(bytes);
            return id;
        }
        if self.outstanding.len() == RECEIPTS_MAX {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back(id);
        self.steered[usize::from(is_prompt)] = Some((id, bytes.clone()));
        self.line.send(bytes);
        id
    }

    /// The next news, however long it takes.
    pub fn news(&mut self) -> Result<News<'_>, Error> {
        while !self.advance(Duration::from_secs(1))? {}
        Ok(self.told())
    }

    /// The next news, if there are any within `wait`. Zero does not wait at all.
    pub fn poll(&mut self, wait: Duration) -> Result<Option<News<'_>>, Error> {
        let there = self.advance(wait)?;
        Ok(there.then(|| self.told()))
    }

    fn told(&self) -> News<'_> {
        match self.found.as_ref().expect("told when something was found") {
            Found::Frame => News::Frame(self.batch.as_ref().expect("a frame was found in it").frame()),
            Found::Receipt(receipt) => News::Receipt(*receipt),
            Found::Waiting(position) => News::Waiting { position: *position },
            Found::Refused { event_id, why } => News::Refused { event_id: *event_id, why: why.clone() },
            Found::Away => News::Away,
            Found::Back => News::Back,
            Found::Complete => News::Complete,
        }
    }

    /// Find the next news. `false`: there are none within `wait`.
    fn advance(&mut self, wait: Duration) -> Result<bool, Error> {
        if matches!(self.found, Some(Found::Complete)) {
            return Ok(true);
        }
        let until = Instant::now() + wait;
        loop {
            if let Some(receipt) = self.receipts.pop_front() {
                self.found = Some(Found::Receipt(receipt));
                return Ok(true);
            }
            if let Some(batch) = &mut self.batch {
                if batch.advance() {
                    self.frames = batch.index() + 1;
                    self.found = Some(Found::Frame);
                    return Ok(true);
                }
                // The socket's buffer is used again once nothing holds it.
                self.batch = None;
            }
            let now = Instant::now();
            self.stay(now);
            let left = until.saturating_duration_since(now);
            let token = self.token.as_ref().map(|(token, grace)| (&**token, *grace));
            let whole = self.whole;
            let came = self.line.receive(left, token, |token| encoded(&resume(token, whole)));
            self.found = match came {
                Came::Nothing => None,
                Came::Message(bytes) => self.message(bytes)?,
                Came::Lost => {
                    // Its payload will not come.
                    self.payload_is_next = false;
                    Some(Found::Away)
                }
                Came::Closed { code: 1000, reason } if reason == COMPLETE => Some(Found::Complete),
                Came::Closed { code, reason } => return Err(Error::Closed { code, reason }),
            };
            if self.found.is_some() {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
        }
    }

    /// Keep the place in the queue.
    fn stay(&mut self, now: Instant) {
        if let Some(said) = self.waits
            && now.duration_since(said) >= STILL_EVERY
        {
            self.waits = Some(now);
            self.line.send(encoded(&Event::wait().into()));
        }
    }

    fn message(&mut self, message: Bytes) -> Result<Option<Found>, Error> {
        let unreadable = |error: rmp_serde::decode::Error| Error::Unreadable(error.to_string());
        if std::mem::take(&mut self.payload_is_next) {
            let header = std::mem::take(&mut self.header);
            let fields = read::fields(&header).map_err(unreadable)?;
            self.take(&fields, message)?;
            self.header = header;
            return Ok(None);
        }
        let kind = read::kind(&message).map_err(unreadable)?;
        if kind == "event_applied" {
            let news = read::applied(&message).map_err(unreadable)?;
            for first in news.applied.as_slice() {
                self.settle(first.event_id, news.chunk_index, false, Some(first.first_frame_index));
            }
            news.superseded.as_slice().iter().for_each(|&id| self.settle(id, news.chunk_index, true, None));
            return Ok(None);
        }
        if !KNOWN.contains(&kind) {
            return Ok(None);
        }
        let fields = read::fields(&message).map_err(unreadable)?;
        match kind {
            "frame_batch_header" => {
                // A copy: the socket's buffer is used again only while nobody holds a part of it.
                self.header.clear();
                self.header.extend_from_slice(&message);
                self.payload_is_next = true;
            }
            "frame_batch" => {
                let payload: &[u8] = fields.payload.ok_or_else(|| Error::Unreadable("frames without bytes".into()))?;
                self.take(&fields, message.slice_ref(payload))?;
            }
            "session" => {
                let (Some(token), Some(grace_ms)) = (fields.resume_token, fields.grace_ms) else { return Ok(None) };
                self.token = Some((token.to_owned(), Duration::from_millis(grace_ms)));
                if self.line.answered() {
                    return Ok(Some(self.back()));
                }
            }
            "init_ack" => {
                (self.fps, self.waits) = (fields.fps, None);
                self.names_frames = fields.features.receipts;
                self.acks = fields.features.ack || self.names_frames;
            }
            "watching" => self.fps = fields.fps,
            "queue" => {
                self.waits.get_or_insert_with(Instant::now);
                return Ok(Some(Found::Waiting(fields.position.unwrap_or(1))));
            }
            "event_ack" if !self.names_frames => {
                let chunk = fields.chunk_index.unwrap_or_default();
                for (ids, superseded) in [(fields.applied, false), (fields.superseded, true)] {
                    ids.as_slice().iter().for_each(|&event_id| self.settle(event_id, chunk, superseded, None));
                }
            }
            "moved" => self.line.moves(fields.url),
            "error" => return self.refused(&fields),
            // What is said twice.
            _ => {}
        }
        Ok(None)
    }

    /// Frames have come.
    fn take(&mut self, fields: &Fields<'_>, payload: Bytes) -> Result<(), Error> {
        self.waits = None;
        let new = New::read(fields, payload, self.fps, self.frames);
        let new = new.map_err(|why| Error::Unreadable(why.into()))?;
        let skip = self.arriving.come(new.chunk(), new.count());
        let new = new.without(skip);
        if fields.is_final_frame_batch == Some(true) {
            self.whole = Some(new.chunk());
        }
        // All who steer share one count of events.
        self.last_id = self.last_id.max(fields.event_id.unwrap_or_default());
        if !self.acks
            && let Some(event_id) = fields.event_id
        {
            while self.outstanding.front().is_some_and(|&id| id <= event_id) {
                let id = self.outstanding.front().copied().unwrap_or_default();
                self.settle(id, new.chunk(), false, None);
            }
        }
        self.batch = Some(new.begin());
        Ok(())
    }

    fn settle(&mut self, event_id: u32, chunk: u64, superseded: bool, first_frame: Option<u64>) {
        self.seen = self.seen.max(event_id);
        let before = self.outstanding.len();
        self.outstanding.retain(|&id| id != event_id);
        // A chunk that comes again is acknowledged again.
        if self.outstanding.len() < before {
            self.receipts.push_back(Receipt { event_id, chunk, superseded, first_frame });
        }
    }

    fn refused(&mut self, fields: &Fields<'_>) -> Result<Option<Found>, Error> {
        let content = fields.content.unwrap_or_default();
        let mut why = content.to_owned();
        if let Some(details) = &fields.details {
            let parts = [details.field, details.reason];
            let parts: Vec<&str> = parts.into_iter().flatten().collect();
            why = format!("{content} ({})", parts.join(": "));
        }
        if fields.event_id.is_none() && content != "invalid event" {
            return Err(Error::Refused(why));
        }
        self.outstanding.retain(|&id| Some(id) != fields.event_id);
        Ok(Some(Found::Refused { event_id: fields.event_id, why }))
    }

    /// The walk goes on: what steered last may have been lost with the line.
    fn back(&mut self) -> Found {
        self.resumes += 1;
        self.arriving.again();
        for (id, bytes) in self.steered.iter().flatten() {
            if *id > self.seen {
                self.line.send(bytes.clone());
            }
        }
        Found::Back
    }
}

fn encoded(message: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, message).expect("a Vec takes everything");
    bytes
}
