//! Attention over blocks of keys and values, unmasked: the caller decides what a chunk sees by the blocks that it
//! passes.
//!
//! Both products run on the kernel of the dense layers: a head's keys, and then its values, are packed as if they were
//! weights. That costs one pass over them, and they are read once for every query.

use std::cell::RefCell;

use rayon::prelude::*;

use crate::cpu::panels::{PANEL, Row, panels_max};
use crate::cpu::simd::{Isa, dispatched};
use crate::cpu::softmax::softmax_terms;
use crate::cpu::storage::{Numbers, pays_to_share, read};
use crate::{Result, Tensor};

/// `softmax(q·kᵀ / √d)·v`, head by head.
///
/// `q`: `(N, D)` with `heads` heads side by side; `keys`, `values`: blocks of `(any length, D)`, taken as one long sequence.
/// → `(N, D)`.
pub fn attention(q: &Tensor, keys: &[&Tensor], values: &[&Tensor], heads: usize) -> Result<Tensor> {
    attention_with(Isa::best(), q, keys, values, heads)
}

fn attention_with(isa: Isa, q: &Tensor, keys: &[&Tensor], values: &[&Tensor], heads: usize) -> Result<Tensor> {
    let (rows, width) = q.dims2()?;
    let dim = width / heads;
    let (keys, values) = (Numbers::of_all(keys)?, Numbers::of_all(values)?);
    let keys: Vec<_> = keys.iter().map(Numbers::as_slice).collect();
    let values: Vec<_> = values.iter().map(Numbers::as_slice).collect();
    let length = keys.iter().map(|block| block.len()).sum::<usize>() / width;
    let results: Vec<Vec<f32>> = read(q, |q| {
        let head = |head: usize| {
            let head = Head { isa, first: head * dim, dim, width, length };
            SCRATCH.with_borrow_mut(|scratch| head.attend(q, &keys, &values, scratch))
        };
        if pays_to_share(rows * length * width / 16) {
            (0..heads).into_par_iter().map(head).collect()
        } else {
            (0..heads).map(head).collect()
        }
    })?;
    let mut out = vec![0.0; rows * width];
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        for (out, result) in out.chunks_exact_mut(dim).zip(&results) {
            out.copy_from_slice(&result[row * dim..][..dim]);
        }
    }
    Tensor::from_vec(out, [rows, width], &q.device())
}

/// Scores that are held at a time: 256 KiB, which with a panel of keys stays in the second-level cache.
const SCORES: usize = 1 << 16;

thread_local! {
    /// Kept by the threads that compute. Taken anew for every head of every pass, it left gaps between what videos
    /// hold.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
    sums: Vec<f32>,
}

/// One head, and where it is in a row.
#[derive(Clone, Copy)]
struct Head {
    isa: Isa,
    first: usize,
    dim: usize,
    /// Numbers in a row of all heads.
    width: usize,
    /// Keys in all.
    length: usize,
}

impl Head {
    /// `(panel of keys, dim, PANEL)`, zero beyond the last key.
    fn pack_keys(&self, blocks: &[&[f32]], packed: &mut Vec<f32>) {
        packed.clear();
        packed.resize(self.length.div_ceil(PANEL) * self.dim * PANEL, 0.0);
        let keys = blocks.iter().flat_map(|block| block.chunks_exact(self.width));
        for (i, key) in keys.enumerate() {
            let panel = &mut packed[i / PANEL * self.dim * PANEL..];
            for (channel, value) in key[self.first..][..self.dim].iter().enumerate() {
                panel[channel * PANEL + i % PANEL] = *value;
            }
        }
    }

    /// `(panel of channels, key, PANEL)`, zero beyond the last channel.
    fn pack_values(&self, blocks: &[&[f32]], packed: &mut Vec<f32>) {
        packed.clear();
        packed.resize(self.dim.div_ceil(PANEL) * self.length * PANEL, 0.0);
        let values = blocks.iter().flat_map(|block| block.chunks_exact(self.width));
        for (i, value) in values.enumerate() {
            for (panel, channels) in value[self.first..][..self.dim].chunks(PANEL).enumerate() {
                packed[(panel * self.length + i) * PANEL..][..channels.len()].copy_from_slice(channels);
            }
        }
    }

    /// All queries: `(N, dim)`.
    fn attend(&self, q: &[f32], keys: &[&[f32]], values: &[&[f32]], scratch: &mut Scratch) -> Vec<f32> {
        self.pack_keys(keys, &mut scratch.keys);
        self.pack_values(values, &mut scratch.values);
        let Head { first, dim, width, length, .. } = *self;
        let rows = q.len() / width;
        let tile = (SCORES / length).clamp(1, rows);
        let scale = 1.0 / (dim as f32).sqrt();
        let mut out = vec![0.0; rows * dim];
        scratch.scores.resize(tile * length, 0.0);
        for (tile_index, out) in out.chunks_mut(tile * dim).enumerate() {
            let rows = out.len() / dim;
            let queries = &q[tile_index * tile * width + first..];
            let scores = &mut scratch.scores[..rows * length];
            let query = Factor { values: queries, depth: dim, step: width };
            self.product(query, &scratch.keys, rows, scores, length, &mut scratch.sums);
            let totals: Vec<f32> = scores.chunks_exact_mut(length).map(|row| weigh(row, scale)).collect();
            let weights = Factor { values: scores, depth: length, step: length };
            self.product(weights, &scratch.values, rows, out, dim, &mut scratch.sums);
            for (out, total) in out.chunks_exact_mut(dim).zip(totals) {
                out.iter_mut().for_each(|out| *out /= total);
            }
        }
        out
    }

    /// `out (rows, columns) = left · packed`. `sums`: scratch.
    fn product(&self, left: Factor, packed: &[f32], rows: usize, out: &mut [f32], columns: usize, sums: &mut Vec<f32>) {
        let panel_len = left.depth * PANEL;
        let panels = columns.div_ceil(PANEL);
        let group = panels.div_ceil(panels.div_ceil(panels_max(self.isa)));
        for first in (0..panels).step_by(group) {
            let group = group.min(panels - first);
            sums.resize(rows * group * PANEL, 0.0);
            let row = Row {
                taps: &[left.values],
                channels: left.depth,
                step: left.step,
                weights: &packed[first * panel_len..],
                panels: group,
                panel_len,
                accumulate: false,
            };
            row.run(self.isa, sums);
            let columns_here = first * PANEL..columns.min((first + group) * PANEL);
            for (out, sums) in out.chunks_exact_mut(columns).zip(sums.chunks_exact(group * PANEL)) {
                out[columns_here.clone()].copy_from_slice(&sums[..columns_here.len()]);
            }
        }
    }
}

/// The left side of a product: rows of `depth` numbers, `step` apart.
struct Factor<'a> {
    values: &'a [f32],
    depth: usize,
    step: usize,
}

dispatched!(
    /// Scores become weights that are not yet divided by their sum, which is returned.
    fn weigh(scores: &mut [f32], scale: f32) -> f32 = weigh_lanes
);

#[inline(always)]
fn weigh_lanes<const FMA: bool>(scores: &mut [f32], scale: f32) -> f32 {
    scores.iter_mut().for_each(|score| *score *= scale);
    softmax_terms::<FMA>(scores)
}

#[cfg(test)]
mod tests {
    use candle_core::D;

    use super::*;
    use crate::testing::{Plain, PlainResult, assert_close, noise, ours};

    /// The definition, one head at a time.
    fn plain(q: &Plain, k: &Plain, v: &Plain, heads: usize) -> PlainResult<Plain> {
        let dim = q.dim(1)? / heads;
        let of_head = |x: &Plain, head: usize| x.narrow(1, head * dim, dim)?.contiguous();
        let heads = (0..heads).map(|head| {
            let scores = (of_head(q, head)?.matmul(&of_head(k, head)?.t()?)? / (dim as f64).sqrt())?;
            let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
            weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?.matmul(&of_head(v, head)?)
        });
        Plain::cat(&heads.collect::<PlainResult<Vec<_>>>()?, 1)
    }

    #[test]
    fn it_agrees_with_the_definition_however_the_history_is_cut_into_blocks() -> PlainResult<()> {
        for (rows, length, heads, dim) in [(1, 1, 1, 4), (5, 9, 2, 18), (24, 216, 4, 48), (17, 40, 1, 128)] {
            let width = heads * dim;
            let q = (noise((rows, width), 1)? * 3.0)?;
            let (k, v) = (noise((length, width), 2)?, noise((length, width), 3)?);
            let expected = plain(&q, &k, &v, heads)?;
            for cut in [length, length / 2, length.min(1)] {
                let blocks = |x: &Plain| -> PlainResult<Vec<Tensor>> {
                    [(0, cut), (cut, length - cut)]
                        .into_iter()
                        .filter(|(_, n)| *n > 0)
                        .map(|(from, n)| Ok(ours(&x.narrow(0, from, n)?)))
                        .collect()
                };
                let (k, v) = (blocks(&k)?, blocks(&v)?);
                let (k, v): (Vec<_>, Vec<_>) = (k.iter().collect(), v.iter().collect());
                for isa in Isa::available() {
                    let found = attention_with(isa, &ours(&q), &k, &v, heads).expect("rows");
                    assert_close(&found, &expected, 2e-6);
                }
            }
        }
        Ok(())
    }
}
