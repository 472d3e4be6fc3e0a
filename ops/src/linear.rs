//! Dense layers.

mod then;

use std::ops::Range;

use rayon::prelude::*;

use crate::cpu::narrow::Narrow;
use crate::cpu::panels::{PANEL, Row, TILE, copy_panels, lanes_of_last, panels_max};
use crate::cpu::simd::Isa;
use crate::cpu::storage::{pays_to_share, read};
use crate::cpu::tiles::Tiles;
use crate::cuda::{Ending, PackedLinear};
use crate::error::bail;
use crate::{Compute, Device, Result, Stored, Tensor};

pub use self::then::Then;

/// `y = x·Wᵀ + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    device: Device,
    inputs: usize,
    outputs: usize,
    /// `(panel, in, PANEL)`, packed once: zero beyond the last output. Empty where they are narrower, and on a GPU.
    weights: Vec<f32>,
    /// The weights where the device computes in another type than f32.
    narrow: Option<Narrow>,
    bias: Option<Vec<f32>>,
    /// The weights where the device is a GPU.
    on_cuda: Option<PackedLinear>,
}

/// Where rows are read in place: rows of one task, for which weights are read once from memory, and inputs of one pass over
/// them, whose weights are 32 KiB and stay in a first-level cache of today.
const ROWS: usize = 288;
const DEPTH: usize = 256;
/// Rows of the largest tile of a kernel: tasks are whole tiles.
const ROWS_TOGETHER: usize = 12;
/// Panels at once: tiles of 12 rows and 2 panels read half the weights of those of 6 and 4, whose are as many sums.
const PANELS_MAX: usize = 2;
/// Where it takes one, and rows are laid out by tiles: 1 KiB of each is read again and again, 192 KiB in all, which stay in the
/// second-level cache.
const LAID_OUT_ROWS: usize = 32 * TILE;
/// From this size on, laying rows out by tiles pays: a tile is then read from one end to the other. In place its rows lie a
/// power of two apart in many models, and push each other out of the first-level cache.
const LAID_OUT_INPUTS: usize = 512;
const LAID_OUT_PANELS: usize = 16;

impl Linear {
    /// `weight`: `(out, in)`, as checkpoints store it; sides after the first count as one. `bias`: `(out)`.
    pub fn new(weight: &Stored, bias: Option<&Stored>, device: &Device) -> Result<Linear> {
        Linear::of_inputs(weight, 0..weight.shape().iter().skip(1).product(), bias, device)
    }

    /// The layer that sees only some of the inputs `weight` is made for.
    pub fn of_inputs(weight: &Stored, inputs: Range<usize>, bias: Option<&Stored>, device: &Device) -> Result<Linear> {
        let Some((&outputs, rest)) = weight.shape().split_first() else {
            bail!("a layer's weight is no single number")
        };
        let stored_inputs: usize = rest.iter().product();
        if inputs.is_empty() || inputs.end > stored_inputs {
            bail!("a weight of {stored_inputs} inputs has no inputs {inputs:?}");
        }
        if let Some(bias) = bias.filter(|bias| bias.shape() != [outputs]) {
            bail!("a layer of {outputs} outputs was given a bias of {:?}", bias.shape());
        }
        if let Some(cuda) = device.as_cuda() {
            let (on_cuda, count) = (PackedLinear::new(cuda, weight, inputs.clone(), bias)?, inputs.len());
            let (weights, narrow, bias, on_cuda) = (Vec::new(), None, None, Some(on_cuda));
            return Ok(Linear { device: device.clone(), inputs: count, outputs, weights, narrow, bias, on_cuda });
        }
        if device.compute() != Compute::F32 {
            let (count, narrow) = (inputs.len(), Some(Narrow::pack(weight, inputs, device.compute())?));
            let (weights, bias, device) = (Vec::new(), bias.map(Stored::to_vec).transpose()?, device.clone());
            return Ok(Linear { device, inputs: count, outputs, weights, narrow, bias, on_cuda: None });
        }
        let mut packed = vec![0.0; outputs.div_ceil(PANEL) * inputs.len() * PANEL];
        // One panel a task. The task that packs a panel also casts it, row by row, so the weight is never in memory
        // twice.
        let pack = |row: &mut Vec<f32>, (first, panel): (usize, &mut [f32])| -> Result<()> {
            row.resize(inputs.len(), 0.0);
            for lane in 0..PANEL.min(outputs - first * PANEL) {
                weight.read((first * PANEL + lane) * stored_inputs + inputs.start, row)?;
                for (place, value) in panel.chunks_exact_mut(PANEL).zip(&*row) {
                    place[lane] = *value;
                }
            }
            Ok(())
        };
        let panel_len = inputs.len() * PANEL;
        if pays_to_share(packed.len()) {
            packed.par_chunks_mut(panel_len).enumerate().try_for_each_init(Vec::new, pack)?;
        } else {
            let mut row = Vec::new();
            packed.chunks_mut(panel_len).enumerate().try_for_each(|panel| pack(&mut row, panel))?;
        }
        let bias = bias.map(Stored::to_vec).transpose()?;
        let (device, inputs, weights) = (device.clone(), inputs.len(), packed);
        Ok(Linear { device, inputs, outputs, weights, narrow: None, bias, on_cuda: None })
    }

    /// `x`: `(N, in)` → `(N, out)`.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.apply_rows(Isa::best(), x, |_, _| ())
    }

    /// An error unless `x` has this layer's inputs and lies where its weights do; its rows and inputs.
    fn must_take(&self, x: &Tensor) -> Result<(usize, usize)> {
        let (rows, inputs) = x.dims2()?;
        if inputs != self.inputs {
            bail!("a layer of {} inputs was given {inputs}", self.inputs);
        }
        if x.device() != self.device {
            bail!("a dense layer on {} was given a tensor on {}", self.device, x.device());
        }
        Ok((rows, inputs))
    }

    /// `then(row, outputs)` changes each row of outputs as soon as it is whole. On a GPU nothing can follow.
    fn apply_rows(&self, isa: Isa, x: &Tensor, then: impl Fn(usize, &mut [f32]) + Sync) -> Result<Tensor> {
        let (rows, inputs) = self.must_take(x)?;
        if let (Some(packed), Some(x)) = (&self.on_cuda, x.as_cuda()) {
            return Ok(packed.apply(x, Ending::Plain)?.into());
        }
        let mut out = vec![0.0; rows * self.outputs];
        read(x, |x| {
            if let Some(narrow) = &self.narrow {
                return narrow.apply(
                    x,
                    &mut out,
                    |outputs, width, sums, out| self.put(outputs, width, sums, out),
                    then,
                );
            }
            // As many panels at once as the kernel takes, in groups as even as can be.
            let panels = self.outputs.div_ceil(PANEL);
            let group = panels.div_ceil(panels.div_ceil(panels_max(isa).min(PANELS_MAX)));
            let large = self.inputs >= LAID_OUT_INPUTS && panels >= LAID_OUT_PANELS && rows >= TILE;
            let by_tiles = group == 1 && large;
            let most = if by_tiles { LAID_OUT_ROWS } else { ROWS };
            let block = |scratch: &mut Scratch, first_row: usize, out: &mut [f32], x: &[f32]| {
                if by_tiles {
                    self.block_by_tiles(isa, x, &mut scratch.tiles, out);
                } else {
                    for first in (0..panels).step_by(group) {
                        self.panels(isa, first..panels.min(first + group), x, &mut scratch.sums, out);
                    }
                }
                out.chunks_exact_mut(self.outputs).enumerate().for_each(|(row, out)| then(first_row + row, out));
            };
            if !pays_to_share(rows * self.inputs * self.outputs / 16) {
                let blocks = out.chunks_mut(most * self.outputs).zip(x.chunks(most * inputs));
                let mut scratch = Scratch::default();
                blocks.enumerate().for_each(|(number, (out, x))| block(&mut scratch, number * most, out, x));
                return;
            }
            // As many blocks for every thread, of whole tiles.
            let blocks = rows.div_ceil(most).next_multiple_of(rayon::current_num_threads());
            let share = rows.div_ceil(blocks).next_multiple_of(if group == 1 { TILE } else { ROWS_TOGETHER });
            out.par_chunks_mut(share * self.outputs)
                .zip(x.par_chunks(share * inputs))
                .enumerate()
                .for_each_init(Scratch::default, |scratch, (number, (out, x))| block(scratch, number * share, out, x));
        })?;
        Tensor::from_vec(out, [rows, self.outputs], &self.device)
    }

    /// All panels of some rows, which are laid out by tiles first.
    fn block_by_tiles(&self, isa: Isa, x: &[f32], tiles: &mut Tiles, out: &mut [f32]) {
        tiles.lay_out(x, self.inputs, x.len() / self.inputs, self.inputs);
        for (panel, weights) in self.weights.chunks_exact(self.inputs * PANEL).enumerate() {
            let outputs = panel * PANEL..self.outputs.min((panel + 1) * PANEL);
            let lanes = outputs.len();
            self.put(outputs, PANEL, tiles.product(isa, weights, lanes).as_flattened(), out);
        }
    }

    /// Some panels of some rows, read in place. `sums`: scratch, kept from call to call.
    fn panels(&self, isa: Isa, panels: Range<usize>, x: &[f32], sums: &mut Vec<f32>, out: &mut [f32]) {
        let width = panels.len() * PANEL;
        let panel_len = self.inputs * PANEL;
        sums.resize(x.len() / self.inputs * width, 0.0);
        for first in (0..self.inputs).step_by(DEPTH) {
            let row = Row {
                taps: &[&x[first..]],
                channels: DEPTH.min(self.inputs - first),
                step: self.inputs,
                channel_step: 1,
                weights: &self.weights[panels.start * panel_len + first * PANEL..],
                panels: panels.len(),
                panel_len,
                lanes: lanes_of_last(self.outputs, panels.end),
                accumulate: first > 0,
            };
            row.run(isa, sums);
        }
        self.put(panels.start * PANEL..self.outputs.min(panels.end * PANEL), width, sums, out);
    }

    /// Sums, `width` of them a row, become outputs of these numbers.
    fn put(&self, outputs: Range<usize>, width: usize, sums: &[f32], out: &mut [f32]) {
        for (out, sums) in out.chunks_exact_mut(self.outputs).zip(sums.chunks_exact(width)) {
            let out = &mut out[outputs.clone()];
            match &self.bias {
                Some(bias) => {
                    for ((out, sum), bias) in out.iter_mut().zip(sums).zip(&bias[outputs.clone()]) {
                        *out = sum + bias;
                    }
                }
                None => copy_panels(out, sums),
            }
        }
    }
}

/// Kept from block to block.
#[derive(Default)]
struct Scratch {
    tiles: Tiles,
    sums: Vec<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PlainResult, SameBits, Weight, assert_close, noise, ours};

    #[test]
    fn it_agrees_with_a_matrix_product_on_every_instruction_set() -> PlainResult<()> {
        for (rows, inputs, outputs) in
            [(1, 1, 1), (5, 3, 16), (24, 192, 192), (7, 1030, 50), (100, 64, 130), (13, 20, 65), (103, 515, 300)]
        {
            let (x, weight, bias) = (noise((rows, inputs), 1)?, noise((outputs, inputs), 2)?, noise(outputs, 3)?);
            let product = x.matmul(&weight.t()?)?;
            let with_bias = product.broadcast_add(&bias)?;
            let (stored, bias, device) = (Weight::of(&weight), Weight::of(&bias), Device::cpu());
            let mut same = SameBits::default();
            for isa in Isa::available() {
                // Two orders of summing `inputs` products of numbers below one.
                let tolerance = 1e-6 + 1e-7 * inputs as f32;
                let apply = |bias: Option<&Stored>| {
                    let layer = Linear::new(&stored.stored(), bias, &device).expect("a layer");
                    layer.apply_rows(isa, &ours(&x), |_, _| ()).expect("rows of inputs")
                };
                assert_close(&apply(None), &product, tolerance);
                let found = apply(Some(&bias.stored()));
                assert_close(&found, &with_bias, tolerance);
                same.see(isa, found.to_vec::<f32>().expect("f32"));
            }
            // Cut in two, the halves add up.
            if inputs > 1 {
                let half = |range: Range<usize>| -> PlainResult<Tensor> {
                    let x = ours(&x.narrow(1, range.start, range.len())?.contiguous()?);
                    let half = Linear::of_inputs(&stored.stored(), range, None, &device).expect("a layer");
                    Ok(half.apply(&x).expect("rows of inputs"))
                };
                let sum = (half(0..inputs / 2)? + half(inputs / 2..inputs)?).expect("one shape");
                assert_close(&sum, &product, 1e-6 + 1e-7 * inputs as f32);
            }
        }
        Ok(())
    }

    #[test]
    fn the_bits_of_an_output_do_not_depend_on_how_many_others_there_are() -> PlainResult<()> {
        // Of the last panel all lanes, half of them, or a few are wanted.
        for (rows, inputs) in [(29, 33), (1, 300), (24, 600)] {
            let (x, weight) = (ours(&noise((rows, inputs), 1)?), noise((400, inputs), 2)?);
            let device = Device::cpu();
            let all = Linear::new(&Weight::of(&weight).stored(), None, &device).expect("a layer");
            let all = all.apply(&x).and_then(|all| all.to_vec::<f32>()).expect("f32");
            for outputs in [8, 24, 300, 261] {
                let some = Weight::of(&weight.narrow(0, 0, outputs)?);
                let some = Linear::new(&some.stored(), None, &device).expect("a layer");
                let some = some.apply(&x).and_then(|some| some.to_vec::<f32>()).expect("f32");
                for (some, all) in some.chunks(outputs).zip(all.chunks(400)) {
                    assert_eq!(some, &all[..outputs], "{rows}x{inputs}, {outputs} of 400");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_says_so() {
        let (weight, bias, device) = (Weight::new(&[0.0; 6], &[2, 3]), Weight::new(&[0.0; 3], &[3]), Device::cpu());
        let check = |result: Result<Linear>, said: &str| {
            let error = result.expect_err(said).to_string();
            assert!(error.contains(said), "{error:?} does not say {said:?}");
        };
        check(Linear::new(&weight.stored(), Some(&bias.stored()), &device), "2 outputs was given a bias of [3]");
        check(Linear::of_inputs(&weight.stored(), 1..4, None, &device), "3 inputs has no inputs 1..4");
        let layer = Linear::new(&weight.stored(), None, &device).expect("a layer");
        let wide = Tensor::zeros([1, 4], &device).expect("zeros");
        assert!(layer.apply(&wide).expect_err("four inputs").to_string().contains("3 inputs was given 4"));
    }
}
