//! Rotary positions of language models: channel `i` of a head is turned with channel `i + d/2`.
//!
//! Wan's video models turn neighbours instead: see [`crate::rope`]. Which angle a token has is the model's business.

use std::ops::Range;

use crate::cpu::simd::{dispatched, dot};
use crate::cpu::storage::{map_rows, read};
use crate::cuda;
use crate::error::bail;
use crate::tensor::{On, on};
use crate::{Device, Result, Tensor};

/// Cosines and sines of every token: `(N, d/2)` each.
#[derive(Debug, Clone)]
pub struct HalvesRotary {
    cos: Tensor,
    sin: Tensor,
}

impl HalvesRotary {
    /// `angles`: `(N, d/2)`, row-major, in radians. An error if `pairs`, which is `d/2`, does not divide their number.
    ///
    /// Angles reach thousands of turns, where a sine in f32 is worth nothing: it is computed in f64.
    pub fn new(angles: &[f32], pairs: usize, device: &Device) -> Result<HalvesRotary> {
        if pairs == 0 || !angles.len().is_multiple_of(pairs) {
            bail!("{} angles are not rows of {pairs}", angles.len());
        }
        let table = |of: fn(f64) -> f64| {
            let values = angles.iter().map(|&angle| of(f64::from(angle)) as f32).collect();
            Tensor::from_vec(values, [angles.len() / pairs, pairs], device)
        };
        Ok(HalvesRotary { cos: table(f64::cos)?, sin: table(f64::sin)? })
    }

    /// The positions of some of the tokens.
    pub fn of_tokens(&self, tokens: Range<usize>) -> Result<HalvesRotary> {
        // A view would keep the positions of all tokens in memory.
        let rows = |table: &Tensor| table.narrow(0, tokens.start, tokens.len())?.copy();
        Ok(HalvesRotary { cos: rows(&self.cos)?, sin: rows(&self.sin)? })
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> u64 {
        self.cos.bytes() + self.sin.bytes()
    }

    /// Cosines and sines, `(N, d/2)` each.
    pub fn tables(&self) -> (&Tensor, &Tensor) {
        (&self.cos, &self.sin)
    }

    /// Turn every head of `x`, `(N, heads·d)`: `(a, b) → (a·cos − b·sin, b·cos + a·sin)`.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        if let On::Cuda([x, cos, sin]) = on("rotary positions", [x, &self.cos, &self.sin])? {
            return Ok(cuda::head_norm_turn(x, None, cos, sin)?.into());
        }
        self.turn(x, |x, cos, sin, out| turn_row(x, 1.0, &[], cos, sin, out))
    }

    /// Normalise every head, then turn it, in one pass: `rms_norm` with `gamma` of `(d)`, then [`HalvesRotary::apply`].
    pub fn apply_to_normed(&self, x: &Tensor, gamma: &Tensor, eps: f64) -> Result<Tensor> {
        let dim = 2 * self.cos.dim(1)?;
        if gamma.dims() != [dim] {
            bail!("heads of {dim} are normalised with as many weights, not {:?}", gamma.dims());
        }
        if let On::Cuda([x, gamma, cos, sin]) = on("rotary positions", [x, gamma, &self.cos, &self.sin])? {
            return Ok(cuda::head_norm_turn(x, Some((gamma, eps)), cos, sin)?.into());
        }
        read(gamma, |gamma| self.turn(x, |x, cos, sin, out| norm_turn_row(x, gamma, eps as f32, cos, sin, out)))?
    }

    /// `head(row of a head, its cosines, its sines, its result)` for every head.
    fn turn(&self, x: &Tensor, head: impl Fn(&[f32], &[f32], &[f32], &mut [f32]) + Sync) -> Result<Tensor> {
        let (tokens, pairs) = self.cos.dims2()?;
        let (rows, width) = x.dims2()?;
        if rows != tokens || width % (2 * pairs) != 0 {
            bail!("rows of heads of {} for {tokens} tokens are turned, not {:?}", 2 * pairs, x.dims());
        }
        read(&self.cos, |cos| {
            read(&self.sin, |sin| {
                map_rows(x, |token, x, out| {
                    let (cos, sin) = (&cos[token * pairs..][..pairs], &sin[token * pairs..][..pairs]);
                    for (x, out) in x.chunks_exact(2 * pairs).zip(out.chunks_exact_mut(2 * pairs)) {
                        head(x, cos, sin, out);
                    }
                })
            })
        })??
    }
}

dispatched!(fn turn_row(x: &[f32], scale: f32, gamma: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32]) = turn_lanes);
dispatched!(
    fn norm_turn_row(x: &[f32], gamma: &[f32], eps: f32, cos: &[f32], sin: &[f32], out: &mut [f32]) = norm_turn_lanes
);

/// One head, times `scale` and, unless it is empty, `gamma`.
#[inline(always)]
fn turn_lanes<const FMA: bool>(x: &[f32], scale: f32, gamma: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32]) {
    let half = cos.len();
    let ((a, b), (out_a, out_b)) = (x.split_at(half), out.split_at_mut(half));
    let (sin, a, b) = (&sin[..half], &a[..half], &b[..half]);
    let (out_a, out_b) = (&mut out_a[..half], &mut out_b[..half]);
    if gamma.is_empty() {
        for i in 0..half {
            out_a[i] = a[i] * cos[i] - b[i] * sin[i];
            out_b[i] = b[i] * cos[i] + a[i] * sin[i];
        }
    } else {
        let (gamma_a, gamma_b) = gamma.split_at(half);
        let (gamma_a, gamma_b) = (&gamma_a[..half], &gamma_b[..half]);
        for i in 0..half {
            let (a, b) = (a[i] * scale * gamma_a[i], b[i] * scale * gamma_b[i]);
            out_a[i] = a * cos[i] - b * sin[i];
            out_b[i] = b * cos[i] + a * sin[i];
        }
    }
}

#[inline(always)]
fn norm_turn_lanes<const FMA: bool>(x: &[f32], gamma: &[f32], eps: f32, cos: &[f32], sin: &[f32], out: &mut [f32]) {
    let scale = 1.0 / (dot::<FMA>(x, x) / x.len() as f32 + eps).sqrt();
    turn_lanes::<FMA>(x, scale, gamma, cos, sin, out);
}

#[cfg(test)]
mod tests {
    use candle_core::D;

    use super::*;
    use crate::testing::{Plain, PlainResult, assert_close, noise, ours};

    /// `x·cos + [−x₂, x₁]·sin` on `(N, heads, d)`, with the tables doubled to `d`.
    fn plain(x: &Plain, rotary: &HalvesRotary, heads: usize) -> PlainResult<Plain> {
        let (rows, width) = x.dims2()?;
        let x = x.reshape((rows, heads, width / heads))?;
        let half = width / heads / 2;
        let (a, b) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
        let turned = Plain::cat(&[b.neg()?, a], 2)?;
        let doubled = |table: &Tensor| {
            Plain::cat(&[table.cpu("a test").expect("main memory"), table.cpu("a test").expect("main memory")], 1)?
                .unsqueeze(1)
        };
        let sum = (x.broadcast_mul(&doubled(&rotary.cos)?)? + turned.broadcast_mul(&doubled(&rotary.sin)?)?)?;
        sum.reshape((rows, width))
    }

    #[test]
    fn both_forms_agree_with_the_plain_versions() -> PlainResult<()> {
        for (rows, heads, dim) in [(1, 1, 2), (5, 3, 24), (70, 8, 128), (3, 2, 10)] {
            let angles = noise((rows, dim / 2), 4)?.affine(15_000.0, 0.0)?.flatten_all()?.to_vec1::<f32>()?;
            let rotary = HalvesRotary::new(&angles, dim / 2, &Device::cpu()).expect("whole rows");
            let (x, gamma) = (noise((rows, heads * dim), 1)?, noise(dim, 2)?);
            assert_close(&rotary.apply(&ours(&x)).expect("rows"), &plain(&x, &rotary, heads)?, 1e-6);

            let by_head = x.reshape((rows, heads, dim))?;
            let root = (by_head.sqr()?.mean_keepdim(D::Minus1)? + 1e-6)?.sqrt()?;
            let normed = by_head.broadcast_div(&root)?.broadcast_mul(&gamma)?.reshape((rows, heads * dim))?;
            let found = rotary.apply_to_normed(&ours(&x), &ours(&gamma), 1e-6).expect("rows");
            assert_close(&found, &plain(&normed, &rotary, heads)?, 4e-6);
        }
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_an_error() -> PlainResult<()> {
        let device = Device::cpu();
        assert!(HalvesRotary::new(&[0.0; 5], 2, &device).is_err());
        assert!(HalvesRotary::new(&[], 0, &device).is_err());
        let rotary = HalvesRotary::new(&[0.0; 6], 2, &device).expect("three tokens");
        assert!(rotary.apply(&ours(&noise((2, 4), 1)?)).is_err(), "two tokens");
        assert!(rotary.apply(&ours(&noise((3, 6), 1)?)).is_err(), "one head and a half");
        assert!(
            rotary.apply_to_normed(&ours(&noise((3, 4), 1)?), &ours(&noise(3, 1)?), 1e-6).is_err(),
            "three weights"
        );
        rotary.apply(&ours(&noise((3, 8), 1)?)).expect("two heads");
        Ok(())
    }
}
