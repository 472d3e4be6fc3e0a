//! The picture that a video starts from, scaled to the video's size.
//!
//! Each side is scaled by itself, without cropping, as the model's own pictures were prepared: with Pillow's bicubic
//! filter (a = −½), which averages over more pixels when it makes a picture smaller. The result equals that of Pillow
//! 12 to the byte, so a first frame prepared here and one prepared by the reference are the same input.

use rayon::prelude::*;

use crate::world::{Picture, Size};

const CHANNELS: usize = 3;
/// Weights are multiples of 2⁻²²: a sum has 8 bits of value, the sign and one bit of overshoot beside them, 32 in all.
const PRECISION_BITS: u32 = 22;

/// Scale `picture` to `size`. A side that has its length already is not touched, so fitting twice is fitting once.
pub fn fit(picture: Picture, size: Size) -> Picture {
    assert_eq!(picture.rgb.len() as u64, picture.size.frame_bytes(), "a picture has three bytes a pixel");
    assert!(picture.size.pixels() > 0 && size.pixels() > 0, "a picture has pixels");
    let Picture { size: from, mut rgb } = picture;
    // Width before height, as in Pillow: values are rounded between the two passes, so the order changes the result.
    if from.width != size.width {
        rgb = resize_rows(&rgb, from.width as usize, &taps(from.width as usize, size.width as usize));
    }
    if from.height != size.height {
        rgb = resize_columns(&rgb, size.width as usize, &taps(from.height as usize, size.height as usize));
    }
    Picture { size, rgb }
}

/// The source positions that one position of the result is a weighted sum of.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The taps of each of `to` positions, out of `from` positions.
fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let widening = scale.max(1.0);
    let reach = 2.0 * widening;
    let of_place = |place: usize| {
        let centre = (place as f64 + 0.5) * scale;
        let first = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(from);
        // Pillow multiplies by the inverse and does not divide, in this order: the last bit depends on it.
        let inverse = 1.0 / widening;
        let weights: Vec<f64> = (first..end).map(|x| bicubic((x as f64 - centre + 0.5) * inverse)).collect();
        let total: f64 = weights.iter().sum();
        let unit = f64::from(1 << PRECISION_BITS);
        Taps { first, weights: weights.iter().map(|weight| (weight / total * unit).round() as i32).collect() }
    };
    (0..to).map(of_place).collect()
}

fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Weighted sums start from one half, so that cutting them off rounds them.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

fn resize_rows(rgb: &[u8], width: usize, taps: &[Taps]) -> Vec<u8> {
    let height = rgb.len() / (CHANNELS * width);
    let mut resized = vec![0; height * taps.len() * CHANNELS];
    let rows = resized.par_chunks_exact_mut(taps.len() * CHANNELS).zip(rgb.par_chunks_exact(width * CHANNELS));
    rows.for_each(|(resized, row)| {
        for (pixel, taps) in resized.chunks_exact_mut(CHANNELS).zip(taps) {
            let mut sums = [HALF; CHANNELS];
            let sources = row[taps.first * CHANNELS..].chunks_exact(CHANNELS);
            for (source, weight) in sources.zip(&taps.weights) {
                for (sum, &value) in sums.iter_mut().zip(source) {
                    *sum += i32::from(value) * weight;
                }
            }
            pixel.copy_from_slice(&sums.map(to_byte));
        }
    });
    resized
}

fn resize_columns(rgb: &[u8], width: usize, taps: &[Taps]) -> Vec<u8> {
    let stride = width * CHANNELS;
    let mut resized = vec![0; taps.len() * stride];
    resized.par_chunks_exact_mut(stride).zip(taps).for_each(|(resized, taps)| {
        let mut sums = vec![HALF; stride];
        for (row, weight) in rgb[taps.first * stride..].chunks_exact(stride).zip(&taps.weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        for (byte, sum) in resized.iter_mut().zip(sums) {
            *byte = to_byte(sum);
        }
    });
    resized
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    /// Checks every case of a fixture that Pillow made (see testdata/README.md).
    fn check(fixture: &[u8]) {
        let tensors = candle_core::safetensors::load_buffer(fixture, &Device::Cpu).expect("a safetensors file");
        let picture = |name: &str| {
            let tensor = tensors[name].to_dtype(DType::U8).expect("bytes");
            let (height, width, _) = tensor.dims3().expect("(height, width, 3)");
            let rgb: Vec<u8> = tensor.flatten_all().and_then(|t| t.to_vec1()).expect("bytes");
            Picture { size: Size { width: width as u32, height: height as u32 }, rgb }
        };
        let cases: Vec<_> = tensors.keys().filter_map(|name| name.strip_suffix(".source")).collect();
        assert!(!cases.is_empty());
        for case in cases {
            let expected = picture(&format!("{case}.fitted"));
            let found = fit(picture(&format!("{case}.source")), expected.size);
            let off = found.rgb.iter().zip(&expected.rgb).filter(|(a, b)| a != b).count();
            assert_eq!((found.size, found.rgb.len(), off), (expected.size, expected.rgb.len(), 0), "{case}");
        }
    }

    #[test]
    fn it_is_pillows_bicubic_to_the_byte() {
        check(include_bytes!("../testdata/pillow_bicubic.safetensors"));
    }

    #[test]
    fn a_picture_of_the_right_size_is_not_touched() {
        let size = Size { width: 5, height: 3 };
        let picture = Picture { size, rgb: (0..45).collect() };
        let buffer = picture.rgb.as_ptr();
        let fitted = fit(picture, size);
        assert_eq!(fitted.rgb.as_ptr(), buffer);
        assert_eq!(fitted.rgb, (0..45).collect::<Vec<u8>>());
    }
}
