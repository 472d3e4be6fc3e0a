//! How a video begins.

use std::fmt;

use super::Size;

/// How a video begins. Everything in it has been checked against the [`Card`](super::Card).
#[derive(Debug, Clone)]
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
