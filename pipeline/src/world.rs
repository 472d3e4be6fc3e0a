//! The boundary. Above this line: bytes, integers, clients. Below it: tensors.
//!
//! A [`World`] holds weights and opens [`Rollout`]s; a rollout draws one video, chunk by chunk. All that a rollout ever
//! reads is its [`Init`] and one [`ChunkInput`] a chunk, so those *are* a recording: replaying them gives the same bytes.
//!
//! Words: a *latent frame* is one step of the video autoencoder (4 video frames; the very first gives 1), a *chunk* is the
//! few latent frames that are denoised together, and controls are held for whole latent frames.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Weights, ready to draw. Lives on the thread that owns the device, and never leaves it.
pub trait World {
    /// What this world offers: plain data, so that a request can be checked far from the device.
    fn card(&self) -> &Arc<Card>;

    /// Bytes a rollout opened with these values will hold at most: known before it is opened, so that it can be refused. Apart
    /// from the world, so that nobody waits for the device to hear it.
    fn rollout_bytes(&self) -> RolloutBytes;

    /// Start a video. Does the work of a session's beginning: encodes the prompt and the first frame.
    fn open(&self, init: Init) -> Result<Box<dyn Rollout>, WorldError>;
}

/// What a video that begins like this will hold.
pub type RolloutBytes = Arc<dyn Fn(&Init) -> u64 + Send + Sync>;

/// One video in the making. Dropping it gives everything back.
pub trait Rollout {
    /// The chunk that the next `generate` will draw.
    fn plan(&self) -> ChunkPlan;

    /// Draw the planned chunk. Each latent frame's pixels go to `sink` as soon as they are decoded, in order.
    ///
    /// After an error the rollout is spent: only drop it.
    fn generate(
        &mut self,
        input: &ChunkInput,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Frames),
    ) -> Result<Timings, WorldError>;
}

/// What a world is and what it lets a client choose.
#[derive(Debug, Clone)]
pub struct Card {
    /// Shown to people and in `/v1/models`.
    pub name: String,
    pub sizes: Sizes,
    pub default_size: Size,
    /// Video frames per second the world was made for.
    pub fps: u32,
    /// Latent frames per chunk.
    pub chunk: usize,
    /// Latent frames pinned at the start of the history, and latent frames visible in all (the current chunk included).
    pub sink: usize,
    pub window: usize,
    /// The model was trained with one window: what a client asks for is noted and not used.
    pub window_is_fixed: bool,
    /// Without a picture to start from, this world cannot start.
    pub needs_first_frame: bool,
    /// Pictures with prompts that this world is known to start well from.
    pub gallery: Vec<GalleryItem>,
    /// Prompts that this world is known to understand.
    pub presets: Vec<String>,
}

/// A first frame that ships with a world.
#[derive(Debug, Clone)]
pub struct GalleryItem {
    /// File name, unique in the gallery: `meadow.png`.
    pub name: String,
    pub prompt: String,
    /// The encoded picture (PNG or JPEG).
    pub file: Arc<[u8]>,
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

/// The sizes a world draws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sizes {
    /// Exactly these.
    Only(Vec<Size>),
    /// Both sides a multiple of `multiple`, and no more than `pixels_max` pixels.
    MultiplesOf { multiple: u32, pixels_max: u64 },
}

/// How a video begins. Everything in it has been checked against the [`Card`].
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

/// The chunk that comes next, in integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkPlan {
    /// 0 for the first chunk of a video.
    pub index: usize,
    /// Absolute position of the chunk's first latent frame in the video.
    pub first_latent_frame: usize,
    pub latent_frames: usize,
    /// Video frames the chunk gives: with Wan's autoencoder 4 a latent frame, except 1 for the very first.
    pub pixel_frames: usize,
}

/// All that steers one chunk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChunkInput {
    /// The prompt, if it changed.
    pub prompt: Option<String>,
    /// One set of held keys a latent frame. `None` if no control was ever used: then the model's camera branch is not
    /// asked at all, which is not the same as standing still.
    pub controls: Option<Vec<Keys>>,
}

/// The keys held during one latent frame: a set, so order and repetition mean nothing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Keys(u8);

/// Pixels of one or more consecutive video frames: row-major RGB8, frame after frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames {
    pub size: Size,
    pub count: usize,
    pub rgb: Vec<u8>,
}

/// Where a chunk's time went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Prompt → text states → every block's cross-attention keys and values. Zero where the prompt did not change.
    pub text: Duration,
    /// All passes of the transformer, the clean-context pass included.
    pub dit: Duration,
    /// Latents → pixels.
    pub vae: Duration,
}

/// Set from anywhere; a rollout looks at it between passes and stops.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// What was asked for is not on the card: the client's doing.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("cancelled")]
    Cancelled,
    /// The world could not do what it offers.
    #[error("{0}")]
    Failed(String),
}

/// A value that cannot be used: which, what was wrong, what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Refusal {
    /// The field's name on the wire.
    pub field: &'static str,
    pub reason: String,
}

impl Card {
    /// The size to draw: what was asked for if this world draws it, the default where nothing was asked.
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

    /// `(sink, window)` in latent frames: what was asked for, unless the world fixes them.
    pub fn choose_window(&self, sink: Option<usize>, window: Option<usize>) -> Result<(usize, usize), Refusal> {
        if self.window_is_fixed {
            return Ok((self.sink, self.window));
        }
        let window = window.unwrap_or(self.window);
        // A client that asks for a short window only still gets one that works: the default sink yields to it.
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
}

/// A window longer than this is a mistake or an attack: four minutes of a 16 fps world.
pub const WINDOW_FRAMES_MAX: usize = 1024;

impl Size {
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

    /// `832x480`: any case of `x`, spaces ignored, both sides positive.
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

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({})", self.size)
    }
}

/// Video frames that Wan's autoencoder makes of a latent frame; of a video's very first one it makes a single frame.
pub const FRAMES_PER_LATENT: usize = 4;

impl ChunkPlan {
    /// Chunk `index` of a video whose chunks have so many latent frames.
    pub fn new(index: usize, latent_frames: usize) -> ChunkPlan {
        let missing = if index == 0 { FRAMES_PER_LATENT - 1 } else { 0 };
        ChunkPlan {
            index,
            first_latent_frame: index * latent_frames,
            latent_frames,
            pixel_frames: latent_frames * FRAMES_PER_LATENT - missing,
        }
    }

    /// The chunk's positions in the video, in latent frames.
    pub fn latent_range(&self) -> Range<usize> {
        self.first_latent_frame..self.first_latent_frame + self.latent_frames
    }

    /// Video frames that each latent frame gives, in order.
    pub fn frames_of_each(&self) -> impl Iterator<Item = usize> + use<> {
        self.latent_range().map(|frame| if frame == 0 { 1 } else { FRAMES_PER_LATENT })
    }
}

impl Keys {
    /// Forward, left, back, right; pitch up, yaw left, pitch down, yaw right.
    pub const ALL: [char; 8] = ['w', 'a', 's', 'd', 'i', 'j', 'k', 'l'];

    /// The keys named by these tokens. What is not one of [`Keys::ALL`], exactly and in lower case, is ignored, as the
    /// reference does.
    pub fn from_tokens<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Keys {
        let mut keys = Keys::default();
        for token in tokens {
            let mut chars = token.chars();
            if let (Some(key), None) = (chars.next(), chars.next()) {
                keys = keys.with(key);
            }
        }
        keys
    }

    /// This set and one more key.
    pub fn with(self, key: char) -> Keys {
        match Self::ALL.iter().position(|&k| k == key) {
            Some(bit) => Keys(self.0 | 1 << bit),
            None => self,
        }
    }

    pub fn has(self, key: char) -> bool {
        Self::ALL.iter().position(|&k| k == key).is_some_and(|bit| self.0 & 1 << bit != 0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The keys held, in the order of [`Keys::ALL`].
    pub fn iter(self) -> impl Iterator<Item = char> {
        Self::ALL.into_iter().filter(move |&key| self.has(key))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.iter().collect::<String>())
    }
}

impl Timings {
    pub fn total(&self) -> Duration {
        self.text + self.dit + self.vae
    }
}

impl Cancel {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Wait until `end`, or until cancelled.
    pub fn sleep_until(&self, end: Instant) -> Result<(), WorldError> {
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            // Long enough to cost nothing, short enough that a cancelled chunk seems to end at once.
            std::thread::sleep(left.min(Duration::from_millis(2)));
        }
    }

    /// `Err` once cancelled: what a rollout asks between passes.
    pub fn check(&self) -> Result<(), WorldError> {
        if self.0.load(Ordering::Relaxed) { Err(WorldError::Cancelled) } else { Ok(()) }
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
            sink: 9,
            window: 18,
            window_is_fixed,
            needs_first_frame: true,
            gallery: Vec::new(),
            presets: Vec::new(),
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
    fn the_first_latent_frame_of_a_video_gives_one_frame_and_every_other_four() {
        let plans: Vec<_> = (0..3).map(|index| ChunkPlan::new(index, 3)).collect();
        assert_eq!(plans.iter().map(|plan| plan.pixel_frames).collect::<Vec<_>>(), [9, 12, 12]);
        assert_eq!(plans[2].latent_range(), 6..9);
        assert_eq!(ChunkPlan::new(0, 1).pixel_frames, 1);
        let each = |index, chunk| ChunkPlan::new(index, chunk).frames_of_each().collect::<Vec<_>>();
        assert_eq!(each(0, 3), [1, 4, 4]);
        assert_eq!(each(1, 3), [4, 4, 4]);
        assert_eq!((each(0, 1), each(1, 1)), (vec![1], vec![4]));
    }

    #[test]
    fn keys_are_a_set_of_known_tokens() {
        assert_eq!(Keys::from_tokens(["w", "w", "l"]), Keys::default().with('l').with('w'));
        assert_eq!(Keys::from_tokens(["W", "jump", "", "ww", "x"]), Keys::default());
        assert_eq!(format!("{:?}", Keys::from_tokens(["d", "w"])), "[wd]");
    }
}
