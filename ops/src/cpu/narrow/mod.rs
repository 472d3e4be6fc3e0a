//! Dense products whose weights are held in bf16 or int8, packed once.
//!
//! Every unit of a processor reads the same packed weights: `(panel, group, PANEL, GROUP)`, zero beyond the last input and the
//! last output. A group is what a 32-bit lane holds, two numbers or four; a panel has a multiple of 16 of them. Each output is summed over its inputs in their
//! order, whatever the threads and the tiles, so the bits do not depend on them.

mod amx;
mod bf16;
mod choice;
mod history;
mod int8;
mod pair_row;
mod quantise;
#[cfg(test)]
mod tests;
mod unit;

use std::ops::Range;

use rayon::prelude::*;

pub(crate) use self::choice::{Bf16Unit, multiplies_bf16};
use self::choice::{Int8Unit, with_bf16_unit};
pub(crate) use self::history::{History, HistoryShape};
pub(crate) use self::pair_row::{PairRow, pixels_as_words, weights_as_pairs};
use self::unit::{Pass, Unit};
use super::panels::{PANEL, TILE};
use super::simd::dispatched;
use super::storage::pays_to_share;
use crate::error::bail;
use crate::{Compute, Result, Stored};

/// Weights of one dense layer.
#[derive(Debug, Clone)]
pub(crate) struct Narrow {
    inputs: usize,
    outputs: usize,
    packed: Packed,
}

#[derive(Debug, Clone)]
enum Packed {
    Bf16(Vec<u16>),
    Int8 {
        weights: Vec<i8>,
        /// What a byte stands for, an output.
        scales: Vec<f32>,
        /// What a unit that takes activations without a sign sums too much, an output.
        corrections: Vec<i32>,
    },
}

/// Rows of one task: 1 KiB of a tile's is read again for every panel, and stays in the second-level cache.
const ROWS: usize = 32 * TILE;

impl Narrow {
    /// `weight`: `(out, in)`, of whose inputs these are taken. An error if a number is not finite or too large for the type.
    pub(crate) fn pack(weight: &Stored, inputs: Range<usize>, compute: Compute) -> Result<Narrow> {
        let outputs = weight.shape()[0];
        let stored_inputs: usize = weight.shape()[1..].iter().product();
        let read = |output: usize, row: &mut Vec<f32>| {
            row.resize(inputs.len(), 0.0);
            weight.read(output * stored_inputs + inputs.start, row)
        };
        let panels = outputs.div_ceil(PANEL);
        let packed = match compute {
            Compute::F32 => bail!("weights in f32 are packed without a change of type"),
            Compute::Bf16 => {
                let panel_len = panel_len(inputs.len(), bf16::PAIR);
                let mut weights = vec![0; panels * panel_len];
                let pack = |row: &mut Vec<f32>, (panel, weights): (usize, &mut [u16])| -> Result<()> {
                    for lane in 0..PANEL.min(outputs - panel * PANEL) {
                        read(panel * PANEL + lane, row)?;
                        for (input, value) in row.iter().enumerate() {
                            let rounded = bf16::rounded(*value);
                            if rounded & 0x7f80 == 0x7f80 {
                                bail!("a weight of {value} is too large for bf16: compute in f32");
                            }
                            weights[place(input, lane, bf16::PAIR)] = rounded;
                        }
                    }
                    Ok(())
                };
                weights.par_chunks_mut(panel_len).enumerate().try_for_each_init(Vec::new, pack)?;
                Packed::Bf16(weights)
            }
            Compute::Int8 => {
                if inputs.len() > quantise::INPUTS_MAX {
                    bail!("a layer of {} inputs is too wide for int8: at most {}", inputs.len(), quantise::INPUTS_MAX);
                }
                let panel_len = panel_len(inputs.len(), quantise::QUAD);
                let mut weights = vec![0; panels * panel_len];
                let (mut scales, mut corrections) = (vec![0.0; panels * PANEL], vec![0; panels * PANEL]);
                let all = weights.par_chunks_mut(panel_len).zip(scales.par_chunks_mut(PANEL));
                let all = all.zip(corrections.par_chunks_mut(PANEL)).enumerate();
                all.try_for_each(|(panel, ((weights, scales), corrections))| -> Result<()> {
                    let (mut row, mut bytes) = (Vec::new(), vec![0; inputs.len()]);
                    for lane in 0..PANEL.min(outputs - panel * PANEL) {
                        read(panel * PANEL + lane, &mut row)?;
                        scales[lane] = quantise::bytes(&row, &mut bytes);
                        corrections[lane] = quantise::correction(bytes.iter().copied());
                        for (input, byte) in bytes.iter().enumerate() {
                            let first = place(input - input % quantise::QUAD, lane, quantise::QUAD);
                            weights[first + quantise::BYTE_OF[input % quantise::QUAD]] = *byte;
                        }
                    }
                    Ok(())
                })?;
                Packed::Int8 { weights, scales, corrections }
            }
        };
        Ok(Narrow { inputs: inputs.len(), outputs, packed })
    }

    /// Of `x`, rows of `inputs` numbers. `put(outputs, width, sums, out)` gets the sums of some rows and outputs, `width` of them
    /// a row, and these rows' part of `out`. `then(row, outputs)` changes each row of outputs as soon as it is whole.
    pub(crate) fn apply(
        &self,
        x: &[f32],
        out: &mut [f32],
        put: impl Fn(Range<usize>, usize, &[f32], &mut [f32]) + Sync,
        then: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        match &self.packed {
            Packed::Bf16(_) => self.apply_bf16(Bf16Unit::best(), x, out, put, then),
            Packed::Int8 { .. } => self.apply_int8(Int8Unit::best(), x, out, put, then),
        }
    }

    fn apply_bf16(
        &self,
        unit: Bf16Unit,
        x: &[f32],
        out: &mut [f32],
        put: impl Fn(Range<usize>, usize, &[f32], &mut [f32]) + Sync,
        then: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let Packed::Bf16(weights) = &self.packed else { unreachable!("packed as bf16") };
        let as_it_is = |totals: &[f32], _: f32, _: usize, sums: &mut [f32]| sums.copy_from_slice(totals);
        with_bf16_unit!(unit, U => self.share::<U>(weights, x, out, as_it_is, put, then));
    }

    fn apply_int8(
        &self,
        unit: Int8Unit,
        x: &[f32],
        out: &mut [f32],
        put: impl Fn(Range<usize>, usize, &[f32], &mut [f32]) + Sync,
        then: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let Packed::Int8 { weights, scales, corrections } = &self.packed else { unreachable!("packed as int8") };
        let scaled = |totals: &[i32], row_scale: f32, first: usize, sums: &mut [f32]| {
            scale_totals(totals, row_scale, &scales[first..], sums)
        };
        let corrected = |totals: &[i32], row_scale: f32, first: usize, sums: &mut [f32]| {
            scale_corrected(totals, row_scale, &scales[first..], &corrections[first..], sums)
        };
        match unit {
            #[cfg(target_arch = "x86_64")]
            Int8Unit::Quads512 => self.share::<int8::wide::Quads>(weights, x, out, corrected, put, then),
            #[cfg(target_arch = "x86_64")]
            Int8Unit::Quads256 => self.share::<int8::narrow::Quads>(weights, x, out, corrected, put, then),
            #[cfg(target_arch = "x86_64")]
            Int8Unit::Pairs256 => self.share::<int8::narrow::Pairs>(weights, x, out, scaled, put, then),
            Int8Unit::Plain => self.share::<int8::PlainQuads>(weights, x, out, corrected, put, then),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Int8Unit::Tiles => {
                self.share::<amx::Int8<amx::instructions::Instructions>>(weights, x, out, corrected, put, then)
            }
            #[cfg(test)]
            Int8Unit::PlainTiles => self.share::<amx::Int8<amx::Plain>>(weights, x, out, corrected, put, then),
            #[cfg(test)]
            Int8Unit::PlainPairs => self.share::<int8::PlainPairs>(weights, x, out, scaled, put, then),
        }
    }

    /// All rows, on all threads where that pays. `finish(totals, the row's scale, the first's output, sums)`: a row's sums of some
    /// panels.
    fn share<U: Unit>(
        &self,
        weights: &[U::Weight],
        x: &[f32],
        out: &mut [f32],
        finish: impl Fn(&[U::Total], f32, usize, &mut [f32]) + Sync,
        put: impl Fn(Range<usize>, usize, &[f32], &mut [f32]) + Sync,
        then: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let rows = x.len() / self.inputs;
        let block = |scratch: &mut Scratch<U>, first_row: usize, (out, x): (&mut [f32], &[f32])| {
            scratch.lay_out(x, self.inputs);
            self.block(weights, scratch, out, &finish, &put);
            out.chunks_exact_mut(self.outputs).enumerate().for_each(|(row, out)| then(first_row + row, out));
        };
        if !pays_to_share(rows * self.inputs * self.outputs / 16) {
            let mut scratch = Scratch::new();
            let blocks = out.chunks_mut(ROWS * self.outputs).zip(x.chunks(ROWS * self.inputs));
            return blocks.enumerate().for_each(|(number, rows)| block(&mut scratch, number * ROWS, rows));
        }
        // As many blocks for every thread, of whole tiles.
        let blocks = rows.div_ceil(ROWS).next_multiple_of(rayon::current_num_threads());
        let share = rows.div_ceil(blocks).next_multiple_of(U::TILE);
        let blocks = out.par_chunks_mut(share * self.outputs).zip(x.par_chunks(share * self.inputs));
        blocks.enumerate().for_each_init(Scratch::new, |scratch, (number, rows)| block(scratch, number * share, rows));
    }

    /// All outputs of the rows that are laid out.
    fn block<U: Unit>(
        &self,
        weights: &[U::Weight],
        scratch: &mut Scratch<U>,
        out: &mut [f32],
        finish: impl Fn(&[U::Total], f32, usize, &mut [f32]),
        put: impl Fn(Range<usize>, usize, &[f32], &mut [f32]),
    ) {
        let Scratch { words, scales, totals, sums, .. } = scratch;
        let groups = groups::<U>(self.inputs);
        let panel_len = panel_len(self.inputs, U::GROUP);
        // As many panels at once as the unit takes, in groups as even as can be.
        let panels = self.outputs.div_ceil(PANEL);
        let together = panels.div_ceil(panels.div_ceil(U::PANELS));
        for first_panel in (0..panels).step_by(together) {
            let together = together.min(panels - first_panel);
            let width = together * PANEL;
            sums.resize(scales.len().next_multiple_of(U::TILE) * width, 0.0);
            let from = &weights[first_panel * panel_len..];
            totals.resize(scales.len().next_multiple_of(U::TILE) * width, U::Total::default());
            sum_panels::<U>(words, (scales.len(), groups), from, (panel_len, together), totals, width);
            let start = first_panel * PANEL;
            let rows = totals.chunks_exact(width).zip(sums.chunks_exact_mut(width)).zip(&*scales);
            for ((totals, sums), scale) in rows {
                finish(totals, *scale, start, sums);
            }
            put(start..self.outputs.min(start + width), width, sums, out);
        }
    }
}

dispatched!(
    /// Whole numbers become what they stand for: times the scale of their row and that of their output.
    fn scale_totals(totals: &[i32], row: f32, scales: &[f32], sums: &mut [f32]) = scale_totals_lanes
);

#[inline(always)]
fn scale_totals_lanes<const FMA: bool>(totals: &[i32], row: f32, scales: &[f32], sums: &mut [f32]) {
    for ((sum, total), scale) in sums.iter_mut().zip(totals).zip(scales) {
        *sum = *total as f32 * (row * scale);
    }
}

dispatched!(
    /// As [`scale_totals`], of which something is taken away first.
    fn scale_corrected(totals: &[i32], row: f32, scales: &[f32], corrections: &[i32], sums: &mut [f32]) = scale_corrected_lanes
);

#[inline(always)]
fn scale_corrected_lanes<const FMA: bool>(
    totals: &[i32],
    row: f32,
    scales: &[f32],
    corrections: &[i32],
    sums: &mut [f32],
) {
    let corrected = totals.iter().zip(corrections).map(|(total, correction)| total.wrapping_sub(*correction));
    for ((sum, total), scale) in sums.iter_mut().zip(corrected).zip(scales) {
        *sum = total as f32 * (row * scale);
    }
}

/// The sums of `panels` panels, `panel_len` apart, over all groups of the rows that are laid out: `(row, panel, PANEL)`, rows
/// `totals_step` apart, with rows that fill the last tile.
fn sum_panels<U: Unit>(
    words: &[u32],
    (rows, groups): (usize, usize),
    weights: &[U::Weight],
    (panel_len, panels): (usize, usize),
    totals: &mut [U::Total],
    totals_step: usize,
) {
    let tiles = rows.div_ceil(U::TILE);
    for first in (0..groups).step_by(U::DEPTH) {
        let first_word = first * U::WORDS * if U::BY_ROWS { 1 } else { U::TILE * tiles };
        let pass = Pass::<U> {
            words: &words[first_word..],
            row_words: groups * U::WORDS,
            weights: &weights[first * U::GROUP * PANEL..],
            panel_len,
            panels,
            groups: U::DEPTH.min(groups - first),
            tiles,
            totals_step,
            accumulate: first > 0,
        };
        pass.run(totals);
    }
}

/// Numbers of a packed panel, whose groups hold so many.
fn panel_len(inputs: usize, group: usize) -> usize {
    inputs.div_ceil(group).next_multiple_of(amx::SIDE) * group * PANEL
}

/// Groups of a row, with those of zeros that are multiplied together with the last one.
fn groups<U: Unit>(inputs: usize) -> usize {
    inputs.div_ceil(U::GROUP).next_multiple_of(U::TOGETHER)
}

/// Where a panel holds the weight of an input.
fn place(input: usize, lane: usize, group: usize) -> usize {
    (input / group * PANEL + lane) * group + input % group
}

/// Kept from block to block.
struct Scratch<U: Unit> {
    /// By rows, or at most `Unit::DEPTH` groups, then the others; of these tile by tile, as [`Unit::place`] says.
    words: Vec<u32>,
    /// A row's words.
    row: Vec<u32>,
    /// What the sums of each row are multiplied by.
    scales: Vec<f32>,
    totals: Vec<U::Total>,
    sums: Vec<f32>,
}

impl<U: Unit> Scratch<U> {
    fn new() -> Scratch<U> {
        Scratch { words: Vec::new(), row: Vec::new(), scales: Vec::new(), totals: Vec::new(), sums: Vec::new() }
    }

    /// `x`: rows of `inputs` numbers. What the last tile lacks is zero; its sums are not read.
    fn lay_out(&mut self, x: &[f32], inputs: usize) {
        let row_words = groups::<U>(inputs) * U::WORDS;
        let tiles = (x.len() / inputs).div_ceil(U::TILE);
        self.words.resize(tiles * U::TILE * row_words, 0);
        self.row.resize(row_words, 0);
        self.scales.clear();
        let depth = U::DEPTH * U::WORDS;
        for (number, x) in x.chunks_exact(inputs).enumerate() {
            let (tile, row) = (number / U::TILE, number % U::TILE);
            if U::BY_ROWS {
                self.scales.push(U::words(x, &mut self.words[number * row_words..][..row_words]));
                continue;
            }
            self.scales.push(U::words(x, &mut self.row));
            for (part, run) in self.row.chunks(depth).enumerate() {
                let first = (part * depth * tiles + tile * run.len()) * U::TILE;
                let places = &mut self.words[first..][..run.len() * U::TILE];
                for (word, value) in run.iter().enumerate() {
                    places[U::place(word, row, run.len())] = *value;
                }
            }
        }
    }
}
