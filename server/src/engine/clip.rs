//! A clip between the engine and whoever asked for it.
//!
//! Its frames go through a channel with room for what one piece makes. The next piece is drawn once all of the last one was
//! taken: so the engine never waits for a reader, and a slow one holds up its own clip and nobody else.

use std::time::{Duration, Instant};

use pipeline::world::{
    Cancel, Card, Clip, ClipAsk, FRAMES_PER_LATENT, Frames, Progress, Refusal, Step, Timings, World, WorldError,
};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::thread::{Command, Engine};
use crate::admission::queue::{Admitted, QueueTicket, Standing};
use crate::admission::rules::{Refused, SeatId};

/// A clip whose turn to be opened has come.
pub struct OpenClip {
    /// Given back when the clip is gone.
    pub(crate) admitted: Admitted,
    /// What to draw.
    pub ask: ClipAsk,
    /// Has [`clip_parts_places`].
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
    /// The world could not go on.
    #[error("{0}")]
    Failed(String),
    /// It was cancelled, or the server stops.
    #[error("the clip was cut short")]
    Stopped,
}

/// Places that a clip's channel needs, so that handing over never waits: the latent frames of a piece and its end.
pub fn clip_parts_places(card: &Card) -> usize {
    card.chunk + 1
}

/// A clip that waits for its turn, behind those that came before it. It gives its place in the order up when dropped.
pub struct ClipTicket {
    engine: Engine,
    ticket: QueueTicket,
    ask: ClipAsk,
}

impl Engine {
    /// A clip is to be drawn. It waits until those before it are done and its memory is free.
    pub fn ask_clip(&self, ask: ClipAsk) -> Result<ClipTicket, Refused> {
        let card = self.card.borrow().clone().expect("a clip is checked against the card of a loaded world");
        // What its channel holds counts, too.
        let ticket = self.queue.ask_clip(&ask, card.chunk * FRAMES_PER_LATENT)?;
        Ok(ClipTicket { engine: self.clone(), ticket, ask })
    }
}

impl ClipTicket {
    /// Clips that come before this one, and itself; `None` once its turn has come.
    pub fn position(&self) -> Option<usize> {
        match *self.ticket.standing.borrow() {
            Standing::Waits(waiting) => Some(waiting.position),
            Standing::Placed => None,
        }
    }

    /// Wait for its turn, and hand the clip to the engine.
    pub async fn begin(self) -> Result<ClipSeat, ClipError> {
        let ClipTicket { engine, ticket, ask } = self;
        let admitted = ticket.placed().await;
        ClipSeat::open(engine, admitted, ask).await
    }
}

/// A clip that the engine draws. When this is dropped its work ends between two passes, and its memory is free.
pub struct ClipSeat {
    id: SeatId,
    engine: Engine,
    cancel: Cancel,
    parts: mpsc::Receiver<Result<ClipPart, ClipError>>,
    /// Nothing more comes.
    ended: bool,
}

impl ClipSeat {
    async fn open(engine: Engine, admitted: Admitted, ask: ClipAsk) -> Result<ClipSeat, ClipError> {
        let card = engine.card.borrow().clone().expect("a clip is checked against the card of a loaded world");
        let (cancel, (parts_drawn, parts)) = (Cancel::default(), mpsc::channel(clip_parts_places(&card)));
        // Before the engine is told: this future may be dropped once it is, and then nothing else would end the clip.
        let seat = ClipSeat { id: admitted.id, engine, cancel: cancel.clone(), parts, ended: false };
        let open = Command::OpenClip(OpenClip { admitted, ask, parts: parts_drawn, cancel });
        seat.engine.commands.send(open).await.map_err(|_| ClipError::Stopped)?;
        Ok(seat)
    }

    /// The next part; `None` after the end of the last piece. Taking the end of a piece lets the next one be drawn.
    pub async fn next(&mut self) -> Result<Option<ClipPart>, ClipError> {
        if self.ended {
            return Ok(None);
        }
        let part = self.parts.recv().await.unwrap_or(Err(ClipError::Stopped));
        match &part {
            Ok(ClipPart::Frames(_)) => {}
            Ok(ClipPart::Piece { progress, .. }) if progress.done == progress.of => self.ended = true,
            Ok(ClipPart::Opened { .. } | ClipPart::Piece { .. }) => self.command(Command::Taken(self.id)),
            Err(_) => self.ended = true,
        }
        part.map(Some)
    }

    fn command(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.engine.commands.try_send(command) {
            unreachable!("the channel has a place for all that a clip can have on its way");
        }
    }
}

impl Drop for ClipSeat {
    fn drop(&mut self) {
        if !self.ended {
            self.cancel.cancel();
            self.command(Command::Close(self.id));
        }
    }
}

/// The clip that the engine's thread draws.
pub(super) struct Drawing {
    work: Work,
    parts: mpsc::Sender<Result<ClipPart, ClipError>>,
    cancel: Cancel,
    /// Pixels of one frame.
    pub(super) pixels: u64,
    /// Last: what is given back is free by then.
    pub(super) admitted: Admitted,
}

enum Work {
    ToOpen(ClipAsk),
    Begun(Box<dyn Clip>),
}

/// What became of a clip with a piece of its work, and how long that took.
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
            Work::ToOpen(ask) => cancel.check().and_then(|()| world.clip(ask)).map(|clip| (clip, None)),
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
        let part = ClipPart::Piece { progress, took, world: step.timings() };
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
            WorldError::Cancelled => ClipError::Stopped,
            WorldError::Failed(reason) => {
                warn!(clip, reason, "clip failed");
                ClipError::Failed(reason)
            }
        }
    }
}
