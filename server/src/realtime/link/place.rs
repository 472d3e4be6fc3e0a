//! The place of a running session, from having one to waiting for one again.
//!
//! ```text
//!   Kept ──the client rests──► Offered ──another waits──► Asked ──all is sent──► Parked or over
//!     ▲                           │                                                │
//!     │◄──────── it moves ────────┘                       the client is back ──────┤
//!     │                                                                            ▼
//!     └──────────────────────── a place is free ◄─────────────────────────── Returning ──no place in time, or it
//!                                                                                         leaves──► Parked
//! ```

use std::future::pending;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;

use super::bounds::SAID_EVERY;
use super::connection::Heard;
use super::early::{Came, Early};
use super::resume::Handover;
use crate::access::door::Lease;
use crate::admission::queue::{Call, Standing};
use crate::admission::rules::{Obstacle, Waiting};
use crate::realtime::session::text_message;
use crate::realtime::wire::close::Close;
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::queue;

/// Whether a session has a place.
pub(super) enum Place {
    /// It has one, and needs it.
    Kept,
    /// It has one, and would leave it to another.
    Offered(Call),
    /// It has one, and leaves it. The call is kept, or another would be asked as well.
    Asked(#[expect(dead_code, reason = "held until the place is left")] Call),
    /// It has none; its rollout waits for its client, unless its memory is needed.
    Parked(Call),
    /// It has none, and its client is back and waits.
    Returning(Box<Returning>),
}

/// What happens to a place.
pub(super) enum PlaceNews {
    /// Another waits for it, or for the memory of a parked rollout.
    Wanted,
    /// The client that came back has a place.
    Free,
    /// It has none, and this is to be said on its line.
    Not(Option<ClientError>, Option<Close>),
}

impl Place {
    /// Nobody waits for a place here, and none was given away.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self, Place::Kept | Place::Offered(_))
    }

    /// What happens next; for ever while nothing does. May be dropped and called again: nothing is lost.
    pub(super) async fn next(&mut self) -> PlaceNews {
        match self {
            Place::Kept | Place::Asked(_) => pending().await,
            Place::Offered(call) | Place::Parked(call) => {
                call.must_leave().await;
                PlaceNews::Wanted
            }
            Place::Returning(returning) => returning.next().await,
        }
    }
}

/// A client that came back to a parked session.
pub(super) struct Returning {
    pub(super) handover: Handover,
    /// On its account.
    pub(super) lease: Lease,
    pub(super) standing: watch::Receiver<Standing>,
    /// What it said meanwhile.
    pub(super) early: Early,
    /// When it asked for a place, or last said that it still waits.
    pub(super) since: Instant,
    /// How long it waits from then on.
    pub(super) patience: Duration,
    /// When it may hear of its position again; `None`: it does not know that there is a queue.
    pub(super) say_at: Option<Instant>,
    /// What it has heard.
    pub(super) said: Option<Waiting>,
}

impl Returning {
    async fn next(&mut self) -> PlaceNews {
        loop {
            let standing = *self.standing.borrow_and_update();
            let Standing::Waits(waiting) = standing else { return PlaceNews::Free };
            if let Some(say_at) = &mut self.say_at
                && *say_at <= Instant::now()
                && self.said != Some(waiting)
            {
                (*say_at, self.said) = (Instant::now() + SAID_EVERY, Some(waiting));
                self.handover.line.connection.writer().begin_with(vec![queue::queue(&waiting)]);
            }
            let said_all = self.said == Some(waiting);
            let until = self.since + self.patience;
            let say_at = self.say_at.filter(|_| !said_all).unwrap_or(until);
            tokio::select! {
                biased;
                changed = self.standing.changed() => {
                    if changed.is_err() {
                        return PlaceNews::Not(None, Some(Close::FAILED));
                    }
                }
                () = sleep_until(until.into()) => return no_place(&waiting.obstacle),
                heard = self.handover.line.connection.hear() => {
                    if let Some(end) = self.heard(heard) {
                        return end;
                    }
                }
                () = sleep_until(say_at.into()) => {}
            }
        }
    }

    fn heard(&mut self, heard: Heard) -> Option<PlaceNews> {
        let (refusal, close) = match heard {
            Heard::Binary(event) => match self.early.push(&event, Instant::now()) {
                Ok(Came::Kept) => return None,
                Ok(Came::Waits) => {
                    self.since = Instant::now();
                    return None;
                }
                Err(refusal) => (refusal, Close::FLOOD),
            },
            Heard::Text => (text_message(), Close::TEXT),
            over => return Some(PlaceNews::Not(None, over.last_words())),
        };
        Some(PlaceNews::Not(Some(ClientError::invalid_event(refusal.into())), Some(close)))
    }
}

fn no_place(obstacle: &Obstacle) -> PlaceNews {
    PlaceNews::Not(Some(ClientError::busy(obstacle)), Some(Close::BUSY))
}
