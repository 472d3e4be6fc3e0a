//! NVIDIA GPUs, through the driver alone: no toolkit, nothing linked.
//!
//! From below: `library` finds the driver, `driver` opens a device and gives out its memory (`arena`), `kernels` holds what
//! is embedded, `launch` launches it, `tensor` is what kernels work on. This file has the operations as the rest of the
//! crate calls them, with one rule on types: vectors of one value a channel are f32, two tensors that meet in arithmetic are
//! widened to the wider type, and what enters a dense layer takes the type of its weights.

mod about;
mod arena;
mod attention;
mod blas;
mod driver;
pub(crate) mod frames;
mod kernels;
mod launch;
mod library;
mod links;
mod moment;
mod pinned;
mod place;
mod products;
mod rehearsal;
mod staging;
mod tensor;
#[cfg(test)]
pub(crate) mod testing;
mod waiting;

use crate::activation::Activation;
use crate::{DType, Result, Stored};

pub use about::About;
pub(crate) use about::count;
pub(crate) use attention::{attention, relative_attention};
pub(crate) use driver::Cuda;
pub(crate) use frames::Frames;
pub(crate) use launch::{Binary, Ending, activate, affine};
pub(crate) use library::symbol;
pub(crate) use links::Links;
pub(crate) use moment::CudaMoment;
pub(crate) use pinned::Arrival;
pub use products::Choice;
pub(crate) use rehearsal::rehearse;
pub(crate) use tensor::CudaTensor;

/// The kernel for heads of this width that [`Cuda::distrust`] may put aside.
pub(crate) fn fast_attention(head: usize) -> Option<&'static str> {
    launch::FAST_ATTENTION.iter().find(|(width, ..)| *width == head).map(|(_, kernel, _)| *kernel)
}

/// Both as the wider of their types.
fn widened(a: &CudaTensor, b: &CudaTensor) -> Result<(CudaTensor, CudaTensor)> {
    let dtype = if a.dtype() == b.dtype() { a.dtype() } else { DType::F32 };
    Ok((a.cast(dtype)?, b.cast(dtype)?))
}

/// Tensors one after the other along `dim`, as the widest of their types.
pub(crate) fn cat(tensors: &[&CudaTensor], dim: usize) -> Result<CudaTensor> {
    let alike = tensors.iter().all(|one| one.dtype() == tensors[0].dtype());
    let dtype = if alike { tensors[0].dtype() } else { DType::F32 };
    let cast = tensors.iter().map(|one| one.cast(dtype)).collect::<Result<Vec<_>>>()?;
    CudaTensor::cat(&cast.iter().collect::<Vec<_>>(), dim)
}

/// Number by number; both of one shape.
pub(crate) fn binary(a: &CudaTensor, b: &CudaTensor, operation: Binary) -> Result<CudaTensor> {
    let (a, b) = widened(a, b)?;
    launch::binary(&a, &b, operation)
}

/// `LN(x)·(gain_offset + gain) + shift`. `x`: `(N, D)`, `gain`, `shift`: `(D)`.
pub(crate) fn layer_norm(
    x: &CudaTensor,
    gain: &CudaTensor,
    shift: &CudaTensor,
    gain_offset: f32,
    eps: f64,
) -> Result<CudaTensor> {
    launch::layer_norm(x, &gain.cast(DType::F32)?, &shift.cast(DType::F32)?, gain_offset, eps as f32)
}

/// `x / √(mean(x²) + eps)·gamma`. `x`: `(N, D)`, `gamma`: `(D)`.
pub(crate) fn rms_norm(x: &CudaTensor, gamma: &CudaTensor, eps: f64) -> Result<CudaTensor> {
    launch::rms_norm(x, &gamma.cast(DType::F32)?, eps as f32)
}

/// Adjacent pairs of each head turned, the row normalised before where `gamma`, `(D)`, is given. `x`: `(N, D)`; `cos`, `sin`: `(N,
/// head/2)`.
pub(crate) fn turn(
    x: &CudaTensor,
    gamma: Option<(&CudaTensor, f64)>,
    cos: &CudaTensor,
    sin: &CudaTensor,
) -> Result<CudaTensor> {
    let gamma = gamma.map(|(gamma, eps)| Ok((gamma.cast(DType::F32)?, eps as f32))).transpose()?;
    launch::rms_norm_rope(x, gamma.as_ref().map(|(gamma, eps)| (gamma, *eps)), cos, sin)
}

/// Channel `i` of each head turned with channel `i + head/2`, the head normalised before where `gamma`, `(head)`, is given.
pub(crate) fn head_norm_turn(
    x: &CudaTensor,
    gamma: Option<(&CudaTensor, f64)>,
    cos: &CudaTensor,
    sin: &CudaTensor,
) -> Result<CudaTensor> {
    let gamma = gamma.map(|(gamma, eps)| Ok((gamma.cast(DType::F32)?, eps as f32))).transpose()?;
    launch::head_norm_rope(x, gamma.as_ref().map(|(gamma, eps)| (gamma, *eps)), cos, sin)
}

/// `h + y·gate`. `h`, `y`: `(N, D)`, `gate`: `(D)`. Of `h`'s type, as everything that adds to the hidden state.
pub(crate) fn add_gated(h: &CudaTensor, y: &CudaTensor, gate: &CudaTensor) -> Result<CudaTensor> {
    launch::add_gated(h, &y.cast(h.dtype())?, &gate.cast(DType::F32)?)
}

/// `h·gain + shift`, all `(N, D)`.
pub(crate) fn scale_shift(h: &CudaTensor, gain: &CudaTensor, shift: &CudaTensor) -> Result<CudaTensor> {
    launch::scale_shift(h, &gain.cast(h.dtype())?, &shift.cast(h.dtype())?)
}

/// `h + row` from row `first` on. `row`: `(D)`.
pub(crate) fn add_to_rows(h: &CudaTensor, first: usize, row: &CudaTensor) -> Result<CudaTensor> {
    launch::add_to_rows(h, first, &row.cast(DType::F32)?)
}

/// `activation(gate)·up`
pub(crate) fn activate_gate(gate: &CudaTensor, up: &CudaTensor, activation: Activation) -> Result<CudaTensor> {
    let (gate, up) = widened(gate, up)?;
    launch::activate_gate(&gate, &up, activation)
}

/// `x + step·flow`, in f64.
pub(crate) fn flow_step(x: &CudaTensor, flow: &CudaTensor, step: f64) -> Result<CudaTensor> {
    let (x, flow) = widened(x, flow)?;
    launch::flow_step(&x, &flow, step)
}

/// `(1 − sigma)·clean + sigma·noise`
pub(crate) fn renoise(clean: &CudaTensor, noise: &CudaTensor, sigma: f32) -> Result<CudaTensor> {
    let (clean, noise) = widened(clean, noise)?;
    launch::renoise(&clean, &noise, sigma)
}

/// `Σ weight·term`, in f64.
pub(crate) fn weighted_sum(terms: &[(f64, &CudaTensor)]) -> Result<CudaTensor> {
    let alike = terms.iter().all(|(_, term)| term.dtype() == terms[0].1.dtype());
    let dtype = if alike { terms[0].1.dtype() } else { DType::F32 };
    let terms = terms.iter().map(|(weight, term)| Ok((*weight, term.cast(dtype)?))).collect::<Result<Vec<_>>>()?;
    launch::weighted_sum(&terms)
}

/// `(x − mean)/deviation`, or with `restore` `x·deviation + mean`; one of each a channel. `x`: `(C, …)`.
pub(crate) fn channel_affine(x: &CudaTensor, mean: &[f32], deviation: &[f32], restore: bool) -> Result<CudaTensor> {
    let vector = |values: &[f32]| CudaTensor::from_f32(x.cuda(), values, &[values.len()]);
    launch::channel_affine(x, &vector(mean)?, &vector(deviation)?, restore)
}

/// A dense layer's weights on a device.
#[derive(Clone)]
pub(crate) struct PackedLinear {
    /// `(out, in)`, as checkpoints store it.
    weight: CudaTensor,
    /// `(out)` in f32.
    bias: Option<CudaTensor>,
    /// As cuBLASLt takes it, in bf16, where there is that library.
    narrow_bias: Option<CudaTensor>,
}

impl PackedLinear {
    /// `weight`: `(out, stored inputs)`, of which `inputs` are taken.
    pub(crate) fn new(
        cuda: &std::sync::Arc<Cuda>,
        weight: &Stored,
        inputs: std::ops::Range<usize>,
        bias: Option<&Stored>,
    ) -> Result<PackedLinear> {
        let outputs = weight.shape()[0];
        let (stored, taken) = (weight.elements() / outputs.max(1), inputs.len());
        let weight = CudaTensor::from_weight(cuda, &[outputs, taken], cuda.numbers(), |first, numbers| {
            // Row by row, since a run may begin in the middle of one and end in the middle of another.
            let mut done = 0;
            while done < numbers.len() {
                let (row, column) = ((first + done) / taken, (first + done) % taken);
                let count = (taken - column).min(numbers.len() - done);
                weight.read(row * stored + inputs.start + column, &mut numbers[done..done + count])?;
                done += count;
            }
            Ok(())
        })?;
        let bias = bias.map(|bias| CudaTensor::from_f32(cuda, &bias.to_vec()?, &[outputs])).transpose()?;
        let narrow = bias.as_ref().filter(|_| cuda.blas().is_some()).map(|bias| bias.cast(DType::BF16));
        let layer = PackedLinear { weight, bias, narrow_bias: narrow.transpose()? };
        if cuda.blas().is_some() {
            layer.register();
        }
        Ok(layer)
    }

    /// `x`: `(N, in)` → `(N, out)`.
    pub(crate) fn apply(&self, x: &CudaTensor, ending: Ending<'_>) -> Result<CudaTensor> {
        let x = x.cast(self.weight.dtype())?;
        match self.by_library(&x, ending)? {
            Some(y) => Ok(y),
            None => self.ours(&x, ending),
        }
    }

    /// By our kernel. `x`: of the weights' type.
    fn ours(&self, x: &CudaTensor, ending: Ending<'_>) -> Result<CudaTensor> {
        launch::linear(x, &self.weight, self.bias.as_ref(), ending)
    }

    /// `h` + the layer of `x`, times `gate` where there is one. Of `h`'s type, as everything that adds to the hidden state: where
    /// that is another one than the weights', the sum is a kernel of its own.
    pub(crate) fn add_to(&self, h: &CudaTensor, x: &CudaTensor, gate: Option<&CudaTensor>) -> Result<CudaTensor> {
        let gate = gate.map(|gate| gate.cast(DType::F32)).transpose()?;
        if h.dtype() == self.weight.dtype() {
            return self.apply(x, Ending::Add { h, gate: gate.as_ref() });
        }
        let y = self.apply(x, Ending::Plain)?;
        match gate {
            Some(gate) => add_gated(h, &y, &gate),
            None => binary(h, &y.cast(h.dtype())?, Binary::Add),
        }
    }
}

impl std::fmt::Debug for PackedLinear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedLinear({:?})", self.weight.shape())
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
