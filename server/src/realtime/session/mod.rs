//! The decisions of a running session: which chunks it gets, which messages its client gets, and when it ends.
//!
//! Given values and the time, it answers with [`Output`]s; it never sleeps and never sends. A chunk is asked for by
//! granting credit. Withholding credit is the only way to wait: for the pace, a slow reader, a client whose line was
//! cut or that paused, or the last chunk. Before a session ends, every granted chunk is drawn and sent: a chunk is
//! never cut.
//!
//! Over 400 lines: the transitions of one state machine stand in one place.

pub(crate) mod backlog;
pub mod company;
mod exchange;
mod lead;
mod pace;
pub mod packed;
pub(crate) mod rate_limit;
mod steps;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use self::exchange::{Input, Output};
use self::lead::Lead;
use self::pace::Pace;
use self::rate_limit::{EVENTS, INVALID_MESSAGES};
use self::steps::{Said, Steps};
use crate::engine::turns::event::{Event, EventPart, Transition};
use crate::rate::Bucket;
use crate::realtime::wire::close::Close;
use crate::realtime::wire::control::{Control, Rewind};
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::event::{Asked, Invalid};
use crate::realtime::wire::features::Features;
use crate::realtime::wire::init::Terms;
use crate::realtime::wire::reset::Reset;
use crate::realtime::wire::sharing::Reins;
use pipeline::world::{Chunking, Held, Rates, Refusal};

/// One chunk on the wire while the next is made. A third only adds latency to a key press.
pub const CREDIT: u64 = 2;

/// How long a session may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    /// Longest time without an event. `None`, here and below: no limit.
    pub idle: Option<Duration>,
    /// From its first chunk on, whatever it does.
    pub lifetime: Option<Duration>,
    /// Longest time without a client.
    pub grace: Duration,
    /// Paused, or without an event and without a key held, before it leaves its place to one that waits.
    pub yield_after: Option<Duration>,
}

/// A client goes elsewhere: back in the video, or to another one.
struct Elsewhere {
    id: Option<u32>,
    /// `None`: that was asked for, and is not answered.
    to: Option<Place>,
}

/// Whether it is to go on in another process.
#[derive(PartialEq)]
enum Departs {
    No,
    /// Once all is sent that was granted.
    Asked,
    Now,
}

enum Place {
    Back(Rewind),
    Anew(Box<Reset>),
}

/// What is known of a running session.
pub struct Session {
    max_chunks: Option<u64>,
    /// `None`: it runs free, or by steps.
    pace: Option<Pace>,
    /// For a client that asks for each chunk.
    steps: Option<Steps>,
    /// The world has opened the rollout.
    opened: bool,
    lead: Lead,
    /// It goes elsewhere.
    back: Option<Elsewhere>,
    /// It is to go on in another process.
    departs: Departs,
    stay: Stay,
    began: Instant,
    /// When the client last steered.
    steered: Instant,
    /// When a chunk was last drawn with a key held.
    moved: Instant,
    granted: u64,
    written: u64,
    /// When a lost client's time to come back ends.
    alone_until: Option<Instant>,
    /// What the client understands.
    features: Features,
    /// Since when its client has paused it.
    paused: Option<Instant>,
    /// It has no place.
    parked: bool,
    /// Chunks to grant on resuming.
    owed: u64,
    ending: Option<Close>,
    /// Who steers.
    reins: Reins,
    /// Somebody has steered the camera.
    led: bool,
    events: Bucket,
    invalid: Bucket,
    outputs: VecDeque<Output>,
}

impl Session {
    /// A session whose rollout is not opened yet.
    pub fn new(terms: Terms, features: Features, stay: Stay, now: Instant) -> Session {
        Session {
            max_chunks: terms.max_chunks,
            pace: terms.paced.then(|| Pace::new(terms.fps)),
            steps: features.step.then(Steps::default),
            opened: false,
            lead: Lead::new(terms.fps),
            back: None,
            departs: Departs::No,
            stay,
            began: now,
            steered: now,
            moved: now,
            granted: 0,
            written: 0,
            alone_until: None,
            features,
            paused: None,
            parked: false,
            owed: 0,
            ending: None,
            reins: Reins::default(),
            led: false,
            events: Bucket::default(),
            invalid: Bucket::default(),
            outputs: VecDeque::new(),
        }
    }

    /// The video is cut like this, and its first chunk that is sent has this place in it.
    pub fn begins(&mut self, chunking: Chunking, first: usize) {
        self.lead.begins(chunking, first);
    }

    /// Something happened; what follows from it is fetched with [`Session::poll_output`].
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Opened => {
                (self.owed, self.opened) = (self.credit(), true);
                self.begin(now);
            }
            Input::Ready => self.ready(now),
            Input::Back(chunk) => {
                // What the client has of the way it left is not shown any more.
                chunk.into_iter().for_each(|chunk| self.lead.goes_on_at(chunk));
                self.went(chunk.is_some(), now);
            }
            Input::Anew(chunking) => {
                chunking.into_iter().for_each(|chunking| self.lead.begins(chunking, 0));
                self.went(chunking.is_some(), now);
            }
            Input::Reins(reins) => self.rein(reins),
            Input::Guest(viewer, event) => self.steer(viewer, event, now),
            Input::Binary(bytes) => match Asked::decode(bytes, self.features) {
                Ok(asked) if self.events.take(EVENTS, now).is_ok() => self.obey(asked, bytes.len(), now),
                Ok(asked) => self.invalid(too_many(&asked), now),
                Err(invalid) => self.invalid(invalid, now),
            },
            Input::Text => {
                self.outputs.push_back(Output::Tell(ClientError::invalid_event(text_message().into())));
                self.outputs.push_back(Output::Close(Close::TEXT));
            }
            Input::Chunk { event_id, frames, moves, usual } => {
                if moves {
                    self.moved = now;
                }
                match &mut self.pace {
                    Some(pace) => {
                        pace.drawn(event_id, (frames, usual), now);
                        let more = self.ending.is_none() && self.max_chunks.is_none_or(|max| self.granted < max);
                        let at = pace.begins_next(now).filter(|_| more);
                        self.outputs.push_back(Output::ExpectGrant { at });
                        self.release(now);
                    }
                    None => self.outputs.push_back(Output::Send { pace_wait: Duration::ZERO }),
                }
                self.steps.iter_mut().for_each(Steps::began);
                self.step();
            }
            Input::Written => self.next(now),
            Input::Lost => {
                self.alone_until = Some(now + self.stay.grace);
                self.rest();
            }
            Input::Found => {
                (self.alone_until, self.parked) = (None, false);
                // It may show the video in another way now, and says so again.
                self.lead.playback(None);
                self.steered = now;
                self.begin(now);
                self.close_when_done();
            }
            Input::Wanted => {
                if self.yields_at().is_some_and(|at| at <= now) {
                    self.end(Close::YIELDED);
                }
            }
            Input::Parked => {
                (self.parked, self.ending, self.owed) = (true, None, self.credit());
                self.ask_to_go();
            }
            Input::Returning => self.steered = now,
            Input::Depart => self.depart(now),
            Input::End(close) => self.end(close),
            Input::Failed(message) => {
                self.outputs.push_back(Output::Tell(ClientError::failed(&message)));
                self.outputs.push_back(Output::Close(Close::FAILED));
            }
            Input::Blocked => {
                self.outputs.push_back(Output::Tell(ClientError::frames_blocked()));
                self.outputs.push_back(Output::Close(Close::BLOCKED));
            }
            Input::Tick => {
                self.release(now);
                let begin = self.pace.as_mut().and_then(|pace| pace.tick(now));
                self.grant_at(begin);
                self.look_at_the_clock(now);
            }
        }
    }

    /// The next thing that is to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next time to call with a tick, unless another input comes before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let stay = if self.ending.is_none() { [self.idle_at(), self.over_at()] } else { [None, None] };
        let pace = self.pace.as_ref().and_then(Pace::poll_timeout);
        [pace, self.alone_until].into_iter().chain(stay).flatten().min()
    }

    fn invalid(&mut self, invalid: Invalid, now: Instant) {
        self.outputs.push_back(Output::Tell(ClientError::invalid_event(invalid)));
        if self.invalid.take(INVALID_MESSAGES, now).is_err() {
            self.outputs.push_back(Output::Close(Close::FLOOD));
        }
    }

    fn obey(&mut self, asked: Asked, bytes: usize, now: Instant) {
        match asked {
            Asked::Steer(event) => self.take(event, Steps::event, bytes, now),
            Asked::Step(event) => self.take(event, Steps::step, bytes, now),
            Asked::Control(id, Control::Transport(transport)) => {
                self.outputs.push_back(Output::Transport(id, transport));
            }
            // No steering: a page that nobody watches says it too.
            Asked::Control(_, Control::Playback(playback)) => {
                self.lead.playback(Some(playback));
                self.go_on(now);
            }
            Asked::Control(_, Control::KeyFrame) => self.outputs.push_back(Output::WantKeyFrame),
            Asked::Control(id, Control::Rewind(to)) => self.go_elsewhere(id, Place::Back(to), now),
            Asked::Control(id, Control::Reset(reset)) => self.go_elsewhere(id, Place::Anew(reset), now),
            Asked::Control(id, Control::Sharing(sharing)) => self.outputs.push_back(Output::Sharing(id, sharing)),
            Asked::Pause if self.paused.is_none() => {
                (self.paused, self.steered) = (Some(now), now);
                self.rest();
            }
            Asked::Resume if self.paused.is_some() => {
                (self.paused, self.steered) = (None, now);
                self.go_on(now);
            }
            Asked::Clock(client_ms) => self.outputs.push_back(Output::Clock { client_ms, at: now }),
            // It said so before it heard that its wait is over.
            Asked::Pause | Asked::Resume | Asked::Wait => {}
        }
    }

    /// An event or a step. In a stepped session it joins what waits, as `join` does it.
    fn take(
        &mut self,
        event: Event,
        join: fn(&mut Steps, Event, usize) -> Result<(), Invalid>,
        bytes: usize,
        now: Instant,
    ) {
        if self.features.receipts {
            self.outputs.push_back(Output::Received { id: event.id, at: now });
        }
        if let Err(refusal) = company::may(self.reins, Reins::PLAYER, &event) {
            // Not counted as a mistake: it was said before the hand-over was heard of.
            self.outputs.push_back(Output::Tell(ClientError::invalid_event(Invalid { id: event.id, refusal })));
            return;
        }
        let Some(steps) = &mut self.steps else { return self.steer(Reins::PLAYER, event, now) };
        match join(steps, event, bytes) {
            Ok(()) => {
                self.steered = now;
                self.step();
            }
            Err(invalid) => self.invalid(invalid, now),
        }
    }

    /// Pass on what a stepped session's client said, up to the step whose chunk has not begun.
    fn step(&mut self) {
        let may_begin = self.opened && !self.holds() && self.ending.is_none();
        while let Some(said) = self.steps.as_mut().and_then(|steps| steps.next(may_begin)) {
            self.outputs.push_back(match said {
                Said::Event(event) => Output::Steer(event),
                Said::Step => Output::Step,
            });
        }
    }

    /// A step has passed all checks. Where the session rests by now, the step waits until it goes on.
    fn ready(&mut self, now: Instant) {
        if self.holds() || self.ending.is_some() {
            self.steps.iter_mut().for_each(Steps::put_back);
        } else {
            self.grant(1, now);
        }
    }

    /// Go once all is sent that was granted: no chunk comes from where the client does not want to be.
    fn go_elsewhere(&mut self, id: Option<u32>, to: Place, now: Instant) {
        let wrong = if self.back.is_some() {
            "the session goes elsewhere already: wait for its timeline"
        } else if self.steps.as_ref().is_some_and(Steps::has_steps) {
            "steps wait: go when their chunks have come"
        } else if !self.opened {
            "the session is not open yet: go elsewhere when its first frames have come"
        } else {
            if let Place::Anew(_) = to {
                self.outputs.push_back(Output::Leave);
            }
            self.steered = now;
            self.back = Some(Elsewhere { id, to: Some(to) });
            self.rest();
            self.pace.iter_mut().for_each(|pace| pace.hurry(now));
            self.release(now);
            return self.ask_to_go();
        };
        self.invalid(Invalid { id, refusal: Refusal { field: "kind", reason: wrong.to_owned() } }, now);
    }

    fn ask_to_go(&mut self) {
        if self.written < self.granted || self.ending.is_some() {
            return;
        }
        let Some(Elsewhere { id, to }) = &mut self.back else { return };
        let Some(to) = to.take() else { return };
        let id = *id;
        self.outputs.push_back(match to {
            Place::Back(Rewind::Chunk(chunk)) => Output::Rewind(id, chunk as usize),
            Place::Back(Rewind::Ms(ms)) => Output::Rewind(id, self.lead.before(ms)),
            Place::Anew(reset) => Output::Reset(id, reset),
        });
    }

    /// What was granted is sent at once, as before a way elsewhere. One that ends by itself ends here.
    fn depart(&mut self, now: Instant) {
        if self.opened && self.ending.is_none() {
            self.departs = Departs::Asked;
            self.rest();
            self.pace.iter_mut().for_each(|pace| pace.hurry(now));
            self.release(now);
            self.depart_when_done();
        }
    }

    fn depart_when_done(&mut self) {
        let is_free = self.written == self.granted && self.back.is_none() && self.ending.is_none();
        if self.departs == Departs::Asked && is_free {
            self.departs = Departs::Now;
            self.outputs.push_back(Output::Depart);
        }
    }

    /// It is there, or goes on where it was.
    fn went(&mut self, there: bool, now: Instant) {
        self.back = None;
        self.depart_when_done();
        if there { self.begin(now) } else { self.go_on(now) }
    }

    /// Chunks that are granted without being asked for.
    fn credit(&self) -> u64 {
        if self.steps.is_some() { 0 } else { CREDIT }
    }

    /// Who steers has changed. Keys that the last holder of the camera held are let go.
    fn rein(&mut self, reins: Reins) {
        let before = std::mem::replace(&mut self.reins, reins);
        // Before the first camera event the world runs without one, which is not the same as standing still.
        if before.camera != reins.camera && self.led {
            let (held, rates) = (Some(Held::default()), Some(Rates::default()));
            let still = Transition { held, rates, ..Transition::default() };
            self.outputs.push_back(Output::Steer(Event { id: None, parts: vec![EventPart::State(vec![still])] }));
        }
    }

    /// `by`: the viewer that says it, or the player.
    fn steer(&mut self, by: u32, event: Event, now: Instant) {
        self.steered = now;
        self.led |= company::leads_camera(&event);
        let id = event.id.filter(|_| !event.waits_for_its_time());
        self.outputs.push_back(if by == Reins::PLAYER { Output::Steer(event) } else { Output::Guest(by, event) });
        let begin = self.pace.as_mut().and_then(|pace| pace.event(id, now));
        self.grant_at(begin);
        self.release(now);
    }

    fn holds(&self) -> bool {
        self.paused.is_some()
            || self.alone_until.is_some()
            || self.parked
            || self.back.is_some()
            || self.departs != Departs::No
            || self.lead.is_too_far()
    }

    /// Chunks already drawn are still sent.
    fn rest(&mut self) {
        self.owed += u64::from(self.pace.as_mut().is_some_and(Pace::rest));
    }

    /// Grant the first chunks, or the first after a client came back. A paced chunk is granted once the last one is
    /// sent, so it is drawn with the newest controls.
    fn begin(&mut self, now: Instant) {
        let begin = |pace: &mut Pace| Some(pace.start(now));
        self.grant_owed(begin, now);
    }

    /// Continue after a pause. Frames sent before it are still being shown.
    fn go_on(&mut self, now: Instant) {
        self.grant_owed(|pace| pace.go_on(now), now);
    }

    fn grant_owed(&mut self, begin: impl FnOnce(&mut Pace) -> Option<Instant>, now: Instant) {
        self.step();
        if self.holds() || self.owed == 0 {
            return;
        }
        if let Some(pace) = &mut self.pace {
            self.owed = 0;
            let begin = begin(pace);
            return self.grant_at(begin);
        }
        let chunks = self.lead.room(self.owed);
        self.owed -= chunks;
        self.grant(chunks, now);
    }

    fn next(&mut self, now: Instant) {
        self.written += 1;
        if self.ending.is_some() {
            self.close_when_done();
        } else if self.max_chunks == Some(self.written) {
            self.end(Close::COMPLETE);
        } else if self.steps.is_some() {
            // The next chunk needs a step.
        } else if self.holds() {
            self.owed += 1;
        } else if let Some(pace) = &mut self.pace {
            let begin = pace.written(now);
            self.grant_at(begin);
        } else {
            self.grant(1, now);
        }
        self.ask_to_go();
        self.depart_when_done();
    }

    fn grant_at(&mut self, begin: Option<Instant>) {
        if let Some(due) = begin {
            self.grant(1, due);
        }
    }

    fn grant(&mut self, chunks: u64, due: Instant) {
        let left = self.max_chunks.map_or(u64::MAX, |max| max - self.granted);
        let chunks = chunks.min(left);
        if chunks > 0 && self.ending.is_none() {
            self.granted += chunks;
            self.lead.granted(chunks);
            self.outputs.push_back(Output::Grant { chunks, due });
        }
    }

    fn release(&mut self, now: Instant) {
        if let Some(pace_wait) = self.pace.as_mut().and_then(|pace| pace.release(now)) {
            self.outputs.push_back(Output::Send { pace_wait });
        }
    }

    /// Whether it is to go on in another process.
    pub fn departs(&self) -> bool {
        self.departs != Departs::No
    }

    /// Whether its client has paused it.
    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Since when its client has rested.
    pub fn rests_since(&self) -> Instant {
        self.paused.unwrap_or(self.steered.max(self.moved))
    }

    /// From when on it would leave its place to one that waits; `None`: never. Of one without a client the grace says
    /// so.
    pub fn yields_at(&self) -> Option<Instant> {
        let keeps = self.ending.is_some() || self.alone_until.is_some() || self.parked || self.departs();
        self.stay.yield_after.filter(|_| !keeps).map(|after| self.rests_since() + after)
    }

    fn idle_at(&self) -> Option<Instant> {
        self.stay.idle.map(|idle| self.steered + idle)
    }

    fn over_at(&self) -> Option<Instant> {
        self.stay.lifetime.map(|lifetime| self.began + lifetime)
    }

    fn look_at_the_clock(&mut self, now: Instant) {
        let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if past(self.alone_until) {
            self.outputs.push_back(Output::Close(Close::NOT_RESUMED));
        } else if past(self.over_at()) {
            self.end(Close::LIFETIME);
        } else if past(self.idle_at()) {
            self.end(Close::IDLE);
        }
    }

    /// End the session. The first reason counts, but a shutdown also ends a complete video that waits for its client.
    fn end(&mut self, close: Close) {
        if self.ending.is_none() || self.alone_until.is_some() {
            self.ending = Some(close);
            if let Some(pace) = &mut self.pace {
                pace.rest();
            }
            self.close_when_done();
        }
    }

    fn close_when_done(&mut self) {
        if self.written < self.granted {
            return;
        }
        match &self.ending {
            // A complete video waits for its client.
            Some(Close::COMPLETE) if self.alone_until.is_some() => {}
            Some(close) => self.outputs.push_back(Output::Close(close.clone())),
            None => {}
        }
    }
}

fn too_many(asked: &Asked) -> Invalid {
    let id = if let Asked::Steer(event) | Asked::Step(event) = asked { event.id } else { None };
    let rate = Duration::from_secs(1).as_millis() / EVENTS.every.as_millis();
    let reason = format!("too many events: at most {} at once, and {rate} a second", EVENTS.at_once);
    Invalid { id, refusal: Refusal { field: "message", reason } }
}

/// The close for a text message: all messages are binary, in both directions.
pub(crate) fn text_message() -> Refusal {
    Refusal { field: "message", reason: "must be binary, not text".to_owned() }
}

#[cfg(test)]
mod tests;
