//! A running session and its place: offered while its client rests, left to one that waits, and asked for again when the
//! client comes back.

use std::time::Instant;

use tracing::{debug, info};

use super::early::Early;
use super::line::Line;
use super::place::{Place, PlaceNews, Returning};
use super::resume::{Handover, gone};
use super::running::Running;
use crate::access::door::Lease;
use crate::admission::queue::Standing;
use crate::realtime::session::Input;
use crate::realtime::wire::close::Close;
use crate::realtime::wire::error::ClientError;

impl Running<'_> {
    /// The place is another's; `false` if the rollout must go too.
    pub(super) fn park(&mut self) -> bool {
        let Some(call) = self.realtime.queue.park(self.seat.id) else { return false };
        info!("parked");
        (self.place, self.lease) = (Place::Parked(call), None);
        self.outlet.detach();
        self.listed.session.away(true);
        if let Some(line) = self.client.leave() {
            tokio::spawn(line.finish(self.realtime.observer.clone(), Some(Close::YIELDED)));
        }
        self.session.handle(Input::Parked, Instant::now());
        true
    }

    /// As long as its client rests another may have the place.
    pub(super) fn offer_place(&mut self) {
        let rests = self.session.yields_at().is_some_and(|at| at <= Instant::now());
        match self.place {
            Place::Kept if rests => {
                let offer = self.realtime.queue.offer(self.seat.id, self.session.rests_since());
                self.place = Place::Offered(offer);
            }
            Place::Offered(_) if !rests => self.place = Place::Kept,
            _ => {}
        }
    }

    /// What happened to its place; `true` if this is the end.
    pub(super) fn must_go(&mut self, news: PlaceNews) -> bool {
        match (std::mem::replace(&mut self.place, Place::Kept), news) {
            (Place::Offered(call), PlaceNews::Wanted) => {
                self.session.handle(Input::Wanted, Instant::now());
                // Otherwise its client has moved just now, and the offer ends.
                if self.session.yields_at().is_none() {
                    self.place = Place::Asked(call);
                }
                false
            }
            (Place::Parked(_), PlaceNews::Wanted) => {
                info!("its memory is needed");
                true
            }
            (Place::Returning(returning), PlaceNews::Free) => {
                let Returning { handover, lease, early, .. } = *returning;
                self.lease = Some(lease);
                self.take_over(handover);
                self.heard = early.events.len() as u64;
                for event in &early.events {
                    self.session.handle(Input::Binary(event), Instant::now());
                }
                false
            }
            (Place::Returning(returning), PlaceNews::Not(error, close)) => {
                let line = returning.handover.line;
                self.turn_away(line, error, close);
                match self.realtime.queue.park_again(self.seat.id) {
                    Some(call) => self.place = Place::Parked(call),
                    None => return true,
                }
                false
            }
            _ => unreachable!("each place has news of its own"),
        }
    }

    /// The client is back: to a session with a place at once, to a parked one once there is a place.
    pub(super) fn come_back(&mut self, handover: Handover) {
        let Place::Parked(_) = self.place else {
            // Where it comes from another server, its client counts here from now on.
            if self.lease.is_none() {
                match begin_session(&handover) {
                    Ok(lease) => self.lease = Some(lease),
                    Err((error, close)) => return self.turn_away(handover.line, Some(error), Some(close)),
                }
            }
            return self.take_over(handover);
        };
        let (lease, standing) = match self.ask_again(&handover) {
            Ok(asked) => asked,
            Err((error, close)) => return self.turn_away(handover.line, Some(error), Some(close)),
        };
        info!(last_chunk = handover.last_chunk, "back, and asks for a place");
        let (bounds, now) = (&self.realtime.bounds, Instant::now());
        let (patience, say_at) = match self.seat.features.queue {
            true => (bounds.queue_wait, Some(now)),
            false => (bounds.busy_wait, None),
        };
        let early = Early::new(self.seat.features);
        let returning = Returning { handover, lease, standing, early, since: now, patience, say_at, said: None };
        self.place = Place::Returning(Box::new(returning));
        self.session.handle(Input::Returning, now);
    }

    /// `Err`: what to say, and how to close.
    fn ask_again(
        &self,
        handover: &Handover,
    ) -> Result<(Lease, tokio::sync::watch::Receiver<Standing>), (ClientError, Close)> {
        let not_kept = |refusal| (ClientError::invalid_resume(refusal), Close::NOT_KEPT);
        self.outlet.check(handover.last_chunk).map_err(not_kept)?;
        let lease = begin_session(handover)?;
        match self.realtime.queue.ask_again(self.seat.id) {
            Ok(Some(standing)) => Ok((lease, standing)),
            Ok(None) => Err(not_kept(gone())),
            Err(refused) => Err((ClientError::queue_full(&refused), Close::BUSY)),
        }
    }

    pub(super) fn turn_away(&self, line: Line, error: Option<ClientError>, close: Option<Close>) {
        if let Some(error) = error {
            debug!(?error, "not resumed");
            line.connection.tell(&error);
        }
        tokio::spawn(line.finish(self.realtime.observer.clone(), close));
    }
}

/// On its client's account. `Err`: what to say, and how to close.
fn begin_session(handover: &Handover) -> Result<Lease, (ClientError, Close)> {
    handover.line.visitor.begin_session().map_err(|denied| {
        let close = Close { code: 1008, reason: denied.close_reason() };
        (ClientError::denied(denied), close)
    })
}
