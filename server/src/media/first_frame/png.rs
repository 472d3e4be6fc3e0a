//! PNG: row by row, whatever its depth, so that no more than a few rows are held. A picture that is interlaced, or stored on its
//! side, is held as a whole.

use std::io::Cursor;

use pipeline::first_frame::{Fitter, Target};
use pipeline::world::{Picture, Size};
use png::{BitDepth, ColorType, Decoder, DecodingError, InterlaceInfo, Transformations, expand_interlaced_row};

use super::bounds::{check, cut_short};
use super::exif::Orientation;
use super::pixels::{Layout, fit};

/// What a file may make the decoder hold beside rows: one chunk that is no picture.
const CHUNK_BYTES_MAX: usize = 1 << 20;

pub(super) fn read(file: &[u8], to: Target) -> Result<Picture, String> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(file), png::Limits { bytes: CHUNK_BYTES_MAX });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    // Sixteen bits become the upper eight, as in Pillow; palettes become colours.
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(unreadable)?;
    let info = reader.info();
    let size = Size { width: info.width, height: info.height };
    let orientation = info.exif_metadata.as_deref().map_or(Orientation::UPRIGHT, Orientation::of_exif);
    let interlaced = info.interlaced;
    let as_a_whole = interlaced || orientation != Orientation::UPRIGHT;
    let kind = if interlaced { "an interlaced PNG" } else { "a PNG" };
    check(kind, size, orientation, if as_a_whole { size.frame_bytes() } else { 0 }, to)?;

    let samples = match reader.output_color_type() {
        (ColorType::Grayscale, BitDepth::Eight) => 1,
        (ColorType::GrayscaleAlpha, BitDepth::Eight) => 2,
        (ColorType::Rgb, BitDepth::Eight) => 3,
        (ColorType::Rgba, BitDepth::Eight) => 4,
        (colour, depth) => return Err(format!("cannot be read as a PNG picture: {colour:?} at {depth:?} bits")),
    };
    let mut row = vec![0; 3 * size.width as usize];
    if !as_a_whole {
        let mut fitter = Fitter::towards(size, to);
        for _ in 0..size.height {
            let of_file = reader.next_row().map_err(unreadable)?.ok_or_else(|| cut_short("PNG"))?;
            to_rgb(of_file.data(), samples, &mut row);
            fitter.row(&row);
        }
        return Ok(fitter.finish());
    }
    let mut pixels = vec![0; size.frame_bytes() as usize];
    let stride = row.len();
    if !interlaced {
        for line in pixels.chunks_exact_mut(stride) {
            let of_file = reader.next_row().map_err(unreadable)?.ok_or_else(|| cut_short("PNG"))?;
            to_rgb(of_file.data(), samples, line);
        }
    } else {
        while let Some(of_file) = reader.next_interlaced_row().map_err(unreadable)? {
            let columns = of_file.data().len() / samples;
            to_rgb(of_file.data(), samples, &mut row[..3 * columns]);
            let InterlaceInfo::Adam7(pass) = of_file.interlace() else { unreachable!("the file is interlaced") };
            expand_interlaced_row(&mut pixels, stride, &row[..3 * columns], pass, 24);
        }
    }
    Ok(fit(&pixels, Layout::Rgb, size, orientation, to))
}

/// The colours of a row, of which each pixel has so many samples: grey, grey and alpha, colours, or colours and alpha.
fn to_rgb(of_file: &[u8], samples: usize, row: &mut [u8]) {
    for (rgb, pixel) in row.chunks_exact_mut(3).zip(of_file.chunks_exact(samples)) {
        match pixel {
            [grey] | [grey, _] => rgb.fill(*grey),
            colours => rgb.copy_from_slice(&colours[..3]),
        }
    }
}

fn unreadable(error: DecodingError) -> String {
    match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => cut_short("PNG"),
        error => format!("cannot be read as a PNG picture: {error}"),
    }
}
