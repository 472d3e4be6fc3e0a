//! A session that goes on in another process: what its decisions depend on. Its limits are those of the server that it comes
//! to, and its pace begins anew, as after a cut.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pipeline::world::Chunking;
use serde::{Deserialize, Serialize};

use super::steps::{Said, Steps};
use super::{Features, Session, Stay, Terms};

/// The longest time that is believed: more than any session lives.
const AGO_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// All of a [`Session`] that has nothing under way and goes nowhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackedSession {
    /// Chunks that were granted, and sent.
    chunks: u64,
    /// Video frames of them, and the place in the video of the chunk after them.
    frames: u64,
    next: usize,
    /// How long ago, in milliseconds, it began, was steered, and had a key held.
    began: u64,
    steered: u64,
    moved: u64,
    paused: Option<u64>,
    led: bool,
    /// What the client of a stepped session has said, with the bytes of its message.
    steps: VecDeque<(Said, usize)>,
}

impl Session {
    /// What would go on after so many chunks, with chunk `next` of the video. The session may have been granted more.
    pub fn pack_at(&self, chunks: u64, next: usize, now: Instant) -> PackedSession {
        let frames = self.lead.frames_before(next);
        PackedSession { chunks, frames, next, ..self.pack(now) }
    }

    /// What is to go on, after an [`Output::Depart`](super::Output::Depart).
    pub fn pack(&self, now: Instant) -> PackedSession {
        let ago = |at: Instant| now.saturating_duration_since(at).as_millis() as u64;
        let (frames, next) = self.lead.place();
        PackedSession {
            chunks: self.written,
            frames,
            next,
            began: ago(self.began),
            steered: ago(self.steered),
            moved: ago(self.moved),
            paused: self.paused.map(ago),
            led: self.led,
            steps: self.steps.as_ref().map(Steps::waiting).cloned().unwrap_or_default(),
        }
    }
}

impl PackedSession {
    /// The session, whose rollout is open and whose client is away. `Err`: no server has made this.
    pub fn unpack(
        self,
        (terms, features, stay): (Terms, Features, Stay),
        chunking: Chunking,
        now: Instant,
    ) -> Result<Session, String> {
        let PackedSession { chunks, frames, next, began, steered, moved, paused, led, steps } = self;
        let at = |ago: u64| {
            let ago = Duration::from_millis(ago);
            // A machine that has just started knows no moment so long ago.
            let at = now.checked_sub(ago.min(AGO_MAX)).unwrap_or(now);
            (ago <= AGO_MAX).then_some(at).ok_or_else(|| format!("a session of {} s", ago.as_secs()))
        };
        if terms.max_chunks.is_some_and(|max| max < chunks) || chunks > 1 << 40 || next as u64 > 1 << 40 {
            return Err(format!("{chunks} chunks were sent, and {next} is next"));
        }
        let mut session = Session::new(terms, features, stay, now);
        session.lead.goes_on(chunking, (frames, next));
        (session.began, session.steered, session.moved) = (at(began)?, at(steered)?, at(moved)?);
        session.paused = paused.map(at).transpose()?;
        (session.granted, session.written, session.led, session.opened) = (chunks, chunks, led, true);
        match &mut session.steps {
            Some(kept) => *kept = Steps::kept(steps)?,
            None if steps.is_empty() => {}
            None => return Err("steps wait in a session without steps".to_owned()),
        }
        session.owed = session.credit();
        session.alone_until = Some(now + stay.grace);
        Ok(session)
    }
}
