//! A rollout that is open: what the engine's thread keeps for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use pipeline::world::{Cancel, ChunkInput, ChunkPlan, Chunking, Rollout, State, Timings, WorldError};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::elsewhere::{Journaled, Redraw, Replayed};
use super::messages::ChunkPart;
use super::turns::hurry::{Hurry, NewBeginning};
use super::turns::rewinds::Rewinds;
use super::turns::under_way::{Begun, Conditions};
use crate::admission::queue::Admitted;
use crate::recordings::Tape;

pub(super) struct OpenRollout {
    pub(super) rollout: Box<dyn Rollout>,
    pub(super) chunking: Chunking,
    pub(super) conditions: Arc<Mutex<Conditions>>,
    pub(super) parts: mpsc::Sender<Result<ChunkPart, String>>,
    pub(super) cancel: Cancel,
    pub(super) tape: Option<Tape>,
    pub(super) paced: bool,
    pub(super) hurry: Hurry,
    /// For a client that may go back.
    pub(super) rewinds: Option<Rewinds<State>>,
    /// Chunks that are drawn again and not sent.
    pub(super) redraw: Option<Redraw>,
    /// What steers the next chunks, before any event does.
    pub(super) replay: VecDeque<Replayed>,
    pub(super) journal: Option<Arc<AtomicBool>>,
    /// The last field, so that it is dropped last: the rollout's memory is free when its share goes back to admission.
    pub(super) admitted: Admitted,
}

impl OpenRollout {
    /// Keep a state before the next chunk, if one is due.
    pub(super) fn keep_state(&mut self) -> Result<(), WorldError> {
        if let Some(rewinds) = self.rewinds.as_mut().filter(|rewinds| rewinds.is_due()) {
            let began = Instant::now();
            rewinds.keep(self.rollout.save()?);
            debug!(seat = self.admitted.id, took = ?began.elapsed(), "a state was kept");
        }
        Ok(())
    }

    /// The state before the next chunk, if the journal wants one. What is left of a recording would be missing in it.
    pub(super) fn state_for_journal(&mut self) -> Option<Vec<u8>> {
        let wants = self.journal.as_ref()?;
        if !self.replay.is_empty() || !wants.swap(false, Ordering::Relaxed) {
            return None;
        }
        match self.rollout.pack() {
            Ok(state) => Some(state),
            Err(error) => {
                warn!(seat = self.admitted.id, %error, "no journal: its world gives no states");
                self.journal = None;
                None
            }
        }
    }

    pub(super) fn journaled(&self, input: &ChunkInput) -> Option<Box<Journaled>> {
        self.journal.as_ref()?;
        let conditions = self.conditions.lock().expect("nothing panics under this lock").pack();
        Some(Box::new(Journaled { input: input.clone(), conditions, state: None }))
    }

    /// What the next chunk begins with: of a recording, or what its client asks for by now.
    pub(super) fn begin(&mut self, plan: &ChunkPlan, again: Option<NewBeginning>) -> Begun {
        if let Some(Replayed { input, event_id, acks }) = self.replay.pop_front() {
            return Begun { input, event_id, acks, awaited: false };
        }
        let mut begun = self.conditions.lock().expect("nothing panics under this lock").begin(plan, again);
        begun.input.steps = self.hurry.steps().filter(|_| begun.awaited);
        begun
    }

    /// A chunk has ended like this. Whether it was given up for an event: then its conditions are those of the next.
    pub(super) fn is_begun_again(&mut self, result: &Result<Timings, WorldError>) -> bool {
        let mut conditions = self.conditions.lock().expect("nothing panics under this lock");
        // Asked for under the lock, and only of a chunk that is under way.
        self.cancel.goes_on();
        let given_up = matches!(result, Err(WorldError::GivenUp));
        if given_up {
            conditions.take_back()
        } else {
            conditions.keep()
        }
        given_up
    }

    /// A chunk was drawn with this for the first time.
    pub(super) fn drew(&mut self, input: ChunkInput) {
        self.tape.iter_mut().for_each(|tape| tape.chunk(&input));
        if let Some(rewinds) = &mut self.rewinds {
            rewinds.drew((input, self.rollout.last_drawn()));
        }
    }
}
