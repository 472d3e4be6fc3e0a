//! What every request can reach.

use std::sync::Arc;

use pipeline::world::Card;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::access::door::Door;
use crate::admission::queue::Queue;
use crate::config::limits::Limits;
use crate::engine::thread::Engine;
use crate::fetch::Fetcher;
use crate::observe::Observer;
use crate::phase::Phase;
use crate::realtime::link::resume::Resumable;

/// What every request can reach.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) limits: Arc<Limits>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) observer: Arc<Observer>,
    pub(crate) door: Arc<Door>,
    pub(crate) resumable: Arc<Resumable>,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Every socket holds what this gives: when the last is dropped, all have said goodbye.
    pub(crate) present: mpsc::WeakSender<()>,
    pub(crate) fetcher: Arc<Fetcher>,
}

impl App {
    pub(crate) fn connections_open(&self) -> usize {
        self.limits.connections.saturating_sub(self.connections.available_permits())
    }

    /// `None` while the world loads.
    pub(crate) fn card(&self) -> Option<Arc<Card>> {
        self.engine.card.borrow().clone()
    }

    pub(crate) fn status(&self) -> &'static str {
        match *self.phase.borrow() {
            Phase::Serving if self.engine.card.borrow().is_none() => "loading",
            Phase::Serving => "ok",
            Phase::Draining => "draining",
            Phase::Stopping => "stopping",
        }
    }
}
