//! Pace: when each chunk of a paced session begins and is sent. Chunks are sent at the session's rate and drawn with
//! the newest keys that this allows.
//!
//! A chunk is sent when the one before it has been shown, and begins just early enough to be drawn by then. An event
//! with a new id means that a person waits for its effect: it starts the next chunk at once.
//!
//! ```text
//!   Resting ──start────────────────────────► Drawing ──drawn──► Held ──release, when it is due──► Out
//!      ▲                                     ▲    ▲                                                │
//!      │ rest        tick, when it must begin│    │                                                │
//!      └────────────────────────── PutOff ───┘    └──────────written, and an event waits───────────┤
//!                                     ▲    event with a new id: at once                            │
//!                                     └───────────written, or go_on after a rest───────────────────┘
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Drawing times remembered. The longest decides when the next chunk must begin. An average would be late for every
/// slower chunk, and the longest of a few is not enough: on a busy device a chunk waits a random time for the one being
/// drawn, so of any nine the last is the slowest once in nine times.
const REMEMBERED: usize = 64;

/// A chunk begins this much earlier than needed: timers and two channels may take as long.
const MARGIN: Duration = Duration::from_millis(10);

/// A chunk that is late by less does not delay later ones: a player has that much buffered, and regains it with the
/// next chunk. If the milliseconds of every timer added up, a player's buffer would run empty.
const MADE_UP_FOR: Duration = Duration::from_millis(100);

pub(crate) struct Pace {
    fps: u32,
    chunk: Chunk,
    /// Drawing times of the last chunks, at most [`REMEMBERED`].
    drawing_times: VecDeque<Duration>,
    /// When the video sent so far will have been shown.
    shown_at: Option<Instant>,
    shown_event: Option<u32>,
    /// The largest event id so far. If it is larger than the one above, a person waits for its effect.
    newest_event: Option<u32>,
}

/// The state of a paced session's chunk. A paced session has one chunk under way at most.
enum Chunk {
    /// No chunk is under way, and none begins without a call of `start` or `go_on`.
    Resting,
    /// Not begun yet: a later start means newer controls.
    PutOff { since: Instant, begins: Instant, due: Instant },
    /// Granted to the engine, after this delay.
    Drawing { asked: Instant, put_off: Duration },
    /// Drawn, and held back until it is due.
    Held { since: Instant, put_off: Duration, due: Instant, shown_for: Duration },
    /// On its way to the client.
    Out,
}

/// When a client has shown a chunk that is sent now, or at its due time if that is later. A chunk that is late by less
/// than
/// [`MADE_UP_FOR`] does not put off the next one.
fn shown_until(due: Instant, shown_for: Duration, now: Instant) -> Instant {
    let late = now.saturating_duration_since(due);
    if late < MADE_UP_FOR { due + shown_for } else { now + shown_for }
}

/// A chunk must begin now; its due time.
pub(crate) type Begin = Instant;

impl Pace {
    pub(crate) fn new(fps: u32) -> Pace {
        Pace {
            fps,
            chunk: Chunk::Resting,
            drawing_times: VecDeque::with_capacity(REMEMBERED),
            shown_at: None,
            shown_event: None,
            newest_event: None,
        }
    }

    /// Begin the first chunk, or the first after a rest: it follows no video.
    pub(crate) fn start(&mut self, now: Instant) -> Begin {
        self.shown_at = None;
        self.begin(now, now, Duration::ZERO)
    }

    /// Go on after a rest, for a client that stayed: the next chunk is due when the frames it has will have been shown.
    pub(crate) fn go_on(&mut self, now: Instant) -> Option<Begin> {
        self.shown_at = self.shown_at.map(|at| at.max(now));
        self.written(now)
    }

    /// Begin no more chunks. Returns whether one had been put off.
    pub(crate) fn rest(&mut self) -> bool {
        let was_put_off = matches!(self.chunk, Chunk::PutOff { .. });
        if was_put_off {
            self.chunk = Chunk::Resting;
        }
        was_put_off
    }

    /// An event came. One without a new id must not start a chunk early: the finished chunk would only wait until it is
    /// due.
    pub(crate) fn event(&mut self, id: Option<u32>, now: Instant) -> Option<Begin> {
        self.newest_event = self.newest_event.max(id);
        match self.chunk {
            Chunk::PutOff { since, .. } if self.somebody_waits() => Some(self.begin(now, now, now - since)),
            _ => None,
        }
    }

    /// A chunk was sent, so the next may begin, with the controls held by then.
    pub(crate) fn written(&mut self, now: Instant) -> Option<Begin> {
        if self.somebody_waits() {
            return Some(self.begin(now, now, Duration::ZERO));
        }
        let due = self.shown_at.unwrap_or(now);
        self.chunk = Chunk::PutOff { since: now, begins: self.begin_for(due, now), due };
        self.tick(now)
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Begin> {
        match self.chunk {
            Chunk::PutOff { since, begins, due } if begins <= now => Some(self.begin(now, due, now - since)),
            _ => None,
        }
    }

    fn somebody_waits(&self) -> bool {
        self.newest_event > self.shown_event
    }

    /// When a chunk must begin to be drawn by then.
    fn begin_for(&self, due: Instant, now: Instant) -> Instant {
        let drawing = self.drawing_times.iter().max().copied().unwrap_or_default() + MARGIN;
        due.checked_sub(drawing).unwrap_or(now)
    }

    fn begin(&mut self, now: Instant, due: Instant, put_off: Duration) -> Begin {
        self.chunk = Chunk::Drawing { asked: now, put_off };
        due
    }

    /// The first frames of a chunk are there.
    pub(crate) fn drawn(&mut self, event_id: Option<u32>, frames: usize, now: Instant) {
        let mut put_off = Duration::ZERO;
        match self.chunk {
            Chunk::Held { .. } => panic!("one chunk is sent at a time"),
            Chunk::Drawing { asked, put_off: how_long } => {
                put_off = how_long;
                if self.drawing_times.len() == REMEMBERED {
                    self.drawing_times.pop_front();
                }
                self.drawing_times.push_back(now - asked);
            }
            Chunk::Resting | Chunk::PutOff { .. } | Chunk::Out => {}
        }
        let mut due = self.shown_at.unwrap_or(now);
        if event_id.is_some() && event_id != self.shown_event {
            // A person waits for this event's effect: send at once and restart the pace from here.
            due = due.min(now);
            put_off = Duration::ZERO;
            self.shown_event = event_id;
        }
        let shown_for = Duration::from_secs_f64(frames as f64 / f64::from(self.fps));
        self.chunk = Chunk::Held { since: now, put_off, due, shown_for };
    }

    /// When the chunk after the one that was just drawn will begin, unless an event brings it forward.
    pub(crate) fn begins_next(&self, now: Instant) -> Option<Instant> {
        let Chunk::Held { due, shown_for, .. } = self.chunk else { return None };
        if self.somebody_waits() {
            return Some(due.max(now));
        }
        Some(self.begin_for(shown_until(due, shown_for, now), now))
    }

    /// Send the drawn chunk, if it is due. Returns the time that pacing delayed it, before its start and after its
    /// drawing.
    pub(crate) fn release(&mut self, now: Instant) -> Option<Duration> {
        let Chunk::Held { since, put_off, due, shown_for } = self.chunk else { return None };
        if due > now {
            return None;
        }
        self.shown_at = Some(shown_until(due, shown_for, now));
        self.chunk = Chunk::Out;
        Some(put_off + (now - since))
    }

    /// The next time to call `tick` or `release`.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.chunk {
            Chunk::PutOff { begins, .. } => Some(begins),
            Chunk::Held { due, .. } => Some(due),
            Chunk::Resting | Chunk::Drawing { .. } | Chunk::Out => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nine frames at ten a second: a chunk is shown for 900 ms.
    const FRAMES: usize = 9;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One that is begun at the start.
    fn begun(start: Instant) -> Pace {
        let mut pace = Pace::new(10);
        assert_eq!(pace.start(start), start);
        pace
    }

    /// What becomes of a chunk that is drawn now.
    fn drawn(pace: &mut Pace, event_id: Option<u32>, now: Instant) -> Option<Duration> {
        pace.drawn(event_id, FRAMES, now);
        pace.release(now)
    }

    #[test]
    fn a_chunk_is_held_until_the_one_before_has_been_shown() {
        let start = Instant::now();
        let mut pace = begun(start);
        assert_eq!(drawn(&mut pace, None, start + ms(300)), Some(ms(0)));
        assert_eq!(drawn(&mut pace, None, start + ms(600)), None);
        assert_eq!(pace.poll_timeout(), Some(start + ms(1200)));
        assert_eq!(pace.release(start + ms(1199)), None);
        assert_eq!(pace.release(start + ms(1200)), Some(ms(600)));
        assert_eq!(pace.poll_timeout(), None);
        // One that comes late goes at once, and the pace goes on from there.
        assert_eq!(drawn(&mut pace, None, start + ms(5000)), Some(ms(0)));
        assert_eq!(drawn(&mut pace, None, start + ms(5100)), None);
        assert_eq!(pace.poll_timeout(), Some(start + ms(5900)));
    }

    #[test]
    fn a_little_lateness_is_made_up_for_and_much_of_it_is_not() {
        let check = |late: Duration, put_off: Duration| {
            let start = Instant::now();
            let mut pace = begun(start);
            assert_eq!(drawn(&mut pace, None, start), Some(ms(0)));
            assert_eq!(drawn(&mut pace, None, start + ms(900) + late), Some(ms(0)));
            pace.drawn(None, FRAMES, start + ms(1200));
            assert_eq!(pace.poll_timeout(), Some(start + ms(1800) + put_off), "{late:?} late");
        };
        check(ms(1), ms(0));
        check(MADE_UP_FOR - ms(1), ms(0));
        check(MADE_UP_FOR, MADE_UP_FOR);
        check(ms(2900), ms(2900));
    }

    #[test]
    fn a_new_event_is_shown_at_once_and_its_repetition_is_not() {
        let start = Instant::now();
        let mut pace = begun(start);
        assert_eq!(drawn(&mut pace, None, start), Some(ms(0)));
        assert_eq!(drawn(&mut pace, Some(4), start + ms(100)), Some(ms(0)));
        assert_eq!(drawn(&mut pace, Some(4), start + ms(200)), None);
        assert_eq!(pace.release(start + ms(1000)), Some(ms(800)));
        assert_eq!(drawn(&mut pace, Some(5), start + ms(1100)), Some(ms(0)));
    }

    /// Its first chunk was drawn in 300 ms and is written at 310: it is shown until 1200.
    fn second_chunk_ahead(start: Instant) -> Pace {
        let mut pace = begun(start);
        assert_eq!(drawn(&mut pace, None, start + ms(300)), Some(ms(0)));
        assert_eq!(pace.written(start + ms(310)), None);
        pace
    }

    #[test]
    fn a_chunk_begins_so_late_that_it_is_drawn_just_when_it_is_due() {
        let start = Instant::now();
        let mut pace = second_chunk_ahead(start);
        let begins = start + ms(1200 - 300) - MARGIN;
        assert_eq!(pace.poll_timeout(), Some(begins));
        assert_eq!(pace.tick(begins - ms(1)), None);
        assert_eq!(pace.tick(begins), Some(start + ms(1200)));
        // It is early by the margin, and waited for its pace from the time the first was written.
        assert_eq!(drawn(&mut pace, None, start + ms(1190)), None);
        assert_eq!(pace.release(start + ms(1200)), Some(ms(890 - 310 + 10)));
    }

    #[test]
    fn the_slowest_of_the_last_chunks_says_when_the_next_begins_until_it_is_forgotten() {
        let mut now = Instant::now();
        let mut pace = begun(now);
        for i in 0..2 * REMEMBERED {
            pace.drawn(None, FRAMES, now + if i == 0 { ms(500) } else { ms(100) });
            let sent = pace.poll_timeout().expect("it is held");
            assert!(pace.release(sent).is_some());
            assert_eq!(pace.written(sent), None);
            let due = pace.shown_at.expect("one was sent");
            now = pace.poll_timeout().expect("the next is not begun yet");
            let slowest = if i < REMEMBERED { ms(500) } else { ms(100) };
            assert_eq!(due - now, slowest + MARGIN, "after chunk {i}");
            assert_eq!(pace.tick(now), Some(due));
        }
    }

    #[test]
    fn an_input_with_a_new_id_begins_the_next_chunk_at_once_and_any_other_does_not() {
        let start = Instant::now();
        let mut pace = second_chunk_ahead(start);
        assert_eq!(pace.event(None, start + ms(400)), None);
        assert_eq!(pace.event(Some(3), start + ms(500)), Some(start + ms(500)));
        assert_eq!(pace.poll_timeout(), None);
        assert_eq!(drawn(&mut pace, Some(3), start + ms(800)), Some(ms(0)));
        assert_eq!(pace.written(start + ms(810)), None);
        assert_eq!(pace.event(Some(3), start + ms(820)), None, "it has been shown already");
        // One that came while a chunk was drawn without it is not kept waiting either.
        assert!(pace.tick(start + ms(1800)).is_some());
        assert_eq!(pace.event(Some(4), start + ms(1850)), None, "a chunk is being drawn");
        assert!(drawn(&mut pace, Some(3), start + ms(1900)).is_some());
        assert_eq!(pace.written(start + ms(1900)), Some(start + ms(1900)));
    }

    /// A device that three free sessions keep busy, on a made-up clock: how late each of a thousand paced chunks is
    /// sent.
    fn beside_three_free_ones(chunk_ms: u64) -> Vec<Duration> {
        use crate::engine::turns::scheduler::{Next, Scheduler};
        const PACED: u64 = 0;
        let mut scheduler = Scheduler::default();
        let mut now = Instant::now();
        for id in 0..4 {
            scheduler.open(id, id == PACED);
            scheduler.grant(id, if id == PACED { 1 } else { 2 }, now);
        }
        let mut pace = begun(now);
        let (mut running, mut late, mut dice) = (None, Vec::new(), 1u64);
        while late.len() < 1000 {
            if running.is_none() {
                // No chunk takes exactly as long as another, so that they begin anywhere in each other.
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let took = Duration::from_micros(940 * chunk_ms + (dice >> 33) % (120 * chunk_ms));
                if let Some(Next::Chunk(id)) = scheduler.take_turn(now) {
                    running = Some((now + took, id));
                }
            }
            let ends = running.map(|(ends, _)| ends);
            now = ends.into_iter().chain(pace.poll_timeout()).min().expect("somebody is busy").max(now);
            let begin = pace.tick(now);
            if let Some((_, id)) = running.take_if(|(ends, _)| *ends <= now) {
                match id {
                    PACED => pace.drawn(None, FRAMES, now),
                    free => scheduler.grant(free, 1, now),
                }
            }
            let due = if let Chunk::Held { due, .. } = pace.chunk { Some(due) } else { None };
            let sent = pace.release(now).and(due);
            late.extend(sent.map(|due| now - due));
            if let Some(due) = begin.or_else(|| sent.and_then(|_| pace.written(now))) {
                scheduler.grant(PACED, 1, due);
            }
        }
        late
    }

    #[test]
    fn chunks_are_on_time_beside_free_sessions_that_keep_the_device_busy() {
        for chunk_ms in [5, 50, 200, 400] {
            let late = beside_three_free_ones(chunk_ms);
            let on_time = late.iter().filter(|late| late.is_zero()).count();
            println!("{chunk_ms} ms: {on_time} of {} on time", late.len());
            assert!(on_time * 100 >= late.len() * 99, "{chunk_ms} ms: {on_time} of {}", late.len());
        }
    }

    #[test]
    fn after_a_rest_the_pace_starts_anew() {
        let start = Instant::now();
        let mut pace = second_chunk_ahead(start);
        assert!(pace.rest());
        assert_eq!(pace.poll_timeout(), None);
        assert!(!pace.rest());
        let back = start + ms(400);
        assert_eq!(pace.start(back), back);
        assert_eq!(
            drawn(&mut pace, None, start + ms(600)),
            Some(ms(0)),
            "nobody has the video that would be shown until 1200"
        );
    }
}
