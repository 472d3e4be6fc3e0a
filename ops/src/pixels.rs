//! Pixels: bytes to numbers and back, and folding squares of pixels into channels.
//!
//! Bytes are made by truncation, not by rounding: that is what the reference does, and it shows in every second byte.

use std::sync::Arc;

use rayon::prelude::*;

use crate::cpu::simd::dispatched;
use crate::video::{Shape, Video};
use crate::{Device, Result, Tensor};

/// Row-major RGB8 → `(H, W, 3)` in [-1, 1].
pub fn from_rgb8(rgb: &[u8], height: usize, width: usize) -> Result<Tensor> {
    if rgb.len() != 3 * height * width {
        candle_core::bail!("a {width}x{height} picture has {} bytes, not {}", 3 * height * width, rgb.len());
    }
    let values = rgb.iter().map(|&byte| 2.0 * (f32::from(byte) / 255.0) - 1.0).collect::<Vec<_>>();
    Tensor::from_vec(values, (height, width, 3), &Device::Cpu)
}

/// `(T, H, W, 3)` → row-major RGB8, frame after frame: `[-1, 1]` clamped, then truncated.
pub fn to_rgb8(video: &Tensor) -> Result<Vec<u8>> {
    let (_, _, _, channels) = video.dims4()?;
    if channels != 3 {
        candle_core::bail!("a picture has 3 channels, not {channels}");
    }
    let values = video.flatten_all()?.to_vec1::<f32>()?;
    let mut bytes = vec![0; values.len()];
    const BLOCK: usize = 1 << 14;
    bytes.par_chunks_mut(BLOCK).zip(values.par_chunks(BLOCK)).for_each(|(bytes, values)| truncate(values, bytes));
    Ok(bytes)
}

dispatched!(fn truncate(values: &[f32], bytes: &mut [u8]) = truncate_body);

#[inline(always)]
fn truncate_body<const FMA: bool>(values: &[f32], bytes: &mut [u8]) {
    for (byte, value) in bytes.iter_mut().zip(values) {
        // `as` truncates, and makes 0 of a NaN.
        *byte = ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0) as u8;
    }
}

/// `(H, W, 3)` → one frame of `(H/side, W/side, 3·side²)`: a square of pixels becomes channels.
///
/// Column before row inside a square: channel `(c·side + x)·side + y`.
pub fn fold(picture: &Tensor, side: usize) -> Result<Video> {
    let (height, width, colours) = picture.dims3()?;
    let shape = Shape { height: height / side, width: width / side, channels: colours * side * side, border: 0 };
    let pixels = picture.flatten_all()?.to_vec1::<f32>()?;
    let mut frame = vec![0.0; shape.values()];
    for (folded, pixel) in folding(shape, side) {
        frame[folded] = pixels[pixel];
    }
    Ok(Video { shape, frames: vec![Arc::new(frame)] })
}

/// The opposite of [`fold`], for every frame: `(T, H, W, C)`.
pub fn unfold(video: &Video, side: usize) -> Result<Tensor> {
    let shape = video.shape;
    let pixels = if side == 1 {
        video.values()
    } else {
        let mut pixels = vec![0.0; video.frames.len() * shape.values()];
        pixels.par_chunks_mut(shape.values()).zip(&video.frames).for_each(|(pixels, frame)| {
            for (folded, pixel) in folding(shape, side) {
                pixels[pixel] = frame[folded];
            }
        });
        pixels
    };
    let colours = shape.channels / (side * side);
    Tensor::from_vec(pixels, (video.frames.len(), side * shape.height, side * shape.width, colours), &Device::Cpu)
}

/// Pairs of places: in the folded frame, and in the picture.
fn folding(folded: Shape, side: usize) -> impl Iterator<Item = (usize, usize)> {
    let Shape { height, width, channels, .. } = folded;
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
        let picture = from_rgb8(&bytes, 16, 16).expect("a picture");
        let back = to_rgb8(&picture.unsqueeze(0).expect("one frame")).expect("three channels");
        assert!(bytes.iter().zip(&back).all(|(before, after)| before - after <= 1));
        assert!(from_rgb8(&bytes, 16, 17).is_err());
    }

    /// C36: 0 in [-1, 1] is 0.5 in [0, 1].
    #[test]
    fn a_value_becomes_a_byte_by_clamping_and_truncation() {
        let check = |value: f32, expected: u8| {
            let one = Tensor::full(value, (1, 1, 1, 3), &Device::Cpu).expect("full");
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
        let picture =
            Tensor::arange(0f32, 4.0 * 6.0 * 3.0, &Device::Cpu).and_then(|t| t.reshape((4, 6, 3))).expect("a picture");
        let folded = fold(&picture, 2).expect("even sides");
        // The first square: red of (0,0), (1,0) below it, then the column to the right; then green.
        assert_eq!(folded.frames[0][..5], [0.0, 18.0, 3.0, 21.0, 1.0]);
        let back = unfold(&folded, 2).and_then(|t| t.squeeze(0)).expect("one frame");
        assert_eq!(back.to_vec3::<f32>().expect("values"), picture.to_vec3::<f32>().expect("values"));
    }
}
