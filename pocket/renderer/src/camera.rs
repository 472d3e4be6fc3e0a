//! Cameras: a full pose and pinhole intrinsics, in the axes of OpenCV.
//!
//! The world is x east, y north, z up, in metres; a camera is x right, y down, z forward. A pose takes camera
//! coordinates to the world's.

use anyhow::{Result, ensure};

/// `world_from_camera`, row-major 4×4: the columns are right, down, forward and the position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose(pub [[f64; 4]; 4]);

impl Pose {
    /// Level with the horizon. `yaw` turns from east to north, `pitch` looks up; radians.
    pub fn looking(position: [f64; 3], yaw: f64, pitch: f64) -> Pose {
        let (sy, cy) = (libm::sin(yaw), libm::cos(yaw));
        let (sp, cp) = (libm::sin(pitch), libm::cos(pitch));
        let [x, y, z] = position;
        Pose([[sy, cy * sp, cy * cp, x], [-cy, sy * sp, sy * cp, y], [0.0, -cp, sp, z], [0.0, 0.0, 0.0, 1.0]])
    }

    pub fn position(&self) -> [f64; 3] {
        [self.0[0][3], self.0[1][3], self.0[2][3]]
    }

    pub fn forward(&self) -> [f64; 3] {
        [self.0[0][2], self.0[1][2], self.0[2][2]]
    }

    /// The same camera `metres` higher.
    pub fn raised(mut self, metres: f64) -> Pose {
        self.0[2][3] += metres;
        self
    }

    /// Camera coordinates of a point of the world.
    pub fn camera_from_world(&self, point: [f64; 3]) -> [f64; 3] {
        let position = self.position();
        std::array::from_fn(|axis| (0..3).map(|row| self.0[row][axis] * (point[row] - position[row])).sum())
    }
}

/// Focal lengths and principal point, in pixels; pixel `(0, 0)` has its centre at `(0.5, 0.5)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Intrinsics {
    pub width: usize,
    pub height: usize,
    pub fx: f64,
    pub fy: f64,
    pub cx: f64,
    pub cy: f64,
}

/// The longest side a picture may have.
const MAX_SIDE: usize = 4096;

impl Intrinsics {
    /// Square pixels, centred, with this horizontal field of view.
    pub fn from_fov(width: usize, height: usize, fov_x_deg: f64) -> Result<Intrinsics> {
        for (side, value) in [("width", width), ("height", height)] {
            ensure!((1..=MAX_SIDE).contains(&value), "{side} is {value}, but must be 1 to {MAX_SIDE}");
        }
        ensure!((10.0..=150.0).contains(&fov_x_deg), "the field of view is {fov_x_deg}°, but must be 10 to 150");
        let focal = width as f64 / 2.0 / libm::tan(fov_x_deg.to_radians() / 2.0);
        Ok(Intrinsics { width, height, fx: focal, fy: focal, cx: width as f64 / 2.0, cy: height as f64 / 2.0 })
    }

    /// Where a point in camera coordinates appears, in pixels; `None` behind the camera.
    pub fn project(&self, point: [f64; 3]) -> Option<[f64; 2]> {
        let [x, y, z] = point;
        (z > 1e-9).then(|| [self.fx * x / z + self.cx, self.fy * y / z + self.cy])
    }

    /// `fx, fy, cx, cy`.
    pub fn to_array(&self) -> [f64; 4] {
        [self.fx, self.fy, self.cx, self.cy]
    }
}
