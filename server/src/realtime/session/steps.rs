//! What the client of a stepped session has said, in order. A step is answered by one chunk, and no chunk comes without one.
//!
//! A chunk is steered by what was said before its step, and by nothing that came after: what follows a step waits here
//! until the chunk of that step has begun. So the same messages give the same bytes, however fast they come.

use std::collections::VecDeque;

use pipeline::world::Refusal;
use serde::{Deserialize, Serialize};

use crate::engine::turns::event::Event;
use crate::realtime::wire::event::Invalid;

/// Steps that wait: a second of the pocket world, four times over. A client that plans ahead further waits for a chunk
/// first.
pub(crate) const STEPS_MAX: usize = 16;
/// Events that wait behind steps: as many as a client may send at once.
pub(crate) const EVENTS_MAX: usize = 256;
/// Bytes of the messages that wait.
pub(crate) const BYTES_MAX: usize = 256 * 1024;

/// Something that a client has said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Said {
    Event(Event),
    Step,
}

/// What waits for its turn.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// With the bytes of its message.
    waiting: VecDeque<(Said, usize)>,
    steps: usize,
    bytes: usize,
    /// A step was passed on, and its chunk has not begun.
    under_way: bool,
}

impl Steps {
    /// What waits, with the bytes of its message. No step's chunk is under way.
    pub(crate) fn waiting(&self) -> &VecDeque<(Said, usize)> {
        &self.waiting
    }

    /// In another process. `Err`: more than may wait, or no server has made this.
    pub(crate) fn kept(waiting: VecDeque<(Said, usize)>) -> Result<Steps, String> {
        let mut kept = Steps::default();
        for (said, bytes) in waiting {
            if let Said::Event(event) = &said {
                event.check()?;
            }
            kept.steps += usize::from(said == Said::Step);
            kept.bytes = kept.bytes.checked_add(bytes).ok_or("steps of too many bytes")?;
            kept.waiting.push_back((said, bytes));
        }
        let events = kept.waiting.len() - kept.steps;
        match kept.steps <= STEPS_MAX && events <= EVENTS_MAX && kept.bytes <= BYTES_MAX {
            true => Ok(kept),
            false => Err(format!("{} steps and {events} events of {} bytes wait", kept.steps, kept.bytes)),
        }
    }

    /// The client sent an event, in a message of so many bytes. `Err`: there is no room for it.
    pub(crate) fn event(&mut self, event: Event, bytes: usize) -> Result<(), Invalid> {
        self.has_room(&event, bytes)?;
        self.push(Said::Event(event), bytes);
        Ok(())
    }

    /// The client sent a step, with this event.
    pub(crate) fn step(&mut self, event: Event, bytes: usize) -> Result<(), Invalid> {
        if self.steps == STEPS_MAX {
            let reason = format!("{STEPS_MAX} steps wait already: send the next one when a chunk has come");
            return Err(Invalid { id: event.id, refusal: Refusal { field: "kind", reason } });
        }
        if event.id.is_some() || !event.parts.is_empty() {
            self.has_room(&event, bytes)?;
            self.push(Said::Event(event), bytes);
        }
        self.push(Said::Step, 0);
        self.steps += 1;
        Ok(())
    }

    fn has_room(&self, event: &Event, bytes: usize) -> Result<(), Invalid> {
        let events = self.waiting.len() - self.steps;
        if events < EVENTS_MAX && self.bytes + bytes <= BYTES_MAX {
            return Ok(());
        }
        let reason = format!(
            "{events} events of {} bytes wait behind a step already: at most {EVENTS_MAX}, of {BYTES_MAX} bytes together, may",
            self.bytes
        );
        Err(Invalid { id: event.id, refusal: Refusal { field: "message", reason } })
    }

    fn push(&mut self, said: Said, bytes: usize) {
        self.bytes += bytes;
        self.waiting.push_back((said, bytes));
    }

    /// What is to be passed on now. A step only where a chunk `may_begin`, and nothing while the chunk of the step
    /// before has not begun.
    pub(crate) fn next(&mut self, may_begin: bool) -> Option<Said> {
        let first = self.waiting.front().filter(|_| !self.under_way)?;
        if first.0 == Said::Step {
            if !may_begin {
                return None;
            }
            (self.under_way, self.steps) = (true, self.steps - 1);
        }
        let (said, bytes) = self.waiting.pop_front()?;
        self.bytes -= bytes;
        Some(said)
    }

    /// Whether a step waits.
    pub(crate) fn has_steps(&self) -> bool {
        self.steps > 0 || self.under_way
    }

    /// The chunk of the step has begun: what follows the step is for the next one.
    pub(crate) fn began(&mut self) {
        self.under_way = false;
    }

    /// The chunk of the step that was passed on must not begin yet.
    pub(crate) fn put_back(&mut self) {
        if std::mem::take(&mut self.under_way) {
            self.waiting.push_front((Said::Step, 0));
            self.steps += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::turns::event::EventPart;

    fn event(id: u32) -> Event {
        Event { id: Some(id), parts: vec![EventPart::State(Vec::new())] }
    }

    fn bare(id: Option<u32>) -> Event {
        Event { id, parts: Vec::new() }
    }

    fn all(steps: &mut Steps) -> Vec<Said> {
        std::iter::from_fn(|| steps.next(true)).collect()
    }

    #[test]
    fn what_follows_a_step_waits_until_its_chunk_has_begun() {
        let mut steps = Steps::default();
        steps.event(event(1), 10).expect("room");
        steps.step(event(2), 10).expect("room");
        steps.event(event(3), 10).expect("room");
        steps.step(bare(None), 10).expect("room");
        assert_eq!(all(&mut steps), [Said::Event(event(1)), Said::Event(event(2)), Said::Step]);
        steps.began();
        assert_eq!(all(&mut steps), [Said::Event(event(3)), Said::Step]);
        steps.began();
        assert_eq!((all(&mut steps), steps.bytes, steps.steps), (vec![], 0, 0));
    }

    #[test]
    fn a_step_waits_where_no_chunk_may_begin_and_events_before_it_do_not() {
        let mut steps = Steps::default();
        steps.event(event(1), 10).expect("room");
        steps.step(bare(None), 10).expect("room");
        assert_eq!((steps.next(false), steps.next(false)), (Some(Said::Event(event(1))), None));
        assert_eq!(steps.next(true), Some(Said::Step));
        steps.put_back();
        assert_eq!((steps.next(false), steps.next(true)), (None, Some(Said::Step)));
    }

    #[test]
    fn as_many_steps_and_events_wait_as_there_is_room_for() {
        let mut steps = Steps::default();
        for _ in 0..STEPS_MAX {
            steps.step(bare(None), 10).expect("room");
        }
        let refused = steps.step(bare(Some(9)), 10).expect_err("full");
        assert_eq!((refused.id, refused.refusal.field), (Some(9), "kind"));
        for id in 0..EVENTS_MAX as u32 {
            steps.event(event(id), 10).expect("room");
        }
        assert_eq!(steps.event(event(7), 10).expect_err("full").refusal.field, "message");
        // A step that was passed on makes room for one.
        assert_eq!(all(&mut steps), [Said::Step]);
        steps.step(bare(None), 10).expect("room");

        let mut steps = Steps::default();
        steps.event(event(1), BYTES_MAX).expect("room");
        assert!(steps.event(event(2), 1).is_err());
        assert_eq!(all(&mut steps), [Said::Event(event(1))]);
        steps.event(event(2), 1).expect("room again");
    }
}
