//! What a running session decides: which chunks it gets, when each is due, and what its client is told.
//!
//! Given values and the time, it answers with [`Output`]s; it never sleeps and never sends. A chunk is asked for by
//! granting credit: no credit is how everything here waits, be it for a pace, a slow reader or the last chunk.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::event::Event;
use super::init::Terms;
use super::protocol::{ClientError, Close};
use pipeline::world::Refusal;

/// One chunk on the wire while the next is made. A third only adds latency to a key press.
pub const CREDIT: u64 = 2;

/// Invalid messages that a client may send at once, and how soon each is forgiven: a client with a mistake in it finds
/// out, one that floods is not answered for ever.
pub const INVALID_BURST: u32 = 64;
pub const INVALID_FORGIVEN: Duration = Duration::from_millis(100);

pub enum Input<'a> {
    /// The world has opened the rollout.
    Opened,
    Binary(&'a [u8]),
    Text,
    /// The engine has drawn a chunk.
    Chunk {
        event_id: Option<u32>,
        frames: usize,
    },
    /// All of the chunk's messages are on their way.
    Written,
    /// The world could not go on.
    Failed(String),
    /// Time has passed.
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Let the engine draw this many more chunks.
    Grant(u64),
    Steer(Event),
    Tell(ClientError),
    /// Send the chunk that was drawn: it was held back for so long.
    Send {
        pace_wait: Duration,
    },
    Close(Close),
}

pub struct Session {
    terms: Terms,
    granted: u64,
    written: u64,
    /// The chunk that is held back.
    held: Option<Held>,
    /// When the video sent so far will have been shown.
    shown_at: Option<Instant>,
    paced_event: Option<u32>,
    invalid: InvalidMessages,
    outputs: VecDeque<Output>,
}

struct Held {
    since: Instant,
    due: Instant,
    shown_for: Duration,
}

impl Session {
    pub fn new(terms: Terms, now: Instant) -> Session {
        Session {
            terms,
            granted: 0,
            written: 0,
            held: None,
            shown_at: None,
            paced_event: None,
            invalid: InvalidMessages::none(now),
            outputs: VecDeque::new(),
        }
    }

    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            // A paced chunk is asked for only once the last is out: so it is drawn with what was held then.
            Input::Opened => self.grant(if self.terms.paced { 1 } else { CREDIT }),
            Input::Binary(bytes) => match Event::decode(bytes) {
                Ok(event) => self.outputs.push_back(Output::Steer(event)),
                Err(refusal) => self.invalid(refusal, now),
            },
            Input::Text => {
                self.outputs.push_back(Output::Tell(ClientError::invalid_event(text_message())));
                self.outputs.push_back(Output::Close(Close::TEXT));
            }
            Input::Chunk { event_id, frames } => self.hold(event_id, frames, now),
            Input::Written => {
                self.written += 1;
                if self.terms.max_chunks == Some(self.written) {
                    self.outputs.push_back(Output::Close(Close::COMPLETE));
                } else {
                    self.grant(1);
                }
            }
            Input::Failed(message) => {
                self.outputs.push_back(Output::Tell(ClientError::failed(&message)));
                self.outputs.push_back(Output::Close(Close::FAILED));
            }
            Input::Tick => self.release(now),
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with a tick, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.due)
    }

    /// An event could not be taken: it counts like one that could not be read.
    pub fn invalid(&mut self, refusal: Refusal, now: Instant) {
        self.outputs.push_back(Output::Tell(ClientError::invalid_event(refusal)));
        if self.invalid.count(now) {
            self.outputs.push_back(Output::Close(Close::FLOOD));
        }
    }

    fn grant(&mut self, chunks: u64) {
        let left = self.terms.max_chunks.map_or(u64::MAX, |max| max - self.granted);
        let chunks = chunks.min(left);
        if chunks > 0 {
            self.granted += chunks;
            self.outputs.push_back(Output::Grant(chunks));
        }
    }

    fn hold(&mut self, event_id: Option<u32>, frames: usize, now: Instant) {
        assert!(self.held.is_none(), "one chunk is sent at a time");
        let mut due = now;
        if self.terms.paced && frames > 0 {
            due = self.shown_at.unwrap_or(now);
            if event_id.is_some() && event_id != self.paced_event {
                // Somebody did something and wants to see it: the pace starts anew from here.
                due = due.min(now);
                self.paced_event = event_id;
            }
        }
        let shown_for = Duration::from_secs_f64(frames as f64 / f64::from(self.terms.fps));
        self.held = Some(Held { since: now, due, shown_for });
        self.release(now);
    }

    fn release(&mut self, now: Instant) {
        let Some(Held { since, due, shown_for }) = self.held else { return };
        if now < due {
            return;
        }
        self.held = None;
        self.shown_at = Some(due.max(now) + shown_for);
        self.outputs.push_back(Output::Send { pace_wait: now - since });
    }
}

/// All that is said here is binary, in both directions.
pub(super) fn text_message() -> Refusal {
    Refusal { field: "message", reason: "must be binary, not text".to_owned() }
}

/// A bucket that fills with invalid messages and drains with time.
pub struct InvalidMessages {
    level: u32,
    since: Instant,
}

impl InvalidMessages {
    pub fn none(now: Instant) -> InvalidMessages {
        InvalidMessages { level: 0, since: now }
    }

    /// One more; `true` if that is too many.
    pub fn count(&mut self, now: Instant) -> bool {
        let forgiven = (now.saturating_duration_since(self.since).as_millis() / INVALID_FORGIVEN.as_millis()) as u32;
        if forgiven >= self.level {
            (self.level, self.since) = (0, now);
        } else {
            self.level -= forgiven;
            self.since += forgiven * INVALID_FORGIVEN;
        }
        self.level += 1;
        self.level > INVALID_BURST
    }
}

#[cfg(test)]
mod tests {
    use super::super::message;
    use super::*;

    const FREE: Terms = Terms { fps: 10, paced: false, max_chunks: None };
    const PACED: Terms = Terms { paced: true, ..FREE };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn outputs(session: &mut Session) -> Vec<Output> {
        std::iter::from_fn(|| session.poll_output()).collect()
    }

    fn begin(terms: Terms, start: Instant) -> (Session, Vec<Output>) {
        let mut session = Session::new(terms, start);
        session.handle(Input::Opened, start);
        let outputs = outputs(&mut session);
        (session, outputs)
    }

    fn chunk(event_id: Option<u32>) -> Input<'static> {
        Input::Chunk { event_id, frames: 9 }
    }

    #[test]
    fn a_free_session_has_two_chunks_of_credit_and_one_more_for_each_written() {
        let now = Instant::now();
        let (mut session, first) = begin(FREE, now);
        assert_eq!(first, [Output::Grant(2)]);
        for _ in 0..5 {
            session.handle(chunk(None), now);
            assert_eq!(outputs(&mut session), [Output::Send { pace_wait: ms(0) }]);
            session.handle(Input::Written, now);
            assert_eq!(outputs(&mut session), [Output::Grant(1)]);
        }
    }

    #[test]
    fn a_session_gets_exactly_the_chunks_it_asked_for() {
        for (max, paced, grants) in [(1, false, 1), (2, false, 1), (5, false, 4), (3, true, 3)] {
            let now = Instant::now();
            let (mut session, mut all) = begin(Terms { max_chunks: Some(max), paced, fps: 240 }, now);
            for i in 0..max {
                let late = now + Duration::from_secs(i);
                session.handle(chunk(None), late);
                session.handle(Input::Written, late);
                all.extend(outputs(&mut session));
            }
            let granted: Vec<_> =
                all.iter().filter_map(|output| if let Output::Grant(n) = output { Some(*n) } else { None }).collect();
            assert_eq!((granted.iter().sum::<u64>(), granted.len()), (max, grants));
            assert_eq!(all.last(), Some(&Output::Close(Close::COMPLETE)));
            assert_eq!(all.iter().filter(|output| matches!(output, Output::Close(_))).count(), 1);
        }
    }

    #[test]
    fn a_paced_chunk_is_held_until_the_one_before_has_been_shown() {
        let start = Instant::now();
        let (mut session, first) = begin(PACED, start);
        assert_eq!(first, [Output::Grant(1)]);
        // Nine frames at ten a second: 900 ms each. Drawing takes 300.
        session.handle(chunk(None), start + ms(300));
        assert_eq!(outputs(&mut session), [Output::Send { pace_wait: ms(0) }]);
        session.handle(chunk(None), start + ms(600));
        assert_eq!((session.poll_timeout(), outputs(&mut session)), (Some(start + ms(1200)), vec![]));
        session.handle(Input::Tick, start + ms(1199));
        assert_eq!(outputs(&mut session), []);
        session.handle(Input::Tick, start + ms(1200));
        assert_eq!(outputs(&mut session), [Output::Send { pace_wait: ms(600) }]);
        assert_eq!(session.poll_timeout(), None);
        // One that comes late goes at once, and the pace goes on from there.
        session.handle(chunk(None), start + ms(5000));
        assert_eq!(outputs(&mut session), [Output::Send { pace_wait: ms(0) }]);
        session.handle(chunk(None), start + ms(5100));
        assert_eq!(session.poll_timeout(), Some(start + ms(5900)));
    }

    #[test]
    fn a_new_event_is_shown_at_once_and_its_repetition_is_not() {
        let start = Instant::now();
        let (mut session, _) = begin(PACED, start);
        session.handle(chunk(None), start);
        session.handle(chunk(Some(4)), start + ms(100));
        let sent = Output::Send { pace_wait: ms(0) };
        assert_eq!(outputs(&mut session), [sent.clone(), sent.clone()]);
        session.handle(chunk(Some(4)), start + ms(200));
        assert_eq!(session.poll_timeout(), Some(start + ms(1000)));
        session.handle(Input::Tick, start + ms(1000));
        session.handle(chunk(Some(5)), start + ms(1100));
        assert_eq!(outputs(&mut session), [Output::Send { pace_wait: ms(800) }, sent]);
    }

    #[test]
    fn events_pass_through_and_bad_ones_are_answered() {
        let now = Instant::now();
        let (mut session, _) = begin(FREE, now);
        session.handle(Input::Binary(&message(r#"{"type":"event","kind":"prompt","payload":"p"}"#)), now);
        assert!(matches!(outputs(&mut session)[..], [Output::Steer(_)]));
        session.handle(Input::Binary(b"garbage"), now);
        let told = outputs(&mut session);
        assert!(matches!(&told[..], [Output::Tell(error)] if error.content == "invalid event"), "{told:?}");
    }

    #[test]
    fn text_and_failure_are_said_before_the_close() {
        let now = Instant::now();
        let (mut session, _) = begin(FREE, now);
        session.handle(Input::Text, now);
        assert!(matches!(&outputs(&mut session)[..], [Output::Tell(_), Output::Close(Close { code: 1003, .. })]));
        session.handle(Input::Failed("no memory\nat ...".into()), now);
        let told = outputs(&mut session);
        assert!(matches!(&told[..], [Output::Tell(error), Output::Close(Close { code: 1011, .. })]
            if error.content == "error during generate loop: no memory"));
    }

    #[test]
    fn a_flood_of_invalid_messages_is_ended_and_a_trickle_is_not() {
        let now = Instant::now();
        let (mut session, _) = begin(FREE, now);
        for i in 1..=INVALID_BURST + 1 {
            session.handle(Input::Binary(b""), now);
            let closed = outputs(&mut session).contains(&Output::Close(Close::FLOOD));
            assert_eq!(closed, i > INVALID_BURST, "message {i}");
        }
        let (mut session, _) = begin(FREE, now);
        for i in 0..10 * INVALID_BURST {
            session.handle(Input::Binary(b""), now + i * INVALID_FORGIVEN);
            assert_eq!(outputs(&mut session).len(), 1);
        }
    }
}
