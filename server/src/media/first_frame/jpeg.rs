//! JPEG, decoded by libjpeg-turbo: the decoder of Pillow, so its pixels are those of the reference.
//!
//! The file's markers are read first. They say what the decoder will hold, and whether the file ends where its picture does: the
//! decoder fills what is missing with grey.

use pipeline::first_frame::Target;
use pipeline::world::{Picture, Size};
use turbojpeg::{Decompressor, Image, PixelFormat};

use super::bounds::{check, cut_short};
use super::exif::Orientation;
use super::pixels::{Layout, fit};

/// Scans of one picture. Encoders write about ten; each costs a pass over the whole picture, whatever it holds.
const SCANS_MAX: u32 = 64;

pub(super) fn read(file: &[u8], to: Target) -> Result<Picture, String> {
    let head = Head::read(file)?;
    let size = head.size;
    // Inks are not turned into colours by the decoder.
    let (layout, format) = match head.components.len() {
        4 => (Layout::CmykInverted, PixelFormat::CMYK),
        _ => (Layout::Rgb, PixelFormat::RGB),
    };
    let kind = if head.keeps_coefficients { "a progressive JPEG" } else { "a JPEG" };
    let decoded_bytes = size.pixels() * layout.bytes() as u64;
    check(kind, size, head.orientation, decoded_bytes + head.coefficients_bytes(), to)?;

    let unreadable = |error: turbojpeg::Error| format!("cannot be read as a JPEG picture: {error}");
    let mut decompressor = Decompressor::new().map_err(unreadable)?;
    decompressor.set_scan_limit(SCANS_MAX).map_err(unreadable)?;
    let (width, height) = (size.width as usize, size.height as usize);
    let pitch = width * layout.bytes();
    let mut pixels = vec![0; pitch * height];
    let image = Image { pixels: pixels.as_mut_slice(), width, pitch, height, format };
    match decompressor.decompress(file, image) {
        Ok(()) => {}
        // Bytes between two markers that belong to none: cameras leave some, and the picture is whole.
        Err(turbojpeg::Error::TurboJpegError(warning)) if warning.contains("extraneous bytes before marker") => {}
        Err(turbojpeg::Error::TurboJpegError(warning)) if warning.to_lowercase().contains("premature end") => {
            return Err(cut_short("JPEG"));
        }
        Err(error) => return Err(unreadable(error)),
    }
    Ok(fit(&pixels, layout, size, head.orientation, to))
}

/// What the markers of a JPEG say.
#[derive(Debug)]
struct Head {
    size: Size,
    components: Vec<Component>,
    /// The decoder holds all of the picture's coefficients before it can give a pixel: the scans do not have all of them
    /// for a pixel at once.
    keeps_coefficients: bool,
    orientation: Orientation,
}

/// A component's samples in the horizontal and vertical direction, relative to the other components.
#[derive(Debug, Clone, Copy)]
struct Component {
    across: u64,
    down: u64,
}

impl Head {
    /// Walks over all of the file: a file that is cut short has no end marker.
    fn read(file: &[u8]) -> Result<Head, String> {
        let mut frame = None;
        let mut scanned = None;
        let mut orientation = None;
        let mut at = 2;
        loop {
            let marker = next_marker(file, &mut at).ok_or_else(|| cut_short("JPEG"))?;
            match marker {
                // The end.
                0xd9 => break,
                // Without content.
                0x01 | 0xd0..=0xd8 => continue,
                _ => {}
            }
            let length = file.get(at..at + 2).ok_or_else(|| cut_short("JPEG"))?;
            let length = usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
            let content = file.get(at + 2..at + length).ok_or_else(|| cut_short("JPEG"))?;
            at += length;
            match marker {
                0xc3 | 0xc7 | 0xcb | 0xcf => {
                    return Err("is a lossless JPEG: of JPEGs, baseline and progressive are read".into());
                }
                0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) && frame.is_none() => {
                    let is_progressive = matches!(marker, 0xc2 | 0xc6 | 0xca | 0xce);
                    frame = Some((
                        read_frame(content).ok_or("cannot be read as a JPEG picture: its frame header is broken")?,
                        is_progressive,
                    ));
                }
                0xda if scanned.is_none() => scanned = content.first().map(|&components| usize::from(components)),
                0xe1 if orientation.is_none() => {
                    orientation = content.strip_prefix(b"Exif\0\0").map(Orientation::of_exif);
                }
                _ => {}
            }
        }
        let ((size, components), is_progressive) =
            frame.ok_or("cannot be read as a JPEG picture: it has no frame header")?;
        let keeps_coefficients = is_progressive || scanned.is_none_or(|scanned| scanned < components.len());
        Ok(Head { size, components, keeps_coefficients, orientation: orientation.unwrap_or(Orientation::UPRIGHT) })
    }

    /// Two bytes for each coefficient, in blocks of 64, as many as fill the largest blocks of all components.
    fn coefficients_bytes(&self) -> u64 {
        if !self.keeps_coefficients {
            return 0;
        }
        let most = |side: fn(&Component) -> u64| self.components.iter().map(side).max().unwrap_or(1);
        let (across, down) = (most(|component| component.across), most(|component| component.down));
        let units = u64::from(self.size.width).div_ceil(8 * across) * u64::from(self.size.height).div_ceil(8 * down);
        self.components.iter().map(|component| units * component.across * component.down * 128).sum()
    }
}

/// The marker that comes next; `at` is then behind it. Whatever stands before it is passed over: coded samples, or bytes that
/// belong to nothing.
fn next_marker(file: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        *at += file.get(*at..)?.iter().position(|&byte| byte == 0xff)? + 1;
        match *file.get(*at)? {
            // A sample of 255, or a byte that only fills.
            0x00 => *at += 1,
            0xff => {}
            marker => {
                *at += 1;
                return Some(marker);
            }
        }
    }
}

/// Of a frame header: the precision, the height, the width, and of each component its name, its sampling and its table.
fn read_frame(content: &[u8]) -> Option<(Size, Vec<Component>)> {
    let [_precision, height_high, height_low, width_high, width_low, count, components @ ..] = content else {
        return None;
    };
    let side = |high: &u8, low: &u8| u32::from(u16::from_be_bytes([*high, *low]));
    let size = Size { width: side(width_high, width_low), height: side(height_high, height_low) };
    let component = |component: &[u8]| {
        let (across, down) = (u64::from(component[1] >> 4), u64::from(component[1] & 15));
        ((1..=4).contains(&across) && (1..=4).contains(&down)).then_some(Component { across, down })
    };
    let components: Vec<_> =
        components.chunks_exact(3).take(usize::from(*count)).map(component).collect::<Option<_>>()?;
    (components.len() == usize::from(*count) && (1..=4).contains(&components.len())).then_some((size, components))
}
