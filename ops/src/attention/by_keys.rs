//! Attention of few queries: the queries are packed, and not the keys.
//!
//! Scores are made key by key, a register holding those of sixteen queries, so keys are read where they lie and softmax takes
//! sixteen queries at once. Each number is computed in the order in which [`Head::attend`] computes it, so the bits are the same.

use std::ops::Range;

use super::{Head, Scratch};
use crate::cpu::panels::{PANEL, Row, lanes_of_last};
use crate::cpu::simd::{LANES, dispatched, exp};
use crate::cpu::transpose::transpose;

/// Queries that are taken together, at most: four panels, which one call of the kernel takes.
const TOGETHER: usize = 4 * PANEL;
/// With more queries than that, packing the keys costs little of the time.
pub(super) const QUERIES_MAX: usize = 128;

/// What sixteen queries have gathered of the spans so far.
#[derive(Clone, Copy)]
struct Gathered {
    largest: [f32; LANES],
    total: [f32; LANES],
    /// What the last span made of the weights before it.
    scaled: [f32; LANES],
}

/// The queries of some rows, each of which sees all keys: `(rows, dim)`.
pub(super) fn attend(
    head: &Head,
    q: &[f32],
    of_rows: Range<usize>,
    keys: &[&[f32]],
    values: &[&[f32]],
    scratch: &mut Scratch,
) -> Vec<f32> {
    let tiles = of_rows.len().div_ceil(TOGETHER);
    let tile = of_rows.len().div_ceil(tiles);
    let mut out = vec![0.0; of_rows.len() * head.dim];
    for (first_row, out) in of_rows.step_by(tile).zip(out.chunks_mut(tile * head.dim)) {
        attend_together(head, &q[first_row * head.width..], keys, values, scratch, out);
    }
    out
}

fn attend_together(head: &Head, q: &[f32], keys: &[&[f32]], values: &[&[f32]], scratch: &mut Scratch, out: &mut [f32]) {
    let Head { isa, first, key_first, dim, width, key_width, length, .. } = *head;
    let rows = out.len() / dim;
    let panels = rows.div_ceil(PANEL);
    let columns = panels * PANEL;
    let Scratch { keys: queries, values: packed, scores, gathered: sums, .. } = scratch;
    queries.resize(panels * dim * PANEL, 0.0);
    for (panel, places) in queries.as_chunks_mut::<PANEL>().0.chunks_exact_mut(dim).enumerate() {
        // The last query stands for those that the last panel lacks.
        let row = |i: usize| (panel * PANEL + i).min(rows - 1);
        transpose(&std::array::from_fn(|i| &q[row(i) * width + first..][..dim]), places);
    }
    let span = head.span();
    let scale = 1.0 / (dim as f32).sqrt();
    let nothing = Gathered { largest: [f32::NEG_INFINITY; LANES], total: [0.0; LANES], scaled: [0.0; LANES] };
    let mut states = [nothing; TOGETHER / PANEL];
    for first_key in (0..length).step_by(span) {
        let span = span.min(length - first_key);
        scores.resize(span * columns, 0.0);
        let mut places = &mut scores[..];
        for part in parts(keys, key_width, first_key..first_key + span) {
            let (place, rest) = places.split_at_mut(part.len() / key_width * columns);
            let row = Row {
                taps: &[&part[key_first..]],
                channels: dim,
                step: key_width,
                channel_step: 1,
                weights: queries,
                panels,
                panel_len: dim * PANEL,
                lanes: lanes_of_last(rows, panels),
                accumulate: false,
            };
            row.run(isa, place);
            places = rest;
        }
        for (panel, state) in states[..panels].iter_mut().enumerate() {
            weigh_columns(&mut scores[panel * PANEL..], columns, scale, state);
        }
        packed.resize(dim.div_ceil(PANEL) * span * PANEL, 0.0);
        let mut at = 0;
        for part in parts(values, key_width, first_key..first_key + span) {
            pack_part(&part[key_first..], key_width, dim, span, &mut packed.as_chunks_mut().0[at..]);
            at += part.len() / key_width;
        }
        let value_panels = dim.div_ceil(PANEL);
        let group = value_panels.div_ceil(value_panels.div_ceil(TOGETHER / PANEL));
        for first in (0..value_panels).step_by(group) {
            let group = group.min(value_panels - first);
            sums.resize(rows * group * PANEL, 0.0);
            let row = Row {
                taps: &[&scores[..]],
                channels: span,
                step: 1,
                channel_step: columns,
                weights: &packed[first * span * PANEL..],
                panels: group,
                panel_len: span * PANEL,
                lanes: lanes_of_last(dim, first + group),
                accumulate: false,
            };
            row.run(isa, sums);
            let here = first * PANEL..dim.min((first + group) * PANEL);
            for (i, (out, sums)) in out.chunks_exact_mut(dim).zip(sums.chunks_exact(group * PANEL)).enumerate() {
                let (out, scaled) = (&mut out[here.clone()], states[i / PANEL].scaled[i % PANEL]);
                if first_key == 0 {
                    out.copy_from_slice(&sums[..out.len()]);
                } else {
                    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = *out * scaled + sum);
                }
            }
        }
    }
    for (i, out) in out.chunks_exact_mut(dim).enumerate() {
        let total = states[i / PANEL].total[i % PANEL];
        out.iter_mut().for_each(|out| *out /= total);
    }
}

/// The rows of some blocks, block by block.
fn parts<'a>(blocks: &'a [&'a [f32]], width: usize, rows: Range<usize>) -> impl Iterator<Item = &'a [f32]> {
    let mut before = 0;
    blocks.iter().filter_map(move |block| {
        let here = before..before + block.len() / width;
        before = here.end;
        let seen = rows.start.max(here.start)..rows.end.min(here.end);
        (!seen.is_empty()).then(|| &block[(seen.start - here.start) * width..(seen.end - here.start) * width])
    })
}

dispatched!(
    /// Values of some keys, `key_width` apart, as `(panel of channels, key, PANEL)`, zero beyond the last channel; `span` places a
    /// panel.
    fn pack_part(values: &[f32], key_width: usize, dim: usize, span: usize, places: &mut [[f32; PANEL]]) = pack_part_lanes
);

#[inline(always)]
fn pack_part_lanes<const FMA: bool>(
    values: &[f32],
    key_width: usize,
    dim: usize,
    span: usize,
    places: &mut [[f32; PANEL]],
) {
    for (panel, places) in places.chunks_mut(span).enumerate().take(dim.div_ceil(PANEL)) {
        let first = panel * PANEL;
        for (place, value) in places.iter_mut().zip(values[first..].chunks(key_width)) {
            match value.first_chunk::<PANEL>() {
                Some(channels) if dim - first >= PANEL => *place = *channels,
                _ => {
                    let lanes = (dim - first).min(PANEL);
                    place[..lanes].copy_from_slice(&value[..lanes]);
                    place[lanes..].fill(0.0);
                }
            }
        }
    }
}

dispatched!(
    /// The scores of sixteen queries, `columns` apart from key to key, become weights that are not yet divided by their sum.
    fn weigh_columns(scores: &mut [f32], columns: usize, scale: f32, state: &mut Gathered) = weigh_columns_lanes
);

#[inline(always)]
fn weigh_columns_lanes<const FMA: bool>(scores: &mut [f32], columns: usize, scale: f32, state: &mut Gathered) {
    let before = state.largest;
    let mut largest = before;
    let keys = scores.len().div_ceil(columns);
    for key in scores.chunks_mut(columns) {
        let Some(key) = key.first_chunk_mut::<LANES>() else { unreachable!("a key has whole panels") };
        for i in 0..LANES {
            key[i] *= scale;
            largest[i] = if key[i] > largest[i] { key[i] } else { largest[i] };
        }
    }
    // As many sums as a register has lanes, each of every sixteenth key, as where a register holds the scores of one query.
    let (mut sums, mut rest) = ([[0f32; LANES]; LANES], [0f32; LANES]);
    let whole = keys / LANES * LANES;
    for (number, key) in scores.chunks_mut(columns).enumerate() {
        let Some(key) = key.first_chunk_mut::<LANES>() else { unreachable!("a key has whole panels") };
        let sum = if number < whole { &mut sums[number % LANES] } else { &mut rest };
        for i in 0..LANES {
            key[i] = exp::<FMA>(key[i] - largest[i]);
            sum[i] += key[i];
        }
    }
    let mut total = [0f32; LANES];
    for sum in &sums {
        for i in 0..LANES {
            total[i] += sum[i];
        }
    }
    for i in 0..LANES {
        state.scaled[i] = if before[i] == f32::NEG_INFINITY { 0.0 } else { (before[i] - largest[i]).exp() };
        state.total[i] = state.total[i] * state.scaled[i] + (total[i] + rest[i]);
    }
    state.largest = largest;
}
