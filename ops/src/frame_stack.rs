//! Frames between the convolutions of a video autoencoder: channel-last, each in a buffer of its own.
//!
//! Channel-last, because then a pixel's channels are one run of memory: a convolution reads them without `im2col`, a
//! norm over channels is a norm over a run, and the last layer writes RGB. A frame that a 3×3 convolution will read
//! carries its zero padding with it, one pixel all around. Each frame is shared, so carrying it to the next chunk
//! copies nothing. On a GPU a border is not stored: the kernel there counts pixels outside as zero.

use std::fmt;
use std::mem::size_of;
use std::ops::Range;
use std::sync::Arc;

use crate::cuda::{CudaTensor, Frames, frames as on_cuda};
use crate::error::bail;
use crate::{DType, Device, Result, Tensor};

/// Frames of one shape, oldest first.
#[derive(Clone)]
pub struct FrameStack {
    shape: FrameShape,
    device: Device,
    frames: Held,
}

/// The frames, where they lie.
#[derive(Clone)]
enum Held {
    Cpu(Vec<Frame>),
    /// `(H, W, C)` each, without a border.
    Cuda(Frames),
}

/// One frame: `(height + 2·border)·(width + 2·border)·channels` values, row-major.
pub(crate) type Frame = Arc<Vec<f32>>;

/// The shape that all frames of a stack have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameShape {
    /// Pixels down, border excluded.
    pub height: usize,
    /// Pixels across, border excluded.
    pub width: usize,
    /// Values of a pixel.
    pub channels: usize,
    /// Zero pixels around the picture: 0 or 1.
    pub border: usize,
}

impl FrameShape {
    /// Values in one row, border included.
    pub(crate) fn row(self) -> usize {
        (self.width + 2 * self.border) * self.channels
    }

    /// Values in one frame, border included.
    pub fn values(self) -> usize {
        (self.height + 2 * self.border) * self.row()
    }

    /// Where the picture's row `y` lies in a frame, border excluded.
    pub(crate) fn row_range(self, y: usize) -> Range<usize> {
        self.any_row_range(y + self.border)
    }

    /// As [`FrameShape::row_range`], but `row` counts the border's rows too.
    pub(crate) fn any_row_range(self, row: usize) -> Range<usize> {
        let start = row * self.row() + self.border * self.channels;
        start..start + self.width * self.channels
    }
}

impl FrameStack {
    /// From `(C, T, H, W)`, without a border.
    pub fn from_tensor(tensor: &Tensor) -> Result<FrameStack> {
        let (channels, count, height, width) = tensor.dims4()?;
        let shape = FrameShape { height, width, channels, border: 0 };
        if let Some(here) = tensor.as_cuda() {
            return Ok(FrameStack::of_cuda(shape, &tensor.device(), on_cuda::from_tensor(here)?));
        }
        let values = tensor.permute(&[1, 2, 3, 0])?.to_vec::<f32>()?;
        let frames = (0..count).map(|t| values[t * shape.values()..(t + 1) * shape.values()].to_vec()).collect();
        Ok(FrameStack::of(shape, &tensor.device(), frames))
    }

    /// `count` frames of 0, the middle of [-1, 1]. They are one buffer.
    pub fn grey(shape: FrameShape, count: usize, device: &Device) -> Result<FrameStack> {
        let frames = match device.as_cuda() {
            None => {
                let frame = Arc::new(vec![0.0; shape.values()]);
                Held::Cpu(vec![frame; count])
            }
            Some(cuda) => {
                let bare = [shape.height, shape.width, shape.channels];
                Held::Cuda(vec![CudaTensor::zeros(cuda, &bare, cuda.numbers())?; count])
            }
        };
        Ok(FrameStack { shape, device: device.clone(), frames })
    }

    /// New frames of these values, each row-major with its border.
    pub(crate) fn of(shape: FrameShape, device: &Device, frames: Vec<Vec<f32>>) -> FrameStack {
        assert!(frames.iter().all(|frame| frame.len() == shape.values()), "a frame has the values of its shape");
        let frames = Held::Cpu(frames.into_iter().map(Arc::new).collect());
        FrameStack { shape, device: device.clone(), frames }
    }

    /// New frames on a GPU, whose border, if `shape` has one, is not stored.
    pub(crate) fn of_cuda(shape: FrameShape, device: &Device, frames: Frames) -> FrameStack {
        let bare = [shape.height, shape.width, shape.channels];
        assert!(frames.iter().all(|frame| frame.shape() == bare), "a frame has the values of its shape");
        FrameStack { shape, device: device.clone(), frames: Held::Cuda(frames) }
    }

    /// The shape that all frames have.
    pub fn shape(&self) -> FrameShape {
        self.shape
    }

    /// The type of the values.
    pub fn dtype(&self) -> DType {
        match &self.frames {
            Held::Cpu(_) => DType::F32,
            Held::Cuda(frames) => frames.first().map_or(DType::F32, CudaTensor::dtype),
        }
    }

    /// Where the frames lie.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How many frames there are.
    pub fn len(&self) -> usize {
        match &self.frames {
            Held::Cpu(frames) => frames.len(),
            Held::Cuda(frames) => frames.len(),
        }
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all frames, borders included where they are stored.
    pub fn bytes(&self) -> u64 {
        match &self.frames {
            Held::Cpu(frames) => frames.iter().map(|frame| (frame.len() * size_of::<f32>()) as u64).sum(),
            Held::Cuda(frames) => frames.iter().map(|frame| frame.bytes() as u64).sum(),
        }
    }

    /// Some of the frames. They are shared, not copied.
    pub fn slice(&self, frames: Range<usize>) -> FrameStack {
        let frames = match &self.frames {
            Held::Cpu(all) => Held::Cpu(all[frames].to_vec()),
            Held::Cuda(all) => Held::Cuda(all[frames].to_vec()),
        };
        FrameStack { frames, ..self.clone_empty() }
    }

    /// Some rows of every frame, as frames of their own. Frames have no border.
    pub fn rows(&self, rows: Range<usize>) -> FrameStack {
        assert!(self.shape.border == 0 && rows.end <= self.shape.height, "rows of a bare frame");
        let shape = FrameShape { height: rows.len(), ..self.shape };
        if let Held::Cuda(frames) = &self.frames {
            let part = |frame: &CudaTensor| frame.narrow(0, rows.start, rows.len()).expect("rows of the frame");
            return FrameStack::of_cuda(shape, &self.device, frames.iter().map(part).collect());
        }
        let values = rows.start * shape.row()..rows.end * shape.row();
        let frames = self.frames().iter().map(|frame| frame[values.clone()].to_vec());
        FrameStack::of(shape, &self.device, frames.collect())
    }

    /// Frames made of the frames of several stacks, one below the other. The opposite of [`FrameStack::rows`].
    pub(crate) fn below_each_other(parts: &[FrameStack]) -> Result<FrameStack> {
        let first = &parts[0];
        let height = parts.iter().map(|part| part.shape.height).sum();
        let shape = FrameShape { height, ..first.shape };
        if let Held::Cuda(frames) = &first.frames {
            let whole = |t: usize| CudaTensor::cat(&parts.iter().map(|part| part.on_cuda(t)).collect::<Vec<_>>(), 0);
            let frames = (0..frames.len()).map(whole).collect::<Result<_>>()?;
            return Ok(FrameStack::of_cuda(shape, &first.device, frames));
        }
        let frames = (0..first.len()).map(|t| parts.iter().flat_map(|part| part.frames()[t].iter().copied()).collect());
        Ok(FrameStack::of(shape, &first.device, frames.collect()))
    }

    /// The frames one by one, as stacks of one.
    pub fn into_frames(self) -> impl Iterator<Item = FrameStack> {
        (0..self.len()).map(move |t| self.slice(t..t + 1))
    }

    /// Append `later`. Panics if its frames have another shape: a stream keeps its size.
    pub fn append(&mut self, later: FrameStack) {
        assert_eq!(self.shape, later.shape, "a stream keeps its size");
        match (&mut self.frames, later.frames) {
            (Held::Cpu(frames), Held::Cpu(later)) => frames.extend(later),
            (Held::Cuda(frames), Held::Cuda(later)) => frames.extend(later),
            _ => panic!("a stream stays on its device"),
        }
    }

    /// Drop all but the last `count` frames.
    pub fn keep_last(&mut self, count: usize) {
        let gone = ..self.len().saturating_sub(count);
        match &mut self.frames {
            Held::Cpu(frames) => drop(frames.drain(gone)),
            Held::Cuda(frames) => drop(frames.drain(gone)),
        }
    }

    /// The first frame of `self`, the first of `other`, the second of `self`, and so on. Both have one shape and
    /// length.
    pub fn interleave(self, other: FrameStack) -> FrameStack {
        assert_eq!((self.shape, self.len()), (other.shape, other.len()), "both are halves of one video");
        let empty = self.clone_empty();
        let frames = match (self.frames, other.frames) {
            (Held::Cpu(even), Held::Cpu(odd)) => Held::Cpu(in_turn(even, odd)),
            (Held::Cuda(even), Held::Cuda(odd)) => Held::Cuda(in_turn(even, odd)),
            _ => panic!("a video lies on one device"),
        };
        FrameStack { frames, ..empty }
    }

    /// `(C, T, H, W)`, border removed.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let FrameShape { height, width, channels, .. } = self.shape;
        if let (Held::Cuda(frames), Some(cuda)) = (&self.frames, self.device.as_cuda()) {
            return Ok(on_cuda::to_tensor(cuda, frames, self.shape)?.into());
        }
        let values = Tensor::from_vec(self.values(), [self.len(), height, width, channels], &self.device)?;
        values.permute(&[3, 0, 1, 2])?.copy()
    }

    /// Some rows of frames whose `values` are those of [`FrameStack::values`], in main memory. `whole` is the shape of a
    /// frame; its border is what the rows get, and there stand the frame's own rows next to these, and zeros outside it.
    pub fn of_rows(values: &[f32], whole: FrameShape, rows: Range<usize>) -> Result<FrameStack> {
        let FrameShape { height, width, channels, border } = whole;
        let (row, frame) = (width * channels, height * width * channels);
        if frame == 0 || !values.len().is_multiple_of(frame) || rows.end > height || rows.is_empty() || border > 1 {
            bail!("{} values are no frames of {whole:?} with the rows {rows:?}", values.len());
        }
        let shape = FrameShape { height: rows.len(), ..whole };
        let frames = values.chunks_exact(frame).map(|values| {
            let mut band = vec![0.0; shape.values()];
            let first = rows.start.saturating_sub(border);
            for y in first..(rows.end + border).min(height) {
                let to = shape.any_row_range(y + border - rows.start);
                band[to].copy_from_slice(&values[y * row..(y + 1) * row]);
            }
            band
        });
        Ok(FrameStack::of(shape, &Device::cpu(), frames.collect()))
    }

    /// All values without the border: `(T, H, W, C)`, row-major. Of frames in main memory.
    pub fn values(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.len() * self.shape.values());
        for frame in self.frames() {
            for y in 0..self.shape.height {
                values.extend_from_slice(&frame[self.shape.row_range(y)]);
            }
        }
        values
    }

    /// The buffers, for kernels of the processor. Panics for frames on a GPU: [`FrameStack::frames_on_cuda`] is asked first.
    pub(crate) fn frames(&self) -> &[Frame] {
        match &self.frames {
            Held::Cpu(frames) => frames,
            Held::Cuda(_) => panic!("frames on {} were taken for frames in main memory", self.device),
        }
    }

    /// The frames on a GPU, without borders. `None` for frames in main memory.
    pub(crate) fn frames_on_cuda(&self) -> Option<&Frames> {
        match &self.frames {
            Held::Cpu(_) => None,
            Held::Cuda(frames) => Some(frames),
        }
    }

    /// An error that names `operation`, if the frames lie on a GPU and it has no form for them.
    pub(crate) fn refuse_cuda(&self, operation: &str) -> Result<()> {
        match &self.frames {
            Held::Cpu(_) => Ok(()),
            Held::Cuda(_) => bail!("{operation} has no CUDA form yet: its frames lie on {}", self.device),
        }
    }

    fn on_cuda(&self, t: usize) -> &CudaTensor {
        &self.frames_on_cuda().expect("all parts lie on one device")[t]
    }

    /// The buffers, to be changed. A buffer that is shared is copied first.
    pub(crate) fn frames_mut(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        match &mut self.frames {
            Held::Cpu(frames) => frames.iter_mut().map(Arc::make_mut),
            Held::Cuda(_) => panic!("frames on {} were taken for frames in main memory", self.device),
        }
    }

    /// The same pictures with one zero pixel around them.
    pub fn bordered(&self) -> FrameStack {
        assert_eq!(self.shape.border, 0, "a border is put around a bare frame");
        let shape = FrameShape { border: 1, ..self.shape };
        if let Held::Cuda(frames) = &self.frames {
            return FrameStack::of_cuda(shape, &self.device, frames.clone());
        }
        let frames = self.frames().iter().map(|bare| {
            let mut frame = vec![0.0; shape.values()];
            for y in 0..shape.height {
                frame[shape.row_range(y)].copy_from_slice(&bare[self.shape.row_range(y)]);
            }
            frame
        });
        FrameStack::of(shape, &self.device, frames.collect())
    }

    fn clone_empty(&self) -> FrameStack {
        let frames = match &self.frames {
            Held::Cpu(_) => Held::Cpu(Vec::new()),
            Held::Cuda(_) => Held::Cuda(Vec::new()),
        };
        FrameStack { shape: self.shape, device: self.device.clone(), frames }
    }
}

fn in_turn<T>(even: Vec<T>, odd: Vec<T>) -> Vec<T> {
    even.into_iter().zip(odd).flat_map(|(even, odd)| [even, odd]).collect()
}

impl fmt::Debug for FrameStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameStack({} frames of {:?} on {})", self.len(), self.shape, self.device)
    }
}
