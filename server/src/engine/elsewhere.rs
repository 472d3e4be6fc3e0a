//! Where a session goes that does not go on: back in its video, on from a recording, to another video. And what is drawn
//! again for that.

use std::collections::VecDeque;

use pipeline::world::{ChunkInput, Init, Origin, Refusal, State};
use tokio::sync::oneshot;

use super::turns::acks::Acks;
use super::turns::conditions::Beginning;
use super::turns::conditions::packed::PackedConditions;
use super::turns::rewinds::{DrawnWith, Spacing};
use crate::recordings::SoFar;

/// Why a session could not begin.
pub enum OpenError {
    /// Its init asks for what the world does not do.
    Refused(Refusal),
    /// The world failed, in these words.
    Failed(String),
}

/// The beginning of a recorded video.
#[derive(Debug)]
pub struct Again {
    /// What drew it; another world refuses to.
    pub origin: Option<Origin>,
    /// What steered the first chunks, whose frames are not sent: the session opens after the last of them.
    pub hidden: VecDeque<ChunkInput>,
    /// What steered those after them, whose frames are sent.
    pub shown: VecDeque<Replayed>,
}

/// What steers a chunk in place of events, and what its client hears with it.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// What steers it.
    pub input: ChunkInput,
    /// The largest id of the events that it shows.
    pub event_id: Option<u32>,
    /// Which events it shows first, and which were replaced.
    pub acks: Acks,
}

impl From<ChunkInput> for Replayed {
    /// Of a recording: no event is acknowledged.
    fn from(input: ChunkInput) -> Replayed {
        Replayed { input, event_id: None, acks: Acks::default() }
    }
}

/// What the journal of a session notes of a chunk.
#[derive(Debug)]
pub struct Journaled {
    /// What steers it.
    pub input: ChunkInput,
    /// The conditions of the chunk after it.
    pub conditions: PackedConditions,
    /// The state of the rollout before it, if the journal wants one.
    pub state: Option<Vec<u8>>,
}

/// A rollout that leaves this process, between two chunks.
#[derive(Debug)]
pub struct PackedRollout {
    /// What [`World::open_at`](pipeline::world::World::open_at) goes on from.
    pub state: Vec<u8>,
    /// What steers the next chunks, before any event does: the rest of a recording that is shown.
    pub replay: VecDeque<ChunkInput>,
    /// What draws it.
    pub origin: Origin,
    /// Its recording, if it has one that goes on.
    pub(crate) recording: Option<SoFar>,
}

/// Chunks that are drawn again, in time that no paced session needs, and whose frames are dropped.
pub(super) struct Redraw {
    pub(super) chunks: VecDeque<DrawnWith<State>>,
    pub(super) then: Then,
}

impl Redraw {
    /// Before a session that begins with these. `reply` hears when all are drawn.
    pub(super) fn beginning(inputs: VecDeque<ChunkInput>, reply: oneshot::Sender<Result<(), OpenError>>) -> Redraw {
        Redraw { chunks: inputs.into_iter().map(|input| (input, None)).collect(), then: Then::Opened(reply) }
    }
}

/// The next video of a session.
pub struct Another {
    /// What its world is told.
    pub init: Init,
    /// How its conditions begin.
    pub beginning: Beginning,
    /// How the states are spaced that are kept to go back to.
    pub rewinds: Option<Spacing>,
}

/// Who waits for the end of a redraw.
pub(super) enum Then {
    /// The session begins: its video was never drawn before.
    Opened(oneshot::Sender<Result<(), OpenError>>),
    /// The session goes on.
    Back(oneshot::Sender<Result<(), String>>),
}

impl Then {
    /// All is drawn again.
    pub(super) fn done(self) {
        // An error: nobody waits any more, and a close is on its way.
        match self {
            Then::Opened(reply) => drop(reply.send(Ok(()))),
            Then::Back(reply) => drop(reply.send(Ok(()))),
        }
    }

    pub(super) fn failed(self, reason: &str) {
        match self {
            Then::Opened(reply) => drop(reply.send(Err(OpenError::Failed(reason.to_owned())))),
            Then::Back(reply) => drop(reply.send(Err(reason.to_owned()))),
        }
    }
}

/// What is said of a recording that another world drew.
pub(super) fn another_world(Origin { world, weights, compute }: &Origin, here: &Origin) -> OpenError {
    let here = format!("{} (weights {}, computed in {})", here.world, here.weights, here.compute);
    let reason =
        format!("was drawn by {world} (weights {weights}, computed in {compute}): {here} would draw another video");
    OpenError::Refused(Refusal { field: "recording", reason })
}
