//! Weights for comparisons with other programs.

/// Numbers that look random and are the same in every language, between −1.7 and 1.7 times `size`: multiples of an odd
/// number, cut to 23 bits.
pub fn wave(name: &str, count: usize, size: f64) -> Vec<f32> {
    let seed = name.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let value = |i: usize| {
        let mixed = (i as u32).wrapping_add(seed).wrapping_mul(2_654_435_761);
        let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(2_246_822_519) >> 9;
        ((f64::from(mixed) / f64::from(1u32 << 22) - 1.0) * 1.7 * size) as f32
    };
    (0..count).map(value).collect()
}
