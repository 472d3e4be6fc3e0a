//! Keys to rays against what the reference gave.
//!
//! Tensors in bf16 are not compared: the reference rounds accumulated poses to bf16 before it takes their differences, so
//! after some dozens of steps a step of one unit comes out as 0.75 or 0. Our steps come from no poses and do not
//! reproduce that.

use std::collections::BTreeMap;
use std::path::Path;

use ops::{Device, Tensor};
use pipeline::lingbot::camera::{CameraPath, Matrix, Step};
use pipeline::lingbot::recipe::CameraConfig;
use pipeline::world::{Controls, Held, Size};

use super::{Golden, assert_close};

/// Pixels to a side of a latent.
const CELL: usize = 8;

#[test]
fn paths_and_rays_are_the_reference_s() {
    super::for_each_folder("lingbot", check_camera);
}

#[test]
fn the_pocket_world_s_rays_are_as_recorded() {
    super::for_each_folder("pocket", check_pocket_camera);
}

fn keys(held: &[String]) -> Controls {
    Held::from_tokens(held.iter().map(String::as_str)).into()
}

/// `camera.safetensors`: whole histories, each as one chunk.
fn check_camera(dir: &Path) {
    let file = Golden::open(&dir.join("camera.safetensors"));
    let histories: BTreeMap<String, Vec<Vec<String>>> = file.json("histories");
    assert!(!histories.is_empty());
    for (name, history) in histories {
        let history: Vec<Controls> = history.iter().map(|held| keys(held)).collect();
        let rays = file.with_prefix(&format!("{name}.plucker_float32_"));
        let (h, w) = rays.map_or((1, 1), |(_, rays)| (rays.dims()[3], rays.dims()[4]));
        let size = Size { width: (w * CELL) as u32, height: (h * CELL) as u32 };

        // Poses: the start, then one after each item. They are not part of what we compute, so they are put together here.
        let mut camera = CameraPath::new(&CameraConfig::default(), size, &Device::cpu());
        let mut pose = Step::STILL;
        let mut poses = vec![pose];
        for controls in &history {
            pose = after(pose, camera.step(controls));
            poses.push(pose);
        }
        assert_close(&format!("{name}.c2ws_f64"), &tensor(&poses), &file[&format!("{name}.c2ws_f64")], 1e-9);

        // Steps: divided by the longest of the history, in f64.
        let steps = CameraPath::new(&CameraConfig::default(), size, &Device::cpu()).follow(&history);
        assert_close(&format!("{name}.rel_f64"), &tensor(&steps), &file[&format!("{name}.rel_f64")], 1e-9);

        // In f32 the reference subtracts two positions that are far from the start by then, and divides by the length of a
        // step. Each of the two is off by some roundings of a number as large as the distance: its own, its matrix's, and
        // two of a sum of three. It grows with the walk, and ours, which subtracts no positions, does not follow.
        let distance = poses.iter().map(|&pose| length_between(Step::STILL, pose)).fold(0.0, f64::max);
        let step = poses.windows(2).map(|pair| length_between(pair[0], pair[1])).fold(0.0, f64::max);
        let rounding = if step > 0.0 { 8.0 * f64::from(f32::EPSILON / 2.0) * distance / step } else { 0.0 };
        let tolerance = 1e-6 + rounding;
        assert_close(&format!("{name}.rel_f32"), &tensor(&steps), &file[&format!("{name}.rel_f32")], tolerance);

        // Not every history in this repository has kept its rays.
        let Some((rays_name, rays)) = rays else { continue };
        let rays = rays.get(0).expect("a batch of one");
        let frames = rays.dim(1).expect("frames");
        // Only the last chunk's rays were recorded. Fed in one piece and in chunks it is the same: the longest step is known
        // by then either way.
        let all = CameraPath::new(&CameraConfig::default(), size, &Device::cpu()).advance(&history).expect("rays");
        let last = all.narrow(1, history.len() - frames, frames).expect("the last chunk");
        assert_close(rays_name, &last, &rays, tolerance);
        let mut camera = CameraPath::new(&CameraConfig::default(), size, &Device::cpu());
        let chunks = history.rchunks(frames).rev().map(|chunk| camera.advance(chunk).expect("rays"));
        assert_close(&format!("{rays_name}, in chunks"), &chunks.last().expect("a chunk"), &rays, tolerance);
    }
}

/// `stream.safetensors`: one chunk a latent frame, with the camera its metadata describes.
fn check_pocket_camera(dir: &Path) {
    let stream = Golden::open(&dir.join("stream.safetensors"));
    let meta: serde_json::Value = stream.json("meta");
    let config: CameraConfig = serde_json::from_value(meta["policy"]["camera"].clone()).expect("a camera");
    let actions: Vec<Vec<String>> = serde_json::from_value(meta["actions"].clone()).expect("keys");
    let &[1, 384, frames, h, w] = stream["00.cam"].dims() else { panic!("(1, 384, F, h, w)") };
    let size = Size { width: (w * CELL) as u32, height: (h * CELL) as u32 };
    let mut camera = CameraPath::new(&config, size, &Device::cpu());
    let mut actions = actions.iter().map(|held| keys(held)).peekable();
    for chunk in 0.. {
        if actions.peek().is_none() {
            break;
        }
        let name = format!("{chunk:02}.cam");
        let controls: Vec<Controls> = actions.by_ref().take(frames).collect();
        let rays = camera.advance(&controls).expect("rays");
        if stream.has(&name) {
            assert_close(&name, &rays, &stream[&name].get(0).expect("a batch of one"), 1e-6);
        }
    }
}

/// `pose`, then `step`.
fn after(pose: Step, step: Step) -> Step {
    let column = |m: &Matrix, j: usize| [m[0][j], m[1][j], m[2][j]];
    let dot = |a: [f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let axes = [0, 1, 2];
    Step {
        rotation: pose.rotation.map(|row| axes.map(|j| dot(row, column(&step.rotation, j)))),
        translation: axes.map(|i| pose.translation[i] + dot(pose.rotation[i], step.translation)),
    }
}

fn length_between(a: Step, b: Step) -> f64 {
    (0..3).map(|i| (a.translation[i] - b.translation[i]).powi(2)).sum::<f64>().sqrt()
}

/// `(steps, 4, 4)` in f64.
fn tensor(steps: &[Step]) -> Tensor {
    let matrix = |step: &Step| {
        let mut values = [0.0; 16];
        for i in 0..3 {
            values[4 * i..4 * i + 3].copy_from_slice(&step.rotation[i]);
            values[4 * i + 3] = step.translation[i];
        }
        values[15] = 1.0;
        values
    };
    let values: Vec<f64> = steps.iter().flat_map(matrix).collect();
    Tensor::from_vec(values, [steps.len(), 4, 4], &Device::cpu()).expect("sixteen values a step")
}
