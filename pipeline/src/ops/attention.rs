//! Attention over blocks of keys and values, unmasked: what a chunk sees is decided by which blocks it is given.

use rayon::prelude::*;

use super::simd::{dispatched, dot, fma};
use super::softmax::softmax_terms;
use super::storage::{Numbers, read, tensor};
use super::{Result, Tensor};

/// `softmax(q·kᵀ / √d)·v`, head by head.
///
/// `q`: `(N, D)` with `heads` heads side by side; `keys`, `values`: blocks of `(any length, D)`, taken as one long sequence.
/// → `(N, D)`. Nothing is copied, and no more than a few rows of scores exist at a time.
pub fn attention(q: &Tensor, keys: &[&Tensor], values: &[&Tensor], heads: usize) -> Result<Tensor> {
    let (rows, width) = q.dims2()?;
    let head_dim = width / heads;
    let (keys, values) = (Numbers::of_all(keys)?, Numbers::of_all(values)?);
    let keys: Vec<_> = keys.iter().map(Numbers::as_slice).collect();
    let values: Vec<_> = values.iter().map(Numbers::as_slice).collect();
    let length = keys.iter().map(|block| block.len()).sum::<usize>() / width;
    let mut out = vec![0.0; rows * width];
    read(q, |q| {
        out.par_chunks_mut(ROWS * width).zip(q.par_chunks(ROWS * width)).for_each(|(out, q)| {
            let mut scores = vec![0.0; ROWS * length];
            for head in 0..heads {
                let head = Head { q, keys: &keys, values: &values, width, first: head * head_dim, dim: head_dim };
                attend(head, &mut scores, out);
            }
        });
    })?;
    tensor(out, (rows, width))
}

/// Query rows that share one walk over keys and values: a row of keys is loaded once for all of them.
const ROWS: usize = 8;

/// One head of a few query rows.
#[derive(Clone, Copy)]
struct Head<'a> {
    q: &'a [f32],
    keys: &'a [&'a [f32]],
    values: &'a [&'a [f32]],
    /// Numbers in a row of all of these, and which of them belong to this head.
    width: usize,
    first: usize,
    dim: usize,
}

dispatched!(fn attend(head: Head<'_>, scores: &mut [f32], out: &mut [f32]) = attend_lanes);

#[inline(always)]
fn attend_lanes<const FMA: bool>(head: Head<'_>, scores: &mut [f32], out: &mut [f32]) {
    let Head { q, keys, values, width, first, dim } = head;
    let rows = q.len() / width;
    let length = scores.len() / ROWS;
    let scale = 1.0 / (dim as f32).sqrt();
    let of_head = |row: usize| row * width + first..row * width + first + dim;

    let mut position = 0;
    for block in keys {
        for key in block.chunks_exact(width) {
            let key = &key[first..first + dim];
            for row in 0..rows {
                scores[row * length + position] = scale * dot::<FMA>(&q[of_head(row)], key);
            }
            position += 1;
        }
    }
    for (row, scores) in scores.chunks_exact_mut(length).take(rows).enumerate() {
        let total = softmax_terms::<FMA>(scores);
        let out = &mut out[of_head(row)];
        out.fill(0.0);
        let mut weights = scores.iter();
        for block in values {
            // `zip` stops at the end of a block without taking a weight too many: values come first.
            for (value, &weight) in block.chunks_exact(width).zip(weights.by_ref()) {
                for (out, &value) in out.iter_mut().zip(&value[first..first + dim]) {
                    *out = fma::<FMA>(weight, value, *out);
                }
            }
        }
        for out in out {
            *out /= total;
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::D;

    use super::*;
    use crate::ops::testing::{assert_close, noise};

    /// The definition, one head at a time.
    fn plain(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
        let dim = q.dim(1)? / heads;
        let of_head = |x: &Tensor, head: usize| x.narrow(1, head * dim, dim)?.contiguous();
        let heads = (0..heads).map(|head| {
            let scores = (of_head(q, head)?.matmul(&of_head(k, head)?.t()?)? / (dim as f64).sqrt())?;
            let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
            weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?.matmul(&of_head(v, head)?)
        });
        Tensor::cat(&heads.collect::<Result<Vec<_>>>()?, 1)
    }

    #[test]
    fn it_agrees_with_the_definition_however_the_history_is_cut_into_blocks() -> Result<()> {
        for (rows, length, heads, dim) in [(1, 1, 1, 4), (5, 9, 2, 18), (24, 216, 4, 48), (17, 40, 1, 128)] {
            let width = heads * dim;
            let q = (noise((rows, width), 1)? * 3.0)?;
            let (k, v) = (noise((length, width), 2)?, noise((length, width), 3)?);
            let expected = plain(&q, &k, &v, heads)?;
            for cut in [length, length / 2, length.min(1)] {
                let blocks = |x: &Tensor| -> Result<Vec<Tensor>> {
                    [(0, cut), (cut, length - cut)]
                        .into_iter()
                        .filter(|(_, n)| *n > 0)
                        .map(|(from, n)| x.narrow(0, from, n))
                        .collect()
                };
                let (k, v) = (blocks(&k)?, blocks(&v)?);
                let found = attention(&q, &k.iter().collect::<Vec<_>>(), &v.iter().collect::<Vec<_>>(), heads)?;
                assert_close(&found, &expected, 2e-6);
            }
        }
        Ok(())
    }
}
