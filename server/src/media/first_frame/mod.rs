//! The picture that a client begins with: a JPEG, PNG or WebP, read and brought to the size of the video, or a sentence that
//! says why not.
//!
//! A small file can unfold into a large picture. So the head of a file is read first, and from it what its decoder would hold:
//! more than [`DECODING_BYTES_MAX`] is refused before anything is decoded. PNGs come row by row and are scaled as they come.

mod bounds;
mod exif;
mod jpeg;
mod pixels;
mod png;
mod webp;
mod webp_groups;

use pipeline::first_frame::Target;
use pipeline::world::Picture;

pub use self::bounds::{DECODING_BYTES_MAX, SIDE_MAX};

/// The picture in `file`, turned upright as its EXIF data says, at the size of `to`. Its alpha channel is left out, as by the reference.
/// `Err` is for the client: a sentence without its subject, which is `first_frame`.
pub fn read(file: &[u8], to: impl Into<Target>) -> Result<Picture, String> {
    let to = to.into();
    // A decoder's own bug is a picture that cannot be read, and no failure of the session.
    let read = std::panic::catch_unwind(|| match file {
        [0xff, 0xd8, 0xff, ..] => jpeg::read(file, to),
        [0x89, b'P', b'N', b'G', ..] => png::read(file, to),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp::read(file, to),
        _ => Err("is no JPEG, PNG or WebP picture, by its first bytes".to_owned()),
    });
    read.unwrap_or_else(|_| Err("cannot be read: it is broken in a way that its decoder does not expect".to_owned()))
}

#[cfg(test)]
mod tests;
