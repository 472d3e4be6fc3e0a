//! Pictures cut into bands of rows, so that a layer can be computed one band at a time, or each band by a rank of its own.
//!
//! A 3×3 convolution reads one row beyond each side of a band. [`Bands::map_with_edges`] hands these rows out beside the
//! band, so every output row is summed from the same numbers in the same order as in one piece: the results are equal
//! bit for bit.

use std::ops::Range;

use crate::Result;
use crate::collective::Rank;
use crate::frame_stack::{FrameShape, FrameStack};

/// The bands of one stack of frames, topmost first, or of these the one that a rank has. None has a border.
#[derive(Debug, Clone)]
pub struct Bands<'a> {
    bands: Vec<FrameStack>,
    /// `None`: all bands are here.
    others: Option<Others<'a>>,
}

/// Where the other bands are, if one is here: each with a rank.
#[derive(Debug, Clone, Copy)]
struct Others<'a> {
    rank: &'a Rank,
    /// Rows of this band, and of all bands, when the picture was cut. Layers make both larger by one factor.
    rows: [usize; 2],
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

/// The rows of band `index` of `count`: heights differ by one row at most.
fn rows_of(height: usize, index: usize, count: usize) -> Range<usize> {
    index * height / count..(index + 1) * height / count
}

impl<'a> Bands<'a> {
    /// One band that holds everything.
    pub fn whole(frames: FrameStack) -> Bands<'a> {
        Bands::of(vec![frames])
    }

    /// `count` bands whose heights differ by one row at most; fewer if the picture has fewer rows.
    pub fn split(frames: FrameStack, count: usize) -> Bands<'a> {
        let height = frames.shape().height;
        let count = count.clamp(1, height);
        match count {
            1 => Bands::whole(frames),
            _ => Bands::of((0..count).map(|i| frames.rows(rows_of(height, i, count))).collect()),
        }
    }

    /// Of `frames`, which all ranks are given, the band of `rank`. Panics if there are fewer rows than ranks.
    pub fn of_rank(frames: &FrameStack, rank: &'a Rank) -> Bands<'a> {
        if rank.count() == 1 {
            return Bands::whole(frames.clone());
        }
        let height = frames.shape().height;
        assert!(height >= rank.count(), "every rank has a row");
        let own = rows_of(height, rank.number(), rank.count());
        let others = Some(Others { rank, rows: [own.len(), height] });
        Bands { bands: vec![frames.rows(own)], others }
    }

    /// These bands, topmost first, equal in everything but their height.
    pub fn of(bands: Vec<FrameStack>) -> Bands<'a> {
        let (first, rest) = bands.split_first().expect("a picture has at least one band");
        let alike = |shape: FrameShape| FrameShape { height: 0, ..shape };
        assert_eq!(first.shape().border, 0, "a band has no border");
        assert!(
            rest.iter().all(|band| alike(band.shape()) == alike(first.shape()) && band.len() == first.len()),
            "bands are parts of the same frames"
        );
        Bands { bands, others: None }
    }

    /// How many bands are here.
    pub fn count(&self) -> usize {
        self.bands.len()
    }

    /// How many frames each band has.
    pub fn frames(&self) -> usize {
        self.bands[0].len()
    }

    /// Values of one frame, all bands together: also those that are with other ranks.
    pub fn values(&self) -> usize {
        let here: usize = self.bands.iter().map(|band| band.shape().values()).sum();
        match self.others {
            None => here,
            Some(Others { rows: [own, all], .. }) => here / own * all,
        }
    }

    /// Band `index` of those that are here, counted from the top.
    pub fn band(&self, index: usize) -> &FrameStack {
        &self.bands[index]
    }

    /// Every band changed by `change`, which is given its index.
    pub fn map(self, mut change: impl FnMut(usize, FrameStack) -> Result<FrameStack>) -> Result<Bands<'a>> {
        let bands = self.bands.into_iter().enumerate().map(|(index, band)| change(index, band));
        Ok(Bands { others: self.others, ..Bands::of(bands.collect::<Result<_>>()?) })
    }

    /// As [`Bands::map`], with the edges of every band. A band is dropped as soon as `change` has dropped its [`Band`].
    pub fn map_with_edges(self, mut change: impl FnMut(usize, Band) -> Result<FrameStack>) -> Result<Bands<'a>> {
        let others = self.others;
        let bands = self.with_edges()?.enumerate().map(|(index, band)| change(index, band));
        Ok(Bands { others, ..Bands::of(bands.collect::<Result<_>>()?) })
    }

    fn with_edges(self) -> Result<impl Iterator<Item = Band>> {
        let edge = |band: &FrameStack, row: usize| band.rows(row..row + 1);
        let last_row = |band: &FrameStack| edge(band, band.shape().height - 1);
        let last = self.bands.len() - 1;
        let edges: Vec<_> = match self.others {
            None => (0..self.bands.len())
                .map(|i| {
                    let above = i.checked_sub(1).map(|i| last_row(&self.bands[i]));
                    (above, (i < last).then(|| edge(&self.bands[i + 1], 0)))
                })
                .collect(),
            Some(Others { rank, .. }) => {
                let (band, own) = (&self.bands[0], rank.number());
                let mut received = rank.exchange_frames(|other| {
                    if other + 1 == own {
                        Some(edge(band, 0))
                    } else if other == own + 1 {
                        Some(last_row(band))
                    } else {
                        None
                    }
                })?;
                let below = received.get_mut(own + 1).and_then(Option::take);
                let above = own.checked_sub(1).and_then(|above| received[above].take());
                vec![(above, below)]
            }
        };
        Ok(self.bands.into_iter().zip(edges).map(|(rows, (above, below))| Band { rows, above, below }))
    }

    /// The frames one by one, each in its bands.
    pub fn into_frames(self) -> impl Iterator<Item = Bands<'a>> {
        (0..self.frames()).map(move |t| {
            let bands = self.bands.iter().map(|band| band.slice(t..t + 1)).collect();
            Bands { others: self.others, ..Bands::of(bands) }
        })
    }

    /// Put `later` behind what is here. Panics if it is cut in another way.
    pub fn append(&mut self, later: Bands) {
        assert_eq!(self.count(), later.count(), "a stream is cut in one way");
        self.bands.iter_mut().zip(later.bands).for_each(|(band, later)| band.append(later));
    }

    /// The frames in one piece, with those of other ranks.
    pub fn join(mut self) -> Result<FrameStack> {
        if let Some(Others { rank, .. }) = self.others {
            let received = rank.exchange_frames(|_| Some(self.bands[0].clone()))?;
            let bands: Vec<_> = received.into_iter().flatten().collect();
            return FrameStack::below_each_other(&bands);
        }
        match self.bands.len() {
            1 => Ok(self.bands.pop().expect("one band")),
            _ => FrameStack::below_each_other(&self.bands),
        }
    }

    /// The bands that are here, topmost first.
    pub fn into_bands(self) -> Vec<FrameStack> {
        self.bands
    }

    /// A layer over all rows at once: each rank computes it whole, and keeps its own. `change` keeps the height.
    pub fn map_joined(self, change: impl FnOnce(FrameStack) -> Result<FrameStack>) -> Result<Bands<'a>> {
        let (count, others) = (self.count(), self.others);
        let changed = change(self.join()?)?;
        let Some(Others { rank, .. }) = others else { return Ok(Bands::split(changed, count)) };
        let own = rows_of(changed.shape().height, rank.number(), rank.count());
        Ok(Bands { bands: vec![changed.rows(own)], others })
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
    use crate::collective::Team;
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
            let norm_all = |bands: Bands| bands.map_with_edges(|_, band| plain.apply(&norm.silu(&band)?, None))?.join();
            let double_all =
                |bands: Bands| bands.map_with_edges(|_, band| doubling.apply(&band.bordered()?, None))?.join();
            let bands = || Bands::split(whole.clone(), count);
            assert_eq!(norm_all(bands()).expect("frames").values(), normed, "{count} bands, normed");
            assert_eq!(double_all(bands()).expect("frames").values(), doubled, "{count} bands, doubled");
            // The same with each band on a rank of its own.
            let team = Team::of_threads(count).expect("threads");
            let on_ranks = team.run(&mut vec![(); count], |rank, ()| -> Result<_> {
                assert_eq!(Bands::of_rank(&whole, rank).values(), Bands::whole(whole.clone()).values());
                let bands = || Bands::of_rank(&whole, rank);
                Ok((
                    norm_all(bands())?,
                    double_all(bands())?,
                    bands().map_joined(|all| norm_all(Bands::whole(all)))?.join()?,
                ))
            });
            for (of_norm, of_double, of_all) in on_ranks.expect("frames") {
                assert_eq!(of_norm.values(), normed, "{count} ranks, normed");
                assert_eq!(of_double.values(), doubled, "{count} ranks, doubled");
                assert_eq!(of_all.values(), normed, "{count} ranks, all rows at once");
            }
        }
    }
}
