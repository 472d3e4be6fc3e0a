//! Pictures of every kind: whole, cut, on their side, and larger than they look.

use std::fmt::Debug;
use std::io::Cursor;

use image::{DynamicImage, ImageFormat, RgbImage};
use pipeline::first_frame::{Fit, cover, fit};
use pipeline::world::Size;

use super::bounds::check;
use super::exif::Orientation;
use super::exif::tests::exif;
use super::*;
use crate::media::pictures;

const SIZE: Size = Size { width: 40, height: 30 };

/// For what is tried very often.
const SMALL: Size = Size { width: 11, height: 9 };

/// Smooth, so that what loses a little loses little; and no two corners alike.
fn gradient(size: Size) -> RgbImage {
    let part = |at: u32, of: u32| (255 * at / of.max(1)) as u8;
    RgbImage::from_fn(size.width, size.height, |x, y| {
        image::Rgb([part(x, size.width), part(y, size.height), part(x + y, size.width + size.height)])
    })
}

fn written(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.into().write_to(&mut file, format).expect("a Vec takes everything");
    file.into_inner()
}

fn jpeg(size: Size, progressive: bool) -> Vec<u8> {
    let mut compressor = turbojpeg::Compressor::new().expect("a compressor");
    compressor.set_quality(95).expect("a quality");
    compressor.set_progressive(progressive).expect("a kind");
    let pixels = gradient(size).into_raw();
    let (width, height) = (size.width as usize, size.height as usize);
    let image =
        turbojpeg::Image { pixels: &pixels[..], width, pitch: 3 * width, height, format: turbojpeg::PixelFormat::RGB };
    compressor.compress_to_vec(image).expect("encodes")
}

/// All kinds of files that are read, each with the gradient in it.
fn files(size: Size) -> Vec<(&'static str, Vec<u8>)> {
    let rgb = gradient(size);
    let dynamic = DynamicImage::ImageRgb8(rgb.clone());
    let lossy = pictures::webp(rgb.as_raw(), size, 95).expect("encodes");
    let alpha = DynamicImage::ImageRgb8(rgb.clone()).into_rgba8();
    let lossy_alpha = ::webp::Encoder::from_rgba(alpha.as_raw(), size.width, size.height).encode(95.0).to_vec();
    vec![
        ("JPEG", jpeg(size, false)),
        ("progressive JPEG", jpeg(size, true)),
        ("PNG", pictures::png(rgb.as_raw(), size).expect("encodes")),
        ("PNG with alpha", written(alpha.clone(), ImageFormat::Png)),
        ("PNG of 16 bits", written(dynamic.to_rgb16(), ImageFormat::Png)),
        ("PNG of 16 bits with alpha", written(dynamic.to_rgba16(), ImageFormat::Png)),
        ("interlaced PNG", interlaced(&rgb)),
        ("WebP", lossy),
        ("WebP with alpha", lossy_alpha),
        ("lossless WebP", written(rgb.clone(), ImageFormat::WebP)),
        ("lossless WebP with alpha", written(alpha, ImageFormat::WebP)),
        ("animated WebP", animated(&rgb)),
    ]
}

/// Adam7, in rows that are not compressed.
fn interlaced(picture: &RgbImage) -> Vec<u8> {
    let passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];
    let mut rows = Vec::new();
    for (left, top, across, down) in passes {
        if left >= picture.width() {
            continue;
        }
        for y in (top..picture.height()).step_by(down) {
            rows.push(0);
            (left..picture.width()).step_by(across).for_each(|x| rows.extend(picture.get_pixel(x, y).0));
        }
    }
    let mut data = vec![0x78, 0x01];
    let mut blocks = rows.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        data.push(u8::from(blocks.peek().is_none()));
        data.extend([length.to_le_bytes(), (!length).to_le_bytes()].concat());
        data.extend(block);
    }
    let (a, b) = rows.iter().fold((1u32, 0u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    data.extend((b << 16 | a).to_be_bytes());
    let head = [&picture.width().to_be_bytes()[..], &picture.height().to_be_bytes(), &[8, 2, 0, 0, 1]].concat();
    png_of(&[(b"IHDR", &head), (b"IDAT", &data), (b"IEND", &[])])
}

fn png_of(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, content) in chunks {
        let named = [&name[..], content].concat();
        file.extend((content.len() as u32).to_be_bytes());
        file.extend(&named);
        let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        let crc = !named.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)));
        file.extend(crc.to_be_bytes());
    }
    file
}

/// The picture, and after it a black one.
fn animated(picture: &RgbImage) -> Vec<u8> {
    let mut config = ::webp::WebPConfig::new().expect("libwebp");
    config.quality = 95.0;
    let mut encoder = ::webp::AnimEncoder::new(picture.width(), picture.height(), &config);
    let black = vec![0; picture.as_raw().len()];
    encoder.add_frame(::webp::AnimFrame::from_rgb(picture.as_raw(), picture.width(), picture.height(), 0));
    encoder.add_frame(::webp::AnimFrame::from_rgb(&black, picture.width(), picture.height(), 100));
    encoder.encode().to_vec()
}

/// Compression, and colours at half the resolution, move a smooth picture by so much.
fn near(read: &Picture, expected: &RgbImage, what: impl Debug) {
    assert_eq!((read.size.width, read.size.height), expected.dimensions(), "{what:?}");
    let off = read.rgb.iter().zip(expected.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(off <= Some(16), "{what:?}: off by {off:?}");
}

#[test]
fn every_kind_of_file_is_read() {
    for (kind, file) in files(SIZE) {
        let picture = read(&file, SIZE).unwrap_or_else(|reason| panic!("{kind} {reason}"));
        near(&picture, &gradient(SIZE), kind);
    }
}

#[test]
fn without_loss_every_byte_is_what_it_was() {
    for (kind, file) in files(SIZE).into_iter().filter(|(kind, _)| kind.contains("PNG") || kind.starts_with("lossless"))
    {
        assert!(read(&file, SIZE).expect(kind).rgb == gradient(SIZE).into_raw(), "{kind}");
    }
}

#[test]
fn grey_palettes_and_inks_become_colours() {
    let pixels = |file: &[u8]| read(file, Size { width: 2, height: 1 }).expect("a picture").rgb;
    let png = |colour: u8, bits: u8, data: &[u8], palette: Option<&[u8]>| {
        let head = [&[0, 0, 0, 2, 0, 0, 0, 1, bits, colour][..], &[0; 3]].concat();
        let length = 1 + data.len() as u8;
        let (a, b) = data.iter().fold((1u32, 1u32), |(a, b), &byte| (a + u32::from(byte), b + a + u32::from(byte)));
        let data = [&[0x78, 1, 1, length, 0, !length, 0xff, 0][..], data, &(b << 16 | a).to_be_bytes()].concat();
        let palette = palette.map(|palette| (b"PLTE", palette));
        let chunks = [Some((b"IHDR", &head[..])), palette, Some((b"IDAT", &data)), Some((b"IEND", &[]))];
        png_of(&chunks.into_iter().flatten().collect::<Vec<_>>())
    };
    assert_eq!(pixels(&png(0, 8, &[7, 200], None)), [7, 7, 7, 200, 200, 200]);
    assert_eq!(pixels(&png(0, 1, &[0b0100_0000], None)), [0, 0, 0, 255, 255, 255]);
    assert_eq!(pixels(&png(0, 16, &[7, 255, 200, 0], None)), [7, 7, 7, 200, 200, 200], "the upper eight bits");
    assert_eq!(pixels(&png(4, 8, &[7, 0, 200, 255], None)), [7, 7, 7, 200, 200, 200], "alpha is left out");
    assert_eq!(pixels(&png(3, 8, &[1, 0], Some(&[1, 2, 3, 4, 5, 6]))), [4, 5, 6, 1, 2, 3]);

    let white_and_blue = [255, 255, 255, 255, 0, 0, 255, 255].repeat(64);
    let mut compressor = turbojpeg::Compressor::new().expect("a compressor");
    compressor.set_quality(100).expect("a quality");
    let format = turbojpeg::PixelFormat::CMYK;
    let image = turbojpeg::Image { pixels: &white_and_blue[..64], width: 8, pitch: 32, height: 2, format };
    let file = compressor.compress_to_vec(image).expect("encodes");
    let inks = read(&file, Size { width: 8, height: 2 }).expect("a JPEG of four inks").rgb;
    let colours: Vec<_> = inks.chunks_exact(6).collect();
    assert!(colours.iter().all(|two| two[0] > 240 && two[2] > 240 && two[5] > 200 && two[3] < 60), "{colours:?}");
}

#[test]
fn a_picture_on_its_side_is_turned_upright() {
    let stored = gradient(SIZE);
    let app1 = |orientation| {
        let content = [&b"Exif\0\0"[..], &exif(orientation)].concat();
        [&[0xff, 0xe1][..], &(content.len() as u16 + 2).to_be_bytes(), &content].concat()
    };
    let turned = image::imageops::rotate90(&stored);
    let to = Size { width: SIZE.height, height: SIZE.width };
    let jpeg = jpeg(SIZE, false);
    near(&read(&[&jpeg[..2], &app1(6), &jpeg[2..]].concat(), to).expect("a JPEG"), &turned, "JPEG");
    for (kind, png) in
        [("PNG", pictures::png(stored.as_raw(), SIZE).expect("encodes")), ("interlaced", interlaced(&stored))]
    {
        let of_exif = png_of(&[(b"eXIf", &exif(6))])[8..].to_vec();
        // After the header, which is the first chunk.
        let file = [&png[..33], &of_exif, &png[33..]].concat();
        assert!(read(&file, to).expect(kind).rgb == *turned.as_raw(), "{kind}");
    }
}

#[test]
fn a_picture_is_brought_to_the_size_of_the_video() {
    let to = Size { width: 16, height: 24 };
    for (kind, file) in files(SIZE) {
        let picture = read(&file, to).expect(kind);
        let expected = pipeline::first_frame::fit(Picture { size: SIZE, rgb: gradient(SIZE).into_raw() }, to);
        let expected = RgbImage::from_raw(to.width, to.height, expected.rgb).expect("as many bytes");
        near(&picture, &expected, kind);
    }
}

#[test]
fn it_is_stretched_or_covers_the_video_as_the_world_wants_it() {
    let own = Size { width: 60, height: 20 };
    for (kind, file) in files(own) {
        let whole = read(&file, own).expect("a picture");
        for (fit, expected) in [(Fit::Stretch, fit(whole.clone(), SIZE)), (Fit::Cover, cover(whole, SIZE))] {
            assert_eq!(read(&file, Target { size: SIZE, fit }), Ok(expected), "{kind}, {fit:?}");
        }
    }
}

#[test]
fn a_file_that_was_cut_short_is_refused_wherever_it_was_cut() {
    for (kind, file) in files(SMALL) {
        let ends: Vec<usize> = match kind {
            // What follows the last row of a PNG is no picture: its own checksum and that of the chunk, and the end.
            _ if kind.contains("PNG") => (0..file.len() - 24).collect(),
            _ => (0..file.len()).collect(),
        };
        for end in ends {
            let reason = read(&file[..end], SMALL).expect_err(kind);
            assert!(!reason.is_empty() && !reason.contains("decoder does not expect"), "{kind}, {end}: {reason}");
        }
        assert!(read(&file, SMALL).is_ok(), "{kind}");
        assert!(read(&[&file[..], &[0; 100]].concat(), SMALL).is_ok(), "{kind}: more than the picture is in the file");
    }
    for (kind, file) in files(SMALL).into_iter().filter(|(kind, _)| !kind.contains("WebP")) {
        let reason = read(&file[..file.len() / 2], SMALL).expect_err(kind);
        assert!(reason.contains("cut short"), "{kind}: {reason}");
    }
}

#[test]
fn a_jpeg_whose_middle_is_missing_is_refused_although_it_has_an_end() {
    let size = Size { width: 400, height: 300 };
    let file = jpeg(size, false);
    let half = [&file[..file.len() / 2], &[0xff, 0xd9]].concat();
    let reason = read(&half, SIZE).expect_err("half a picture");
    assert!(reason.contains("cut short"), "{reason}");
}

#[test]
fn bytes_that_a_camera_leaves_between_markers_do_no_harm() {
    let file = jpeg(SIZE, false);
    let (picture, end) = file.split_at(file.len() - 2);
    near(&read(&[picture, &[0; 5], end].concat(), SIZE).expect("a whole picture"), &gradient(SIZE), "five bytes");
}

#[test]
fn what_is_no_picture_is_refused_in_words() {
    for garbage in [
        &b""[..],
        b"not a picture",
        b"GIF89a\x01\x00",
        b"\x89PNG\r\n\x1a\n",
        &[0xff, 0xd8, 0xff, 0xe0],
        b"RIFF\0\0\0\0WEBP",
        b"RIFF\xff\xff\xff\xffWEBPVP8 ",
    ] {
        assert!(read(garbage, SIZE).is_err(), "{garbage:?}");
    }
}

/// The head of a PNG: all that is read before anything is allocated.
fn png_claiming(width: u32, height: u32, bits: u8, colour: u8, interlaced: bool) -> Vec<u8> {
    let head = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[bits, colour, 0, 0, u8::from(interlaced)]].concat();
    png_of(&[(b"IHDR", &head), (b"IDAT", &[])])
}

#[test]
fn a_small_file_that_unfolds_into_a_huge_picture_is_refused_before_it_does() {
    let refused = |file: &[u8]| read(file, SIZE).expect_err("refused");
    let reason = refused(&png_claiming(60_000, 60_000, 8, 2, false));
    assert!(reason.contains("60000x60000") && reason.contains("40000000"), "{reason}");
    let reason = refused(&png_claiming(1, 65_536, 8, 2, false));
    assert!(reason.contains("at most 65535"), "{reason}");

    // A progressive JPEG of 24 million pixels whose colours are not subsampled: 6 bytes of coefficients and 3 of pixels each.
    let mut file = jpeg(SIZE, true);
    let frame = file.windows(2).position(|marker| marker == [0xff, 0xc2]).expect("a progressive frame");
    file[frame + 5..frame + 9].copy_from_slice(&[0x0f, 0xa0, 0x17, 0x70]);
    let reason = refused(&file);
    assert!(reason.contains("a progressive JPEG of 6000x4000") && reason.contains("160 MiB"), "{reason}");
}

#[test]
fn the_size_that_a_decoder_needs_is_known_before_it_is_asked() {
    let needed = |decoder, stored: Size| check("a picture", stored, Orientation::UPRIGHT, decoder, SIZE.into());
    let large = Size { width: 8000, height: 5000 };
    assert!(needed(large.frame_bytes(), large).is_ok(), "a JPEG of 40 million pixels");
    assert!(needed(DECODING_BYTES_MAX, SIZE).is_err());
    let reason = needed(5 * 40_000_000, large).expect_err("190 MiB");
    assert!(reason.starts_with("needs 19") && reason.contains("8000x5000 pixels, and at most 160 MiB"), "{reason}");
}

/// Kilobytes of this process by name, as `/proc` says.
#[cfg(target_os = "linux")]
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it says so");
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number")
}

/// Of the whole process, so it means something only where a test has a process of its own.
#[cfg(target_os = "linux")]
#[test]
fn what_reading_a_picture_takes_is_bounded_however_it_is_stored() {
    let deep = |side: u32| {
        let mut file = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut file, side, side);
        encoder.set_color(::png::ColorType::Rgba);
        encoder.set_depth(::png::BitDepth::Sixteen);
        let mut writer = encoder.write_header().expect("a Vec takes everything");
        let mut rows = writer.stream_writer().expect("a Vec takes everything");
        (0..side).for_each(|_| std::io::Write::write_all(&mut rows, &vec![85; 8 * side as usize]).expect("a row"));
        rows.finish().expect("every row");
        writer.finish().expect("every row");
        file
    };
    let large = Size { width: 8000, height: 5000 };
    for (kind, file) in [
        ("a deep PNG with alpha", deep(6300)),
        ("a JPEG", jpeg(large, false)),
        ("a progressive JPEG", jpeg(Size { width: 4700, height: 3700 }, true)),
        ("a WebP", pictures::webp(gradient(large).as_raw(), large, 50).expect("encodes")),
        ("a lossless WebP of many groups of codes", super::webp_groups::tests::a_group_a_block(400)),
    ] {
        // Forget what making the file took.
        std::fs::write("/proc/self/clear_refs", "5").expect("Linux forgets");
        let before = memory("VmHWM:");
        let read = read(&file, Size { width: 832, height: 480 });
        let added = memory("VmHWM:").saturating_sub(before) >> 10;
        println!("{kind}: {added} MiB, {}", read.as_ref().err().map_or("read", String::as_str));
        assert!(added <= DECODING_BYTES_MAX >> 20, "{kind}: {added} MiB");
        assert!(read.is_ok(), "{kind}: {:?}", read.err());
    }
}
