//! The states of a running session: where its client is, and where its chunk is.
//!
//! ```text
//!   client    Here ──leave──► Away ──arrive──► Here          arrive while Here: the newer line is right
//!
//!   chunk     Waiting ──first frames──► Drawn ──send──► Sending ──delivered──► Waiting
//!                │
//!                └──error──► Over         and from every state, once the seat is given up
//! ```

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use pipeline::world::Frames;

use super::connection::Heard;
use super::delivery::{Parts, next_part};
use super::line::Line;
use crate::engine::elsewhere::Journaled;
use crate::engine::messages::{ChunkPart, Drawn};

/// The state of a session's client.
pub(super) enum Client {
    /// Connected by this line.
    Here(Box<Line>),
    /// Disconnected; it may come back on another line.
    Away,
}

impl Client {
    /// Its next message; pending for ever while it is away. Cancel-safe.
    pub(super) async fn hear(&mut self) -> Heard {
        match self {
            Client::Here(line) => line.connection.hear().await,
            Client::Away => pending().await,
        }
    }

    /// The line to it, if there is one.
    pub(super) fn line(&self) -> Option<&Line> {
        match self {
            Client::Here(line) => Some(line),
            Client::Away => None,
        }
    }

    /// The client is away from now on. Gives back the line that it was on.
    pub(super) fn leave(&mut self) -> Option<Line> {
        match std::mem::replace(self, Client::Away) {
            Client::Here(line) => Some(*line),
            Client::Away => None,
        }
    }

    /// The client is on this line from now on. Gives back an older one.
    pub(super) fn arrive(&mut self, line: Line) -> Option<Line> {
        let older = self.leave();
        *self = Client::Here(Box::new(line));
        older
    }
}

/// A chunk that is encoded and sent to its end. Gives the session's channel back, and how that went.
pub(super) type Delivery = Pin<Box<dyn Future<Output = (Parts, anyhow::Result<()>)> + Send>>;

/// The state of a session's chunk. One is on its way at a time; the engine may draw the next meanwhile.
pub(super) enum Chunk {
    /// The engine draws it, or will once it is granted.
    Waiting(Parts),
    /// Its first frames are here, until the session releases them.
    /// The time is how long they were on their way.
    Drawn(Parts, Box<Drawn>, Frames, Duration),
    /// On its way to the client.
    Sending(Delivery),
    /// No more chunks will come.
    Over,
}

/// What happened to a chunk.
pub(super) enum ChunkNews {
    /// Its first frames are drawn: which event it shows, and how many video frames it has.
    Drawn {
        /// The largest id of the events that it was drawn with.
        event_id: Option<u32>,
        /// Video frames of the whole chunk.
        frames: usize,
        /// Whether a key was held in it.
        moves: bool,
        /// Whether the next will take as long to draw.
        usual: bool,
    },
    /// Sent, or failed to be sent.
    Delivered(anyhow::Result<()>),
    /// Failed to be drawn.
    Failed(anyhow::Error),
}

impl Chunk {
    /// The next event; pending for ever while nothing can happen. Cancel-safe.
    pub(super) async fn next(&mut self) -> ChunkNews {
        match self {
            Chunk::Waiting(parts) => {
                let part = next_part(parts).await;
                self.part(part)
            }
            Chunk::Sending(delivery) => {
                let (parts, delivered) = delivery.await;
                *self = Chunk::Waiting(parts);
                ChunkNews::Delivered(delivered)
            }
            Chunk::Drawn(..) | Chunk::Over => pending().await,
        }
    }

    fn part(&mut self, part: anyhow::Result<ChunkPart>) -> ChunkNews {
        let Chunk::Waiting(parts) = std::mem::replace(self, Chunk::Over) else {
            unreachable!("only a chunk that is waited for is drawn")
        };
        match part {
            Ok(ChunkPart::First(drawn, frames)) => {
                let Drawn { event_id, moves, usual, .. } = drawn;
                let news = ChunkNews::Drawn { event_id, frames: drawn.plan.pixel_frames, moves, usual };
                let on_its_way = drawn.handed.elapsed();
                *self = Chunk::Drawn(parts, Box::new(drawn), frames, on_its_way);
                news
            }
            Ok(ChunkPart::More(..) | ChunkPart::End { .. }) => {
                unreachable!("a delivery reads to the end of its chunk")
            }
            Err(error) => ChunkNews::Failed(error),
        }
    }

    /// What the journal of its session notes of a chunk that was drawn: once.
    pub(super) fn noted(&mut self) -> Option<(&Drawn, Box<Journaled>)> {
        match self {
            Chunk::Drawn(_, drawn, ..) => drawn.journal.take().map(|journaled| (&**drawn, journaled)),
            _ => None,
        }
    }

    /// Send the chunk that was drawn, as `deliver` says.
    pub(super) fn send(&mut self, deliver: impl FnOnce(Parts, Drawn, (Frames, Duration)) -> Delivery) {
        let Chunk::Drawn(parts, drawn, first, on_its_way) = std::mem::replace(self, Chunk::Over) else {
            unreachable!("the session releases what it was given")
        };
        *self = Chunk::Sending(deliver(parts, *drawn, (first, on_its_way)));
    }
}
