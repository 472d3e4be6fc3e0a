//! Frames between the convolutions of a video autoencoder: channel-last, each in a buffer of its own.
//!
//! Channel-last, because then a pixel's channels are one run of memory: a convolution reads them without `im2col`, a
//! norm over channels is a norm over a run, and the last layer writes RGB. A frame that a 3×3 convolution will read
//! carries its zero padding with it, one pixel all around. Each frame is shared, so carrying it to the next chunk
//! copies nothing.

use std::mem::size_of;
use std::ops::Range;
use std::sync::Arc;

use crate::{DType, Device, Result, Tensor};

/// Frames of one shape, oldest first.
#[derive(Debug, Clone)]
pub struct FrameStack {
    shape: FrameShape,
    device: Device,
    frames: Vec<Frame>,
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
        let values = tensor.permute(&[1, 2, 3, 0])?.to_vec::<f32>()?;
        let frames = (0..count).map(|t| values[t * shape.values()..(t + 1) * shape.values()].to_vec()).collect();
        Ok(FrameStack::of(shape, &tensor.device(), frames))
    }

    /// `count` frames of 0, the middle of [-1, 1]. They are one buffer.
    pub fn grey(shape: FrameShape, count: usize, device: &Device) -> FrameStack {
        let frame = Arc::new(vec![0.0; shape.values()]);
        FrameStack { shape, device: device.clone(), frames: vec![frame; count] }
    }

    /// New frames of these values, each row-major with its border.
    pub(crate) fn of(shape: FrameShape, device: &Device, frames: Vec<Vec<f32>>) -> FrameStack {
        assert!(frames.iter().all(|frame| frame.len() == shape.values()), "a frame has the values of its shape");
        FrameStack { shape, device: device.clone(), frames: frames.into_iter().map(Arc::new).collect() }
    }

    /// The shape that all frames have.
    pub fn shape(&self) -> FrameShape {
        self.shape
    }

    /// The type of the values.
    pub fn dtype(&self) -> DType {
        DType::F32
    }

    /// Where the frames lie.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How many frames there are.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes of all frames, borders included.
    pub fn bytes(&self) -> u64 {
        self.frames.iter().map(|frame| (frame.len() * size_of::<f32>()) as u64).sum()
    }

    /// Some of the frames. They are shared, not copied.
    pub fn slice(&self, frames: Range<usize>) -> FrameStack {
        FrameStack { frames: self.frames[frames].to_vec(), ..self.clone_empty() }
    }

    /// Some rows of every frame, as frames of their own. Frames have no border.
    pub fn rows(&self, rows: Range<usize>) -> FrameStack {
        assert!(self.shape.border == 0 && rows.end <= self.shape.height, "rows of a bare frame");
        let shape = FrameShape { height: rows.len(), ..self.shape };
        let values = rows.start * shape.row()..rows.end * shape.row();
        let frames = self.frames.iter().map(|frame| frame[values.clone()].to_vec());
        FrameStack::of(shape, &self.device, frames.collect())
    }

    /// Frames made of the frames of several stacks, one below the other. The opposite of [`FrameStack::rows`].
    pub(crate) fn below_each_other(parts: &[FrameStack]) -> FrameStack {
        let first = &parts[0];
        let height = parts.iter().map(|part| part.shape.height).sum();
        let frames = (0..first.len()).map(|t| parts.iter().flat_map(|part| part.frames[t].iter().copied()).collect());
        FrameStack::of(FrameShape { height, ..first.shape }, &first.device, frames.collect())
    }

    /// The frames one by one, as stacks of one.
    pub fn into_frames(self) -> impl Iterator<Item = FrameStack> {
        let empty = self.clone_empty();
        self.frames.into_iter().map(move |frame| FrameStack { frames: vec![frame], ..empty.clone() })
    }

    /// Append `later`. Panics if its frames have another shape: a stream keeps its size.
    pub fn append(&mut self, later: FrameStack) {
        assert_eq!(self.shape, later.shape, "a stream keeps its size");
        self.frames.extend(later.frames);
    }

    /// Drop all but the last `count` frames.
    pub fn keep_last(&mut self, count: usize) {
        self.frames.drain(..self.frames.len().saturating_sub(count));
    }

    /// The first frame of `self`, the first of `other`, the second of `self`, and so on. Both have one shape and
    /// length.
    pub fn interleave(self, other: FrameStack) -> FrameStack {
        assert_eq!((self.shape, self.len()), (other.shape, other.len()), "both are halves of one video");
        let empty = self.clone_empty();
        let frames = self.frames.into_iter().zip(other.frames).flat_map(|(even, odd)| [even, odd]).collect();
        FrameStack { frames, ..empty }
    }

    /// `(C, T, H, W)`, border removed.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let FrameShape { height, width, channels, .. } = self.shape;
        let values = Tensor::from_vec(self.values(), [self.len(), height, width, channels], &self.device)?;
        values.permute(&[3, 0, 1, 2])?.copy()
    }

    /// All values without the border: `(T, H, W, C)`, row-major.
    pub(crate) fn values(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.frames.len() * self.shape.values());
        for frame in &self.frames {
            for y in 0..self.shape.height {
                values.extend_from_slice(&frame[self.shape.row_range(y)]);
            }
        }
        values
    }

    /// The buffers, for kernels.
    pub(crate) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The buffers, to be changed. A buffer that is shared is copied first.
    pub(crate) fn frames_mut(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        self.frames.iter_mut().map(Arc::make_mut)
    }

    /// The same pictures with one zero pixel around them.
    pub fn bordered(&self) -> FrameStack {
        assert_eq!(self.shape.border, 0, "a border is put around a bare frame");
        let shape = FrameShape { border: 1, ..self.shape };
        let frames = self.frames.iter().map(|bare| {
            let mut frame = vec![0.0; shape.values()];
            for y in 0..shape.height {
                frame[shape.row_range(y)].copy_from_slice(&bare[self.shape.row_range(y)]);
            }
            frame
        });
        FrameStack::of(shape, &self.device, frames.collect())
    }

    fn clone_empty(&self) -> FrameStack {
        FrameStack { shape: self.shape, device: self.device.clone(), frames: Vec::new() }
    }
}
