//! Convolutions over a window of frames: Wan's 3×3×3 and 3×1×1, the picture's 3×3, and 1×1.
//!
//! All are one thing: an output pixel is a sum over *taps*, a tap being an input pixel at a fixed offset in one of the
//! window's frames. A window shorter than the kernel has no frames before it, and the taps there are skipped, not
//! multiplied by zero. Doubling a picture before a 3×3 convolution is folded into its weights: an output pixel sees only
//! four different inputs, so each of the four output phases is a 2×2 convolution of the small picture (4/9 of the
//! work, and the doubled picture is never made).

use std::ops::Range;

use rayon::prelude::*;

use crate::cpu::narrow::{Bf16Unit, PairRow, pixels_as_words, weights_as_pairs};
use crate::cpu::panels::{PANEL, Row, lanes_of_last, panels_max};
use crate::cpu::simd::Isa;
use crate::cuda;
use crate::cuda::frames::{Geometry, PackedConv};
use crate::error::bail;
use crate::frame_stack::{Frame, FrameShape, FrameStack};
use crate::{Compute, Device, Result, Stored};

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
    /// What multiplies pairs of bf16, where it computes in that. `None`: f32.
    pairs: Option<Bf16Unit>,
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
    weights: Packed,
}

/// Zero beyond the last output channel.
#[derive(Debug, Clone)]
enum Packed {
    /// `(panel, frame, offset, input channel, PANEL)`
    Whole(Vec<f32>),
    /// `(panel, frame, offset, pair of input channels, PANEL, 2)`
    Pairs(Vec<u16>),
}

/// Frames as the kernel reads them.
enum Input<'a> {
    Whole(&'a [Frame]),
    /// `(pixel, word)`
    Pairs(Vec<Vec<u32>>),
}

/// Pixels of one task: with their inputs they stay in the second-level cache.
const STRIP_PIXELS: usize = 192;
/// Input values, over all taps, that one pass of a strip takes: a panel group's weights for them are 256 KiB.
const DEPTH: usize = 1024;
/// 3×3×3
const TAPS_MAX: usize = 27;

impl Conv {
    /// `weight`: `(out, in, kt, k, k)` or `(out, in, k, k)`, `k` 1 or 3; 3 wants a border. `bias`: `(out)`. Where the device
    /// computes in bf16, so does this, if the processor multiplies bf16 itself. So do the two that follow.
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

    fn pack(
        what: (&Stored, &Stored, &Device),
        stride: usize,
        scale: usize,
        offset: impl Fn(usize, usize) -> usize,
    ) -> Result<Conv> {
        let pairs = (what.2.compute() == Compute::Bf16).then(Bf16Unit::for_convolutions).flatten();
        Conv::pack_for(pairs, what, stride, scale, offset)
    }

    /// `offset(p, k)`: the bordered input row that kernel row `k` reads for output phase `p`. Columns are the same.
    fn pack_for(
        pairs: Option<Bf16Unit>,
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
            let (device, border, pairs, phases, bias) = (device.clone(), side / 2, None, Vec::new(), Vec::new());
            return Ok(Conv { device, inputs, outputs, frames, border, stride, scale, pairs, phases, bias, on_cuda });
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
            let weights = match pairs {
                None => Packed::Whole(weights),
                Some(unit) => match weights_as_pairs(&weights, inputs, unit.words_of(inputs)) {
                    Some(pairs) => Packed::Pairs(pairs),
                    None => bail!("a convolution's weight is not finite or too large for bf16: compute in f32"),
                },
            };
            Ok(Phase { offsets, weights })
        });
        let phases = phases.collect::<Result<_>>()?;
        let (border, bias, device) = (side / 2, bias.to_vec()?, device.clone());
        Ok(Conv { device, inputs, outputs, frames, border, stride, scale, pairs, phases, bias, on_cuda: None })
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

        let read = match self.pairs {
            None => Input::Whole(x.frames()),
            Some(unit) => {
                let words = unit.words_of(self.inputs);
                let frames = x.frames().par_iter().map(|frame| {
                    let mut into = Vec::new();
                    pixels_as_words(frame, self.inputs, words, &mut into);
                    into.resize(into.len() + unit.words_behind(self.stride * words), 0);
                    into
                });
                Input::Pairs(frames.collect())
            }
        };
        let read = &read;
        let mut frames: Vec<Vec<f32>> = windows.iter().map(|_| vec![0.0; shape.values()]).collect();
        let strips: Vec<_> = (frames.iter_mut().zip(windows).enumerate())
            .flat_map(|(t, (frame, window))| {
                frame.chunks_mut(strip_len).enumerate().map(move |(i, out)| Strip {
                    input,
                    read,
                    window: window.clone(),
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
        let Strip { input, read, window, first_row, columns, add, out } = strip;
        let out_row = self.scale * columns * self.outputs;
        let rows = out.len() / (self.scale * out_row);
        let absent = self.frames - window.len();
        let panels = self.outputs.div_ceil(PANEL);
        // As many panels at once as the kernel takes, in groups as even as can be.
        let most = self.pairs.map_or(panels_max(isa), Bf16Unit::panels_max);
        let group = panels.div_ceil(panels.div_ceil(most));
        // Numbers of a pixel, and weights of a tap.
        let pixel = self.pairs.map_or(self.inputs, |unit| unit.words_of(self.inputs));
        let tap_len = pixel * PANEL * if self.pairs.is_some() { 2 } else { 1 };
        for (phase, taps) in self.phases.iter().enumerate() {
            let panel_len = self.frames * taps.offsets.len() * tap_len;
            let tap_count = window.len() * taps.offsets.len();
            let skipped = absent * taps.offsets.len() * tap_len;
            for first_panel in (0..panels).step_by(group) {
                let group = group.min(panels - first_panel);
                let width = group * PANEL;
                sums.resize(rows * columns * width, 0.0);
                let block = (DEPTH / self.inputs).clamp(1, tap_count);
                for first_tap in (0..tap_count).step_by(block) {
                    let block_taps = first_tap..(first_tap + block).min(tap_count);
                    let weights = first_panel * panel_len + skipped + first_tap * tap_len;
                    for (row, sums) in sums.chunks_exact_mut(columns * width).enumerate() {
                        // The frame of each tap, and where its first pixel is there.
                        let places = block_taps.clone().map(|tap| {
                            let (dy, dx) = taps.offsets[tap % taps.offsets.len()];
                            let y = (first_row + row) * self.stride + dy;
                            let frame = window.start + tap / taps.offsets.len();
                            (frame, (y * (input.width + 2 * input.border) + dx) * pixel)
                        });
                        let (count, accumulate) = (block_taps.len(), first_tap > 0);
                        match (&taps.weights, read) {
                            (Packed::Whole(all), Input::Whole(frames)) => {
                                let mut inputs = [&[][..]; TAPS_MAX];
                                for (slot, (frame, at)) in inputs.iter_mut().zip(places) {
                                    *slot = &frames[frame][at..];
                                }
                                let row = Row {
                                    taps: &inputs[..count],
                                    channels: self.inputs,
                                    step: self.stride * self.inputs,
                                    channel_step: 1,
                                    weights: &all[weights..],
                                    panels: group,
                                    panel_len,
                                    lanes: lanes_of_last(self.outputs, first_panel + group),
                                    accumulate,
                                };
                                row.run(isa, sums);
                            }
                            (Packed::Pairs(all), Input::Pairs(frames)) => {
                                let mut inputs = [&[][..]; TAPS_MAX];
                                for (slot, (frame, at)) in inputs.iter_mut().zip(places) {
                                    *slot = &frames[frame][at..];
                                }
                                let row = PairRow {
                                    taps: &inputs[..count],
                                    words: pixel,
                                    step: self.stride * pixel,
                                    weights: &all[weights..],
                                    panels: group,
                                    panel_len,
                                    accumulate,
                                };
                                row.run(self.pairs.expect("packed for a unit"), sums);
                            }
                            _ => unreachable!("frames are read as weights are packed"),
                        }
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
    read: &'a Input<'a>,
    window: Range<usize>,
    /// Rows and columns are steps of the grid: `scale` output pixels each.
    first_row: usize,
    columns: usize,
    add: Option<&'a [f32]>,
    out: &'a mut [f32],
}

#[cfg(test)]
mod tests;
