//! A picture that is decoded as a whole: its pixels, turned upright and scaled.

use pipeline::first_frame::{Fitter, Target};
use pipeline::world::{Picture, Size};

use super::exif::Orientation;

/// How a decoder lays out the pixels that it gives. Only colour is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Rgb,
    /// With an alpha channel, which is left out.
    Rgba,
    /// As Adobe's programs write it into JPEGs: 255 is no ink.
    CmykInverted,
}

impl Layout {
    pub(super) fn bytes(self) -> usize {
        match self {
            Layout::Rgb => 3,
            Layout::Rgba | Layout::CmykInverted => 4,
        }
    }

    pub(super) fn rgb(self, pixel: &[u8]) -> [u8; 3] {
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
pub(super) fn fit(pixels: &[u8], layout: Layout, stored: Size, orientation: Orientation, to: Target) -> Picture {
    let upright = orientation.size(stored);
    let mut fitter = Fitter::towards(upright, to);
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
