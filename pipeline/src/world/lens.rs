//! A camera's lens: which direction each pixel looks in.

use serde::{Deserialize, Serialize};

use super::Size;

/// A pinhole camera without distortion, in pixels of the video as it is drawn. The centre of the top left pixel is at
/// (0.5, 0.5).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "[f64; 4]", into = "[f64; 4]")]
pub struct Intrinsics {
    /// Focal length across.
    fx: f64,
    /// Focal length down.
    fy: f64,
    /// Where the optical axis meets the picture, from its left edge.
    cx: f64,
    /// Where the optical axis meets the picture, from its top edge.
    cy: f64,
}

/// Focal lengths in pixels: from a whole half space to a telescope.
const FOCAL: std::ops::RangeInclusive<f64> = 1.0..=1e6;
/// The optical axis may miss the picture, as in a part of a larger one, by some widths of the largest.
const CENTRE_MAX: f64 = 1e5;
/// Degrees of a field of view.
pub const FOV_DEG: std::ops::RangeInclusive<f64> = 1.0..=179.0;

impl TryFrom<[f64; 4]> for Intrinsics {
    type Error = String;

    fn try_from([fx, fy, cx, cy]: [f64; 4]) -> Result<Intrinsics, String> {
        Intrinsics::new(fx, fy, cx, cy)
    }
}

impl From<Intrinsics> for [f64; 4] {
    fn from(lens: Intrinsics) -> [f64; 4] {
        lens.numbers()
    }
}

impl Intrinsics {
    /// `Err` says which number is wrong and what is allowed.
    pub fn new(fx: f64, fy: f64, cx: f64, cy: f64) -> Result<Intrinsics, String> {
        for (name, focal) in [("fx", fx), ("fy", fy)] {
            if !FOCAL.contains(&focal) {
                return Err(format!("{name} is {focal}: {} to {} pixels are allowed", FOCAL.start(), FOCAL.end()));
            }
        }
        for (name, centre) in [("cx", cx), ("cy", cy)] {
            if !(-CENTRE_MAX..=CENTRE_MAX).contains(&centre) {
                return Err(format!("{name} is {centre}: −{CENTRE_MAX} to {CENTRE_MAX} pixels are allowed"));
            }
        }
        // A zero without a sign: equal lenses have equal bytes.
        Ok(Intrinsics { fx, fy, cx: cx + 0.0, cy: cy + 0.0 })
    }

    /// Square pixels, the axis through the middle, and this horizontal field of view in a video of `size`. `Err` says
    /// what is allowed.
    pub fn of_field_of_view(degrees: f64, size: Size) -> Result<Intrinsics, String> {
        if !FOV_DEG.contains(&degrees) {
            return Err(format!("is {degrees}: {} to {} degrees are allowed", FOV_DEG.start(), FOV_DEG.end()));
        }
        let focal = f64::from(size.width) / 2.0 / (degrees.to_radians() / 2.0).tan();
        Ok(Intrinsics::centred(focal, size))
    }

    /// Square pixels and the axis through the middle. `focal`: in pixels.
    pub fn centred(focal: f64, size: Size) -> Intrinsics {
        Intrinsics { fx: focal, fy: focal, cx: f64::from(size.width) / 2.0, cy: f64::from(size.height) / 2.0 }
    }

    /// `fx fy cx cy`.
    pub fn numbers(&self) -> [f64; 4] {
        [self.fx, self.fy, self.cx, self.cy]
    }

    /// The lens `part` of the way from this to `to`, each number by itself.
    pub fn toward(&self, to: &Intrinsics, part: f64) -> Intrinsics {
        let between = |a: f64, b: f64| a + part * (b - a);
        Intrinsics {
            fx: between(self.fx, to.fx),
            fy: between(self.fy, to.fy),
            cx: between(self.cx, to.cx),
            cy: between(self.cy, to.cy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lens_is_four_numbers_within_bounds_or_a_field_of_view() {
        let size = Size { width: 200, height: 100 };
        let [fx, fy, cx, cy] = Intrinsics::of_field_of_view(90.0, size).expect("a lens").numbers();
        assert!((fx - 100.0).abs() < 1e-9 && fx == fy && (cx, cy) == (100.0, 50.0));
        let check = |numbers: [f64; 4], said: &str| {
            let [fx, fy, cx, cy] = numbers;
            let reason = Intrinsics::new(fx, fy, cx, cy).expect_err("no lens");
            assert!(reason.starts_with(said), "{reason}");
        };
        check([0.0, 500.0, 1.0, 1.0], "fx is 0:");
        check([500.0, f64::NAN, 1.0, 1.0], "fy is NaN:");
        check([500.0, 500.0, f64::NEG_INFINITY, 1.0], "cx is -inf:");
        check([500.0, 500.0, 0.0, 2e5], "cy is 200000:");
        for degrees in [0.5, 180.0, f64::NAN] {
            assert!(Intrinsics::of_field_of_view(degrees, size).is_err());
        }
    }

    #[test]
    fn between_two_lenses_each_number_goes_evenly() {
        let [a, b] = [(100.0, 200.0, 0.0, 10.0), (200.0, 100.0, 4.0, 10.0)];
        let [a, b] = [a, b].map(|(fx, fy, cx, cy)| Intrinsics::new(fx, fy, cx, cy).expect("a lens"));
        assert_eq!(a.toward(&b, 0.25).numbers(), [125.0, 175.0, 1.0, 10.0]);
        assert_eq!((a.toward(&b, 0.0), a.toward(&b, 1.0)), (a, b));
    }
}
