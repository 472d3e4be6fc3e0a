//! WebP, decoded by libwebp, as in Pillow. Of an animation the first picture is taken.

use pipeline::first_frame::Target;
use pipeline::world::{Picture, Size};
use webp::{BitstreamFeatures, BitstreamFormat, Decoder};

use super::bounds::{check, cut_short};
use super::exif::Orientation;
use super::pixels::{Layout, fit};
use super::webp_groups;

pub(super) fn read(file: &[u8], to: Target) -> Result<Picture, String> {
    let Container { animation, orientation } = Container::read(file)?;
    let still = animation.as_ref().map_or(file, |animation| &animation.first);
    let features = BitstreamFeatures::new(still).ok_or(UNREADABLE)?;
    let size = Size { width: features.width(), height: features.height() };
    let layout = if features.has_alpha() { Layout::Rgba } else { Layout::Rgb };
    let (kind, bytes_a_pixel) = match (features.format(), layout) {
        (Some(BitstreamFormat::Lossy), Layout::Rgb) => ("a WebP", 3),
        // Alpha is coded for itself, without loss: its plane, and what decodes that.
        (Some(BitstreamFormat::Lossy), _) => ("a WebP with alpha", 4 + 1 + 4),
        _ => ("a lossless WebP", 4 + layout.bytes() as u64),
    };
    let held = bytes_a_pixel * size.pixels();
    let (stored, held) = match &animation {
        Some(Animation { canvas, first, .. }) => (*canvas, held + first.len() as u64 + canvas.frame_bytes()),
        None => (size, held),
    };
    check(kind, stored, orientation, held, to)?;
    check(kind, stored, orientation, held + bytes_of_codes(still, size)?, to)?;
    let decoded = Decoder::new(still).decode().ok_or(UNREADABLE)?;
    let Some(Animation { canvas, left, top, .. }) = &animation else {
        return Ok(fit(&decoded, layout, size, orientation, to));
    };
    // What the first picture leaves free is transparent black.
    let mut pixels = vec![0; canvas.frame_bytes() as usize];
    let rows = pixels.chunks_exact_mut(3 * canvas.width as usize).skip(*top);
    for (row, of_canvas) in decoded.chunks_exact(layout.bytes() * size.width as usize).zip(rows) {
        for (pixel, rgb) in row.chunks_exact(layout.bytes()).zip(of_canvas.chunks_exact_mut(3).skip(*left)) {
            rgb.copy_from_slice(&layout.rgb(pixel));
        }
    }
    drop(decoded);
    Ok(fit(&pixels, Layout::Rgb, *canvas, orientation, to))
}

const UNREADABLE: &str = "cannot be read as a WebP picture: it is broken, or was cut short";

/// What libwebp allocates for the prefix codes of what is coded without loss: a picture, or its alpha.
fn bytes_of_codes(still: &[u8], size: Size) -> Result<u64, String> {
    let (mut chunks, mut most) = (Chunks::of(still)?, 0);
    while let Some((name, content)) = chunks.next()? {
        let bytes = match name {
            b"VP8L" => webp_groups::bytes_of_lossless(content),
            b"ALPH" => webp_groups::bytes_of_alpha(content, size),
            _ => Some(0),
        };
        most = most.max(bytes.ok_or(UNREADABLE)?);
    }
    Ok(most)
}

/// What stands around the coded picture.
struct Container {
    animation: Option<Animation>,
    orientation: Orientation,
}

struct Animation {
    /// The size of the whole.
    canvas: Size,
    /// Where its first picture lies.
    left: usize,
    top: usize,
    /// The first picture as a file of its own.
    first: Vec<u8>,
}

/// The flags of an extended file.
const ANIMATED: u8 = 0x02;
const ALPHA: u8 = 0x10;

impl Container {
    fn read(file: &[u8]) -> Result<Container, String> {
        let mut chunks = Chunks::of(file)?;
        let (mut canvas, mut animation, mut orientation) = (None, None, Orientation::UPRIGHT);
        while let Some((name, content)) = chunks.next()? {
            match (name, content) {
                (b"VP8X", [flags, _, _, _, size @ ..]) if flags & ANIMATED != 0 && size.len() >= 6 => {
                    canvas = Some(Size { width: 1 + number(&size[..3]), height: 1 + number(&size[3..6]) });
                }
                (b"ANMF", content) if content.len() > 16 && animation.is_none() => {
                    let canvas = canvas.ok_or(UNREADABLE)?;
                    let (left, top) = (2 * number(&content[..3]) as usize, 2 * number(&content[3..6]) as usize);
                    animation = Some(Animation { canvas, left, top, first: still(&content[6..12], &content[16..]) });
                }
                (b"EXIF", exif) => {
                    // Some writers put in front of it what stands there in a JPEG.
                    orientation = Orientation::of_exif(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
                }
                _ => {}
            }
        }
        if canvas.is_some() && animation.is_none() {
            return Err("is a WebP animation without a picture".to_owned());
        }
        Ok(Container { animation, orientation })
    }
}

/// A file of the chunks that one picture of an animation is made of. `size`: its sides less one, three bytes each.
fn still(size: &[u8], chunks: &[u8]) -> Vec<u8> {
    let flags = if chunks.starts_with(b"ALPH") { ALPHA } else { 0 };
    let head = [&b"WEBPVP8X\x0a\0\0\0"[..], &[flags, 0, 0, 0], size].concat();
    let length = (head.len() + chunks.len()) as u32;
    [&b"RIFF"[..], &length.to_le_bytes(), &head, chunks].concat()
}

/// What a file holds: a name, a length, the content, and a byte more where the length is odd.
struct Chunks<'a>(&'a [u8]);

/// A name and a content.
type Chunk<'a> = (&'a [u8; 4], &'a [u8]);

impl<'a> Chunks<'a> {
    fn of(file: &'a [u8]) -> Result<Chunks<'a>, String> {
        let length = number(&file[4..8]) as usize;
        Ok(Chunks(file.get(12..8 + length).ok_or_else(|| cut_short("WebP"))?))
    }

    fn next(&mut self) -> Result<Option<Chunk<'a>>, String> {
        let Some((name, rest)) = self.0.split_first_chunk::<4>() else { return Ok(None) };
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| cut_short("WebP"))?;
        let length = u32::from_le_bytes(*length) as usize;
        let content = rest.get(..length).ok_or_else(|| cut_short("WebP"))?;
        self.0 = rest.get(length + length % 2..).unwrap_or_default();
        Ok(Some((name, content)))
    }
}

/// Up to four bytes, the lowest first.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte))
}
