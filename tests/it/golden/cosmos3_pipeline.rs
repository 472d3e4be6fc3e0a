//! Whole requests to a Cosmos3 model, from recorded noise to bytes of pixels, out of a directory laid out as published.

use std::collections::BTreeMap;
use std::path::Path;

use ops::{Device, FrameStack, Tensor};
use pipeline::cosmos3::clip::{Plan, Prompts};
use pipeline::cosmos3::denoise::Guidance;
use pipeline::cosmos3::schedule::{Schedule, StochasticEuler, UniPc};
use pipeline::noise::Noise;
use pipeline::world::{Cancel, Clip, Size, Step};
use serde::Deserialize;
use tests::cosmos3::ModelFolder;

use super::{Golden, assert_close, for_each_folder};

/// Guidance multiplies differences: measured 3.4e-4 in 10 steps, with another implementation.
const LATENTS: f64 = 2e-3;

/// One request of `meta.json`.
#[derive(Deserialize)]
struct Case {
    num_frames: usize,
    height: u32,
    width: u32,
    fps: f64,
    steps: Option<usize>,
    flow_shift: Option<f64>,
    t_list: Option<Vec<f64>>,
    guidance: f64,
    guidance_interval: Option<[f64; 2]>,
    cond_ids: Vec<u32>,
    uncond_ids: Option<Vec<u32>>,
    cond_frames: Vec<usize>,
    timesteps: Vec<f64>,
    cfg_active: Option<Vec<bool>>,
}

#[test]
fn requests_have_the_latents_of_the_reference_after_every_step_and_its_pixels() {
    for_each_folder("cosmos3", |dir| check(dir, "pipeline", &Device::cpu()));
}

#[test]
fn distilled_requests_do_too_with_the_noise_of_every_step() {
    for_each_folder("cosmos3", |dir| check(dir, "pipeline_distilled", &Device::cpu()));
}

pub(super) fn check(dir: &Path, name: &str, device: &Device) {
    let golden = Golden::open(&dir.join(name).join("fixtures.safetensors")).on(device);
    let meta = std::fs::read(dir.join(name).join("meta.json")).expect("meta.json");
    let cases: BTreeMap<String, Case> = serde_json::from_slice(&meta).expect("cases");
    assert!(!cases.is_empty(), "meta.json names no case");
    let folder = ModelFolder::of(dir);
    folder.split_in_two();
    let world = folder.load_on(device).expect("a model in two shards");
    for (name, case) in &cases {
        let schedule = schedule(case);
        let timesteps: Vec<f64> = (0..schedule.steps()).map(|step| schedule.timestep(step)).collect();
        assert_eq!(timesteps, case.timesteps, "{name}");
        let steps = schedule.steps();
        let plan = Plan {
            size: Size { width: case.width, height: case.height },
            frames: case.num_frames,
            fps: case.fps,
            prompts: Prompts {
                prompt: case.cond_ids.clone(),
                negative: case.uncond_ids.clone().filter(|_| case.guidance > 1.0),
            },
            schedule,
            guidance: guidance(case),
            picture: picture(&golden, name, case),
        };
        let batchless = |tensor: &Tensor| tensor.squeeze(0).expect("a batch of one");
        let mut noise = vec![golden.get(&format!("{name}.noise"))];
        let step_noise = format!("{name}.step_noise");
        if golden.has(&step_noise) {
            noise.extend((0..steps).map(|step| batchless(&golden[&step_noise].get(step).expect("a step"))));
        }
        let mut clip = world.clip_with_noise(plan, Noise::recorded(noise));

        let (mut found, mut seen) = (Vec::new(), 0);
        let trajectory = &golden[&format!("{name}.traj")];
        loop {
            let step = clip.step(&Cancel::default(), &mut |frames| found.extend(frames.rgb)).expect("a piece");
            let expected = |step: usize| batchless(&trajectory.get(step).expect("a latent"));
            // Reading the prompts, and a picture, gives the start; then each step gives one more; decoding gives none.
            if let Some(latent) = clip.latent().filter(|_| seen <= steps) {
                assert_close(&format!("{name}, latent {seen}"), latent, &expected(seen), LATENTS);
                seen += 1;
            }
            if let Step::Done(_) = step {
                break;
            }
        }
        assert_eq!(seen, steps + 1, "{name}: every latent was seen");
        assert_pixels(name, &found, &golden, case);
    }
}

fn schedule(case: &Case) -> Schedule {
    match &case.t_list {
        Some(levels) => Schedule::StochasticEuler(StochasticEuler::new(levels)),
        None => {
            let (steps, shift) = (case.steps.expect("steps"), case.flow_shift.expect("a shift"));
            Schedule::UniPc(UniPc::new(steps, shift))
        }
    }
}

fn guidance(case: &Case) -> Guidance {
    let guidance = Guidance { scale: case.guidance, interval: case.guidance_interval };
    if let Some(active) = &case.cfg_active {
        let found: Vec<bool> = case.timesteps.iter().map(|timestep| guidance.at(*timestep) > 1.0).collect();
        assert_eq!(&found, active);
    }
    guidance
}

/// The picture that the video starts from: in the file it is no picture of bytes, and so goes past the scaling.
fn picture(golden: &Golden, name: &str, case: &Case) -> Option<FrameStack> {
    (!case.cond_frames.is_empty())
        .then(|| FrameStack::from_tensor(&golden.get(&format!("{name}.image"))).expect("one frame of three channels"))
}

/// Bytes differ by one at most, and in one place of a hundred at most.
fn assert_pixels(name: &str, found: &[u8], golden: &Golden, case: &Case) {
    let planes = golden.bytes(&format!("{name}.u8"));
    assert_eq!(found.len(), planes.len(), "{name}");
    let (frames, pixels) = (case.num_frames, (case.width * case.height) as usize);
    let expected = |i: usize| {
        let (frame, pixel, channel) = (i / (3 * pixels), i / 3 % pixels, i % 3);
        planes[(channel * frames + frame) * pixels + pixel]
    };
    let off = |least: u8| found.iter().enumerate().filter(|(i, byte)| byte.abs_diff(expected(*i)) >= least).count();
    println!("{name}: {} of {} bytes differ, {} by more than one", off(1), planes.len(), off(2));
    assert!(
        off(2) == 0 && off(1) * 100 <= planes.len(),
        "{name}: {} bytes differ, {} by more than one",
        off(1),
        off(2)
    );
}
