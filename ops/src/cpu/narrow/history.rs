//! Attention to keys and values that are held in bf16 and packed when they are written, never when they are read.
//!
//! The blocks of a head are one long sequence of keys: a panel may begin in one block and end in the next, so only the end of the
//! sequence is padded. A query sees some of the blocks. The keys of the others that share a panel with those get a weight of zero.
//!
//! The keys are taken a strip at a time. A query keeps the largest score that it has met and sums over what it has seen, and makes
//! both smaller when a later strip holds a larger score (online softmax, <https://arxiv.org/abs/1805.02867>), so there is no matrix
//! of all scores.

use std::ops::Range;

use rayon::prelude::*;

use super::amx;
use super::bf16::{self, PAIR};
use super::choice::{Bf16Unit, with_bf16_unit};
use super::unit::Unit;
use super::{Scratch, groups, sum_panels};
use crate::cpu::panels::PANEL;
use crate::cpu::simd::{dispatched, exp};
use crate::cpu::softmax::running_softmax_terms;
use crate::cpu::storage::pays_to_share;

/// A strip begins at a multiple of so many keys: AMX multiplies 16 pairs of them together.
const ALIGN: usize = amx::SIDE * PAIR;
/// Keys of a strip: 256 pairs, which one pass of a unit takes.
const STRIP: usize = 512;
/// Queries that go over the strips together: their scores, 384 KiB, and a strip stay in the second-level cache.
const ROWS: usize = 192;

/// Keys and values of one layer.
#[derive(Debug, Clone)]
pub(crate) struct History {
    shape: HistoryShape,
    /// `(head, panel of keys, pair of channels, PANEL, PAIR)`
    keys: Vec<u16>,
    /// `(head, panel of channels, pair of keys, PANEL, PAIR)`
    values: Vec<u16>,
}

/// How much a history holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistoryShape {
    /// Blocks that there is room for.
    pub(crate) blocks: usize,
    /// Keys of a block.
    pub(crate) rows: usize,
    pub(crate) heads: usize,
    /// Channels of a head.
    pub(crate) dim: usize,
}

impl HistoryShape {
    /// Keys of a head.
    fn length(&self) -> usize {
        (self.blocks * self.rows).next_multiple_of(ALIGN)
    }

    /// Numbers of a panel of keys.
    fn key_panel(&self) -> usize {
        self.dim.div_ceil(PAIR) * PAIR * PANEL
    }

    /// Numbers of a panel of channels.
    fn value_panel(&self) -> usize {
        self.length() * PANEL
    }

    /// Numbers of a head's keys.
    fn head_keys(&self) -> usize {
        self.length() / PANEL * self.key_panel()
    }

    /// Numbers of a head's values.
    fn head_values(&self) -> usize {
        self.dim.div_ceil(PANEL) * self.value_panel()
    }

    /// Where number `channel` of key `key` is.
    fn key_place(&self, head: usize, key: usize, channel: usize) -> usize {
        let panel = head * self.head_keys() + key / PANEL * self.key_panel();
        panel + (channel / PAIR * PANEL + key % PANEL) * PAIR + channel % PAIR
    }

    /// Where number `channel` of the value of key `key` is.
    fn value_place(&self, head: usize, key: usize, channel: usize) -> usize {
        let panel = head * self.head_values() + channel / PANEL * self.value_panel();
        panel + (key / PAIR * PANEL + channel % PANEL) * PAIR + key % PAIR
    }

    /// Bytes that a history of this shape takes.
    pub(crate) fn bytes(&self) -> u64 {
        (self.heads * (self.head_keys() + self.head_values()) * size_of::<u16>()) as u64
    }
}

/// Neighbouring keys that a query goes over together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Strip {
    /// The first of them, a multiple of `ALIGN`.
    first: usize,
    /// How many: a multiple of `ALIGN`, at most `STRIP`.
    length: usize,
    /// Those of them that are seen, counted from the first.
    seen: Range<usize>,
}

impl History {
    /// Nothing is written yet.
    pub(crate) fn new(shape: HistoryShape) -> History {
        let zeros = |each: usize| vec![0; shape.heads * each];
        History { shape, keys: zeros(shape.head_keys()), values: zeros(shape.head_values()) }
    }

    pub(crate) fn shape(&self) -> HistoryShape {
        self.shape
    }

    /// Put a block's keys and values, `(rows, heads·dim)`, over what stood there.
    pub(crate) fn write(&mut self, block: usize, keys: &[f32], values: &[f32]) {
        let HistoryShape { blocks, rows, heads, dim } = self.shape;
        let width = heads * dim;
        assert!(block < blocks && keys.len() == rows * width && values.len() == keys.len(), "a block of this shape");
        for row in 0..rows {
            let key = block * rows + row;
            let of_key = keys[row * width..][..width].chunks_exact(dim);
            let of_value = values[row * width..][..width].chunks_exact(dim);
            for (head, (channels, values)) in of_key.zip(of_value).enumerate() {
                // A pair of channels lies together, the next one a panel's width further on.
                let first = self.shape.key_place(head, key, 0);
                let places = self.keys[first..].chunks_mut(PANEL * PAIR);
                for (place, pair) in places.zip(channels.chunks(PAIR)) {
                    for (place, number) in place.iter_mut().zip(pair) {
                        *place = bf16::rounded(*number);
                    }
                }
                for (panel, values) in values.chunks(PANEL).enumerate() {
                    let first = self.shape.value_place(head, key, panel * PANEL);
                    for (place, number) in self.values[first..].iter_mut().step_by(PAIR).zip(values) {
                        *place = bf16::rounded(*number);
                    }
                }
            }
        }
    }

    /// A block's keys and values as they are held: `(rows, heads·dim)` each.
    pub(crate) fn block(&self, block: usize) -> (Vec<f32>, Vec<f32>) {
        let HistoryShape { rows, heads, dim, .. } = self.shape;
        let number = |bits: u16| f32::from_bits(u32::from(bits) << 16);
        let places = (block * rows..(block + 1) * rows)
            .flat_map(|key| (0..heads * dim).map(move |channel| (channel / dim, key, channel % dim)));
        places
            .map(|(head, key, channel)| {
                let key_at = self.shape.key_place(head, key, channel);
                let value_at = self.shape.value_place(head, key, channel);
                (number(self.keys[key_at]), number(self.values[value_at]))
            })
            .unzip()
    }

    /// `softmax(q·kᵀ / √d)·v`, head by head, over the keys of these blocks. `q`: `(N, heads·dim)` → the same shape.
    pub(crate) fn attend(&self, q: &[f32], blocks: &[usize]) -> Vec<f32> {
        let fits = |unit: &Bf16Unit| self.shape.dim.is_multiple_of(ALIGN) || !unit.is_tiles();
        let unit = Bf16Unit::best_that(fits);
        self.attend_by(unit, q, blocks)
    }

    fn attend_by(&self, unit: Bf16Unit, q: &[f32], blocks: &[usize]) -> Vec<f32> {
        let strips = self.strips(blocks);
        with_bf16_unit!(unit, U => self.attend_on::<U>(q, &strips))
    }

    /// The keys of these blocks, neighbours together.
    fn strips(&self, blocks: &[usize]) -> Vec<Strip> {
        let rows = self.shape.rows;
        let mut blocks = blocks.to_vec();
        blocks.sort_unstable();
        let mut runs: Vec<Range<usize>> = Vec::new();
        for block in blocks {
            assert!(block < self.shape.blocks, "a block that there is room for");
            match runs.last_mut() {
                Some(last) if last.end == block * rows => last.end += rows,
                _ => runs.push(block * rows..(block + 1) * rows),
            }
        }
        let cut = |run: Range<usize>| {
            let first = run.start / ALIGN * ALIGN;
            (first..run.end).step_by(STRIP).map(move |first| {
                let length = (run.end - first).next_multiple_of(ALIGN).min(STRIP);
                Strip { first, length, seen: run.start.max(first) - first..run.end.min(first + length) - first }
            })
        };
        runs.into_iter().flat_map(cut).collect()
    }

    fn attend_on<U: Unit<Weight = u16, Total = f32>>(&self, q: &[f32], strips: &[Strip]) -> Vec<f32> {
        let HistoryShape { heads, dim, .. } = self.shape;
        let width = heads * dim;
        let seen: usize = strips.iter().map(|strip| strip.seen.len()).sum();
        let head = |scratch: &mut AttentionScratch<U>, head: usize| self.head(head, q, strips, scratch);
        let results: Vec<Vec<f32>> = if pays_to_share(q.len() * seen / 16) {
            (0..heads).into_par_iter().map_init(AttentionScratch::new, head).collect()
        } else {
            let mut scratch = AttentionScratch::new();
            (0..heads).map(|number| head(&mut scratch, number)).collect()
        };
        let mut out = vec![0.0; q.len()];
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            for (out, result) in out.chunks_exact_mut(dim).zip(&results) {
                out.copy_from_slice(&result[row * dim..][..dim]);
            }
        }
        out
    }

    /// All queries of one head: `(N, dim)`.
    fn head<U: Unit<Weight = u16, Total = f32>>(
        &self,
        head: usize,
        q: &[f32],
        strips: &[Strip],
        scratch: &mut AttentionScratch<U>,
    ) -> Vec<f32> {
        let HistoryShape { heads, dim, .. } = self.shape;
        let width = heads * dim;
        let keys = &self.keys[head * self.shape.head_keys()..][..self.shape.head_keys()];
        let values = &self.values[head * self.shape.head_values()..][..self.shape.head_values()];
        let (key_panel, value_panel) = (self.shape.key_panel(), self.shape.value_panel());
        let scale = 1.0 / (dim as f32).sqrt();
        let AttentionScratch { queries, left, scores, weights, totals, rows: states } = scratch;
        let mut out = vec![0.0; q.len() / width * dim];
        for (out, q) in out.chunks_mut(ROWS * dim).zip(q.chunks(ROWS * width)) {
            queries.clear();
            for q in q.chunks_exact(width) {
                queries.extend(q[head * dim..][..dim].iter().map(|x| x * scale));
            }
            left.lay_out(queries, dim);
            states.clear();
            states.resize(out.len() / dim, RowState::new());
            let rows = states.len();
            for strip in strips {
                scores.resize(rows.next_multiple_of(U::TILE) * strip.length, 0.0);
                let of_strip = &keys[strip.first / PANEL * key_panel..];
                let queries = (&*left.words, rows, groups::<U>(dim));
                for_panels::<U>(strip.length, |first, panels| {
                    let of_panels = &of_strip[first * key_panel..];
                    let (words, rows, groups) = queries;
                    let scores = &mut scores[first * PANEL..];
                    sum_panels::<U>(words, (rows, groups), of_panels, (key_panel, panels), scores, strip.length);
                });
                for (state, scores) in states.iter_mut().zip(scores.chunks_exact_mut(strip.length)) {
                    scores[..strip.seen.start].fill(0.0);
                    scores[strip.seen.end..].fill(0.0);
                    weigh(&mut scores[strip.seen.clone()], state);
                }
                let words = match U::as_words(scores) {
                    Some(words) => words,
                    None => {
                        weights.lay_out(&scores[..rows * strip.length], strip.length);
                        &weights.words
                    }
                };
                let of_strip = &values[strip.first * PANEL..];
                for_panels::<U>(dim, |first, panels| {
                    let of_panels = &of_strip[first * value_panel..];
                    let (width, groups) = (panels * PANEL, groups::<U>(strip.length));
                    totals.resize(rows.next_multiple_of(U::TILE) * width, 0.0);
                    sum_panels::<U>(words, (rows, groups), of_panels, (value_panel, panels), totals, width);
                    let here = first * PANEL..dim.min(first * PANEL + width);
                    let sums = totals.chunks_exact(width).zip(states.iter());
                    for (out, (sums, state)) in out.chunks_exact_mut(dim).zip(sums) {
                        for (out, sum) in out[here.clone()].iter_mut().zip(sums) {
                            *out = *out * state.kept + sum;
                        }
                    }
                });
            }
            for (out, state) in out.chunks_exact_mut(dim).zip(states.iter()) {
                out.iter_mut().for_each(|out| *out /= state.total);
            }
        }
        out
    }
}

/// `work(first panel, panels)` for all panels of so many columns, as many together as the unit takes and as even as can be.
fn for_panels<U: Unit>(columns: usize, mut work: impl FnMut(usize, usize)) {
    let panels = columns.div_ceil(PANEL);
    let together = panels.div_ceil(panels.div_ceil(U::PANELS));
    for first in (0..panels).step_by(together) {
        work(first, together.min(panels - first));
    }
}

/// What a query knows of the strips that it has gone over.
#[derive(Debug, Clone, Copy)]
struct RowState {
    /// The largest score.
    largest: f32,
    /// The sum of all weights, in terms of that.
    total: f32,
    /// What sums of before the last strip are multiplied by.
    kept: f32,
}

impl RowState {
    fn new() -> RowState {
        RowState { largest: f32::NEG_INFINITY, total: 0.0, kept: 0.0 }
    }
}

dispatched!(
    /// Scores of a strip become weights that are not yet divided by their sum.
    fn weigh(scores: &mut [f32], state: &mut RowState) = weigh_lanes
);

#[inline(always)]
fn weigh_lanes<const FMA: bool>(scores: &mut [f32], state: &mut RowState) {
    let before = state.largest;
    let total = running_softmax_terms::<FMA>(scores, &mut state.largest);
    // The first strip multiplies nothing: what `exp` gives for the difference from minus infinity meets zeros.
    state.kept = exp::<FMA>(before - state.largest);
    state.total = state.total * state.kept + total;
}

/// Kept from head to head.
struct AttentionScratch<U: Unit> {
    /// Of one head, scaled.
    queries: Vec<f32>,
    left: Scratch<U>,
    /// `(query, key of the strip)`
    scores: Vec<f32>,
    weights: Scratch<U>,
    totals: Vec<f32>,
    rows: Vec<RowState>,
}

impl<U: Unit> AttentionScratch<U> {
    fn new() -> AttentionScratch<U> {
        AttentionScratch {
            queries: Vec::new(),
            left: Scratch::new(),
            scores: Vec::new(),
            weights: Scratch::new(),
            totals: Vec::new(),
            rows: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
