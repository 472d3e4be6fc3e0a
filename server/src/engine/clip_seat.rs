//! A clip as its client sees it: the wait for its turn, and then what the engine draws of it.

use pipeline::world::{Cancel, ClipAsk, FRAMES_PER_LATENT, Size, Spans};
use tokio::sync::mpsc;

use super::clip::{ClipError, ClipPart, OpenClip, clip_parts_places};
use super::messages::Command;
use super::thread::Engine;
use crate::admission::queue::{Admitted, QueueTicket, Standing};
use crate::admission::rules::{Refused, SeatId};

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
        // What its channel holds counts, too, and what its encoder has: a latent frame that waits and one in work.
        let ticket = self.queue.ask_clip(&ask, (ask.init.chunking(&card).longest() + 2) * FRAMES_PER_LATENT)?;
        Ok(ClipTicket { engine: self.clone(), ticket, ask })
    }
}

impl Engine {
    /// Whether a clip fits if it is drawn alone. `Err`: the bytes that it needs, and those that there are.
    pub fn fits_clip(&self, ask: &ClipAsk) -> Result<(), (u64, u64)> {
        self.queue.fits_clip(ask)
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

    /// The size of its frames.
    pub fn size(&self) -> Size {
        self.ask.init.size
    }

    /// What takes the time of its parts.
    pub fn spans(&self) -> Spans {
        self.ask.spans.clone()
    }

    /// The most bytes that it will hold: what it is admitted with.
    pub fn bytes(&self) -> u64 {
        self.ticket.bytes()
    }

    /// Wait for its turn, and hand the clip to the engine. `cancel` ends it between two passes, as dropping the seat does.
    pub async fn begin(self, cancel: Cancel) -> Result<ClipSeat, ClipError> {
        let ClipTicket { engine, ticket, ask } = self;
        let admitted = ticket.placed().await;
        ClipSeat::open(engine, admitted, ask, cancel).await
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
    async fn open(engine: Engine, admitted: Admitted, ask: ClipAsk, cancel: Cancel) -> Result<ClipSeat, ClipError> {
        let card = engine.card.borrow().clone().expect("a clip is checked against the card of a loaded world");
        let (parts_drawn, parts) = mpsc::channel(clip_parts_places(ask.init.chunking(&card)));
        // Before the engine is told: this future may be dropped once it is, and then nothing else would end the clip.
        let seat = ClipSeat { id: admitted.id, engine, cancel: cancel.clone(), parts, ended: false };
        let open = Command::OpenClip(OpenClip { admitted, ask: Box::new(ask), parts: parts_drawn, cancel });
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
