//! Frames of a video autoencoder on a device: channel-last, each a tensor `(H, W, C)`.
//!
//! A border of zeros, which frames in main memory carry for the kernels there, is not stored: the kernel for convolutions
//! counts pixels outside as zero.

use std::ops::Range;
use std::sync::Arc;

use super::launch::{self, Attention, ConvShape, Run};
use super::pinned::Arrival;
use super::tensor::strides;
use super::{Cuda, CudaTensor};
use crate::frame_stack::FrameShape;
use crate::shortcut::Resize;
use crate::{DType, Result, Stored};

/// Frames of one shape, oldest first.
pub(crate) type Frames = Vec<CudaTensor>;

/// A convolution's weights on a device.
#[derive(Clone)]
pub(crate) struct PackedConv {
    shape: ConvShape,
    /// `(scale², out, window, side, side, in)`
    weight: CudaTensor,
    /// `(out)` in f32.
    bias: CudaTensor,
}

/// Which convolution it is: the kernel's offsets as [`crate::conv::Conv`] has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Input pixels from one output pixel to the next.
    pub(crate) stride: usize,
    /// Output pixels, each way, of one step.
    pub(crate) scale: usize,
}

impl PackedConv {
    /// `weight`: `(out, in, window, side, side)`.
    pub(crate) fn new(
        cuda: &Arc<Cuda>,
        weight: &Stored,
        bias: &Stored,
        [outputs, inputs, window, side]: [usize; 4],
        Geometry { stride, scale }: Geometry,
    ) -> Result<PackedConv> {
        // Doubling the picture is folded in: an output phase sees two input rows, and two of three kernel rows may fall on one.
        let tap = |phase: usize, k: usize| if scale == 1 { k } else { (phase + k).div_ceil(2) - phase };
        let packed_side = if scale == 1 { side } else { 2 };
        let run_len = inputs * window * side * side;
        let phase_len = outputs * window * packed_side * packed_side * inputs;
        let mut packed = vec![0f32; scale * scale * phase_len];
        let mut run = vec![0.0; run_len];
        for output in 0..outputs {
            weight.read(output * run_len, &mut run)?;
            for phase in 0..scale * scale {
                for (at, value) in run.iter().enumerate() {
                    let (input, frame) = (at / (window * side * side), at / (side * side) % window);
                    let (ky, kx) = (at / side % side, at % side);
                    let (ty, tx) = (tap(phase / scale, ky), tap(phase % scale, kx));
                    let place = (((output * window + frame) * packed_side + ty) * packed_side + tx) * inputs + input;
                    packed[phase * phase_len + place] += value;
                }
            }
        }
        let dims = [scale * scale, outputs, window, packed_side, packed_side, inputs];
        let weight = CudaTensor::from_weight(cuda, &dims, cuda.numbers(), |first, numbers| {
            numbers.copy_from_slice(&packed[first..first + numbers.len()]);
            Ok(())
        })?;
        let bias = CudaTensor::from_f32(cuda, &bias.to_vec()?, &[outputs])?;
        // A pixel of padding on every side, but for the stride of 2, which pads on the right and below.
        let origin = if side == 3 && stride == 1 { -1 } else { 0 };
        let shape = ConvShape { inputs, outputs, side: packed_side, stride, scale, origin, window };
        Ok(PackedConv { shape, weight, bias })
    }
}

impl std::fmt::Debug for PackedConv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedConv({:?})", self.shape)
    }
}

/// One frame a window of `x`. `add`, if given, is added to the result.
pub(crate) fn conv(
    packed: &PackedConv,
    x: &Frames,
    shape: FrameShape,
    windows: &[Range<usize>],
    add: Option<&Frames>,
) -> Result<Frames> {
    let grid = (shape.height / packed.shape.stride, shape.width / packed.shape.stride);
    let one = |(index, window): (usize, &Range<usize>)| {
        let frames: Vec<&CudaTensor> = x[window.clone()].iter().collect();
        launch::conv(packed.shape, &frames, &packed.weight, &packed.bias, add.map(|add| &add[index]), grid)
    };
    windows.iter().enumerate().map(one).collect()
}

/// A norm over the channels of each pixel, then SiLU if `silu`.
pub(crate) fn channel_norm(x: &Frames, gain: &CudaTensor, silu: bool) -> Result<Frames> {
    x.iter().map(|frame| launch::channel_norm(frame, gain, silu)).collect()
}

/// Attention of every pixel to every other of its frame. Frames of `3·C` channels → of `C`.
pub(crate) fn spatial_attention(qkv: &Frames) -> Result<Frames> {
    let one = |frame: &CudaTensor| {
        let &[height, width, triple] = frame.shape() else { unreachable!("a frame has three sides") };
        let (rows, channels) = (height * width, triple / 3);
        let out = frame.like(&[rows, channels])?;
        if rows > 0 {
            let (keys, values) = (frame.address_of(channels), frame.address_of(2 * channels));
            let attention = Attention {
                q: frame.address_of(0),
                rows,
                q_step: triple,
                runs: &[Run { keys, values, rows }],
                kv_step: triple,
                heads: 1,
                key_heads: 1,
                head: channels,
                bias: None,
                scale: 1.0 / (channels as f32).sqrt(),
                causal: false,
            };
            launch::attention(&attention, &out)?;
        }
        out.reshape(&[height, width, channels])
    };
    qkv.iter().map(one).collect()
}

/// One frame of three channels in [-1, 1].
pub(crate) fn from_rgb8(cuda: &Arc<Cuda>, rgb: &[u8], height: usize, width: usize) -> Result<CudaTensor> {
    launch::from_rgb8(&CudaTensor::from_bytes(cuda, rgb)?, &[height, width, 3], cuda.numbers())
}

/// The bytes of all frames, on their way to main memory.
pub(crate) fn begin_rgb8(frames: &Frames) -> Result<Arrival> {
    CudaTensor::begin_download(&frames.iter().map(launch::to_rgb8).collect::<Result<Vec<_>>>()?)
}

/// `y` plus `x`, a larger video, averaged down: `(older, newer)` frames of a block for each frame of `y`, as
/// [`crate::shortcut::add_averaged`] has them.
pub(crate) fn add_averaged(y: &Frames, x: &Frames, resize: Resize) -> Result<Frames> {
    let missing = y.len() * resize.time - x.len();
    let one = |(t, y): (usize, &CudaTensor)| {
        let newest = (t + 1) * resize.time - 1 - missing;
        // A block has two frames at most.
        let older = (resize.time > 1).then(|| (t * resize.time).checked_sub(missing)).flatten();
        launch::add_averaged(older.map(|older| &x[older]), &x[newest], y, resize)
    };
    y.iter().enumerate().map(one).collect()
}

/// `y` plus `x`, a smaller video, made larger by repeating.
pub(crate) fn add_repeated(y: &Frames, x: &Frames, resize: Resize) -> Result<Frames> {
    let missing = x.len() * resize.time - y.len();
    let one = |(t, y): (usize, &CudaTensor)| {
        let place = t + missing;
        launch::add_repeated(&x[place / resize.time], y, resize, place % resize.time)
    };
    y.iter().enumerate().map(one).collect()
}

/// Every square of `side × side` pixels as channels, numbered as [`crate::pixels::fold`] does it.
pub(crate) fn fold(frames: &Frames, side: usize) -> Result<Frames> {
    let one = |pixels: &CudaTensor| {
        let &[height, width, colours] = pixels.shape() else { unreachable!("a frame has three sides") };
        let squares = [height / side, width / side, colours, side, side];
        let out = pixels.like(&[height / side, width / side, colours * side * side])?;
        launch::copy_strided(pixels, 0, &places(width, colours, side), &out, 0, &strides(&squares), &squares)?;
        Ok(out)
    };
    frames.iter().map(one).collect()
}

/// The opposite of [`fold`].
pub(crate) fn unfold(frames: &Frames, side: usize) -> Result<Frames> {
    let one = |folded: &CudaTensor| {
        let &[height, width, channels] = folded.shape() else { unreachable!("a frame has three sides") };
        let colours = channels / (side * side);
        let squares = [height, width, colours, side, side];
        let out = folded.like(&[height * side, width * side, colours])?;
        launch::copy_strided(folded, 0, &strides(&squares), &out, 0, &places(width * side, colours, side), &squares)?;
        Ok(out)
    };
    frames.iter().map(one).collect()
}

/// From a number to the next in a picture `width` pixels wide: by square down, by square across, by colour, then inside a square
/// by column and by row.
fn places(width: usize, colours: usize, side: usize) -> [usize; 5] {
    [side * width * colours, side * colours, 1, colours, width * colours]
}

/// Frames of `(C, T, H, W)`, in the type of the device's numbers.
pub(crate) fn from_tensor(tensor: &CudaTensor) -> Result<Frames> {
    let &[_, count, _, _] = tensor.shape() else { unreachable!("asked by the caller") };
    let all = tensor.cast(tensor.cuda().numbers())?.permute(&[1, 2, 3, 0])?;
    (0..count).map(|t| all.narrow(0, t, 1)?.reshape(&all.shape()[1..])).collect()
}

/// `(C, T, H, W)`, as f32.
pub(crate) fn to_tensor(cuda: &Arc<Cuda>, frames: &Frames, shape: FrameShape) -> Result<CudaTensor> {
    let FrameShape { height, width, channels, .. } = shape;
    if frames.is_empty() {
        return CudaTensor::unwritten(cuda, &[channels, 0, height, width], DType::F32);
    }
    let one_by_one: Vec<&CudaTensor> = frames.iter().collect();
    let all = CudaTensor::cat(&one_by_one, 0)?.reshape(&[frames.len(), height, width, channels])?;
    all.permute(&[3, 0, 1, 2])?.cast(DType::F32)
}
