//! The state that HTTP handlers share. The top module: nothing below imports it.

use std::sync::Arc;

use axum::extract::FromRef;
use pipeline::world::Card;
use tokio::sync::{Semaphore, mpsc};

use crate::access::http::Entrance;
use crate::config::limits::Limits;
use crate::observe::Observer;
use crate::openai::state::OpenAi;
use crate::phase::Phase;
use crate::realtime::link::Realtime;

/// The state that HTTP handlers share.
#[derive(Clone)]
pub(crate) struct App {
    /// The operator's bounds.
    pub(crate) limits: Arc<Limits>,
    /// The door, and the observer of denials.
    pub(crate) entrance: Entrance,
    /// Permits for WebSockets.
    pub(crate) connections: Arc<Semaphore>,
    /// Every socket holds a sender made from this. When the last one is dropped, all sockets are closed.
    pub(crate) present: mpsc::WeakSender<()>,
    /// The state that sessions share.
    pub(crate) realtime: Arc<Realtime>,
    /// The state of clips and pictures by HTTP.
    pub(crate) openai: Arc<OpenAi>,
}

impl FromRef<App> for Entrance {
    fn from_ref(app: &App) -> Entrance {
        app.entrance.clone()
    }
}

impl App {
    /// WebSockets that are open.
    pub(crate) fn connections_open(&self) -> usize {
        self.limits.connections.saturating_sub(self.connections.available_permits())
    }

    /// `None` while the world loads.
    pub(crate) fn card(&self) -> Option<Arc<Card>> {
        self.realtime.engine.card.borrow().clone()
    }

    /// Counts events; the status pages read it.
    pub(crate) fn observer(&self) -> &Observer {
        &self.realtime.observer
    }

    /// The server's current phase.
    pub(crate) fn phase(&self) -> Phase {
        *self.realtime.phase.borrow()
    }

    /// The server's current phase, as a word for load balancers.
    pub(crate) fn status(&self) -> &'static str {
        match self.phase() {
            Phase::Serving if self.openai.engine_is_gone() => "engine_gone",
            Phase::Serving if self.card().is_none() => "loading",
            Phase::Serving => "ok",
            Phase::Draining => "draining",
            Phase::Stopping => "stopping",
        }
    }
}
