//! How a video begins, and the bounds of its first values.

use std::fmt;

use super::{Card, Chunking, Size};

/// How a video begins. All of it has been checked against the world's [`Card`].
#[derive(Debug, Clone, PartialEq)]
pub struct Init {
    /// The prompt until a [`ChunkInput`](super::ChunkInput) brings another. At most [`PROMPT_BYTES_MAX`] bytes.
    pub prompt: String,
    /// The picture that the video starts from, of any size: a world fits it to the video's. Required if
    /// [`Card::needs_first_frame`] says so.
    pub first_frame: Option<Picture>,
    /// Width and height of every frame of the video.
    pub size: Size,
    /// Decides all random numbers: the same seed gives the same noise on every machine.
    pub seed: u64,
    /// Latent frames pinned at the start of the history: they stay visible for the whole video.
    pub sink: usize,
    /// Latent frames visible in all: the pinned ones, recent ones and the chunk itself. Larger than `sink`.
    pub window: usize,
    /// Latent frames of the first chunk: 1 to twice [`Card::chunk`], and no more than `window`. Absent: as the world
    /// has it.
    pub first_chunk: Option<usize>,
    /// Video frames (the picture, then grey) to encode as the image condition, at most [`CONDITION_FRAMES_MAX`].
    /// Absent, or fewer than the world needs: as many as it needs.
    pub condition_frames: Option<usize>,
}

impl Init {
    /// How the world of this card cuts the video into chunks. Its own first chunk is cut to a short window.
    pub fn chunking(&self, card: &Card) -> Chunking {
        Chunking { first: self.first_chunk.unwrap_or(card.first_chunk.min(self.window)), later: card.chunk }
    }
}

/// A decoded picture.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width and height. At most [`FIRST_FRAME_PIXELS_MAX`] pixels.
    pub size: Size,
    /// `3·width·height` bytes: row by row from the top, red, green and blue of each pixel.
    pub rgb: Vec<u8>,
}

/// The longest prompt in bytes. A text encoder reads 512 tokens at most, and 8 KiB is more than that in any language.
pub const PROMPT_BYTES_MAX: usize = 8 * 1024;

/// The most pixels of a first frame: a large photograph has fewer, and this many are 120 MB once decoded.
pub const FIRST_FRAME_PIXELS_MAX: u64 = 40_000_000;

/// The most video frames of image condition: all of them are encoded before the first chunk, while other sessions wait.
pub const CONDITION_FRAMES_MAX: usize = 257;

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({})", self.size)
    }
}
