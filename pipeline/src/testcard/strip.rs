//! The strip along the bottom of a test card's picture: what the picture was drawn from, as black and white cells.

use std::ops::Range;

use crate::world::{FRAMES_PER_LATENT, Held, Picture, Size};

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
    let part = |side: u32, i: u32, of: u32| (u64::from(side) * u64::from(i) / u64::from(of)) as u32;
    let rows = STRIP_ROWS * STRIP_PART;
    (0..STRIP_ROWS * STRIP_COLUMNS).map(move |bit| {
        let (column, row) = (bit % STRIP_COLUMNS, rows - STRIP_ROWS + bit / STRIP_COLUMNS);
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
    let hash = fnv(&said.to_le_bytes());
    u128::from((hash ^ hash >> 16) & 0xffff)
}

/// Read the strip of a picture. `None` if there is none, or it cannot be read.
pub fn read(picture: &Picture) -> Option<Reading> {
    let mut word = 0u128;
    for (bit, (x, y)) in cells(picture.size).enumerate() {
        let (mut sum, mut count) = (0u64, 0u64);
        // Only the middle of a cell: a codec mixes its edges with its neighbours.
        let inset = |range: &Range<u32>| range.start + range.len() as u32 / 4..range.end - range.len() as u32 / 4;
        for y in inset(&y) {
            for x in inset(&x) {
                let at = 3 * (y as usize * picture.size.width as usize + x as usize);
                sum += picture.rgb[at..at + 3].iter().map(|&v| u64::from(v)).sum::<u64>();
                count += 3;
            }
        }
        word |= u128::from(count > 0 && sum > 128 * count) << bit;
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

/// The hash of a prompt, 24 bits: the strip has no room for the prompt itself.
pub fn prompt_hash(prompt: &str) -> u32 {
    let hash = fnv(prompt.as_bytes());
    (hash ^ hash >> 24) & 0xff_ffff
}

/// FNV-1a. It protects against misreading, not against an attacker.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
