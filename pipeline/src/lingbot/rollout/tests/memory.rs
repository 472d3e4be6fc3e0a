//! Videos of a world that remembers by place: the shipped weights with this setting, in small.
//!
//! Latents and pictures of a walk that comes back are compared with those of PyTorch (`golden`).

use super::*;
use crate::lingbot::memory::Memory;

mod golden;

const WINDOW: usize = 4;

/// The shipped world with this recipe, not made smaller.
fn remembering(recipe: &Value, ranks: usize) -> LingBot {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pocket/weights");
    let dir = TempDir::new();
    copy(&weights, &weights, &dir);
    let file = std::fs::read(weights.join("causeway.json")).expect("a recipe");
    let mut changed: Value = serde_json::from_slice(&file).expect("JSON");
    for (key, value) in recipe.as_object().expect("an object") {
        changed[key] = value.clone();
    }
    dir.write("causeway.json", changed.to_string());
    load(&dir, ranks)
}

fn policy(frames: usize) -> Value {
    json!({"frames": frames, "seen": 3, "apart_metres": 0.5, "apart_degrees": 7.5, "reach_metres": 0.5, "eye_height": 2.2})
}

/// Small pictures and few steps.
fn small(memory: Value, chunk: usize) -> Value {
    json!({
        "size": [SIZE.width, SIZE.height], "chunk": chunk, "first_chunk": 1, "window": WINDOW, "steps": 3, "quick_steps": 2,
        "memory": memory
    })
}

fn small_world() -> LingBot {
    remembering(&small(policy(256), 1), 1)
}

/// Three turns to the left, four back, one step: what is behind a turn comes back when the window has forgotten it.
fn keys(frame: usize) -> Controls {
    let held = match frame % 9 {
        1..=3 => Held::default().with('j'),
        4..=7 => Held::default().with('l'),
        8 => Held::default().with('w'),
        _ => Held::default(),
    };
    held.into()
}

fn walking(plan: &ChunkPlan) -> ChunkInput {
    ChunkInput { controls: Some(plan.latent_range().map(keys).collect()), ..ChunkInput::default() }
}

fn draw(rollout: &mut dyn Rollout, input: &ChunkInput) -> Vec<u8> {
    let mut drawn = Vec::new();
    rollout.generate(input, &Cancel::default(), &mut |frames| drawn.extend(frames.rgb)).expect("a chunk");
    drawn
}

fn walk(rollout: &mut dyn Rollout, chunks: usize) -> Vec<Vec<u8>> {
    let mut next = || {
        let input = walking(&rollout.plan());
        draw(rollout, &input)
    };
    (0..chunks).map(|_| next()).collect()
}

fn memory(rollout: &LingBotRollout) -> &Memory {
    rollout.now.memory.as_ref().expect("this world remembers")
}

const CHUNKS: usize = 12;

#[test]
fn what_is_remembered_shows_when_the_camera_comes_back_and_not_before() {
    let draw = |memory: Value| {
        let world = remembering(&small(memory, 1), 1);
        let mut rollout = open(&world, init(&world, None));
        assert_eq!(rollout.now.memory.is_some(), world.nets.config.recipe.memory.is_some());
        walk(&mut rollout, CHUNKS)
    };
    let [without, with] = [Value::Null, policy(256)].map(draw);
    // Three turns to the left, and one back: to the view of the third latent frame.
    assert_eq!((0..CHUNKS).find(|&chunk| with[chunk] != without[chunk]), Some(4));
    // A metre on, there is nothing in reach.
    let mut further = policy(256);
    further["reach_metres"] = 1.5.into();
    let further = draw(further);
    assert_eq!((0..CHUNKS).find(|&chunk| with[chunk] != further[chunk]), Some(8));
}

#[test]
fn chunks_without_controls_remember_nothing_and_leave_nothing() {
    let world = small_world();
    let mut rollout = open(&world, init(&world, None));
    for _ in 0..WINDOW + 2 {
        draw(&mut rollout, &ChunkInput::default());
    }
    assert_eq!(memory(&rollout).bytes(), 0);
}

#[test]
fn another_prompt_forgets_the_places_of_the_world_before_and_the_same_one_does_not() {
    let world = small_world();
    let [mut forgot, mut emptied, mut same] = [(); 3].map(|()| {
        let mut rollout = open(&world, init(&world, None));
        walk(&mut rollout, 6);
        rollout
    });
    let said = |rollout: &LingBotRollout, prompt: &str| ChunkInput {
        prompt: Some(prompt.to_owned()),
        ..walking(&rollout.plan())
    };
    emptied.now.memory = Some(Memory::new(world.nets.config.recipe.memory.expect("a memory"), SIZE));
    let input = said(&forgot, "a city at night");
    assert!(draw(&mut forgot, &input) == draw(&mut emptied, &input), "as if nothing had been seen");
    assert_eq!(memory(&forgot).bytes(), Memory::picture_bytes(SIZE) + 8, "what it drew since");
    assert!(walk(&mut forgot, 5) == walk(&mut emptied, 5));
    let before = memory(&same).bytes();
    let input = said(&same, "a green meadow");
    draw(&mut same, &input);
    assert!(memory(&same).bytes() >= before);
}

#[test]
fn a_past_that_is_made_again_goes_on_and_is_drawn_again_to_the_byte() {
    let world = small_world();
    let night = |rollout: &LingBotRollout| ChunkInput {
        prompt: Some("a city at night".to_owned()),
        recache: true,
        ..walking(&rollout.plan())
    };
    let [one, two] = [(); 2].map(|()| {
        let mut rollout = open(&world, init(&world, None));
        let mut all = walk(&mut rollout, 7);
        let input = night(&rollout);
        all.push(draw(&mut rollout, &input));
        all.extend(walk(&mut rollout, 7));
        all
    });
    assert!(one == two);
}

#[test]
fn a_rollout_that_goes_back_remembers_what_it_knew_then_and_keeps_no_more_than_was_said() {
    // Room for four, so that pictures go between a state and the way back to it.
    for chunk in [1, 2] {
        let world = remembering(&small(policy(4), chunk), 1);
        let mut rollout = open(&world, init(&world, None));
        let (mut frames, mut states, mut drawn) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..CHUNKS {
            states.push(rollout.save().expect("a state"));
            let input = walking(&rollout.plan());
            frames.push(draw(&mut rollout, &input));
            drawn.push(rollout.last_drawn());
        }
        for at in [6, 0, 3, 9] {
            rollout.restore(&states[at]).expect("back");
            assert!(walk(&mut rollout, CHUNKS - at)[..] == frames[at..], "back to chunk {at}, chunks of {chunk}");
        }
        for known in [true, false] {
            rollout.restore(&states[2]).expect("back");
            for drawn in &drawn[2..9] {
                let input = walking(&rollout.plan());
                rollout.draw_again(&input, drawn.as_ref().filter(|_| known), &Cancel::default()).expect("a chunk");
            }
            assert!(walk(&mut rollout, CHUNKS - 9)[..] == frames[9..], "known: {known}, chunks of {chunk}");
        }
        // What all states hold together, pictures that they share counted once.
        let said = world.state_bytes().expect("it keeps states")(&init(&world, None));
        let memories: Vec<&Memory> = states
            .iter()
            .map(|state| state.get::<Progress>().expect("its own").memory.as_ref().expect("it remembers"))
            .collect();
        let held = Memory::bytes_of_all(&memories);
        let config = world.nets.config.recipe.memory.expect("a memory");
        let KeptBytes { state, chunk: each } = said;
        let lists = CHUNKS as u64 * Memory::list_bytes_max(&config);
        let most = Memory::bytes_max(&config, SIZE) + lists + CHUNKS as u64 * each;
        assert!(held > Memory::bytes_max(&config, SIZE) && held <= most, "{held} of {most}");
        assert!(each > chunk as u64 * SIZE.frame_bytes() && state > Memory::list_bytes_max(&config));
    }
}

#[test]
fn a_chunk_that_was_given_up_at_any_pass_leaves_no_picture_and_is_drawn_again() {
    let world = small_world();
    let (mut plain, mut tried) = (open(&world, init(&world, None)), open(&world, init(&world, None)));
    for chunk in 0..9 {
        let input = ChunkInput {
            prompt: (chunk == 6).then(|| "a city at night".to_owned()),
            recache: chunk == 6,
            ..walking(&plain.plan())
        };
        let other = ChunkInput { controls: Some(vec![Held::default().with('s').into()]), ..input.clone() };
        for look in 1..=4 {
            let before = memory(&tried).bytes();
            let cancel = Cancel::given_up_at(look);
            let drawn = tried.generate(&other, &cancel, &mut |_| ());
            assert!(matches!(drawn, Err(WorldError::GivenUp)), "chunk {chunk}, look {look}");
            assert_eq!(memory(&tried).bytes(), before);
        }
        assert!(draw(&mut tried, &input) == draw(&mut plain, &input), "chunk {chunk}");
    }
}

#[test]
fn a_rollout_goes_on_in_another_world_object_with_what_it_remembers_whatever_the_ranks_of_both() {
    let worlds = [1, 2].map(|ranks| remembering(&small(policy(5), 1), ranks));
    let whole = walk(&mut open(&worlds[0], init(&worlds[0], None)), CHUNKS);
    assert!(walk(&mut open(&worlds[1], init(&worlds[1], None)), CHUNKS) == whole, "two ranks draw other bytes");
    for before in [0, 1, 5, 9] {
        for (from, to) in [(0, 0), (0, 1), (1, 0)] {
            let mut first = open(&worlds[from], init(&worlds[from], None));
            walk(&mut first, before);
            let bytes = first.pack().expect("bytes");
            let mut second = worlds[to].open_at(init(&worlds[to], None), &bytes).expect("a rollout");
            let again = walk(&mut *second, CHUNKS - before);
            assert!(again[..] == whole[before..], "after {before} chunks, world {from} to {to}");
        }
    }
    // A state of the world without memory is another world's.
    let plain = remembering(&small(Value::Null, 1), 1);
    let bytes = open(&plain, init(&plain, None)).pack().expect("bytes");
    let refused = worlds[0].open_at(init(&worlds[0], None), &bytes).err().expect("another world").to_string();
    assert!(refused.contains("is of the world"), "{refused}");
}

#[test]
fn admission_counts_every_picture_that_there_may_be() {
    let room = 5;
    let [with, without] = [policy(room), Value::Null].map(|memory| remembering(&small(memory, 1), 1));
    let bytes = |world: &LingBot| (world.rollout_bytes())(&init(world, None));
    let mut rollout = open(&with, init(&with, None));
    walk(&mut rollout, 2 * CHUNKS);
    assert_eq!(bytes(&with) - bytes(&without), memory(&rollout).bytes(), "as many as fit");
    assert!(memory(&rollout).bytes() > room as u64 * SIZE.frame_bytes());
    let state = |world: &LingBot| world.state_bytes().expect("it keeps states")(&init(world, None));
    assert_eq!(state(&with).state - state(&without).state, 8 * room as u64);
    assert_eq!(state(&with).chunk - state(&without).chunk, Memory::picture_bytes(SIZE));
}
