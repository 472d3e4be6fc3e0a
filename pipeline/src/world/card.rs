//! A world's card: what it offers and what it lets a client choose. Plain data, so that a request can be checked on any
//! thread, without the device.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::words::nearest;
use super::{Chunking, ClipCard, Reading, Refusal, Steering, Words};

/// What a world offers and what it lets a client choose.
#[derive(Debug, Clone)]
pub struct Card {
    /// The world's name, as people and `/v1/models` see it.
    pub name: String,
    /// The sizes that a video may have.
    pub sizes: Sizes,
    /// The size of a video whose client asks for none.
    pub default_size: Size,
    /// Video frames per second that the world was made for.
    pub fps: u32,
    /// Latent frames per chunk.
    pub chunk: usize,
    /// Latent frames of the first chunk, unless a client chooses otherwise.
    pub first_chunk: usize,
    /// Latent frames pinned at the start of the history, unless a client chooses otherwise.
    pub sink: usize,
    /// Latent frames visible in all (the pinned ones and the current chunk included), unless a client chooses
    /// otherwise.
    pub window: usize,
    /// Whether a client's choice of `sink` and `window` is ignored, because the model was trained with one window.
    pub window_is_fixed: bool,
    /// Whether a video must start from a picture.
    pub needs_first_frame: bool,
    /// What a key that looks turns by, where the world has one step for it.
    pub look_step: Option<LookStep>,
    /// What its camera can follow besides keys.
    pub steering: Steering,
    /// The steps of a chunk that a person waits for, fewer than those of any other. `None`: all have as many.
    pub quick_steps: Option<usize>,
    /// Pictures with prompts that this world is known to start well from.
    pub gallery: Vec<GalleryItem>,
    /// Prompts that this world is known to understand.
    pub presets: Vec<String>,
    /// The words that it knows, where they are few. `None`: any text is read as it is.
    pub words: Option<Arc<Words>>,
    /// What it offers to requests for clips and pictures.
    pub clips: ClipCard,
}

/// What keys that look turn the camera by in one latent frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LookStep {
    /// Degrees to the side.
    pub yaw_deg: f64,
    /// Degrees up or down.
    pub pitch_deg: f64,
}

/// A first frame that ships with a world.
#[derive(Debug, Clone)]
pub struct GalleryItem {
    /// File name, unique in the gallery: `meadow.png`.
    pub name: String,
    /// A prompt that describes the picture.
    pub prompt: String,
    /// The encoded picture (PNG or JPEG).
    pub file: Arc<[u8]>,
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// The sizes a world draws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sizes {
    /// Exactly these.
    Only(Vec<Size>),
    /// Every size within two limits.
    MultiplesOf {
        /// Both sides are a multiple of this.
        multiple: u32,
        /// The most pixels of a frame.
        pixels_max: u64,
    },
}

/// The longest window in latent frames: four minutes at 16 frames a second. A longer one is a mistake or an attack.
pub const WINDOW_FRAMES_MAX: usize = 1024;

impl Card {
    /// A prompt as this world reads it.
    pub fn read_prompt(&self, prompt: &str) -> Reading {
        match &self.words {
            Some(words) => words.read(prompt),
            None => Reading { text: prompt.to_owned(), unknown: Vec::new() },
        }
    }

    /// The preset that a video begins with in place of a prompt without one known word, where no picture says what to draw
    /// either. `None`: it begins with what was asked.
    pub fn begins_instead(&self, reading: &Reading, has_picture: bool) -> Option<&str> {
        let says_nothing = reading.text.is_empty() && !reading.unknown.is_empty();
        let nearest = nearest(&self.presets, &reading.unknown).filter(|_| says_nothing && !has_picture);
        nearest.map(String::as_str)
    }

    /// The size to draw: `asked` if this world draws it, the default if nothing was asked. `Err` names the sizes it
    /// draws.
    pub fn choose_size(&self, asked: Option<Size>) -> Result<Size, Refusal> {
        let Some(size) = asked else { return Ok(self.default_size) };
        let allowed = match &self.sizes {
            Sizes::Only(sizes) => sizes.contains(&size),
            Sizes::MultiplesOf { multiple, pixels_max } => {
                size.width > 0
                    && size.height > 0
                    && size.width % multiple == 0
                    && size.height % multiple == 0
                    && size.pixels() <= *pixels_max
            }
        };
        if allowed {
            Ok(size)
        } else {
            Err(Refusal {
                field: "size",
                reason: format!("{size} is not drawn by {}: it draws {}", self.name, self.sizes),
            })
        }
    }

    /// As [`Card::choose_size`], for a clip or a picture: its sides have a least length.
    pub fn choose_clip_size(&self, asked: Option<Size>) -> Result<Size, Refusal> {
        let (size, least) = (self.choose_size(asked)?, self.clips.side_min);
        if size.width.min(size.height) < least {
            let reason = format!("{size}: the shortest side that {} draws is {least}", self.name);
            return Err(Refusal { field: "size", reason });
        }
        Ok(size)
    }

    /// `(sink, window)` in latent frames: what was asked for, unless the world fixes them. `Err` if a chunk does not
    /// fit into the window beside the pinned frames, or the window is longer than [`WINDOW_FRAMES_MAX`].
    pub fn choose_window(&self, sink: Option<usize>, window: Option<usize>) -> Result<(usize, usize), Refusal> {
        if self.window_is_fixed {
            return Ok((self.sink, self.window));
        }
        let window = window.unwrap_or(self.window);
        // The default sink shrinks to fit: a client that asks for a short window and nothing else must get a working
        // one.
        let sink = sink.unwrap_or(self.sink.min(window.saturating_sub(self.chunk)));
        if window < self.chunk {
            return Err(Refusal {
                field: "realtime_causal_kv_cache_num_frames",
                reason: format!("{window} latent frames do not hold a chunk of {}", self.chunk),
            });
        }
        if window > WINDOW_FRAMES_MAX {
            return Err(Refusal {
                field: "realtime_causal_kv_cache_num_frames",
                reason: format!("{window} latent frames; at most {WINDOW_FRAMES_MAX}"),
            });
        }
        if sink > window - self.chunk {
            return Err(Refusal {
                field: "realtime_causal_sink_size",
                reason: format!(
                    "{sink} pinned latent frames leave no room for a chunk of {} in a window of {window}",
                    self.chunk
                ),
            });
        }
        Ok((sink, window))
    }

    /// How a video is cut into chunks whose client chooses neither window nor first chunk.
    pub fn chunking(&self) -> Chunking {
        Chunking { first: self.first_chunk.min(self.window), later: self.chunk }
    }

    /// Latent frames of the first chunk, if that was asked for. `Err` if it is more than twice a chunk, or than the
    /// window.
    pub fn choose_first_chunk(&self, asked: Option<usize>, window: usize) -> Result<Option<usize>, Refusal> {
        let most = window.min(2 * self.chunk);
        match asked {
            Some(frames) if !(1..=most).contains(&frames) => Err(Refusal {
                field: "realtime_first_chunk_num_frames",
                reason: format!(
                    "{frames} latent frames; 1 to {most} are allowed: at most twice a chunk of {}, and the window of {window}",
                    self.chunk
                ),
            }),
            asked => Ok(asked),
        }
    }
}

impl Size {
    /// Pixels of one frame.
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Bytes of one RGB8 frame.
    pub fn frame_bytes(self) -> u64 {
        3 * self.pixels()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl FromStr for Size {
    type Err = String;

    /// Read `832x480`: `x` in either case, spaces ignored, both sides positive. `Err` is a sentence that says so.
    fn from_str(text: &str) -> Result<Self, String> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        compact
            .split_once(['x', 'X'])
            .and_then(|(width, height)| Some(Size { width: width.parse().ok()?, height: height.parse().ok()? }))
            .filter(|size| size.width > 0 && size.height > 0)
            .ok_or_else(|| "size must be formatted as positive WIDTHxHEIGHT".to_owned())
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sizes::Only(sizes) => {
                let sizes: Vec<_> = sizes.iter().map(Size::to_string).collect();
                write!(f, "{}", sizes.join(", "))
            }
            Sizes::MultiplesOf { multiple: 1, pixels_max } => write!(f, "any size of up to {pixels_max} pixels"),
            Sizes::MultiplesOf { multiple, pixels_max } => {
                write!(f, "sizes whose sides are multiples of {multiple}, up to {pixels_max} pixels")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(window_is_fixed: bool) -> Card {
        Card {
            name: "test".into(),
            sizes: Sizes::MultiplesOf { multiple: 16, pixels_max: 832 * 480 },
            default_size: Size { width: 832, height: 480 },
            fps: 16,
            chunk: 3,
            first_chunk: 3,
            sink: 9,
            window: 18,
            window_is_fixed,
            needs_first_frame: true,
            look_step: None,
            steering: Steering::default(),
            quick_steps: None,
            gallery: Vec::new(),
            presets: Vec::new(),
            words: None,
            clips: ClipCard::of_rollouts("test", Size { width: 832, height: 480 }, true),
        }
    }

    #[test]
    fn a_size_is_two_positive_numbers_around_an_x() {
        let check = |text: &str, expected: Option<(u32, u32)>| {
            assert_eq!(text.parse::<Size>().ok().map(|s| (s.width, s.height)), expected, "{text:?}");
        };
        check("832x480", Some((832, 480)));
        check(" 64 X 48 ", Some((64, 48)));
        for bad in ["", "x", "64", "64x", "x48", "0x48", "64x0", "-64x48", "64x48x3", "64.0x48", "99999999999x1"] {
            check(bad, None);
        }
    }

    #[test]
    fn a_size_off_the_card_is_refused_and_says_what_is_drawn() {
        let card = card(false);
        let choose = |width, height| card.choose_size(Some(Size { width, height })).map_err(|r| r.to_string());
        assert_eq!(card.choose_size(None), Ok(card.default_size));
        assert!(choose(64, 48).is_ok());
        for (width, height) in [(63, 48), (64, 40), (0, 0), (848, 480), (u32::MAX - 15, u32::MAX - 15)] {
            let reason = choose(width, height).expect_err("off the card");
            assert!(reason.starts_with("size: ") && reason.contains("multiples of 16"), "{reason}");
        }
    }

    #[test]
    fn the_window_is_what_was_asked_unless_the_world_fixes_it() {
        assert_eq!(card(true).choose_window(Some(1), Some(5)), Ok((9, 18)));
        let free = card(false);
        let check = |sink, window, expected: Option<(usize, usize)>| {
            assert_eq!(free.choose_window(sink, window).ok(), expected, "sink {sink:?}, window {window:?}");
        };
        check(None, None, Some((9, 18)));
        check(Some(6), Some(18), Some((6, 18)));
        check(Some(0), Some(3), Some((0, 3)));
        check(None, Some(6), Some((3, 6)));
        check(Some(16), None, None);
        check(None, Some(2), None);
        check(None, Some(WINDOW_FRAMES_MAX + 1), None);
        check(Some(usize::MAX), None, None);
    }

    #[test]
    fn the_first_chunk_is_what_was_asked_up_to_twice_a_chunk_and_to_the_window() {
        let card = card(false);
        let check = |asked, window, allowed: bool| {
            let chosen = card.choose_first_chunk(asked, window);
            assert_eq!(chosen.ok(), allowed.then_some(asked), "{asked:?} in {window}");
        };
        check(None, 18, true);
        (1..=6).for_each(|frames| check(Some(frames), 18, true));
        check(Some(0), 18, false);
        check(Some(7), 18, false);
        check(Some(4), 4, true);
        check(Some(5), 4, false);
    }
}
