//! The shipped world, run the way `causeway generate` runs it, on recorded noise.

use std::path::Path;

use pipeline::lingbot::LingBot;
use pipeline::model_dir::ModelDir;
use pipeline::noise::Noise;
use pipeline::world::{Cancel, Card, ChunkInput, Frames, Init, Keys, Picture, Rollout, Size, World};
use serde_json::Value;

use super::{Golden, assert_close, assert_frames_close};

/// f32 sums in another order: after twelve chunks they are 1e-5 apart.
const TOLERANCE: f64 = 1e-4;

#[test]
fn the_pocket_world_walks_as_recorded() {
    super::for_each_folder("pocket-v0", check_stream);
}

fn check_stream(dir: &Path) {
    let golden = Golden::open(&dir.join("stream.safetensors"));
    let meta: Value = golden.json("meta");
    let world = shipped_world();

    let chunks = (0..).take_while(|i| golden.has(&format!("{i:02}.x0"))).count();
    let noise = (0..chunks).flat_map(|i| {
        let steps = golden.raw(&format!("{i:02}.step_noise"));
        let steps: Vec<_> = (0..steps.dim(0).expect("steps"))
            .map(|s| steps.get(s).and_then(|n| n.squeeze(0)).expect("noise"))
            .collect();
        std::iter::once(golden.get(&format!("{i:02}.noise"))).chain(steps)
    });
    let mut video =
        world.open_with_noise(init(&golden, world.card()), Noise::recorded(noise.collect())).expect("a video");

    let switch = meta["switch"].as_object().map(|switch| {
        (switch["frame"].as_u64().expect("a frame") as usize, switch["prompt"].as_str().expect("a prompt").to_owned())
    });
    for chunk in 0..chunks {
        let held = meta["actions"][chunk].as_array().expect("keys").iter().filter_map(|key| key.as_str());
        let input = ChunkInput {
            prompt: switch.as_ref().filter(|(frame, _)| *frame == chunk).map(|(_, prompt)| prompt.clone()),
            controls: Some(vec![Keys::from_tokens(held)]),
        };
        let plan = video.plan();
        let (latent, _) = video.make_chunk(&input, &Cancel::default()).expect("a chunk");
        assert_close(&format!("{chunk:02}.x0"), &latent, &golden.get(&format!("{chunk:02}.x0")), TOLERANCE);
        let frames = video.decode(&latent).expect("frames");
        assert_eq!(frames.count, plan.pixel_frames, "the plan said so");
        assert_frames_close(&format!("{chunk:02}.frames"), &frames.rgb, &golden.bytes(&format!("{chunk:02}.frames")));
    }
}

fn shipped_world() -> LingBot {
    let dir = ModelDir::open(super::pocket_weights()).expect("the shipped weights");
    LingBot::load(&dir).expect("the shipped weights")
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
        condition_frames: None,
    }
}

#[test]
fn the_same_seed_and_keys_give_the_same_bytes_and_another_seed_does_not() {
    let world = shipped_world();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/pocket-v0");
    let golden = Golden::open(&dir.join("stream.safetensors"));
    let walk = |seed| {
        let mut video = world.open(Init { seed, ..init(&golden, world.card()) }).expect("a video");
        let mut all: Vec<Frames> = Vec::new();
        for keys in ["w", "wl", ""] {
            let keys = keys.chars().fold(Keys::default(), Keys::with);
            let input = ChunkInput { prompt: None, controls: Some(vec![keys; world.card().chunk]) };
            video.generate(&input, &Cancel::default(), &mut |frames| all.push(frames)).expect("a chunk");
        }
        all
    };
    let first = walk(7);
    assert_eq!(first, walk(7));
    assert_ne!(first, walk(8));
}
