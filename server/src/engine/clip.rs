//! A clip that the engine's thread draws, and the parts that come of it.
//!
//! Its frames go through a channel with room for what one piece makes. The next piece is drawn once all of the last one
//! was taken: so the engine never waits for a reader, and a slow one holds up its own clip and nobody else.

use std::time::{Duration, Instant};

use pipeline::world::{Cancel, Chunking, Clip, ClipAsk, Frames, Progress, Refusal, Step, Timings, World, WorldError};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::admission::queue::Admitted;
use crate::admission::rules::SeatId;

/// A clip whose turn to be opened has come.
pub struct OpenClip {
    /// Given back when the clip is gone.
    pub(crate) admitted: Admitted,
    /// What to draw.
    pub ask: Box<ClipAsk>,
    /// Its capacity is [`clip_parts_places`].
    pub parts: mpsc::Sender<Result<ClipPart, ClipError>>,
    /// Ends the clip between two passes.
    pub cancel: Cancel,
}

/// What comes of a clip, in order: that it is opened, then the frames and the end of each piece.
#[derive(Debug)]
pub enum ClipPart {
    /// The first frame and the prompt are encoded.
    Opened {
        /// How long the device took for it.
        took: Duration,
    },
    /// Frames that follow the ones before.
    Frames(Frames),
    /// All of a piece has come.
    Piece {
        /// How far the clip is; the last part of a clip has `done` equal to `of`.
        progress: Progress,
        /// The share of the clip's time that is over, 0 to 1.
        share: f64,
        /// How long the device took for the piece.
        took: Duration,
        /// What the world says of that time.
        world: Timings,
    },
}

/// Why a clip ended before its end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClipError {
    /// What was asked for cannot be drawn.
    #[error(transparent)]
    Refused(Refusal),
    /// The world failed.
    #[error("{0}")]
    Failed(String),
    /// It was cancelled, or the server stops.
    #[error("the clip was cut short")]
    Stopped,
}

/// Places that a clip's channel needs, so that handing over never waits: the latent frames of the longest piece and its
/// end.
pub fn clip_parts_places(chunking: Chunking) -> usize {
    chunking.longest() + 1
}

/// The clip that the engine's thread draws.
pub(super) struct Drawing {
    work: Work,
    parts: mpsc::Sender<Result<ClipPart, ClipError>>,
    cancel: Cancel,
    /// Pixels of one frame.
    pub(super) pixels: u64,
    /// The last field, so that it is dropped last: the clip's memory is free when its share goes back to admission.
    pub(super) admitted: Admitted,
}

enum Work {
    ToOpen(Box<ClipAsk>),
    Begun(Box<dyn Clip>),
}

/// The result of one piece of a clip's work, and the time it took.
pub(super) enum Stepped {
    Opened(Drawing, Duration),
    Drew(Drawing, Duration),
    /// That was the last piece: the clip is gone.
    Ended(Duration),
    /// It went wrong, or was cancelled: the clip is gone.
    Broke,
}

impl Drawing {
    pub(super) fn new(OpenClip { admitted, ask, parts, cancel }: OpenClip) -> Drawing {
        let pixels = ask.init.size.pixels();
        Drawing { work: Work::ToOpen(ask), parts, cancel, pixels, admitted }
    }

    /// Do the next piece of its work, and hand over what comes of it.
    pub(super) fn step(self, world: &dyn World) -> Stepped {
        let Drawing { work, parts, cancel, pixels, admitted } = self;
        let id = admitted.id;
        let hand_over = |part| {
            if let Err(mpsc::error::TrySendError::Full(_)) = parts.try_send(part) {
                panic!("a piece is drawn when there is room for all it makes: clip {id} had none left");
            }
        };
        let began = Instant::now();
        let stepped = match work {
            Work::ToOpen(ask) => cancel.check().and_then(|()| world.clip(*ask)).map(|clip| (clip, None)),
            Work::Begun(mut clip) => {
                let step = clip.step(&cancel, &mut |frames| hand_over(Ok(ClipPart::Frames(frames))));
                step.map(|step| (clip, Some(step)))
            }
        };
        let took = began.elapsed();
        let (clip, step) = match stepped {
            Ok(stepped) => stepped,
            Err(error) => {
                // The reader hears of the end once the memory is free.
                drop(admitted);
                hand_over(Err(ClipError::of(error, id)));
                return Stepped::Broke;
            }
        };
        let Some(step) = step else {
            hand_over(Ok(ClipPart::Opened { took }));
            return Stepped::Opened(Drawing { work: Work::Begun(clip), parts, cancel, pixels, admitted }, took);
        };
        let progress = clip.progress();
        let part = ClipPart::Piece { progress, share: clip.share(), took, world: step.timings() };
        debug!(clip = id, ?progress, ?took, world = ?step.timings(), "piece");
        match step {
            Step::More(_) => {
                hand_over(Ok(part));
                Stepped::Drew(Drawing { work: Work::Begun(clip), parts, cancel, pixels, admitted }, took)
            }
            Step::Done(_) => {
                drop((clip, admitted));
                hand_over(Ok(part));
                Stepped::Ended(took)
            }
        }
    }
}

impl ClipError {
    fn of(error: WorldError, clip: SeatId) -> ClipError {
        match error {
            WorldError::Refused(refusal) => ClipError::Refused(refusal),
            WorldError::Cancelled | WorldError::GivenUp => ClipError::Stopped,
            WorldError::Failed(reason) => {
                warn!(clip, reason, "clip failed");
                ClipError::Failed(reason)
            }
        }
    }
}
