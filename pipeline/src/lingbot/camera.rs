//! The camera: controls become its motion, and the motion becomes the rays that steer the transformer.
//!
//! The model is told how the camera moved since the previous latent frame, in the axes that it had then. This motion
//! depends on the controls and on the camera's pitch, and on nothing else. So no pose is kept, and a video of any
//! length loses no precision. The very first latent frame counts as at rest: there is no frame before it to move from.
//!
//! Axes are OpenCV's: x right, y down, z forward. All is computed in f64; rays are rounded to f32 once.

use ops::{Device, Result, Tensor, threads};

use super::recipe::{CameraConfig, Rays, Translation};
use crate::world::{Controls, Size};

/// The camera of one video: what its next step depends on.
#[derive(Clone)]
pub struct CameraPath {
    config: CameraConfig,
    lens: Lens,
    device: Device,
    /// Positive looks up.
    pitch_deg: f64,
    /// The length that translations are divided by: the longest step so far, or a constant.
    unit: f64,
    /// Whether the next latent frame is the first of the video.
    starts: bool,
}

/// The motion of one latent frame, in the axes of the camera before it: `x_before = rotation·x_after + translation`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Turns a direction in the axes after the step into one in the axes before it.
    pub rotation: Matrix,
    /// Where the camera is after the step, in the axes before it.
    pub translation: [f64; 3],
}

/// Three rows of three.
pub type Matrix = [[f64; 3]; 3];

/// A pinhole camera without distortion: pixels to rays in the camera's own axes.
#[derive(Clone)]
struct Lens {
    size: Size,
    /// In pixels.
    focal: f64,
}

/// A step that would look further up or down than this leaves the pitch as it is.
const PITCH_MAX_DEG: f64 = 85.0;
/// The video autoencoder's spatial stride. A cell of 8×8 rays is folded into channels, so that rays align with latents.
const CELL: usize = 8;
/// Channels of a cell of rays: three of the origin and three of the direction for each pixel, 384 in all.
const CHANNELS: usize = 6 * CELL * CELL;
/// The reference adds this to a length before it divides by it.
const LENGTH_EPS: f64 = 1e-6;
/// Focal length in pixels, for any size, if the configuration gives no field of view.
const DEFAULT_FOCAL: f64 = 500.0;

impl CameraPath {
    /// A camera that has not moved yet, for a video of `size`. Both sides must be multiples of 8.
    pub fn new(config: &CameraConfig, size: Size, device: &Device) -> CameraPath {
        let cell = CELL as u32;
        assert!(
            size.width.is_multiple_of(cell) && size.height.is_multiple_of(cell),
            "latents cover a picture without remainder"
        );
        let focal = match config.fov_x_deg {
            Some(fov) => f64::from(size.width) / 2.0 / (fov.to_radians() / 2.0).tan(),
            None => DEFAULT_FOCAL,
        };
        let unit = match config.translation {
            Translation::Fixed => config.translation_scale,
            Translation::RunningMax => 0.0,
        };
        let lens = Lens { size, focal };
        CameraPath { config: config.clone(), lens, device: device.clone(), pitch_deg: 0.0, unit, starts: true }
    }

    /// Move on by a chunk, with one value of `controls` for each latent frame. Gives the rays that the transformer
    /// reads: `(384, F, h, w)`, where channel `64c + 8·(y mod 8) + x mod 8` at `(y / 8, x / 8)` is component `c` of
    /// pixel `(x, y)`'s ray.
    pub fn advance(&mut self, controls: &[Controls]) -> Result<Tensor> {
        let steps = self.follow(controls);
        self.rays(&steps)
    }

    /// Move on by a chunk. Gives the steps as the model is told them: scaled, the first of a video without motion.
    pub fn follow(&mut self, controls: &[Controls]) -> Vec<Step> {
        assert!(!controls.is_empty(), "a chunk has latent frames");
        let mut steps: Vec<_> = controls.iter().map(|controls| self.step(controls)).collect();
        if std::mem::take(&mut self.starts) {
            steps[0] = Step::STILL;
        }
        if self.config.translation == Translation::RunningMax {
            // The longest step of the whole chunk counts before any step is divided, as if all were normalised
            // at once.
            self.unit = steps.iter().map(|step| length(step.translation)).fold(self.unit, f64::max);
        }
        if self.unit > 0.0 {
            for step in &mut steps {
                step.translation = step.translation.map(|t| t / self.unit);
            }
        }
        steps
    }

    /// Move on by one latent frame that is steered by `controls`. The step is in the configuration's units, not scaled.
    ///
    /// Yaw turns about the world's vertical and pitch about the camera's right, so a camera that began level always has
    /// the orientation `Ry(yaw)·Rx(pitch)`. The rotation from one orientation to the next is
    /// `Rx(−pitch)·Ry(turn)·Rx(pitch′)`: the yaw itself cancels.
    pub fn step(&mut self, controls: &Controls) -> Step {
        let held = controls.held();
        let balance = |plus, minus| f64::from(i8::from(held.has(plus)) - i8::from(held.has(minus)));
        let before = self.pitch_deg;
        let after = before + self.config.pitch_deg_per_latent * balance('i', 'k');
        if after.abs() <= PITCH_MAX_DEG {
            self.pitch_deg = after;
        }
        let pitch = self.pitch_deg;
        let turn = self.config.yaw_deg_per_latent * balance('l', 'j');

        // Steps along the camera's level directions after its turn. The reference divides each direction by its length
        // plus a small number, which shortens the steps a little.
        let level = pitch.to_radians().cos();
        let forward = balance('w', 's') * self.config.move_per_latent * level / (level + LENGTH_EPS);
        let right = balance('d', 'a') * self.config.move_per_latent / (1.0 + LENGTH_EPS);

        // Without a turn both pitches are about the same axis, and their difference is exact: a camera at rest gets
        // exactly the identity, which a product of matrices would not give.
        let rotation = match turn == 0.0 {
            true => about_x(pitch - before),
            false => product(about_x(-before), product(about_y(turn), about_x(pitch))),
        };
        let translation = rotate(product(about_x(-before), about_y(turn)), [right, 0.0, forward]);
        Step { rotation, translation }
    }

    fn rays(&self, steps: &[Step]) -> Result<Tensor> {
        let Lens { size, focal } = self.lens;
        let (w, h) = (size.width as usize / CELL, size.height as usize / CELL);
        let frame = h * w;
        // The matrix that turns a pixel's direction, for each latent frame.
        let matrices: Vec<Matrix> = steps
            .iter()
            .map(|step| match self.config.rays {
                Rays::Absolute => step.rotation,
                Rays::Delta => scaled(self.config.ray_scale, minus_identity(step.rotation)),
            })
            .collect();

        let mut values = vec![0f32; CHANNELS * steps.len() * frame];
        let component = CELL * CELL * steps.len() * frame;
        let (origins, directions) = values.split_at_mut(3 * component);
        for (c, origin) in origins.chunks_exact_mut(component).enumerate() {
            for (i, plane) in origin.chunks_exact_mut(frame).enumerate() {
                plane.fill(steps[i % steps.len()].translation[c] as f32);
            }
        }

        let (x, yz) = directions.split_at_mut(component);
        let (y, z) = yz.split_at_mut(component);
        let planes = steps.len() * frame;
        let centre = (f64::from(size.width) / 2.0, f64::from(size.height) / 2.0);
        let one_place_of_each_cell = x.chunks_mut(planes).zip(y.chunks_mut(planes)).zip(z.chunks_mut(planes));
        threads::for_each(one_place_of_each_cell, 1, |place, ((x, y), z)| {
            let across = |cell: usize| ((cell * CELL + place % CELL) as f64 + 0.5 - centre.0) / focal;
            let down = |cell: usize| ((cell * CELL + place / CELL) as f64 + 0.5 - centre.1) / focal;
            let columns: Vec<f64> = (0..w).map(across).collect();
            for row in 0..h {
                let v = down(row);
                for (i, m) in matrices.iter().enumerate() {
                    let at = i * frame + row * w;
                    let line = x[at..at + w].iter_mut().zip(&mut y[at..at + w]).zip(&mut z[at..at + w]);
                    for (((x, y), z), &u) in line.zip(&columns) {
                        let shorten = 1.0 / (u * u + v * v + 1.0).sqrt();
                        *x = ((m[0][0] * u + m[0][1] * v + m[0][2]) * shorten) as f32;
                        *y = ((m[1][0] * u + m[1][1] * v + m[1][2]) * shorten) as f32;
                        *z = ((m[2][0] * u + m[2][1] * v + m[2][2]) * shorten) as f32;
                    }
                }
            }
        });
        Tensor::from_vec(values, [CHANNELS, steps.len(), h, w], &self.device)
    }
}

impl Step {
    /// No motion.
    pub const STILL: Step =
        Step { rotation: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], translation: [0.0; 3] };
}

/// A rotation about the x axis. Positive looks up.
fn about_x(degrees: f64) -> Matrix {
    let (sin, cos) = degrees.to_radians().sin_cos();
    [[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]]
}

/// A rotation about the y axis. Positive turns right.
fn about_y(degrees: f64) -> Matrix {
    let (sin, cos) = degrees.to_radians().sin_cos();
    [[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]]
}

fn product(a: Matrix, b: Matrix) -> Matrix {
    a.map(|row| [0, 1, 2].map(|j| row[0] * b[0][j] + row[1] * b[1][j] + row[2] * b[2][j]))
}

fn rotate(m: Matrix, v: [f64; 3]) -> [f64; 3] {
    m.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
}

fn minus_identity(mut m: Matrix) -> Matrix {
    for (i, row) in m.iter_mut().enumerate() {
        row[i] -= 1.0;
    }
    m
}

fn scaled(factor: f64, m: Matrix) -> Matrix {
    m.map(|row| row.map(|x| factor * x))
}

fn length(v: [f64; 3]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use std::f64::consts::FRAC_1_SQRT_2;

    use super::*;
    use crate::world::Held;

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
        assert_eq!(camera.pitch_deg, 84.0);
        assert_eq!(camera.follow(&keys("i"))[0], Step::STILL);
        camera.follow(&keys("k ".repeat(50).trim()));
        assert_eq!(camera.pitch_deg, -84.0);
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
}
