//! A chunk that is given up leaves nothing behind, whatever is said meanwhile.

use pipeline::world::{Held, Pose, Rates, Size};

use super::*;
use crate::engine::turns::clips::NextGrant;
use crate::engine::turns::event::{EventPart, Lens, Transition};
use crate::engine::turns::hurry::Hurry;

/// Nobody else needs the device.
fn again() -> Option<NewBeginning> {
    let mut hurry = Hurry::new(Some(8), true);
    hurry.drew(false, std::time::Duration::from_millis(100));
    hurry.again(NextGrant::Never)
}

fn conditions(every_tap: bool) -> Conditions {
    Conditions::new(Beginning { every_tap, ..Beginning::plain(16, Size { width: 64, height: 48 }) })
}

fn plan(index: usize) -> ChunkPlan {
    ChunkPlan::new(index, pipeline::world::Chunking::even(2))
}

fn keys(word: &str) -> EventPart {
    EventPart::State(vec![word.chars().fold(Held::default(), Held::with).into()])
}

fn event(id: u32, part: EventPart) -> Event {
    Event { id: Some(id), parts: vec![part] }
}

/// Numbers that look random (xorshift), so that many orders are tried.
struct Dice(u32);

impl Dice {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % end
    }

    fn event(&mut self, id: u32) -> Event {
        let word: String = ["", "w", "wl", "d", "s"][self.below(5) as usize].into();
        let held = word.chars().fold(Held::default(), Held::with);
        let at_ms = (self.below(3) == 0).then(|| f64::from(self.below(4000)));
        let part = match self.below(6) {
            // With the past as it is: a chunk that makes that again is not begun again.
            0 => EventPart::prompt(format!("prompt {id}")),
            1 => EventPart::Script(vec![held; self.below(4) as usize]),
            2 => EventPart::State(vec![held.into(), Held::default().into()]),
            3 => {
                let pose = Pose::START;
                EventPart::State(vec![Transition { at_ms, pose: Some(pose), ..Transition::default() }])
            }
            4 => {
                let rates = Rates::new([0.25 * f64::from(self.below(5)) - 0.5, 0.0, 0.5, 0.0]).expect("within bounds");
                EventPart::State(vec![Transition { at_ms, rates: Some(rates), ..Transition::default() }])
            }
            _ => {
                let lens = Lens::FieldOfView(60.0 + f64::from(self.below(30)));
                EventPart::State(vec![Transition {
                    at_ms,
                    held: Some(held),
                    lens: Some(lens),
                    ..Transition::default()
                }])
            }
        };
        Event { id: (self.below(4) > 0).then_some(id), parts: vec![part] }
    }
}

#[test]
fn a_chunk_that_is_begun_again_is_what_it_would_be_if_all_events_had_come_before_it() {
    let now = Instant::now();
    for seed in 1..200 {
        let mut dice = Dice(seed);
        let (mut tried, mut plain) = (conditions(seed % 2 == 0), conditions(seed % 2 == 0));
        let mut id = 0;
        let mut say = |dice: &mut Dice, to: [Option<&mut Conditions>; 2]| {
            id += 1;
            let event = dice.event(id);
            to.into_iter().flatten().for_each(|conditions| conditions.push(event.clone(), now).expect("there is room"));
        };
        for index in 0..8 {
            for _ in 0..dice.below(3) {
                say(&mut dice, [Some(&mut tried), Some(&mut plain)]);
            }
            if dice.below(2) == 0 {
                tried.begin(&plan(index), again());
                for _ in 0..dice.below(4) {
                    say(&mut dice, [Some(&mut tried), Some(&mut plain)]);
                }
                if dice.below(4) == 0 {
                    tried.leaves();
                    plain.leaves();
                    tried.stays();
                    plain.stays();
                }
                tried.take_back();
            }
            // And then with what comes after it, in both.
            let [drawn, expected] = [&mut tried, &mut plain].map(|conditions| conditions.begin(&plan(index), again()));
            assert_eq!(drawn, expected, "seed {seed}, chunk {index}");
            if dice.below(2) == 0 {
                say(&mut dice, [Some(&mut tried), Some(&mut plain)]);
            }
            tried.keep();
            plain.keep();
        }
    }
}

#[test]
fn a_tap_that_is_taken_back_still_moves_the_camera() {
    let mut conditions = conditions(true);
    conditions.begin(&plan(0), None);
    let now = Instant::now();
    conditions.push(event(1, keys("w")), now).expect("room");
    conditions.push(event(2, keys("")), now).expect("room");
    let shows = |begun: &Begun| begun.input.controls.as_ref().is_some_and(|controls| controls[0].held().has('w'));
    assert!(shows(&conditions.begin(&plan(1), again())));
    conditions.push(event(3, keys("d")), now).expect("room");
    conditions.take_back();
    let begun = conditions.begin(&plan(1), None);
    assert!(shows(&begun) && begun.awaited);
    assert_eq!((begun.event_id, begun.acks.applied), (Some(3), vec![1, 2, 3]));
}

#[test]
fn only_a_new_event_that_somebody_waits_for_begins_a_chunk_again() {
    let now = Instant::now();
    let check = |again: Option<NewBeginning>, event: Event, expected: bool| {
        let mut conditions = conditions(false);
        conditions.push(self::event(5, keys("w")), now).expect("room");
        let begun = conditions.begin(&plan(1), again);
        assert!(begun.awaited && !conditions.begins_again(now), "it shows what has come");
        conditions.push(event, now).expect("room");
        assert_eq!(conditions.begins_again(now), expected);
        conditions.keep();
        assert!(!conditions.begins_again(now));
    };
    check(again(), event(6, keys("d")), true);
    check(again(), event(6, EventPart::prompt("night")), true);
    check(None, event(6, keys("d")), false);
    // An id that is not new, none, and one that waits for its time.
    check(again(), event(5, keys("d")), false);
    check(again(), Event { id: None, parts: vec![keys("d")] }, false);
    let later = Transition { at_ms: Some(60_000.0), ..Transition::from(Held::default()) };
    check(again(), event(6, EventPart::State(vec![later])), false);
}
