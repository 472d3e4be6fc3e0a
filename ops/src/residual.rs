//! What is added to, or laid over, the running hidden state.

use crate::cpu::storage::{map_rows, read};
use crate::{Result, Tensor};

/// `h + y·gate`; `h`, `y`: `(N, D)`, `gate`: `(D)`.
pub fn add_gated(h: &Tensor, y: &Tensor, gate: &Tensor) -> Result<Tensor> {
    let width = h.dim(1)?;
    read(y, |y| {
        read(gate, |gate| {
            map_rows(h, |row, h, out| {
                for (((out, h), y), gate) in out.iter_mut().zip(h).zip(&y[row * width..]).zip(gate) {
                    *out = h + y * gate;
                }
            })
        })
    })??
}

/// `h·gain + shift`, all `(N, D)`.
pub fn scale_shift(h: &Tensor, gain: &Tensor, shift: &Tensor) -> Result<Tensor> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, noise};

    #[test]
    fn they_agree_with_the_plain_versions() -> Result<()> {
        let (h, y, z) = (noise((5, 9), 1)?, noise((5, 9), 2)?, noise((5, 9), 3)?);
        let gate = noise(9, 4)?;
        assert_close(&add_gated(&h, &y, &gate)?, &(&h + y.broadcast_mul(&gate)?)?, 1e-6);
        assert_close(&scale_shift(&h, &y, &z)?, &((&h * &y)? + &z)?, 1e-6);
        Ok(())
    }
}
