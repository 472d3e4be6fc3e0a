//! How much libwebp allocates for the prefix codes of a lossless picture. Blocks of 4×4 pixels and more may each name a
//! group of five codes, 65 536 at most, and a group of 20 bits in the file takes 9 kB and more in the decoder. How many
//! there are stands in a small picture of its own, behind the transforms: these are read here, and nothing after them.
//!
//! The format: "Specification for WebP Lossless Bitstream" (RFC 9649, section 3). The sizes: libwebp, `src/dec/vp8l_dec.c`.

use std::collections::HashSet;

use pipeline::world::Size;

/// Bytes that libwebp allocates for the prefix codes of a picture whose coded content begins here.
/// `None`: it is broken before they are known.
pub(super) fn bytes_of_lossless(content: &[u8]) -> Option<u64> {
    let mut bits = Bits::new(content);
    // A signature; the sides, which the caller knows; whether alpha is used; a version.
    (bits.read(8)? == 0x2f).then_some(())?;
    let (width, height) = (bits.read(14)? + 1, bits.read(14)? + 1);
    (bits.read(4)? >> 1 == 0).then_some(())?;
    bytes_of_stream(&mut bits, width, height)
}

/// The same for a plane of alpha, which has no head; 0 if it is not coded like this.
pub(super) fn bytes_of_alpha(content: &[u8], size: Size) -> Option<u64> {
    const LOSSLESS: u8 = 1;
    match content.split_first()? {
        (how, coded) if how & 3 == LOSSLESS => bytes_of_stream(&mut Bits::new(coded), size.width, size.height),
        _ => Some(0),
    }
}

/// Behind the head: transforms, the colour cache, and the picture that says which block uses which group.
fn bytes_of_stream(bits: &mut Bits, mut width: u32, height: u32) -> Option<u64> {
    let mut transforms = [false; 4];
    while bits.read(1)? == 1 {
        const PREDICTOR: u32 = 0;
        const COLOUR: u32 = 1;
        const PALETTE: u32 = 3;
        let transform = bits.read(2)?;
        // Each may come once: a file of many would take for ever.
        (!std::mem::replace(&mut transforms[transform as usize], true)).then_some(())?;
        match transform {
            PREDICTOR | COLOUR => {
                let block = bits.read(3)? + 2;
                small_picture(bits, blocks(width, block), blocks(height, block))?;
            }
            PALETTE => {
                let colours = bits.read(8)? + 1;
                small_picture(bits, colours, 1)?;
                // Few colours are packed, several pixels into one.
                let packed = match colours {
                    0..=2 => 3,
                    3..=4 => 2,
                    5..=16 => 1,
                    _ => 0,
                };
                width = blocks(width, packed);
            }
            _ => {}
        }
    }
    let cache_bits = cache_bits(bits)?;
    let mut groups = 1;
    if bits.read(1)? == 1 {
        let block = bits.read(3)? + 2;
        let names = small_picture(bits, blocks(width, block), blocks(height, block))?;
        let names = || names.iter().map(|pixel| pixel >> 8 & 0xffff);
        groups = u64::from(names().max()? + 1);
        // Past this many, libwebp sets up only those that are used.
        if groups > 1000 {
            groups = names().collect::<HashSet<u32>>().len() as u64;
        }
    }
    Some(groups * group_bytes(cache_bits))
}

/// What libwebp holds of a group: the tables of red, blue, alpha and distance, that of green, which grows with the colour
/// cache, and 64 entries of a table of all together.
fn group_bytes(cache_bits: u32) -> u64 {
    const ENTRY: u64 = 4;
    const OTHERS: u64 = 630 * 3 + 410;
    const GREEN: [u64; 12] = [654, 656, 658, 662, 670, 686, 718, 782, 912, 1168, 1680, 2704];
    const TOGETHER: u64 = 64 * 8 + 64;
    (OTHERS + GREEN[cache_bits as usize]) * ENTRY + TOGETHER
}

/// How many blocks of 2^`bits` pixels cover a side.
fn blocks(side: u32, bits: u32) -> u32 {
    side.div_ceil(1 << bits)
}

fn cache_bits(bits: &mut Bits) -> Option<u32> {
    match bits.read(1)? {
        0 => Some(0),
        _ => bits.read(4).filter(|bits| (1..=11).contains(bits)),
    }
}

const LITERALS: u32 = 256;
const LENGTHS: u32 = 24;
const DISTANCES: u32 = 40;

/// A picture beside the picture: its pixels, 8 bits each of alpha, red, green and blue. It has one group of codes.
fn small_picture(bits: &mut Bits, width: u32, height: u32) -> Option<Vec<u32>> {
    let cache_bits = cache_bits(bits)?;
    let mut cache = vec![0; if cache_bits > 0 { 1 << cache_bits } else { 0 }];
    let green = Code::read(bits, LITERALS + LENGTHS + cache.len() as u32)?;
    let [red, blue, alpha] = [Code::read(bits, LITERALS)?, Code::read(bits, LITERALS)?, Code::read(bits, LITERALS)?];
    let distances = Code::read(bits, DISTANCES)?;
    let count = width as usize * height as usize;
    let mut pixels = Vec::with_capacity(count);
    let keep = |cache: &mut [u32], pixel: u32| {
        if cache_bits > 0 {
            cache[(pixel.wrapping_mul(0x1e35_a7bd) >> (32 - cache_bits)) as usize] = pixel;
        }
    };
    while pixels.len() < count {
        let symbol = green.next(bits)?;
        if let Some(cached) = symbol.checked_sub(LITERALS + LENGTHS) {
            let pixel = cache[cached as usize];
            keep(&mut cache, pixel);
            pixels.push(pixel);
        } else if let Some(length) = symbol.checked_sub(LITERALS) {
            let length = extended(bits, length)? as usize;
            let distance = distances.next(bits)?;
            let distance = extended(bits, distance)?;
            let from = pixels.len().checked_sub(distance_in_pixels(distance, width))?;
            (pixels.len() + length <= count).then_some(())?;
            for at in from..from + length {
                let pixel = pixels[at];
                keep(&mut cache, pixel);
                pixels.push(pixel);
            }
        } else {
            let (red, blue, alpha) = (red.next(bits)?, blue.next(bits)?, alpha.next(bits)?);
            let pixel = alpha << 24 | red << 16 | symbol << 8 | blue;
            keep(&mut cache, pixel);
            pixels.push(pixel);
        }
    }
    Some(pixels)
}

/// A length or a distance: a symbol, and further bits for large ones.
fn extended(bits: &mut Bits, symbol: u32) -> Option<u32> {
    if symbol < 4 {
        return Some(symbol + 1);
    }
    let further = (symbol - 2) >> 1;
    Some(((2 + (symbol & 1)) << further) + bits.read(further)? + 1)
}

/// The first 120 distances mean pixels near by, at (x, y) to the left and above: the nearest first.
fn distance_in_pixels(distance: u32, width: u32) -> usize {
    match NEAR_BY.get(distance as usize - 1) {
        Some(&(x, y)) => (i64::from(x) + i64::from(y) * i64::from(width)).max(1) as usize,
        None => distance as usize - NEAR_BY.len(),
    }
}

#[rustfmt::skip]
const NEAR_BY: [(i8, i8); 120] = [
    (0, 1), (1, 0), (1, 1), (-1, 1), (0, 2), (2, 0), (1, 2), (-1, 2), (2, 1), (-2, 1), (2, 2), (-2, 2), (0, 3), (3, 0),
    (1, 3), (-1, 3), (3, 1), (-3, 1), (2, 3), (-2, 3), (3, 2), (-3, 2), (0, 4), (4, 0), (1, 4), (-1, 4), (4, 1), (-4, 1),
    (3, 3), (-3, 3), (2, 4), (-2, 4), (4, 2), (-4, 2), (0, 5), (3, 4), (-3, 4), (4, 3), (-4, 3), (5, 0), (1, 5), (-1, 5),
    (5, 1), (-5, 1), (2, 5), (-2, 5), (5, 2), (-5, 2), (4, 4), (-4, 4), (3, 5), (-3, 5), (5, 3), (-5, 3), (0, 6), (6, 0),
    (1, 6), (-1, 6), (6, 1), (-6, 1), (2, 6), (-2, 6), (6, 2), (-6, 2), (4, 5), (-4, 5), (5, 4), (-5, 4), (3, 6), (-3, 6),
    (6, 3), (-6, 3), (0, 7), (7, 0), (1, 7), (-1, 7), (5, 5), (-5, 5), (7, 1), (-7, 1), (4, 6), (-4, 6), (6, 4), (-6, 4),
    (2, 7), (-2, 7), (7, 2), (-7, 2), (3, 7), (-3, 7), (7, 3), (-7, 3), (5, 6), (-5, 6), (6, 5), (-6, 5), (8, 0), (4, 7),
    (-4, 7), (7, 4), (-7, 4), (8, 1), (8, 2), (6, 6), (-6, 6), (8, 3), (5, 7), (-5, 7), (7, 5), (-7, 5), (8, 4), (6, 7),
    (-6, 7), (7, 6), (-7, 6), (8, 5), (7, 7), (-7, 7), (8, 6), (8, 7),
];

const CODE_BITS_MAX: usize = 15;

/// A canonical prefix code: how many words there are of each length, and their symbols in order.
struct Code {
    counts: [u32; CODE_BITS_MAX + 1],
    symbols: Vec<u32>,
}

impl Code {
    fn of(lengths: &[u8]) -> Option<Code> {
        let mut counts = [0; CODE_BITS_MAX + 1];
        let mut symbols: Vec<u32> = (0..lengths.len() as u32).filter(|&symbol| lengths[symbol as usize] > 0).collect();
        symbols.sort_by_key(|&symbol| lengths[symbol as usize]);
        for &symbol in &symbols {
            counts[lengths[symbol as usize] as usize] += 1;
        }
        // The words must fill all there is; one word alone takes no bit.
        let filled: u32 = (1..=CODE_BITS_MAX).map(|length| counts[length] << (CODE_BITS_MAX - length)).sum();
        (symbols.len() == 1 || filled == 1 << CODE_BITS_MAX).then_some(Code { counts, symbols })
    }

    fn read(bits: &mut Bits, alphabet: u32) -> Option<Code> {
        let mut lengths = vec![0; alphabet as usize];
        if bits.read(1)? == 1 {
            let two = bits.read(1)? == 1;
            let first_bits = if bits.read(1)? == 1 { 8 } else { 1 };
            *lengths.get_mut(bits.read(first_bits)? as usize)? = 1;
            if two {
                *lengths.get_mut(bits.read(8)? as usize)? = 1;
            }
            return Code::of(&lengths);
        }
        const ORDER: [usize; 19] = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        let mut of_lengths = [0; ORDER.len()];
        for &at in ORDER.iter().take(4 + bits.read(4)? as usize) {
            of_lengths[at] = bits.read(3)? as u8;
        }
        let of_lengths = Code::of(&of_lengths)?;
        let mut left = alphabet;
        if bits.read(1)? == 1 {
            let width = 2 + 2 * bits.read(3)?;
            left = 2 + bits.read(width)?;
            (left <= alphabet).then_some(())?;
        }
        let (mut at, mut before) = (0, 8);
        while at < lengths.len() && left > 0 {
            left -= 1;
            let (length, times) = match of_lengths.next(bits)? {
                length @ 0..16 => (length as u8, 1),
                16 => (before, 3 + bits.read(2)?),
                17 => (0, 3 + bits.read(3)?),
                _ => (0, 11 + bits.read(7)?),
            };
            lengths.get_mut(at..at + times as usize)?.fill(length);
            at += times as usize;
            if length > 0 {
                before = length;
            }
        }
        Code::of(&lengths)
    }

    fn next(&self, bits: &mut Bits) -> Option<u32> {
        if let [symbol] = self.symbols[..] {
            return Some(symbol);
        }
        let (mut word, mut first, mut index) = (0, 0, 0);
        for &count in &self.counts[1..] {
            word |= bits.read(1)?;
            if word < first + count {
                return self.symbols.get((index + word - first) as usize).copied();
            }
            index += count;
            first = (first + count) << 1;
            word <<= 1;
        }
        None
    }
}

/// Bits, the lowest of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn new(bytes: &[u8]) -> Bits<'_> {
        Bits { bytes, at: 0 }
    }

    /// A number of so many bits, its lowest first.
    fn read(&mut self, count: u32) -> Option<u32> {
        let mut number = 0;
        for bit in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            number |= u32::from(byte >> (self.at % 8) & 1) << bit;
            self.at += 1;
        }
        Some(number)
    }
}

#[cfg(test)]
pub(super) mod tests;
