//! Pictures cut into bands of rows, so that a layer can be computed one band at a time.
//!
//! A 3×3 convolution reads one row beyond each side of a band. [`Bands::with_edges`] hands these rows out beside the
//! band, so every output row is summed from the same numbers in the same order as in one piece: the results are equal
//! bit for bit.

use crate::Result;
use crate::frame_stack::{FrameShape, FrameStack};

/// The bands of one stack of frames, topmost first. None has a border.
#[derive(Debug, Clone)]
pub struct Bands {
    bands: Vec<FrameStack>,
}

/// One band, and the row that each neighbour has next to it.
#[derive(Debug, Clone)]
pub struct Band {
    rows: FrameStack,
    /// One row high. `None` at the top of the picture.
    above: Option<FrameStack>,
    /// One row high. `None` at the bottom of the picture.
    below: Option<FrameStack>,
}

impl Bands {
    /// One band that holds everything.
    pub fn whole(frames: FrameStack) -> Bands {
        Bands::of(vec![frames])
    }

    /// `count` bands whose heights differ by one row at most; fewer if the picture has fewer rows.
    pub fn split(frames: FrameStack, count: usize) -> Bands {
        let height = frames.shape().height;
        let count = count.clamp(1, height);
        match count {
            1 => Bands::whole(frames),
            _ => Bands::of((0..count).map(|i| frames.rows(i * height / count..(i + 1) * height / count)).collect()),
        }
    }

    /// These bands, topmost first, equal in everything but their height.
    pub fn of(bands: Vec<FrameStack>) -> Bands {
        let (first, rest) = bands.split_first().expect("a picture has at least one band");
        let alike = |shape: FrameShape| FrameShape { height: 0, ..shape };
        assert_eq!(first.shape().border, 0, "a band has no border");
        assert!(
            rest.iter().all(|band| alike(band.shape()) == alike(first.shape()) && band.len() == first.len()),
            "bands are parts of the same frames"
        );
        Bands { bands }
    }

    /// How many bands there are.
    pub fn count(&self) -> usize {
        self.bands.len()
    }

    /// How many frames each band has.
    pub fn frames(&self) -> usize {
        self.bands[0].len()
    }

    /// Values of one frame, all bands together.
    pub fn values(&self) -> usize {
        self.bands.iter().map(|band| band.shape().values()).sum()
    }

    /// Band `index`, counted from the top.
    pub fn band(&self, index: usize) -> &FrameStack {
        &self.bands[index]
    }

    /// Every band changed by `change`, which is given its index.
    pub fn map(self, mut change: impl FnMut(usize, FrameStack) -> Result<FrameStack>) -> Result<Bands> {
        let bands = self.bands.into_iter().enumerate().map(|(index, band)| change(index, band));
        Ok(Bands::of(bands.collect::<Result<_>>()?))
    }

    /// Every band with its edges. A band is dropped as soon as its [`Band`] is.
    pub fn with_edges(self) -> impl Iterator<Item = Band> {
        let edge = |band: &FrameStack, row: usize| band.rows(row..row + 1);
        let last = self.bands.len() - 1;
        let edges: Vec<_> = (0..self.bands.len())
            .map(|i| {
                let above = i.checked_sub(1).map(|i| edge(&self.bands[i], self.bands[i].shape().height - 1));
                (above, (i < last).then(|| edge(&self.bands[i + 1], 0)))
            })
            .collect();
        self.bands.into_iter().zip(edges).map(|(rows, (above, below))| Band { rows, above, below })
    }

    /// The frames one by one, each in its bands.
    pub fn into_frames(self) -> impl Iterator<Item = Bands> {
        (0..self.frames()).map(move |t| Bands::of(self.bands.iter().map(|band| band.slice(t..t + 1)).collect()))
    }

    /// Put `later` behind what is here. Panics if it is cut in another way.
    pub fn append(&mut self, later: Bands) {
        assert_eq!(self.count(), later.count(), "a stream is cut in one way");
        self.bands.iter_mut().zip(later.bands).for_each(|(band, later)| band.append(later));
    }

    /// The frames in one piece.
    pub fn join(mut self) -> Result<FrameStack> {
        match self.bands.len() {
            1 => Ok(self.bands.pop().expect("one band")),
            _ => FrameStack::below_each_other(&self.bands),
        }
    }
}

impl Band {
    /// The band itself.
    pub fn rows(&self) -> &FrameStack {
        &self.rows
    }

    /// The band with one pixel around it: its neighbours' rows above and below, zeros where the picture ends.
    pub fn bordered(&self) -> Result<FrameStack> {
        if self.above.is_some() || self.below.is_some() {
            self.rows.refuse_cuda("a layer that is computed band by band")?;
        }
        let mut bordered = self.rows.bordered();
        if self.above.is_some() || self.below.is_some() {
            let shape = bordered.shape();
            for (t, frame) in bordered.frames_mut().enumerate() {
                for (row, values) in self.edges(t) {
                    frame[shape.any_row_range(row)].copy_from_slice(values);
                }
            }
        }
        Ok(bordered)
    }

    /// Of frame `t` the rows beyond the band, each with its place in a bordered frame: 0 is the row above the band.
    pub(crate) fn edges(&self, t: usize) -> impl Iterator<Item = (usize, &[f32])> {
        let last = self.rows.shape().height + 1;
        [(0, &self.above), (last, &self.below)]
            .into_iter()
            .filter_map(move |(place, edge)| Some((place, edge.as_ref()?.frames()[t].as_slice())))
    }
}

impl From<FrameStack> for Band {
    /// A band that is the whole picture.
    fn from(rows: FrameStack) -> Band {
        Band { rows, above: None, below: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel_norm::ChannelNorm;
    use crate::conv::Conv;
    use crate::testing::{Weight, noise, ours};
    use crate::{Device, Tensor};

    fn frames(channels: usize, count: usize, height: usize, width: usize) -> FrameStack {
        let tensor: Tensor = ours(&noise((channels, count, height, width), 7).expect("numbers"));
        FrameStack::from_tensor(&tensor).expect("four sides")
    }

    #[test]
    fn heights_differ_by_one_row_at_most_and_joining_undoes_splitting() {
        let whole = frames(3, 2, 7, 4);
        for (asked, heights) in [(1, &[7][..]), (2, &[3, 4]), (3, &[2, 2, 3]), (4, &[1, 2, 2, 2]), (9, &[1; 7])] {
            let bands = Bands::split(whole.clone(), asked);
            let found: Vec<_> = (0..bands.count()).map(|i| bands.band(i).shape().height).collect();
            assert_eq!(found, heights);
            assert_eq!((bands.frames(), bands.values()), (2, 3 * 7 * 4));
            let joined = bands.join().expect("frames");
            assert_eq!((joined.shape(), joined.values()), (whole.shape(), whole.values()));
        }
    }

    /// Bit for bit: the norm looks at a pixel, the convolution at three rows, both in the same order.
    #[test]
    fn norm_and_convolution_of_bands_are_those_of_the_whole() {
        let (channels, outputs) = (5, 18);
        let whole = frames(channels, 2, 9, 6);
        let weight = Weight::of(&noise((outputs, channels, 3, 3), 3).expect("numbers"));
        let bias = Weight::of(&noise(outputs, 4).expect("numbers"));
        let gamma = Weight::of(&noise(channels, 5).expect("numbers"));
        let norm = ChannelNorm::new(&gamma.stored(), &Device::cpu()).expect("a vector");
        let device = Device::cpu();
        let plain = Conv::new(&weight.stored(), &bias.stored(), &device).expect("a kernel");
        let doubling = Conv::upsampling(&weight.stored(), &bias.stored(), &device).expect("a kernel");
        let normed = plain.apply(&norm.silu(&whole.clone().into()).expect("frames"), None).expect("frames").values();
        let doubled = doubling.apply(&whole.bordered(), None).expect("frames").values();
        for count in 1..=4 {
            let bands = || Bands::split(whole.clone(), count).with_edges();
            let found =
                bands().map(|band| plain.apply(&norm.silu(&band)?, None)).collect::<Result<_>>().expect("frames");
            assert_eq!(Bands::of(found).join().expect("frames").values(), normed, "{count} bands, normed");
            let found =
                bands().map(|band| doubling.apply(&band.bordered()?, None)).collect::<Result<_>>().expect("frames");
            assert_eq!(Bands::of(found).join().expect("frames").values(), doubled, "{count} bands, doubled");
        }
    }
}
