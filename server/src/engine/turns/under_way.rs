//! A session's conditions while a chunk of it is being drawn: what the chunk was begun with can be taken back, as if it had
//! never been sampled.
//!
//! While that may still happen there are two queues: the one that was sampled, and the one from before. Every event goes
//! into both, so whichever goes on has all of them, in their order and at their times.

use std::time::Instant;

use pipeline::world::{ChunkInput, ChunkPlan, Refusal};

use super::acks::Acks;
use super::conditions::packed::PackedConditions;
use super::conditions::{Beginning, ConditionQueue};
use super::event::Event;
use super::hurry::NewBeginning;

/// What a session's events ask of its chunks.
#[derive(Debug)]
pub struct Conditions {
    queue: ConditionQueue,
    /// Of a chunk that may be begun again.
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    before: ConditionQueue,
    again: NewBeginning,
    /// The newest event then that did not wait for its time.
    hurried: Option<u32>,
}

/// What a chunk begins with.
#[derive(Debug, PartialEq)]
pub struct Begun {
    /// What steers it.
    pub input: ChunkInput,
    /// The largest id of the events that it shows.
    pub event_id: Option<u32>,
    /// Which events it shows first, and which were replaced.
    pub acks: Acks,
    /// Somebody waits for it: it is the first to show an event with a new id.
    pub awaited: bool,
}

impl Conditions {
    /// Before the first event.
    pub fn new(beginning: Beginning) -> Conditions {
        Conditions { queue: ConditionQueue::new(beginning), under_way: None }
    }

    /// Those that another process had between two chunks.
    pub fn going_on(queue: ConditionQueue) -> Conditions {
        Conditions { queue, under_way: None }
    }

    /// As [`ConditionQueue::pack`]. No chunk is under way.
    pub fn pack(&self) -> PackedConditions {
        self.queue.pack()
    }

    /// As [`ConditionQueue::push`].
    pub fn push(&mut self, event: Event, now: Instant) -> Result<(), Refusal> {
        if let Some(UnderWay { before, .. }) = &mut self.under_way {
            // An event joins both or neither.
            self.queue.check_room(&event)?;
            before.push(event.clone(), now)?;
        }
        self.queue.push(event, now)
    }

    /// Take what steers the planned chunk. `again`: how it may be begun again, until it is kept.
    pub fn begin(&mut self, plan: &ChunkPlan, again: Option<NewBeginning>) -> Begun {
        let hurried = self.queue.hurried_id();
        self.under_way = again.map(|again| UnderWay { before: self.queue.clone(), again, hurried });
        let before = self.queue.applied_id();
        let (input, event_id) = self.queue.sample(plan);
        if input.recache {
            // Its world makes the past again first, and would have to do it once more.
            self.under_way = None;
        }
        Begun { input, event_id, acks: self.queue.acks(), awaited: event_id > before && hurried > before }
    }

    /// Whether the chunk under way is to be begun again: somebody waits for an event that it does not show, and nobody else
    /// for the device.
    pub fn begins_again(&self, now: Instant) -> bool {
        let Some(UnderWay { again, hurried, .. }) = &self.under_way else { return false };
        self.queue.hurried_id() > *hurried && again.harms_nobody(now)
    }

    /// The chunk under way is given up, and nothing of it was shown: its conditions are those of the next one.
    pub fn take_back(&mut self) {
        if let Some(UnderWay { before, .. }) = self.under_way.take() {
            self.queue = before;
        }
    }

    /// The chunk under way will not be begun again.
    pub fn keep(&mut self) {
        self.under_way = None;
    }

    /// As [`ConditionQueue::goes_back_to`]. No chunk is under way.
    pub fn goes_back_to(&mut self, next: usize) {
        self.queue.goes_back_to(next);
    }

    /// As [`ConditionQueue::leaves`].
    pub fn leaves(&mut self) {
        self.both(ConditionQueue::leaves);
    }

    /// As [`ConditionQueue::stays`].
    pub fn stays(&mut self) {
        self.both(ConditionQueue::stays);
    }

    /// As [`ConditionQueue::begins_anew`]. No chunk is under way.
    pub fn begins_anew(&mut self, beginning: Beginning) {
        self.queue.begins_anew(beginning);
    }

    /// As [`ConditionQueue::next_ms`].
    pub fn next_ms(&self) -> f64 {
        self.queue.next_ms()
    }

    fn both(&mut self, change: fn(&mut ConditionQueue)) {
        let before = self.under_way.as_mut().map(|chunk| &mut chunk.before);
        before.into_iter().chain([&mut self.queue]).for_each(change);
    }
}

#[cfg(test)]
mod tests;
