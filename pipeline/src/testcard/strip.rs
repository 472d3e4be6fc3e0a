//! The strips along the bottom of a test card's picture: what the picture was drawn from, as black and white cells. The
//! upper one is there only where more than keys steered it.

use std::ops::Range;

use crate::world::{Controls, FRAMES_PER_LATENT, Held, Intrinsics, Picture, Pose, Rates, Size};

/// The content of a picture's strip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Index of the chunk, modulo 2¹⁶.
    pub chunk: usize,
    /// Position of the latent frame in the whole video.
    pub latent_frame: usize,
    /// Position of the video frame in the whole video, modulo 2²².
    pub frame: usize,
    /// The keys held; empty if there were controls and none was a key. `None`: the chunk had no controls.
    pub held: Option<Held>,
    /// [`prompt_hash`] of the prompt that the chunk was drawn with.
    pub prompt_hash: u32,
}

/// What a picture's upper strip holds: all that steered it besides keys. A picture has this strip only if there was any.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steered {
    /// Rounded to 1/127.
    pub rates: Rates,
    /// Where the poses have led the camera, which keys and rates do not move here. The position is rounded to a
    /// thousandth and cut off at ±32, the quaternion rounded to 1/32767. `None`: no pose has come yet.
    pub pose: Option<Pose>,
    /// Rounded to an eighth of a pixel and cut off at ±4096. `None`: no lens was given.
    pub intrinsics: Option<Intrinsics>,
}

// The strip: 3 rows of 32 cells over the whole width of the lowest eighth. A cell is a fraction of the picture, so a
// scaled picture can be read too. At 128x96 a cell is 4x4 pixels, which JPEG at quality 50 leaves readable.
const STRIP_COLUMNS: u32 = 32;
const STRIP_ROWS: u32 = 3;
pub(super) const STRIP_PART: u32 = 8;
/// Almost black and almost white: a codec's overshoot at an edge is not clipped, so it costs no contrast.
pub(super) const BLACK: [u8; 3] = [24; 3];
pub(super) const WHITE: [u8; 3] = [232; 3];
const MAGIC: u128 = 0b1_0110_0101;

/// The columns and rows of each bit's cell, lowest bit first. Ranges are empty if the picture is too small.
pub(super) fn cells(size: Size) -> impl Iterator<Item = (Range<u32>, Range<u32>)> {
    rows_of_cells(size, STRIP_ROWS * STRIP_PART - STRIP_ROWS, STRIP_ROWS)
}

/// `count` rows of cells from row `first` on, of all that the picture has.
fn rows_of_cells(size: Size, first: u32, count: u32) -> impl Iterator<Item = (Range<u32>, Range<u32>)> {
    let part = |side: u32, i: u32, of: u32| (u64::from(side) * u64::from(i) / u64::from(of)) as u32;
    let rows = STRIP_ROWS * STRIP_PART;
    (0..count * STRIP_COLUMNS).map(move |bit| {
        let (column, row) = (bit % STRIP_COLUMNS, first + bit / STRIP_COLUMNS);
        (
            part(size.width, column, STRIP_COLUMNS)..part(size.width, column + 1, STRIP_COLUMNS),
            part(size.height, row, rows)..part(size.height, row + 1, rows),
        )
    })
}

impl Reading {
    /// 96 bits, lowest first: 9 magic, 16 chunk, 22 frame, 1 + 8 controls, 24 prompt, 16 checksum.
    pub(super) fn word(&self) -> u128 {
        let controls = self.held.map_or(0, |held| {
            let bits = (0..).zip(Held::ALL).filter(|&(_, key)| held.has(key));
            1 | bits.fold(0, |bits, (i, _)| bits | 2 << i)
        });
        let chunk = self.chunk as u128 & 0xffff;
        let frame = self.frame as u128 & 0x3f_ffff;
        let said = MAGIC | chunk << 9 | frame << 25 | controls << 47 | u128::from(self.prompt_hash) << 56;
        said | checksum(said) << 80
    }
}

fn checksum(said: u128) -> u128 {
    checksum_of(&said.to_le_bytes()).into()
}

fn is_white(picture: &Picture, (x, y): &(Range<u32>, Range<u32>)) -> bool {
    let (mut sum, mut count) = (0u64, 0u64);
    // Only the middle of a cell: a codec mixes its edges with its neighbours.
    let inset = |range: &Range<u32>| range.start + range.len() as u32 / 4..range.end - range.len() as u32 / 4;
    for y in inset(y) {
        for x in inset(x) {
            let at = 3 * (y as usize * picture.size.width as usize + x as usize);
            sum += picture.rgb[at..at + 3].iter().map(|&v| u64::from(v)).sum::<u64>();
            count += 3;
        }
    }
    count > 0 && sum > 128 * count
}

/// Read the strip of a picture. `None` if there is none, or it cannot be read.
pub fn read(picture: &Picture) -> Option<Reading> {
    let mut word = 0u128;
    for (bit, cell) in cells(picture.size).enumerate() {
        word |= u128::from(is_white(picture, &cell)) << bit;
    }
    let said = word & ((1 << 80) - 1);
    if word & 0x1ff != MAGIC || word >> 80 != checksum(said) {
        return None;
    }
    let held = |held: Held, (i, key): (u32, char)| if word >> (48 + i) & 1 == 1 { held.with(key) } else { held };
    let frame = (word >> 25 & 0x3f_ffff) as usize;
    Some(Reading {
        chunk: (word >> 9 & 0xffff) as usize,
        latent_frame: frame.div_ceil(FRAMES_PER_LATENT),
        frame,
        held: (word >> 47 & 1 == 1).then(|| (0..).zip(Held::ALL).fold(Held::default(), held)),
        prompt_hash: (word >> 56 & 0xff_ffff) as u32,
    })
}

/// Rows of the upper strip, of the same cells, above the other.
const STEERED_ROWS: u32 = 8;
const STEERED_BYTES: usize = (STEERED_ROWS * STRIP_COLUMNS / 8) as usize;
const STEERED_MAGIC: u8 = 0b1011_0010;

/// As [`cells`], of the upper strip.
pub(super) fn steered_cells(size: Size) -> impl Iterator<Item = (Range<u32>, Range<u32>)> {
    let rows = STRIP_ROWS * STRIP_PART;
    rows_of_cells(size, rows - STRIP_ROWS - STEERED_ROWS, STEERED_ROWS)
}

impl Steered {
    /// `pose`: where the camera is, if a pose led it anywhere. `None` if nothing but keys has steered it.
    pub(super) fn of(controls: &Controls, pose: Option<Pose>) -> Option<Steered> {
        let steered = Steered { rates: controls.rates(), pose, intrinsics: controls.intrinsics() };
        let any = steered.rates != Rates::default() || pose.is_some() || steered.intrinsics.is_some();
        any.then_some(steered)
    }

    /// Magic, what is there, 4 rates, 3 + 4 numbers of the pose, 4 of the lens, 2 unused, checksum.
    pub(super) fn bytes(&self) -> [u8; STEERED_BYTES] {
        let there = u8::from(self.pose.is_some()) | u8::from(self.intrinsics.is_some()) << 1;
        let mut bytes = vec![STEERED_MAGIC, there];
        bytes.extend(self.rates.numbers().map(|rate| (rate * 127.0).round() as i8 as u8));
        let mut numbers = |values: &[f64], scale: f64| {
            // A cast from a float stops at the ends of the type.
            bytes.extend(values.iter().flat_map(|value| ((value * scale).round() as i16).to_le_bytes()));
        };
        let pose = self.pose.unwrap_or(Pose::START);
        numbers(&pose.position(), 1000.0);
        numbers(&pose.quaternion(), 32767.0);
        numbers(&self.intrinsics.map_or([0.0; 4], |lens| lens.numbers()), 8.0);
        bytes.resize(STEERED_BYTES - 2, 0);
        let sum = checksum_of(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes.try_into().expect("as many as there are cells")
    }
}

/// Read the upper strip of a picture. `None` if there is none, or it cannot be read.
pub fn read_steered(picture: &Picture) -> Option<Steered> {
    let mut bytes = [0u8; STEERED_BYTES];
    for (bit, cell) in steered_cells(picture.size).enumerate() {
        bytes[bit / 8] |= u8::from(is_white(picture, &cell)) << (bit % 8);
    }
    let (said, sum) = bytes.split_at(STEERED_BYTES - 2);
    if said[0] != STEERED_MAGIC || checksum_of(said).to_le_bytes() != sum {
        return None;
    }
    let number = |at: usize, scale: f64| f64::from(i16::from_le_bytes([said[at], said[at + 1]])) / scale;
    let numbers = |at: usize, scale: f64| [0, 2, 4, 6].map(|i| number(at + i, scale));
    let rates = Rates::new([2, 3, 4, 5].map(|at| f64::from(said[at] as i8) / 127.0)).ok()?;
    let pose = || {
        let quaternion = numbers(12, 32767.0);
        let length = quaternion.iter().map(|x| x * x).sum::<f64>().sqrt();
        Pose::new([6, 8, 10].map(|at| number(at, 1000.0)), quaternion.map(|x| x / length)).ok()
    };
    let lens = || {
        let [fx, fy, cx, cy] = numbers(20, 8.0);
        Intrinsics::new(fx, fy, cx, cy).ok()
    };
    Some(Steered {
        rates,
        pose: if said[1] & 1 == 1 { Some(pose()?) } else { None },
        intrinsics: if said[1] & 2 == 2 { Some(lens()?) } else { None },
    })
}

fn checksum_of(bytes: &[u8]) -> u16 {
    let hash = fnv(bytes);
    (hash ^ hash >> 16) as u16
}

/// The hash of a prompt, 24 bits: the strip has no room for the prompt itself.
pub fn prompt_hash(prompt: &str) -> u32 {
    let hash = fnv(prompt.as_bytes());
    (hash ^ hash >> 24) & 0xff_ffff
}

/// FNV-1a. It protects against misreading, not against an attacker.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
