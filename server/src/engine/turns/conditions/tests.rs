//! What steers a chunk, event by event.

use pipeline::world::{Controls, Held, Size};

use super::*;

/// Of a client that knows only the reference.
fn queue() -> ConditionQueue {
    scripted(None)
}

fn scripted(script: Option<Vec<Held>>) -> ConditionQueue {
    ConditionQueue::new(Beginning { script, ..Beginning::plain(16, Size { width: 64, height: 48 }) })
}

impl ConditionQueue {
    fn take(&mut self, event: Event) {
        self.push(event, Instant::now()).expect("there is room");
    }
}

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
    EventPart::State(words.iter().map(|word| keys(word).into()).collect())
}

fn event(id: impl Into<Option<u32>>, part: EventPart) -> Event {
    Event { id: id.into(), parts: vec![part] }
}

/// `received`, then the keys of the chunks that follow: `w w -`, or `absent`.
fn check(held_before: &[EventPart], received: &[EventPart], expected: &[&str]) {
    let mut queue = self::queue();
    for (index, part) in held_before.iter().enumerate() {
        queue.take(event(None, part.clone()));
        queue.sample(&plan(index));
    }
    for part in received {
        queue.take(event(None, part.clone()));
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
    let mut queue = scripted(Some(vec![keys("w"), keys("a")]));
    assert_eq!(queue.sample(&plan(0)).0.controls, Some(["w", "a", ""].map(|word| keys(word).into()).to_vec()));
    assert_eq!(self::queue().sample(&plan(0)).0.controls, None);
}

#[test]
fn a_prompt_waits_for_the_second_chunk_and_the_latest_wins() {
    let mut queue = self::queue();
    queue.take(event(1, EventPart::prompt("dusk")));
    queue.take(event(2, EventPart::prompt("night")));
    assert_eq!(queue.sample(&plan(0)), (ChunkInput::default(), None));
    assert_eq!(
        queue.sample(&plan(1)),
        (ChunkInput { prompt: Some("night".into()), recache: false, steps: None, controls: None }, Some(2))
    );
    assert_eq!(queue.sample(&plan(2)), (ChunkInput::default(), Some(2)));
}

#[test]
fn the_past_is_made_again_if_the_prompt_that_wins_asks_for_it() {
    let with = |text: &str, recache| EventPart::Prompt { text: text.into(), recache };
    let check = |parts: [EventPart; 2], expected: bool| {
        let mut queue = self::queue();
        queue.sample(&plan(0));
        parts.into_iter().for_each(|part| queue.take(event(None, part)));
        assert_eq!(queue.sample(&plan(1)).0.recache, expected);
        assert!(!queue.sample(&plan(2)).0.recache, "once");
    };
    check([with("dusk", false), with("night", true)], true);
    check([with("dusk", true), with("night", false)], false);
}

#[test]
fn the_event_id_is_the_largest_applied_so_far() {
    let mut queue = self::queue();
    let mut id = |index: usize, events: Vec<Event>| {
        events.into_iter().for_each(|event| queue.take(event));
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
    let mut queue = self::queue();
    let mut acks = |index: usize, events: Vec<Event>| {
        events.into_iter().for_each(|event| queue.take(event));
        queue.sample(&plan(index));
        let Acks { applied, superseded, receipts } = queue.acks();
        let first = plan(index).first_latent_frame;
        assert!(
            receipts.iter().map(|receipt| (receipt.id, receipt.latent_frame)).eq(applied.iter().map(|&id| (id, first)))
        );
        (applied, superseded)
    };
    let expected = |applied: &[u32], superseded: &[u32]| (applied.to_vec(), superseded.to_vec());
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
fn an_event_that_waits_for_its_time_is_reported_when_that_has_come() {
    let mut queue = self::queue();
    queue.sample(&plan(0));
    // Latent frames 3 to 5 are in the next chunk, 7 in the one after it: 16 frames a second, four a latent frame.
    let at = |latent_frame: usize, word: &str| {
        let at_ms = Some((4 * latent_frame - 3) as f64 * 62.5);
        EventPart::State(vec![Transition { at_ms, ..keys(word).into() }])
    };
    queue.take(event(5, at(4, "w")));
    queue.take(event(9, at(7, "d")));
    let mut next = |index: usize| {
        let (_, id) = queue.sample(&plan(index));
        let receipts = queue.acks().receipts;
        (id, receipts.iter().map(|receipt| (receipt.id, receipt.latent_frame)).collect::<Vec<_>>())
    };
    assert_eq!(next(1), (Some(5), vec![(5, 4)]));
    assert_eq!(next(2), (Some(9), vec![(9, 7)]));
    assert_eq!(next(3), (Some(9), vec![]));
}

#[test]
fn both_parts_of_a_composite_steer_the_same_chunk() {
    let mut queue = self::queue();
    queue.sample(&plan(0));
    queue.take(Event { id: Some(3), parts: vec![EventPart::prompt("p"), state(&["w"])] });
    let expected =
        ChunkInput { prompt: Some("p".into()), recache: false, steps: None, controls: Some(vec![keys("w").into(); 3]) };
    assert_eq!(queue.sample(&plan(1)), (expected, Some(3)));
}

#[test]
fn an_event_at_once_is_applied_where_the_video_has_gone_back_to() {
    let mut queue = self::queue();
    (0..3).for_each(|index| drop(queue.sample(&plan(index))));
    queue.take(event(4, state(&["w"])));
    queue.goes_back_to(3);
    queue.sample(&plan(1));
    let receipts = queue.acks().receipts;
    assert_eq!(receipts.iter().map(|receipt| (receipt.id, receipt.latent_frame)).collect::<Vec<_>>(), [(4, 3)]);
}

#[test]
fn what_comes_after_a_reset_is_for_the_new_video_and_what_waited_for_the_old_one_is_superseded() {
    let (size, mut queue) = (Size { width: 64, height: 48 }, self::queue());
    queue.sample(&plan(0));
    queue.take(event(1, state(&["w"])));
    queue.sample(&plan(1));
    queue.acks();
    let late = Transition { at_ms: Some(60_000.0), ..keys("d").into() };
    queue.take(event(2, EventPart::State(vec![late])));
    queue.take(event(3, EventPart::prompt("night")));
    queue.leaves();
    queue.take(event(4, EventPart::prompt("a beach")));
    // A chunk of the old video that was granted already.
    assert_eq!(queue.sample(&plan(2)).0.prompt, None);
    queue.begins_anew(Beginning::plain(16, size));
    let (first, id) = queue.sample(&plan(0));
    assert_eq!(
        (first, id),
        (ChunkInput { controls: Some(vec![keys("w").into(); 3]), ..ChunkInput::default() }, Some(1))
    );
    assert_eq!(queue.acks().superseded, [2, 3]);
    assert_eq!(queue.sample(&plan(1)).0.prompt.as_deref(), Some("a beach"));
    // With nothing held it begins as any video does.
    queue.take(event(None, state(&[""])));
    queue.sample(&plan(2));
    queue.leaves();
    queue.begins_anew(Beginning::plain(16, size));
    assert_eq!(queue.sample(&plan(0)).0, ChunkInput::default());
}

#[test]
fn a_reset_that_is_refused_changes_nothing() {
    let mut queue = self::queue();
    queue.sample(&plan(0));
    queue.take(event(1, EventPart::prompt("dusk")));
    queue.leaves();
    queue.stays();
    assert_eq!(queue.sample(&plan(1)).0.prompt.as_deref(), Some("dusk"));
    queue.take(event(2, EventPart::prompt("night")));
    queue.leaves();
    queue.take(event(3, EventPart::prompt("noon")));
    queue.stays();
    assert_eq!(queue.sample(&plan(2)).0.prompt.as_deref(), Some("noon"));
    assert_eq!(queue.acks().superseded, [2]);
}
