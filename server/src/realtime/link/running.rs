//! A running session: passes the client's messages to [`Session`], and its decisions to the engine and to the client.
//!
//! It may outlive its connection: if the client can come back, the session goes on without one, until a connection
//! brings its token.
//!
//! Its place ([`super::parking`]), its viewers ([`super::hosting`]) and its ways elsewhere ([`super::going`]) stand beside.
//!
//! Over 400 lines: the select loop of a session, its branches and its endings share all of their state.

use std::future::pending;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::sleep_until;
use tracing::{Instrument, debug, info, warn};

use super::Realtime;
use super::anew::prepare;
use super::checking::{BlockedEvent, Checked, Checking};
use super::connection::Heard;
use super::delivery::{BlockedFrames, Parts, deliver};
use super::departure::Departure;
use super::elsewhere::{Elsewhere, Way};
use super::house::House;
use super::line::{Line, Over};
use super::outlet::Outlet;
use super::place::Place;
use super::resume::{Handover, ResumeTicket};
use super::seat::Seat;
use super::state::{Chunk, ChunkNews, Client};
use crate::access::door::Lease;
use crate::cluster::journal::Journal;
use crate::cluster::tickets::HeldGrant;
use crate::engine::messages::Command;
use crate::engine::turns::clips::NextGrant;
use crate::engine::turns::event::Event;
use crate::engine::turns::under_way::Conditions;
use crate::guardrails::Blocked;
use crate::media::stream::Stream;
use crate::observe::{Facts, Listed, chunk_span};
use crate::phase::Phase;
use crate::realtime::session::backlog::Backlog;
use crate::realtime::session::{Input, Output, Session};
use crate::realtime::wire::acks::event_ack;
use crate::realtime::wire::close::Close;
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::event::Invalid;
use crate::realtime::wire::frames::{ChunkLabel, Timing};
use crate::realtime::wire::receipts::{self, SessionClock};
use crate::realtime::wire::sharing::Reins;
use crate::realtime::wire::timeline::timeline;

/// A session with a seat.
pub(super) struct Running<'a> {
    pub(super) realtime: &'a Realtime,
    pub(super) id: &'a str,
    pub(super) seat: Seat,
    pub(super) session: Session,
    pub(super) checking: Checking,
    pub(super) listed: Listed,
    pub(super) outlet: Arc<Outlet>,
    pub(super) stream: Arc<Stream>,
    /// Where new connections arrive, for a client that asked to resume.
    pub(super) ticket: Option<ResumeTicket>,
    pub(super) client: Client,
    pub(super) chunk: Chunk,
    /// A step waits until the events before it are checked.
    pub(super) step_waits: bool,
    /// The number of the next chunk, as the client counts them.
    pub(super) next_chunk: usize,
    pub(super) elsewhere: Elsewhere<'a>,
    /// What receipts are timed by.
    pub(super) clock: SessionClock,
    pub(super) place: Place,
    /// On its client's account; `None` while it is parked.
    pub(super) lease: Option<Lease>,
    /// Who watches.
    pub(super) house: House,
    /// Whose it is.
    pub(super) account: Option<Arc<str>>,
    /// Its way to another server.
    pub(super) departure: Departure,
    /// Messages of its client on this connection, behind the first.
    pub(super) heard: u64,
    /// Under which it is drawn here, in a cluster.
    pub(super) grant: Option<HeldGrant>,
}

/// A session that has come from another server, and waits for its client.
pub(super) struct Arrived {
    pub(super) id: String,
    pub(super) seat: Seat,
    pub(super) session: Session,
    pub(super) ticket: ResumeTicket,
    pub(super) outlet: Arc<Outlet>,
    /// Which of the two states of its journal it has gone on from.
    pub(super) journal_from: Option<usize>,
    pub(super) next_chunk: usize,
    /// The next chunk does not follow the one before it, for the event of this id.
    pub(super) elsewhere: Option<Option<u32>>,
    pub(super) clock: SessionClock,
    pub(super) account: Option<Arc<str>>,
    pub(super) grant: Option<HeldGrant>,
}

impl<'a> Running<'a> {
    /// `early`: events that the client sent before it had a seat.
    pub(super) fn new(
        (seat, parts, grant): (Seat, Parts, Option<HeldGrant>),
        early: &[Bytes],
        (line, lease): (Line, Lease),
        realtime: &'a Realtime,
        id: &'a str,
    ) -> Self {
        let account = line.visitor.account();
        info!(seat = seat.id, size = %seat.encoding.source(), format = seat.encoding.format().name(), terms = ?seat.terms, "running");
        let ticket = seat.features.session.then(|| {
            let (resumable, cluster) = (realtime.resumable.clone(), realtime.cluster.as_deref());
            let mut ticket = ResumeTicket::new(resumable, cluster, seat.journaled(account.as_ref()));
            ticket.journal = journal(realtime, &seat, ticket.token(), None);
            ticket
        });
        let greeting = greeting(&seat, ticket.as_ref(), realtime, id, 0);
        if !greeting.is_empty() {
            line.connection.writer().begin_with(greeting);
        }
        let backlog = ticket.as_ref().map(|_| Backlog::new(realtime.bounds.backlog_bytes));
        let may_send = ticket.as_ref().filter(|_| seat.journal.is_some()).and_then(ResumeTicket::may_send);
        let outlet = Arc::new(Outlet::new(line.connection.writer(), backlog).fenced(may_send));
        let mut session = Session::new(seat.terms, seat.features, realtime.bounds.stay, Instant::now());
        session.begins(seat.chunking, seat.first_chunk);
        for event in early {
            session.handle(Input::Binary(event), Instant::now());
        }
        session.handle(Input::Opened, Instant::now());
        // A beginning out of a recording whose frames are not sent.
        let arrived = (seat.first_chunk > 0).then_some(None);
        Running {
            ticket,
            client: Client::Here(Box::new(line)),
            elsewhere: Elsewhere::at(arrived),
            lease: Some(lease),
            heard: early.len() as u64,
            grant,
            ..Running::without_a_line(seat, session, outlet, parts, account, realtime, id)
        }
    }

    /// One that has come from another server: its client is away.
    pub(super) fn arrived(arrived: Arrived, parts: Parts, realtime: &'a Realtime, id: &'a str) -> Self {
        let Arrived {
            id: _,
            seat,
            session,
            mut ticket,
            outlet,
            journal_from,
            next_chunk,
            elsewhere,
            clock,
            account,
            grant,
        } = arrived;
        info!(seat = seat.id, size = %seat.encoding.source(), terms = ?seat.terms, next_chunk, "arrived from another server");
        ticket.journal = journal(realtime, &seat, ticket.token(), journal_from);
        let running = Running::without_a_line(seat, session, outlet, parts, account, realtime, id);
        running.listed.session.away(true);
        Running { ticket: Some(ticket), next_chunk, elsewhere: Elsewhere::at(elsewhere), clock, grant, ..running }
    }

    fn without_a_line(
        seat: Seat,
        session: Session,
        outlet: Arc<Outlet>,
        parts: Parts,
        account: Option<Arc<str>>,
        realtime: &'a Realtime,
        id: &'a str,
    ) -> Self {
        let about = seat.about(id);
        let house = House::open(&realtime.audiences, about, seat.chunk_bytes(), account.clone(), seat.features);
        let facts = Facts {
            format: seat.encoding.format().name(),
            size: seat.encoding.source(),
            fps: seat.terms.fps,
            paced: seat.terms.paced,
        };
        let listed = realtime.observer.session(id, seat.id, facts);
        Running {
            realtime,
            id,
            checking: Checking::new(seat.guardrails.clone()),
            seat,
            session,
            listed,
            outlet,
            stream: Arc::default(),
            ticket: None,
            client: Client::Away,
            chunk: Chunk::Waiting(parts),
            step_waits: false,
            next_chunk: 0,
            elsewhere: Elsewhere::at(None),
            clock: SessionClock::new(Instant::now()),
            place: Place::Kept,
            lease: None,
            house,
            account,
            departure: Departure::No,
            heard: 0,
            grant: None,
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
                    return self.over(Some(close));
                }
            }
            self.offer_place();
            self.house.audience.set_stage(self.client.line().is_some(), self.session.is_paused());
            let is_back = matches!(self.place, Place::Returning(_));
            let rests_at = if let Place::Kept = self.place { self.session.yields_at() } else { None };
            let is_packed = self.departure.is_packed();
            tokio::select! {
                heard = self.client.hear(), if !is_packed => {
                    if let Some(close) = self.heard(heard) {
                        return self.over(close);
                    }
                }
                news = self.chunk.next() => {
                    if matches!(news, ChunkNews::Delivered(Err(_))) && self.ticket.is_none() && self.is_lost() {
                        return self.over(None);
                    }
                    self.learn(news);
                }
                checked = self.checking.next() => self.hear_of(checked),
                arrival = self.elsewhere.news() => self.arrive(arrival),
                news = self.house.news(), if !is_packed => self.hear_of_viewers(news),
                handover = returned(&mut self.ticket, is_back || is_packed) => match handover {
                    Some(handover) => self.come_back(handover),
                    None => return self.given_up(),
                },
                news = self.departure.news() => {
                    if let Some(close) = self.hear_of_departure(news) {
                        return self.over(Some(close));
                    }
                }
                news = self.place.next(), if !is_packed => {
                    if self.must_go(news) {
                        return self.over(None);
                    }
                }
                () = passed(self.session.poll_timeout()), if !is_packed => self.session.handle(Input::Tick, Instant::now()),
                // Only so that it offers its place.
                () = passed(rests_at) => {}
                () = lost(&mut self.grant) => return self.given_up(),
                () = coming.reached(&mut phase) => {
                    if coming == Phase::Stopping {
                        return self.over(Some(Close::SHUTDOWN));
                    }
                    coming = Phase::Stopping;
                    self.leave_the_server();
                }
            }
        }
    }

    /// Another node has the session: its client must hear nothing more from this one. Its journal is that node's.
    fn given_up(mut self) -> Over {
        self.ticket.iter_mut().for_each(ResumeTicket::moved);
        Over { line: None, close: Some(Close::GRANTED_ELSEWHERE) }
    }

    fn over(mut self, close: Option<Close>) -> Over {
        let line = match self.place {
            Place::Returning(returning) => Some(returning.handover.line),
            _ => self.client.leave(),
        };
        self.house.end(close.as_ref());
        Over { line, close }
    }

    /// All is sent, but did it arrive? A client that can come back and does not answer the close may want the end of
    /// it. And one whose place went to another may want to go on.
    async fn is_still_awaited(&mut self, close: &Close) -> bool {
        if self.ticket.is_some() && *close == Close::YIELDED {
            return self.park();
        }
        if self.ticket.is_none() || *close != Close::COMPLETE {
            return false;
        }
        let Some(line) = self.client.leave() else { return false };
        self.chunk = Chunk::Over;
        self.seat.give_up();
        self.house.end(Some(close));
        if line.finish(self.realtime.observer.clone(), Some(close.clone())).await {
            return false;
        }
        self.lose(None);
        true
    }

    /// The reason to end, if the session ends here.
    fn obey(&mut self, output: Output) -> Option<Close> {
        match output {
            Output::ExpectGrant { at } => {
                let next_grant = at.map_or(NextGrant::Never, NextGrant::At);
                self.seat.command(Command::ExpectGrant(self.seat.id, next_grant));
            }
            Output::Grant { chunks, due } => self.seat.command(Command::Grant(self.seat.id, chunks, due)),
            Output::Steer(event) => self.check(Reins::PLAYER, event),
            Output::Guest(viewer, event) => self.check(viewer, event),
            Output::Sharing(id, sharing) => self.share(id, sharing),
            Output::Received { id, at } => self.say(self.clock.received(id, at)),
            Output::Clock { client_ms, at } => {
                if let Some(line) = self.client.line() {
                    let (clock, next_ms) = (self.clock, self.conditions().next_ms());
                    let answer = move |sent| clock.answer(client_ms, at, sent, next_ms);
                    line.connection.answer(Box::new(answer));
                }
            }
            Output::Step if self.checking.is_idle() => self.session.handle(Input::Ready, Instant::now()),
            Output::Step => self.step_waits = true,
            Output::Rewind(id, to) => {
                let (reply, answer) = oneshot::channel();
                self.seat.command(Command::Rewind(self.seat.id, to, reply));
                self.elsewhere.goes(Way::Back(id, to, answer));
            }
            Output::Leave => self.conditions().leaves(),
            Output::Depart => self.depart(),
            Output::Reset(id, reset) => {
                let prepare = prepare(self.realtime, self.seat.for_the_next(), (id, reset));
                self.elsewhere.goes(Way::Preparing(id, Box::pin(prepare)));
            }
            Output::Transport(id, transport) => match transport.of(self.seat.encoding.source()) {
                Ok(encoding) => (self.seat.encoding, self.seat.transport) = (encoding, transport),
                Err(refusal) => self.tell(&ClientError::invalid_event(Invalid { id, refusal })),
            },
            Output::WantKeyFrame => self.stream.want_key(),
            Output::Tell(error) => self.tell(&error),
            Output::Send { pace_wait } => self.deliver(pace_wait),
            Output::Close(close) => return Some(close),
        }
        None
    }

    /// Let an event steer once it has passed the guardrails. `by`: the viewer that sent it, or the player.
    fn check(&mut self, by: u32, event: Event) {
        match self.checking.take(by, event) {
            Ok(Some(event)) => self.steer(by, event),
            Ok(None) => {}
            Err(error) => self.tell_whom(by, &error),
        }
    }

    fn steer(&self, by: u32, event: Event) {
        let id = event.id;
        let prompt = event.parts.iter().rev().find_map(|part| part.text()).filter(|_| by == Reins::PLAYER);
        let read = prompt.and_then(|prompt| self.seat.reads.event(id, prompt));
        let now = Instant::now();
        let pushed = {
            // The engine takes the lock when a chunk is kept or given up, so what is asked here is asked of this chunk.
            let mut conditions = self.conditions();
            let pushed = conditions.push(event, now);
            if conditions.begins_again(now) {
                self.seat.begin_again();
            }
            pushed
        };
        match pushed {
            Ok(()) => read.into_iter().for_each(|read| self.say(read)),
            Err(refusal) => self.tell_whom(by, &ClientError::invalid_event(Invalid { id, refusal })),
        }
    }

    pub(super) fn conditions(&self) -> MutexGuard<'_, Conditions> {
        self.seat.conditions.lock().expect("nothing panics under this lock")
    }

    /// A message that is for this moment: one that is away does not hear of it.
    pub(super) fn say(&self, message: Bytes) {
        if let Some(line) = self.client.line() {
            line.connection.say(message);
        }
    }

    pub(super) fn tell(&self, error: &ClientError) {
        debug!(?error, "told");
        if let Some(line) = self.client.line() {
            line.connection.tell(error);
        }
    }

    /// Events passed the guardrails, or one did not.
    fn hear_of(&mut self, checked: Checked) {
        let Checked { allowed, blocked } = checked;
        if let Some(BlockedEvent { error, by, guardrail }) = blocked {
            guardrail.into_iter().for_each(|guardrail| self.realtime.observer.blocked(guardrail));
            self.tell_whom(by, &error);
        }
        allowed.into_iter().for_each(|said| self.steer(said.by, said.event));
        if self.checking.is_idle() && std::mem::take(&mut self.step_waits) {
            self.session.handle(Input::Ready, Instant::now());
        }
        if self.checking.is_idle() && matches!(self.departure, Departure::Checking) {
            self.depart();
        }
    }

    fn deliver(&mut self, pace_wait: Duration) {
        let entry = self.entry();
        let Running { chunk, seat, outlet, stream, listed, next_chunk, elsewhere, id, house, .. } = self;
        let audience = Arc::clone(&house.audience);
        chunk.send(|mut parts, drawn, first| {
            let live = Arc::clone(&listed.session);
            live.sending(drawn.plan.pixel_frames, pace_wait, Instant::now());
            let (plan, chunk_index) = (drawn.plan, *next_chunk);
            *next_chunk += 1;
            let first_frame = plan.first_frame();
            let timing = Timing { first_frame: first_frame as u64, fps: seat.terms.fps, sampled: drawn.began };
            let (acks, features) = (&drawn.acks, seat.features);
            let timeline =
                elsewhere.arrived.take().map(|event_id| timeline(chunk_index, (plan.index, first_frame), event_id));
            let ack = features.ack.then(|| event_ack(acks, chunk_index)).flatten();
            let receipt = features.receipts.then(|| receipts::applied(acks, chunk_index)).flatten();
            let went_elsewhere = timeline.is_some();
            let before = timeline.into_iter().chain(ack).chain(receipt).collect();
            let label = ChunkLabel {
                session_id: (*id).to_owned(),
                request_id: format!("{id}_{}", uuid::Uuid::new_v4().simple()),
                chunk_index,
                event_id: drawn.event_id,
                timing: features.timing.then_some(timing),
            };
            let (outlet, stream, span) = (Arc::clone(outlet), Arc::clone(stream), chunk_span(chunk_index));
            let (encoding, guardrails) = (seat.encoding, seat.guardrails.clone());
            let delivering = async move {
                if let Some(entry) = entry {
                    entry.written().await;
                }
                let how = (&stream, encoding, &guardrails, before);
                let to = (&*outlet, &*audience);
                let sent =
                    deliver(to, (&label, timing, went_elsewhere), how, (drawn, first), &mut parts, pace_wait, &live)
                        .await;
                (parts, sent)
            };
            Box::pin(delivering.instrument(span))
        });
    }

    /// `Some`: the session ends, with this close.
    fn heard(&mut self, heard: Heard) -> Option<Option<Close>> {
        match heard {
            Heard::Binary(bytes) => {
                self.heard += 1;
                self.session.handle(Input::Binary(&bytes), Instant::now());
            }
            Heard::Text => self.session.handle(Input::Text, Instant::now()),
            Heard::Lost(close) if self.ticket.is_some() => {
                self.lose(close);
            }
            over => return Some(over.last_words()),
        }
        None
    }

    fn learn(&mut self, news: ChunkNews) {
        let input = match news {
            ChunkNews::Drawn { event_id, frames, moves, usual } => Input::Chunk { event_id, frames, moves, usual },
            ChunkNews::Delivered(Ok(())) => Input::Written,
            ChunkNews::Delivered(Err(error)) => {
                warn!(error = format!("{error:#}"), "chunk not delivered");
                match error.downcast_ref() {
                    Some(BlockedFrames(Blocked { guardrail })) => {
                        self.realtime.observer.blocked(guardrail);
                        Input::Blocked
                    }
                    None => Input::Failed(error.to_string()),
                }
            }
            ChunkNews::Failed(error) => Input::Failed(error.to_string()),
        };
        self.session.handle(input, Instant::now());
    }

    /// The client is back, or says so while the other connection still stands: the newer one is right.
    pub(super) fn take_over(&mut self, Handover { line, last_chunk }: Handover) {
        let ticket = self.ticket.as_ref().expect("it brought the handover");
        let hello = |next_chunk| greeting(&self.seat, Some(ticket), self.realtime, self.id, next_chunk);
        match self.outlet.attach(line.connection.writer(), last_chunk, hello) {
            Ok(()) => {
                info!(last_chunk, "resumed");
                // A client that lost its decoder with its line can go on from there.
                self.stream.want_key();
                self.realtime.observer.metrics.resumes.add(1);
                if let Some(older) = self.client.arrive(line) {
                    older.connection.tell(&ClientError::resumed_elsewhere());
                    tokio::spawn(older.finish(self.realtime.observer.clone(), Some(Close::RESUMED_ELSEWHERE)));
                }
                self.heard = 0;
                self.listed.session.away(false);
                self.session.handle(Input::Found, Instant::now());
            }
            Err(refusal) => self.turn_away(line, Some(ClientError::invalid_resume(refusal)), Some(Close::NOT_KEPT)),
        }
    }

    fn lose(&mut self, close: Option<Close>) {
        info!("client lost, may come back");
        self.outlet.detach();
        self.listed.session.away(true);
        if let Some(line) = self.client.leave() {
            tokio::spawn(line.finish(self.realtime.observer.clone(), close));
        }
        self.session.handle(Input::Lost, Instant::now());
    }

    fn is_lost(&self) -> bool {
        self.client.line().is_none_or(|line| line.connection.is_lost())
    }
}

/// The first messages on a connection, for a client that asked for them.
fn greeting(
    seat: &Seat,
    ticket: Option<&ResumeTicket>,
    realtime: &Realtime,
    id: &str,
    next_chunk: usize,
) -> Vec<Bytes> {
    let hello = ticket.map(|ticket| ticket.hello(id, realtime.bounds.stay.grace, next_chunk));
    // A client that comes back without a chunk may have missed the first greeting, so it is sent again.
    let ack = (seat.features.ack && next_chunk == 0).then(|| seat.ack(id));
    let read = seat.reads.first.clone().filter(|_| next_chunk == 0);
    hello.into_iter().chain(ack).chain(read).collect()
}

/// Returns at this time; never returns without one.
async fn passed(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => pending().await,
    }
}

/// The journal of a session that has one. `from`: which of its two states the session has gone on from.
fn journal(realtime: &Realtime, seat: &Seat, token: &str, from: Option<usize>) -> Option<Journal> {
    let wants = seat.journal.clone()?;
    realtime.cluster.as_ref()?.journal(token, wants, from)
}

/// Returns once the grant of a session stands no more; never without one.
async fn lost(grant: &mut Option<HeldGrant>) {
    match grant {
        Some(grant) => grant.lost().await,
        None => pending().await,
    }
}

/// A line on which the client comes back, `None` where another node has gone on with the session; never for a client that
/// cannot come back, and not while it is back and waits.
async fn returned(ticket: &mut Option<ResumeTicket>, is_back: bool) -> Option<Handover> {
    match ticket {
        Some(ticket) if !is_back => ticket.somebody_returns().await,
        _ => pending().await,
    }
}
