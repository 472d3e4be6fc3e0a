//! Dense layers.

use rayon::prelude::*;

use crate::cpu::panels::{PANEL, Row, panels_max};
use crate::cpu::simd::Isa;
use crate::cpu::storage::{pays_to_share, read, tensor};
use crate::{Result, Tensor};

/// `y = x·Wᵀ + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    inputs: usize,
    outputs: usize,
    /// `(panel, in, PANEL)`, packed once: zero beyond the last output.
    weights: Vec<f32>,
    bias: Option<Vec<f32>>,
}

/// Rows of one task: with their sums they stay in the second-level cache.
const ROWS: usize = 48;
/// Inputs that one pass over the rows takes: a panel group's weights for them are 256 KiB.
const DEPTH: usize = 1024;

impl Linear {
    /// `weight`: `(out, in)`, as checkpoints store it; `bias`: `(out)`.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>) -> Result<Linear> {
        let (outputs, inputs) = weight.dims2()?;
        let mut packed = vec![0.0; outputs.div_ceil(PANEL) * inputs * PANEL];
        read(weight, |weight| {
            for (output, row) in weight.chunks_exact(inputs).enumerate() {
                let panel = &mut packed[output / PANEL * inputs * PANEL..];
                for (input, value) in row.iter().enumerate() {
                    panel[input * PANEL + output % PANEL] = *value;
                }
            }
        })?;
        let bias = bias.map(|bias| bias.to_vec1()).transpose()?;
        Ok(Linear { inputs, outputs, weights: packed, bias })
    }

    /// `x`: `(N, in)` → `(N, out)`.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.apply_with(Isa::best(), x)
    }

    fn apply_with(&self, isa: Isa, x: &Tensor) -> Result<Tensor> {
        let (rows, inputs) = x.dims2()?;
        if inputs != self.inputs {
            candle_core::bail!("a layer of {} inputs was given {inputs}", self.inputs);
        }
        let mut out = vec![0.0; rows * self.outputs];
        read(x, |x| {
            // As many panels at once as the kernel takes, in groups as even as can be.
            let panels = self.outputs.div_ceil(PANEL);
            let group = panels.div_ceil(panels.div_ceil(panels_max(isa)));
            let block = |sums: &mut Vec<f32>, out: &mut [f32], x: &[f32]| {
                for first in (0..panels).step_by(group) {
                    self.panels(isa, first..panels.min(first + group), x, sums, out);
                }
            };
            if !pays_to_share(rows * self.inputs * self.outputs / 16) {
                return block(&mut Vec::new(), &mut out, x);
            }
            let share = rows.div_ceil(2 * rayon::current_num_threads()).clamp(1, ROWS);
            out.par_chunks_mut(share * self.outputs)
                .zip(x.par_chunks(share * inputs))
                .for_each_init(Vec::new, |sums, (out, x)| block(sums, out, x));
        })?;
        tensor(out, (rows, self.outputs))
    }

    /// Some panels of some rows. `sums`: scratch, kept from call to call.
    fn panels(&self, isa: Isa, panels: std::ops::Range<usize>, x: &[f32], sums: &mut Vec<f32>, out: &mut [f32]) {
        let width = panels.len() * PANEL;
        let panel_len = self.inputs * PANEL;
        sums.resize(x.len() / self.inputs * width, 0.0);
        for first in (0..self.inputs).step_by(DEPTH) {
            let row = Row {
                taps: &[&x[first..]],
                channels: DEPTH.min(self.inputs - first),
                step: self.inputs,
                weights: &self.weights[panels.start * panel_len + first * PANEL..],
                panels: panels.len(),
                panel_len,
                accumulate: first > 0,
            };
            row.run(isa, sums);
        }
        let outputs = panels.start * PANEL..self.outputs.min(panels.end * PANEL);
        for (out, sums) in out.chunks_exact_mut(self.outputs).zip(sums.chunks_exact(width)) {
            let out = &mut out[outputs.clone()];
            match &self.bias {
                Some(bias) => {
                    for ((out, sum), bias) in out.iter_mut().zip(sums).zip(&bias[outputs.clone()]) {
                        *out = sum + bias;
                    }
                }
                None => out.copy_from_slice(&sums[..out.len()]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, noise};

    #[test]
    fn it_agrees_with_a_matrix_product_on_every_instruction_set() -> Result<()> {
        for (rows, inputs, outputs) in
            [(1, 1, 1), (5, 3, 16), (24, 192, 192), (7, 1030, 50), (100, 64, 130), (13, 20, 65)]
        {
            let (x, weight, bias) = (noise((rows, inputs), 1)?, noise((outputs, inputs), 2)?, noise(outputs, 3)?);
            let product = x.matmul(&weight.t()?)?;
            let with_bias = product.broadcast_add(&bias)?;
            for isa in Isa::available() {
                // Two orders of summing `inputs` products of numbers below one.
                let tolerance = 1e-6 + 1e-7 * inputs as f32;
                assert_close(&Linear::new(&weight, None)?.apply_with(isa, &x)?, &product, tolerance);
                assert_close(&Linear::new(&weight, Some(&bias))?.apply_with(isa, &x)?, &with_bias, tolerance);
            }
        }
        Ok(())
    }
}
