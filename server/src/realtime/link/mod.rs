//! Between a socket, a session and the engine: bytes are moved here, and nothing is decided.

mod anew;
pub(crate) mod arriving;
pub(crate) mod audience;
pub(crate) mod bounds;
mod checking;
pub(crate) mod connection;
mod delivery;
mod departing;
mod departure;
mod early;
mod elsewhere;
mod going;
mod hosting;
mod house;
mod journaling;
mod line;
mod outlet;
mod packed;
mod parking;
mod place;
mod projector;
mod reads;
mod recovering;
mod reel;
mod relayed;
pub(crate) mod resume;
mod running;
pub(crate) mod seat;
mod seeking;
pub(crate) mod share;
pub(crate) mod socket;
mod state;
mod viewers_room;
mod viewing;

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use self::audience::Audiences;
use self::bounds::LinkBounds;
use self::resume::Resumable;
use crate::admission::queue::Queue;
use crate::cluster::node::Cluster;
use crate::engine::thread::Engine;
use crate::fetch::Fetcher;
use crate::guardrails::Guardrails;
use crate::media::picture_reader::PictureReader;
use crate::moving::Nodes;
use crate::observe::Observer;
use crate::phase::Phase;
use crate::recordings::Recordings;

/// What every realtime session reaches, and nothing of HTTP.
pub(crate) struct Realtime {
    /// Draws chunks.
    pub(crate) engine: Engine,
    /// Where sessions wait for a place.
    pub(crate) queue: Arc<Queue>,
    /// Brings first frames that are named by URL.
    pub(crate) fetcher: Arc<Fetcher>,
    /// What prompts must pass.
    pub(crate) guardrails: Guardrails,
    /// Reads first frames.
    pub(crate) pictures: Arc<PictureReader>,
    /// Where sessions are recorded.
    pub(crate) recordings: Option<Arc<Recordings>>,
    /// Is told what happens.
    pub(crate) observer: Arc<Observer>,
    /// Finds the session of a client that comes back.
    pub(crate) resumable: Arc<Resumable>,
    /// Finds the session that a viewer's token stands for.
    pub(crate) audiences: Arc<Audiences>,
    /// Where sessions go on that leave, and whose this server takes. `None`: none moves.
    pub(crate) moving: Option<Arc<dyn Nodes>>,
    /// Permits for sessions that come from another server: each may hold 64 MiB before it is admitted.
    pub(crate) arrivals: Semaphore,
    /// The other servers, if there are any.
    pub(crate) cluster: Option<Arc<Cluster>>,
    /// Whether the server takes sessions, drains or stops.
    pub(crate) phase: watch::Receiver<Phase>,
    /// The bounds of one session and its connection.
    pub(crate) bounds: LinkBounds,
}
