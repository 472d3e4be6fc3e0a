//! A session that runs: the client's messages in, what [`Session`] decides out to the engine and to the client.
//!
//! It may outlive its connection: one whose client can come back goes on without, and takes the next that brings its token.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pipeline::world::Frames;
use tokio::time::sleep_until;
use tracing::{Instrument, debug, info, warn};

use super::Realtime;
use super::connection::Heard;
use super::delivery::{Parts, deliver, next_part};
use super::line::{Line, Over};
use super::outlet::Outlet;
use super::resume::{Handover, ResumeTicket};
use super::seat::Seat;
use crate::engine::thread::{ChunkPart, Command, Drawn};
use crate::engine::turns::acks::Acks;
use crate::observe::{Facts, Listed, chunk_span};
use crate::phase::Phase;
use crate::realtime::session::backlog::Backlog;
use crate::realtime::session::{Input, Output, Session};
use crate::realtime::wire::close::Close;
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::frames::{ChunkLabel, Timing};

/// A session with a seat.
pub(super) struct Running<'a> {
    realtime: &'a Realtime,
    id: &'a str,
    seat: Seat,
    session: Session,
    listed: Listed,
    outlet: Arc<Outlet>,
    /// Of one that can be resumed.
    ticket: Option<ResumeTicket>,
    /// `None` while the client is away.
    line: Option<Line>,
    /// A chunk's first frames, until the session releases them.
    drawn: Option<(Drawn, Frames)>,
    /// Video frames of the chunks that were delivered, or are.
    frames: u64,
    delivery: Option<Delivery>,
}

type Delivery = Pin<Box<dyn Future<Output = (Parts, anyhow::Result<()>)> + Send>>;

impl<'a> Running<'a> {
    /// `early` is what the client said before it had a seat.
    pub(super) fn new(seat: Seat, early: &[Bytes], line: Line, realtime: &'a Realtime, id: &'a str) -> Self {
        info!(seat = seat.id, size = %seat.encoding.source(), format = seat.encoding.format().name(), terms = ?seat.terms, "running");
        let ticket = seat.features.session.then(|| ResumeTicket::new(realtime.resumable.clone()));
        let greeting = greeting(&seat, ticket.as_ref(), realtime, id, 0);
        if !greeting.is_empty() {
            line.connection.writer().begin_with(greeting);
        }
        let backlog = ticket.as_ref().map(|_| Backlog::new(realtime.bounds.backlog_bytes));
        let outlet = Arc::new(Outlet::new(line.connection.writer(), backlog));
        let facts = Facts {
            size: seat.encoding.source(),
            format: seat.encoding.format().name(),
            fps: seat.terms.fps,
            paced: seat.terms.paced,
        };
        let listed = realtime.observer.session(id, seat.id, facts);
        let mut session = Session::new(seat.terms, seat.features.pause, realtime.bounds.stay, Instant::now());
        for event in early {
            session.handle(Input::Binary(event), Instant::now());
        }
        session.handle(Input::Opened, Instant::now());
        Running {
            realtime,
            id,
            seat,
            session,
            listed,
            outlet,
            ticket,
            line: Some(line),
            drawn: None,
            frames: 0,
            delivery: None,
        }
    }

    pub(super) async fn run(mut self) -> Over {
        let mut phase = self.realtime.phase.clone();
        let mut coming = Phase::Draining;
        loop {
            while let Some(output) = self.session.poll_output() {
                if let Some(close) = self.obey(output)
                    && !self.is_still_awaited(&close).await
                {
                    return Over { line: self.line, close: Some(close) };
                }
            }
            let waits_for_a_chunk = self.drawn.is_none() && self.seat.parts.is_some();
            let due = self.session.poll_timeout();
            tokio::select! {
                heard = hear(&mut self.line), if self.line.is_some() => {
                    if let Some(over) = self.heard(heard) {
                        return Over { line: self.line, close: over };
                    }
                }
                part = next_part_of(&mut self.seat.parts), if waits_for_a_chunk => self.part(part),
                (parts, delivered) = finished(&mut self.delivery), if self.delivery.is_some() => {
                    self.delivery = None;
                    self.seat.parts = Some(parts);
                    if delivered.is_err() && self.ticket.is_none() && self.is_lost() {
                        return Over { line: self.line, close: None };
                    }
                    self.delivered(delivered);
                }
                handover = returned(&mut self.ticket), if self.ticket.is_some() => self.take_over(handover),
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                    self.session.handle(Input::Tick, Instant::now());
                }
                () = coming.reached(&mut phase) => {
                    if coming == Phase::Stopping {
                        return Over { line: self.line, close: Some(Close::SHUTDOWN) };
                    }
                    coming = Phase::Stopping;
                    self.session.handle(Input::End(Close::SHUTDOWN), Instant::now());
                }
            }
        }
    }

    /// All is sent, but did it arrive? A client that can come back and does not answer the close may want the end of it.
    async fn is_still_awaited(&mut self, close: &Close) -> bool {
        if self.ticket.is_none() || *close != Close::COMPLETE {
            return false;
        }
        let Some(line) = self.line.take() else { return false };
        self.seat.give_up();
        if line.finish(self.realtime.observer.clone(), Some(close.clone())).await {
            return false;
        }
        self.lose(None);
        true
    }

    /// Why to end, if this is the end.
    fn obey(&mut self, output: Output) -> Option<Close> {
        match output {
            Output::Grant { chunks, due } => self.seat.command(Command::Grant(self.seat.id, chunks, due)),
            Output::Steer(event) => {
                self.seat.conditions.lock().expect("nothing panics under this lock").push(event);
            }
            Output::Tell(error) => {
                debug!(?error, "told");
                if let Some(line) = &self.line {
                    line.connection.tell(&error);
                }
            }
            Output::Send { pace_wait } => self.deliver(pace_wait),
            Output::Close(close) => return Some(close),
        }
        None
    }

    fn deliver(&mut self, pace_wait: Duration) {
        let (mut chunk, first) = self.drawn.take().expect("the session releases what it was given");
        if !self.seat.features.ack {
            chunk.acks = Acks::default();
        }
        let live = Arc::clone(&self.listed.session);
        live.sending(chunk.plan.pixel_frames, pace_wait, Instant::now());
        let mut parts = self.seat.parts.take().expect("one chunk is delivered at a time");
        let label = ChunkLabel {
            session_id: self.id.to_owned(),
            request_id: format!("{}_{}", self.id, uuid::Uuid::new_v4().simple()),
            chunk_index: chunk.plan.index,
            event_id: chunk.event_id,
            timing: self.seat.features.timing.then_some(Timing {
                first_frame: self.frames,
                fps: self.seat.terms.fps,
                sampled: chunk.began,
            }),
        };
        self.frames += chunk.plan.pixel_frames as u64;
        let (outlet, encoding) = (Arc::clone(&self.outlet), self.seat.encoding);
        let span = chunk_span(chunk.plan.index);
        let delivering = async move {
            let sent = deliver(&outlet, &label, encoding, (chunk, first), &mut parts, pace_wait, &live).await;
            (parts, sent)
        };
        self.delivery = Some(Box::pin(delivering.instrument(span)));
    }

    /// `Some` if this is the end, with what to say.
    fn heard(&mut self, heard: Heard) -> Option<Option<Close>> {
        match heard {
            Heard::Binary(bytes) => self.session.handle(Input::Binary(&bytes), Instant::now()),
            Heard::Text => self.session.handle(Input::Text, Instant::now()),
            Heard::Lost(close) if self.ticket.is_some() => {
                self.lose(close);
            }
            over => return Some(over.last_words()),
        }
        None
    }

    fn part(&mut self, part: anyhow::Result<ChunkPart>) {
        match part {
            Ok(ChunkPart::First(chunk, frames)) => {
                let input = Input::Chunk { event_id: chunk.event_id, frames: chunk.plan.pixel_frames };
                self.drawn = Some((chunk, frames));
                self.session.handle(input, Instant::now());
            }
            Ok(ChunkPart::More(_) | ChunkPart::End { .. }) => unreachable!("a delivery reads to the end of its chunk"),
            Err(error) => self.session.handle(Input::Failed(error.to_string()), Instant::now()),
        }
    }

    fn delivered(&mut self, delivered: anyhow::Result<()>) {
        let input = match delivered {
            Ok(()) => Input::Written,
            Err(error) => {
                warn!(error = format!("{error:#}"), "chunk not delivered");
                Input::Failed(error.to_string())
            }
        };
        self.session.handle(input, Instant::now());
    }

    /// The client is back, or says so while the other connection still stands: the newer one is right.
    fn take_over(&mut self, Handover { line, last_chunk }: Handover) {
        let ticket = self.ticket.as_ref().expect("it brought the handover");
        let hello = |next_chunk| greeting(&self.seat, Some(ticket), self.realtime, self.id, next_chunk);
        match self.outlet.attach(line.connection.writer(), last_chunk, hello) {
            Ok(()) => {
                info!(last_chunk, "resumed");
                self.realtime.observer.metrics.resumes.add(1);
                if let Some(older) = &self.line {
                    older.connection.tell(&ClientError::resumed_elsewhere());
                    self.leave(Some(Close::RESUMED_ELSEWHERE));
                }
                self.line = Some(line);
                self.listed.session.away(false);
                self.session.handle(Input::Found, Instant::now());
            }
            Err(refusal) => {
                debug!(%refusal, "not resumed");
                line.connection.tell(&ClientError::invalid_resume(refusal));
                tokio::spawn(line.finish(self.realtime.observer.clone(), Some(Close::NOT_KEPT)));
            }
        }
    }

    fn lose(&mut self, close: Option<Close>) {
        info!("client lost, may come back");
        self.outlet.detach();
        self.listed.session.away(true);
        self.leave(close);
        self.session.handle(Input::Lost, Instant::now());
    }

    fn leave(&mut self, close: Option<Close>) {
        if let Some(line) = self.line.take() {
            tokio::spawn(line.finish(self.realtime.observer.clone(), close));
        }
    }

    fn is_lost(&self) -> bool {
        self.line.as_ref().is_none_or(|line| line.connection.is_lost())
    }
}

/// What a line begins with, for a client that asked to hear it.
fn greeting(
    seat: &Seat,
    ticket: Option<&ResumeTicket>,
    realtime: &Realtime,
    id: &str,
    next_chunk: usize,
) -> Vec<Bytes> {
    let hello = ticket.map(|ticket| ticket.hello(id, realtime.bounds.stay.grace, next_chunk));
    // Of one that comes back without a chunk nobody knows whether it has heard.
    let ack = (seat.features.ack && next_chunk == 0).then(|| seat.ack(id));
    hello.into_iter().chain(ack).collect()
}

async fn hear(line: &mut Option<Line>) -> Heard {
    line.as_mut().expect("asked only if there is one").connection.hear().await
}

async fn next_part_of(parts: &mut Option<Parts>) -> anyhow::Result<ChunkPart> {
    next_part(parts.as_mut().expect("asked only if they are here")).await
}

async fn finished(delivery: &mut Option<Delivery>) -> (Parts, anyhow::Result<()>) {
    delivery.as_mut().expect("asked only if there is one").await
}

async fn returned(ticket: &mut Option<ResumeTicket>) -> Handover {
    ticket.as_mut().expect("asked only if there is one").somebody_returns().await
}
