//! Operations on the running hidden state: add a gated branch, scale and shift.

use crate::cpu::simd::dispatched;
use crate::cpu::storage::{map_rows, read};
use crate::cuda;
use crate::tensor::{On, on};
use crate::{Result, Tensor};

/// `h + y·gate`; `h`, `y`: `(N, D)`, `gate`: `(D)`.
pub fn add_gated(h: &Tensor, y: &Tensor, gate: &Tensor) -> Result<Tensor> {
    if let On::Cuda([h, y, gate]) = on("a gated sum", [h, y, gate])? {
        return Ok(cuda::add_gated(h, y, gate)?.into());
    }
    let width = h.dim(1)?;
    read(y, |y| {
        read(gate, |gate| {
            map_rows(h, |row, h, out| {
                out.copy_from_slice(&y[row * width..][..width]);
                add_gated_row(h, gate, out);
            })
        })
    })??
}

/// `h·gain + shift`, all `(N, D)`.
pub fn scale_shift(h: &Tensor, gain: &Tensor, shift: &Tensor) -> Result<Tensor> {
    if let On::Cuda([h, gain, shift]) = on("scale and shift", [h, gain, shift])? {
        return Ok(cuda::scale_shift(h, gain, shift)?.into());
    }
    let width = h.dim(1)?;
    read(gain, |gain| {
        read(shift, |shift| {
            map_rows(h, |row, h, out| {
                for (((out, h), gain), shift) in
                    out.iter_mut().zip(h).zip(&gain[row * width..]).zip(&shift[row * width..])
                {
                    *out = h * gain + shift;
                }
            })
        })
    })??
}

/// `h + row` for the rows from `first` on; those before stay as they are. `h`: `(N, D)`, `row`: `(D)`.
pub fn add_to_rows_from(h: &Tensor, first: usize, row: &Tensor) -> Result<Tensor> {
    if let On::Cuda([h, row]) = on("adding a row", [h, row])? {
        return Ok(cuda::add_to_rows(h, first, row)?.into());
    }
    read(row, |added| {
        map_rows(h, |row, h, out| {
            if row < first {
                return out.copy_from_slice(h);
            }
            for ((out, h), added) in out.iter_mut().zip(h).zip(added) {
                *out = h + added;
            }
        })
    })?
}

dispatched!(
    /// `y → h + y·gate`, one row.
    pub(crate) fn add_gated_row(h: &[f32], gate: &[f32], y: &mut [f32]) = add_gated_lanes
);
dispatched!(
    /// `y → h + y`, one row.
    pub(crate) fn add_row(h: &[f32], y: &mut [f32]) = add_lanes
);

#[inline(always)]
fn add_gated_lanes<const FMA: bool>(h: &[f32], gate: &[f32], y: &mut [f32]) {
    for ((y, h), gate) in y.iter_mut().zip(h).zip(gate) {
        *y = h + *y * gate;
    }
}

#[inline(always)]
fn add_lanes<const FMA: bool>(h: &[f32], y: &mut [f32]) {
    y.iter_mut().zip(h).for_each(|(y, h)| *y += h);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Plain, PlainResult, assert_close, noise, ours};

    #[test]
    fn they_agree_with_the_plain_versions() -> PlainResult<()> {
        let (h, y, z) = (noise((5, 9), 1)?, noise((5, 9), 2)?, noise((5, 9), 3)?);
        let gate = noise(9, 4)?;
        let gated = add_gated(&ours(&h), &ours(&y), &ours(&gate)).expect("one shape");
        assert_close(&gated, &(&h + y.broadcast_mul(&gate)?)?, 1e-6);
        let laid_over = scale_shift(&ours(&h), &ours(&y), &ours(&z)).expect("one shape");
        assert_close(&laid_over, &((&h * &y)? + &z)?, 1e-6);
        for first in [0, 2, 5] {
            let added = add_to_rows_from(&ours(&h), first, &ours(&gate)).expect("one width");
            let plain = Plain::cat(&[h.narrow(0, 0, first)?, h.narrow(0, first, 5 - first)?.broadcast_add(&gate)?], 0)?;
            assert_close(&added, &plain, 0.0);
        }
        Ok(())
    }
}
