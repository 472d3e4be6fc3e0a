//! A dense layer and what follows it, in one pass over the rows: a row is changed as soon as it is whole, by the thread that made
//! it, while it is in the first-level cache. The bits are those of the layer and the operation after it.

use super::Linear;
use crate::activation::{gelu_tanh, gelu_tanh_in_place, silu, silu_in_place};
use crate::cpu::simd::Isa;
use crate::cpu::storage::read;
use crate::error::bail;
use crate::norm::{rms_norm, rms_norm_in_place};
use crate::residual::{add_gated, add_gated_row, add_row};
use crate::rope::Rotary;
use crate::{Result, Tensor};

/// What follows a layer. Its result is `y`.
pub enum Then<'a> {
    /// [`gelu_tanh`]
    Gelu,
    /// [`silu`]
    Silu,
    /// [`rms_norm`]
    RmsNorm(&'a Tensor, f64),
    /// [`rms_norm`], then the rotation of each head by its position.
    RmsNormTurned(&'a Tensor, f64, &'a Rotary),
    /// `h + y`
    Add(&'a Tensor),
    /// `h + y·gate`: `h`, then `gate`. See [`add_gated`].
    AddGated(&'a Tensor, &'a Tensor),
}

impl Linear {
    /// `x`: `(N, in)` → `(N, out)`.
    pub fn apply_then(&self, x: &Tensor, then: Then) -> Result<Tensor> {
        if self.on_cuda.is_some() || x.as_cuda().is_some() {
            let y = self.apply(x)?;
            return match then {
                Then::Gelu => gelu_tanh(&y),
                Then::Silu => silu(&y),
                Then::RmsNorm(gamma, eps) => rms_norm(&y, gamma, eps),
                Then::RmsNormTurned(gamma, eps, rotary) => rotary.apply(&rms_norm(&y, gamma, eps)?),
                Then::Add(h) => h + y,
                Then::AddGated(h, gate) => add_gated(h, &y, gate),
            };
        }
        let isa = Isa::best();
        let fits = |what: &str, tensor: &Tensor, shape: &[usize]| match tensor.dims() == shape {
            true => Ok(()),
            false => bail!("{what} of {:?} does not fit a layer's result, {shape:?} is allowed", tensor.dims()),
        };
        let (result, row) = ([x.dims2()?.0, self.outputs], [self.outputs]);
        match then {
            Then::Gelu => self.apply_rows(isa, x, |_, y| gelu_tanh_in_place(y)),
            Then::Silu => self.apply_rows(isa, x, |_, y| silu_in_place(y)),
            Then::RmsNorm(gamma, eps) => {
                fits("a norm's weight", gamma, &row)?;
                read(gamma, |gamma| self.apply_rows(isa, x, |_, y| rms_norm_in_place(y, gamma, eps as f32)))?
            }
            Then::RmsNormTurned(gamma, eps, rotary) => {
                fits("a norm's weight", gamma, &row)?;
                rotary.of_rows(result, |turn| {
                    read(gamma, |gamma| {
                        self.apply_rows(isa, x, |token, y| {
                            rms_norm_in_place(y, gamma, eps as f32);
                            turn(token, y);
                        })
                    })?
                })?
            }
            Then::Add(h) => {
                fits("what is added", h, &result)?;
                read(h, |h| self.apply_rows(isa, x, |row, y| add_row(&h[row * self.outputs..][..y.len()], y)))?
            }
            Then::AddGated(h, gate) => {
                fits("what is added", h, &result)?;
                fits("a gate", gate, &row)?;
                read(h, |h| {
                    read(gate, |gate| {
                        self.apply_rows(isa, x, |row, y| add_gated_row(&h[row * self.outputs..][..y.len()], gate, y))
                    })?
                })?
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rope::Grid;
    use crate::testing::{PlainResult, Weight, noise, ours};
    use crate::{Compute, Device};

    #[test]
    fn the_bits_are_those_of_the_layer_and_the_operation_after_it_in_every_type_and_on_any_threads() -> PlainResult<()>
    {
        // Rows read in place and laid out by tiles, in one task and in several.
        for (rows, inputs, outputs) in [(1, 5, 12), (24, 192, 192), (24, 192, 516), (230, 520, 300)] {
            let (x, h, gate) = (noise((rows, inputs), 1)?, noise((rows, outputs), 2)?, noise(outputs, 3)?);
            let (x, h, gate) = (ours(&x), ours(&h), ours(&gate));
            let (weight, bias) = (Weight::of(&noise((outputs, inputs), 4)?), Weight::of(&noise(outputs, 5)?));
            let grid = Grid { first_latent_frame: 3, frames: 1, rows: 1, columns: rows };
            let rotary = Rotary::new(grid, 12, &Device::cpu()).expect("positions");
            for compute in Compute::ALL {
                let device = Device::cpu_in(compute);
                let layer = Linear::new(&weight.stored(), Some(&bias.stored()), &device).expect("a layer");
                let y = layer.apply(&x).expect("rows");
                let normed = rms_norm(&y, &gate, 1e-6).expect("rows");
                let pairs = [
                    (gelu_tanh(&y), Then::Gelu),
                    (silu(&y), Then::Silu),
                    (Ok(normed.clone()), Then::RmsNorm(&gate, 1e-6)),
                    (rotary.apply(&normed), Then::RmsNormTurned(&gate, 1e-6, &rotary)),
                    (&h + &y, Then::Add(&h)),
                    (add_gated(&h, &y, &gate), Then::AddGated(&h, &gate)),
                ];
                for (number, (expected, then)) in pairs.into_iter().enumerate() {
                    let expected = expected.and_then(|y| y.to_vec::<f32>()).expect("f32");
                    let found = layer.apply_then(&x, then).and_then(|y| y.to_vec::<f32>()).expect("f32");
                    assert!(found == expected, "{compute}, {rows}x{inputs}x{outputs}, operation {number}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_says_so() {
        let (weight, device) = (Weight::new(&[0.0; 6], &[2, 3]), Device::cpu());
        let layer = Linear::new(&weight.stored(), None, &device).expect("a layer");
        let zeros = |shape: &[usize]| Tensor::zeros(shape, &device).expect("zeros");
        let (x, wrong) = (zeros(&[4, 3]), zeros(&[3]));
        for then in [Then::RmsNorm(&wrong, 1e-6), Then::Add(&x), Then::AddGated(&zeros(&[4, 2]), &wrong)] {
            let error = layer.apply_then(&x, then).expect_err("another shape").to_string();
            assert!(error.contains("is allowed"), "{error}");
        }
    }
}
