//! The boundary. Above this line: bytes, integers, clients. Below it: tensors.
//!
//! A [`World`] holds weights and opens [`Rollout`]s; a rollout draws one video, chunk by chunk. All that a rollout ever
//! reads is its [`Init`] and one [`ChunkInput`] a chunk, so those *are* a recording: replaying them gives the same bytes.
//!
//! Words: a *latent frame* is one step of the video autoencoder (4 video frames; the very first gives 1), a *chunk* is the
//! few latent frames that are denoised together, and controls are held for whole latent frames.

mod card;
mod chunk;
mod controls;
mod init;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use card::{Card, GalleryItem, Size, Sizes, WINDOW_FRAMES_MAX};
pub use chunk::{ChunkInput, ChunkPlan, FRAMES_PER_LATENT, Frames, Timings};
pub use controls::{Controls, Held};
pub use init::{CONDITION_FRAMES_MAX, FIRST_FRAME_PIXELS_MAX, Init, PROMPT_BYTES_MAX, Picture};

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
