//! When the next piece of a clip's work is drawn: in time that no session needs, and otherwise after a stated wait.
//!
//! A session's client waits for its next chunk, so sessions come first; a clip must still end. One clip is drawn at a time:
//! several would share the same device, and hold their memory longer.

use std::time::{Duration, Instant};

use crate::admission::rules::SeatId;
use crate::admission::rules::drawing_times::{DrawingTimes, Mean};

/// Where only free sessions stand against it, a clip waits no longer than this for its next piece: they lose the time of
/// one piece a second.
pub const BESIDE_FREE: Duration = Duration::from_secs(1);

/// Whoever stands against it, a clip waits no longer than this for its next piece. On a server that is full of paced sessions
/// one of their chunks in five seconds may be late, by one piece.
pub const BESIDE_ANYBODY: Duration = Duration::from_secs(5);

/// A paced session that grants nothing until this long after it was expected to is held up by its client, which paused or
/// reads slowly. Long against the delay of a timer and a channel on a busy machine, and a clip loses it once a pause.
pub const GRANT_OVERDUE: Duration = Duration::from_millis(50);

/// The clip that is being drawn, and what is known of how long pieces take.
#[derive(Default)]
pub struct Clips {
    clip: Option<Clip>,
    /// How long clips took to open: the encoding of a prompt and a picture, which is no drawing.
    openings: DrawingTimes,
    pieces: DrawingTimes,
}

struct Clip {
    id: SeatId,
    /// Of one frame.
    pixels: u64,
    opened: bool,
    /// Since when its next piece could be drawn. `None` while the frames of the last one are not taken yet.
    ready_since: Option<Instant>,
    /// How long its last pieces took.
    pieces: Mean,
}

/// What stands against a clip's next piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Against {
    /// A paced session has credit.
    pub paced: bool,
    /// A free session has credit, or one is to be opened.
    pub free: bool,
    /// Of the paced sessions without credit, the one that grants first.
    pub next_grant: NextGrant,
}

/// When the next grant of a paced session is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NextGrant {
    /// Its session has not said yet, but is about to.
    Soon,
    /// It is expected then.
    At(Instant),
    /// None is: no session is paced, or their clients hold them up.
    Never,
}

impl NextGrant {
    /// As this was said; but a grant that has not come long after its time is held up by the client.
    pub fn still_expected(self, now: Instant) -> NextGrant {
        match self {
            NextGrant::At(start) if start + GRANT_OVERDUE <= now => NextGrant::Never,
            expected => expected,
        }
    }

    /// From when on it is not expected any more.
    pub fn overdue(self) -> Option<Instant> {
        match self {
            NextGrant::At(start) => Some(start + GRANT_OVERDUE),
            NextGrant::Soon | NextGrant::Never => None,
        }
    }
}

impl Clips {
    /// A clip is to be drawn: its first piece of work is its opening. `pixels` are those of one frame.
    pub fn begin(&mut self, id: SeatId, pixels: u64, now: Instant) {
        assert!(self.clip.is_none(), "clip {id}: one clip is drawn at a time");
        self.clip = Some(Clip { id, pixels, opened: false, ready_since: Some(now), pieces: Mean::default() });
    }

    /// Whether there is a clip.
    pub fn is_any(&self) -> bool {
        self.clip.is_some()
    }

    /// The clip is done, or given up.
    pub fn end(&mut self, id: SeatId) {
        self.clip.take_if(|clip| clip.id == id);
    }

    /// All that the last piece gave was taken: there is room for what the next one gives. A clip that has ended in the
    /// meantime gets nothing.
    pub fn taken(&mut self, id: SeatId, now: Instant) {
        if let Some(clip) = self.clip.as_mut().filter(|clip| clip.id == id) {
            clip.ready_since = Some(now);
        }
    }

    /// A clip of frames of this size was opened in this time.
    pub fn opened(&mut self, pixels: u64, took: Duration) {
        self.openings.add(pixels, took);
        if let Some(clip) = &mut self.clip {
            clip.opened = true;
        }
    }

    /// A piece of a clip was drawn in this time.
    pub fn drew(&mut self, pixels: u64, took: Duration) {
        self.pieces.add(pixels, took);
        if let Some(clip) = &mut self.clip {
            clip.pieces.add(took);
        }
    }

    /// The clip whose next piece is to be drawn now: takes its credit.
    pub fn take_turn(&mut self, against: Against, now: Instant) -> Option<SeatId> {
        let clip = self.clip.as_ref()?;
        let waited = now.saturating_duration_since(clip.ready_since?);
        let paced_stands = against.paced || self.stands(clip, against.next_grant, now);
        let has_turn = waited >= BESIDE_ANYBODY || !paced_stands && (!against.free || waited >= BESIDE_FREE);
        let clip = self.clip.as_mut().filter(|_| has_turn)?;
        clip.ready_since = None;
        Some(clip.id)
    }

    /// When to look again for a clip that waits although no session has credit. `None`: no clip waits.
    pub fn look_again_at(&self, next_grant: NextGrant) -> Option<Instant> {
        let anyway = self.clip.as_ref()?.ready_since? + BESIDE_ANYBODY;
        Some(next_grant.overdue().map_or(anyway, |overdue| overdue.min(anyway)))
    }

    /// Whether a paced session may grant before the next piece would be drawn.
    fn stands(&self, clip: &Clip, next_grant: NextGrant, now: Instant) -> bool {
        match next_grant {
            NextGrant::Soon => true,
            NextGrant::At(start) => self.expected(clip).is_none_or(|piece| start <= now + piece),
            NextGrant::Never => false,
        }
    }

    /// How long the next piece will take. Before a clip has drawn any it counts as the slowest that was seen, and not as
    /// the mean: the sessions beside it have not made up for it yet. `None`: none was ever seen.
    fn expected(&self, clip: &Clip) -> Option<Duration> {
        if !clip.opened {
            return self.openings.slowest(clip.pixels);
        }
        clip.pieces.get().or_else(|| self.pieces.slowest(clip.pixels))
    }
}

#[cfg(test)]
mod tests;
