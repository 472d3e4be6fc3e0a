//! A session holds the memory that was announced before it was opened, and gives it back.
//!
//! The allocator counts: resident memory would include the gaps between blocks.

use std::alloc::System;
use std::borrow::Cow;
use std::path::Path;

use pipeline::Device;
use pipeline::lingbot::LingBot;
use pipeline::load::model_dir::ModelDir;
use pipeline::world::{Cancel, ChunkInput, Held, Init, Picture, Rollout, World};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
pub(crate) static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const VIDEOS: usize = 3;

#[test]
fn a_session_holds_what_it_was_admitted_with_and_closing_it_gives_that_back() {
    holds_what_it_was_admitted_with(|path| shipped(path, 1));
    // LingBot World draws three latent frames at a time.
    holds_what_it_was_admitted_with(|path| shipped(path, 3));
}

fn holds_what_it_was_admitted_with(file: fn(&str) -> Option<Cow<'static, [u8]>>) {
    let world = LingBot::load(&ModelDir::embedded("pocket", file), &Device::cpu()).expect("weights");
    let chunk = world.card().chunk;
    // The first ones warm up what belongs to the process: threads, their scratch memory.
    drop(walk(&world, 2));
    let region = Region::new(COUNTED);
    let held = || {
        let change = region.change();
        (change.bytes_allocated as u64).wrapping_sub(change.bytes_deallocated as u64)
    };
    let videos = walk(&world, VIDEOS);
    let each = held() / VIDEOS as u64;
    let admitted = (world.rollout_bytes())(&init(&world));
    println!("chunks of {chunk}: a session was admitted with {admitted} bytes and holds {each}");
    // Between two chunks a session lacks the condition of a chunk, which is 4 % of it for each latent frame of a chunk.
    let least = admitted - admitted * 4 * chunk as u64 / 100;
    assert!((least..=admitted).contains(&each), "chunks of {chunk}: admitted with {admitted} bytes, holds {each}");

    drop(videos);
    let kept = held();
    println!("{kept} bytes are held once all are closed");
    assert!(kept * 100 <= admitted, "chunks of {chunk}: {kept} bytes were not given back");
}

/// A file of the shipped weights, drawn `chunk` latent frames at a time.
fn shipped(path: &str, chunk: usize) -> Option<Cow<'static, [u8]>> {
    let file = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../pocket/weights").join(path)).ok()?;
    if path != "causeway.json" {
        return Some(file.into());
    }
    let mut recipe: serde_json::Value = serde_json::from_slice(&file).expect("a recipe");
    recipe["chunk"] = chunk.into();
    // So few that a short walk fills it.
    recipe["memory"] = serde_json::json!({
        "frames": 8, "seen": 1, "apart_metres": 0.5, "apart_degrees": 5.0, "reach_metres": 0.5, "eye_height": 2.0
    });
    Some(recipe.to_string().into_bytes().into())
}

/// Videos whose windows are full.
fn walk(world: &LingBot, count: usize) -> Vec<Box<dyn Rollout>> {
    let open = |_| {
        let mut video = world.open(init(world)).expect("a video");
        for _ in 0..world.card().window + 1 {
            let input = ChunkInput {
                prompt: None,
                recache: false,
                steps: None,
                controls: Some(vec![Held::default().with('w').into(); world.card().chunk]),
            };
            video.generate(&input, &Cancel::default(), &mut |_| ()).expect("a chunk");
        }
        video
    };
    (0..count).map(open).collect()
}

fn init(world: &LingBot) -> Init {
    let card = world.card();
    let size = card.default_size;
    Init {
        prompt: "a green meadow".into(),
        first_frame: Some(Picture { size, rgb: vec![100; size.frame_bytes() as usize] }),
        size,
        seed: 1,
        sink: card.sink,
        window: card.window,
        first_chunk: None,
        condition_frames: None,
    }
}
