//! The picture that a client begins with: a JPEG, PNG or WebP, read and brought to the size of the video, or a sentence that
//! says why not.
//!
//! A small file can unfold into a large picture. So the head of a file is read first, and from it what its decoder would hold:
//! more than [`DECODING_BYTES_MAX`] is refused before anything is decoded. PNGs come row by row and are scaled as they come.

mod exif;
mod jpeg;
mod png;
mod reader;
mod webp;

use pipeline::first_frame::Fitter;
use pipeline::world::{FIRST_FRAME_PIXELS_MAX, Picture, Size};

use self::exif::Orientation;
pub(crate) use self::reader::PictureReader;

/// Pixels of a side: as many as a JPEG can have. A side's weights are held while the picture is scaled.
pub const SIDE_MAX: u32 = 65_535;

/// Bytes that reading one picture may take beside its file, by what is known of its decoder. A JPEG of 40 million pixels is
/// 120 MB once decoded; decoders that need several bytes a pixel more read smaller pictures. One picture is read at a time.
pub const DECODING_BYTES_MAX: u64 = 160 << 20;

/// What any decoder may hold for itself: tables, and the rows on which it works.
const DECODER_BYTES: u64 = 2 << 20;
const DECODER_BYTES_A_COLUMN: u64 = 256;

/// The picture in `file`, turned upright as its EXIF data says, at size `to`. Its alpha channel is left out, as by the reference.
/// `Err` is for the client: a sentence without its subject, which is `first_frame`.
pub fn read(file: &[u8], to: Size) -> Result<Picture, String> {
    // A decoder's own bug is a picture that cannot be read, and no failure of the session.
    let read = std::panic::catch_unwind(|| match file {
        [0xff, 0xd8, 0xff, ..] => jpeg::read(file, to),
        [0x89, b'P', b'N', b'G', ..] => png::read(file, to),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp::read(file, to),
        _ => Err("is no JPEG, PNG or WebP picture, by its first bytes".to_owned()),
    });
    read.unwrap_or_else(|_| Err("cannot be read: it is broken in a way that its decoder does not expect".to_owned()))
}

/// A file that ends before its picture does.
fn cut_short(kind: &str) -> String {
    format!("ends before its picture does: this {kind} file was cut short")
}

/// Refuse what is too large to be decoded. `decoder` is what the decoder of such a file holds, in bytes; beside it stands what
/// scaling the picture to `to` takes.
fn check(kind: &str, stored: Size, orientation: Orientation, decoder: u64, to: Size) -> Result<(), String> {
    if stored.pixels() == 0 || stored.pixels() > FIRST_FRAME_PIXELS_MAX {
        return Err(format!("is {stored}: 1 to {FIRST_FRAME_PIXELS_MAX} pixels are allowed"));
    }
    if stored.width.max(stored.height) > SIDE_MAX {
        return Err(format!("is {stored}: a side is at most {SIDE_MAX} pixels"));
    }
    let own = DECODER_BYTES + DECODER_BYTES_A_COLUMN * u64::from(stored.width);
    let needed = own + decoder + Fitter::bytes(orientation.size(stored), to);
    if needed > DECODING_BYTES_MAX {
        let (needed, most) = (needed.div_ceil(1 << 20), DECODING_BYTES_MAX >> 20);
        return Err(format!(
            "needs {needed} MiB to be read: it is {kind} of {stored} pixels, and at most {most} MiB are allowed"
        ));
    }
    Ok(())
}

/// How a decoder lays out the pixels that it gives. Only colour is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Rgb,
    /// With an alpha channel, which is left out.
    Rgba,
    /// As Adobe's programs write it into JPEGs: 255 is no ink.
    CmykInverted,
}

impl Layout {
    fn bytes(self) -> usize {
        match self {
            Layout::Rgb => 3,
            Layout::Rgba | Layout::CmykInverted => 4,
        }
    }

    fn rgb(self, pixel: &[u8]) -> [u8; 3] {
        match self {
            Layout::Rgb | Layout::Rgba => [pixel[0], pixel[1], pixel[2]],
            // As Pillow computes it, to the byte.
            Layout::CmykInverted => [0, 1, 2].map(|ink| {
                let light = pixel[3];
                light - times(255 - pixel[ink], light)
            }),
        }
    }
}

/// The product of two parts of 255, rounded.
fn times(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
}

/// Scale a picture that is decoded as a whole.
fn fit(pixels: &[u8], layout: Layout, stored: Size, orientation: Orientation, to: Size) -> Picture {
    let upright = orientation.size(stored);
    let mut fitter = Fitter::new(upright, to);
    if orientation == Orientation::UPRIGHT && layout == Layout::Rgb {
        pixels.chunks_exact(3 * stored.width as usize).for_each(|row| fitter.row(row));
        return fitter.finish();
    }
    let mut row = vec![0; 3 * upright.width as usize];
    for y in 0..upright.height {
        for (x, rgb) in (0..upright.width).zip(row.chunks_exact_mut(3)) {
            let (column, line) = orientation.stored_at(stored, x, y);
            let at = line as usize * stored.width as usize + column as usize;
            rgb.copy_from_slice(&layout.rgb(&pixels[at * layout.bytes()..]));
        }
        fitter.row(&row);
    }
    fitter.finish()
}

#[cfg(test)]
mod tests;
