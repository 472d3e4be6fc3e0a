//! The three solids that all things are built of, and the intersection of a ray with each.
//!
//! They are exact, so there is no mesh; `sides` only bends normals into facets, which is what makes them look
//! low-poly, while silhouettes stay smooth.

use crate::palette::Material;
use crate::vector::{V3, turns, v3};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    /// A cylinder, cone or anything between: radius at the foot and at the top.
    Frustum { foot: f32, top: f32 },
    /// An ellipsoid of this radius, as tall as the part.
    Ball { radius: f32 },
    /// A box whose half sides shrink from foot to top: also roofs and pyramids. `turn` is its rotation's (cos, sin).
    Block { foot: [f32; 2], top: [f32; 2], turn: [f32; 2] },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) shape: Shape,
    pub(crate) material: Material,
    /// Facets around; 0 is smooth.
    pub(crate) sides: u8,
    /// Brightness of this one, about 1.
    pub(crate) tint: f32,
    /// Middle of the footprint, from the region's corner.
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) z0: f32,
    pub(crate) z1: f32,
    /// Which thing of the region this belongs to.
    pub(crate) owner: u32,
}

impl Part {
    /// Radius of a circle that holds the footprint.
    pub(crate) fn reach(&self) -> f32 {
        match self.shape {
            Shape::Frustum { foot, top } => foot.max(top),
            Shape::Ball { radius } => radius,
            Shape::Block { foot, top, .. } => {
                let (a, b) = (foot[0].max(top[0]), foot[1].max(top[1]));
                (a * a + b * b).sqrt()
            }
        }
    }

    /// Whether a place is inside the part grown by `margin` on every side.
    pub(crate) fn holds(&self, p: V3, margin: f32) -> bool {
        if p.z < self.z0 - margin || p.z > self.z1 + margin {
            return false;
        }
        let (x, y) = (p.x - self.x, p.y - self.y);
        let k = ((p.z - self.z0) / (self.z1 - self.z0)).clamp(0.0, 1.0);
        match self.shape {
            Shape::Frustum { foot, top } => (x * x + y * y).sqrt() < foot + (top - foot) * k + margin,
            Shape::Ball { radius } => {
                let level = (p.z - 0.5 * (self.z0 + self.z1)) / (0.5 * (self.z1 - self.z0) + margin);
                let r = radius + margin;
                (x * x + y * y) / (r * r) + level * level < 1.0
            }
            Shape::Block { foot, top, turn: [c, s] } => {
                let (u, v) = (x * c + y * s, y * c - x * s);
                u.abs() < foot[0] + (top[0] - foot[0]) * k + margin
                    && v.abs() < foot[1] + (top[1] - foot[1]) * k + margin
            }
        }
    }

    /// Where the ray `o + t d` enters, and the normal there; only entries with `near < t < far` count.
    #[inline]
    pub(crate) fn meet(&self, o: V3, d: V3, near: f32, far: f32) -> Option<(f32, V3)> {
        let local = v3(o.x - self.x, o.y - self.y, o.z);
        match self.shape {
            Shape::Frustum { foot, top } => self.meet_frustum(foot, top, local, d, near, far),
            Shape::Ball { radius } => self.meet_ball(radius, local, d, near, far),
            Shape::Block { foot, top, turn } => self.meet_block(foot, top, turn, local, d, near, far),
        }
    }

    #[inline]
    fn meet_frustum(&self, foot: f32, top: f32, o: V3, d: V3, near: f32, far: f32) -> Option<(f32, V3)> {
        // Radius at height z is foot + k (z - z0).
        let k = (top - foot) / (self.z1 - self.z0);
        let r = foot + k * (o.z - self.z0);
        let a = d.x * d.x + d.y * d.y - k * k * d.z * d.z;
        let b = o.x * d.x + o.y * d.y - k * r * d.z;
        let c = o.x * o.x + o.y * o.y - r * r;
        let discriminant = b * b - a * c;
        let mut best = far;
        let mut normal = None;
        if discriminant > 0.0 && a.abs() > 1e-9 {
            let root = discriminant.sqrt();
            let inverse = 1.0 / a;
            for t in [(-b - root) * inverse, (-b + root) * inverse] {
                let z = o.z + d.z * t;
                if t > near && t < best && z >= self.z0 && z <= self.z1 {
                    best = t;
                    let (x, y) = self.facet(o.x + d.x * t, o.y + d.y * t);
                    normal = Some(v3(x, y, -k).unit());
                }
            }
        }
        // The cap that faces the ray.
        let (level, radius, up) = if d.z < 0.0 { (self.z1, top, 1.0) } else { (self.z0, foot, -1.0) };
        if radius > 0.0 && d.z != 0.0 {
            let t = (level - o.z) / d.z;
            let (x, y) = (o.x + d.x * t, o.y + d.y * t);
            if t > near && t < best && x * x + y * y < radius * radius {
                return Some((t, v3(0.0, 0.0, up)));
            }
        }
        normal.map(|n| (best, n))
    }

    /// The unit vector of `(x, y)`, turned to the middle of its facet.
    #[inline]
    fn facet(&self, x: f32, y: f32) -> (f32, f32) {
        if self.sides == 0 {
            let k = 1.0 / (x * x + y * y).sqrt().max(1e-9);
            return (x * k, y * k);
        }
        let sides = f32::from(self.sides);
        let middle = ((turns(x, y) * sides + self.tint * 7.0).floor() + 0.5 - self.tint * 7.0) / sides;
        unit_circle(middle)
    }

    #[inline]
    fn meet_ball(&self, radius: f32, o: V3, d: V3, near: f32, far: f32) -> Option<(f32, V3)> {
        let middle = 0.5 * (self.z0 + self.z1);
        let squash = radius / (0.5 * (self.z1 - self.z0));
        let (oz, dz) = ((o.z - middle) * squash, d.z * squash);
        let a = d.x * d.x + d.y * d.y + dz * dz;
        let b = o.x * d.x + o.y * d.y + oz * dz;
        let c = o.x * o.x + o.y * o.y + oz * oz - radius * radius;
        let discriminant = b * b - a * c;
        if discriminant <= 0.0 {
            return None;
        }
        let t = (-b - discriminant.sqrt()) / a;
        if t <= near || t >= far {
            return None;
        }
        let mut n = v3(o.x + d.x * t, o.y + d.y * t, oz + dz * t) * (1.0 / radius);
        if self.sides > 0 {
            // Snapped to a lattice of directions: planes cut the ball into facets.
            let k = f32::from(self.sides) * 0.3;
            let shift = self.tint * 5.0;
            let snap = |v: f32| ((v * k + shift).floor() + 0.5 - shift) / k;
            n = n.mix(v3(snap(n.x), snap(n.y), snap(n.z)), 0.8);
        }
        Some((t, v3(n.x, n.y, n.z * squash).unit()))
    }

    #[inline]
    #[allow(clippy::too_many_arguments, reason = "a box has two sizes and a rotation")]
    fn meet_block(
        &self,
        foot: [f32; 2],
        top: [f32; 2],
        [c, s]: [f32; 2],
        o: V3,
        d: V3,
        near: f32,
        far: f32,
    ) -> Option<(f32, V3)> {
        let o = v3(o.x * c + o.y * s, o.y * c - o.x * s, o.z);
        let d = v3(d.x * c + d.y * s, d.y * c - d.x * s, d.z);
        let height = self.z1 - self.z0;
        let (mut enter, mut leave) = (near, far);
        let mut normal = V3::default();
        // Half-spaces n·p <= w: clip the ray by each.
        let mut clip = |n: V3, w: f32| {
            let (speed, start) = (n.dot(d), w - n.dot(o));
            if speed == 0.0 {
                return start >= 0.0;
            }
            let t = start / speed;
            if speed < 0.0 {
                if t > enter {
                    enter = t;
                    normal = n;
                }
            } else {
                leave = leave.min(t);
            }
            enter < leave
        };
        let (ka, kb) = ((foot[0] - top[0]) / height, (foot[1] - top[1]) / height);
        let hit = clip(v3(0.0, 0.0, 1.0), self.z1)
            && clip(v3(0.0, 0.0, -1.0), -self.z0)
            && clip(v3(1.0, 0.0, ka), foot[0] + ka * self.z0)
            && clip(v3(-1.0, 0.0, ka), foot[0] + ka * self.z0)
            && clip(v3(0.0, 1.0, kb), foot[1] + kb * self.z0)
            && clip(v3(0.0, -1.0, kb), foot[1] + kb * self.z0);
        if !hit || normal == V3::default() {
            return None;
        }
        let n = normal.unit();
        Some((enter, v3(n.x * c - n.y * s, n.x * s + n.y * c, n.z)))
    }
}

/// `(cos, sin)` of an angle in turns.
pub(crate) fn unit_circle(turns: f32) -> (f32, f32) {
    let angle = turns * std::f32::consts::TAU;
    (libm::cosf(angle), libm::sinf(angle))
}
