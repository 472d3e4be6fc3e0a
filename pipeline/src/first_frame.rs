//! The picture that a video starts from, brought to the video's size as the model's own pictures were prepared.
//!
//! LingBot World scales each side by itself, without cropping, with Pillow's bicubic filter (a = −½): [`fit`]. Cosmos3 scales
//! the picture to cover the video, with Pillow's Lanczos filter (a = 3), and crops the middle: [`cover`]. Both filters average
//! over more pixels when they make a picture smaller. The result equals that of Pillow 12 to the byte, so a first frame
//! prepared here and one prepared by the reference are the same input.

use std::collections::VecDeque;
use std::ops::Range;

use crate::world::{Picture, Size};

const CHANNELS: usize = 3;
/// Weights are multiples of 2⁻²²: a sum has 8 bits of value, the sign and one bit of overshoot beside them, 32 in all.
const PRECISION_BITS: u32 = 22;

/// Scale `picture` to `size`. A picture that has its size already is given back as it is.
pub fn fit(picture: Picture, size: Size) -> Picture {
    assert_eq!(picture.rgb.len() as u64, picture.size.frame_bytes(), "a picture has three bytes a pixel");
    if picture.size == size {
        return picture;
    }
    let mut fitter = Fitter::new(picture.size, size);
    fitter.rows(&picture);
    fitter.finish()
}

/// Scale `picture` until it covers `size`, its sides in proportion, and cut out the middle. A picture that has its size already
/// is given back as it is.
pub fn cover(picture: Picture, size: Size) -> Picture {
    assert_eq!(picture.rgb.len() as u64, picture.size.frame_bytes(), "a picture has three bytes a pixel");
    if picture.size == size {
        return picture;
    }
    let mut fitter = Fitter::covering(picture.size, size);
    fitter.rows(&picture);
    fitter.finish()
}

/// The size that a picture is brought to, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Width and height.
    pub size: Size,
    /// How.
    pub fit: Fit,
}

/// How a picture is brought to another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// As [`fit`]: each side by itself.
    Stretch,
    /// As [`cover`]: in proportion, and the middle of it.
    Cover,
}

/// Stretched, as the worlds of sessions want it.
impl From<Size> for Target {
    fn from(size: Size) -> Target {
        Target { size, fit: Fit::Stretch }
    }
}

/// The smallest size in the proportions of `from` that covers `to`, rounded up.
fn covering(from: Size, to: Size) -> Size {
    let (across, down) = (f64::from(to.width) / f64::from(from.width), f64::from(to.height) / f64::from(from.height));
    let scale = across.max(down);
    // In floating point as in the reference, where a rounding error above a whole number costs a pixel more.
    let side = |side: u32| (scale * f64::from(side)).ceil() as u32;
    Size { width: side(from.width), height: side(from.height) }
}

/// A weighting of neighbours, by their distance in pixels of the larger picture.
struct Filter {
    /// Where the weights end.
    reach: f64,
    weight: fn(f64) -> f64,
}

const BICUBIC: Filter = Filter { reach: 2.0, weight: bicubic };
const LANCZOS: Filter = Filter { reach: 3.0, weight: lanczos };

/// Brings a picture to another size while its rows come in, from the top down.
///
/// It never holds the picture it is given: beside the result only the sums of the rows that are not complete yet. A photograph
/// of 40 million pixels would be 120 MB.
pub struct Fitter {
    from: Size,
    to: Size,
    /// `None`: the width is right already.
    across: Option<Vec<Taps>>,
    /// `None`: the height is right already.
    down: Option<Vec<Taps>>,
    /// The row of the source that comes next.
    next: usize,
    /// `(to.width, 3)`: the row that came, at its new width.
    row: Vec<u8>,
    /// Sums of the result's rows that have begun and lack sources, the topmost first.
    begun: VecDeque<Vec<i32>>,
    /// Of sums that are complete, to be used again.
    spare: Vec<Vec<i32>>,
    /// `(rows that are complete, to.width, 3)`.
    rgb: Vec<u8>,
}

impl Fitter {
    /// For a picture of size `from`, to be brought to size `to`.
    pub fn new(from: Size, to: Size) -> Fitter {
        Fitter::scaled(from, to, to, &BICUBIC)
    }

    /// As [`Fitter::new`], but as [`cover`] does it: only what is not cropped is computed.
    pub fn covering(from: Size, to: Size) -> Fitter {
        Fitter::scaled(from, covering(from, to), to, &LANCZOS)
    }

    /// As `target` says.
    pub fn towards(from: Size, target: Target) -> Fitter {
        match target.fit {
            Fit::Stretch => Fitter::new(from, target.size),
            Fit::Cover => Fitter::covering(from, target.size),
        }
    }

    /// As [`Fitter::bytes`], of [`Fitter::towards`].
    pub fn bytes_towards(from: Size, target: Target) -> u64 {
        match target.fit {
            Fit::Stretch => Fitter::bytes(from, target.size),
            Fit::Cover => Fitter::covering_bytes(from, target.size),
        }
    }

    /// The middle, of size `to`, of a picture that is brought from size `from` to size `scaled`.
    fn scaled(from: Size, scaled: Size, to: Size, filter: &Filter) -> Fitter {
        assert!(from.pixels() > 0 && to.pixels() > 0, "a picture has pixels");
        let along = |from: u32, scaled: u32, to: u32| {
            let first = (scaled - to) / 2;
            let places = first as usize..(first + to) as usize;
            (from != scaled || scaled != to).then(|| taps(from as usize, scaled as usize, places, filter))
        };
        Fitter {
            from,
            to,
            across: along(from.width, scaled.width, to.width),
            down: along(from.height, scaled.height, to.height),
            next: 0,
            row: vec![0; to.width as usize * CHANNELS],
            begun: VecDeque::new(),
            spare: Vec::new(),
            rgb: Vec::with_capacity(to.frame_bytes() as usize),
        }
    }

    /// Bytes that it holds at most, the result among them.
    pub fn bytes(from: Size, to: Size) -> u64 {
        Fitter::scaled_bytes(from, to, to, &BICUBIC)
    }

    /// As [`Fitter::bytes`], of [`Fitter::covering`].
    pub fn covering_bytes(from: Size, to: Size) -> u64 {
        Fitter::scaled_bytes(from, covering(from, to), to, &LANCZOS)
    }

    fn scaled_bytes(from: Size, scaled: Size, to: Size, filter: &Filter) -> u64 {
        let reach = 2.0 * filter.reach;
        let rows = u64::from(to.height);
        // A row of the source reaches so many rows of itself in both directions, or of the result where that is smaller.
        let scale = f64::from(scaled.height) / f64::from(from.height);
        let begun = ((reach * scale.max(1.0)) as u64 + 2).min(rows);
        // The reach of weights on both sides of each place, rounded up, and the list that holds them.
        let weights = |from: u32, scaled: u32, to: u32| {
            let places = u64::from(to);
            let widening = (f64::from(from) / f64::from(scaled)).max(1.0);
            places * (4 * ((reach * widening) as u64 + 2) + 48)
        };
        let row = u64::from(to.width) * CHANNELS as u64;
        let weights = weights(from.width, scaled.width, to.width) + weights(from.height, scaled.height, to.height);
        to.frame_bytes() + row + 4 * row * begun + weights
    }

    /// `rgb`: `(from.width, 3)`, the next row of the source.
    pub fn row(&mut self, rgb: &[u8]) {
        assert_eq!(rgb.len(), self.from.width as usize * CHANNELS, "a row has three bytes a pixel");
        assert!(self.next < self.from.height as usize, "a picture has as many rows as it said");
        // Width before height, as in Pillow: values are rounded between the two passes, so the order changes the result.
        let row = match &self.across {
            None => rgb,
            Some(taps) => {
                resize_row(rgb, taps, &mut self.row);
                &self.row
            }
        };
        let at = self.next;
        self.next += 1;
        let Some(taps) = &self.down else {
            self.rgb.extend_from_slice(row);
            return;
        };
        let complete = self.rgb.len() / row.len();
        for (place, taps) in taps[complete..].iter().enumerate() {
            if taps.first > at {
                break;
            }
            if place == self.begun.len() {
                let mut sums = self.spare.pop().unwrap_or_default();
                sums.clear();
                sums.resize(row.len(), HALF);
                self.begun.push_back(sums);
            }
            // Where the row above ends last, this one has all its sources already.
            let Some(&weight) = taps.weights.get(at - taps.first) else { continue };
            for (sum, &value) in self.begun[place].iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        while let Some(taps) = taps.get(self.rgb.len() / row.len())
            && taps.first + taps.weights.len() <= self.next
        {
            let sums = self.begun.pop_front().expect("a row with weights has begun");
            self.rgb.extend(sums.iter().map(|&sum| to_byte(sum)));
            self.spare.push(sums);
        }
    }

    /// Every row of the source.
    fn rows(&mut self, picture: &Picture) {
        picture.rgb.chunks_exact(picture.size.width as usize * CHANNELS).for_each(|row| self.row(row));
    }

    /// The picture, once every row has come.
    pub fn finish(self) -> Picture {
        assert_eq!(self.next, self.from.height as usize, "every row has come");
        Picture { size: self.to, rgb: self.rgb }
    }
}

/// The source positions that one position of the result is a weighted sum of.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The taps of `places` among `to` positions, out of `from` positions.
fn taps(from: usize, to: usize, places: Range<usize>, filter: &Filter) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let widening = scale.max(1.0);
    let reach = filter.reach * widening;
    let of_place = |place: usize| {
        let centre = (place as f64 + 0.5) * scale;
        let first = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(from);
        // Pillow multiplies by the inverse and does not divide, in this order: the last bit depends on it.
        let inverse = 1.0 / widening;
        let weights: Vec<f64> = (first..end).map(|x| (filter.weight)((x as f64 - centre + 0.5) * inverse)).collect();
        let total: f64 = weights.iter().sum();
        let unit = f64::from(1 << PRECISION_BITS);
        Taps { first, weights: weights.iter().map(|weight| (weight / total * unit).round() as i32).collect() }
    };
    places.map(of_place).collect()
}

fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn lanczos(x: f64) -> f64 {
    const A: f64 = 3.0;
    if (-A..A).contains(&x) { sinc(x) * sinc(x / A) } else { 0.0 }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let angle = x * std::f64::consts::PI;
    angle.sin() / angle
}

/// Weighted sums start from one half, so that cutting them off rounds them.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

fn resize_row(row: &[u8], taps: &[Taps], resized: &mut [u8]) {
    for (pixel, taps) in resized.chunks_exact_mut(CHANNELS).zip(taps) {
        let mut sums = [HALF; CHANNELS];
        let sources = row[taps.first * CHANNELS..].chunks_exact(CHANNELS);
        for (source, weight) in sources.zip(&taps.weights) {
            for (sum, &value) in sums.iter_mut().zip(source) {
                *sum += i32::from(value) * weight;
            }
        }
        pixel.copy_from_slice(&sums.map(to_byte));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    /// Checks every case of a fixture that Pillow made (see testdata/README.md).
    fn check(fixture: &[u8]) {
        let tensors = SafeTensors::deserialize(fixture).expect("a safetensors file");
        let picture = |name: &str| {
            let tensor = tensors.tensor(name).expect("a tensor");
            assert_eq!(tensor.dtype(), safetensors::Dtype::U8, "bytes");
            let &[height, width, 3] = tensor.shape() else { panic!("(height, width, 3)") };
            Picture { size: Size { width: width as u32, height: height as u32 }, rgb: tensor.data().to_vec() }
        };
        let names = tensors.names();
        let cases: Vec<_> = names.iter().filter_map(|name| name.strip_suffix(".source")).collect();
        assert!(!cases.is_empty());
        for case in cases {
            let expected = picture(&format!("{case}.fitted"));
            let found = fit(picture(&format!("{case}.source")), expected.size);
            let off = found.rgb.iter().zip(&expected.rgb).filter(|(a, b)| a != b).count();
            assert_eq!((found.size, found.rgb.len(), off), (expected.size, expected.rgb.len(), 0), "{case}");
        }
    }

    #[test]
    fn it_is_pillows_bicubic_to_the_byte() {
        check(include_bytes!("../testdata/pillow_bicubic.safetensors"));
    }

    #[test]
    fn a_picture_of_the_right_size_is_not_touched() {
        let size = Size { width: 5, height: 3 };
        let picture = Picture { size, rgb: (0..45).collect() };
        let buffer = picture.rgb.as_ptr();
        let fitted = fit(picture, size);
        assert_eq!(fitted.rgb.as_ptr(), buffer);
        assert_eq!(fitted.rgb, (0..45).collect::<Vec<u8>>());
    }

    #[test]
    fn a_picture_covers_the_size_in_its_own_proportions_and_loses_both_sides_alike() {
        let size = |width, height| Size { width, height };
        let check = |from, to, expected| assert_eq!(covering(from, to), expected, "{from} over {to}");
        check(size(100, 50), size(50, 50), size(100, 50));
        check(size(101, 150), size(48, 32), size(48, 72));
        check(size(33, 90), size(48, 48), size(48, 131));
        check(size(4, 3), size(832, 480), size(832, 624));
        // Columns 1 and 2 of five: the odd pixel is lost on the right. Nothing is scaled, so nothing is rounded.
        let picture = Picture { size: size(5, 1), rgb: (0..15).collect() };
        assert_eq!(cover(picture, size(2, 1)).rgb, (3..9).collect::<Vec<u8>>());
        let same = Picture { size: size(2, 1), rgb: vec![7; 6] };
        assert_eq!(cover(same.clone(), size(2, 1)), same);
    }

    #[test]
    fn it_never_holds_more_than_it_said() {
        let sides = [1, 2, 3, 7, 40, 333];
        let sizes = || sides.into_iter().flat_map(|width| sides.map(|height| Size { width, height }));
        type Way = (fn(Size, Size) -> Fitter, fn(Size, Size) -> u64);
        let ways: [Way; 2] = [(Fitter::new, Fitter::bytes), (Fitter::covering, Fitter::covering_bytes)];
        let pairs = sizes().flat_map(|from| sizes().map(move |to| (from, to)));
        for ((from, to), (fitter, bytes)) in pairs.flat_map(|sizes| ways.map(|way| (sizes, way))) {
            let mut fitter = fitter(from, to);
            let weights = |taps: &Option<Vec<Taps>>| {
                let bytes = |taps: &Taps| size_of::<Taps>() + 4 * taps.weights.capacity();
                taps.iter().flatten().map(bytes).sum::<usize>()
            };
            let taps = weights(&fitter.across) + weights(&fitter.down);
            for _ in 0..from.height {
                fitter.row(&vec![9; 3 * from.width as usize]);
                let sums: usize = fitter.begun.iter().chain(&fitter.spare).map(|sums| 4 * sums.capacity()).sum();
                let held = taps + sums + fitter.row.capacity() + fitter.rgb.capacity();
                assert!(held as u64 <= bytes(from, to), "{from} to {to}: {held}");
            }
            assert_eq!(fitter.finish(), Picture { size: to, rgb: vec![9; to.frame_bytes() as usize] });
        }
    }
}
