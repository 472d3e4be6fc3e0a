//! The quantiser of a film: how coarse its pictures are, from [`MIN`] to [`MAX`].

use pipeline::world::Size;

/// The finest: OpenH264 takes smaller ones as this.
pub const MIN: u8 = 12;

/// The coarsest that H.264 has.
pub const MAX: u8 = 51;

/// The quantiser for a quality from 1 to 100: the number that imageio-ffmpeg (`_io.py`) gives to x264 for a tenth of it, but
/// at least [`MIN`].
pub fn of_quality(quality: u8) -> u8 {
    let quality = u32::from(quality).clamp(10, 100);
    ((100 - quality) * u32::from(MAX) / 100).max(u32::from(MIN)) as u8
}

/// The quality of a film of which nothing is said. Small pictures get the finest quantiser: every fault of theirs is seen,
/// and a second of 96x64 takes 9 kB.
pub fn default_quality(size: Size) -> u8 {
    const SMALL_PIXELS: u64 = 100_000;
    if size.pixels() < SMALL_PIXELS { 75 } else { 50 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_better_quality_is_a_smaller_quantiser_down_to_the_smallest() {
        // 35, 50, 55, 90 and 100 are low, medium, high and maximum; their quantisers were computed by hand.
        for (quality, expected) in [(1, 45), (10, 45), (35, 33), (50, 25), (55, 22), (75, 12), (90, 12), (100, 12)] {
            assert_eq!(of_quality(quality), expected, "quality {quality}");
        }
    }
}
