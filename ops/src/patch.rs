//! Latents to tokens and back: 2×2 patches.
//!
//! Mind the difference: in Wan's models a patch that goes in has its channel first ([`patchify`]) and a patch that comes out
//! has it last. In Cosmos3's both have it last ([`patchify_channel_last`]).

use crate::{Result, Tensor};

/// `(C, F, h, w)` → `(N, 4·C)`: tokens frame by frame, row by row; within a token `c·4 + py·2 + px`.
pub fn patchify(x: &Tensor) -> Result<Tensor> {
    let (channels, frames, height, width) = x.dims4()?;
    x.reshape([channels, frames, height / 2, 2, width / 2, 2])?
        .permute(&[1, 2, 4, 0, 3, 5])?
        .reshape([frames * (height / 2) * (width / 2), channels * 4])
}

/// `(C, F, h, w)` → `(N, 4·C)`: tokens frame by frame, row by row; within a token `(py·2 + px)·C + c`.
///
/// A side that is odd ends in half a patch, whose other half is zero. Cut it off again after [`unpatchify`].
pub fn patchify_channel_last(x: &Tensor) -> Result<Tensor> {
    let (channels, frames, height, width) = x.dims4()?;
    let x = if height % 2 == 0 { x.clone() } else { x.pad_with_zeros(2, 0, 1)? };
    let x = if width % 2 == 0 { x } else { x.pad_with_zeros(3, 0, 1)? };
    let (rows, columns) = (height.div_ceil(2), width.div_ceil(2));
    x.reshape([channels, frames, rows, 2, columns, 2])?
        .permute(&[1, 2, 4, 3, 5, 0])?
        .reshape([frames * rows * columns, channels * 4])
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
        assert_eq!(patchify_channel_last(&x)?.to_vec::<f32>()?, channel_last.to_vec::<f32>()?);
        let back = unpatchify(&channel_last, h, w)?;
        assert_eq!(back.to_vec::<f32>()?, x.to_vec::<f32>()?);
        Ok(())
    }

    #[test]
    fn odd_sides_end_in_half_a_patch_of_zeros() -> Result<()> {
        let (c, f, h, w) = (2, 2, 3, 5);
        let x = ours(&ramp((c, f, h, w), 1.0, (c * f * h * w) as f32).expect("a ramp"));
        let tokens = patchify_channel_last(&x)?;
        assert_eq!(tokens.dims(), [2 * 2 * 3, 8]);
        // The corner token of a frame has its first pixel and nothing else.
        let corner = tokens.get(5)?.to_vec::<f32>()?;
        let at = |c: usize, f: usize, y: usize, x: usize| (((c * 2 + f) * 3 + y) * 5 + x + 1) as f32;
        assert_eq!(corner, [at(0, 0, 2, 4), at(1, 0, 2, 4), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let back = unpatchify(&tokens, 4, 6)?.narrow(2, 0, h)?.narrow(3, 0, w)?;
        assert_eq!(back.to_vec::<f32>()?, x.to_vec::<f32>()?);
        Ok(())
    }
}
