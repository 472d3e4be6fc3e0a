//! The left side of a matrix product, laid out by tiles of rows.
//!
//! A kernel that takes one panel of weights at a time reads its left side once for every panel. In place, the rows of a tile lie
//! far apart: often a power of two, where they push each other out of the first-level cache. Laid out, a tile is read from one
//! end to the other.

use super::panels::{PANEL, Row, TILE};
use super::simd::Isa;

/// Inputs that one pass of the kernel takes: a panel's weights for them are 16 KiB, half of a first-level cache.
const DEPTH: usize = 256;

/// Rows of one length: `(at most DEPTH inputs, tile, input, row of the tile)`. Kept from product to product.
#[derive(Default)]
pub(crate) struct Tiles {
    values: Vec<f32>,
    tiles: usize,
    inputs: usize,
    sums: Vec<f32>,
}

impl Tiles {
    /// `values`: `rows` rows of `inputs` numbers, `step` apart.
    pub(crate) fn lay_out(&mut self, values: &[f32], step: usize, rows: usize, inputs: usize) {
        self.tiles = rows.div_ceil(TILE);
        self.inputs = inputs;
        self.values.resize(self.tiles * TILE * inputs, 0.0);
        for tile in 0..self.tiles {
            // The last row stands for those that the last tile lacks; their sums are not read.
            let tile_rows: [&[f32]; TILE] =
                std::array::from_fn(|i| &values[(tile * TILE + i).min(rows - 1) * step..][..inputs]);
            for first in (0..inputs).step_by(DEPTH) {
                let depth = DEPTH.min(inputs - first);
                let places = &mut self.values[(first * self.tiles + tile * depth) * TILE..][..depth * TILE];
                let inputs = tile_rows.map(|row| &row[first..first + depth]);
                for (i, places) in places.as_chunks_mut::<TILE>().0.iter_mut().enumerate() {
                    *places = inputs.map(|inputs| inputs[i]);
                }
            }
        }
    }

    /// The sums of one panel, of which so many lanes are wanted: `(row, PANEL)`, some of no meaning after the last row's.
    /// `weights`: `(input, PANEL)`.
    pub(crate) fn product(&mut self, isa: Isa, weights: &[f32], lanes: usize) -> &[[f32; PANEL]] {
        self.sums.resize(self.tiles * TILE * PANEL, 0.0);
        for first in (0..self.inputs).step_by(DEPTH) {
            let depth = DEPTH.min(self.inputs - first);
            let tiles = self.values[first * self.tiles * TILE..].chunks_exact(depth * TILE);
            for (tile, sums) in tiles.zip(self.sums.chunks_exact_mut(TILE * PANEL)) {
                let row = Row {
                    taps: &[tile],
                    channels: depth,
                    step: 1,
                    channel_step: TILE,
                    weights: &weights[first * PANEL..],
                    panels: 1,
                    panel_len: weights.len(),
                    lanes,
                    accumulate: first > 0,
                };
                row.run(isa, sums);
            }
        }
        self.sums.as_chunks().0
    }
}
