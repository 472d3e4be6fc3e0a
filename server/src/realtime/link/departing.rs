//! A running session that leaves this server: between two chunks it is packed and posted to another node, and its client hears
//! where it goes on. If no node takes it, it ends here as it would have.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use serde_bytes::ByteBuf;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::departure::{Departure, DepartureNews, Gone};
use super::packed::{self, NO_TOKEN, Packed, RECORDING_BYTES_MAX, VERSION};
use super::resume::ResumeTicket;
use super::running::Running;
use super::seat::{Panicked, off_the_loop};
use super::state::Client;
use crate::engine::elsewhere::PackedRollout;
use crate::engine::messages::Command;
use crate::moving::{Nodes, Taken, Wish};
use crate::realtime::session::Input;
use crate::realtime::session::backlog::PackedBacklog;
use crate::realtime::wire::close::Close;
use crate::realtime::wire::moved::moved;
use crate::realtime::wire::sharing::Reins;

/// The most that is sent along of what a connected client was sent last. It has read nearly all of it: the rest is in the
/// buffers of its connection, and those of Linux are 10 MiB together.
const CONNECTED_BACKLOG_BYTES: usize = 16 << 20;

impl Running<'_> {
    /// The server drains: let the session go on elsewhere, if it can. Otherwise it ends here.
    pub(super) fn leave_the_server(&mut self) {
        let now = Instant::now();
        let may = self.realtime.moving.is_some() && self.ticket.is_some() && self.seat.begun.is_some();
        if may && self.place.is_settled() {
            // Viewers do not move. What one of them held is the player's again.
            self.house.audience.take_back();
            self.session.handle(Input::Reins(Reins::default()), now);
            self.session.handle(Input::Depart, now);
            if self.session.departs() {
                return;
            }
        }
        self.session.handle(Input::End(Close::SHUTDOWN), now);
    }

    /// Nothing is under way: pack it, once its events are checked.
    pub(super) fn depart(&mut self) {
        if !self.checking.is_idle() || self.step_waits {
            self.departure = Departure::Checking;
            return;
        }
        let (reply, answer) = oneshot::channel();
        self.seat.command(Command::Pack(self.seat.id, reply));
        self.departure = Departure::Packing(answer);
    }

    /// `Some`: it goes on elsewhere, and its client is told so with this close.
    pub(super) fn hear_of_departure(&mut self, news: DepartureNews) -> Option<Close> {
        let on_its_way = match news {
            DepartureNews::Packed(rollout) => rollout.and_then(|rollout| self.send_away(rollout)),
            DepartureNews::Sent(Ok(Gone { taken: Taken { node, clients }, bytes, took })) => {
                info!(node, bytes, ?took, "moved: goes on at another node");
                self.realtime.observer.metrics.moves.add(1);
                self.ticket.iter_mut().for_each(ResumeTicket::moved);
                if self.seat.features.moved {
                    self.say(moved(clients.as_deref(), self.heard));
                }
                return Some(Close::SHUTDOWN);
            }
            DepartureNews::Sent(Err(reason)) => Err(reason),
        };
        match on_its_way {
            Ok(sending) => self.departure = sending,
            Err(reason) => {
                warn!(reason, "not moved: ends here");
                self.departure = Departure::No;
                self.session.handle(Input::End(Close::SHUTDOWN), Instant::now());
            }
        }
        None
    }

    fn send_away(&self, rollout: PackedRollout) -> Result<Departure, String> {
        let PackedRollout { state, replay, origin, recording } = rollout;
        let (now, ticket) = (Instant::now(), self.ticket.as_ref().ok_or("nobody could come back to it")?);
        let init = self.seat.begun.as_ref().ok_or("its beginning is not kept")?;
        let nodes: Arc<dyn Nodes> = self.realtime.moving.clone().ok_or("no session moves from here")?;
        let beginning = packed::beginning(init)?;
        let left = Packed::room_for_backlog(&state, &beginning);
        let backlog = match self.client {
            Client::Here(_) => left.min(CONNECTED_BACKLOG_BYTES),
            Client::Away => left,
        };
        let mut session = Packed {
            token: ticket.token().to_owned(),
            session: self.session.pack(now),
            backlog: self.outlet.pack(backlog),
            beginning,
            replay: packed::inputs(&replay)?,
            rollout: state.into(),
            ..self.packed(now)
        };
        let (bytes, pixels) = self.seat.admitted;
        let wish = Wish {
            session_id: self.id.to_owned(),
            origin,
            bytes,
            pixels,
            period: self.seat.terms.chunk_period(&self.seat.card()),
            account: self.account.as_deref().map(str::to_owned),
            came: self.grant.as_ref().map_or(0, |grant| grant.came),
            goes_itself: self.seat.features.redirect,
        };
        Ok(Departure::Sending(Box::pin(async move {
            let packed = off_the_loop(move || {
                if let Some(so_far) = recording {
                    match so_far.read(RECORDING_BYTES_MAX) {
                        Ok(bytes) => session.recording = Some((so_far.video, bytes.into())),
                        Err(reason) => warn!(reason, "the recording of a session ends with its move"),
                    }
                }
                session.encode()
            });
            let bytes = packed.await.unwrap_or_else(|Panicked| Err(Panicked::WORDS.to_owned()))?;
            let count = bytes.len();
            let taken = nodes.give(&wish, bytes.into()).await?;
            Ok(Gone { taken, bytes: count, took: now.elapsed() })
        })))
    }
    /// The session as it is, without its token, its rollout, and what was sent or is to be drawn again.
    pub(super) fn packed(&self, now: Instant) -> Packed {
        Packed {
            causeway_session: VERSION,
            session_id: self.id.to_owned(),
            token: NO_TOKEN.to_owned(),
            account: self.account.as_deref().map(str::to_owned),
            features: self.seat.features,
            terms: self.seat.terms,
            transport: self.seat.transport,
            lens: self.seat.lens,
            guarded: !self.seat.guardrails.is_empty(),
            first_chunk: self.seat.first_chunk,
            next_chunk: self.next_chunk,
            went_elsewhere: self.elsewhere.arrived.is_some(),
            elsewhere_id: self.elsewhere.arrived.flatten(),
            clock_ms: self.clock.ms(now),
            conditions: self.conditions().pack(),
            session: self.session.pack(now),
            backlog: PackedBacklog::default(),
            beginning: ByteBuf::new(),
            replay: VecDeque::new(),
            recording: None,
            rollout: ByteBuf::new(),
        }
    }
}
