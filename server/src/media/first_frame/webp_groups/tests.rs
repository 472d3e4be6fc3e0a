//! Lossless pictures by libwebp, and one that is written here: small in the file, large in the decoder.

use image::{Rgb, RgbImage};

use super::*;
use crate::media::first_frame::read;

/// Bits, the lowest of each byte first.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    count: usize,
}

impl Writer {
    fn write(&mut self, number: u32, count: u32) {
        for bit in 0..count {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            self.bytes[self.count / 8] |= ((number >> bit & 1) as u8) << (self.count % 8);
            self.count += 1;
        }
    }

    /// A code of one symbol, whose word has no bit.
    fn code_of_one(&mut self) {
        self.write(0b0001, 4);
    }

    /// A code whose words are the 256 bytes themselves, whatever follows them in its alphabet.
    fn code_of_bytes(&mut self) {
        self.write(0, 1);
        self.write(12 - 4, 4);
        // In the order of the format the length 8 is the twelfth, and the only one that is used.
        (0..11).for_each(|_| self.write(0, 3));
        self.write(1, 3);
        self.write(1, 1);
        self.write(3, 3);
        self.write(256 - 2, 8);
    }

    fn byte(&mut self, byte: u32) {
        self.write((byte as u8).reverse_bits().into(), 8);
    }
}

/// A black picture each of whose 4×4 blocks has a group of codes of its own.
pub(in crate::media::first_frame) fn a_group_a_block(side: u32) -> Vec<u8> {
    let mut bits = Writer::default();
    bits.write(0x2f, 8);
    bits.write(side - 1, 14);
    bits.write(side - 1, 14);
    bits.write(0, 4);
    // No transform, no colour cache; a group for each block of 4×4.
    bits.write(0b100, 3);
    bits.write(0, 3);
    // The picture of groups: no colour cache, then its five codes: green, red, blue, alpha, distance.
    bits.write(0, 1);
    (0..2).for_each(|_| bits.code_of_bytes());
    (0..3).for_each(|_| bits.code_of_one());
    let groups = (side / 4).pow(2);
    for group in 0..groups {
        bits.byte(group & 0xff);
        bits.byte(group >> 8);
    }
    (0..5 * groups).for_each(|_| bits.code_of_one());
    let content = bits.bytes;
    let length = content.len() as u32;
    let padding = vec![0; content.len() % 2];
    let riff = 4 + 8 + length + padding.len() as u32;
    [&b"RIFF"[..], &riff.to_le_bytes(), b"WEBPVP8L", &length.to_le_bytes(), &content, &padding].concat()
}

#[test]
fn a_picture_of_many_groups_is_read_within_the_bound_and_refused_past_it() {
    let to = Size { width: 256, height: 256 };
    let small = a_group_a_block(256);
    assert_eq!(bytes_of_lossless(&small[20..]), Some(4096 * group_bytes(0)));
    let black = read(&small, to).expect("48 MiB of codes are allowed");
    assert!(black.rgb.iter().all(|&level| level == 0));
    let large = a_group_a_block(1024);
    assert!(large.len() < 300_000, "{} bytes", large.len());
    let refused = read(&large, to).expect_err("needs 600 MiB for its codes");
    assert!(refused.contains("MiB to be read: it is a lossless WebP of 1024x1024"), "{refused}");
}

#[test]
fn what_libwebp_writes_is_followed_to_its_groups() {
    let size = Size { width: 300, height: 200 };
    let mut state = 7u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut pictures = vec![
        RgbImage::from_fn(size.width, size.height, |x, y| Rgb([x as u8, y as u8, (x + y) as u8])),
        RgbImage::from_fn(size.width, size.height, |x, y| {
            let (noise, smooth) = (noise(), (x * y / 240) as u8);
            if x / 64 % 2 == y / 64 % 2 { Rgb([noise, smooth, noise / 2]) } else { Rgb([smooth, smooth / 3, 20]) }
        }),
    ];
    for colours in [1, 2, 4, 16, 17, 200] {
        let colour = |at: u32| Rgb([(at * 37) as u8, (at * 91) as u8, (at * 53) as u8]);
        pictures.push(RgbImage::from_fn(size.width, size.height, |x, y| colour((x / 5 + y / 3 * x) % colours)));
    }
    for (number, picture) in pictures.iter().enumerate() {
        let file = ::webp::Encoder::from_rgb(picture.as_raw(), size.width, size.height).encode_lossless().to_vec();
        let at = file.windows(4).position(|name| name == b"VP8L").expect("it is lossless") + 8;
        let bytes = bytes_of_lossless(&file[at..]).unwrap_or_else(|| panic!("picture {number} is followed"));
        // libwebp's encoder writes 2600 groups at most, and no more than there are blocks.
        assert!((group_bytes(0)..=2600 * group_bytes(11)).contains(&bytes), "picture {number}: {bytes} bytes");
        assert_eq!(read(&file, size).expect("it is whole").rgb, *picture.as_raw(), "picture {number}");
    }
    let rgba: Vec<u8> = pictures[1].pixels().flat_map(|pixel| [9, 9, 9, pixel[0]]).collect();
    let file = ::webp::Encoder::from_rgba(&rgba, size.width, size.height).encode(80.0).to_vec();
    let at = file.windows(4).position(|name| name == b"ALPH").expect("it has alpha") + 8;
    assert!(bytes_of_alpha(&file[at..], size).expect("it is followed") >= group_bytes(0));
}

#[test]
fn a_transform_that_comes_twice_ends_the_reading() {
    let mut bits = Writer::default();
    (0..2).for_each(|_| bits.write(0b101, 3));
    assert_eq!(bytes_of_stream(&mut Bits::new(&bits.bytes), 8, 8), None);
}
