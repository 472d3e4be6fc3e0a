//! What a running session decides: which chunks it gets, what its client is told, and when it is over.
//!
//! Given values and the time, it answers with [`Output`]s; it never sleeps and never sends. A chunk is asked for by
//! granting credit: no credit is how everything here waits, be it for a pace, a slow reader, a client whose line was cut, or
//! the last chunk. However a session ends, what was granted is drawn and sent first: a chunk is never cut.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::event::Event;
use super::flood::InvalidMessages;
use super::init::Terms;
use super::pace::Pace;
use super::protocol::{ClientError, Close};
use pipeline::world::Refusal;

/// One chunk on the wire while the next is made. A third only adds latency to a key press.
pub const CREDIT: u64 = 2;

/// How long a session may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    /// Without an event. `None` and below: for ever.
    pub idle: Option<Duration>,
    pub lifetime: Option<Duration>,
    /// Without a client, before it is given up.
    pub grace: Duration,
}

pub enum Input<'a> {
    /// The world has opened the rollout.
    Opened,
    Binary(&'a [u8]),
    Text,
    /// The engine has drawn the first frames of a chunk.
    Chunk {
        event_id: Option<u32>,
        frames: usize,
    },
    /// All of the chunk's messages are on their way, or kept for a client that will come back.
    Written,
    /// The line was cut, and the client may come back on another.
    Lost,
    /// The client is back.
    Found,
    /// Finish what was begun, and then close like this.
    End(Close),
    /// The world could not go on.
    Failed(String),
    /// Time has passed.
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Let the engine draw this many more chunks, and first for whom they are due first.
    Grant {
        chunks: u64,
        due: Instant,
    },
    Steer(Event),
    Tell(ClientError),
    /// Send the chunk that was drawn: pace kept it, before it was begun and after it was drawn, for so long.
    Send {
        pace_wait: Duration,
    },
    Close(Close),
}

pub struct Session {
    max_chunks: Option<u64>,
    /// `None`: it runs free.
    pace: Option<Pace>,
    stay: Stay,
    began: Instant,
    /// When the client last steered.
    steered: Instant,
    granted: u64,
    written: u64,
    /// Until when a client that was lost may come back.
    alone_until: Option<Instant>,
    /// Chunks that are granted once it is back.
    owed: u64,
    ending: Option<Close>,
    invalid: InvalidMessages,
    outputs: VecDeque<Output>,
}

impl Session {
    pub fn new(terms: Terms, stay: Stay, now: Instant) -> Session {
        Session {
            max_chunks: terms.max_chunks,
            pace: terms.paced.then(|| Pace::new(terms.fps)),
            stay,
            began: now,
            steered: now,
            granted: 0,
            written: 0,
            alone_until: None,
            owed: 0,
            ending: None,
            invalid: InvalidMessages::none(now),
            outputs: VecDeque::new(),
        }
    }

    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Opened => self.begin(CREDIT, now),
            Input::Binary(bytes) => match Event::decode(bytes) {
                Ok(event) => self.steer(event, now),
                Err(refusal) => self.invalid(refusal, now),
            },
            Input::Text => {
                self.outputs.push_back(Output::Tell(ClientError::invalid_event(text_message())));
                self.outputs.push_back(Output::Close(Close::TEXT));
            }
            Input::Chunk { event_id, frames } => match &mut self.pace {
                Some(pace) => {
                    pace.drawn(event_id, frames, now);
                    self.release(now);
                }
                None => self.outputs.push_back(Output::Send { pace_wait: Duration::ZERO }),
            },
            Input::Written => self.next(now),
            Input::Lost => {
                self.alone_until = Some(now + self.stay.grace);
                self.owed += u64::from(self.pace.as_mut().is_some_and(Pace::rest));
            }
            Input::Found => {
                self.alone_until = None;
                self.steered = now;
                let owed = std::mem::take(&mut self.owed);
                if owed > 0 {
                    self.begin(owed, now);
                }
                self.close_when_done();
            }
            Input::End(close) => self.end(close),
            Input::Failed(message) => {
                self.outputs.push_back(Output::Tell(ClientError::failed(&message)));
                self.outputs.push_back(Output::Close(Close::FAILED));
            }
            Input::Tick => {
                self.release(now);
                let begin = self.pace.as_mut().and_then(|pace| pace.tick(now));
                self.grant_at(begin);
                self.look_at_the_clock(now);
            }
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with a tick, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let stay = if self.ending.is_none() { [self.idle_at(), self.over_at()] } else { [None, None] };
        let pace = self.pace.as_ref().and_then(Pace::poll_timeout);
        [pace, self.alone_until].into_iter().chain(stay).flatten().min()
    }

    /// An event could not be taken: it counts like one that could not be read.
    pub fn invalid(&mut self, refusal: Refusal, now: Instant) {
        self.outputs.push_back(Output::Tell(ClientError::invalid_event(refusal)));
        if self.invalid.count(now) {
            self.outputs.push_back(Output::Close(Close::FLOOD));
        }
    }

    fn steer(&mut self, event: Event, now: Instant) {
        self.steered = now;
        let id = event.id;
        self.outputs.push_back(Output::Steer(event));
        let begin = self.pace.as_mut().and_then(|pace| pace.event(id, now));
        self.grant_at(begin);
    }

    /// The first chunks, or the first for a client that is back. A paced chunk is asked for only once the last is out: so it
    /// is drawn with what was held then.
    fn begin(&mut self, chunks: u64, now: Instant) {
        match &mut self.pace {
            Some(pace) => {
                let due = pace.start(now);
                self.grant(1, due);
            }
            None => self.grant(chunks, now),
        }
    }

    fn next(&mut self, now: Instant) {
        self.written += 1;
        if self.ending.is_some() {
            self.close_when_done();
        } else if self.max_chunks == Some(self.written) {
            self.end(Close::COMPLETE);
        } else if self.alone_until.is_some() {
            self.owed += 1;
        } else if let Some(pace) = &mut self.pace {
            let begin = pace.written(now);
            self.grant_at(begin);
        } else {
            self.grant(1, now);
        }
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
            self.outputs.push_back(Output::Grant { chunks, due });
        }
    }

    fn release(&mut self, now: Instant) {
        if let Some(pace_wait) = self.pace.as_mut().and_then(|pace| pace.release(now)) {
            self.outputs.push_back(Output::Send { pace_wait });
        }
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

    /// The first reason counts; but what is complete and not fetched waits for nobody when all must end.
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
            // What is complete is worth fetching.
            Some(Close::COMPLETE) if self.alone_until.is_some() => {}
            Some(close) => self.outputs.push_back(Output::Close(close.clone())),
            None => {}
        }
    }
}

/// All that is said here is binary, in both directions.
pub(super) fn text_message() -> Refusal {
    Refusal { field: "message", reason: "must be binary, not text".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::flood::INVALID_BURST;
    use super::super::message;
    use super::*;

    const FREE: Terms = Terms { fps: 10, paced: false, max_chunks: None };
    const PACED: Terms = Terms { paced: true, ..FREE };
    const STAY: Stay = Stay { idle: None, lifetime: None, grace: Duration::from_secs(30) };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn begin_with(terms: Terms, stay: Stay, start: Instant) -> (Session, Vec<Output>) {
        let mut session = Session::new(terms, stay, start);
        let first = say(&mut session, Input::Opened, start);
        (session, first)
    }

    fn begin(terms: Terms, start: Instant) -> (Session, Vec<Output>) {
        begin_with(terms, STAY, start)
    }

    /// What it says to this.
    fn say(session: &mut Session, input: Input<'_>, now: Instant) -> Vec<Output> {
        session.handle(input, now);
        std::iter::from_fn(|| session.poll_output()).collect()
    }

    fn chunk() -> Input<'static> {
        Input::Chunk { event_id: None, frames: 9 }
    }

    const SENT: Output = Output::Send { pace_wait: Duration::ZERO };

    #[test]
    fn a_free_session_has_two_chunks_of_credit_and_one_more_for_each_written() {
        let now = Instant::now();
        let (mut session, first) = begin(FREE, now);
        assert_eq!(first, [Output::Grant { chunks: 2, due: now }]);
        for _ in 0..5 {
            assert_eq!(say(&mut session, chunk(), now), [SENT]);
            assert_eq!(say(&mut session, Input::Written, now), [Output::Grant { chunks: 1, due: now }]);
        }
    }

    #[test]
    fn a_session_gets_exactly_the_chunks_it_asked_for() {
        for (max, paced, grants) in [(1, false, 1), (2, false, 1), (5, false, 4), (3, true, 3)] {
            let now = Instant::now();
            let (mut session, mut all) = begin(Terms { max_chunks: Some(max), paced, fps: 240 }, now);
            for i in 0..max {
                let late = now + Duration::from_secs(i);
                session.handle(Input::Tick, late);
                session.handle(chunk(), late);
                all.extend(say(&mut session, Input::Written, late));
            }
            let granted: Vec<_> = all
                .iter()
                .filter_map(|output| if let Output::Grant { chunks, .. } = output { Some(*chunks) } else { None })
                .collect();
            assert_eq!((granted.iter().sum::<u64>(), granted.len()), (max, grants));
            assert_eq!(all.last(), Some(&Output::Close(Close::COMPLETE)));
            assert_eq!(all.iter().filter(|output| matches!(output, Output::Close(_))).count(), 1);
        }
    }

    #[test]
    fn a_paced_chunk_is_asked_for_in_time_and_sent_when_it_is_due() {
        let start = Instant::now();
        let (mut session, first) = begin(PACED, start);
        assert_eq!(first, [Output::Grant { chunks: 1, due: start }]);
        assert_eq!(say(&mut session, chunk(), start + ms(300)), [SENT]);
        assert_eq!(say(&mut session, Input::Written, start + ms(310)), []);
        let begins = session.poll_timeout().expect("the next is put off");
        let due = start + ms(1200);
        assert_eq!(say(&mut session, Input::Tick, begins), [Output::Grant { chunks: 1, due }]);
        assert_eq!(say(&mut session, chunk(), begins + ms(100)), []);
        assert_eq!(session.poll_timeout(), Some(due));
        assert!(matches!(say(&mut session, Input::Tick, due)[..], [Output::Send { .. }]));
    }

    #[test]
    fn an_event_steers_and_wakes_a_paced_session() {
        let start = Instant::now();
        let (mut session, _) = begin(PACED, start);
        say(&mut session, chunk(), start + ms(300));
        say(&mut session, Input::Written, start + ms(310));
        let prompt = message(r#"{"type":"event","kind":"prompt","payload":"p","event_id":3}"#);
        let woken = say(&mut session, Input::Binary(&prompt), start + ms(500));
        assert!(matches!(&woken[..], [Output::Steer(_), Output::Grant { chunks: 1, due }] if *due == start + ms(500)));
    }

    #[test]
    fn text_and_failure_are_said_before_the_close() {
        let now = Instant::now();
        let (mut session, _) = begin(FREE, now);
        let told = say(&mut session, Input::Text, now);
        assert!(matches!(&told[..], [Output::Tell(_), Output::Close(Close { code: 1003, .. })]));
        let told = say(&mut session, Input::Failed("no memory\nat ...".into()), now);
        assert!(matches!(&told[..], [Output::Tell(error), Output::Close(Close { code: 1011, .. })]
            if error.content == "error during generate loop: no memory"));
    }

    #[test]
    fn bad_events_are_answered_and_a_flood_of_them_is_ended() {
        let now = Instant::now();
        let (mut session, _) = begin(FREE, now);
        for i in 1..=INVALID_BURST + 1 {
            let told = say(&mut session, Input::Binary(b""), now);
            assert!(matches!(&told[0], Output::Tell(error) if error.content == "invalid event"), "{told:?}");
            assert_eq!(told.contains(&Output::Close(Close::FLOOD)), i > INVALID_BURST, "message {i}");
        }
    }

    #[test]
    fn what_was_granted_is_sent_before_a_session_ends() {
        let now = Instant::now();
        for ending in [Close::SHUTDOWN, Close::IDLE] {
            let (mut session, _) = begin(FREE, now);
            assert_eq!(say(&mut session, Input::End(ending.clone()), now), []);
            assert_eq!(say(&mut session, Input::End(Close::LIFETIME), now), [], "the first reason counts");
            assert_eq!(say(&mut session, chunk(), now), [SENT]);
            assert_eq!(say(&mut session, Input::Written, now), []);
            assert_eq!(say(&mut session, chunk(), now), [SENT]);
            assert_eq!(say(&mut session, Input::Written, now), [Output::Close(ending)]);
        }
        // A chunk that was put off is not begun for it.
        let (mut session, _) = begin(PACED, now);
        say(&mut session, chunk(), now);
        say(&mut session, Input::Written, now);
        assert_eq!(say(&mut session, Input::End(Close::SHUTDOWN), now), [Output::Close(Close::SHUTDOWN)]);
    }

    #[test]
    fn a_session_that_nobody_steers_ends_and_each_event_begins_the_wait_anew() {
        let start = Instant::now();
        let (mut session, _) = begin_with(PACED, Stay { idle: Some(ms(5000)), ..STAY }, start);
        say(&mut session, chunk(), start);
        let prompt = message(r#"{"type":"event","kind":"prompt","payload":"p"}"#);
        say(&mut session, Input::Binary(&prompt), start + ms(3000));
        assert_eq!(session.poll_timeout(), Some(start + ms(8000)));
        assert_eq!(say(&mut session, Input::Tick, start + ms(7999)), []);
        say(&mut session, Input::Tick, start + ms(8000));
        assert_eq!(say(&mut session, Input::Written, start + ms(8001)), [Output::Close(Close::IDLE)]);
    }

    #[test]
    fn a_session_is_over_after_its_lifetime_whatever_is_steered() {
        let start = Instant::now();
        let (mut session, _) = begin_with(FREE, Stay { lifetime: Some(ms(5000)), ..STAY }, start);
        let prompt = message(r#"{"type":"event","kind":"prompt","payload":"p"}"#);
        say(&mut session, Input::Binary(&prompt), start + ms(4999));
        assert_eq!(session.poll_timeout(), Some(start + ms(5000)));
        say(&mut session, Input::Tick, start + ms(5000));
        assert_eq!(session.poll_timeout(), None, "it is ending");
        say(&mut session, Input::Written, start + ms(5001));
        assert_eq!(say(&mut session, Input::Written, start + ms(5002)), [Output::Close(Close::LIFETIME)]);
    }

    #[test]
    fn a_session_without_a_client_draws_what_was_granted_and_no_more() {
        let now = Instant::now();
        let (mut session, _) = begin(FREE, now);
        assert_eq!(say(&mut session, Input::Lost, now), []);
        for _ in 0..CREDIT {
            assert_eq!(say(&mut session, chunk(), now), [SENT]);
            assert_eq!(say(&mut session, Input::Written, now), []);
        }
        let later = now + ms(29_999);
        assert_eq!(say(&mut session, Input::Found, later), [Output::Grant { chunks: 2, due: later }]);
        assert_eq!(session.poll_timeout(), None);
    }

    #[test]
    fn a_paced_session_whose_client_is_back_begins_its_pace_anew() {
        let start = Instant::now();
        let (mut session, _) = begin(PACED, start);
        say(&mut session, chunk(), start);
        say(&mut session, Input::Written, start);
        assert_eq!(say(&mut session, Input::Lost, start + ms(100)), []);
        let back = start + ms(200);
        assert_eq!(say(&mut session, Input::Found, back), [Output::Grant { chunks: 1, due: back }]);
        // Lost and found while a chunk is drawn: nothing is granted twice.
        assert_eq!(say(&mut session, Input::Lost, back), []);
        assert_eq!(say(&mut session, Input::Found, back), []);
        assert_eq!(say(&mut session, chunk(), back), [SENT]);
    }

    #[test]
    fn a_client_that_does_not_come_back_in_time_is_given_up() {
        let now = Instant::now();
        let (mut session, _) = begin(FREE, now);
        session.handle(Input::Lost, now);
        assert_eq!(session.poll_timeout(), Some(now + STAY.grace));
        assert_eq!(say(&mut session, Input::Tick, now + STAY.grace), [Output::Close(Close::NOT_RESUMED)]);
    }

    #[test]
    fn what_is_complete_waits_for_its_client_and_what_must_end_does_not() {
        let now = Instant::now();
        for (ending, waits) in [(None, true), (Some(Close::SHUTDOWN), false)] {
            let (mut session, _) = begin(Terms { max_chunks: Some(2), ..FREE }, now);
            session.handle(Input::Lost, now);
            session.handle(chunk(), now);
            session.handle(Input::Written, now);
            say(&mut session, chunk(), now);
            let end = ending.clone().unwrap_or(Close::COMPLETE);
            if let Some(close) = ending {
                session.handle(Input::End(close), now);
            }
            let closed = [Output::Close(end)];
            assert_eq!(say(&mut session, Input::Written, now) == closed, !waits);
            if waits {
                assert_eq!(say(&mut session, Input::Found, now), closed);
            }
        }
    }
}
