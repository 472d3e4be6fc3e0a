//! Shortcuts around a change of size, without weights: Wan 2.2's autoencoder averages on the way down and repeats on
//! the way up.
//!
//! Both fold a block of `time × side × side` pixels into channels, the channel slowest, then frame, row, column. On the
//! way down, groups of consecutive folded channels become one by their mean; on the way up, each channel is repeated
//! before it is unfolded. From `AvgDown3D` and `DupUp3D` of <https://github.com/Wan-Video/Wan2.2>
//! (wan/modules/vae2_2.py).

use rayon::prelude::*;

use crate::Result;
use crate::cuda::{Frames, frames};
use crate::error::bail;
use crate::frame_stack::FrameStack;

/// How much longer and wider the larger of two videos is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resize {
    /// Frames of the larger to one frame of the smaller.
    pub time: usize,
    /// Pixels each way.
    pub side: usize,
}

impl Resize {
    /// Pixels of the larger to one of the smaller.
    pub fn block(self) -> usize {
        self.time * self.side * self.side
    }
}

/// Rows that one task takes at least: fewer cost more to hand over than to compute.
const ROWS: usize = 8;

/// `y` plus `x` made smaller by averaging. Frames that are missing at the front of `x`, to make whole blocks, count as
/// zero.
///
/// Channels of `x` times the block are a multiple of the channels of `y`.
pub fn add_averaged(mut y: FrameStack, x: &FrameStack, resize: Resize) -> Result<FrameStack> {
    let (small, large) = (y.shape(), x.shape());
    let Resize { time, side } = resize;
    let folded = large.channels * resize.block();
    assert_eq!((small.height * side, small.width * side), (large.height, large.width), "sizes fit");
    assert!(small.border == 0 && large.border == 0, "bare frames");
    assert!(folded.is_multiple_of(small.channels), "{folded} channels are shared out evenly to {}", small.channels);
    assert_eq!(y.len(), x.len().div_ceil(time), "frames fit");
    if let Some([on_y, on_x]) = both_on_cuda(&y, x)? {
        return Ok(FrameStack::of_cuda(small, y.device(), frames::add_averaged(on_y, on_x, resize)?));
    }
    let missing = y.len() * time - x.len();
    let group = folded / small.channels;
    for (t, frame) in y.frames_mut().enumerate() {
        frame.par_chunks_mut(small.row()).with_min_len(ROWS).enumerate().for_each(|(row, out)| {
            for (column, pixel) in out.chunks_exact_mut(small.channels).enumerate() {
                for (channel, value) in pixel.iter_mut().enumerate() {
                    let sum: f32 = (channel * group..(channel + 1) * group)
                        .filter_map(|place| {
                            let (source, within) = (place / resize.block(), place % resize.block());
                            let frame = (t * time + within / (side * side)).checked_sub(missing)?;
                            let (dy, dx) = (within / side % side, within % side);
                            let pixel = (row * side + dy) * large.width + column * side + dx;
                            Some(x.frames()[frame][pixel * large.channels + source])
                        })
                        .sum();
                    *value += sum / group as f32;
                }
            }
        });
    }
    Ok(y)
}

/// `y` plus `x` made larger by repeating. If `y` lacks frames at its front, those of the enlarged `x` are dropped.
///
/// Channels of `y` times the block are a multiple of the channels of `x`.
pub fn add_repeated(mut y: FrameStack, x: &FrameStack, resize: Resize) -> Result<FrameStack> {
    let (small, large) = (x.shape(), y.shape());
    let Resize { time, side } = resize;
    let folded = large.channels * resize.block();
    assert_eq!((small.height * side, small.width * side), (large.height, large.width), "sizes fit");
    assert!(small.border == 0 && large.border == 0, "bare frames");
    assert!(folded.is_multiple_of(small.channels), "{} channels are repeated evenly to {folded}", small.channels);
    assert_eq!(x.len(), y.len().div_ceil(time), "frames fit");
    if let Some([on_y, on_x]) = both_on_cuda(&y, x)? {
        return Ok(FrameStack::of_cuda(large, y.device(), frames::add_repeated(on_y, on_x, resize)?));
    }
    let missing = x.len() * time - y.len();
    let repeats = folded / small.channels;
    for (t, frame) in y.frames_mut().enumerate() {
        let source = &x.frames()[(t + missing) / time];
        let in_block = (t + missing) % time;
        frame.par_chunks_mut(large.row()).with_min_len(ROWS).enumerate().for_each(|(row, out)| {
            for (column, pixel) in out.chunks_exact_mut(large.channels).enumerate() {
                let within = (in_block * side + row % side) * side + column % side;
                let source = &source[(row / side * small.width + column / side) * small.channels..][..small.channels];
                for (channel, value) in pixel.iter_mut().enumerate() {
                    *value += source[(channel * resize.block() + within) / repeats];
                }
            }
        });
    }
    Ok(y)
}

/// The frames of both, if they lie on a GPU. An error if one does and the other does not.
fn both_on_cuda<'a>(y: &'a FrameStack, x: &'a FrameStack) -> Result<Option<[&'a Frames; 2]>> {
    match (y.frames_on_cuda(), x.frames_on_cuda()) {
        (Some(y), Some(x)) => Ok(Some([y, x])),
        (None, None) => Ok(None),
        _ => bail!("a shortcut: one video lies on {}, the other on {}", y.device(), x.device()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Plain, PlainResult, assert_close, noise, ours};

    const SIZES: [(usize, usize, usize, usize, usize, Resize); 6] = [
        // Channels of the larger and of the smaller video, frames, rows, columns of the smaller.
        (3, 3, 2, 2, 3, Resize { time: 1, side: 2 }),
        (3, 6, 2, 3, 2, Resize { time: 2, side: 2 }),
        (4, 8, 1, 2, 2, Resize { time: 2, side: 2 }),
        (6, 6, 3, 2, 5, Resize { time: 1, side: 1 }),
        (6, 3, 2, 1, 4, Resize { time: 1, side: 1 }),
        (2, 16, 2, 9, 1, Resize { time: 2, side: 2 }),
    ];

    fn frames(tensor: &Plain) -> FrameStack {
        FrameStack::from_tensor(&ours(tensor)).expect("four sides")
    }

    /// `(C, T·time, H·side, W·side)` → `(C·block, T, H, W)`.
    fn fold(x: &Plain, Resize { time, side }: Resize) -> PlainResult<Plain> {
        let (c, t, h, w) = x.dims4()?;
        let split = x.reshape(vec![c, t / time, time, h / side, side, w / side, side])?;
        split.permute(vec![0, 2, 4, 6, 1, 3, 5])?.reshape((c * time * side * side, t / time, h / side, w / side))
    }

    /// The opposite.
    fn unfold(x: &Plain, Resize { time, side }: Resize) -> PlainResult<Plain> {
        let (folded, t, h, w) = x.dims4()?;
        let c = folded / (time * side * side);
        let split = x.reshape(vec![c, time, side, side, t, h, w])?.permute(vec![0, 4, 1, 5, 2, 6, 3])?;
        split.reshape((c, t * time, h * side, w * side))
    }

    #[test]
    fn averaging_is_folding_and_the_mean_of_groups_also_where_the_first_frames_are_missing() -> PlainResult<()> {
        for (large, small, t, h, w, resize) in SIZES {
            for missing in 0..resize.time {
                let (long, high, wide) = (t * resize.time - missing, h * resize.side, w * resize.side);
                let x = noise((large, long, high, wide), 1)?;
                let y = noise((small, t, h, w), 2)?;
                let folded = fold(&x.pad_with_zeros(1, missing, 0)?, resize)?;
                let group = large * resize.block() / small;
                let expected = (&y + folded.reshape((small, group, t, h * w))?.mean(1)?.reshape((small, t, h, w))?)?;
                let found = add_averaged(frames(&y), &frames(&x), resize).expect("frames");
                assert_close(&found.to_tensor().expect("back"), &expected, 1e-6);
            }
        }
        Ok(())
    }

    #[test]
    fn repeating_is_unfolding_of_repeated_channels_also_where_the_first_frames_are_dropped() -> PlainResult<()> {
        for (large, small, t, h, w, resize) in SIZES {
            for missing in 0..resize.time {
                let long = t * resize.time - missing;
                let x = noise((small, t, h, w), 1)?;
                let y = noise((large, long, h * resize.side, w * resize.side), 2)?;
                let folded = large * resize.block();
                let repeated = x.unsqueeze(1)?.broadcast_as((small, folded / small, t, h, w))?.contiguous()?;
                let larger = unfold(&repeated.reshape((folded, t, h, w))?, resize)?;
                let expected = (&y + larger.narrow(1, missing, long)?)?;
                let found = add_repeated(frames(&y), &frames(&x), resize).expect("frames");
                assert_close(&found.to_tensor().expect("back"), &expected, 1e-6);
            }
        }
        Ok(())
    }
}
