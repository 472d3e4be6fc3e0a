//! The conditions of the next chunk: the prompt and the keys, from all events since the last chunk.
//!
//! A tap shorter than a chunk still shows for one latent frame. The reported event id never goes back, although the
//! reference's does: a client that waits for the id of its prompt would otherwise wait for ever once it had moved.

use std::collections::VecDeque;

use pipeline::world::{ChunkInput, ChunkPlan, Controls, Held};

use super::acks::{Acks, note};
use super::event::{Event, EventPart};

/// Latent frames for which a key counts as held that was pressed and released between two chunks.
const PULSE_LATENT_FRAMES: usize = 1;

/// What a session's events ask of its next chunk.
#[derive(Debug, Default)]
pub struct ConditionQueue {
    camera: Camera,
    prompt: Option<Prompt>,
    /// The largest event id in effect, and the one that takes effect with the next chunk.
    applied_id: Option<u32>,
    waiting_id: Option<u32>,
    /// Event id of the keys since the last chunk.
    camera_ids: Vec<u32>,
    acks: Acks,
}

#[derive(Debug)]
struct Prompt {
    text: String,
    recache: bool,
    id: Option<u32>,
    /// The largest id of this event and of those it replaced.
    reported_id: Option<u32>,
}

#[derive(Debug, Default)]
enum Camera {
    /// No key was ever used: the model's camera branch is skipped.
    #[default]
    Unused,
    /// Keys for the latent frames to come; once drained, none held.
    Script(VecDeque<Held>),
    State {
        held: Held,
        since: Option<Transitions>,
    },
}

/// The effect of the transitions since the last chunk.
#[derive(Debug)]
struct Transitions {
    last: Held,
    last_pressed: Held,
}

impl ConditionQueue {
    /// With the script that an `init` may bring.
    pub fn new(script: Option<Vec<Held>>) -> ConditionQueue {
        let camera = script.map_or(Camera::Unused, |items| Camera::Script(items.into()));
        ConditionQueue { camera, ..ConditionQueue::default() }
    }

    /// One more event: it takes effect with the next chunk.
    pub fn push(&mut self, event: Event) {
        if event.parts.is_empty() {
            self.wait_with(event.id);
        }
        for part in event.parts {
            match part {
                EventPart::Prompt { text, recache } => {
                    let superseded = self.prompt.take();
                    let reported_id = event.id.max(superseded.as_ref().and_then(|prompt| prompt.reported_id));
                    self.acks.superseded(superseded.and_then(|prompt| prompt.id).filter(|&id| Some(id) != event.id));
                    self.prompt = Some(Prompt { text, recache, id: event.id, reported_id });
                }
                EventPart::Script(items) => {
                    self.supersede_camera(event.id);
                    self.camera = Camera::Script(items.into());
                    self.wait_with(event.id);
                }
                EventPart::State(transitions) => {
                    if let Camera::Script(_) = self.camera {
                        self.supersede_camera(event.id);
                    }
                    self.transit(&transitions);
                    self.wait_with(event.id);
                }
            }
        }
    }

    fn supersede_camera(&mut self, by: Option<u32>) {
        self.acks.superseded(self.camera_ids.drain(..).filter(|&id| Some(id) != by));
    }

    fn wait_with(&mut self, id: Option<u32>) {
        self.waiting_id = self.waiting_id.max(id);
        note(&mut self.camera_ids, id);
    }

    fn transit(&mut self, transitions: &[Held]) {
        if let Camera::Script(_) = self.camera {
            self.camera = Camera::State { held: Held::default(), since: None };
        }
        let Some(&last) = transitions.last() else { return };
        let pressed = transitions.iter().rev().find(|keys| !keys.is_empty()).copied();
        let (held, earlier) = match &self.camera {
            Camera::State { held, since } => (*held, since.as_ref().map(|since| since.last_pressed)),
            Camera::Unused | Camera::Script(_) => (Held::default(), None),
        };
        let last_pressed = pressed.or(earlier).unwrap_or_default();
        self.camera = Camera::State { held, since: Some(Transitions { last, last_pressed }) };
    }

    /// Take the planned chunk's input out of the queue, with the event id that the chunk reports.
    pub fn sample(&mut self, plan: &ChunkPlan) -> (ChunkInput, Option<u32>) {
        // The first chunk is drawn with the init's prompt, even if a newer one came.
        let prompt = if plan.index > 0 { self.prompt.take() } else { None };
        if let Some(prompt) = &prompt {
            self.waiting_id = self.waiting_id.max(prompt.reported_id);
            self.acks.applied(prompt.id);
        }
        self.acks.applied(self.camera_ids.drain(..));
        self.applied_id = self.applied_id.max(self.waiting_id.take());
        let controls = self.controls(plan.latent_frames);
        let recache = prompt.as_ref().is_some_and(|prompt| prompt.recache);
        (ChunkInput { prompt: prompt.map(|prompt| prompt.text), recache, controls }, self.applied_id)
    }

    /// Take the acknowledgements of the events up to the chunk that was sampled last.
    pub fn acks(&mut self) -> Acks {
        std::mem::take(&mut self.acks)
    }

    fn controls(&mut self, latent_frames: usize) -> Option<Vec<Controls>> {
        match &mut self.camera {
            Camera::Unused => None,
            Camera::Script(items) => {
                Some((0..latent_frames).map(|_| items.pop_front().unwrap_or_default().into()).collect())
            }
            Camera::State { held, since } => {
                let mut pulse = None;
                if let Some(Transitions { last, last_pressed }) = since.take() {
                    *held = last;
                    pulse = (last.is_empty() && !last_pressed.is_empty()).then_some(last_pressed);
                }
                let shown = |i| pulse.filter(|_| i < PULSE_LATENT_FRAMES).unwrap_or(*held);
                Some((0..latent_frames).map(|i| shown(i).into()).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(word: &str) -> Held {
        word.chars().fold(Held::default(), Held::with)
    }

    fn plan(index: usize) -> ChunkPlan {
        ChunkPlan { index, first_latent_frame: 3 * index, latent_frames: 3, pixel_frames: 12 }
    }

    fn script(words: &[&str]) -> EventPart {
        EventPart::Script(words.iter().map(|word| keys(word)).collect())
    }

    fn state(words: &[&str]) -> EventPart {
        EventPart::State(words.iter().map(|word| keys(word)).collect())
    }

    fn event(id: impl Into<Option<u32>>, part: EventPart) -> Event {
        Event { id: id.into(), parts: vec![part] }
    }

    /// `received`, then the keys of the chunks that follow: `w w -`, or `absent`.
    fn check(held_before: &[EventPart], received: &[EventPart], expected: &[&str]) {
        let mut queue = ConditionQueue::default();
        for (index, part) in held_before.iter().enumerate() {
            queue.push(event(None, part.clone()));
            queue.sample(&plan(index));
        }
        for part in received {
            queue.push(event(None, part.clone()));
        }
        let shown = |controls: Option<Vec<Controls>>| match controls {
            None => "absent".to_owned(),
            Some(controls) => {
                let word = |held: Held| if held.is_empty() { "-".into() } else { held.iter().collect::<String>() };
                controls.iter().map(|controls| word(controls.held())).collect::<Vec<_>>().join(" ")
            }
        };
        for (i, expected) in expected.iter().enumerate() {
            assert_eq!(shown(queue.sample(&plan(7 + i)).0.controls), *expected, "{received:?}, then chunk {i}");
        }
    }

    #[test]
    fn keys_are_sampled_as_the_reference_samples_them() {
        check(&[], &[], &["absent", "absent"]);
        check(&[], &[state(&["w"])], &["w w w", "w w w"]);
        check(&[state(&["w"])], &[], &["w w w"]);
        check(&[], &[state(&["w"]), state(&[""])], &["w - -", "- - -"]);
        check(&[state(&["a"])], &[state(&["w", ""])], &["w - -", "- - -"]);
        check(&[], &[state(&["w", "wd", "d"])], &["d d d", "d d d"]);
        check(&[], &[state(&["w"]), state(&[""]), state(&["d"]), state(&[""])], &["d - -", "- - -"]);
        check(&[], &[script(&["w", "a", "s", "d"])], &["w a s", "d - -", "- - -"]);
        check(&[state(&["w"])], &[script(&[])], &["- - -", "- - -"]);
        check(&[], &[script(&["s", "s"]), state(&["w"])], &["w w w"]);
        check(&[], &[state(&["w"]), script(&["d"])], &["d - -", "- - -"]);
        check(&[], &[script(&["s", "s"]), state(&[])], &["- - -", "- - -"]);
        check(&[], &[state(&[])], &["absent"]);
        check(&[state(&["w"])], &[state(&[])], &["w w w"]);
        check(&[state(&["w"])], &[state(&[""])], &["- - -"]);
        check(&[], &[state(&["w", ""]), state(&[])], &["w - -", "- - -"]);
    }

    #[test]
    fn the_script_of_an_init_plays_from_the_first_chunk() {
        let mut queue = ConditionQueue::new(Some(vec![keys("w"), keys("a")]));
        assert_eq!(queue.sample(&plan(0)).0.controls, Some(["w", "a", ""].map(|word| keys(word).into()).to_vec()));
        assert_eq!(ConditionQueue::new(None).sample(&plan(0)).0.controls, None);
    }

    #[test]
    fn a_prompt_waits_for_the_second_chunk_and_the_latest_wins() {
        let mut queue = ConditionQueue::default();
        queue.push(event(1, EventPart::prompt("dusk")));
        queue.push(event(2, EventPart::prompt("night")));
        assert_eq!(queue.sample(&plan(0)), (ChunkInput::default(), None));
        assert_eq!(
            queue.sample(&plan(1)),
            (ChunkInput { prompt: Some("night".into()), recache: false, controls: None }, Some(2))
        );
        assert_eq!(queue.sample(&plan(2)), (ChunkInput::default(), Some(2)));
    }

    #[test]
    fn the_past_is_made_again_if_the_prompt_that_wins_asks_for_it() {
        let with = |text: &str, recache| EventPart::Prompt { text: text.into(), recache };
        let check = |parts: [EventPart; 2], expected: bool| {
            let mut queue = ConditionQueue::default();
            queue.sample(&plan(0));
            parts.into_iter().for_each(|part| queue.push(event(None, part)));
            assert_eq!(queue.sample(&plan(1)).0.recache, expected);
            assert!(!queue.sample(&plan(2)).0.recache, "once");
        };
        check([with("dusk", false), with("night", true)], true);
        check([with("dusk", true), with("night", false)], false);
    }

    #[test]
    fn the_event_id_is_the_largest_applied_so_far() {
        let mut queue = ConditionQueue::default();
        let mut id = |index: usize, events: Vec<Event>| {
            events.into_iter().for_each(|event| queue.push(event));
            queue.sample(&plan(index)).1
        };
        assert_eq!(id(0, vec![]), None);
        assert_eq!(id(1, vec![event(None, state(&["w"]))]), None);
        assert_eq!(id(2, vec![event(5, state(&["w"]))]), Some(5));
        // The reference would report the keys' id and the client would never see its prompt's.
        assert_eq!(id(3, vec![event(9, EventPart::prompt("p"))]), Some(9));
        assert_eq!(id(4, vec![event(7, state(&[""]))]), Some(9));
        // ... and none at all once a script has drained.
        assert_eq!(id(5, vec![event(10, script(&["w"]))]), Some(10));
        assert_eq!(id(6, vec![]), Some(10));
        assert_eq!(id(7, vec![event(None, EventPart::prompt("q"))]), Some(10));
    }

    #[test]
    fn every_event_is_applied_or_superseded_and_told_with_the_chunk_after_it() {
        let mut queue = ConditionQueue::default();
        let mut acks = |index: usize, events: Vec<Event>| {
            events.into_iter().for_each(|event| queue.push(event));
            queue.sample(&plan(index));
            queue.acks()
        };
        let expected = |applied: &[u32], superseded: &[u32]| {
            let mut acks = Acks::default();
            acks.applied(applied.iter().copied());
            acks.superseded(superseded.iter().copied());
            acks
        };
        let prompt = |id, text: &str| event(id, EventPart::prompt(text));
        // A prompt is not taken by the first chunk.
        assert_eq!(acks(0, vec![prompt(1, "dusk"), event(2, state(&["w"]))]), expected(&[2], &[]));
        assert_eq!(acks(1, vec![prompt(3, "night")]), expected(&[3], &[1]));
        assert_eq!(acks(2, vec![event(4, state(&["a"])), event(5, script(&["w"]))]), expected(&[5], &[4]));
        assert_eq!(acks(3, vec![event(6, script(&["d"])), event(7, state(&["s"]))]), expected(&[7], &[6]));
        assert_eq!(acks(4, vec![event(8, state(&["s"])), event(9, state(&[""]))]), expected(&[8, 9], &[]));
        assert_eq!(acks(5, vec![event(None, state(&["s"]))]), expected(&[], &[]));
        let both = |id| Event { id: Some(id), parts: vec![EventPart::prompt("p"), state(&["w"])] };
        assert_eq!(acks(6, vec![both(10)]), expected(&[10], &[]));
        // Each part for itself, but none is superseded by its own.
        assert_eq!(acks(7, vec![both(11), prompt(12, "q")]), expected(&[12, 11], &[11]));
        let twice = Event { id: Some(13), parts: vec![EventPart::prompt("p"), EventPart::prompt("p")] };
        assert_eq!(acks(8, vec![twice]), expected(&[13], &[]));
    }

    #[test]
    fn both_parts_of_a_composite_steer_the_same_chunk() {
        let mut queue = ConditionQueue::default();
        queue.sample(&plan(0));
        queue.push(Event { id: Some(3), parts: vec![EventPart::prompt("p"), state(&["w"])] });
        let expected =
            ChunkInput { prompt: Some("p".into()), recache: false, controls: Some(vec![keys("w").into(); 3]) };
        assert_eq!(queue.sample(&plan(1)), (expected, Some(3)));
    }
}
