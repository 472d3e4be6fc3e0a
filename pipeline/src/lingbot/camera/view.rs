//! What a latent frame is seen from.

use super::CameraPath;
use crate::world::{Controls, Intrinsics, Pose};

/// Where a camera stands and how it is turned, and its lens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// In the axes of the video's beginning, in the units of the world's camera.
    pub pose: Pose,
    /// In pixels of the video.
    pub lens: Intrinsics,
}

impl CameraPath {
    /// What each latent frame of the next chunk is seen from, if it is steered by `controls`.
    pub fn views(&self, controls: &[Controls]) -> Vec<View> {
        let mut path = self.clone();
        let view = |controls: &Controls| {
            path.step(controls);
            View { pose: path.pose(), lens: controls.intrinsics().unwrap_or(path.lens) }
        };
        controls.iter().map(view).collect()
    }
}

impl View {
    /// How far it is to another one, and by how many degrees the axes of the two cameras part.
    pub fn apart(&self, other: &View) -> (f64, f64) {
        let (here, there) = (self.pose.position(), other.pose.position());
        let metres = (0..3).map(|i| (here[i] - there[i]).powi(2)).sum::<f64>().sqrt();
        let (one, two) = (self.pose.world_from_camera(), other.pose.world_from_camera());
        let cosine: f64 = (0..3).map(|i| one[i][2] * two[i][2]).sum();
        // libm's functions give the same bits on every machine.
        (metres, libm::acos(cosine.clamp(-1.0, 1.0)).to_degrees())
    }

    /// The angle that a picture is wide, its axis in the middle.
    pub fn wide_degrees(&self) -> f64 {
        let [fx, _, cx, _] = self.lens.numbers();
        (2.0 * libm::atan(cx / fx)).to_degrees()
    }
}
