//! Numbers as bytes: a scale for each row, of a weight or of activations, and what its numbers are then.

use crate::cpu::simd::dispatched;

/// Weights of one 32-bit word.
pub(super) const QUAD: usize = 4;

/// The order of a word's weights: the byte of each of four neighbours. Shifted into 16 bits, bytes 0 and 2 become one pair, and bytes 1
/// and 3 the next: so pairs are neighbours.
pub(super) const BYTE_OF: [usize; QUAD] = [0, 2, 1, 3];

/// The largest byte: −128 is not used, so that both signs reach equally far.
const LARGEST: f32 = 127.0;

/// What makes a byte without a sign of one with a sign.
const OFFSET: i32 = 128;

/// More inputs than that could overflow a sum of 32 bits: 255 · 127 each.
pub(super) const INPUTS_MAX: usize = (i32::MAX / (255 * 127)) as usize;

/// What a byte of these numbers stands for, and what they are divided by to become bytes. Zero where all are (nearly) zero,
/// NaN where one is not finite.
pub(super) fn scale(x: &[f32]) -> f32 {
    let largest = largest(x);
    if largest < f32::MIN_POSITIVE * LARGEST { 0.0 } else { largest / LARGEST }
}

dispatched!(
    /// The largest size of a number. NaN where one is not finite.
    fn largest(x: &[f32]) -> f32 = largest_lanes
);

#[inline(always)]
fn largest_lanes<const FMA: bool>(x: &[f32]) -> f32 {
    const SIZE: u32 = 0x7fff_ffff;
    // As integers: the bits of sizes are in their order, those that are not finite above all others.
    let largest = x.iter().fold(0, |largest, x| (x.to_bits() & SIZE).max(largest));
    let largest = f32::from_bits(largest);
    if largest.is_finite() { largest } else { f32::NAN }
}

/// The nearest whole number, ties to even, of one whose size is far below 2²². Anything else gives a byte all the same: its row's
/// scale is NaN.
#[inline(always)]
fn nearest(value: f32) -> i32 {
    const ROUND: f32 = 12_582_912.0;
    // The lowest bits of a sum near 1.5·2²³ are the whole number.
    ((value + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32)
}

/// How often `scale` goes into one.
#[inline(always)]
pub(super) fn inverse(scale: f32) -> f32 {
    if scale > 0.0 { 1.0 / scale } else { 0.0 }
}

/// One row of a weight as bytes, and its scale.
pub(super) fn bytes(weights: &[f32], bytes: &mut [i8]) -> f32 {
    let scale = scale(weights);
    let inverse = inverse(scale);
    for (byte, weight) in bytes.iter_mut().zip(weights) {
        *byte = nearest(weight * inverse) as i8;
    }
    scale
}

dispatched!(
    /// Four neighbours a word in the order of [`BYTE_OF`], each with [`OFFSET`] added.
    pub(super) fn without_sign(x: &[f32], inverse: f32, words: &mut [u32]) = without_sign_lanes
);

#[inline(always)]
fn without_sign_lanes<const FMA: bool>(x: &[f32], inverse: f32, words: &mut [u32]) {
    let byte = |x: f32| ((nearest(x * inverse) + OFFSET) as u32) & 0xff;
    let (quads, rest) = x.as_chunks::<QUAD>();
    for (word, [a, b, c, d]) in words.iter_mut().zip(quads) {
        *word = byte(*a) | byte(*c) << 8 | byte(*b) << 16 | byte(*d) << 24;
    }
    if let Some(word) = words.get_mut(quads.len()) {
        // What stands past the last input meets weights that are zero.
        *word = rest.iter().zip(BYTE_OF).fold(0, |word, (x, at)| word | byte(*x) << (8 * at));
    }
}

/// Two words for four neighbours: numbers of 16 bits as they follow each other.
#[inline(always)]
pub(super) fn in_16_bits(x: &[f32], inverse: f32, words: &mut [u32]) {
    let half = |x: f32| nearest(x * inverse) as u32 & 0xffff;
    let (pairs, rest) = x.as_chunks::<2>();
    for (word, [low, high]) in words.iter_mut().zip(pairs) {
        *word = half(*low) | half(*high) << 16;
    }
    if let ([last], Some(word)) = (rest, words.get_mut(pairs.len())) {
        *word = half(*last);
    }
}

/// What has to be taken away of a sum over these weights.
pub(super) fn correction(weights: impl Iterator<Item = i8>) -> i32 {
    OFFSET * weights.map(i32::from).sum::<i32>()
}
