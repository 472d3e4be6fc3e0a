//! A running session: passes the client's messages to [`Session`], and its decisions to the engine and to the client.
//!
//! It may outlive its connection: if the client can come back, the session goes on without one, until a connection
//! brings its token.
//!
//! Over 400 lines: the select loop of a session, its branches and its endings share all of their state.

use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pipeline::world::{Chunking, FRAMES_PER_LATENT, Refusal};
use tokio::sync::oneshot;
use tokio::time::sleep_until;
use tracing::{Instrument, debug, info, warn};

use super::Realtime;
use super::anew::{Next, prepare};
use super::audience::{House, News};
use super::checking::{BlockedEvent, Checked, Checking};
use super::connection::Heard;
use super::delivery::{BlockedFrames, Parts, deliver};
use super::early::Early;
use super::line::{Line, Over};
use super::outlet::Outlet;
use super::place::{Place, PlaceNews, Returning};
use super::resume::{Handover, ResumeTicket, gone};
use super::seat::Seat;
use super::state::{Chunk, ChunkNews, Client};
use crate::access::door::Lease;
use crate::admission::queue::Standing;
use crate::engine::thread::Command;
use crate::engine::turns::clips::NextGrant;
use crate::engine::turns::conditions::ConditionQueue;
use crate::engine::turns::event::Event;
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
use crate::realtime::wire::sharing::{Reins, Sharing};
use crate::realtime::wire::timeline::timeline;
use crate::realtime::wire::watch;

/// However many come and go, the client is told of its viewers no more often.
const VIEWERS_TOLD_EVERY: Duration = Duration::from_millis(250);

/// A way back in the video that the engine was asked for.
struct GoingBack {
    /// Of the event.
    id: Option<u32>,
    /// The chunk that is to be drawn next.
    to: usize,
    answer: oneshot::Receiver<Result<(), String>>,
}

/// Another video of the same session, on its way.
enum GoingAnew<'a> {
    /// Its picture is read and its prompt checked.
    Prepared(Option<u32>, Pin<Box<dyn Future<Output = Result<Next, ClientError>> + Send + 'a>>),
    /// The engine opens it.
    Opened(Option<u32>, Chunking, oneshot::Receiver<()>),
}

/// A session with a seat.
pub(super) struct Running<'a> {
    realtime: &'a Realtime,
    id: &'a str,
    seat: Seat,
    session: Session,
    checking: Checking,
    listed: Listed,
    outlet: Arc<Outlet>,
    stream: Arc<Stream>,
    /// Where new connections arrive, for a client that asked to resume.
    ticket: Option<ResumeTicket>,
    client: Client,
    chunk: Chunk,
    /// A step waits until the events before it are checked.
    step_waits: bool,
    /// The number of the next chunk, as the client counts them.
    next_chunk: usize,
    /// The next chunk does not follow the one before it, for the event of this id.
    elsewhere: Option<Option<u32>>,
    /// The engine goes back.
    going_back: Option<GoingBack>,
    going_anew: Option<GoingAnew<'a>>,
    /// What receipts are timed by.
    clock: SessionClock,
    place: Place,
    /// On its client's account; `None` while it is parked.
    lease: Option<Lease>,
    /// Who watches.
    house: House,
    /// When its client is next told who watches, and when it last was.
    viewers_told: Told,
}

/// When the client is told who watches.
#[derive(Default)]
struct Told {
    last: Option<Instant>,
    next: Option<Instant>,
}

impl<'a> Running<'a> {
    /// `early`: events that the client sent before it had a seat.
    pub(super) fn new(
        (seat, parts): (Seat, Parts),
        early: &[Bytes],
        (line, lease): (Line, Lease),
        realtime: &'a Realtime,
        id: &'a str,
    ) -> Self {
        let account = line.visitor.account();
        let chunk_frames = (seat.chunking.longest() * FRAMES_PER_LATENT) as u64;
        let chunk_bytes = chunk_frames * seat.encoding.source().frame_bytes();
        let house = House::open(&realtime.audiences, seat.about(id), chunk_bytes, account, seat.features);
        info!(seat = seat.id, size = %seat.encoding.source(), format = seat.encoding.format().name(), terms = ?seat.terms, "running");
        let ticket = seat.features.session.then(|| ResumeTicket::new(realtime.resumable.clone()));
        let greeting = greeting(&seat, ticket.as_ref(), realtime, id, 0);
        if !greeting.is_empty() {
            line.connection.writer().begin_with(greeting);
        }
        let backlog = ticket.as_ref().map(|_| Backlog::new(realtime.bounds.backlog_bytes));
        let outlet = Arc::new(Outlet::new(line.connection.writer(), backlog));
        let facts = Facts {
            format: seat.encoding.format().name(),
            size: seat.encoding.source(),
            fps: seat.terms.fps,
            paced: seat.terms.paced,
        };
        let listed = realtime.observer.session(id, seat.id, facts);
        let mut session = Session::new(seat.terms, seat.features, realtime.bounds.stay, Instant::now());
        session.begins(seat.chunking, seat.first_chunk);
        for event in early {
            session.handle(Input::Binary(event), Instant::now());
        }
        session.handle(Input::Opened, Instant::now());
        // A beginning out of a recording whose frames are not sent.
        let elsewhere = (seat.first_chunk > 0).then_some(None);
        Running {
            realtime,
            id,
            checking: Checking::new(seat.guardrails.clone()),
            seat,
            session,
            listed,
            outlet,
            stream: Arc::default(),
            ticket,
            client: Client::Here(Box::new(line)),
            chunk: Chunk::Waiting(parts),
            step_waits: false,
            next_chunk: 0,
            elsewhere,
            going_back: None,
            going_anew: None,
            clock: SessionClock::new(Instant::now()),
            place: Place::Kept,
            lease: Some(lease),
            house,
            viewers_told: Told::default(),
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
            tokio::select! {
                heard = self.client.hear() => {
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
                back = came_back(&mut self.going_back) => self.is_back(back),
                news = goes_anew(&mut self.going_anew) => self.is_anew(news),
                news = self.house.news() => self.hear_of_viewers(news),
                () = passed(self.viewers_told.next) => self.tell_viewers(),
                handover = returned(&mut self.ticket, is_back) => self.come_back(handover),
                news = self.place.next() => {
                    if self.must_go(news) {
                        return self.over(None);
                    }
                }
                () = passed(self.session.poll_timeout()) => self.session.handle(Input::Tick, Instant::now()),
                // Only so that it offers its place.
                () = passed(rests_at) => {}
                () = coming.reached(&mut phase) => {
                    if coming == Phase::Stopping {
                        return self.over(Some(Close::SHUTDOWN));
                    }
                    coming = Phase::Stopping;
                    self.session.handle(Input::End(Close::SHUTDOWN), Instant::now());
                }
            }
        }
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

    /// The place is another's; `false` if the rollout must go too.
    fn park(&mut self) -> bool {
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
    fn offer_place(&mut self) {
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
    fn must_go(&mut self, news: PlaceNews) -> bool {
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
    fn come_back(&mut self, handover: Handover) {
        let Place::Parked(_) = self.place else { return self.take_over(handover) };
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
        let lease = handover.line.visitor.begin_session().map_err(|denied| {
            let close = Close { code: 1008, reason: denied.close_reason() };
            (ClientError::denied(denied), close)
        })?;
        match self.realtime.queue.ask_again(self.seat.id) {
            Ok(Some(standing)) => Ok((lease, standing)),
            Ok(None) => Err(not_kept(gone())),
            Err(refused) => Err((ClientError::queue_full(&refused), Close::BUSY)),
        }
    }

    fn turn_away(&self, line: Line, error: Option<ClientError>, close: Option<Close>) {
        if let Some(error) = error {
            debug!(?error, "not resumed");
            line.connection.tell(&error);
        }
        tokio::spawn(line.finish(self.realtime.observer.clone(), close));
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
                self.going_back = Some(GoingBack { id, to, answer });
            }
            Output::Leave => self.conditions().leaves(),
            Output::Reset(id, reset) => {
                let prepare = prepare(self.realtime, self.seat.for_the_next(), (id, reset));
                self.going_anew = Some(GoingAnew::Prepared(id, Box::pin(prepare)));
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
        let pushed = self.conditions().push(event, Instant::now());
        match pushed {
            Ok(()) => read.into_iter().for_each(|read| self.say(read)),
            Err(refusal) => self.tell_whom(by, &ClientError::invalid_event(Invalid { id, refusal })),
        }
    }

    fn tell_whom(&self, whom: u32, error: &ClientError) {
        match whom {
            Reins::PLAYER => self.tell(error),
            viewer => self.house.audience.tell_viewer(viewer, error),
        }
    }

    /// Its client wants something changed about its viewers.
    fn share(&mut self, id: Option<u32>, sharing: Sharing) {
        let audience = &self.house.audience;
        let done = match sharing {
            Sharing::Share(role) => audience.share(role).map(|(share, token)| {
                self.say(watch::shared(share, role, &token, id));
            }),
            Sharing::Unshare(share) => audience.unshare(share),
            Sharing::HandOver(viewer) => audience.hand_over(viewer),
            Sharing::TakeBack => {
                audience.take_back();
                Ok(())
            }
        };
        if let Err(refusal) = done {
            self.tell(&ClientError::invalid_event(Invalid { id, refusal }));
        }
        // Before another event of the client is read, so that it may steer at once.
        self.session.handle(Input::Reins(self.house.audience.reins()), Instant::now());
    }

    fn hear_of_viewers(&mut self, news: News) {
        let now = Instant::now();
        match news {
            News::Said(viewer, event) => self.session.handle(Input::Guest(viewer, event), now),
            News::Changed => {
                self.session.handle(Input::Reins(self.house.audience.reins()), now);
                if self.seat.features.spectators && self.viewers_told.next.is_none() {
                    let soonest = self.viewers_told.last.map(|last| last + VIEWERS_TOLD_EVERY);
                    self.viewers_told.next = Some(soonest.map_or(now, |soonest| soonest.max(now)));
                }
            }
        }
    }

    fn tell_viewers(&mut self) {
        self.viewers_told = Told { last: Some(Instant::now()), next: None };
        self.say(self.house.audience.viewers_message());
    }

    fn conditions(&self) -> MutexGuard<'_, ConditionQueue> {
        self.seat.conditions.lock().expect("nothing panics under this lock")
    }

    /// A message that is for this moment: one that is away does not hear of it.
    fn say(&self, message: Bytes) {
        if let Some(line) = self.client.line() {
            line.connection.say(message);
        }
    }

    fn tell(&self, error: &ClientError) {
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
    }

    fn is_back(&mut self, answer: Result<(), String>) {
        let GoingBack { id, to, .. } = self.going_back.take().expect("it was waited for");
        let landed = match answer {
            Ok(()) => {
                self.elsewhere = Some(id);
                // A film's frame from here would be made of those that the client leaves.
                self.stream.want_key();
                Some(to)
            }
            Err(reason) => {
                self.tell(&ClientError::invalid_event(Invalid { id, refusal: Refusal { field: "payload", reason } }));
                None
            }
        };
        self.session.handle(Input::Back(landed), Instant::now());
    }

    fn is_anew(&mut self, news: Anew) {
        match news {
            Anew::Prepared(id, Ok(next)) => {
                self.listed.session.resized(next.init().size);
                self.seat.reads.beginning(id, next.init()).into_iter().for_each(|read| self.say(read));
                let (answer, chunking) = self.seat.begin(next);
                self.going_anew = Some(GoingAnew::Opened(id, chunking, answer));
            }
            Anew::Prepared(_, Err(error)) => {
                self.going_anew = None;
                self.conditions().stays();
                self.tell(&error);
                self.session.handle(Input::Anew(None), Instant::now());
            }
            Anew::Opened(id, chunking) => {
                self.going_anew = None;
                self.elsewhere = Some(id);
                self.stream.want_key();
                self.session.handle(Input::Anew(Some(chunking)), Instant::now());
            }
        }
    }

    fn deliver(&mut self, pace_wait: Duration) {
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
            let timeline = elsewhere.take().map(|event_id| timeline(chunk_index, (plan.index, first_frame), event_id));
            let ack = features.ack.then(|| event_ack(acks, chunk_index)).flatten();
            let receipt = features.receipts.then(|| receipts::applied(acks, chunk_index)).flatten();
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
                let how = (&stream, encoding, &guardrails, before);
                let to = (&*outlet, &*audience);
                let sent = deliver(to, (&label, timing), how, (drawn, first), &mut parts, pace_wait, &live).await;
                (parts, sent)
            };
            Box::pin(delivering.instrument(span))
        });
    }

    /// `Some`: the session ends, with this close.
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

    fn learn(&mut self, news: ChunkNews) {
        let input = match news {
            ChunkNews::Drawn { event_id, frames, moves } => Input::Chunk { event_id, frames, moves },
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
    fn take_over(&mut self, Handover { line, last_chunk }: Handover) {
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

/// What became of the way back; never, where the session does not go back. Cancel-safe.
async fn came_back(going_back: &mut Option<GoingBack>) -> Result<(), String> {
    match going_back {
        Some(GoingBack { answer, .. }) => match answer.await {
            Ok(answer) => answer,
            // The rollout is gone, and the channel of its chunks says why.
            Err(_) => pending().await,
        },
        None => pending().await,
    }
}

/// What became of a session's next video.
enum Anew {
    Prepared(Option<u32>, Result<Next, ClientError>),
    Opened(Option<u32>, Chunking),
}

/// News of the next video; never, where there is none. Cancel-safe.
async fn goes_anew(going_anew: &mut Option<GoingAnew<'_>>) -> Anew {
    match going_anew {
        Some(GoingAnew::Prepared(id, next)) => Anew::Prepared(*id, next.await),
        Some(GoingAnew::Opened(id, chunking, answer)) => match answer.await {
            Ok(()) => Anew::Opened(*id, *chunking),
            // The rollout is gone, and the channel of its chunks says why.
            Err(_) => pending().await,
        },
        None => pending().await,
    }
}

/// A line on which the client comes back; never for one that cannot, and not while it is back and waits.
async fn returned(ticket: &mut Option<ResumeTicket>, is_back: bool) -> Handover {
    match ticket {
        Some(ticket) if !is_back => ticket.somebody_returns().await,
        _ => pending().await,
    }
}
