//! Softmax of one row.

use super::simd::{LANES, dispatched, exp};

dispatched!(
    /// `x → eˣ / Σ eˣ`, in place.
    pub(crate) fn softmax(row: &mut [f32]) = softmax_lanes
);

#[inline(always)]
fn softmax_lanes<const FMA: bool>(row: &mut [f32]) {
    let scale = 1.0 / softmax_terms::<FMA>(row);
    row.iter_mut().for_each(|x| *x *= scale);
}

/// `x → eˣ⁻ᵐᵃˣ` in place; the sum of the results.
#[inline(always)]
pub(crate) fn softmax_terms<const FMA: bool>(row: &mut [f32]) -> f32 {
    let mut largest = f32::NEG_INFINITY;
    running_softmax_terms::<FMA>(row, &mut largest)
}

/// As [`softmax_terms`] of a row that goes on: `running` is the maximum of what came before, and then of this part too.
#[inline(always)]
pub(crate) fn running_softmax_terms<const FMA: bool>(row: &mut [f32], running: &mut f32) -> f32 {
    // Lanes side by side: a single running maximum or sum could not become a vector.
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    let mut largest = [f32::NEG_INFINITY; LANES];
    for chunk in chunks.iter() {
        for i in 0..LANES {
            largest[i] = if chunk[i] > largest[i] { chunk[i] } else { largest[i] };
        }
    }
    let largest = largest.iter().chain(rest.iter()).fold(*running, |a, &b| a.max(b));
    *running = largest;
    let mut sums = [0f32; LANES];
    for chunk in chunks.iter_mut() {
        for i in 0..LANES {
            chunk[i] = exp::<FMA>(chunk[i] - largest);
            sums[i] += chunk[i];
        }
    }
    // The rest as lanes of its own: one at a time they would take as long as many chunks.
    if !rest.is_empty() {
        let mut lanes = [largest; LANES];
        lanes[..rest.len()].copy_from_slice(rest);
        for x in &mut lanes {
            *x = exp::<FMA>(*x - largest);
        }
        rest.copy_from_slice(&lanes[..rest.len()]);
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}
