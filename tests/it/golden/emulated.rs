//! The same checks with `--device cuda`, the GPU and its driver emulated on this machine's processor: docs/gpu.md says what
//! that proves. Numbers are kept as f32 there, so the tolerances are those of the processor.

use std::path::Path;

use ops::Device;
use ops::collective::Team;
use pipeline::lingbot::LingBot;
use pipeline::load::model_dir::ModelDir;
use pipeline::world::{Cancel, ChunkInput, Controls, Held, Init, Picture, Size, World};
use tests::emulated::{forgetting, gpu, gpu_in_f32, gpus_in_f32, small_pocket};

use super::{cosmos3_dit, cosmos3_pipeline, cosmos3_vae, dit, psnr, text, vae};

fn on_gpu(check: impl Fn(&Path, &Device)) {
    let gpu = gpu_in_f32();
    super::for_each_folder("lingbot", |dir| check(dir, &gpu));
}

#[test]
fn a_gpu_predicts_as_the_reference() {
    on_gpu(dit::check_single_forward);
}

#[test]
fn a_gpu_draws_over_a_window_that_rolls() {
    on_gpu(|dir, gpu| dit::check_rollout(dir, "dit_tiny_weights", "dit_rollout_v2", gpu));
}

#[test]
fn a_gpu_reads_prompts_as_the_reference() {
    on_gpu(text::check_umt5);
}

#[test]
fn a_gpu_encodes_and_decodes_as_the_reference() {
    on_gpu(|dir, gpu| vae::check_vae(dir, gpu, 1));
}

#[test]
#[ignore = "minutes: `make test-gpu-emulated` runs it"]
fn a_gpu_decodes_every_chunk_as_the_reference() {
    on_gpu(|dir, gpu| vae::check_vae(dir, gpu, usize::MAX));
}

#[test]
fn a_gpu_draws_cosmos3_as_the_reference() {
    let gpu = gpu_in_f32();
    super::for_each_folder("cosmos3", |dir| {
        cosmos3_dit::check(&dir.join("dit_nano"), &gpu);
        cosmos3_dit::check(&dir.join("dit_edge"), &gpu);
    });
}

/// Six heads of queries share three of keys, and tokens do not come out even.
#[test]
fn three_gpus_draw_the_bits_of_one_in_cosmos3() {
    let gpus = gpus_in_f32(3);
    super::for_each_folder("cosmos3", |dir| {
        let dir = dir.join("dit_nano");
        let (alone, _) = cosmos3_dit::load(&dir, &gpus[0]);
        let (team, _) = cosmos3_dit::load_on(&dir, &gpus);
        let team = team.over(Team::of_gpus(&gpus).expect("a team"));
        cosmos3_dit::check_team(&dir, &gpus[0], &alone, &team);
    });
}

#[test]
fn a_gpu_draws_requests_to_cosmos3_as_the_reference() {
    let gpu = gpu_in_f32();
    super::for_each_folder("cosmos3", |dir| cosmos3_pipeline::check(dir, "pipeline_distilled", &gpu));
}

#[test]
fn a_gpu_decodes_as_the_residual_autoencoder_does() {
    let gpu = gpu_in_f32();
    cosmos3_vae::check_decoding(&gpu);
}

#[test]
#[ignore = "minutes: `make test-gpu-emulated` runs it"]
fn a_gpu_encodes_as_the_residual_autoencoder_does_and_draws_all_requests() {
    let gpu = gpu_in_f32();
    cosmos3_vae::check_encoding(&gpu);
    super::for_each_folder("cosmos3", |dir| cosmos3_pipeline::check(dir, "pipeline", &gpu));
}

/// Two chunks, so that the window rolls, with keys, and another prompt in the second.
fn draw(dir: &ModelDir, device: &Device) -> Vec<u8> {
    let size = Size { width: 32, height: 32 };
    let world = LingBot::load(dir, device).expect("a world");
    let before = device.held_bytes();
    let init = Init {
        prompt: "a green meadow".into(),
        first_frame: Some(Picture { size, rgb: (0..size.frame_bytes()).map(|i| (i * 7 % 251) as u8).collect() }),
        size,
        seed: 5,
        sink: 0,
        window: 3,
        first_chunk: None,
        condition_frames: None,
    };
    let bound = world.rollout_bytes()(&init);
    let mut rollout = world.open(init).expect("a video");
    let mut pixels = Vec::new();
    for chunk in 0..2 {
        let prompt = (chunk == 1).then(|| "a desert at night".to_owned());
        let keys: Vec<Controls> = rollout
            .plan()
            .latent_range()
            .map(|frame| Held::default().with(Held::ALL[frame % Held::ALL.len()]).into())
            .collect();
        let input = ChunkInput { prompt, recache: false, steps: None, controls: Some(keys) };
        rollout.generate(&input, &Cancel::default(), &mut |frames| pixels.extend(frames.rgb)).expect("a chunk");
    }
    if let (Some(before), Some(after)) = (before, device.held_bytes()) {
        let held = after - before;
        assert!(held <= bound, "a video of at most {bound} bytes holds {held} between two chunks");
        drop(rollout);
        assert_eq!(device.held_bytes(), Some(before), "a video that is dropped leaves nothing behind");
    }
    pixels
}

/// From files to pixels: text encoder, encoder, transformer over a window that rolls, streaming decoder. A bf16 number has eight
/// bits, and two steps carry its error on.
#[test]
fn a_gpu_draws_the_video_that_a_processor_draws() {
    let dir = small_pocket(Path::new(env!("CARGO_TARGET_TMPDIR")), 32, 2);
    let in_bf16 = psnr(&draw(&dir, &gpu()), &draw(&dir, &Device::cpu()));
    println!("bf16 {in_bf16:.1} dB");
    assert!(in_bf16 >= 24.0, "{in_bf16} dB");
}

/// Away and back over a window of three latent frames, with memory by place.
fn draw_coming_back(dir: &ModelDir, device: &Device) -> Vec<u8> {
    let size = Size { width: 32, height: 32 };
    let world = LingBot::load(dir, device).expect("a world");
    let init = Init {
        prompt: "a green meadow".into(),
        first_frame: Some(Picture { size, rgb: (0..size.frame_bytes()).map(|i| (i * 7 % 251) as u8).collect() }),
        size,
        seed: 5,
        sink: 0,
        window: 3,
        first_chunk: None,
        condition_frames: None,
    };
    let mut rollout = world.open(init).expect("a video");
    let mut pixels = Vec::new();
    for keys in [["", "j"], ["l", ""], ["", ""]] {
        let keys = keys.map(|keys| keys.chars().fold(Held::default(), Held::with).into());
        let input = ChunkInput { controls: Some(keys.to_vec()), ..ChunkInput::default() };
        rollout.generate(&input, &Cancel::default(), &mut |frames| pixels.extend(frames.rgb)).expect("a chunk");
    }
    pixels
}

/// The world that ships remembers; the same one that does not draws another video.
#[test]
#[ignore = "a minute: `make test-gpu-emulated` runs it"]
fn a_gpu_remembers_what_a_processor_remembers() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = small_pocket(&target.join("remembering"), 32, 1);
    let other = forgetting(small_pocket(&target.join("forgetting"), 32, 1));
    let processor = draw_coming_back(&dir, &Device::cpu());
    let in_bf16 = psnr(&draw_coming_back(&dir, &gpu()), &processor);
    let without = psnr(&draw_coming_back(&other, &Device::cpu()), &processor);
    println!("bf16 {in_bf16:.1} dB, a processor that forgets {without:.1} dB");
    assert!(in_bf16 >= 24.0 && in_bf16 > without + 3.0, "{in_bf16} dB, {without} dB without memory");
}

/// A byte may move by one where pixels are truncated.
#[test]
#[ignore = "a minute: `make test-gpu-emulated` runs it"]
fn a_gpu_in_f32_draws_the_same_video() {
    let dir = small_pocket(Path::new(env!("CARGO_TARGET_TMPDIR")), 32, 2);
    let in_f32 = psnr(&draw(&dir, &gpu_in_f32()), &draw(&dir, &Device::cpu()));
    println!("f32 {in_f32:.1} dB");
    assert!(in_f32 >= 65.0, "{in_f32} dB");
}
