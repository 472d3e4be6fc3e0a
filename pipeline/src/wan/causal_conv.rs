//! Causal convolution over a video that arrives in pieces.
//!
//! What a convolution needs of the past is the last two frames it was given. It does not keep them itself: they belong to
//! a stream, and weights serve many.

use std::mem::size_of;

use crate::load::weights::{LoadError, Weights};
use ops::conv::Conv;
use ops::video::{Frame, Shape, Video};
use ops::{Result, Tensor};

/// A convolution over three frames of which at most the newest is new.
pub(super) struct CausalConv {
    conv: Conv,
    slot: usize,
}

/// The past frames that one stream carries for every causal convolution, in call order.
#[derive(Default)]
pub(super) struct Carried {
    slots: Vec<Option<Past>>,
}

/// The last frames that one convolution was given: at most two, oldest first.
struct Past {
    shape: Shape,
    frames: Vec<Frame>,
}

/// Hands out slots while a network is loaded, and knows what each will hold.
#[derive(Default)]
pub(super) struct Slots {
    frame_shapes: Vec<Shape>,
}

/// Where a convolution stands: its input channels, and how many of its pixels one latent pixel is, each way.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub channels: usize,
    pub scale: usize,
}

impl Slots {
    pub(super) fn take(&mut self, place: Place, border: usize) -> usize {
        self.frame_shapes.push(Shape { height: place.scale, width: place.scale, channels: place.channels, border });
        self.frame_shapes.len() - 1
    }

    /// Bytes carried for a stream of `height × width` latents once every slot is full.
    pub(super) fn bytes(&self, height: usize, width: usize) -> u64 {
        let frame = |unit: &Shape| Shape { height: unit.height * height, width: unit.width * width, ..*unit }.values();
        self.frame_shapes.iter().map(|unit| (2 * frame(unit) * size_of::<f32>()) as u64).sum()
    }
}

impl CausalConv {
    /// `weights` holds `weight (outputs, in, 3, side, side)` and `bias`.
    pub(super) fn load(
        weights: &Weights,
        place: Place,
        outputs: usize,
        side: usize,
        slots: &mut Slots,
    ) -> std::result::Result<CausalConv, LoadError> {
        let weight = weights.get("weight", (outputs, place.channels, 3, side, side))?;
        let conv = Conv::new(&weight, &weights.get("bias", outputs)?)?;
        let slot = slots.take(place, conv.border());
        Ok(CausalConv { conv, slot })
    }

    /// As many frames as `x` has. `x` carries the border the convolution wants. `add` is added to the result.
    pub(super) fn apply(&self, x: Video, carried: &mut Carried, add: Option<&Video>) -> Video {
        let shape = x.shape;
        let (frames, old) = carried.join(self.slot, x);
        let windows: Vec<_> = (old..frames.len()).map(|t| &frames[(t + 1).saturating_sub(3)..=t]).collect();
        let y = self.conv.apply_windows(shape, &windows, add);
        carried.keep(self.slot, shape, frames, 2);
        y
    }
}

impl Carried {
    /// The past of `slot` followed by `new`, and how many frames are past.
    pub(super) fn join(&mut self, slot: usize, new: Video) -> (Vec<Frame>, usize) {
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        let mut frames = match self.slots[slot].take() {
            Some(past) => {
                assert_eq!(past.shape, new.shape, "a stream keeps its size");
                past.frames
            }
            None => Vec::new(),
        };
        let old = frames.len();
        frames.extend(new.frames);
        (frames, old)
    }

    /// Remember the last `count` of `frames`.
    pub(super) fn keep(&mut self, slot: usize, shape: Shape, mut frames: Vec<Frame>, count: usize) {
        frames.drain(..frames.len().saturating_sub(count));
        self.slots[slot] = Some(Past { shape, frames });
    }

    pub(super) fn bytes(&self) -> u64 {
        let frames = self.slots.iter().flatten().flat_map(|past| &past.frames);
        frames.map(|frame| (frame.len() * size_of::<f32>()) as u64).sum()
    }

    /// `(C, 1 or 2, H, W)` for every convolution that has been given a frame, by slot.
    pub(super) fn to_tensors(&self) -> Result<Vec<(usize, Tensor)>> {
        (self.slots.iter().enumerate())
            .filter_map(|(slot, past)| past.as_ref().map(|past| (slot, past)))
            .map(|(slot, past)| Ok((slot, Video { shape: past.shape, frames: past.frames.clone() }.to_tensor()?)))
            .collect()
    }
}
