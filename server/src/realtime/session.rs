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

/// Chunks whose drawing time is remembered: the slowest of them says when the next must begin. An average would be late for
/// every chunk that is slower than most.
const REMEMBERED: usize = 8;

/// A chunk begins this much earlier than it must: what timers and two channels may take.
const MARGIN: Duration = Duration::from_millis(10);

/// Invalid messages that a client may send at once, and how soon each is forgiven: a client with a mistake in it finds
/// out, one that floods is not answered for ever.
pub const INVALID_BURST: u32 = 64;
pub const INVALID_FORGIVEN: Duration = Duration::from_millis(100);

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
    /// All of the chunk's messages are on their way.
    Written,
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
    terms: Terms,
    granted: u64,
    written: u64,
    /// The paced chunk that is not begun yet: the later it is, the newer the keys it is drawn with.
    later: Option<Later>,
    /// When the paced chunk that is being drawn was asked for, and how long that was put off.
    asked: Option<(Instant, Duration)>,
    drawing_times: VecDeque<Duration>,
    /// The chunk that is held back.
    held: Option<Held>,
    /// When the video sent so far will have been shown.
    shown_at: Option<Instant>,
    paced_event: Option<u32>,
    /// The largest id of an event so far: larger than the one above, somebody waits to see it.
    newest_event: Option<u32>,
    invalid: InvalidMessages,
    outputs: VecDeque<Output>,
}

struct Later {
    since: Instant,
    start: Instant,
    due: Instant,
}

struct Held {
    put_off: Duration,
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
            later: None,
            asked: None,
            drawing_times: VecDeque::with_capacity(REMEMBERED),
            held: None,
            shown_at: None,
            paced_event: None,
            newest_event: None,
            invalid: InvalidMessages::none(now),
            outputs: VecDeque::new(),
        }
    }

    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            // A paced chunk is asked for only once the last is out: so it is drawn with what was held then.
            Input::Opened if self.terms.paced => self.begin(now, now, Duration::ZERO),
            Input::Opened => self.grant(CREDIT, now),
            Input::Binary(bytes) => match Event::decode(bytes) {
                Ok(event) => {
                    // Only an event with a new id is shown ahead of the pace; for any other, early is not sooner.
                    self.newest_event = self.newest_event.max(event.id);
                    self.outputs.push_back(Output::Steer(event));
                    if self.newest_event > self.paced_event
                        && let Some(later) = self.later.take()
                    {
                        self.begin(now, now, now - later.since);
                    }
                }
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
                } else if self.terms.paced && self.newest_event > self.paced_event {
                    self.begin(now, now, Duration::ZERO);
                } else if self.terms.paced {
                    self.begin_in_time(now);
                } else {
                    self.grant(1, now);
                }
            }
            Input::Failed(message) => {
                self.outputs.push_back(Output::Tell(ClientError::failed(&message)));
                self.outputs.push_back(Output::Close(Close::FAILED));
            }
            Input::Tick => {
                self.release(now);
                self.begin_if_time(now);
            }
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with a tick, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = self.held.as_ref().map(|held| held.due);
        due.or(self.later.as_ref().map(|later| later.start))
    }

    /// An event could not be taken: it counts like one that could not be read.
    pub fn invalid(&mut self, refusal: Refusal, now: Instant) {
        self.outputs.push_back(Output::Tell(ClientError::invalid_event(refusal)));
        if self.invalid.count(now) {
            self.outputs.push_back(Output::Close(Close::FLOOD));
        }
    }

    /// The next chunk so late that it is drawn just when it is due.
    fn begin_in_time(&mut self, now: Instant) {
        let due = self.shown_at.unwrap_or(now);
        let drawing = self.drawing_times.iter().max().copied().unwrap_or_default() + MARGIN;
        let start = due.checked_sub(drawing).unwrap_or(now);
        self.later = Some(Later { since: now, start, due });
        self.begin_if_time(now);
    }

    fn begin_if_time(&mut self, now: Instant) {
        if let Some(Later { since, due, .. }) = self.later.take_if(|later| later.start <= now) {
            self.begin(now, due, now - since);
        }
    }

    fn begin(&mut self, now: Instant, due: Instant, put_off: Duration) {
        self.asked = Some((now, put_off));
        self.grant(1, due);
    }

    fn grant(&mut self, chunks: u64, due: Instant) {
        let left = self.terms.max_chunks.map_or(u64::MAX, |max| max - self.granted);
        let chunks = chunks.min(left);
        if chunks > 0 {
            self.granted += chunks;
            self.outputs.push_back(Output::Grant { chunks, due });
        }
    }

    fn hold(&mut self, event_id: Option<u32>, frames: usize, now: Instant) {
        assert!(self.held.is_none(), "one chunk is sent at a time");
        let mut due = now;
        let mut put_off = Duration::ZERO;
        if let Some((at, how_long)) = self.asked.take() {
            put_off = how_long;
            if self.drawing_times.len() == REMEMBERED {
                self.drawing_times.pop_front();
            }
            self.drawing_times.push_back(now - at);
        }
        if self.terms.paced && frames > 0 {
            due = self.shown_at.unwrap_or(now);
            if event_id.is_some() && event_id != self.paced_event {
                // Somebody did something and wants to see it: the pace starts anew from here.
                due = due.min(now);
                put_off = Duration::ZERO;
                self.paced_event = event_id;
            }
        }
        let shown_for = Duration::from_secs_f64(frames as f64 / f64::from(self.terms.fps));
        self.held = Some(Held { put_off, since: now, due, shown_for });
        self.release(now);
    }

    fn release(&mut self, now: Instant) {
        let Some(Held { put_off, since, due, shown_for }) = self.held else { return };
        if now < due {
            return;
        }
        self.held = None;
        self.shown_at = Some(due.max(now) + shown_for);
        self.outputs.push_back(Output::Send { pace_wait: put_off + (now - since) });
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
        assert_eq!(first, [Output::Grant { chunks: 2, due: now }]);
        for _ in 0..5 {
            session.handle(chunk(None), now);
            assert_eq!(outputs(&mut session), [Output::Send { pace_wait: ms(0) }]);
            session.handle(Input::Written, now);
            assert_eq!(outputs(&mut session), [Output::Grant { chunks: 1, due: now }]);
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
                session.handle(chunk(None), late);
                session.handle(Input::Written, late);
                all.extend(outputs(&mut session));
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
    fn a_paced_chunk_is_held_until_the_one_before_has_been_shown() {
        let start = Instant::now();
        let (mut session, first) = begin(PACED, start);
        assert_eq!(first, [Output::Grant { chunks: 1, due: start }]);
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

    /// A paced session whose first chunk was drawn in 300 ms and is written at 310: it is shown until 1200.
    fn second_chunk_ahead(start: Instant) -> Session {
        let (mut session, _) = begin(PACED, start);
        session.handle(chunk(None), start + ms(300));
        session.handle(Input::Written, start + ms(310));
        assert_eq!(outputs(&mut session), [Output::Send { pace_wait: ms(0) }]);
        session
    }

    #[test]
    fn a_paced_chunk_begins_so_late_that_it_is_drawn_just_when_it_is_due() {
        let start = Instant::now();
        let mut session = second_chunk_ahead(start);
        let begins = start + ms(1200 - 300) - MARGIN;
        assert_eq!(session.poll_timeout(), Some(begins));
        session.handle(Input::Tick, begins - ms(1));
        assert_eq!(outputs(&mut session), []);
        session.handle(Input::Tick, begins);
        assert_eq!(outputs(&mut session), [Output::Grant { chunks: 1, due: start + ms(1200) }]);
        // It is early by the margin, and waited for its pace from the time the first was written.
        session.handle(chunk(None), start + ms(1190));
        session.handle(Input::Tick, start + ms(1200));
        let Some(Output::Send { pace_wait }) = session.poll_output() else { panic!("it is due") };
        assert_eq!(pace_wait, ms(890 - 310 + 10));
    }

    #[test]
    fn the_slowest_of_the_last_chunks_says_when_the_next_begins_until_it_is_forgotten() {
        let mut now = Instant::now();
        let (mut session, _) = begin(PACED, now);
        for i in 0..2 * REMEMBERED {
            let drawing = if i == 0 { ms(500) } else { ms(100) };
            session.handle(chunk(None), now + drawing);
            let sent = session.poll_timeout().unwrap_or(now + drawing);
            session.handle(Input::Tick, sent);
            session.handle(Input::Written, sent);
            let due = session.shown_at.expect("one was sent");
            now = session.poll_timeout().expect("the next is not begun yet");
            let slowest = if i < REMEMBERED { ms(500) } else { ms(100) };
            assert_eq!(due - now, slowest + MARGIN, "after chunk {i}");
            session.handle(Input::Tick, now);
            outputs(&mut session);
        }
    }

    #[test]
    fn an_input_with_a_new_id_begins_the_next_chunk_at_once_and_any_other_does_not() {
        let start = Instant::now();
        let state = |id: &str| message(&format!(r#"{{"type":"event","kind":"prompt","payload":"p"{id}}}"#));
        let mut session = second_chunk_ahead(start);
        session.handle(Input::Binary(&state("")), start + ms(400));
        assert!(matches!(outputs(&mut session)[..], [Output::Steer(_)]));
        session.handle(Input::Binary(&state(r#","event_id":3"#)), start + ms(500));
        let woken = outputs(&mut session);
        assert!(matches!(&woken[..], [Output::Steer(_), Output::Grant { chunks: 1, due }] if *due == start + ms(500)));
        assert_eq!(session.poll_timeout(), None);
        session.handle(chunk(Some(3)), start + ms(800));
        assert_eq!(outputs(&mut session), [Output::Send { pace_wait: ms(0) }]);
        session.handle(Input::Written, start + ms(810));
        session.handle(Input::Binary(&state(r#","event_id":3"#)), start + ms(820));
        assert!(matches!(outputs(&mut session)[..], [Output::Steer(_)]), "it has been shown already");
        // One that came while a chunk was drawn without it is not kept waiting either.
        session.handle(Input::Tick, start + ms(1800));
        session.handle(Input::Binary(&state(r#","event_id":4"#)), start + ms(1850));
        session.handle(chunk(Some(3)), start + ms(1900));
        outputs(&mut session);
        session.handle(Input::Written, start + ms(1900));
        assert_eq!(outputs(&mut session), [Output::Grant { chunks: 1, due: start + ms(1900) }]);
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
