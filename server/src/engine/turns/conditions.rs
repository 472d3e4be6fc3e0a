//! The conditions of the next chunk: the prompt and what steers the camera, from all events so far.
//!
//! A tap shorter than a chunk still shows for one latent frame. The reported event id never goes back, although the
//! reference's does: a client that waits for the id of its prompt would otherwise wait for ever once it had moved.

pub mod packed;

use std::time::Instant;

use pipeline::world::{ChunkInput, ChunkPlan, Refusal};

use super::acks::{ACKS_MAX, Acks, Receipt};
use super::event::{Event, EventPart, Transition};
pub use super::steering::Beginning;
use super::steering::Camera;

/// What a session's events ask of its next chunk.
#[derive(Debug, Clone)]
pub struct ConditionQueue {
    camera: Camera,
    prompt: Option<Prompt>,
    /// The client begins another video, and these chunks are the last of this one.
    leaves: bool,
    /// What would have been the prompt of this video.
    left: Option<Prompt>,
    /// The largest event id in effect, and the one that takes effect with the next chunk.
    applied_id: Option<u32>,
    waiting_id: Option<u32>,
    /// The largest event id that does not wait for its time: if it is not in effect, a person waits for it.
    hurried_id: Option<u32>,
    /// What steers the camera and shows in no chunk yet.
    waiting: Vec<Receipt>,
    acks: Acks,
}

#[derive(Debug, Clone)]
struct Prompt {
    text: String,
    recache: bool,
    id: Option<u32>,
    /// The largest id of this event and of those it replaced.
    reported_id: Option<u32>,
    arrived: Instant,
}

impl ConditionQueue {
    /// Before the first event.
    pub fn new(beginning: Beginning) -> ConditionQueue {
        let camera = Camera::new(beginning);
        let (acks, waiting) = (Acks::default(), Vec::new());
        ConditionQueue {
            camera,
            prompt: None,
            leaves: false,
            left: None,
            applied_id: None,
            waiting_id: None,
            hurried_id: None,
            waiting,
            acks,
        }
    }

    /// One more event, which came at this time: it takes effect with the next chunk, or when its transitions say. `Err`:
    /// more waits than there is room for, and the event changes nothing.
    pub fn push(&mut self, event: Event, now: Instant) -> Result<(), Refusal> {
        self.check_room(&event)?;
        if event.parts.is_empty() {
            self.waiting_id = self.waiting_id.max(event.id);
            self.wait_with(event.id, self.camera.next(), now);
        }
        // An event that waits for its time is reported when that has come.
        let hurries = event.id.filter(|_| !event.waits_for_its_time());
        self.hurried_id = self.hurried_id.max(hurries);
        for part in event.parts {
            match part {
                EventPart::Prompt { text, recache } => {
                    let superseded = self.prompt.take();
                    let reported_id = event.id.max(superseded.as_ref().and_then(|prompt| prompt.reported_id));
                    self.acks.superseded(superseded.and_then(|prompt| prompt.id).filter(|&id| Some(id) != event.id));
                    self.prompt = Some(Prompt { text, recache, id: event.id, reported_id, arrived: now });
                }
                EventPart::Script(items) => {
                    self.supersede_camera(event.id);
                    let shows = self.camera.play(items);
                    self.waiting_id = self.waiting_id.max(hurries);
                    self.wait_with(event.id, shows, now);
                }
                EventPart::State(transitions) => {
                    if self.camera.is_scripted() {
                        self.supersede_camera(event.id);
                    }
                    let shows = self.camera.follow(&transitions).unwrap_or(self.camera.next());
                    self.waiting_id = self.waiting_id.max(hurries);
                    self.wait_with(event.id, shows, now);
                }
            }
        }
        Ok(())
    }

    /// `Err`: more would wait than there is room for.
    pub(super) fn check_room(&self, event: &Event) -> Result<(), Refusal> {
        let transitions: Vec<Transition> = event.parts.iter().flat_map(EventPart::transitions).copied().collect();
        self.camera.check_room(&transitions)
    }

    /// The largest event id that does not wait for its time.
    pub(super) fn hurried_id(&self) -> Option<u32> {
        self.hurried_id
    }

    /// The largest event id in effect.
    pub(super) fn applied_id(&self) -> Option<u32> {
        self.applied_id
    }

    fn supersede_camera(&mut self, by: Option<u32>) {
        self.acks.superseded(self.waiting.drain(..).map(|receipt| receipt.id).filter(|&id| Some(id) != by));
    }

    fn wait_with(&mut self, id: Option<u32>, latent_frame: usize, arrived: Instant) {
        let Some(id) = id else { return };
        self.waiting.retain(|earlier| earlier.id != id);
        self.waiting.push(Receipt { id, latent_frame, arrived });
        self.waiting.drain(..self.waiting.len().saturating_sub(ACKS_MAX));
    }

    /// Take the planned chunk's input out of the queue, with the event id that the chunk reports.
    pub fn sample(&mut self, plan: &ChunkPlan) -> (ChunkInput, Option<u32>) {
        let first = plan.first_latent_frame;
        // The first chunk is drawn with the init's prompt, even if a newer one came.
        let prompt = if plan.index > 0 && !self.leaves { self.prompt.take() } else { None };
        if let Some(prompt) = &prompt {
            self.waiting_id = self.waiting_id.max(prompt.reported_id);
            let receipt = |id| Receipt { id, latent_frame: first, arrived: prompt.arrived };
            prompt.id.into_iter().for_each(|id| self.acks.receipt(receipt(id)));
        }
        let end = plan.latent_range().end;
        for receipt in self.waiting.extract_if(.., |receipt| receipt.latent_frame < end) {
            self.applied_id = self.applied_id.max(Some(receipt.id));
            self.acks.receipt(Receipt { latent_frame: receipt.latent_frame.max(first), ..receipt });
        }
        self.applied_id = self.applied_id.max(self.waiting_id.take());
        let controls = self.camera.sample(plan);
        let recache = prompt.as_ref().is_some_and(|prompt| prompt.recache);
        (ChunkInput { prompt: prompt.map(|prompt| prompt.text), recache, steps: None, controls }, self.applied_id)
    }

    /// The video has gone back, and goes on with this latent frame: what was to take effect at once does so there. What
    /// was told of events stays told, and the reported id stays.
    pub fn goes_back_to(&mut self, next: usize) {
        let from = self.camera.next();
        self.camera.goes_back_to(next);
        let at_once = self.waiting.iter_mut().filter(|receipt| receipt.latent_frame == from);
        at_once.for_each(|receipt| receipt.latent_frame = next);
    }

    /// The client begins another video. A prompt that comes from now on is for that one, and those that wait were for this.
    pub fn leaves(&mut self) {
        (self.leaves, self.left) = (true, self.prompt.take());
    }

    /// It goes on with this one after all.
    pub fn stays(&mut self) {
        self.leaves = false;
        match self.left.take() {
            Some(left) if self.prompt.is_none() => self.prompt = Some(left),
            left => self.acks.superseded(left.and_then(|prompt| prompt.id)),
        }
    }

    /// The other video begins, like this. What is held is held on, and what waited for this one is superseded. What was told
    /// of events stays told, and the reported id stays.
    pub fn begins_anew(&mut self, beginning: Beginning) {
        let next = self.camera.next();
        self.camera.begins_anew(beginning);
        let later = self.waiting.extract_if(.., |receipt| receipt.latent_frame > next).map(|receipt| receipt.id);
        let superseded: Vec<u32> = later.chain(self.left.take().and_then(|prompt| prompt.id)).collect();
        self.acks.superseded(superseded);
        self.waiting.iter_mut().for_each(|receipt| receipt.latent_frame = self.camera.next());
        self.leaves = false;
    }

    /// Take the acknowledgements of the events up to the chunk that was sampled last.
    pub fn acks(&mut self) -> Acks {
        std::mem::take(&mut self.acks)
    }

    /// When the next latent frame that can still be steered stands in the video, in milliseconds.
    pub fn next_ms(&self) -> f64 {
        self.camera.next_ms()
    }
}

#[cfg(test)]
mod tests;
