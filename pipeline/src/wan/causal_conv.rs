//! Causal convolution over a video that arrives in pieces.
//!
//! A convolution needs the last two frames that it was given. It does not keep them itself: they belong to a stream,
//! and weights serve many.

use std::ops::Range;

use ops::conv::Conv;
use ops::{Band, Bands, Error, FrameStack, Result, Tensor};

use crate::load::error::LoadError;
use crate::load::weights::Weights;

/// A convolution over three frames of which at most the newest is new.
pub(super) struct CausalConv {
    conv: Conv,
    slot: usize,
}

/// The past frames that one stream carries for every causal convolution, in call order. A stream whose pictures are cut
/// in bands carries them for each band.
#[derive(Default, Clone)]
pub(super) struct Carried {
    /// The last frames that each convolution was given, at most two, by slot and band.
    slots: Vec<Vec<Option<FrameStack>>>,
}

/// Hands out slots while a network is loaded, in call order.
#[derive(Default)]
pub(super) struct Slots {
    taken: usize,
}

impl Slots {
    pub(super) fn take(&mut self) -> usize {
        self.taken += 1;
        self.taken - 1
    }
}

impl CausalConv {
    /// `weights` holds `weight (outputs, inputs, 3, side, side)` and `bias`.
    pub(super) fn load(weights: &Weights, slots: &mut Slots) -> std::result::Result<CausalConv, LoadError> {
        Ok(CausalConv { conv: weights.conv()?, slot: slots.take() })
    }

    /// As many frames as `x` has. `prepare` makes of a band what the convolution reads, with the border it wants. `add`
    /// is added to the result.
    pub(super) fn apply<'a>(
        &self,
        x: Bands<'a>,
        prepare: impl Fn(Band) -> Result<FrameStack>,
        carried: &mut Carried,
        add: Option<&Bands>,
    ) -> Result<Bands<'a>> {
        x.map_with_edges(|band, rows| {
            let (frames, old) = carried.join(self.slot, band, prepare(rows)?)?;
            let windows = windows_of_three(old..frames.len());
            let y = self.conv.apply_windows(&frames, &windows, add.map(|add| add.band(band)))?;
            carried.keep(self.slot, band, frames, 2);
            Ok(y)
        })
    }
}

/// For each of these frames, itself and the two before it, as far as there are so many.
pub(super) fn windows_of_three(frames: Range<usize>) -> Vec<Range<usize>> {
    frames.map(|t| (t + 1).saturating_sub(3)..t + 1).collect()
}

impl Carried {
    /// The past of one band of `slot` followed by `new`, and how many frames are past. `Err`: the past has frames of another
    /// shape, so it was not made here.
    pub(super) fn join(&mut self, slot: usize, band: usize, new: FrameStack) -> Result<(FrameStack, usize)> {
        match self.place(slot, band).take() {
            Some(frames) if frames.shape() != new.shape() => {
                let (past, now) = (frames.shape(), new.shape());
                Err(Error::new(format_args!("convolution {slot} carries frames of {past:?}, and is given {now:?}")))
            }
            Some(mut frames) => {
                let old = frames.len();
                frames.append(new);
                Ok((frames, old))
            }
            None => Ok((new, 0)),
        }
    }

    /// The frames of each slot that has some; pictures are not cut in bands here.
    pub(super) fn whole(&self) -> impl Iterator<Item = (usize, &FrameStack)> {
        self.slots.iter().enumerate().filter_map(|(slot, bands)| Some((slot, bands.first()?.as_ref()?)))
    }

    /// Remember the last `count` of `frames`.
    pub(super) fn keep(&mut self, slot: usize, band: usize, mut frames: FrameStack, count: usize) {
        frames.keep_last(count);
        *self.place(slot, band) = Some(frames);
    }

    fn place(&mut self, slot: usize, band: usize) -> &mut Option<FrameStack> {
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, Vec::new);
        }
        let bands = &mut self.slots[slot];
        if bands.len() <= band {
            bands.resize_with(band + 1, || None);
        }
        &mut bands[band]
    }

    pub(super) fn bytes(&self) -> u64 {
        self.slots.iter().flatten().flatten().map(FrameStack::bytes).sum()
    }

    /// `(C, 1 or 2, H, W)` for every convolution that has been given a frame, by slot.
    pub(super) fn to_tensors(&self) -> Result<Vec<(usize, Tensor)>> {
        let used = self.slots.iter().enumerate().filter(|(_, bands)| !bands.is_empty());
        used.map(|(slot, bands)| {
            let bands = bands.iter().map(|band| band.as_ref().expect("bands are computed together").to_tensor());
            Ok((slot, Tensor::cat(&bands.collect::<Result<Vec<_>>>()?, 2)?))
        })
        .collect()
    }
}
