//! Rotary positions in a video: three axes share a head's pairs.
//!
//! Wan's split: of a head's `d` channels, height and width get `2·⌊d/6⌋` each and time the rest; pairs are interleaved
//! (channels `2i` and `2i+1`). <https://github.com/Wan-Video/Wan2.1/blob/main/wan/modules/model.py>, `rope_apply`.

use crate::cpu::storage::{map_rows, read, tensor};
use crate::{Result, Tensor};

/// Cosines and sines for every token of a chunk: `(N, d/2)` each.
#[derive(Debug, Clone)]
pub struct Rotary {
    cos: Tensor,
    sin: Tensor,
}

/// Where a chunk's tokens stand in the video.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    /// Absolute number of the chunk's first latent frame, and how many follow.
    pub first_frame: usize,
    pub frames: usize,
    /// Tokens down and across.
    pub rows: usize,
    pub columns: usize,
}

impl Grid {
    pub fn tokens(&self) -> usize {
        self.frames * self.rows * self.columns
    }
}

impl Rotary {
    /// Angles are computed in f64: the frame number grows without bound.
    pub fn new(grid: Grid, head_dim: usize) -> Result<Rotary> {
        let side = head_dim / 6;
        let time = head_dim / 2 - 2 * side;
        let frequencies =
            |pairs: usize| -> Vec<f64> { (0..pairs).map(|i| 10_000f64.powf(-(i as f64) / pairs as f64)).collect() };
        let (time, side) = (frequencies(time), frequencies(side));
        let half = head_dim / 2;
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for frame in grid.first_frame..grid.first_frame + grid.frames {
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
        Ok(Rotary { cos: tensor(cos, (grid.tokens(), half))?, sin: tensor(sin, (grid.tokens(), half))? })
    }

    /// Rotate every head of queries or keys by their position: `(a, b) → (a·cos − b·sin, b·cos + a·sin)`.
    ///
    /// `x`: `(N, D)`, one row a token of the chunk, frame-major. Positions are absolute, so a stored key never moves.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let half = self.cos.dim(1)?;
        read(&self.cos, |cos| {
            read(&self.sin, |sin| {
                map_rows(x, |token, x, out| {
                    let (cos, sin) = (&cos[token * half..][..half], &sin[token * half..][..half]);
                    for (x, out) in x.chunks_exact(2 * half).zip(out.chunks_exact_mut(2 * half)) {
                        for i in 0..half {
                            let (a, b) = (x[2 * i], x[2 * i + 1]);
                            out[2 * i] = a * cos[i] - b * sin[i];
                            out[2 * i + 1] = b * cos[i] + a * sin[i];
                        }
                    }
                })
            })
        })??
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, noise};

    #[test]
    fn a_head_of_128_gives_time_22_pairs_and_each_side_21() -> Result<()> {
        let grid = Grid { first_frame: 7, frames: 2, rows: 2, columns: 3 };
        let rotary = Rotary::new(grid, 128)?;
        assert_eq!(rotary.cos.dims(), [12, 64]);
        // Token (frame 8, row 1, column 2) is the last one.
        let angle = |pair: usize| -> Result<f64> {
            let (c, s): (f32, f32) =
                (rotary.cos.get(11)?.get(pair)?.to_scalar()?, rotary.sin.get(11)?.get(pair)?.to_scalar()?);
            Ok(f64::from(s).atan2(f64::from(c)))
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
        let (q, k) = (noise((1, 24), 1)?, noise((1, 24), 2)?);
        let score = |at_q: usize, at_k: usize| -> Result<f32> {
            let one = |first_frame| Rotary::new(Grid { first_frame, frames: 1, rows: 1, columns: 1 }, 12);
            (one(at_q)?.apply(&q)? * one(at_k)?.apply(&k)?)?.sum_all()?.to_scalar()
        };
        assert!((score(3, 1)? - score(1002, 1000)?).abs() < 1e-4);
        assert!((score(3, 1)? - score(3, 2)?).abs() > 1e-3);
        let turned = Rotary::new(Grid { first_frame: 5, frames: 1, rows: 1, columns: 1 }, 12)?.apply(&q)?;
        assert_close(&turned.sqr()?.sum_all()?, &q.sqr()?.sum_all()?, 1e-4);
        Ok(())
    }
}
