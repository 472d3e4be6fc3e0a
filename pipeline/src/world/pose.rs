//! Where a camera stands and how it is turned, and the way from one such place to another.
//!
//! Axes are OpenCV's: x right, y down, z forward. A client gives a pose as the matrix that takes a point of the world
//! into the camera's axes; what is kept is the opposite, the camera's place in the world, because places are what a way
//! leads through. The rotation is kept as a quaternion: it stays a rotation however often it is interpolated.

use serde::{Deserialize, Serialize};

/// Where a camera stands in the world and how it is turned. The world's axes are those of the camera when its video
/// began.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "[f64; 7]", into = "[f64; 7]")]
pub struct Pose {
    /// In the world, in the units of the world's camera.
    position: [f64; 3],
    /// `w x y z`, of length 1: takes a direction in the camera's axes into the world's.
    rotation: [f64; 4],
}

/// Three rows of three.
pub type Rotation = [[f64; 3]; 3];

/// Largest distance from the start along each axis, in the units of the world's camera. In f64 a step of a ten
/// thousandth is still exact to six digits there.
pub const POSITION_MAX: f64 = 1e6;

/// How far a client's rotation may be from orthonormal: the largest entry of `R·Rᵀ − 1`. Matrices in f32 that were
/// multiplied some thousand times stay within it; a scale or a shear of a thousandth does not.
pub const ORTHONORMAL_WITHIN: f64 = 1e-3;

/// A quaternion that was written down as f64 has length 1 within this.
const LENGTH_WITHIN: f64 = 1e-9;

/// Two quaternions whose directions differ by less are as good as one: the sine of the angle between them would be
/// divided by.
const SAME_DIRECTION: f64 = 1e-9;

impl TryFrom<[f64; 7]> for Pose {
    type Error = String;

    fn try_from([x, y, z, w, i, j, k]: [f64; 7]) -> Result<Pose, String> {
        Pose::new([x, y, z], [w, i, j, k])
    }
}

impl From<Pose> for [f64; 7] {
    fn from(pose: Pose) -> [f64; 7] {
        let ([x, y, z], [w, i, j, k]) = (pose.position, pose.rotation);
        [x, y, z, w, i, j, k]
    }
}

impl Pose {
    /// Where every video begins.
    pub const START: Pose = Pose { position: [0.0; 3], rotation: [1.0, 0.0, 0.0, 0.0] };

    /// From the matrix that takes points of the world into the camera's axes, row by row. `Err` says what is wrong and
    /// what is allowed. A rotation that is orthonormal within [`ORTHONORMAL_WITHIN`] is made exact.
    pub fn from_camera_from_world(rows: &[[f64; 4]; 4]) -> Result<Pose, String> {
        if rows.iter().flatten().any(|value| !value.is_finite()) {
            return Err("holds a number that is not finite: 4 rows of 4 finite numbers are allowed".to_owned());
        }
        let last = [rows[3][0], rows[3][1], rows[3][2], rows[3][3] - 1.0];
        if last.iter().any(|value| value.abs() > ORTHONORMAL_WITHIN) {
            return Err(format!("ends with the row {:?}: it must be 0 0 0 1", rows[3]));
        }
        let camera_from_world: Rotation = [0, 1, 2].map(|i| [rows[i][0], rows[i][1], rows[i][2]]);
        let off = off_orthonormal(&camera_from_world);
        if !(0.0..=ORTHONORMAL_WITHIN).contains(&off) {
            return Err(format!(
                "its rotation is off by {off:.2e}: R·Rᵀ must be the identity within {ORTHONORMAL_WITHIN}"
            ));
        }
        if determinant(&camera_from_world) < 0.0 {
            return Err("its rotation mirrors: the determinant must be 1, not −1".to_owned());
        }
        let rotation = quaternion(&transposed(&camera_from_world));
        let shift = [0, 1, 2].map(|i| rows[i][3]);
        let back = turned(rotation, shift);
        Pose::new(back.map(|x| 0.0 - x), rotation)
    }

    /// From the position in the world and the quaternion `w x y z` that takes the camera's axes into the world's. `Err`
    /// says what is wrong and what is allowed.
    pub fn new(position: [f64; 3], rotation: [f64; 4]) -> Result<Pose, String> {
        if !position.iter().all(|x| x.abs() <= POSITION_MAX) {
            return Err(format!(
                "puts the camera at {position:?}: at most {POSITION_MAX} from the start along each axis is allowed"
            ));
        }
        let length = length(rotation);
        if !(1.0 - LENGTH_WITHIN..=1.0 + LENGTH_WITHIN).contains(&length) {
            return Err(format!("its quaternion {rotation:?} is {length} long: it must be 1"));
        }
        // A zero without a sign: equal poses have equal bytes.
        Ok(Pose { position: position.map(|x| x + 0.0), rotation: rotation.map(|x| x + 0.0) })
    }

    /// A pose that was kept as its position and quaternion, number by number: it may have walked further than a client may
    /// send it.
    pub(crate) fn kept(numbers: [f64; 7]) -> Result<Pose, String> {
        let [x, y, z, w, i, j, k] = numbers;
        let rotation = [w, i, j, k];
        // Looser than for a client: it was turned many times since it was given.
        if !numbers.iter().all(|number| number.is_finite()) || (length(rotation) - 1.0).abs() > ORTHONORMAL_WITHIN {
            return Err(format!("{numbers:?} is no place and no quaternion of length 1"));
        }
        Ok(Pose { position: [x, y, z], rotation })
    }

    /// From a rotation that is known to be one, out of the camera's axes into the world's.
    pub fn of(world_from_camera: &Rotation, position: [f64; 3]) -> Pose {
        Pose { position, rotation: quaternion(world_from_camera) }
    }

    /// Where the camera is in the world.
    pub fn position(&self) -> [f64; 3] {
        self.position
    }

    /// `w x y z`: takes a direction in the camera's axes into the world's.
    pub fn quaternion(&self) -> [f64; 4] {
        self.rotation
    }

    /// Takes a direction in the camera's axes into the world's.
    pub fn world_from_camera(&self) -> Rotation {
        let [w, x, y, z] = self.rotation;
        [
            [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
            [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
            [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
        ]
    }

    /// The matrix that takes points of the world into the camera's axes, row by row: what a client gives.
    pub fn camera_from_world(&self) -> [[f64; 4]; 4] {
        let r = transposed(&self.world_from_camera());
        let [x, y, z] = self.position;
        let row = |i: usize| [r[i][0], r[i][1], r[i][2], -(r[i][0] * x + r[i][1] * y + r[i][2] * z)];
        [row(0), row(1), row(2), [0.0, 0.0, 0.0, 1.0]]
    }

    /// The place `part` of the way from here to `to`: the position on a straight line, the rotation by slerp
    /// (Shoemake, "Animating rotation with quaternion curves", 1985). 0 is here, 1 is there.
    pub fn toward(&self, to: &Pose, part: f64) -> Pose {
        if part >= 1.0 {
            return *to;
        }
        let position = [0, 1, 2].map(|i| self.position[i] + part * (to.position[i] - self.position[i]));
        let (from, mut end) = (self.rotation, to.rotation);
        let mut cosine: f64 = (0..4).map(|i| from[i] * end[i]).sum();
        // A quaternion and its negative are the same rotation: the shorter way is meant.
        if cosine < 0.0 {
            (cosine, end) = (-cosine, end.map(|x| -x));
        }
        let sine = length([0, 1, 2, 3].map(|i| end[i] - cosine * from[i]));
        let rotation = if sine < SAME_DIRECTION {
            end
        } else {
            // libm's functions give the same bits on every machine.
            let angle = libm::atan2(sine, cosine);
            let (a, b) = (libm::sin((1.0 - part) * angle) / sine, libm::sin(part * angle) / sine);
            [0, 1, 2, 3].map(|i| a * from[i] + b * end[i])
        };
        Pose { position, rotation: normalised(rotation) }
    }
}

fn length(q: [f64; 4]) -> f64 {
    q.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn normalised(q: [f64; 4]) -> [f64; 4] {
    let length = length(q);
    q.map(|x| x / length)
}

fn transposed(m: &Rotation) -> Rotation {
    [0, 1, 2].map(|i| [m[0][i], m[1][i], m[2][i]])
}

fn off_orthonormal(m: &Rotation) -> f64 {
    let product = |i: usize, j: usize| (0..3).map(|k| m[i][k] * m[j][k]).sum::<f64>();
    let off = (0..9).map(|at| (product(at / 3, at % 3) - f64::from(u8::from(at / 3 == at % 3))).abs());
    off.fold(0.0, f64::max)
}

fn determinant(m: &Rotation) -> f64 {
    let minor = |a: usize, b: usize| m[1][a] * m[2][b] - m[1][b] * m[2][a];
    m[0][0] * minor(1, 2) - m[0][1] * minor(0, 2) + m[0][2] * minor(0, 1)
}

/// The direction `v` in the axes that `q` takes it into.
fn turned(q: [f64; 4], v: [f64; 3]) -> [f64; 3] {
    let matrix = Pose { position: [0.0; 3], rotation: q }.world_from_camera();
    matrix.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
}

/// Of a rotation matrix, by its largest component, so that no small number is divided by (Shepperd, "Quaternion from
/// rotation matrix", 1978).
fn quaternion(m: &Rotation) -> [f64; 4] {
    let trace = m[0][0] + m[1][1] + m[2][2];
    let largest = [trace, m[0][0], m[1][1], m[2][2]].into_iter().fold(f64::MIN, f64::max);
    let q = if largest == trace {
        [1.0 + trace, m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]]
    } else if largest == m[0][0] {
        [m[2][1] - m[1][2], 1.0 + 2.0 * m[0][0] - trace, m[0][1] + m[1][0], m[0][2] + m[2][0]]
    } else if largest == m[1][1] {
        [m[0][2] - m[2][0], m[0][1] + m[1][0], 1.0 + 2.0 * m[1][1] - trace, m[1][2] + m[2][1]]
    } else {
        [m[1][0] - m[0][1], m[0][2] + m[2][0], m[1][2] + m[2][1], 1.0 + 2.0 * m[2][2] - trace]
    };
    normalised(q)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(axis: [f64; 3], degrees: f64) -> [f64; 4] {
        let (sin, cos) = (degrees.to_radians() / 2.0).sin_cos();
        [cos, axis[0] * sin, axis[1] * sin, axis[2] * sin]
    }

    fn close(found: &Pose, expected: &Pose, within: f64) {
        let off = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let (found_r, expected_r) = (found.world_from_camera(), expected.world_from_camera());
        let rotation = off(found_r.as_flattened(), expected_r.as_flattened());
        let position = off(&found.position, &expected.position);
        assert!(rotation <= within && position <= within, "{found:?} is not {expected:?}");
    }

    /// Turns about many axes by many angles, half turns among them.
    fn poses() -> Vec<Pose> {
        let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.6, 0.0, -0.8], [0.48, 0.6, 0.64]];
        let angles = [-179.0, -90.0, -4.0, 0.0, 1e-7, 6.0, 120.0, 180.0];
        let pairs = axes.iter().flat_map(|&axis| angles.map(|angle| (axis, angle)));
        pairs.map(|(axis, angle)| Pose::new([angle, -2.0, 1e3], about(axis, angle)).expect("a pose")).collect()
    }

    #[test]
    fn a_pose_comes_back_from_its_matrix() {
        for pose in poses() {
            let back = Pose::from_camera_from_world(&pose.camera_from_world()).expect("a pose");
            close(&back, &pose, 1e-10);
            close(&Pose::of(&pose.world_from_camera(), pose.position), &pose, 1e-12);
        }
        assert_eq!(Pose::from_camera_from_world(&Pose::START.camera_from_world()), Ok(Pose::START));
    }

    #[test]
    fn the_way_to_a_pose_is_straight_and_turns_evenly() {
        let from = Pose::new([0.0; 3], about([0.0, 1.0, 0.0], 10.0)).expect("a pose");
        let to = Pose::new([4.0, 0.0, -8.0], about([0.0, 1.0, 0.0], 90.0)).expect("a pose");
        for quarter in 0..=4 {
            let part = f64::from(quarter) / 4.0;
            let turned = about([0.0, 1.0, 0.0], 10.0 + 80.0 * part);
            close(&from.toward(&to, part), &Pose::new([4.0 * part, 0.0, -8.0 * part], turned).expect("a pose"), 1e-12);
        }
        // The shorter way, whatever the sign of the quaternion.
        let opposite = Pose { rotation: to.rotation.map(|x| -x), ..to };
        close(&from.toward(&opposite, 0.5), &from.toward(&to, 0.5), 1e-12);
        // The same path in steps, each a part of what is left.
        let mut here = from;
        for left in (1..=4).rev() {
            here = here.toward(&to, 1.0 / f64::from(left));
        }
        assert_eq!(here, to);
        for pose in poses() {
            assert_eq!(pose.toward(&pose, 1.0), pose);
            close(&pose.toward(&pose, 0.3), &pose, 1e-12);
        }
    }

    #[test]
    fn a_matrix_that_is_no_pose_is_refused_with_what_is_allowed() {
        let good = poses()[3].camera_from_world();
        let check = |row: usize, column: usize, value: f64, said: &str| {
            let mut rows = good;
            rows[row][column] = value;
            let reason = Pose::from_camera_from_world(&rows).expect_err("not a pose");
            assert!(reason.contains(said), "{reason}");
        };
        check(0, 0, f64::NAN, "finite");
        check(1, 3, f64::INFINITY, "finite");
        check(3, 0, 0.01, "0 0 0 1");
        check(3, 3, 2.0, "0 0 0 1");
        check(0, 0, 1.002, "identity within 0.001");
        check(0, 1, 1e300, "identity within 0.001");
        check(0, 3, 2e6, "at most 1000000");
        let mut mirrored = good;
        mirrored[2] = mirrored[2].map(|x| -x);
        assert!(Pose::from_camera_from_world(&mirrored).expect_err("a mirror").contains("mirrors"));
        // What f32 loses is allowed, and made exact.
        let rounded = poses()[20].camera_from_world().map(|row| row.map(|x| f64::from(x as f32)));
        let pose = Pose::from_camera_from_world(&rounded).expect("within the tolerance");
        assert!((length(pose.rotation) - 1.0).abs() < 1e-12);
        assert!(Pose::new([0.0; 3], [1.0, 1e-3, 0.0, 0.0]).is_err());
    }
}
