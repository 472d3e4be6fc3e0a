//! Attention of every pixel of a frame to every other, one head: what stands in the middle of the autoencoder.
//!
//! The scores of all pixels with all pixels would be 156 MB at 832×480; they are made for a few queries at a time.

use gemm::Parallelism;
use rayon::prelude::*;

use crate::Result;
use crate::cpu::softmax::softmax;
use crate::cuda;
use crate::frame_stack::{FrameShape, FrameStack};

/// Scores that one task holds: 1 MiB.
const SCORES: usize = 1 << 18;
/// Queries of one task at most: a thousand pixels are still sixteen tasks.
const QUERIES: usize = 64;

/// `qkv`: 3·C channels, queries then keys then values → C channels.
pub fn spatial_attention(qkv: &FrameStack) -> Result<FrameStack> {
    let FrameShape { height, width, channels: triple, border } = qkv.shape();
    assert!(border == 0 && triple % 3 == 0, "queries, keys and values side by side");
    let (channels, positions) = (triple / 3, height * width);
    if let Some(frames) = qkv.frames_on_cuda() {
        let frames = cuda::frames::spatial_attention(frames)?;
        return Ok(FrameStack::of_cuda(FrameShape { channels, ..qkv.shape() }, qkv.device(), frames));
    }
    // Few enough for the bound, at least four tasks, and no fewer than a matrix product is good at. Never by the number of
    // threads: how a product sums depends on its rows, and a world draws the same bytes on any number of threads.
    let queries = (SCORES / positions).min(positions.div_ceil(4)).clamp(8, QUERIES);
    let frames = qkv.frames().iter().map(|frame| {
        let mut out = vec![0f32; positions * channels];
        out.par_chunks_mut(queries * channels).enumerate().for_each_init(Vec::new, |scores, (i, out)| {
            let count = out.len() / channels;
            scores.resize(count * positions, 0.0);
            let (q, k, v) = (&frame[i * queries * triple..], &frame[channels..], &frame[2 * channels..]);
            product(
                (count, positions, channels),
                scores,
                Matrix { values: q, rows: triple, columns: 1 },
                // Keys as columns.
                Matrix { values: k, rows: 1, columns: triple },
                1.0 / (channels as f32).sqrt(),
            );
            scores.chunks_exact_mut(positions).for_each(softmax);
            product(
                (count, channels, positions),
                out,
                Matrix { values: scores, rows: positions, columns: 1 },
                Matrix { values: v, rows: triple, columns: 1 },
                1.0,
            );
        });
        out
    });
    Ok(FrameStack::of(FrameShape { channels, ..qkv.shape() }, qkv.device(), frames.collect()))
}

/// A matrix inside a slice: how far its rows and its columns lie apart.
struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
}

impl Matrix<'_> {
    /// Does it have an element at the last of `rows` and the last of `columns`?
    fn holds(&self, rows: usize, columns: usize) -> bool {
        (rows - 1) * self.rows + (columns - 1) * self.columns < self.values.len()
    }
}

/// `out (m, n) = scale · a (m, k) · b (k, n)`, on this thread.
fn product((m, n, k): (usize, usize, usize), out: &mut [f32], a: Matrix, b: Matrix, scale: f32) {
    assert!(m > 0 && n > 0 && k > 0 && out.len() == m * n && a.holds(m, k) && b.holds(k, n));
    // SAFETY: the last element of each matrix is inside its slice, as asserted, and strides are not negative. `out` is not
    // read before it is written.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.values.as_ptr(),
            a.columns as isize,
            a.rows as isize,
            b.values.as_ptr(),
            b.columns as isize,
            b.rows as isize,
            0.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Plain, PlainResult, ours};
    use candle_core::Device;

    /// Of 24 pixels, tasks that followed the threads gave other bits on one thread than on two.
    #[test]
    fn it_is_the_same_bits_on_any_number_of_threads() {
        for (channels, height, width) in [(96, 4, 6), (24, 17, 19), (32, 8, 12)] {
            let values = (0..3 * channels * height * width).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 150.0);
            let x = Plain::from_vec(values.collect::<Vec<_>>(), (3 * channels, 1, height, width), &Device::Cpu);
            let video = FrameStack::from_tensor(&ours(&x.expect("sizes fit"))).expect("a video");
            let on = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                pool.install(|| spatial_attention(&video)).expect("frames").values()
            };
            let one = on(1);
            assert!([2, 3, 8].into_iter().all(|threads| on(threads) == one), "{channels} channels, {height}x{width}");
        }
    }

    #[test]
    fn attention_in_tiles_agrees_with_the_whole_matrix() {
        for (channels, height, width, count) in [(4, 1, 1, 1), (8, 3, 5, 2), (24, 17, 19, 1), (6, 40, 30, 1)] {
            let positions = height * width;
            let values = (0..3 * channels * count * positions).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 150.0);
            let shape = (3 * channels, count, height, width);
            let x = Plain::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu).expect("sizes fit");
            let plain = |t: usize| -> PlainResult<Plain> {
                let frame = x.narrow(1, t, 1)?.reshape((3, channels, positions))?;
                let scores = (frame.get(0)?.t()?.matmul(&frame.get(1)?)? / (channels as f64).sqrt())?;
                let e = scores.broadcast_sub(&scores.max_keepdim(1)?)?.exp()?;
                let weights = e.broadcast_div(&e.sum_keepdim(1)?)?;
                weights.matmul(&frame.get(2)?.t()?.contiguous()?)?.t()?.reshape((channels, 1, height, width))
            };
            let expected = (0..count).map(plain).collect::<PlainResult<Vec<_>>>().expect("plain");
            let expected = Plain::cat(&expected, 1).expect("frames");
            let video = FrameStack::from_tensor(&ours(&x)).expect("a video");
            let found = spatial_attention(&video).expect("frames").to_tensor().expect("back");
            let off = (found.cpu("a test").expect("main memory") - expected)
                .expect("same shape")
                .abs()
                .expect("abs")
                .max_all()
                .expect("max");
            assert!(off.to_scalar::<f32>().expect("one") < 1e-5, "{channels} channels, {height}x{width}: {off}");
        }
    }
}
