//! What every request can reach. The top of the house: nothing below imports it.

use std::sync::Arc;

use axum::extract::FromRef;
use pipeline::world::Card;
use tokio::sync::{Semaphore, mpsc};

use crate::access::http::Entrance;
use crate::config::limits::Limits;
use crate::observe::Observer;
use crate::phase::Phase;
use crate::realtime::link::Realtime;

/// What every request can reach.
#[derive(Clone)]
pub(crate) struct App {
    /// What the operator bounds.
    pub(crate) limits: Arc<Limits>,
    /// Who may come in.
    pub(crate) entrance: Entrance,
    /// Permits for WebSockets.
    pub(crate) connections: Arc<Semaphore>,
    /// Every socket holds what this gives: when the last is dropped, all have said goodbye.
    pub(crate) present: mpsc::WeakSender<()>,
    /// What the sessions on those sockets reach.
    pub(crate) realtime: Arc<Realtime>,
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

    /// Is told what happens, and tells the pages.
    pub(crate) fn observer(&self) -> &Observer {
        &self.realtime.observer
    }

    /// What the server does now.
    pub(crate) fn phase(&self) -> Phase {
        *self.realtime.phase.borrow()
    }

    /// What the server does now, in a word for load balancers.
    pub(crate) fn status(&self) -> &'static str {
        match self.phase() {
            Phase::Serving if self.card().is_none() => "loading",
            Phase::Serving => "ok",
            Phase::Draining => "draining",
            Phase::Stopping => "stopping",
        }
    }
}
