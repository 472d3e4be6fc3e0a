//! What a first frame may be, and what reading it may take: told from the head of its file, before anything is decoded.

use pipeline::first_frame::{Fitter, Target};
use pipeline::world::{FIRST_FRAME_PIXELS_MAX, Size};

use super::exif::Orientation;

/// Pixels of a side: as many as a JPEG can have. A side's weights are held while the picture is scaled.
pub const SIDE_MAX: u32 = 65_535;

/// Bytes that reading one picture may take beside its file, by what is known of its decoder. A JPEG of 40 million pixels is
/// 120 MB once decoded; decoders that need several bytes a pixel more read smaller pictures. One picture is read at a time.
pub const DECODING_BYTES_MAX: u64 = 160 << 20;

/// What any decoder may hold for itself: tables, and the rows on which it works.
const DECODER_BYTES: u64 = 2 << 20;
const DECODER_BYTES_A_COLUMN: u64 = 256;

/// A file that ends before its picture does.
pub(super) fn cut_short(kind: &str) -> String {
    format!("ends before its picture does: this {kind} file was cut short")
}

/// Refuse what is too large to be decoded. `decoder` is what the decoder of such a file holds, in bytes; beside it stands what
/// scaling the picture to `to` takes.
pub(super) fn check(
    kind: &str,
    stored: Size,
    orientation: Orientation,
    decoder: u64,
    to: Target,
) -> Result<(), String> {
    if stored.pixels() == 0 || stored.pixels() > FIRST_FRAME_PIXELS_MAX {
        return Err(format!("is {stored}: 1 to {FIRST_FRAME_PIXELS_MAX} pixels are allowed"));
    }
    if stored.width.max(stored.height) > SIDE_MAX {
        return Err(format!("is {stored}: a side is at most {SIDE_MAX} pixels"));
    }
    let own = DECODER_BYTES + DECODER_BYTES_A_COLUMN * u64::from(stored.width);
    let needed = own + decoder + Fitter::bytes_towards(orientation.size(stored), to);
    if needed > DECODING_BYTES_MAX {
        let (needed, most) = (needed.div_ceil(1 << 20), DECODING_BYTES_MAX >> 20);
        return Err(format!(
            "needs {needed} MiB to be read: it is {kind} of {stored} pixels, and at most {most} MiB are allowed"
        ));
    }
    Ok(())
}
