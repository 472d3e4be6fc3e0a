//! What the engine's thread is told, and what it hands over.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pipeline::world::{Cancel, ChunkPlan, Frames, Init, Timings};
use tokio::sync::{mpsc, oneshot};

use super::clip::OpenClip;
use super::elsewhere::{Again, Another, Journaled, OpenError, PackedRollout};
use super::turns::acks::Acks;
use super::turns::clips::NextGrant;
use super::turns::rewinds::Spacing;
use super::turns::under_way::Conditions;
use crate::admission::queue::Admitted;
use crate::admission::rules::SeatId;
use crate::recordings::Recordings;

/// What the engine is told.
pub enum Command {
    /// A session begins. The answer says whether its rollout is open.
    Open(Box<Open>, oneshot::Sender<Result<(), OpenError>>),
    /// Draw this many more chunks, due at this time.
    Grant(SeatId, u64, Instant),
    /// When a paced session without credit will grant its next chunk.
    ExpectGrant(SeatId, NextGrant),
    /// A clip begins.
    OpenClip(OpenClip),
    /// All that a clip's last piece gave was taken.
    Taken(SeatId),
    /// Go back, so that this chunk is drawn next. The answer comes when all before it is drawn again; `Err` says why the
    /// session goes on where it was.
    Rewind(SeatId, usize, oneshot::Sender<Result<(), String>>),
    /// Begin another video in this session, which has been sent all that it was granted. The answer comes when it is open;
    /// where it cannot be, the session's channel says why.
    Reset(SeatId, Box<Another>, oneshot::Sender<()>),
    /// What the session's rollout is, for another process. Nothing of it is under way; `Err` says why it stays.
    Pack(SeatId, oneshot::Sender<Result<PackedRollout, String>>),
    /// A session or a clip is given up.
    Close(SeatId),
}

/// A session to open.
pub struct Open {
    /// Freed when the rollout is dropped.
    pub(crate) admitted: Admitted,
    /// What its world is told.
    pub init: Init,
    /// Its chunks are due at known times, and go before those of free sessions.
    pub paced: bool,
    /// What steers its chunks: sampled when a chunk begins.
    pub conditions: Arc<Mutex<Conditions>>,
    /// Its capacity is [`parts_places`].
    pub parts: mpsc::Sender<Result<ChunkPart, String>>,
    /// Stops its chunk between two passes.
    pub cancel: Cancel,
    /// Where it is recorded, and its name there.
    pub(crate) record: Option<(Arc<Recordings>, String)>,
    /// How the states are spaced that are kept to go back to.
    pub(crate) rewinds: Option<Spacing>,
    /// Chunks of a recording that are drawn first.
    pub(crate) again: Option<Box<Again>>,
    /// The state that it goes on from: it began in another process.
    pub(crate) state: Option<Vec<u8>>,
    /// The number of its video, and the bytes of its recording there.
    pub(crate) recorded: Option<(u32, Vec<u8>)>,
    /// For a session with a journal: whether it wants the state before the next chunk.
    pub(crate) journal: Option<Arc<AtomicBool>>,
}

/// A chunk, piece by piece as it is drawn: a `First`, `More` for each latent frame after it, and an `End`.
pub enum ChunkPart {
    /// What is known of the chunk, and its first frames.
    First(Drawn, Frames),
    /// The frames of its next latent frame, and when they were handed over.
    More(Frames, Instant),
    /// All is drawn.
    End {
        /// The time it took.
        generate: Duration,
        /// How the world spent that.
        world: Timings,
    },
}

/// A chunk's facts, known once its controls are sampled.
pub struct Drawn {
    /// Which frames it has.
    pub plan: ChunkPlan,
    /// The largest id of the events that it is drawn with.
    pub event_id: Option<u32>,
    /// A key is held in it.
    pub moves: bool,
    /// Which events it shows first, and which were replaced.
    pub acks: Acks,
    /// When its controls were sampled, and for how long.
    pub began: Instant,
    /// How long that took.
    pub prepare: Duration,
    /// When its first frames were handed over.
    pub handed: Instant,
    /// Drawn in as many steps as most are, and begun once: the next one will take as long.
    pub usual: bool,
    /// For the journal of its session.
    pub journal: Option<Box<Journaled>>,
}

/// Capacity of a session's channel, so that handing over never waits: for each credit the latent frames of a
/// chunk and its end, and one for the error that may come after.
pub fn parts_places(chunk: usize, credit: u64) -> usize {
    credit as usize * (chunk + 1) + 1
}
