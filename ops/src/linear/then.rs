//! A dense layer and what follows it, in one pass over the rows: a row is changed as soon as it is whole, by the thread that made
//! it, while it is in the first-level cache. The bits are those of the layer and the operation after it.

use super::Linear;
use crate::activation::Activation;
use crate::cpu::simd::Isa;
use crate::cpu::storage::read;
use crate::cuda::Ending;
use crate::error::bail;
use crate::norm::{rms_norm, rms_norm_in_place};
use crate::residual::{add_gated_row, add_row};
use crate::rope::Rotary;
use crate::tensor::{On, on};
use crate::{Result, Tensor};

/// What follows a layer. Its result is `y`.
pub enum Then<'a> {
    /// The activation of `y`.
    Activate(Activation),
    /// [`rms_norm`]
    RmsNorm(&'a Tensor, f64),
    /// [`rms_norm`], then the rotation of each head by its position.
    RmsNormTurned(&'a Tensor, f64, &'a Rotary),
    /// `h + y`
    Add(&'a Tensor),
    /// `h + y·gate`: `h`, then `gate`. See [`add_gated`](crate::residual::add_gated).
    AddGated(&'a Tensor, &'a Tensor),
}

impl Linear {
    /// `x`: `(N, in)` → `(N, out)`. On a GPU an activation and a sum are part of the layer's kernel, and are rounded once.
    pub fn apply_then(&self, x: &Tensor, then: Then) -> Result<Tensor> {
        if let Some(packed) = &self.on_cuda {
            self.must_take(x)?;
            return match then {
                Then::Activate(activation) => match on("a dense layer", [x])? {
                    On::Cuda([x]) => Ok(packed.apply(x, Ending::Activate(activation))?.into()),
                    On::Cpu => unreachable!("it lies where the weights do"),
                },
                Then::RmsNorm(gamma, eps) => rms_norm(&self.apply(x)?, gamma, eps),
                Then::RmsNormTurned(gamma, eps, rotary) => rotary.apply_to_normed(&self.apply(x)?, gamma, eps),
                Then::Add(h) => match on("adding a dense layer", [h, x])? {
                    On::Cuda([h, x]) => Ok(packed.add_to(h, x, None)?.into()),
                    On::Cpu => unreachable!("it lies where the weights do"),
                },
                Then::AddGated(h, gate) => match on("adding a gated dense layer", [h, x, gate])? {
                    On::Cuda([h, x, gate]) => Ok(packed.add_to(h, x, Some(gate))?.into()),
                    On::Cpu => unreachable!("it lies where the weights do"),
                },
            };
        }
        let isa = Isa::best();
        let fits = |what: &str, tensor: &Tensor, shape: &[usize]| match tensor.dims() == shape {
            true => Ok(()),
            false => bail!("{what} of {:?} does not fit a layer's result, {shape:?} is allowed", tensor.dims()),
        };
        let (result, row) = ([x.dims2()?.0, self.outputs], [self.outputs]);
        match then {
            Then::Activate(activation) => self.apply_rows(isa, x, |_, y| activation.in_place(y)),
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
    use crate::residual::add_gated;
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
                let activated = |activation: Activation| (activation.apply(&y), Then::Activate(activation));
                let pairs = [
                    activated(Activation::GeluTanh),
                    activated(Activation::Silu),
                    activated(Activation::ReluSquared),
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
