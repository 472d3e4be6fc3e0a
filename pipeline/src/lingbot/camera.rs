//! The camera: controls become its motion, and the motion becomes the rays that steer the transformer.
//!
//! The model is told how the camera moved since the previous latent frame, in the axes that it had then. While keys and
//! rates steer, this motion depends on them and on the camera's pitch, and on nothing else: no position is subtracted,
//! so a video of any length loses no precision. Where the camera stands is kept beside that, for a client that gives
//! poses: the motion is then what leads from there to the pose. The very first latent frame counts as at rest: there is
//! no frame before it to move from.
//!
//! Axes are OpenCV's: x right, y down, z forward. All is computed in f64; rays are rounded to f32 once.

mod packed;
mod view;

use ops::{Device, Result, Tensor, threads};

pub use self::view::View;
use super::recipe::{CameraConfig, Rays, Translation};
use crate::world::{Controls, Intrinsics, Pose, Rotation, Size};

/// The camera of one video: what its next step depends on.
#[derive(Clone)]
pub struct CameraPath {
    config: CameraConfig,
    size: Size,
    /// The world's own lens.
    lens: Intrinsics,
    device: Device,
    /// In the axes that the camera had when the video began.
    position: [f64; 3],
    attitude: Attitude,
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
pub type Matrix = Rotation;

/// How a camera is turned.
#[derive(Clone)]
enum Attitude {
    /// As keys and rates turn a camera that began level: `Ry(yaw)·Rx(pitch)`. Positive looks right, and up.
    Level { yaw_deg: f64, pitch_deg: f64 },
    /// As a pose said, or from one on.
    Free(Pose),
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
        let lens = match config.fov_x_deg {
            Some(fov) => {
                Intrinsics::of_field_of_view(fov, size).expect("a recipe's field of view is in the same range")
            }
            None => Intrinsics::centred(DEFAULT_FOCAL, size),
        };
        let unit = match config.translation {
            Translation::Fixed => config.translation_scale,
            Translation::RunningMax => 0.0,
        };
        CameraPath {
            config: config.clone(),
            size,
            lens,
            device: device.clone(),
            position: [0.0; 3],
            attitude: Attitude::Level { yaw_deg: 0.0, pitch_deg: 0.0 },
            unit,
            starts: true,
        }
    }

    /// Move on by a chunk, with one value of `controls` for each latent frame. Gives the rays that the transformer
    /// reads: `(384, F, h, w)`, where channel `64c + 8·(y mod 8) + x mod 8` at `(y / 8, x / 8)` is component `c` of
    /// pixel `(x, y)`'s ray.
    pub fn advance(&mut self, controls: &[Controls]) -> Result<Tensor> {
        let steps = self.follow(controls);
        let lenses: Vec<_> = controls.iter().map(|controls| controls.intrinsics().unwrap_or(self.lens)).collect();
        self.rays(&steps, &lenses)
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

    /// Where the camera stands.
    pub fn pose(&self) -> Pose {
        match self.attitude {
            Attitude::Level { .. } => Pose::of(&self.orientation(), self.position),
            Attitude::Free(pose) => pose,
        }
    }

    /// Out of the camera's axes into those of the video's beginning.
    fn orientation(&self) -> Matrix {
        match &self.attitude {
            Attitude::Level { yaw_deg, pitch_deg } => product(about_y(*yaw_deg), about_x(*pitch_deg)),
            Attitude::Free(pose) => pose.world_from_camera(),
        }
    }

    /// Move on by one latent frame that is steered by `controls`. The step is in the configuration's units, not scaled.
    pub fn step(&mut self, controls: &Controls) -> Step {
        if let Some(way) = controls.way() {
            let here = self.pose();
            let there = way.from(&here);
            return if there == here { Step::STILL } else { self.go_to(there) };
        }
        match self.attitude {
            Attitude::Level { yaw_deg, pitch_deg } => self.walk_level(yaw_deg, pitch_deg, controls.motion()),
            Attitude::Free(pose) => self.walk_free(pose.world_from_camera(), controls.motion()),
        }
    }

    /// Yaw turns about the world's vertical and pitch about the camera's right, so a camera that began level always has
    /// the orientation `Ry(yaw)·Rx(pitch)`. The rotation from one orientation to the next is
    /// `Rx(−pitch)·Ry(turn)·Rx(pitch′)`: the yaw itself cancels.
    fn walk_level(&mut self, yaw: f64, before: f64, [ahead, aside, turning, looking]: [f64; 4]) -> Step {
        let after = before + self.config.pitch_deg_per_latent * looking;
        let pitch = if after.abs() <= PITCH_MAX_DEG { after } else { before };
        let turn = self.config.yaw_deg_per_latent * turning;

        // Steps along the camera's level directions after its turn. The reference divides each direction by its length
        // plus a small number, which shortens the steps a little.
        let level = pitch.to_radians().cos();
        let forward = ahead * self.config.move_per_latent * level / (level + LENGTH_EPS);
        let right = aside * self.config.move_per_latent / (1.0 + LENGTH_EPS);

        // Without a turn both pitches are about the same axis, and their difference is exact: a camera at rest gets
        // exactly the identity, which a product of matrices would not give.
        let rotation = match turn == 0.0 {
            true => about_x(pitch - before),
            false => product(about_x(-before), product(about_y(turn), about_x(pitch))),
        };
        let translation = rotate(product(about_x(-before), about_y(turn)), [right, 0.0, forward]);
        // Whole turns are dropped, so that a camera that always turns the same way stays exact.
        let yaw_deg = (yaw + turn) % 360.0;
        self.position = sum(self.position, rotate(about_y(yaw_deg), [right, 0.0, forward]));
        self.attitude = Attitude::Level { yaw_deg, pitch_deg: pitch };
        Step { rotation, translation }
    }

    /// The same for a camera that is turned in any way, as the reference computes it.
    fn walk_free(&mut self, rotation: Matrix, [ahead, aside, turning, looking]: [f64; 4]) -> Step {
        if [ahead, aside, turning, looking] == [0.0; 4] {
            return Step::STILL;
        }
        let before = (-rotation[1][2]).clamp(-1.0, 1.0).asin().to_degrees();
        let mut look = self.config.pitch_deg_per_latent * looking;
        // A pose may look further than keys: from there they lead back, and no further.
        if (before + look).abs() > PITCH_MAX_DEG.max(before.abs()) {
            look = 0.0;
        }
        let turn = self.config.yaw_deg_per_latent * turning;
        let after = product(about_y(turn), product(rotation, about_x(look)));
        let level = |column: usize| {
            let [x, z] = [after[0][column], after[2][column]];
            let length = (x * x + z * z).sqrt() + LENGTH_EPS;
            [x / length, 0.0, z / length]
        };
        let (forward, right) = (level(2), level(0));
        let step = self.config.move_per_latent;
        let moved = [0, 1, 2].map(|i| step * (ahead * forward[i] + aside * right[i]));
        self.go_to(Pose::of(&after, sum(self.position, moved)))
    }

    /// Stand there. The step is what leads there, in the axes of before.
    fn go_to(&mut self, pose: Pose) -> Step {
        let back = transposed(self.orientation());
        let way = [0, 1, 2].map(|i| pose.position()[i] - self.position[i]);
        (self.attitude, self.position) = (Attitude::Free(pose), pose.position());
        Step { rotation: product(back, pose.world_from_camera()), translation: rotate(back, way) }
    }

    /// `lenses`: one for each step.
    fn rays(&self, steps: &[Step], lenses: &[Intrinsics]) -> Result<Tensor> {
        let size = self.size;
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
        let one_place_of_each_cell = x.chunks_mut(planes).zip(y.chunks_mut(planes)).zip(z.chunks_mut(planes));
        threads::for_each(one_place_of_each_cell, 1, |place, ((x, y), z)| {
            for (i, (m, lens)) in matrices.iter().zip(lenses).enumerate() {
                let [fx, fy, cx, cy] = lens.numbers();
                let across = |cell: usize| ((cell * CELL + place % CELL) as f64 + 0.5 - cx) / fx;
                let down = |cell: usize| ((cell * CELL + place / CELL) as f64 + 0.5 - cy) / fy;
                let columns: Vec<f64> = (0..w).map(across).collect();
                for row in 0..h {
                    let v = down(row);
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

pub(super) fn transposed(m: Matrix) -> Matrix {
    [0, 1, 2].map(|i| [m[0][i], m[1][i], m[2][i]])
}

fn sum(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

pub(super) fn rotate(m: Matrix, v: [f64; 3]) -> [f64; 3] {
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
mod tests;
