//! Three floats: a point, a direction or a linear colour, and the few functions the renderer computes with.
//!
//! Nothing here calls the platform's maths library: IEEE arithmetic and the polynomials below give the same bits
//! on every machine, which is what lets a test pin a frame's hash.

use std::ops::{Add, AddAssign, Mul, Sub};

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct V3 {
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) z: f32,
}

pub(crate) const fn v3(x: f32, y: f32, z: f32) -> V3 {
    V3 { x, y, z }
}

impl V3 {
    pub(crate) fn dot(self, o: V3) -> f32 {
        self.x * o.x + self.y * o.y + self.z * o.z
    }

    pub(crate) fn unit(self) -> V3 {
        self * (1.0 / self.dot(self).sqrt().max(1e-9))
    }

    /// Channel by channel: a surface's colour under a light.
    pub(crate) fn tint(self, o: V3) -> V3 {
        v3(self.x * o.x, self.y * o.y, self.z * o.z)
    }

    /// `self` where `k` is 0, `o` where it is 1.
    pub(crate) fn mix(self, o: V3, k: f32) -> V3 {
        self + (o - self) * k
    }
}

impl Add for V3 {
    type Output = V3;
    fn add(self, o: V3) -> V3 {
        v3(self.x + o.x, self.y + o.y, self.z + o.z)
    }
}

impl AddAssign for V3 {
    fn add_assign(&mut self, o: V3) {
        *self = *self + o;
    }
}

impl Sub for V3 {
    type Output = V3;
    fn sub(self, o: V3) -> V3 {
        v3(self.x - o.x, self.y - o.y, self.z - o.z)
    }
}

impl Mul<f32> for V3 {
    type Output = V3;
    fn mul(self, k: f32) -> V3 {
        v3(self.x * k, self.y * k, self.z * k)
    }
}

/// Linear colour of a `0xRRGGBB` picked by eye.
pub(crate) fn rgb(hex: u32) -> V3 {
    let channel = |shift: u32| libm::powf(((hex >> shift) & 255) as f32 / 255.0, 2.2);
    v3(channel(16), channel(8), channel(0))
}

/// `e^-x` for `x` of 0 and more, to 4e-5: fog and gradients need no better, and it is called for every pixel.
pub(crate) fn decay(x: f32) -> f32 {
    let y = (x * std::f32::consts::LOG2_E).min(120.0);
    let whole = y as i32;
    let f = y - whole as f32;
    let mantissa = 1.0 - f * (0.693_02 - f * (0.239_3 - f * (0.053_7 - f * 0.007_42)));
    f32::from_bits(((127 - whole) as u32) << 23) * mantissa
}

/// `x^(2^n)` for glows: repeated squaring instead of a power function.
pub(crate) fn squared(mut x: f32, n: u32) -> f32 {
    for _ in 0..n {
        x *= x;
    }
    x
}

/// Turns (0..1) of the direction `(x, y)` counted from +x towards +y.
pub(crate) fn turns(x: f32, y: f32) -> f32 {
    let (a, b) = (x.abs(), y.abs());
    let r = a.min(b) / a.max(b).max(1e-12);
    let q = r * r;
    let atan = r * (0.999_866 - q * (0.330_299_5 - q * (0.180_141 - q * (0.085_133 - q * 0.020_835_1))));
    let eighth = atan * (0.5 / std::f32::consts::PI);
    let quarter = if b > a { 0.25 - eighth } else { eighth };
    let half = if x < 0.0 { 0.5 - quarter } else { quarter };
    if y < 0.0 { 1.0 - half } else { half }
}

pub(crate) fn smooth(lo: f32, hi: f32, x: f32) -> f32 {
    let t = ((x - lo) / (hi - lo)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}
