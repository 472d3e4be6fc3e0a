//! Pixels: bytes to numbers and back, and folding squares of pixels into channels.
//!
//! Bytes are made by truncation, not by rounding, as the reference does: rounding changes every second byte.

use rayon::prelude::*;

use crate::cpu::simd::dispatched;
use crate::cuda;
use crate::error::bail;
use crate::frame_stack::{FrameShape, FrameStack};
use crate::{Arriving, Device, Result};

/// Row-major RGB8 → one frame of three channels in [-1, 1].
pub fn from_rgb8(rgb: &[u8], height: usize, width: usize, device: &Device) -> Result<FrameStack> {
    if rgb.len() != 3 * height * width {
        bail!("a {width}x{height} picture has {} bytes, not {}", 3 * height * width, rgb.len());
    }
    let shape = FrameShape { height, width, channels: 3, border: 0 };
    if let Some(cuda) = device.as_cuda() {
        let frame = cuda::frames::from_rgb8(cuda, rgb, height, width)?;
        return Ok(FrameStack::of_cuda(shape, device, vec![frame]));
    }
    let values = rgb.iter().map(|&byte| 2.0 * (f32::from(byte) / 255.0) - 1.0).collect();
    Ok(FrameStack::of(shape, device, vec![values]))
}

/// Frames of three channels → row-major RGB8, frame after frame: `[-1, 1]` clamped, then truncated. Waits for them.
pub fn to_rgb8(video: &FrameStack) -> Result<Vec<u8>> {
    begin_rgb8(video)?.wait()
}

/// As [`to_rgb8`]: a GPU copies the bytes to main memory while it goes on to what it is asked for next.
pub fn begin_rgb8(video: &FrameStack) -> Result<Arriving<Vec<u8>>> {
    let shape = video.shape();
    if shape.channels != 3 || shape.border != 0 {
        bail!("a picture has 3 channels and no border, not {} and {}", shape.channels, shape.border);
    }
    if let Some(frames) = video.frames_on_cuda() {
        return Ok(Arriving::of(cuda::frames::begin_rgb8(frames)?, |arrival| arrival.numbers()));
    }
    let mut bytes = vec![0; video.len() * shape.values()];
    const BLOCK: usize = 1 << 14;
    for (bytes, frame) in bytes.chunks_mut(shape.values()).zip(video.frames()) {
        bytes.par_chunks_mut(BLOCK).zip(frame.par_chunks(BLOCK)).for_each(|(bytes, values)| truncate(values, bytes));
    }
    Ok(Arriving::here(bytes))
}

dispatched!(fn truncate(values: &[f32], bytes: &mut [u8]) = truncate_body);

#[inline(always)]
fn truncate_body<const FMA: bool>(values: &[f32], bytes: &mut [u8]) {
    for (byte, value) in bytes.iter_mut().zip(values) {
        // `as` truncates, and makes 0 of a NaN.
        *byte = ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0) as u8;
    }
}

/// Every frame of `(H, W, C)` → `(H/side, W/side, C·side²)`: a square of pixels becomes channels.
///
/// Column before row inside a square: channel `(c·side + x)·side + y`. With `side` 1 the frames stay as they are.
pub fn fold(video: FrameStack, side: usize) -> Result<FrameStack> {
    if side == 1 {
        return Ok(video);
    }
    let FrameShape { height, width, channels, border } = video.shape();
    assert!(border == 0 && height % side == 0 && width % side == 0, "bare frames of whole squares");
    let shape = FrameShape { height: height / side, width: width / side, channels: channels * side * side, border };
    if let Some(frames) = video.frames_on_cuda() {
        return Ok(FrameStack::of_cuda(shape, video.device(), cuda::frames::fold(frames, side)?));
    }
    let frames = video.frames().par_iter().map(|pixels| {
        let mut frame = vec![0.0; shape.values()];
        for (folded, pixel) in folding(shape, side) {
            frame[folded] = pixels[pixel];
        }
        frame
    });
    Ok(FrameStack::of(shape, video.device(), frames.collect()))
}

/// The opposite of [`fold`].
pub fn unfold(video: FrameStack, side: usize) -> Result<FrameStack> {
    if side == 1 {
        return Ok(video);
    }
    let folded = video.shape();
    assert!(folded.border == 0 && folded.channels.is_multiple_of(side * side), "bare frames of folded squares");
    let (height, width) = (side * folded.height, side * folded.width);
    let shape = FrameShape { height, width, channels: folded.channels / (side * side), border: 0 };
    if let Some(frames) = video.frames_on_cuda() {
        return Ok(FrameStack::of_cuda(shape, video.device(), cuda::frames::unfold(frames, side)?));
    }
    let frames = video.frames().par_iter().map(|frame| {
        let mut pixels = vec![0.0; shape.values()];
        for (folded, pixel) in folding(folded, side) {
            pixels[pixel] = frame[folded];
        }
        pixels
    });
    Ok(FrameStack::of(shape, video.device(), frames.collect()))
}

/// Pairs of places: in the folded frame, and in the picture.
fn folding(folded: FrameShape, side: usize) -> impl Iterator<Item = (usize, usize)> {
    let FrameShape { height, width, channels, .. } = folded;
    let colours = channels / (side * side);
    (0..height * width).flat_map(move |at| {
        let corner = (at / width * side) * (width * side) + at % width * side;
        (0..channels).map(move |channel| {
            let (colour, x, y) = (channel / (side * side), channel / side % side, channel % side);
            (at * channels + channel, (corner + y * width * side + x) * colours + colour)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_way_to_numbers_and_back_but_for_truncation() {
        let bytes: Vec<u8> = (0..=255).flat_map(|b| [b, b, b]).collect();
        let picture = from_rgb8(&bytes, 16, 16, &Device::cpu()).expect("a picture");
        let back = to_rgb8(&picture).expect("three channels");
        assert!(bytes.iter().zip(&back).all(|(before, after)| before - after <= 1));
        assert!(from_rgb8(&bytes, 16, 17, &Device::cpu()).is_err());
        assert!(to_rgb8(&picture.bordered()).is_err());
    }

    /// C36: 0 in [-1, 1] is 0.5 in [0, 1].
    #[test]
    fn a_value_becomes_a_byte_by_clamping_and_truncation() {
        let check = |value: f32, expected: u8| {
            let shape = FrameShape { height: 1, width: 1, channels: 3, border: 0 };
            let one = FrameStack::of(shape, &Device::cpu(), vec![vec![value; 3]]);
            assert_eq!(to_rgb8(&one).expect("three channels"), [expected; 3], "{value}");
        };
        check(-7.0, 0);
        check(-1.0, 0);
        check(0.0, 127);
        check(0.999, 254);
        check(1.0, 255);
        check(f32::INFINITY, 255);
        check(f32::NAN, 0);
    }

    #[test]
    fn folding_takes_columns_before_rows_and_unfolding_undoes_it() {
        let shape = FrameShape { height: 4, width: 6, channels: 3, border: 0 };
        let values: Vec<f32> = (0..4 * 6 * 3u8).map(f32::from).collect();
        let picture = FrameStack::of(shape, &Device::cpu(), vec![values.clone()]);
        let folded = fold(picture, 2).expect("squares");
        // The first square: red of (0,0), (1,0) below it, then the column to the right; then green.
        assert_eq!(folded.values()[..5], [0.0, 18.0, 3.0, 21.0, 1.0]);
        let back = unfold(folded, 2).expect("squares");
        assert_eq!((back.shape(), back.values()), (shape, values));
    }
}
