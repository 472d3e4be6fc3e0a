//! First chunks of every length, and a past that is made again, each beside a plain computation. The weights are those
//! of the shipped world, run in chunks of three latent frames: what they draw then is no world, but every number
//! counts.

use std::path::Path;
use std::slice::{from_mut, from_ref};

use kvcache::KvShape;
use ops::Device;
use ops::collective::Rank;
use serde_json::{Value, json};

use super::super::LingBot;
use super::super::context::Condition;
use super::*;
use crate::fixture::TempDir;
use crate::load::error::LoadError;
use crate::load::model_dir::ModelDir;
use crate::world::{Controls, Held, KeptBytes, Picture, World};

mod given_up;
mod memory;
mod packed;
mod ranks;

const CHUNK: usize = 3;
const SIZE: Size = Size { width: 32, height: 32 };

/// The shipped world with another recipe. It does not remember by place.
fn world(recipe: Value) -> LingBot {
    world_over_ranks(recipe, 1)
}

fn world_over_ranks(recipe: Value, ranks: usize) -> LingBot {
    world_on(&Device::cpu(), recipe, ranks)
}

fn world_on(device: &Device, recipe: Value, ranks: usize) -> LingBot {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pocket/weights");
    let dir = TempDir::new();
    copy(&weights, &weights, &dir);
    let file = std::fs::read(weights.join("causeway.json")).expect("a recipe");
    let mut changed: Value = serde_json::from_slice(&file).expect("JSON");
    let small = json!({"size": [SIZE.width, SIZE.height], "chunk": CHUNK, "window": 12, "sink": 0, "steps": 2, "quick_steps": 1, "memory": null});
    for (key, value) in [small, recipe].iter().flat_map(|object| object.as_object().expect("an object")) {
        changed[key] = value.clone();
    }
    dir.write("causeway.json", changed.to_string());
    LingBot::load_over_ranks(&dir.open(), device, ranks).expect("a world")
}

/// On the processor.
fn load(dir: &TempDir, ranks: usize) -> LingBot {
    LingBot::load_over_ranks(&dir.open(), &Device::cpu(), ranks).expect("a world")
}

/// The processor, which computes dense layers in this type.
fn processor(compute: ops::Compute) -> Device {
    Device::cpu().computing_in(compute)
}

/// The shipped world as it is.
fn shipped_over_ranks(ranks: usize) -> Result<LingBot, LoadError> {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pocket/weights");
    LingBot::load_over_ranks(&ModelDir::open(&weights)?, &Device::cpu(), ranks)
}

fn copy(root: &Path, folder: &Path, to: &TempDir) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a file").path();
        if path.is_dir() {
            copy(root, &path, to);
        } else {
            let name = path.strip_prefix(root).expect("inside").to_string_lossy().into_owned();
            to.write(&name, std::fs::read(&path).expect("a file"));
        }
    }
}

fn init(world: &LingBot, first_chunk: Option<usize>) -> Init {
    let card = world.card();
    Init {
        prompt: "a green meadow".into(),
        first_frame: Some(Picture { size: SIZE, rgb: (0..SIZE.frame_bytes()).map(|i| (i * 7 % 251) as u8).collect() }),
        size: SIZE,
        seed: 5,
        sink: card.sink,
        window: card.window,
        first_chunk,
        condition_frames: None,
    }
}

fn open(world: &LingBot, init: Init) -> LingBotRollout {
    let noise = Noise::seeded(init.seed, &Device::cpu());
    world.open_with_noise(init, noise).expect("a video")
}

/// Other keys in every latent frame of the video.
fn controls(frames: Range<usize>) -> Vec<Controls> {
    frames.map(|frame| Held::default().with(Held::ALL[frame % Held::ALL.len()]).into()).collect()
}

fn steered(plan: &ChunkPlan) -> ChunkInput {
    ChunkInput { prompt: None, recache: false, steps: None, controls: Some(controls(plan.latent_range())) }
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec().expect("f32")
}

/// The condition of some frames of a video, without looking at a rollout's state. `chunk`: the frames of their chunk.
fn plain_condition(world: &LingBot, fixed: &Tensor, chunk: &Range<usize>, frames: &Range<usize>) -> Condition {
    let nets = &world.nets;
    // A camera that is moved from the start of the video, chunk by chunk, would give the same steps: they are not
    // scaled.
    let mut camera = CameraPath::new(&nets.config.recipe.camera, SIZE, &Device::cpu());
    let rays = camera.advance(&controls(0..chunk.end)).expect("rays");
    let piece = if chunk.start == 0 { 0 } else { fixed.dims()[1] - CHUNK };
    let conditions = ChunkConditions {
        first_latent_frame: frames.start,
        fixed: &fixed.narrow(1, piece + frames.start - chunk.start, frames.len()).expect("a piece"),
        camera: Some(&rays.narrow(1, frames.start, frames.len()).expect("rays of these frames")),
        recent: None,
    };
    nets.denoiser.dit().condition(conditions, &Rank::alone()).expect("a condition")
}

#[test]
fn first_chunks_of_one_latent_frame_to_twice_a_chunk_are_what_a_plain_loop_draws() {
    let world = world(json!({}));
    for first in 1..=2 * CHUNK {
        let mut video = open(&world, init(&world, Some(first)));
        let fixed = video.fixed.clone();
        assert_eq!((fixed.dims()[1] - first) % CHUNK, 0, "whole pieces");
        let mut noise = Noise::seeded(5, &Device::cpu());
        let shape = remembered(&world);
        let window = Window::new(12, 0, CHUNK).and_then(|window| window.starting_with(first)).expect("possible");
        let mut history = RollingKvCache::new(window, shape);
        let mut start = 0;
        // Until frames have been evicted.
        for index in 0..5 {
            let frames = start..start + if index == 0 { first } else { CHUNK };
            let plan = video.plan();
            assert_eq!((plan.index, plan.latent_range()), (index, frames.clone()));
            let (latent, _) = video.chunk_latents(&steered(&plan), &Cancel::default()).expect("a chunk");
            let condition = plain_condition(&world, &fixed, &frames, &frames);
            let mut context = TeamContext {
                conditions: from_ref(&condition),
                prompts: &video.now.prompts,
                histories: from_mut(&mut history),
            };
            let (_, _, height, width) = fixed.dims4().expect("four sides");
            let shape = [world.nets.config.transformer.out_channels, frames.len(), height, width];
            let plain = world
                .nets
                .denoiser
                .sample((shape, None), &mut noise, &mut context, &Cancel::default())
                .expect("a chunk");
            assert_eq!(numbers(&latent), numbers(&plain), "a first chunk of {first}, chunk {index}");
            let decoded = (0..frames.len())
                .map(|frame| video.decode(&latent.narrow(1, frame, 1).expect("a frame")).expect("frames").count);
            assert_eq!(decoded.collect::<Vec<_>>(), plan.frames_of_each().collect::<Vec<_>>());
            start = frames.end;
        }
    }
}

/// What a rollout was before it could make its past again, written out: no clean latent is kept, and nothing looks at one.
/// Every byte of every frame is the same, whatever the kernels of this processor are.
#[test]
fn a_rollout_that_never_makes_its_past_again_draws_what_a_loop_draws_that_keeps_none() {
    let world = world(json!({"sink": 2, "window": 8}));
    let mut video = open(&world, init(&world, None));
    let fixed = video.fixed.clone();
    let mut noise = Noise::seeded(5, &Device::cpu());
    let shape = remembered(&world);
    let window = Window::new(8, 2, CHUNK).and_then(|window| window.starting_with(CHUNK)).expect("possible");
    let (mut history, mut decoder) = (RollingKvCache::new(window, shape), DecoderState::new());
    let mut prompt = world.nets.read_prompt("a green meadow").expect("a prompt");
    // Frames are evicted from the third chunk on; the prompt changes in the fourth.
    for index in 0..6 {
        let plan = video.plan();
        let frames = plan.latent_range();
        let night = (index == 3).then(|| "a city at night".to_owned());
        if let Some(night) = &night {
            prompt = world.nets.read_prompt(night).expect("a prompt");
        }
        let condition = plain_condition(&world, &fixed, &frames, &frames);
        let mut context =
            TeamContext { conditions: from_ref(&condition), prompts: &prompt, histories: from_mut(&mut history) };
        let (_, _, height, width) = fixed.dims4().expect("four sides");
        let shape = [world.nets.config.transformer.out_channels, frames.len(), height, width];
        let latent =
            world.nets.denoiser.sample((shape, None), &mut noise, &mut context, &Cancel::default()).expect("a chunk");
        let mut plain = Vec::new();
        for frame in 0..frames.len() {
            let one = latent.narrow(1, frame, 1).expect("a frame");
            let drawn = world.nets.vae.decode(&one, &mut decoder).expect("frames");
            plain.extend(ops::pixels::to_rgb8(&drawn).expect("bytes"));
        }
        let mut drawn = Vec::new();
        let input = ChunkInput { prompt: night, ..steered(&plan) };
        video.generate(&input, &Cancel::default(), &mut |frames| drawn.extend(frames.rgb)).expect("a chunk");
        assert_eq!(drawn, plain, "chunk {index}");
    }
}

#[test]
fn a_world_says_how_long_its_first_chunk_is_and_a_client_may_choose_another() {
    let world = world(json!({"first_chunk": 1}));
    assert_eq!(open(&world, init(&world, None)).plan().latent_frames, 1);
    assert_eq!(open(&world, init(&world, Some(5))).plan().latent_frames, 5);
    let bytes = |first_chunk| (world.rollout_bytes())(&init(&world, first_chunk));
    assert!(bytes(Some(6)) > bytes(Some(3)) && bytes(None) == bytes(Some(1)));
    let refused = world.open(Init { window: 4, ..init(&world, Some(5)) }).err().expect("does not fit");
    assert!(refused.to_string().contains("a first chunk of 5"), "{refused}");
}

/// 1e-5: the promise. The two are computed by the same kernels in the same order, so they are equal in fact.
const TOLERANCE: f32 = 1e-5;

#[test]
fn a_past_made_again_is_a_fresh_pass_over_its_clean_latents_with_the_new_prompt() {
    // Everything is still held; two frames are pinned and the rest begins with a whole chunk; nothing is pinned and the
    // oldest chunk is held in part.
    for (sink, window, parts) in
        [(0, 12, &[0..3, 3..6, 6..9, 9..12][..]), (2, 8, &[0..2, 6..9, 9..12]), (0, 7, &[5..6, 6..9, 9..12])]
    {
        let world = world(json!({"sink": sink, "window": window}));
        let mut video = open(&world, init(&world, None));
        let mut clean = Vec::new();
        for _ in 0..4 {
            let input = steered(&video.plan());
            clean.push(video.chunk_latents(&input, &Cancel::default()).expect("a chunk").0);
        }
        let clean = Tensor::cat(&clean, 1).expect("frames");
        let night = world.nets.read_prompt("a city at night").expect("a prompt");
        let shape = remembered(&world);

        let held = parts.iter().map(Range::len).sum();
        let plain = Window::new(held, 0, CHUNK).and_then(|window| window.starting_with(parts[0].len()));
        let mut plain = RollingKvCache::new(plain.expect("possible"), shape);
        for frames in parts {
            let chunk = frames.start / CHUNK * CHUNK..(frames.start / CHUNK + 1) * CHUNK;
            let condition = plain_condition(&world, &video.fixed, &chunk, frames);
            let mut context =
                TeamContext { conditions: from_ref(&condition), prompts: &night, histories: from_mut(&mut plain) };
            let clean = clean.narrow(1, frames.start, frames.len()).expect("latents");
            world.nets.denoiser.remember(&clean, &mut context).expect("a pass");
        }

        let before: Vec<_> = (0..shape.layers).map(|layer| snapshot(&video.now.histories[0], layer)).collect();
        let bytes = video.now.histories[0].bytes();
        video.now.prompts = night;
        video.remember_again(&Cancel::default()).expect("passes");
        let mut changed = 0.0f32;
        for (layer, before) in before.iter().enumerate() {
            let (found, expected) = (snapshot(&video.now.histories[0], layer), snapshot(&plain, layer));
            assert_eq!(found.len(), expected.len());
            let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off <= TOLERANCE, "sink {sink}, window {window}, layer {layer}: off by {off:e}");
            changed = found.iter().zip(before).map(|(a, b)| (a - b).abs()).fold(changed, f32::max);
        }
        assert!(changed > 100.0 * TOLERANCE, "another prompt gives other keys: {changed:e}");
        assert_eq!((video.now.histories[0].bytes(), video.plan().first_latent_frame), (bytes, 12));
    }
}

/// What a rollout of `SIZE` remembers.
fn remembered(world: &LingBot) -> KvShape {
    let tokens = (SIZE.width / 16 * (SIZE.height / 16)) as usize;
    world.nets.config.transformer.remembers(tokens, &Device::cpu())
}

/// All keys, then all values, of a layer.
fn snapshot(history: &RollingKvCache, layer: usize) -> Vec<f32> {
    let (keys, values) = history.held(layer).blocks().expect("numbers");
    keys.iter().chain(&values).flat_map(numbers).collect()
}

#[test]
fn only_a_prompt_that_asks_for_it_makes_the_past_again() {
    let world = world(json!({}));
    let night = |recache| ChunkInput { prompt: Some("a city at night".into()), recache, steps: None, controls: None };
    let after_two_chunks = || {
        let mut video = open(&world, init(&world, None));
        for _ in 0..2 {
            video.chunk_latents(&ChunkInput::default(), &Cancel::default()).expect("a chunk");
        }
        video
    };
    let draw = |mut video: LingBotRollout, input: &ChunkInput| {
        numbers(&video.chunk_latents(input, &Cancel::default()).expect("a chunk").0)
    };
    let (plain, again) = (draw(after_two_chunks(), &night(false)), draw(after_two_chunks(), &night(true)));
    assert_ne!(plain, again);
    // The same by hand.
    let mut video = after_two_chunks();
    video.now.prompts = world.nets.read_prompt("a city at night").expect("a prompt");
    video.remember_again(&Cancel::default()).expect("passes");
    assert_eq!(draw(video, &ChunkInput::default()), again);
    let mut video = after_two_chunks();
    video.now.prompts = world.nets.read_prompt("a city at night").expect("a prompt");
    assert_eq!(draw(video, &ChunkInput::default()), plain);

    let without_prompt = ChunkInput { prompt: None, ..night(true) };
    assert!(after_two_chunks().chunk_latents(&without_prompt, &Cancel::default()).is_err());
    let cancelled = Cancel::default();
    cancelled.cancel();
    assert!(matches!(after_two_chunks().chunk_latents(&night(true), &cancelled), Err(WorldError::Cancelled)));
}

#[test]
fn clean_latents_are_kept_as_long_as_a_frame_of_their_chunk_is_held_and_within_what_was_admitted() {
    for (sink, window) in [(0, 12), (2, 8), (1, 8), (0, 7), (4, 7)] {
        let world = world(json!({"sink": sink, "window": window}));
        for first in [1, CHUNK, 2 * CHUNK] {
            let mut video = open(&world, init(&world, Some(first)));
            let most = Past::frames_max(window, video.chunking);
            let (_, _, height, width) = video.fixed.dims4().expect("four sides");
            let frame = (world.nets.config.transformer.out_channels * height * width * size_of::<f32>()) as u64;
            for _ in 0..7 {
                video.chunk_latents(&ChunkInput::default(), &Cancel::default()).expect("a chunk");
                assert!(video.now.past.bytes() <= most as u64 * frame, "sink {sink}, window {window}, first {first}");
                let held: Vec<_> = video.now.window().held().collect();
                let parts = video.now.past.parts(&held);
                assert_eq!(parts.iter().map(|(_, places)| places.len()).sum::<usize>(), held.len());
            }
        }
    }
}

/// A plain computation beside it: a rollout that never went back.
#[test]
fn a_rollout_that_goes_back_draws_the_same_again_and_another_way_where_it_is_steered_otherwise() {
    let world = world(json!({"window": 9, "moving_window": 8, "still_window": 3, "still_chunks": 2}));
    let draw = |rollout: &mut LingBotRollout, input: &ChunkInput| {
        let mut rgb = Vec::new();
        rollout.generate(input, &Cancel::default(), &mut |frames| rgb.extend(frames.rgb)).expect("a chunk");
        rgb
    };
    let input = |rollout: &LingBotRollout| {
        let plan = rollout.plan();
        let prompt = (plan.index == 3).then(|| "a red tower".to_owned());
        ChunkInput { prompt, ..steered(&plan) }
    };
    let mut rollout = open(&world, init(&world, Some(1)));
    // Long enough that frames are evicted, between a state and the way back to it too.
    let (mut frames, mut states, mut drawn) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..7 {
        states.push(rollout.save().expect("a state"));
        let input = input(&rollout);
        frames.push(draw(&mut rollout, &input));
        drawn.push(rollout.last_drawn());
    }
    for chunk in [2, 0, 5, 6] {
        rollout.restore(&states[chunk]).expect("back");
        assert_eq!(rollout.plan().index, chunk);
        for expected in &frames[chunk..] {
            let input = input(&rollout);
            assert_eq!(draw(&mut rollout, &input), *expected, "back to chunk {chunk}, at {}", rollout.plan().index);
        }
    }
    // Chunks that are drawn again, denoised or not, leave what they left the first time.
    for known in [true, false] {
        rollout.restore(&states[1]).expect("back");
        for drawn in &drawn[1..5] {
            let (input, drawn) = (input(&rollout), drawn.as_ref().filter(|_| known));
            rollout.draw_again(&input, drawn, &Cancel::default()).expect("a chunk");
        }
        for expected in &frames[5..] {
            let input = input(&rollout);
            assert_eq!(draw(&mut rollout, &input), *expected, "known: {known}, at {}", rollout.plan().index);
        }
    }
    // Steered otherwise it goes another way, and the state is as it was.
    rollout.restore(&states[4]).expect("back");
    let still = ChunkInput { controls: Some(vec![Controls::default(); CHUNK]), ..ChunkInput::default() };
    assert_ne!(draw(&mut rollout, &still), frames[4]);
    rollout.restore(&states[4]).expect("back");
    let input = input(&rollout);
    assert_eq!(draw(&mut rollout, &input), frames[4]);
    // A state holds no more than was said.
    let KeptBytes { state: bytes, chunk } = world.state_bytes().expect("it keeps states")(&init(&world, Some(1)));
    assert_eq!(rollout.now.past.newest().map(Tensor::bytes), Some(chunk));
    let now = &rollout.now;
    let held = now.histories[0].bytes() + now.prompts[0].bytes() + now.decoder.bytes() + now.past.bytes();
    assert!(held <= bytes && held * 2 > bytes, "{held} bytes of {bytes}");
}
