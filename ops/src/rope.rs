//! Rotary positions in a video: three axes share a head's pairs.
//!
//! Wan's split: of a head's `d` channels, height and width get `2·⌊d/6⌋` each and time the rest; pairs are interleaved
//! (channels `2i` and `2i+1`). <https://github.com/Wan-Video/Wan2.1/blob/main/wan/modules/model.py>, `rope_apply`.

use std::ops::Range;

use crate::cpu::simd::dispatched;
use crate::cpu::storage::{map_rows, read};
use crate::cuda;
use crate::error::bail;
use crate::norm::rms_norm;
use crate::tensor::{On, on};
use crate::{Device, Result, Tensor};

/// Cosines and sines for every token of a chunk: `(N, d/2)` each.
#[derive(Debug, Clone)]
pub struct Rotary {
    cos: Tensor,
    sin: Tensor,
}

/// Where a chunk's tokens stand in the video.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    /// Absolute number of the chunk's first latent frame.
    pub first_latent_frame: usize,
    /// Latent frames from there on.
    pub frames: usize,
    /// Tokens down.
    pub rows: usize,
    /// Tokens across.
    pub columns: usize,
}

impl Grid {
    /// Tokens of the chunk.
    pub fn tokens(&self) -> usize {
        self.frames * self.rows * self.columns
    }
}

impl Rotary {
    /// Angles are computed in f64: the frame number grows without bound.
    pub fn new(grid: Grid, head_dim: usize, device: &Device) -> Result<Rotary> {
        let side = head_dim / 6;
        let time = head_dim / 2 - 2 * side;
        let frequencies =
            |pairs: usize| -> Vec<f64> { (0..pairs).map(|i| 10_000f64.powf(-(i as f64) / pairs as f64)).collect() };
        let (time, side) = (frequencies(time), frequencies(side));
        let half = head_dim / 2;
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for frame in grid.first_latent_frame..grid.first_latent_frame + grid.frames {
            for row in 0..grid.rows {
                for column in 0..grid.columns {
                    let axes = [(frame, &time), (row, &side), (column, &side)];
                    for (position, frequencies) in axes {
                        for frequency in frequencies {
                            let (s, c) = (position as f64 * frequency).sin_cos();
                            cos.push(c as f32);
                            sin.push(s as f32);
                        }
                    }
                }
            }
        }
        let table = |values| Tensor::from_vec(values, [grid.tokens(), half], device);
        Ok(Rotary { cos: table(cos)?, sin: table(sin)? })
    }

    /// The positions of some of the tokens.
    pub fn of_tokens(&self, tokens: Range<usize>) -> Result<Rotary> {
        // A view would keep the positions of all tokens in memory.
        let rows = |table: &Tensor| table.narrow(0, tokens.start, tokens.len())?.copy();
        Ok(Rotary { cos: rows(&self.cos)?, sin: rows(&self.sin)? })
    }

    /// [`rms_norm`] of each row, then [`Rotary::apply`]. On a GPU in one pass over memory, rounded once.
    ///
    /// `x`: `(N, D)`, `gamma`: `(D)`.
    pub fn apply_to_normed(&self, x: &Tensor, gamma: &Tensor, eps: f64) -> Result<Tensor> {
        match on("rotary positions", [x, gamma, &self.cos, &self.sin])? {
            On::Cuda([x, gamma, cos, sin]) => Ok(cuda::turn(x, Some((gamma, eps)), cos, sin)?.into()),
            On::Cpu => self.apply(&rms_norm(x, gamma, eps)?),
        }
    }

    /// Rotate every head of queries or keys by their position: `(a, b) → (a·cos − b·sin, b·cos + a·sin)`.
    ///
    /// `x`: `(N, D)`, one row a token of the chunk, frame-major. Positions are absolute, so a stored key never moves.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        if let On::Cuda([x, cos, sin]) = on("rotary positions", [x, &self.cos, &self.sin])? {
            return Ok(cuda::turn(x, None, cos, sin)?.into());
        }
        let (tokens, width) = x.dims2()?;
        self.of_rows([tokens, width], |turn| {
            map_rows(x, |token, x, out| {
                out.copy_from_slice(x);
                turn(token, out);
            })
        })?
    }

    /// What turns a row, by the token that it is of, for rows of this shape in main memory.
    pub(crate) fn of_rows<T>(
        &self,
        [tokens, width]: [usize; 2],
        work: impl FnOnce(&(dyn Fn(usize, &mut [f32]) + Sync)) -> T,
    ) -> Result<T> {
        let (positions, half) = self.cos.dims2()?;
        if tokens > positions || !width.is_multiple_of(2 * half) {
            bail!("{tokens} rows of {width} are turned by {positions} positions of heads of {}", 2 * half);
        }
        read(&self.cos, |cos| {
            read(&self.sin, |sin| {
                work(&|token, row| turn_row(row, &cos[token * half..][..half], &sin[token * half..][..half]))
            })
        })?
    }
}

dispatched!(
    /// Every head of one row, in place.
    fn turn_row(row: &mut [f32], cos: &[f32], sin: &[f32]) = turn_lanes
);

#[inline(always)]
fn turn_lanes<const FMA: bool>(row: &mut [f32], cos: &[f32], sin: &[f32]) {
    for head in row.chunks_exact_mut(2 * cos.len()) {
        for ((pair, cos), sin) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
            let [a, b] = *pair;
            *pair = [a * cos - b * sin, b * cos + a * sin];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{noise, ours};

    #[test]
    fn a_head_of_128_gives_time_22_pairs_and_each_side_21() -> Result<()> {
        let grid = Grid { first_latent_frame: 7, frames: 2, rows: 2, columns: 3 };
        let rotary = Rotary::new(grid, 128, &Device::cpu())?;
        assert_eq!(rotary.cos.dims(), [12, 64]);
        // Token (frame 8, row 1, column 2) is the last one.
        let angle = |pair: usize| -> Result<f64> {
            let (cos, sin) = (rotary.cos.get(11)?.to_vec::<f32>()?, rotary.sin.get(11)?.to_vec::<f32>()?);
            Ok(f64::from(sin[pair]).atan2(f64::from(cos[pair])))
        };
        let wrapped = |x: f64| x.sin().atan2(x.cos());
        // Inverse frequencies from the model's own tables: 44 channels 1, 0.657933 …; 42 channels 1, 0.644947 ….
        for (pair, expected) in
            [(0, 8.0), (1, 8.0 * 0.657933), (22, 1.0), (23, 0.644947), (43, 2.0), (44, 2.0 * 0.644947)]
        {
            assert!((angle(pair)? - wrapped(expected)).abs() < 1e-5, "pair {pair}");
        }
        Ok(())
    }

    #[test]
    fn rotation_keeps_lengths_and_depends_only_on_distance() -> Result<()> {
        let row = |seed| ours(&noise((1, 24), seed).expect("noise"));
        let (q, k) = (row(1), row(2));
        let sum = |x: Tensor| -> Result<f32> { Ok(x.to_vec::<f32>()?.iter().sum()) };
        let at = |first_latent_frame| {
            Rotary::new(Grid { first_latent_frame, frames: 1, rows: 1, columns: 1 }, 12, &Device::cpu())
        };
        let score = |at_q: usize, at_k: usize| sum((at(at_q)?.apply(&q)? * at(at_k)?.apply(&k)?)?);
        assert!((score(3, 1)? - score(1002, 1000)?).abs() < 1e-4);
        assert!((score(3, 1)? - score(3, 2)?).abs() > 1e-3);
        let turned = at(5)?.apply(&q)?;
        assert!((sum((&turned * &turned)?)? - sum((&q * &q)?)?).abs() < 1e-4);
        Ok(())
    }
}
