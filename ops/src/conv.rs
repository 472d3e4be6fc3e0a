//! Convolutions over a window of frames: Wan's 3×3×3 and 3×1×1, the picture's 3×3, and 1×1.
//!
//! All are one thing: an output pixel is a sum over *taps*, a tap being an input pixel at a fixed offset in one of the
//! window's frames. A window shorter than the kernel has no frames before it, and the taps there are skipped, not
//! multiplied by zero. Doubling a picture before a 3×3 convolution is folded into its weights: an output pixel sees only
//! four different inputs, so each of the four output phases is a 2×2 convolution of the small picture (4/9 of the
//! work, and the doubled picture is never made).

use std::ops::Range;

use rayon::prelude::*;

use crate::cpu::panels::{PANEL, Row, lanes_of_last, panels_max};
use crate::cpu::simd::Isa;
use crate::cuda;
use crate::cuda::frames::{Geometry, PackedConv};
use crate::error::bail;
use crate::frame_stack::{Frame, FrameShape, FrameStack};
use crate::{Device, Result, Stored};

/// Weights of one convolution, packed once.
#[derive(Debug, Clone)]
pub struct Conv {
    device: Device,
    inputs: usize,
    outputs: usize,
    /// Frames of a full window.
    frames: usize,
    /// Zero pixels its input frames carry.
    border: usize,
    /// Input pixels from one output pixel to the next.
    stride: usize,
    /// Output pixels, each way, that one step of the grid gives: 2 if the picture is doubled.
    scale: usize,
    /// The `scale²` output pixels of a grid step, row-major.
    phases: Vec<Phase>,
    bias: Vec<f32>,
    /// The weights where the device is a GPU; then there are no phases.
    on_cuda: Option<PackedConv>,
}

/// The taps of one output phase, in the order of its weights.
#[derive(Debug, Clone)]
struct Phase {
    /// Rows and columns into the bordered input; the same for every frame of the window.
    offsets: Vec<(usize, usize)>,
    /// `(panel, frame, offset, input channel, PANEL)`, zero beyond the last output channel.
    weights: Vec<f32>,
}

/// Pixels of one task: with their inputs they stay in the second-level cache.
const STRIP_PIXELS: usize = 192;
/// Input values, over all taps, that one pass of a strip takes: a panel group's weights for them are 256 KiB.
const DEPTH: usize = 1024;
/// 3×3×3
const TAPS_MAX: usize = 27;

impl Conv {
    /// `weight`: `(out, in, kt, k, k)` or `(out, in, k, k)`, `k` 1 or 3; 3 wants a border. `bias`: `(out)`.
    pub fn new(weight: &Stored, bias: &Stored, device: &Device) -> Result<Conv> {
        Conv::pack((weight, bias, device), 1, 1, |_, k| k)
    }

    /// A 3×3 convolution at every second pixel of a picture padded on the right and below.
    pub fn downsampling(weight: &Stored, bias: &Stored, device: &Device) -> Result<Conv> {
        // The border has a zero row above, too: begin after it.
        Conv::pack((weight, bias, device), 2, 1, |_, k| k + 1)
    }

    /// A 3×3 convolution of the picture with every pixel doubled each way.
    pub fn upsampling(weight: &Stored, bias: &Stored, device: &Device) -> Result<Conv> {
        // Row 2y+p of the doubled picture, seen through kernel row k, is row y + ⌈(p+k)/2⌉ of the picture's border.
        Conv::pack((weight, bias, device), 1, 2, |p, k| (p + k).div_ceil(2))
    }

    /// `offset(p, k)`: the bordered input row that kernel row `k` reads for output phase `p`. Columns are the same.
    fn pack(
        (weight, bias, device): (&Stored, &Stored, &Device),
        stride: usize,
        scale: usize,
        offset: impl Fn(usize, usize) -> usize,
    ) -> Result<Conv> {
        let (outputs, inputs, frames, side) = match *weight.shape() {
            [outputs, inputs, side, _] => (outputs, inputs, 1, side),
            [outputs, inputs, frames, side, _] => (outputs, inputs, frames, side),
            _ => bail!("a kernel has 4 or 5 dimensions, not {:?}", weight.shape()),
        };
        if bias.shape() != [outputs] {
            bail!("a convolution of {outputs} outputs was given a bias of {:?}", bias.shape());
        }
        if let Some(cuda) = device.as_cuda() {
            let sides = [outputs, inputs, frames, side];
            let on_cuda = Some(PackedConv::new(cuda, weight, bias, sides, Geometry { stride, scale })?);
            let (device, border, phases, bias) = (device.clone(), side / 2, Vec::new(), Vec::new());
            return Ok(Conv { device, inputs, outputs, frames, border, stride, scale, phases, bias, on_cuda });
        }
        let run_len = inputs * frames * side * side;
        let mut run = vec![0.0; run_len];
        let panels = outputs.div_ceil(PANEL);
        let phases = (0..scale * scale).map(|phase| -> Result<Phase> {
            let at = |ky, kx| (offset(phase / scale, ky), offset(phase % scale, kx));
            let kernel = || (0..side).flat_map(|ky| (0..side).map(move |kx| (ky, kx)));
            let mut offsets: Vec<_> = kernel().map(|(ky, kx)| at(ky, kx)).collect();
            offsets.sort_unstable();
            offsets.dedup();
            let taps: Vec<_> = kernel().map(|(ky, kx)| offsets.partition_point(|place| *place < at(ky, kx))).collect();
            let mut weights = vec![0f32; panels * frames * offsets.len() * inputs * PANEL];
            for output in 0..outputs {
                // An output at a time: the weight is nowhere in memory both as it is stored and as it is packed.
                weight.read(output * run_len, &mut run)?;
                for (input, run) in run.chunks_exact(frames * side * side).enumerate() {
                    for (frame, run) in run.chunks_exact(side * side).enumerate() {
                        let first = (output / PANEL * frames + frame) * offsets.len();
                        for (value, tap) in run.iter().zip(&taps) {
                            // Where two kernel rows read the same input row, their weights add up.
                            weights[((first + tap) * inputs + input) * PANEL + output % PANEL] += value;
                        }
                    }
                }
            }
            Ok(Phase { offsets, weights })
        });
        let phases = phases.collect::<Result<_>>()?;
        let (border, bias, device) = (side / 2, bias.to_vec()?, device.clone());
        Ok(Conv { device, inputs, outputs, frames, border, stride, scale, phases, bias, on_cuda: None })
    }

    /// Frames of a full window: 3, or 1 if this convolution looks at one frame.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Zero pixels its input must carry.
    pub fn border(&self) -> usize {
        self.border
    }

    /// Every frame on its own. `add`, if given, is added to the result.
    pub fn apply(&self, x: &FrameStack, add: Option<&FrameStack>) -> Result<FrameStack> {
        let windows: Vec<_> = (0..x.len()).map(|t| t..t + 1).collect();
        self.apply_windows(x, &windows, add)
    }

    /// One frame a window of `x`. A window shorter than the kernel lacks its oldest frames: they count as zero.
    pub fn apply_windows(
        &self,
        x: &FrameStack,
        windows: &[Range<usize>],
        add: Option<&FrameStack>,
    ) -> Result<FrameStack> {
        self.apply_with(Isa::best(), x, windows, add)
    }

    fn apply_with(
        &self,
        isa: Isa,
        x: &FrameStack,
        windows: &[Range<usize>],
        add: Option<&FrameStack>,
    ) -> Result<FrameStack> {
        let input = x.shape();
        assert_eq!((input.channels, input.border), (self.inputs, self.border), "a convolution fits its input");
        assert!(windows.iter().all(|window| (1..=self.frames).contains(&window.len())), "a window fits the kernel");
        let (rows, columns) = (input.height / self.stride, input.width / self.stride);
        let shape =
            FrameShape { height: rows * self.scale, width: columns * self.scale, channels: self.outputs, border: 0 };
        if let Some(add) = add {
            assert!(add.shape() == shape && add.len() == windows.len(), "what is added fits the result");
        }
        if *x.device() != self.device || add.is_some_and(|add| *add.device() != self.device) {
            bail!("a convolution on {} was given frames on {}", self.device, x.device());
        }
        if let (Some(packed), Some(frames)) = (&self.on_cuda, x.frames_on_cuda()) {
            let add = add.and_then(FrameStack::frames_on_cuda);
            let frames = cuda::frames::conv(packed, frames, input, windows, add)?;
            return Ok(FrameStack::of_cuda(shape, &self.device, frames));
        }
        // At least two tasks a thread, so that a thread that starts late does not hold up the rest.
        let pixels = (rows * columns * windows.len()).div_ceil(2 * rayon::current_num_threads());
        let strip_rows = (pixels.min(STRIP_PIXELS) / columns).max(1);
        let strip_len = strip_rows * self.scale * shape.row();

        let mut frames: Vec<Vec<f32>> = windows.iter().map(|_| vec![0.0; shape.values()]).collect();
        let strips: Vec<_> = (frames.iter_mut().zip(windows).enumerate())
            .flat_map(|(t, (frame, window))| {
                frame.chunks_mut(strip_len).enumerate().map(move |(i, out)| Strip {
                    input,
                    window: &x.frames()[window.clone()],
                    first_row: i * strip_rows,
                    columns,
                    add: add.map(|add| &add.frames()[t][i * strip_len..][..out.len()]),
                    out,
                })
            })
            .collect();
        strips.into_par_iter().for_each_init(Vec::new, |sums, strip| self.strip(isa, strip, sums));
        Ok(FrameStack::of(shape, &self.device, frames))
    }

    /// `sums`: scratch, kept from strip to strip.
    fn strip(&self, isa: Isa, strip: Strip, sums: &mut Vec<f32>) {
        let Strip { input, window, first_row, columns, add, out } = strip;
        let out_row = self.scale * columns * self.outputs;
        let rows = out.len() / (self.scale * out_row);
        let absent = self.frames - window.len();
        let panels = self.outputs.div_ceil(PANEL);
        // As many panels at once as the kernel takes, in groups as even as can be.
        let group = panels.div_ceil(panels.div_ceil(panels_max(isa)));
        for (phase, taps) in self.phases.iter().enumerate() {
            let panel_len = self.frames * taps.offsets.len() * self.inputs * PANEL;
            let tap_count = window.len() * taps.offsets.len();
            let skipped = absent * taps.offsets.len() * self.inputs * PANEL;
            for first_panel in (0..panels).step_by(group) {
                let group = group.min(panels - first_panel);
                let width = group * PANEL;
                sums.resize(rows * columns * width, 0.0);
                let block = (DEPTH / self.inputs).clamp(1, tap_count);
                for first_tap in (0..tap_count).step_by(block) {
                    let block_taps = first_tap..(first_tap + block).min(tap_count);
                    let weights = first_panel * panel_len + skipped + first_tap * self.inputs * PANEL;
                    for (row, sums) in sums.chunks_exact_mut(columns * width).enumerate() {
                        let mut inputs = [&[][..]; TAPS_MAX];
                        let inputs = &mut inputs[..block_taps.len()];
                        for (slot, tap) in inputs.iter_mut().zip(block_taps.clone()) {
                            let (dy, dx) = taps.offsets[tap % taps.offsets.len()];
                            let y = (first_row + row) * self.stride + dy;
                            *slot = &window[tap / taps.offsets.len()][y * input.row() + dx * self.inputs..];
                        }
                        let row = Row {
                            taps: inputs,
                            channels: self.inputs,
                            step: self.stride * self.inputs,
                            channel_step: 1,
                            weights: &taps.weights[weights..],
                            panels: group,
                            panel_len,
                            lanes: lanes_of_last(self.outputs, first_panel + group),
                            accumulate: first_tap > 0,
                        };
                        row.run(isa, sums);
                    }
                }
                // The sums of these channels are whole: put them where they belong.
                let channels = first_panel * PANEL..self.outputs.min(first_panel * PANEL + width);
                let bias = &self.bias[channels.clone()];
                let (py, px) = (phase / self.scale, phase % self.scale);
                for (i, sums) in sums.chunks_exact(width).enumerate() {
                    let (y, x) = (i / columns * self.scale + py, i % columns * self.scale + px);
                    let at = y * out_row + x * self.outputs;
                    let at = at + channels.start..at + channels.end;
                    let (out, sums) = (&mut out[at.clone()], &sums[..bias.len()]);
                    match add.map(|add| &add[at]) {
                        Some(add) => {
                            for (((out, sum), bias), add) in out.iter_mut().zip(sums).zip(bias).zip(add) {
                                *out = sum + bias + add;
                            }
                        }
                        None => {
                            for ((out, sum), bias) in out.iter_mut().zip(sums).zip(bias) {
                                *out = sum + bias;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Some rows of one output frame.
struct Strip<'a> {
    input: FrameShape,
    window: &'a [Frame],
    /// Rows and columns are steps of the grid: `scale` output pixels each.
    first_row: usize,
    columns: usize,
    add: Option<&'a [f32]>,
    out: &'a mut [f32],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Plain, PlainResult, Weight, ours};
    use candle_core::Device as PlainDevice;

    /// Numbers without a pattern that a wrong stride could hide in.
    fn noise(shape: &[usize], seed: u64) -> Plain {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let values = (0..shape.iter().product::<usize>()).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        });
        Plain::from_vec(values.collect::<Vec<_>>(), shape, &PlainDevice::Cpu).expect("as many as the shape has")
    }

    /// candle's convolution, frame by frame: the sum over the window's frames of 2-D convolutions.
    fn plain(x: &Plain, weight: &Plain, bias: &Plain, frames_out: &[Vec<usize>], stride: usize) -> PlainResult<Plain> {
        let weight = if weight.rank() == 4 { weight.unsqueeze(2)? } else { weight.clone() };
        let (_, _, kt, side, _) = weight.dims5()?;
        let mut out = Vec::new();
        for window in frames_out {
            let mut sum: Option<Plain> = None;
            for (i, &t) in window.iter().enumerate() {
                let tap = weight.narrow(2, kt - window.len() + i, 1)?.squeeze(2)?.contiguous()?;
                let mut frame = x.narrow(1, t, 1)?.squeeze(1)?.unsqueeze(0)?.contiguous()?;
                if stride == 2 {
                    frame = frame.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?;
                }
                let y = frame.conv2d(&tap, if stride == 1 { side / 2 } else { 0 }, stride, 1, 1)?;
                sum = Some(match sum {
                    Some(sum) => (sum + y)?,
                    None => y,
                });
            }
            out.push(sum.expect("a window has a frame").broadcast_add(&bias.reshape((1, (), 1, 1))?)?.squeeze(0)?);
        }
        Plain::stack(&out, 1)
    }

    fn assert_close(found: &FrameStack, plain: &Plain, depth: usize, what: &str) {
        let found = found.to_tensor().expect("a tensor");
        assert_eq!(found.dims(), plain.dims(), "{what}");
        let off = (found.cpu("a test").expect("main memory") - plain)
            .expect("same shape")
            .abs()
            .expect("abs")
            .max_all()
            .expect("max");
        let off = off.to_scalar::<f32>().expect("one");
        // Two orders of summing `depth` products of numbers below one; a wrong tap would be off by a thousand times that.
        assert!(off < 1e-7 * depth as f32 + 1e-6, "{what}: off by {off:e}");
    }

    #[test]
    fn a_causal_convolution_agrees_with_candle_at_odd_sizes_on_every_instruction_set() {
        for (inputs, outputs, height, width, count) in [
            (1, 1, 1, 1, 1),
            (3, 16, 5, 7, 2),
            (16, 3, 4, 13, 4),
            (20, 40, 3, 29, 3),
            (33, 50, 7, 6, 2),
            (64, 130, 2, 17, 1),
        ] {
            let x = noise(&[inputs, count, height, width], 1);
            let bias = noise(&[outputs], 2);
            for (kt, k) in [(3, 3), (3, 1), (1, 1)] {
                let weight = noise(&[outputs, inputs, kt, k, k], 3);
                let windows: Vec<Vec<usize>> =
                    (0..count).map(|t| ((t + 1).saturating_sub(kt)..t + 1).collect()).collect();
                let expected = plain(&x, &weight, &bias, &windows, 1).expect("candle");
                let (weight, bias) = (Weight::of(&weight), Weight::of(&bias));
                let conv = Conv::new(&weight.stored(), &bias.stored(), &Device::cpu()).expect("a kernel");
                let mut video = FrameStack::from_tensor(&ours(&x)).expect("a video");
                if conv.border() == 1 {
                    video = video.bordered();
                }
                let slices: Vec<_> = windows.iter().map(|w| w[0]..w[0] + w.len()).collect();
                for isa in Isa::available() {
                    let what = format!("{isa:?} {inputs}->{outputs} {kt}x{k}x{k} at {height}x{width}");
                    let once = conv.apply_with(isa, &video, &slices, None).expect("frames");
                    assert_close(&once, &expected, inputs * kt * k * k, &what);
                    let twice = conv.apply_with(isa, &video, &slices, Some(&once)).expect("frames");
                    assert_close(&twice, &(&expected * 2.0).expect("doubled"), 4 * inputs * kt * k * k, &what);
                }
            }
        }
    }

    #[test]
    fn down_and_upsampling_agree_with_padding_and_doubling_the_picture() {
        for (inputs, outputs, height, width, count) in [(2, 5, 2, 2, 1), (16, 16, 6, 10, 3), (24, 48, 8, 26, 2)] {
            let x = noise(&[inputs, count, height, width], 4);
            let (weight, bias) = (noise(&[outputs, inputs, 3, 3], 5), noise(&[outputs], 6));
            let windows: Vec<_> = (0..count).map(|t| vec![t]).collect();
            let video = FrameStack::from_tensor(&ours(&x)).expect("a video").bordered();
            let slices: Vec<_> = (0..count).map(|t| t..t + 1).collect();
            let (stored, stored_bias, device) = (Weight::of(&weight), Weight::of(&bias), Device::cpu());
            for isa in Isa::available() {
                let what = format!("{isa:?} {inputs}->{outputs} at {height}x{width}");
                let down = Conv::downsampling(&stored.stored(), &stored_bias.stored(), &device).expect("a kernel");
                let expected = plain(&x, &weight, &bias, &windows, 2).expect("candle");
                assert_close(
                    &down.apply_with(isa, &video, &slices, None).expect("frames"),
                    &expected,
                    9 * inputs,
                    &what,
                );
                let up = Conv::upsampling(&stored.stored(), &stored_bias.stored(), &device).expect("a kernel");
                let doubled = x.upsample_nearest2d(2 * height, 2 * width).expect("doubled");
                let expected = plain(&doubled, &weight, &bias, &windows, 1).expect("candle");
                assert_close(
                    &up.apply_with(isa, &video, &slices, None).expect("frames"),
                    &expected,
                    18 * inputs,
                    &what,
                );
            }
        }
    }
}
