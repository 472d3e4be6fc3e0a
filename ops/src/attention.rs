//! Attention over blocks of keys and values. A query sees every block it is given, or in [`causal_attention`] the
//! tokens up to its own: the caller decides what a chunk sees by the blocks that it passes.
//!
//! Several heads of queries may share one head of keys and values (grouped-query attention,
//! <https://arxiv.org/abs/2305.13245>). Both products run on the kernel of the dense layers: a head's keys, and then
//! its values, are packed as if they were weights. That costs one pass over them, and they are read once for every
//! query. Blocks are packed where they lie, so a prefix that many passes share is never joined to what follows it.
//!
//! Many keys are taken a span at a time, so that a span, and the scores of some queries with it, stay in the caches: what
//! each query has gathered so far is scaled down when a larger score comes (online softmax, <https://arxiv.org/abs/2205.14135>).

mod by_keys;

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use crate::cpu::panels::{PANEL, Row, TILE, copy_panels, lanes_of_last, panels_max};
use crate::cpu::simd::{Isa, dispatched};
use crate::cpu::softmax::running_softmax_terms;
use crate::cpu::storage::{Numbers, pays_to_share, read};
use crate::cpu::tiles::Tiles;
use crate::cpu::transpose::transpose;
use crate::cuda;
use crate::error::bail;
use crate::tensor::on;
use crate::{Result, Tensor};

/// The number of query heads, and of the key and value heads that they share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Heads of queries, side by side in a row. A multiple of `keys`.
    pub queries: usize,
    /// Heads of keys and values. Neighbouring heads of queries share one.
    pub keys: usize,
}

/// `softmax(q·kᵀ / √d)·v`, head by head.
///
/// `q`: `(N, D)` with `heads` heads side by side; `keys`, `values`: blocks of `(any length, D)`, taken as one long sequence.
/// → `(N, D)`.
pub fn attention(q: &Tensor, keys: &[&Tensor], values: &[&Tensor], heads: usize) -> Result<Tensor> {
    grouped_attention(q, keys, values, Heads { queries: heads, keys: heads })
}

/// As [`attention`], where groups of heads share keys and values.
///
/// `q`: `(N, queries·d)`; `keys`, `values`: blocks of `(any length, keys·d)`. → `(N, queries·d)`.
pub fn grouped_attention(q: &Tensor, keys: &[&Tensor], values: &[&Tensor], heads: Heads) -> Result<Tensor> {
    attention_with(Isa::best(), q, keys, values, heads, Sight::Everything)
}

/// As [`grouped_attention`] over one text: token `i` sees tokens `0..=i`.
///
/// `q`: `(N, queries·d)`; `k`, `v`: `(N, keys·d)`. → `(N, queries·d)`.
pub fn causal_attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor> {
    if q.dim(0)? != k.dim(0)? {
        bail!("{} queries look at {} keys; in causal attention these are as many", q.dim(0)?, k.dim(0)?);
    }
    attention_with(Isa::best(), q, &[k], &[v], heads, Sight::Past)
}

/// Which keys a query sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Everything,
    /// Those up to its own number.
    Past,
}

fn attention_with(
    isa: Isa,
    q: &Tensor,
    keys: &[&Tensor],
    values: &[&Tensor],
    heads: Heads,
    sight: Sight,
) -> Result<Tensor> {
    let (rows, width) = q.dims2()?;
    let Heads { queries, keys: groups } = heads;
    if groups == 0 || queries % groups != 0 || width % queries != 0 {
        bail!("a row of {width} does not hold {queries} heads of queries in {groups} groups");
    }
    let dim = width / queries;
    let key_width = groups * dim;
    if let Some(block) = keys.iter().chain(values).find(|block| block.dims().get(1) != Some(&key_width)) {
        bail!("{groups} heads of {dim} are rows of {key_width}; keys or values of {:?} were given", block.dims());
    }
    for block in keys.iter().chain(values) {
        on("attention", [q, *block])?;
    }
    if let Some(q) = q.as_cuda() {
        let blocks =
            |blocks: &[&'_ Tensor]| -> Vec<_> { blocks.iter().filter_map(|block| block.as_cuda().cloned()).collect() };
        let (keys, values) = (blocks(keys), blocks(values));
        return Ok(cuda::attention(q, &keys, &values, heads, sight == Sight::Past)?.into());
    }
    let (keys, values) = (Numbers::of_all(keys)?, Numbers::of_all(values)?);
    let keys: Vec<_> = keys.iter().map(Numbers::as_slice).collect();
    let values: Vec<_> = values.iter().map(Numbers::as_slice).collect();
    let length = keys.iter().map(|block| block.len()).sum::<usize>() / key_width;
    // Each part packs its head's keys again, so it has many queries. A row's numbers do not depend on the parts.
    let part = rows.div_ceil(rows.div_ceil(PART));
    let parts = rows.div_ceil(part);
    let results: Vec<Vec<f32>> = read(q, |q| {
        let attend = |i: usize| {
            let (head, first_row) = (i / parts, i % parts * part);
            let shared = head / (queries / groups);
            let head = Head { isa, first: head * dim, key_first: shared * dim, dim, width, key_width, length, sight };
            let of_rows = first_row..rows.min(first_row + part);
            // A kernel that takes one panel wants its left side laid out by tiles: keys would be packed after all.
            let by_keys = sight == Sight::Everything && rows <= by_keys::QUERIES_MAX && panels_max(isa) > 1;
            SCRATCH.with_borrow_mut(|scratch| match by_keys {
                true => by_keys::attend(&head, q, of_rows, &keys, &values, scratch),
                false => head.attend(q, of_rows, &keys, &values, scratch),
            })
        };
        if pays_to_share(rows * length * width / 16) {
            (0..queries * parts).into_par_iter().map(attend).collect()
        } else {
            (0..queries * parts).map(attend).collect()
        }
    })?;
    let mut out = vec![0.0; rows * width];
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        let (in_part, row) = (row / part, row % part);
        for (head, out) in out.chunks_exact_mut(dim).enumerate() {
            out.copy_from_slice(&results[head * parts + in_part][row * dim..][..dim]);
        }
    }
    Tensor::from_vec(out, [rows, width], &q.device())
}

/// Scores that are held at a time: 256 KiB, which with a panel of keys stays in the second-level cache.
const SCORES: usize = 1 << 16;

/// Keys of a span, at most. Of 128 numbers each, a span and its values are 512 KiB, and are read once for all queries of a tile.
const SPAN: usize = 512;

/// Queries of one head that a thread takes at a time, at most.
const PART: usize = 1024;

thread_local! {
    /// Kept by the threads that compute. Allocated again for every head of every pass, it fragmented the heap around
    /// the long-lived memory of videos.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
    /// What a tile's weights make of a span's values.
    gathered: Vec<f32>,
    product: Product,
}

/// One head, and where it is in a row.
#[derive(Clone, Copy)]
struct Head {
    isa: Isa,
    /// Where its queries begin in a row of them.
    first: usize,
    /// Where its keys and values begin in a row of them.
    key_first: usize,
    dim: usize,
    /// Numbers in a row of queries.
    width: usize,
    /// Numbers in a row of keys, or of values.
    key_width: usize,
    /// Keys in all.
    length: usize,
    sight: Sight,
}

impl Head {
    /// `(panel of keys, dim, PANEL)`. The last key stands for those that the last panel lacks; their scores are not read.
    fn pack_keys<'a>(&self, mut keys: impl Iterator<Item = &'a [f32]>, count: usize, packed: &mut Vec<f32>) {
        packed.resize(count.div_ceil(PANEL) * self.dim * PANEL, 0.0);
        let panels = packed.as_chunks_mut::<PANEL>().0.chunks_exact_mut(self.dim);
        let mut key: &[f32] = &[];
        for panel in panels {
            let rows = std::array::from_fn(|_| {
                key = keys.next().map_or(key, |key| &key[self.key_first..][..self.dim]);
                key
            });
            transpose(&rows, panel);
        }
    }

    /// `(panel of channels, key, PANEL)`, zero beyond the last channel.
    fn pack_values<'a>(&self, values: impl Iterator<Item = &'a [f32]>, count: usize, packed: &mut Vec<f32>) {
        packed.resize(self.dim.div_ceil(PANEL) * count * PANEL, 0.0);
        let places = packed.as_chunks_mut::<PANEL>().0;
        for (i, value) in values.enumerate() {
            let (whole, rest) = value[self.key_first..][..self.dim].as_chunks::<PANEL>();
            for (panel, channels) in whole.iter().enumerate() {
                places[panel * count + i] = *channels;
            }
            if !rest.is_empty() {
                let place = &mut places[whole.len() * count + i];
                place[..rest.len()].copy_from_slice(rest);
                place[rest.len()..].fill(0.0);
            }
        }
    }

    /// Keys that are taken together.
    fn span(&self) -> usize {
        self.length.div_ceil(self.length.div_ceil(SPAN)).next_multiple_of(PANEL).min(self.length)
    }

    /// The queries of some rows: `(rows, dim)`.
    fn attend(
        &self,
        q: &[f32],
        of_rows: Range<usize>,
        keys: &[&[f32]],
        values: &[&[f32]],
        scratch: &mut Scratch,
    ) -> Vec<f32> {
        let Head { first, dim, width, length, .. } = *self;
        let rows = of_rows.len();
        let span = self.span();
        // Whole tiles of the kernel, so that none is left half empty.
        let tile = (SCORES / span).clamp(1, rows).next_multiple_of(TILE).min(rows);
        let scale = 1.0 / (dim as f32).sqrt();
        let mut out = vec![0.0; rows * dim];
        let mut sums = vec![RowSum::default(); rows];
        for first_key in (0..length).step_by(span) {
            // The last query sees more than the others.
            if self.sight == Sight::Past && first_key >= of_rows.end {
                break;
            }
            let span = span.min(length - first_key);
            self.pack_keys(rows_from(keys, self.key_width, first_key).take(span), span, &mut scratch.keys);
            self.pack_values(rows_from(values, self.key_width, first_key).take(span), span, &mut scratch.values);
            for (tile_index, (out, sums)) in out.chunks_mut(tile * dim).zip(sums.chunks_mut(tile)).enumerate() {
                let rows = sums.len();
                let first_row = of_rows.start + tile_index * tile;
                // Keys of this span that a query sees, counted from the tile's first.
                let sees = |row: usize| match self.sight {
                    Sight::Everything => span,
                    Sight::Past => (first_row + row + 1).saturating_sub(first_key).min(span),
                };
                // The last query of the tile sees the most; the others leave some of these out.
                let seen = sees(rows - 1);
                if seen == 0 {
                    continue;
                }
                let queries = &q[first_row * width + first..];
                scratch.scores.resize(rows * seen, 0.0);
                let scores = &mut scratch.scores[..];
                let query = Factor { values: queries, rows, depth: dim, step: width };
                let keys = Packed { values: &scratch.keys, panel_len: dim * PANEL };
                self.product(query, keys, scores, seen, &mut scratch.product);
                for (row, (scores, sum)) in scores.chunks_exact_mut(seen).zip(&mut *sums).enumerate() {
                    let own = sees(row);
                    scores[own..].fill(0.0);
                    sum.add(&mut scores[..own], scale);
                }
                let weights = Factor { values: scores, rows, depth: seen, step: seen };
                let values = Packed { values: &scratch.values, panel_len: span * PANEL };
                if first_key == 0 {
                    self.product(weights, values, out, dim, &mut scratch.product);
                    continue;
                }
                scratch.gathered.resize(rows * dim, 0.0);
                self.product(weights, values, &mut scratch.gathered, dim, &mut scratch.product);
                let gathered = scratch.gathered.chunks_exact(dim);
                for ((out, gathered), sum) in out.chunks_exact_mut(dim).zip(gathered).zip(sums) {
                    out.iter_mut().zip(gathered).for_each(|(out, gathered)| *out = *out * sum.scaled + gathered);
                }
            }
        }
        for (out, sum) in out.chunks_exact_mut(dim).zip(sums) {
            out.iter_mut().for_each(|out| *out /= sum.total);
        }
        out
    }

    /// `out (rows, columns) = left · packed`.
    fn product(&self, left: Factor, packed: Packed, out: &mut [f32], columns: usize, scratch: &mut Product) {
        let Packed { values: packed, panel_len } = packed;
        let panels = columns.div_ceil(PANEL);
        let group = panels.div_ceil(panels.div_ceil(panels_max(self.isa)));
        // A kernel that takes one panel at a time reads its left side once for each.
        let by_tiles = group == 1 && left.rows >= TILE;
        if by_tiles {
            scratch.tiles.lay_out(left.values, left.step, left.rows, left.depth);
        }
        for first in (0..panels).step_by(group) {
            let group = group.min(panels - first);
            let weights = &packed[first * panel_len..];
            let sums = if by_tiles {
                let lanes = lanes_of_last(columns, first + 1);
                scratch.tiles.product(self.isa, &weights[..left.depth * PANEL], lanes).as_flattened()
            } else {
                scratch.sums.resize(left.rows * group * PANEL, 0.0);
                let row = Row {
                    taps: &[left.values],
                    channels: left.depth,
                    step: left.step,
                    channel_step: 1,
                    weights,
                    panels: group,
                    panel_len,
                    lanes: lanes_of_last(columns, first + group),
                    accumulate: false,
                };
                row.run(self.isa, &mut scratch.sums);
                &scratch.sums
            };
            let columns_here = first * PANEL..columns.min((first + group) * PANEL);
            for (out, sums) in out.chunks_exact_mut(columns).zip(sums.chunks_exact(group * PANEL)) {
                copy_panels(&mut out[columns_here.clone()], sums);
            }
        }
    }
}

/// What a product needs beside its factors.
#[derive(Default)]
struct Product {
    tiles: Tiles,
    sums: Vec<f32>,
}

/// The left side of a product: rows of `depth` numbers, `step` apart.
struct Factor<'a> {
    values: &'a [f32],
    rows: usize,
    depth: usize,
    step: usize,
}

/// The right side: panels of columns, each `panel_len` numbers, of which a product reads as many rows as its left is
/// deep.
struct Packed<'a> {
    values: &'a [f32],
    panel_len: usize,
}

/// What a query has gathered of the spans so far.
#[derive(Clone, Copy, Default)]
struct RowSum {
    /// The largest score, once there is one.
    largest: Option<f32>,
    /// The sum of its weights, which are relative to the largest score.
    total: f32,
    /// What the last span made of the weights before it.
    scaled: f32,
}

impl RowSum {
    /// The scores of a span become weights.
    fn add(&mut self, scores: &mut [f32], scale: f32) {
        self.scaled = 1.0;
        if scores.is_empty() {
            return;
        }
        let mut largest = self.largest.unwrap_or(f32::NEG_INFINITY);
        let sum = weigh(scores, scale, &mut largest);
        self.scaled = self.largest.map_or(0.0, |before| (before - largest).exp());
        self.total = self.total * self.scaled + sum;
        self.largest = Some(largest);
    }
}

/// The rows of some blocks from this one on.
fn rows_from<'a>(blocks: &'a [&'a [f32]], width: usize, first: usize) -> impl Iterator<Item = &'a [f32]> {
    let mut left_out = first * width;
    blocks.iter().flat_map(move |block| {
        let here = left_out.min(block.len());
        left_out -= here;
        block[here..].chunks_exact(width)
    })
}

dispatched!(
    /// Scores become weights that are not yet divided by their sum, which is returned. `largest`: before, and then of these too.
    fn weigh(scores: &mut [f32], scale: f32, largest: &mut f32) -> f32 = weigh_lanes
);

#[inline(always)]
fn weigh_lanes<const FMA: bool>(scores: &mut [f32], scale: f32, largest: &mut f32) -> f32 {
    scores.iter_mut().for_each(|score| *score *= scale);
    running_softmax_terms::<FMA>(scores, largest)
}

#[cfg(test)]
mod tests;
