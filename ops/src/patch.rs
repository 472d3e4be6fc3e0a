//! Latents to tokens and back: 2×2 patches.
//!
//! Mind the difference: a patch that goes in has its channel first, a patch that comes out has it last. Both are Wan's.

use crate::{Result, Tensor};

/// `(C, F, h, w)` → `(N, 4·C)`: tokens frame by frame, row by row; within a token `c·4 + py·2 + px`.
pub fn patchify(x: &Tensor) -> Result<Tensor> {
    let (channels, frames, height, width) = x.dims4()?;
    x.reshape([channels, frames, height / 2, 2, width / 2, 2])?
        .permute(&[1, 2, 4, 0, 3, 5])?
        .reshape([frames * (height / 2) * (width / 2), channels * 4])
}

/// `(N, 4·C)` → `(C, F, h, w)`, given `h` and `w`; within a token `(py·2 + px)·C + c`.
pub fn unpatchify(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (tokens, features) = x.dims2()?;
    let (rows, columns) = (height / 2, width / 2);
    let frames = tokens / (rows * columns);
    let patches = x.reshape([frames, rows, columns, 2, 2, features / 4])?;
    patches.permute(&[5, 0, 1, 3, 2, 4])?.reshape([features / 4, frames, height, width])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ours, ramp};

    #[test]
    fn a_value_is_found_where_the_formula_says() -> Result<()> {
        let (c, f, h, w) = (3, 2, 4, 6);
        let x = ours(&ramp((c, f, h, w), 0.0, (c * f * h * w - 1) as f32).expect("a ramp"));
        let at = |c: usize, f: usize, y: usize, x: usize| (((c * 2 + f) * 4 + y) * 6 + x) as f32;
        let tokens = patchify(&x)?.to_vec::<f32>()?;
        // Token (f=1, y=1, x=2), feature c=2, py=1, px=0.
        assert_eq!(tokens[(6 + 3 + 2) * 12 + 2 * 4 + 2], at(2, 1, 3, 4));

        // Features reordered to channel-last, the picture comes back.
        let channel_last = patchify(&x)?.reshape([12, 3, 4])?.permute(&[0, 2, 1])?.reshape([12, 12])?;
        let back = unpatchify(&channel_last, h, w)?;
        assert_eq!(back.to_vec::<f32>()?, x.to_vec::<f32>()?);
        Ok(())
    }
}
