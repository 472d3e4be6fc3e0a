//! Pace: when each chunk of a paced session begins and is sent. Chunks are sent at the session's rate and drawn with
//! the newest keys that this allows.
//!
//! A chunk is sent when the one before it has been shown, and begins just early enough to be drawn by then. An event
//! with a new id means that a person waits for its effect: it starts the next chunk at once. If a chunk without its
//! effect is being drawn, or held back, that one is sent as soon as it can be, because the next begins when it is sent.
//!
//! ```text
//!   Resting ──start────────────────────────► Drawing ──drawn──► Held ──release, when it is due──► Out
//!      ▲                                     ▲    ▲                                                │
//!      │ rest        tick, when it must begin│    │                                                │
//!      └────────────────────────── PutOff ───┘    └──────────written, and an event waits───────────┤
//!                                     ▲    event with a new id: at once                            │
//!                                     └───────────written, or go_on after a rest───────────────────┘
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Drawing times remembered. The longest decides when the next chunk must begin. An average would be late for every
/// slower chunk, and the longest of a few is not enough: on a busy device a chunk waits a random time for the one being
/// drawn, so of any nine the last is the slowest once in nine times.
const REMEMBERED: usize = 64;

/// A chunk begins this much earlier than needed: timers and two channels may take as long.
const MARGIN: Duration = Duration::from_millis(10);

/// A chunk that is late by less does not delay later ones: a player has that much buffered, and regains it with the
/// next chunk. If the milliseconds of every timer added up, a player's buffer would run empty.
const MADE_UP_FOR: Duration = Duration::from_millis(100);

pub(crate) struct Pace {
    fps: u32,
    chunk: Chunk,
    /// Drawing times of the last chunks, at most [`REMEMBERED`].
    drawing_times: VecDeque<Duration>,
    /// When the video sent so far will have been shown.
    shown_at: Option<Instant>,
    shown_event: Option<u32>,
    /// The largest event id so far. If it is larger than the one above, a person waits for its effect.
    newest_event: Option<u32>,
}

/// The state of a paced session's chunk. A paced session has one chunk under way at most.
enum Chunk {
    /// No chunk is under way, and none begins without a call of `start` or `go_on`.
    Resting,
    /// Not begun yet: a later start means newer controls.
    PutOff { since: Instant, begins: Instant, due: Instant },
    /// Granted to the engine, after this delay.
    Drawing { asked: Instant, put_off: Duration },
    /// Drawn, and held back until it is due.
    Held { since: Instant, put_off: Duration, due: Instant, shown_for: Duration },
    /// On its way to the client.
    Out,
}

/// When a client has shown a chunk that is sent now, or at its due time if that is later. A chunk that is late by less
/// than
/// [`MADE_UP_FOR`] does not put off the next one.
fn shown_until(due: Instant, shown_for: Duration, now: Instant) -> Instant {
    let late = now.saturating_duration_since(due);
    if late < MADE_UP_FOR { due + shown_for } else { now + shown_for }
}

/// A chunk must begin now; its due time.
pub(crate) type Begin = Instant;

impl Pace {
    pub(crate) fn new(fps: u32) -> Pace {
        Pace {
            fps,
            chunk: Chunk::Resting,
            drawing_times: VecDeque::with_capacity(REMEMBERED),
            shown_at: None,
            shown_event: None,
            newest_event: None,
        }
    }

    /// Begin the first chunk, or the first after a rest: it follows no video.
    pub(crate) fn start(&mut self, now: Instant) -> Begin {
        self.shown_at = None;
        self.begin(now, now, Duration::ZERO)
    }

    /// Go on after a rest, for a client that stayed: the next chunk is due when the frames it has will have been shown.
    pub(crate) fn go_on(&mut self, now: Instant) -> Option<Begin> {
        self.shown_at = self.shown_at.map(|at| at.max(now));
        self.written(now)
    }

    /// Begin no more chunks. Returns whether one had been put off.
    pub(crate) fn rest(&mut self) -> bool {
        let was_put_off = matches!(self.chunk, Chunk::PutOff { .. });
        if was_put_off {
            self.chunk = Chunk::Resting;
        }
        was_put_off
    }

    /// Nobody will look at what is under way for long: send it as soon as it is there.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.shown_at = None;
        if let Chunk::Held { due, .. } = &mut self.chunk {
            *due = now.min(*due);
        }
    }

    /// An event came. One without a new id must not start a chunk early: the finished chunk would only wait until it is
    /// due. With a new id, a chunk that is held back may be released now.
    pub(crate) fn event(&mut self, id: Option<u32>, now: Instant) -> Option<Begin> {
        self.newest_event = self.newest_event.max(id);
        if !self.somebody_waits() {
            return None;
        }
        match &mut self.chunk {
            Chunk::PutOff { since, .. } => {
                let put_off = now - *since;
                Some(self.begin(now, now, put_off))
            }
            Chunk::Held { due, .. } => {
                *due = now.min(*due);
                None
            }
            Chunk::Resting | Chunk::Drawing { .. } | Chunk::Out => None,
        }
    }

    /// A chunk was sent, so the next may begin, with the controls held by then.
    pub(crate) fn written(&mut self, now: Instant) -> Option<Begin> {
        if self.somebody_waits() {
            return Some(self.begin(now, now, Duration::ZERO));
        }
        let due = self.shown_at.unwrap_or(now);
        self.chunk = Chunk::PutOff { since: now, begins: self.begin_for(due, now), due };
        self.tick(now)
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Begin> {
        match self.chunk {
            Chunk::PutOff { since, begins, due } if begins <= now => Some(self.begin(now, due, now - since)),
            _ => None,
        }
    }

    fn somebody_waits(&self) -> bool {
        self.newest_event > self.shown_event
    }

    /// When a chunk must begin to be drawn by then.
    fn begin_for(&self, due: Instant, now: Instant) -> Instant {
        let drawing = self.drawing_times.iter().max().copied().unwrap_or_default() + MARGIN;
        due.checked_sub(drawing).unwrap_or(now)
    }

    fn begin(&mut self, now: Instant, due: Instant, put_off: Duration) -> Begin {
        self.chunk = Chunk::Drawing { asked: now, put_off };
        due
    }

    /// The first frames of a chunk are there. `usual`: it was drawn in as many steps as most are, and begun once. Only such a
    /// chunk says how long the next will take.
    pub(crate) fn drawn(&mut self, event_id: Option<u32>, (frames, usual): (usize, bool), now: Instant) {
        let mut put_off = Duration::ZERO;
        match self.chunk {
            Chunk::Held { .. } => panic!("one chunk is sent at a time"),
            Chunk::Drawing { asked, put_off: how_long } => {
                put_off = how_long;
                if usual {
                    if self.drawing_times.len() == REMEMBERED {
                        self.drawing_times.pop_front();
                    }
                    self.drawing_times.push_back(now - asked);
                }
            }
            Chunk::Resting | Chunk::PutOff { .. } | Chunk::Out => {}
        }
        let mut due = self.shown_at.unwrap_or(now);
        if self.somebody_waits() {
            // For this chunk, or for the next, if the event came while this one was drawn. Holding this chunk back would
            // hold back the answer. An event that waits for its own time is not among these: `event` was not told its id.
            due = due.min(now);
            if event_id > self.shown_event {
                put_off = Duration::ZERO;
            }
        }
        self.shown_event = self.shown_event.max(event_id);
        let shown_for = Duration::from_secs_f64(frames as f64 / f64::from(self.fps));
        self.chunk = Chunk::Held { since: now, put_off, due, shown_for };
    }

    /// When the chunk after the one that was just drawn will begin, unless an event brings it forward.
    pub(crate) fn begins_next(&self, now: Instant) -> Option<Instant> {
        let Chunk::Held { due, shown_for, .. } = self.chunk else { return None };
        if self.somebody_waits() {
            return Some(due.max(now));
        }
        Some(self.begin_for(shown_until(due, shown_for, now), now))
    }

    /// Send the drawn chunk, if it is due. Returns the time that pacing delayed it, before its start and after its
    /// drawing.
    pub(crate) fn release(&mut self, now: Instant) -> Option<Duration> {
        let Chunk::Held { since, put_off, due, shown_for } = self.chunk else { return None };
        if due > now {
            return None;
        }
        self.shown_at = Some(shown_until(due, shown_for, now));
        self.chunk = Chunk::Out;
        Some(put_off + (now - since))
    }

    /// The next time to call `tick` or `release`.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.chunk {
            Chunk::PutOff { begins, .. } => Some(begins),
            Chunk::Held { due, .. } => Some(due),
            Chunk::Resting | Chunk::Drawing { .. } | Chunk::Out => None,
        }
    }
}

#[cfg(test)]
mod tests;
