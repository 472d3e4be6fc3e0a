//! Keys, rates and poses become the steps and rays that the reference computes.

use std::f64::consts::FRAC_1_SQRT_2;

use super::*;
use crate::world::{Held, Rates, Way};

fn size(width: u32, height: u32) -> Size {
    Size { width, height }
}

fn camera() -> CameraPath {
    CameraPath::new(&CameraConfig::default(), size(16, 16), &Device::cpu())
}

/// `"w wl"`: w, then w and l; `-` is nothing.
fn keys(history: &str) -> Vec<Controls> {
    history.split(' ').map(|held| held.chars().fold(Held::default(), Held::with).into()).collect()
}

fn close<const N: usize>(what: &str, found: [f64; N], expected: [f64; N], tolerance: f64) {
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= tolerance, "{what}: {found:?} is not {expected:?}");
    }
}

/// Checks the translations that the model is told if the whole history is one chunk. Expected values have six
/// digits.
fn check_translations(history: &str, expected: &[[f64; 3]]) {
    let steps = camera().follow(&keys(history));
    assert_eq!(steps.len(), expected.len());
    for (step, &expected) in steps.iter().zip(expected) {
        close(history, step.translation, expected, 1e-6);
    }
}

/// C69, C71 of `docs/conformance.md`, and so on.
#[test]
fn translations_are_relative_and_the_longest_is_one() {
    let (still, ahead) = ([0.0; 3], [0.0, 0.0, 1.0]);
    let bend = [0.104528, 0.0, 0.994522];
    let half = FRAC_1_SQRT_2;
    check_translations("w w w", &[still, ahead, ahead]);
    check_translations("wl wl wl", &[still, bend, bend]);
    check_translations("wd wd w", &[still, [half, 0.0, half], [0.0, 0.0, half]]);
    check_translations("iw iw iw", &[still, [0.0, 0.069756, 0.997564], [0.0, 0.139173, 0.990268]]);
    check_translations("w s a", &[still, [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]]);
}

#[test]
fn poses_add_up_from_steps() {
    let check = |history: &str, expected: &[[f64; 3]]| {
        let (mut camera, mut rotation, mut position) = (camera(), Step::STILL.rotation, [0.0; 3]);
        for (controls, &expected) in keys(history).iter().zip(expected) {
            let step = camera.step(controls);
            let moved = rotate(rotation, step.translation);
            position = [0, 1, 2].map(|i| position[i] + moved[i]);
            rotation = product(rotation, step.rotation);
            close(history, position, expected, 1e-6);
        }
    };
    let ahead = [[0.0, 0.0, 0.05], [0.0, 0.0, 0.1], [0.0, 0.0, 0.15]];
    check("w w w", &ahead);
    check("wl wl wl", &[[0.005226, 0.0, 0.049726], [0.015622, 0.0, 0.098633], [0.031073, 0.0, 0.146186]]);
    check("wd wd", &[[0.05, 0.0, 0.05], [0.1, 0.0, 0.1]]);
    // Walking stays level whatever the pitch.
    check("iw iw iw", &ahead);
}

/// C70
#[test]
fn keys_turn_the_right_way_and_the_first_are_not_seen() {
    let (sin, cos) = 6f64.to_radians().sin_cos();
    let right = [[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]];
    let (sin, cos) = 4f64.to_radians().sin_cos();
    let up = [[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]];
    for (history, expected) in [("l l", right), ("i i", up), ("w l", right), ("l i", up)] {
        let steps = camera().follow(&keys(history));
        assert_eq!(steps[0], Step::STILL);
        for (found, expected) in steps[1].rotation.into_iter().zip(expected) {
            close(history, found, expected, 1e-12);
        }
    }
}

/// C73
#[test]
fn opposite_keys_cancel_and_repeated_ones_count_once() {
    for history in ["- ws", "- ad", "- ik", "- jl", "- wsadikjl", "- -"] {
        assert_eq!(camera().follow(&keys(history)), [Step::STILL; 2], "{history}");
    }
    assert_eq!(Held::from_tokens(["w", "w"]), keys("w")[0].held());
}

/// C72
#[test]
fn pitch_stops_at_the_last_whole_step_below_its_limit() {
    let mut camera = camera();
    camera.follow(&keys("i ".repeat(22).trim()));
    assert_eq!(pitch(&camera), 84.0);
    assert_eq!(camera.follow(&keys("i"))[0], Step::STILL);
    camera.follow(&keys("k ".repeat(50).trim()));
    assert_eq!(pitch(&camera), -84.0);
}

/// C74
#[test]
fn ten_thousand_steps_ahead_are_as_long_as_the_first() {
    let mut camera = camera();
    camera.follow(&keys("w"));
    for _ in 0..10_000 {
        let step = camera.follow(&keys("w"))[0];
        close("a step ahead", step.translation, [0.0, 0.0, 1.0], 1e-6);
        assert_eq!(step.rotation, Step::STILL.rotation);
    }
}

#[test]
fn how_a_history_is_cut_into_chunks_does_not_matter_once_its_longest_step_is_known() {
    let history = keys("w wd l iw jw - s kd a w wl ws");
    let at_once = camera().follow(&history);
    for chunk in [1, 2, 3, 4, 6] {
        let mut camera = camera();
        let steps: Vec<_> = history.chunks(chunk).flat_map(|keys| camera.follow(keys)).collect();
        // The diagonal, which is the longest, is the second.
        assert_eq!(steps[2..], at_once[2..]);
    }
}

#[test]
fn rays_hold_origin_and_direction_of_each_pixel() -> Result<()> {
    let rays = camera().advance(&keys("w l iw"))?;
    assert_eq!(rays.dims(), [384, 3, 2, 2]);
    let rays = rays.to_vec::<f32>()?;
    let check = |frame: usize, x: usize, y: usize, expected: [f64; 6]| {
        let at = frame * 4 + y / 8 * 2 + x / 8;
        let found = [0, 1, 2, 3, 4, 5].map(|c| f64::from(rays[(c * 64 + y % 8 * 8 + x % 8) * 3 * 4 + at]));
        close(&format!("frame {frame}, pixel ({x}, {y})"), found, expected, 1e-6);
    };
    check(0, 0, 0, [0.0, 0.0, 0.0, -0.014997, -0.014997, 0.999775]);
    check(0, 10, 3, [0.0, 0.0, 0.0, 0.005, -0.009, 0.999947]);
    check(1, 0, 0, [0.0, 0.0, 0.0, 0.08959, -0.014997, 0.995866]);
    check(1, 10, 3, [0.0, 0.0, 0.0, 0.109495, -0.009, 0.993947]);
    check(2, 0, 0, [0.0, 0.0, 1.0, -0.014997, -0.084701, 0.996294]);
    check(2, 10, 3, [0.0, 0.0, 1.0, 0.005, -0.07873, 0.996883]);
    Ok(())
}

#[test]
fn at_rest_delta_rays_are_exactly_zero() -> Result<()> {
    let config = CameraConfig {
        rays: Rays::Delta,
        ray_scale: 4.0,
        fov_x_deg: Some(75.0),
        translation: Translation::Fixed,
        translation_scale: 2.0,
        ..CameraConfig::default()
    };
    let mut camera = CameraPath::new(&config, size(96, 64), &Device::cpu());
    camera.advance(&keys("wil l i w"))?;
    let rays = camera.advance(&keys("- ws"))?.to_vec::<f32>()?;
    assert!(rays.iter().all(|&ray| ray == 0.0));
    Ok(())
}

/// Degrees that a camera looks up, which no pose has turned.
fn pitch(camera: &CameraPath) -> f64 {
    let Attitude::Level { pitch_deg, .. } = camera.attitude else { panic!("a pose has turned it") };
    pitch_deg
}

/// Where keys lead, as the reference integrates them: section 10.1 of its protocol, in matrices, with nothing of ours.
fn poses_of(history: &[Controls], config: &CameraConfig) -> Vec<Pose> {
    let (mut rotation, mut at, mut pitch) = (Step::STILL.rotation, [0.0; 3], 0.0);
    let mut poses = Vec::new();
    for controls in history {
        let held = controls.held();
        let balance = |plus, minus| f64::from(i8::from(held.has(plus)) - i8::from(held.has(minus)));
        let mut look = config.pitch_deg_per_latent * balance('i', 'k');
        if (pitch + look).abs() <= 85.0 {
            pitch += look;
        } else {
            look = 0.0;
        }
        let turn = config.yaw_deg_per_latent * balance('l', 'j');
        rotation = product(about_y(turn), product(rotation, about_x(look)));
        let level = |column: usize| {
            let v = [rotation[0][column], 0.0, rotation[2][column]];
            v.map(|x| x / (length(v) + 1e-6))
        };
        let (f, r) = (level(2), level(0));
        let (ahead, aside) = (balance('w', 's'), balance('d', 'a'));
        at = [0, 1, 2].map(|i| at[i] + config.move_per_latent * (f[i] * ahead + r[i] * aside));
        poses.push(Pose::of(&rotation, at));
    }
    poses
}

/// As a client sends it.
fn sent(pose: &Pose) -> Controls {
    let pose = Pose::from_camera_from_world(&pose.camera_from_world()).expect("a pose");
    Controls::default().with_way(Some(Way::to(pose)))
}

/// A long walk with every key, and rest, to the limits of looking up and down.
fn walk() -> Vec<Controls> {
    let (mut state, mut history) = (7u64, Vec::new());
    while history.len() < 300 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let bits = (state >> 40) as u32;
        let held = (0..8).filter(|&bit| bits >> bit & bits >> (bit + 8) & 1 == 1).map(|bit| Held::ALL[bit as usize]);
        let held = held.fold(Held::default(), Held::with);
        history.extend(std::iter::repeat_n(Controls::from(held), 1 + (bits >> 16 & 7) as usize));
    }
    history.truncate(300);
    history
}

fn pocket() -> CameraConfig {
    CameraConfig {
        rays: Rays::Delta,
        ray_scale: 4.0,
        fov_x_deg: Some(75.0),
        translation: Translation::Fixed,
        translation_scale: 2.0,
        move_per_latent: 1.0,
        yaw_deg_per_latent: 10.0,
        pitch_deg_per_latent: 4.0,
    }
}

/// C87
#[test]
fn keys_turned_into_poses_give_the_same_rays() -> Result<()> {
    for config in [CameraConfig::default(), pocket()] {
        let history = walk();
        let poses: Vec<_> = poses_of(&history, &config).iter().map(sent).collect();
        // Halfway from one way of steering to the other and back: a camera knows where it stands.
        let mixed: Vec<_> = (0..300).map(|i| if i / 25 % 2 == 0 { &history[i] } else { &poses[i] }.clone()).collect();
        let [mut by_keys, mut by_poses, mut by_both] =
            [(); 3].map(|()| CameraPath::new(&config, size(32, 16), &Device::cpu()));
        for at in (0..300).step_by(3) {
            let expected = by_keys.advance(&history[at..at + 3])?.to_vec::<f32>()?;
            for (camera, controls) in [(&mut by_poses, &poses), (&mut by_both, &mixed)] {
                let rays = camera.advance(&controls[at..at + 3])?.to_vec::<f32>()?;
                let off = rays.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off <= 1e-5, "latent frame {at} of {config:?}: off by {off}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_camera_knows_where_its_keys_have_led_it() {
    let history = walk();
    let mut camera = camera();
    for (controls, expected) in history.iter().zip(poses_of(&history, &CameraConfig::default())) {
        camera.step(controls);
        let (found, expected) = (camera.pose().camera_from_world(), expected.camera_from_world());
        for (found, expected) in found.as_flattened().iter().zip(expected.as_flattened()) {
            assert!((found - expected).abs() <= 1e-9, "{found} is not {expected}");
        }
    }
}

#[test]
fn a_rate_is_a_part_of_what_a_key_does() {
    let rates = |numbers| Controls::default().with_rates(Rates::new(numbers).expect("rates"));
    let step = |controls: &Controls| camera().step(controls);
    for (key, full) in [
        ("w", [1.0, 0.0, 0.0, 0.0]),
        ("a", [0.0, -1.0, 0.0, 0.0]),
        ("l", [0.0, 0.0, 1.0, 0.0]),
        ("k", [0.0, 0.0, 0.0, -1.0]),
    ] {
        assert_eq!(step(&rates(full)), step(&keys(key)[0]), "{key}");
        assert_eq!(step(&keys(key)[0].clone().with_rates(Rates::new(full).expect("rates"))), step(&keys(key)[0]));
    }
    close("a quarter ahead", step(&rates([0.25, 0.0, 0.0, 0.0])).translation, [0.0, 0.0, 0.0125], 1e-7);
    let turned = step(&rates([0.0, 0.0, -0.5, 0.0])).rotation;
    close("half a turn to the left", turned[0], about_y(-3.0)[0], 1e-12);
}

#[test]
fn the_way_to_a_pose_is_gone_in_parts_and_ends_there() {
    let end = Pose::of(&product(about_y(30.0), about_x(9.0)), [0.3, -0.1, 0.6]);
    let mut camera = camera();
    let ways =
        [1.0 / 3.0, 0.5, 1.0].map(|part| Controls::default().with_way(Some(Way::part_of(end, part).expect("a part"))));
    let steps = ways.each_ref().map(|way| camera.step(way));
    assert_eq!(camera.pose(), end);
    for step in &steps[1..] {
        assert!((length(step.translation) - length(steps[0].translation)).abs() < 1e-12, "{steps:?}");
        let off = step.rotation.as_flattened().iter().zip(steps[0].rotation.as_flattened());
        assert!(off.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) < 1e-12, "{steps:?}");
    }
    assert_eq!(camera.step(&ways[2]), Step::STILL, "it is there");
    assert_eq!(camera.step(&Controls::default()), Step::STILL);
}

#[test]
fn a_lens_turns_each_pixel_s_ray_and_lasts_for_its_latent_frame() -> Result<()> {
    let lens =
        |fx, fy, cx, cy| Controls::default().with_intrinsics(Some(Intrinsics::new(fx, fy, cx, cy).expect("a lens")));
    let controls = [lens(100.0, 50.0, 4.0, 2.0), Controls::default(), lens(10.0, 20.0, 0.5, 0.5)];
    let rays = camera().advance(&controls)?.to_vec::<f32>()?;
    let ray = |frame: usize, x: usize, y: usize| {
        let at = frame * 4 + y / 8 * 2 + x / 8;
        [3, 4, 5].map(|c| f64::from(rays[(c * 64 + y % 8 * 8 + x % 8) * 3 * 4 + at]))
    };
    let check = |frame: usize, (x, y): (usize, usize), ahead: [f64; 3]| {
        close(&format!("frame {frame}"), ray(frame, x, y), ahead.map(|v| v / length(ahead)), 1e-6);
    };
    check(0, (10, 3), [(10.5 - 4.0) / 100.0, (3.5 - 2.0) / 50.0, 1.0]);
    check(1, (10, 3), [(10.5 - 8.0) / 500.0, (3.5 - 8.0) / 500.0, 1.0]);
    check(2, (0, 0), [0.0, 0.0, 1.0]);
    check(2, (15, 12), [1.5, 0.6, 1.0]);
    Ok(())
}
