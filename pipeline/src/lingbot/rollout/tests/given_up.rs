//! Chunks that are given up between two passes and drawn again.

use super::*;

const STEPS: usize = 3;
/// Frames are evicted from the third chunk on.
const CHUNKS: usize = 5;

fn moving_world() -> LingBot {
    let recipe = json!({"window": 9, "moving_window": 8, "still_window": 3, "still_chunks": 1, "steps": STEPS});
    world(recipe)
}

fn draw(rollout: &mut LingBotRollout, input: &ChunkInput, cancel: &Cancel) -> Result<Vec<u8>, WorldError> {
    let mut rgb = Vec::new();
    rollout.generate(input, cancel, &mut |frames| rgb.extend(frames.rgb)).map(|_| rgb)
}

/// Keys in every chunk, and from the fourth on another prompt, with which the past is made again.
fn input(plan: &ChunkPlan) -> ChunkInput {
    let prompt = (plan.index == 3).then(|| "a city at night".to_owned());
    ChunkInput { recache: prompt.is_some(), prompt, ..steered(plan) }
}

#[test]
fn a_chunk_that_is_given_up_before_any_of_its_passes_and_drawn_again_is_what_it_would_have_been() {
    let world = moving_world();
    let (mut plain, mut tried) = (open(&world, init(&world, None)), open(&world, init(&world, None)));
    let mut given_up = 0;
    for _ in 0..CHUNKS {
        let plan = plain.plan();
        let input = input(&plan);
        let expected = draw(&mut plain, &input, &Cancel::default()).expect("a chunk");
        let drawn = (1..).find_map(|look| match draw(&mut tried, &input, &Cancel::given_up_at(look)) {
            Err(WorldError::GivenUp) => {
                given_up += 1;
                assert_eq!(tried.plan(), plan);
                None
            }
            drawn => Some(drawn.expect("a chunk")),
        });
        assert!(drawn.expect("it ends") == expected, "{plan:?}");
    }
    // Each pass, and the one that remembers; in the fourth chunk three more, one for each chunk that is held.
    assert_eq!(given_up, CHUNKS * (STEPS + 1) + 3);
}

#[test]
fn nothing_of_what_a_chunk_was_given_up_with_shows_in_what_is_drawn_in_its_place() {
    let world = moving_world();
    let (mut plain, mut tried) = (open(&world, init(&world, None)), open(&world, init(&world, None)));
    for _ in 0..CHUNKS {
        let plan = plain.plan();
        let still = ChunkInput {
            prompt: Some("a red tower".to_owned()),
            steps: Some(2),
            controls: Some(vec![Controls::default(); CHUNK]),
            ..ChunkInput::default()
        };
        for look in 1..=2 {
            let drawn = draw(&mut tried, &still, &Cancel::given_up_at(look));
            assert!(matches!(drawn, Err(WorldError::GivenUp)), "{plan:?}, look {look}");
        }
        let input = ChunkInput { steps: (plan.index % 2 == 1).then_some(2), ..input(&plan) };
        let [drawn, expected] =
            [&mut tried, &mut plain].map(|rollout| draw(rollout, &input, &Cancel::default()).expect("a chunk"));
        assert!(drawn == expected, "{plan:?}");
    }
}

#[test]
fn a_chunk_that_is_kept_is_drawn_to_its_end_whatever_is_asked_then() {
    let world = moving_world();
    let mut rollout = open(&world, init(&world, None));
    let input = steered(&rollout.plan());
    let cancel = Cancel::default();
    let mut frames = 0;
    let drawn = rollout.generate(&input, &cancel, &mut |more| {
        frames += more.count;
        cancel.give_up();
    });
    assert!(drawn.is_ok() && frames == 9 && rollout.plan().index == 1);
    // It is for the next one, unless somebody says that this one has ended.
    cancel.goes_on();
    let input = steered(&rollout.plan());
    assert!(draw(&mut rollout, &input, &cancel).is_ok());
}

#[test]
fn a_chunk_in_other_steps_is_drawn_by_evenly_spaced_levels_and_only_as_many_as_there_are() {
    let world = moving_world();
    let in_steps = |steps: Option<usize>| {
        let mut rollout = open(&world, init(&world, None));
        let input = ChunkInput { steps, ..steered(&rollout.plan()) };
        draw(&mut rollout, &input, &Cancel::default())
    };
    let two = self::world(json!({"window": 9, "moving_window": 8, "still_window": 3, "still_chunks": 1, "steps": 2}));
    let mut rollout = open(&two, init(&two, None));
    let plain = steered(&rollout.plan());
    let plain = draw(&mut rollout, &plain, &Cancel::default()).expect("a chunk");
    assert!(in_steps(Some(2)).expect("a chunk") == plain, "a recipe of two steps draws the same");
    assert!(in_steps(None).expect("a chunk") == in_steps(Some(STEPS)).expect("a chunk"));
    for steps in [0, STEPS + 1] {
        let error = in_steps(Some(steps)).expect_err("it has three").to_string();
        assert_eq!(error, format!("a chunk in {steps} steps: this world draws one in 1 to 3"));
    }
}
