//! How a video begins.

use std::fmt;

use super::Size;

/// How a video begins. Everything in it has been checked against the [`Card`](super::Card).
#[derive(Debug, Clone, PartialEq)]
pub struct Init {
    pub prompt: String,
    pub first_frame: Option<Picture>,
    pub size: Size,
    pub seed: u64,
    /// Latent frames pinned, and visible in all.
    pub sink: usize,
    pub window: usize,
    /// Video frames (the picture, then grey) to encode as the image condition. At least what the world needs.
    pub condition_frames: Option<usize>,
}

/// A decoded picture: `3·width·height` bytes, row-major RGB.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    pub size: Size,
    pub rgb: Vec<u8>,
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({})", self.size)
    }
}

/// A longer prompt is refused: a text encoder reads 512 tokens at most, and 8 KiB is more than that in any language.
pub const PROMPT_BYTES_MAX: usize = 8 * 1024;

/// A larger picture is refused before it is decoded: this is a camera's photograph, and 120 MB once decoded.
pub const FIRST_FRAME_PIXELS_MAX: u64 = 40_000_000;

/// More video frames of image condition are refused: all of them are encoded before the first chunk, while others wait.
pub const CONDITION_FRAMES_MAX: usize = 257;
