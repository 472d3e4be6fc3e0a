//! A rollout that is packed after some chunks and opened in another world object draws what one draws that went on.

use super::ranks::{begin, uneven};
use super::*;
use crate::packed::{BYTES_MAX, sealed_again};

/// What is drawn in chunk `index`: new prompts, a past made again, a pose, rates, and keys.
fn input(plan: &ChunkPlan) -> ChunkInput {
    let prompt = [(2, "a red tower"), (4, "a city at night")].into_iter().find(|(at, _)| *at == plan.index);
    let prompt = prompt.map(|(_, text)| text.to_owned());
    ChunkInput { recache: plan.index == 4, prompt, ..steered(plan) }
}

fn draw(rollout: &mut dyn Rollout, chunks: usize) -> Vec<u8> {
    let mut drawn = Vec::new();
    for _ in 0..chunks {
        let input = input(&rollout.plan());
        rollout.generate(&input, &Cancel::default(), &mut |frames| drawn.extend(frames.rgb)).expect("a chunk");
    }
    drawn
}

fn begins(world: &LingBot) -> Init {
    Init { size: ranks::UNEVEN, ..init(world, Some(2)) }
}

/// Without the name of the world, which is that of its folder.
fn inside(bytes: &[u8]) -> &[u8] {
    let at = bytes.windows(7).position(|window| window == b"weights").expect("a field");
    &bytes[at..bytes.len() - 32]
}

#[test]
fn a_rollout_goes_on_in_another_world_object_to_the_byte_whatever_the_ranks_of_both() {
    let worlds = [1, 2, 4].map(uneven);
    let whole = draw(&mut begin(&worlds[0]), 6);
    for before in 0..6 {
        for (from, to) in [(0, 0), (0, 1), (1, 0), (1, 2), (2, 0)] {
            let mut first = begin(&worlds[from]);
            let mut drawn = draw(&mut first, before);
            let bytes = first.pack().expect("bytes");
            drop(first);
            let mut second = worlds[to].open_at(begins(&worlds[to]), &bytes).expect("a rollout");
            assert_eq!(second.plan().index, before);
            // The same bytes again: nothing is lost on the way.
            let again = second.pack().expect("bytes");
            assert!(inside(&again) == inside(&bytes), "packed again after {before} chunks, world {from} to {to}");
            drawn.extend(draw(&mut *second, 6 - before));
            assert!(drawn == whole, "after {before} chunks, world {from} to {to}");
        }
    }
}

#[test]
fn the_shipped_world_goes_on_in_bf16_and_int8_and_its_state_is_small() {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pocket/weights");
    for compute in [ops::Compute::F32, ops::Compute::Bf16, ops::Compute::Int8] {
        let load = || {
            LingBot::load(&ModelDir::open(&weights).expect("a folder"), &processor(compute)).expect("the shipped world")
        };
        let (here, there) = (load(), load());
        let card = here.card();
        let init = Init { size: card.default_size, ..init(&here, None) };
        let mut unbroken = here.open(init.clone()).expect("a video");
        // Chunks enough for a full window.
        let before = card.window / card.chunk + 1;
        draw(&mut *unbroken, before);
        let bytes = unbroken.pack().expect("bytes");
        println!("{compute:?}: a state of {} KiB after {before} chunks", bytes.len() >> 10);
        assert!(bytes.len() < BYTES_MAX / 4, "{} bytes", bytes.len());
        let mut second = there.open_at(init, &bytes).expect("a rollout");
        assert!(draw(&mut *second, 3) == draw(&mut *unbroken, 3), "{compute:?}");
    }
}

#[test]
fn a_state_of_another_world_size_or_version_and_a_damaged_one_are_refused_by_name() {
    let (world, other) = (uneven(1), world(json!({"size": [48, 32], "window": 7, "sink": 1, "shift": 2.0})));
    let mut rollout = begin(&world);
    draw(&mut rollout, 3);
    let bytes = rollout.pack().expect("bytes");
    let refused = |world: &LingBot, init: Init, bytes: &[u8]| {
        let Err(WorldError::Refused(Refusal { field, reason })) = world.open_at(init, bytes) else {
            panic!("it is not refused");
        };
        assert_eq!(field, "state");
        reason
    };
    assert!(refused(&other, begins(&other), &bytes).contains("is of the world "));
    let seed = refused(&world, Init { seed: 6, ..begins(&world) }, &bytes);
    assert!(seed.contains("seed 5; this one has") && seed.contains("seed 6"), "{seed}");
    assert!(refused(&world, Init { first_chunk: None, ..begins(&world) }, &bytes).contains("chunks of 2 and 3"));
    let changed = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        bytes
    };
    assert!(refused(&world, begins(&world), &changed(bytes.len() / 2, 0x55)).contains("checksum"));
    assert!(refused(&world, begins(&world), &bytes[..40]).contains("checksum"));
    assert!(refused(&world, begins(&world), &[]).contains("0 bytes are none"));
    assert!(refused(&world, begins(&world), &vec![0; BYTES_MAX + 1]).contains("at most"));
    // The version is the byte behind the first field's name.
    let version = 1 + 1 + "causeway_state".len();
    assert!(refused(&world, begins(&world), &sealed_again(changed(version, 9))).contains("version 9"));
    // A map of no fields, with fields behind it.
    assert!(refused(&world, begins(&world), &sealed_again(changed(0, 0x80))).contains("is not the first field"));
    // Anywhere inside the checksum: an error or a rollout, and never a panic.
    for at in (0..200).step_by(3).chain((200..bytes.len() - 32).step_by(bytes.len() / 40)) {
        for byte in [0x7f, 0xc1] {
            if let Ok(mut rollout) = world.open_at(begins(&world), &sealed_again(changed(at, byte))) {
                let input = steered(&rollout.plan());
                drop(rollout.generate(&input, &Cancel::default(), &mut |_| ()));
            }
        }
    }
}
