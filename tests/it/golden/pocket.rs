//! The shipped world, run the way `causeway generate` runs it, on recorded noise.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use pipeline::Device;
use pipeline::lingbot::LingBot;
use pipeline::load::model_dir::ModelDir;
use pipeline::noise::Noise;
use pipeline::world::{
    Cancel, Card, ChunkInput, Controls, Frames, Held, Init, Picture, Rollout, Size, World, WorldError,
};
use serde_json::Value;

use super::{Golden, assert_close, assert_frames_close};

/// f32 sums in another order, and each chunk looks back at those before it. On a Xeon with AVX-512 latents were 1.2e-4 apart after
/// ten chunks, and ten bytes of a chunk by one.
const TOLERANCE: f64 = 5e-4;

#[test]
fn the_pocket_world_walks_as_recorded() {
    super::for_each_folder("pocket", check_stream);
}

fn check_stream(dir: &Path) {
    let golden = Golden::open(&dir.join("stream.safetensors"));
    let meta: Value = golden.json("meta");
    let world = shipped_world();

    let chunks = (0..).take_while(|i| golden.has(&format!("{i:02}.x0"))).count();
    let noise = recorded_noise(&golden, chunks);
    let mut video = world.open_with_noise(init(&golden, world.card()), noise).expect("a video");

    for chunk in 0..chunks {
        let input = input(&meta, chunk);
        let plan = video.plan();
        let (latent, _) = video.chunk_latents(&input, &Cancel::default()).expect("a chunk");
        assert_close(&format!("{chunk:02}.x0"), &latent, &golden.get(&format!("{chunk:02}.x0")), TOLERANCE);
        video.keep_recorded(&golden.bytes(&format!("{chunk:02}.frames")));
        let frames = video.decode(&latent).expect("frames");
        assert_eq!(frames.count, plan.pixel_frames, "the plan said so");
        assert_frames_close(&format!("{chunk:02}.frames"), &frames.rgb, &golden.bytes(&format!("{chunk:02}.frames")));
    }
}

#[test]
fn a_world_that_was_trained_to_starts_from_its_prompt_alone_as_recorded() {
    let golden = Golden::open(&recordings().join("text_start.safetensors"));
    let meta: Value = golden.json("meta");
    let world =
        LingBot::load(&ModelDir::embedded("pocket", started_by_text), &Device::cpu()).expect("the shipped weights");
    let card = world.card();
    assert!(!card.needs_first_frame);
    let chunks = (0..).take_while(|i| golden.has(&format!("{i:02}.x0"))).count();
    assert!(chunks > 1, "a walk");
    let opening = Init {
        prompt: meta["prompt"].as_str().expect("a prompt").to_owned(),
        first_frame: None,
        size: card.default_size,
        seed: 0,
        sink: card.sink,
        window: card.window,
        first_chunk: None,
        condition_frames: None,
    };
    let mut video = world.open_with_noise(opening, recorded_noise(&golden, chunks)).expect("a video");
    for chunk in 0..chunks {
        let input =
            ChunkInput { prompt: None, recache: false, steps: None, controls: Some(vec![controls(&meta, chunk)]) };
        let (latent, _) = video.chunk_latents(&input, &Cancel::default()).expect("a chunk");
        assert_close(&format!("{chunk:02}.x0"), &latent, &golden.get(&format!("{chunk:02}.x0")), TOLERANCE);
    }
}

fn started_by_text(path: &str) -> Option<Cow<'static, [u8]>> {
    shipped(path, true)
}

fn started_by_picture(path: &str) -> Option<Cow<'static, [u8]>> {
    shipped(path, false)
}

/// A file of the shipped weights, but for one word of the policy.
fn shipped(path: &str, text_start: bool) -> Option<Cow<'static, [u8]>> {
    let file = std::fs::read(super::pocket_weights().join(path)).ok()?;
    if path != "causeway.json" {
        return Some(file.into());
    }
    let mut policy: Value = serde_json::from_slice(&file).expect("a policy");
    policy["text_start"] = text_start.into();
    Some(policy.to_string().into_bytes().into())
}

#[test]
fn a_world_that_was_not_trained_to_refuses_to_start_without_a_picture() {
    let mut golden_init = init(&Golden::open(&recordings().join("stream.safetensors")), shipped_world().card());
    golden_init.first_frame = None;
    let picture_only =
        LingBot::load(&ModelDir::embedded("pocket", started_by_picture), &Device::cpu()).expect("the shipped weights");
    assert!(picture_only.card().needs_first_frame);
    let Err(WorldError::Refused(refusal)) = picture_only.open(golden_init) else { panic!("it opened") };
    assert_eq!(refusal.field, "first_frame");
}

fn recorded_noise(golden: &Golden, chunks: usize) -> Noise {
    let noise = (0..chunks).flat_map(|i| {
        let steps = golden.raw(&format!("{i:02}.step_noise"));
        let steps: Vec<_> = (0..steps.dim(0).expect("steps"))
            .map(|s| steps.get(s).and_then(|n| n.squeeze(0)).expect("noise"))
            .collect();
        std::iter::once(golden.get(&format!("{i:02}.noise"))).chain(steps)
    });
    Noise::recorded(noise.collect())
}

fn controls(meta: &Value, chunk: usize) -> Controls {
    let keys = meta["actions"][chunk].as_array().expect("keys");
    Held::from_tokens(keys.iter().filter_map(|key| key.as_str())).into()
}

fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/pocket")
}

fn shipped_world() -> LingBot {
    shipped_world_on(&Device::cpu())
}

fn shipped_world_on(device: &Device) -> LingBot {
    let dir = ModelDir::open(super::pocket_weights()).expect("the shipped weights");
    LingBot::load(&dir, device).expect("the shipped weights")
}

/// The decibels of each chunk of the recorded walk, drawn on `device` from the recorded noise, against the recorded frames: those of
/// f32.
pub(super) fn decibels_of_the_walk(device: &Device) -> Vec<f64> {
    let golden = Golden::open(&recordings().join("stream.safetensors"));
    let meta: Value = golden.json("meta");
    let world = shipped_world_on(device);
    let chunks = (0..).take_while(|i| golden.has(&format!("{i:02}.x0"))).count();
    let mut video =
        world.open_with_noise(init(&golden, world.card()), recorded_noise(&golden, chunks)).expect("a video");
    let draw = |chunk: usize| {
        let input = input(&meta, chunk);
        let (latent, _) = video.chunk_latents(&input, &Cancel::default()).expect("a chunk");
        let frames = video.decode(&latent).expect("frames");
        super::psnr(&frames.rgb, &golden.bytes(&format!("{chunk:02}.frames")))
    };
    (0..chunks).map(draw).collect()
}

/// What steered a chunk of the recorded walk.
fn input(meta: &Value, chunk: usize) -> ChunkInput {
    let switch = meta["switch"].as_object().filter(|switch| switch["frame"].as_u64() == Some(chunk as u64));
    ChunkInput {
        prompt: switch.map(|switch| switch["prompt"].as_str().expect("a prompt").to_owned()),
        recache: false,
        steps: None,
        controls: Some(vec![controls(meta, chunk)]),
    }
}

fn init(golden: &Golden, card: &Card) -> Init {
    let image = golden.raw("image");
    let (height, width, _) = image.dims3().expect("a picture");
    let size = Size { width: width as u32, height: height as u32 };
    let prompt = golden.json::<Value>("meta")["prompt"].as_str().expect("a prompt").to_owned();
    Init {
        prompt,
        first_frame: Some(Picture { size, rgb: golden.bytes("image") }),
        size,
        seed: 0,
        sink: card.sink,
        window: card.window,
        first_chunk: None,
        condition_frames: None,
    }
}

#[test]
fn the_same_seed_and_keys_give_the_same_bytes_and_another_seed_does_not() {
    let world = shipped_world();
    let golden = Golden::open(&recordings().join("stream.safetensors"));
    let walk = |seed| {
        let mut video = world.open(Init { seed, ..init(&golden, world.card()) }).expect("a video");
        let mut all: Vec<Frames> = Vec::new();
        for keys in ["w", "wl", ""] {
            let keys = keys.chars().fold(Held::default(), Held::with);
            let input = ChunkInput {
                prompt: None,
                recache: false,
                steps: None,
                controls: Some(vec![keys.into(); world.card().chunk]),
            };
            video.generate(&input, &Cancel::default(), &mut |frames| all.push(frames)).expect("a chunk");
        }
        all
    };
    let first = walk(7);
    assert_eq!(first, walk(7));
    assert_ne!(first, walk(8));
}
