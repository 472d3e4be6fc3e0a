//! The boundary between a server and a model. A server moves bytes and integers; tensors stay below.
//!
//! A [`World`] holds weights and opens [`Rollout`]s. A rollout draws one video, chunk by chunk. It reads its [`Init`]
//! and one [`ChunkInput`] a chunk, and nothing else: the same values give the same bytes. So these values are a
//! recording ([`crate::recording`]).
//!
//! Words: a *latent frame* is one step of the video autoencoder. It gives 4 video frames, the very first one gives 1. A
//! *chunk* is the few latent frames that are denoised together. Controls are constant for a whole latent frame.

mod card;
mod chunk;
mod clip;
mod clip_card;
mod controls;
mod device_memory;
mod init;
mod lens;
mod operation;
mod pose;
mod spans;
mod state;
mod warm_up;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use crate::recording::Origin;
pub use card::{Card, GalleryItem, LookStep, Size, Sizes, WINDOW_FRAMES_MAX};
pub use chunk::{ChunkInput, ChunkPlan, Chunking, FRAMES_PER_LATENT, Frames, Timings};
pub use clip::{Clip, ClipAsk, ClipBytes, Progress, Script, Step};
pub use clip_card::{ByMode, ClipCard, ClipSettings, FrameRule, Knob, Knobs};
pub use controls::{Controls, Held, Rates, Scale, Steering, Way};
pub use device_memory::{DeviceMemory, DeviceMemoryUse};
pub use init::{CONDITION_FRAMES_MAX, FIRST_FRAME_PIXELS_MAX, Init, PROMPT_BYTES_MAX, Picture};
pub use lens::{FOV_DEG, Intrinsics};
pub use operation::{Operation, Peaks, Work};
pub use pose::{ORTHONORMAL_WITHIN, POSITION_MAX, Pose, Rotation};
pub use spans::{OpenSpan, Span, Spans};
pub use state::{KeptBytes, State, StateBytes};
pub use warm_up::WarmUp;
pub use words::{Reading, UNKNOWN_MAX, Unknown, Words};

/// Weights, ready to draw. Stays on the thread that owns the device.
pub trait World {
    /// What this world offers. Plain data, so that a request can be checked on any thread, without the device.
    fn card(&self) -> &Arc<Card>;

    /// What draws: a recording says so, and is drawn again by the same.
    fn origin(&self) -> Origin;

    /// The most bytes that a rollout will hold, computed from its `Init`. Known before it is opened, so that a session
    /// that does not fit is refused or waits. A value of its own, so that other threads can ask without waiting for the
    /// device.
    fn rollout_bytes(&self) -> RolloutBytes;

    /// The most bytes that are kept of a rollout to go back, as [`World::rollout_bytes`]. `None`: rollouts of this world
    /// keep no [`State`].
    fn state_bytes(&self) -> Option<StateBytes> {
        None
    }

    /// Where the memory of the device is that draws: asked for at any time, from any thread. `None`: main memory.
    fn device_memory(&self) -> Option<DeviceMemory> {
        None
    }

    /// Start a video: encode the prompt and the first frame. `Err` if `init` asks for what the card does not offer, or
    /// the model fails.
    fn open(&self, init: Init) -> Result<Box<dyn Rollout>, WorldError>;

    /// Go on with a video that a rollout of this world has packed, in this process or in another. `init`: what it began with.
    /// `Err` if the bytes are damaged or belong to another world or video.
    fn open_at(&self, _init: Init, _packed: &[u8]) -> Result<Box<dyn Rollout>, WorldError> {
        Err(packs_no_states())
    }

    /// The most bytes that a clip will hold, as [`World::rollout_bytes`].
    fn clip_bytes(&self) -> ClipBytes {
        let rollout_bytes = self.rollout_bytes();
        Arc::new(move |ask| Script::bytes(ask, &*rollout_bytes))
    }

    /// Draw a usual session's first chunk once, so that no client waits for one-time costs such as starting threads,
    /// and say how long it took. `None` if nothing is drawn and nothing measured.
    fn warm_up(&self) -> Result<Option<WarmUp>, WorldError> {
        WarmUp::of(self).map(Some)
    }

    /// The parts of a session's work, of this world's own shapes, to be measured one by one: a pass, the decoder, text, and
    /// each operation that they are made of. None where nobody has counted them.
    fn operations(&self, _init: &Init) -> Result<Vec<Operation<'_>>, WorldError> {
        Ok(Vec::new())
    }

    /// Start a clip: encode the prompt and the first frame, as [`World::open`].
    fn clip(&self, ask: ClipAsk) -> Result<Box<dyn Clip>, WorldError> {
        Ok(Box::new(Script::open(self, ask)?))
    }
}

/// The most bytes that a rollout holds which begins like this.
pub type RolloutBytes = Arc<dyn Fn(&Init) -> u64 + Send + Sync>;

/// One video being drawn. Dropping it frees all that it holds.
pub trait Rollout {
    /// The chunk that the next [`Rollout::generate`] will draw.
    fn plan(&self) -> ChunkPlan;

    /// Draw the planned chunk. The pixels of each latent frame go to `sink` as soon as they are decoded, in order.
    ///
    /// After [`WorldError::Cancelled`] and [`WorldError::GivenUp`] nothing of the chunk was shown and the rollout is what it
    /// was before, as long as [`Cancel::check_unkept`] said so. One exception: a past that was to be made again
    /// ([`ChunkInput::recache`]) may have been made again, and the next chunk must ask for the same. After any other error
    /// the rollout must be dropped: its state may belong to half a chunk.
    fn generate(
        &mut self,
        input: &ChunkInput,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Frames),
    ) -> Result<Timings, WorldError>;

    /// What the rollout is now, between two chunks. `Err` if its world keeps no states, as [`World::state_bytes`] says.
    fn save(&self) -> Result<State, WorldError> {
        Err(keeps_no_states())
    }

    /// What the rollout is now, between two chunks, as bytes that [`World::open_at`] goes on from: at most
    /// [`packed::BYTES_MAX`](crate::packed::BYTES_MAX). `Err` if it is more, or its world packs no states.
    fn pack(&self) -> Result<Vec<u8>, WorldError> {
        Err(packs_no_states())
    }

    /// What the last chunk was drawn to: with it [`Rollout::draw_again`] is quick. `None`: there is no quicker way than to
    /// draw it.
    fn last_drawn(&self) -> Option<State> {
        None
    }

    /// Be what this rollout is after [`Rollout::generate`] with this input, to the byte, and show nothing. `drawn`: what
    /// the chunk was drawn to then, with the same state before it and the same input.
    fn draw_again(
        &mut self,
        input: &ChunkInput,
        _drawn: Option<&State>,
        cancel: &Cancel,
    ) -> Result<Timings, WorldError> {
        self.generate(input, cancel, &mut |_frames| ())
    }

    /// Be what this rollout was when it saved this: the next chunks are the ones that came then, if the same values
    /// steer them.
    fn restore(&mut self, _state: &State) -> Result<(), WorldError> {
        Err(keeps_no_states())
    }
}

fn keeps_no_states() -> WorldError {
    let reason = "this world keeps no states to go back to".to_owned();
    WorldError::Refused(Refusal { field: "rewind", reason })
}

fn packs_no_states() -> WorldError {
    crate::packed::refused("of this world's rollouts cannot be packed")
}

/// A request to stop drawing. Any thread may make it; a rollout looks for it between two passes.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Requests>);

#[derive(Debug, Default)]
struct Requests {
    cancelled: AtomicBool,
    given_up: AtomicBool,
    /// Looks until it is given up; 0: it is not.
    #[cfg(test)]
    looks_left: std::sync::atomic::AtomicUsize,
}

/// Why a world did not open a video, or did not draw a chunk.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The client asked for something that the card does not offer.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// [`Cancel::cancel`] was called.
    #[error("cancelled")]
    Cancelled,
    /// [`Cancel::give_up`] was called, and nothing of the chunk is kept or shown: it is to be begun again.
    #[error("given up")]
    GivenUp,
    /// The world could not do what its card offers.
    #[error("{0}")]
    Failed(String),
}

/// A value that a client sent and that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Refusal {
    /// The field's name on the wire.
    pub field: &'static str,
    /// What was wrong and what is allowed.
    pub reason: String,
}

impl Cancel {
    /// For tests: given up when a rollout asks for this time, counted from 1.
    #[cfg(test)]
    pub(crate) fn given_up_at(look: usize) -> Cancel {
        let cancel = Cancel::default();
        cancel.0.looks_left.store(look, Ordering::Relaxed);
        cancel
    }

    /// Ask for the chunk to end.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }

    /// Ask for the chunk that is being denoised to be given up, because its inputs have changed. A chunk that is kept
    /// already is drawn to its end.
    pub fn give_up(&self) {
        self.0.given_up.store(true, Ordering::Relaxed);
    }

    /// No chunk is being denoised: what was asked of the last one is over.
    pub fn goes_on(&self) {
        self.0.given_up.store(false, Ordering::Relaxed);
    }

    /// Wait until `end`. `Err` as soon as `check` says so.
    pub fn sleep_until(
        &self,
        end: Instant,
        check: impl Fn(&Cancel) -> Result<(), WorldError>,
    ) -> Result<(), WorldError> {
        loop {
            check(self)?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            // 2 ms: long enough to cost no processor time, and a cancelled chunk still seems to end at once.
            std::thread::sleep(left.min(Duration::from_millis(2)));
        }
    }

    /// `Err` once it is cancelled. A rollout asks between two passes.
    pub fn check(&self) -> Result<(), WorldError> {
        if self.0.cancelled.load(Ordering::Relaxed) { Err(WorldError::Cancelled) } else { Ok(()) }
    }

    /// `Err` once it is cancelled or given up. A rollout asks between two passes of a chunk of which nothing is kept: it
    /// can be what it was before.
    pub fn check_unkept(&self) -> Result<(), WorldError> {
        self.check()?;
        #[cfg(test)]
        if self.0.looks_left.load(Ordering::Relaxed) > 0 && self.0.looks_left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.give_up();
        }
        if self.0.given_up.load(Ordering::Relaxed) { Err(WorldError::GivenUp) } else { Ok(()) }
    }
}
