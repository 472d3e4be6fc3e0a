//! Frames between the convolutions of the video autoencoder: channel-last, each in a buffer of its own.
//!
//! Channel-last, because then a pixel's channels are one run of memory: a convolution reads them without `im2col`, a norm
//! over channels is a norm over a run, and the last layer writes RGB. A frame that a 3×3 convolution will read carries its
//! zero padding with it, one pixel all around. Each frame is shared, so carrying it to the next chunk copies nothing.

use std::sync::Arc;

use crate::{Device, Result, Tensor};

/// One frame: `(height + 2·border)·(width + 2·border)·channels` values, row-major.
pub type Frame = Arc<Vec<f32>>;

/// What the frames of a video have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// Zero pixels around the picture: 0 or 1.
    pub border: usize,
}

#[derive(Debug, Clone)]
pub struct Video {
    pub shape: Shape,
    pub frames: Vec<Frame>,
}

impl Shape {
    /// Values in one row, border included.
    pub fn row(self) -> usize {
        (self.width + 2 * self.border) * self.channels
    }

    /// Values in one frame, border included.
    pub fn values(self) -> usize {
        (self.height + 2 * self.border) * self.row()
    }

    /// Where the picture's row `y` lies in a frame, border excluded.
    pub fn row_range(self, y: usize) -> std::ops::Range<usize> {
        let start = (y + self.border) * self.row() + self.border * self.channels;
        start..start + self.width * self.channels
    }
}

impl Video {
    /// From `(C, T, H, W)`, without a border.
    pub fn from_tensor(tensor: &Tensor) -> Result<Video> {
        let (channels, count, height, width) = tensor.dims4()?;
        let shape = Shape { height, width, channels, border: 0 };
        let values = tensor.permute((1, 2, 3, 0))?.flatten_all()?.to_vec1::<f32>()?;
        let frames =
            (0..count).map(|t| Arc::new(values[t * shape.values()..(t + 1) * shape.values()].to_vec())).collect();
        Ok(Video { shape, frames })
    }

    /// `count` frames of 0, the middle of [-1, 1]. They are one buffer.
    pub fn grey(shape: Shape, count: usize) -> Video {
        let frame = Arc::new(vec![0.0; shape.values()]);
        Video { shape, frames: vec![frame; count] }
    }

    /// `(C, T, H, W)`, border removed.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let Shape { height, width, channels, .. } = self.shape;
        Tensor::from_vec(self.values(), (self.frames.len(), height, width, channels), &Device::Cpu)?
            .permute((3, 0, 1, 2))?
            .contiguous()
    }

    /// All values without the border: `(T, H, W, C)`, row-major.
    pub fn values(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.frames.len() * self.shape.values());
        for frame in &self.frames {
            for y in 0..self.shape.height {
                values.extend_from_slice(&frame[self.shape.row_range(y)]);
            }
        }
        values
    }

    /// The same pictures with one zero pixel around them.
    pub fn bordered(&self) -> Video {
        assert_eq!(self.shape.border, 0, "a border is put around a bare frame");
        let shape = Shape { border: 1, ..self.shape };
        let frames = self.frames.iter().map(|bare| {
            let mut frame = vec![0.0; shape.values()];
            for y in 0..shape.height {
                frame[shape.row_range(y)].copy_from_slice(&bare[self.shape.row_range(y)]);
            }
            Arc::new(frame)
        });
        Video { shape, frames: frames.collect() }
    }
}
