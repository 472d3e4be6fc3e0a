//! What one client saw, as numbers. It is told what came and when, and reads no clock; times count from the round's
//! beginning.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::heard::{Frames, Heard, Stats};

/// What clients measured, in milliseconds. Those of a round are one after the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    /// From the first message to the first frames.
    pub first_frame: Vec<f64>,
    /// Between the ends of neighbouring chunks.
    pub interval: Vec<f64>,
    /// How much an interval differs from what it should be. Paced: from the time for which the chunk before is shown. Free:
    /// from the interval before it.
    pub jitter: Vec<f64>,
    /// Of a chunk, as the server says: from its preparation to its last byte, without waiting for the time to send it.
    pub latency: Vec<f64>,
    /// From a chunk's first message to its last.
    pub delivery: Vec<f64>,
    /// From an action to the first frames whose header covers it.
    pub action: Vec<f64>,
}

/// A session that is watched.
#[derive(Debug)]
pub struct Watch {
    /// Of one frame, as it is shown.
    frame: Duration,
    is_paced: bool,
    began: Duration,
    samples: Samples,
    chunks: Vec<Chunk>,
    /// Of the last chunk that came whole.
    chunk_frames: u32,
    frames: u64,
    bytes: u64,
    /// What came of the chunk that is under way.
    under_way: Option<Part>,
    /// Actions that no frame has covered yet, by their ids.
    waiting: VecDeque<(u64, Duration)>,
    players: Vec<Player>,
}

/// When a chunk came.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its first message, in milliseconds from the round's beginning.
    pub first_ms: f64,
    /// Its last.
    pub last_ms: f64,
    /// Whether a player with the plan's buffer had to wait for it.
    pub is_late: bool,
}

/// A chunk that has not ended yet.
#[derive(Debug, Clone, Copy)]
struct Part {
    first: Duration,
    frames: u32,
    is_late: bool,
}

/// Somebody who watches: begins `buffer` after the first frame, shows a frame each 1/fps, and waits for a frame that is late,
/// from where its clock goes on.
#[derive(Debug, Clone)]
pub struct Player {
    buffer: Duration,
    /// When the next frame is due; `None` before the first frame.
    due: Option<Duration>,
    /// How often it had to wait.
    pub underruns: u64,
    /// How long in all.
    pub waited: Duration,
}

/// What a client saw.
#[derive(Debug)]
pub struct Seen {
    /// All times.
    pub samples: Samples,
    /// Each chunk that came whole.
    pub chunks: Vec<Chunk>,
    /// Frames in all.
    pub frames: u64,
    /// Bytes of messages and payloads.
    pub bytes: u64,
    /// Actions that were answered by no frame.
    pub unanswered: u64,
    /// In the order of the buffers.
    pub players: Vec<Player>,
}

impl Player {
    fn new(buffer: Duration) -> Player {
        Player { buffer, due: None, underruns: 0, waited: Duration::ZERO }
    }

    /// So many frames came. Whether it had to wait for them.
    fn came(&mut self, frames: u32, frame: Duration, now: Duration) -> bool {
        if frames == 0 {
            return false;
        }
        let due = self.due.unwrap_or(now + self.buffer);
        let is_late = now > due;
        if is_late {
            self.underruns += 1;
            self.waited += now - due;
        }
        // A frame that is early waits; one that is late is shown at once.
        self.due = Some(due.max(now) + frame * frames);
        is_late
    }
}

impl Watch {
    /// From the moment on at which the first message was sent. `buffers`: of the players; the first is the plan's own.
    pub fn new(fps: u32, is_paced: bool, buffers: &[Duration], began: Duration) -> Watch {
        Watch {
            frame: Duration::from_secs(1) / fps.max(1),
            is_paced,
            began,
            samples: Samples::default(),
            chunks: Vec::new(),
            chunk_frames: 0,
            frames: 0,
            bytes: 0,
            under_way: None,
            waiting: VecDeque::new(),
            players: buffers.iter().map(|&buffer| Player::new(buffer)).collect(),
        }
    }

    /// The first message is sent now: it took until now to connect.
    pub fn begins(&mut self, now: Duration) {
        self.began = now;
    }

    /// An action was sent. Ids grow.
    pub fn acted(&mut self, id: u64, now: Duration) {
        self.waiting.push_back((id, now));
    }

    /// A message came whole, of so many bytes with its payload.
    pub fn heard(&mut self, heard: &Heard, bytes: usize, now: Duration) {
        self.bytes += bytes as u64;
        match heard {
            Heard::Frames(frames) => self.came(*frames, now),
            Heard::Stats(Stats { chunk_total_ms: Some(total), pace_wait_ms }) => {
                self.samples.latency.push(total - pace_wait_ms.unwrap_or_default());
            }
            Heard::Stats(_) | Heard::Refused(_) | Heard::Other => {}
        }
    }

    fn came(&mut self, frames: Frames, now: Duration) {
        if self.frames == 0 && frames.num_frames > 0 {
            self.samples.first_frame.push(ms(now - self.began));
        }
        self.frames += u64::from(frames.num_frames);
        // A message without frames shows nothing, whatever its header says.
        while frames.num_frames > 0
            && let Some(&(id, sent)) = self.waiting.front()
            && frames.event_id.is_some_and(|covered| covered >= id)
        {
            self.samples.action.push(ms(now - sent));
            self.waiting.pop_front();
        }
        let mut is_late = false;
        for (index, player) in self.players.iter_mut().enumerate() {
            is_late |= player.came(frames.num_frames, self.frame, now) && index == 0;
        }
        let Part { first, frames: before, is_late: was_late } =
            self.under_way.take().unwrap_or(Part { first: now, frames: 0, is_late: false });
        let part = Part { first, frames: before + frames.num_frames, is_late: was_late || is_late };
        if frames.is_final_frame_batch {
            let chunk = Chunk { first_ms: ms(first), last_ms: ms(now), is_late: part.is_late };
            self.chunk(chunk, part.frames);
        } else {
            self.under_way = Some(part);
        }
    }

    fn chunk(&mut self, chunk: Chunk, frames: u32) {
        self.samples.delivery.push(chunk.last_ms - chunk.first_ms);
        if let Some(before) = self.chunks.last() {
            let interval = chunk.last_ms - before.last_ms;
            // A paced chunk comes when the one before it has been shown.
            let shown = self.is_paced.then(|| ms(self.frame * self.chunk_frames));
            let expected = shown.or(self.samples.interval.last().copied());
            self.samples.jitter.extend(expected.map(|expected| (interval - expected).abs()));
            self.samples.interval.push(interval);
        }
        self.chunk_frames = frames;
        self.chunks.push(chunk);
    }

    /// Whether a frame has come.
    pub fn has_begun(&self) -> bool {
        self.frames > 0
    }

    /// Nothing more comes.
    pub fn ended(self) -> Seen {
        let Watch { samples, chunks, frames, bytes, waiting, players, .. } = self;
        Seen { samples, chunks, frames, bytes, unanswered: waiting.len() as u64, players }
    }
}

impl Samples {
    /// Those of another client behind these.
    pub fn append(&mut self, mut more: Samples) {
        for (all, more) in self.all_mut().into_iter().zip(more.all_mut()) {
            all.append(more);
        }
    }

    fn all_mut(&mut self) -> [&mut Vec<f64>; 6] {
        let Samples { first_frame, interval, jitter, latency, delivery, action } = self;
        [first_frame, interval, jitter, latency, delivery, action]
    }
}

fn ms(time: Duration) -> f64 {
    1000.0 * time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn frames(chunk_index: u64, num_frames: u32, is_final_frame_batch: bool, event_id: Option<u64>) -> Heard {
        Heard::Frames(Frames { chunk_index, num_frames, is_final_frame_batch, event_id })
    }

    #[test]
    fn a_frame_that_is_late_moves_the_clock_of_who_waits_for_it() {
        let mut player = Player::new(50 * MS);
        let mut check = |at_ms: u32, frames: u32, underruns: u64, waited_ms: u32| {
            player.came(frames, 100 * MS, at_ms * MS);
            assert_eq!((player.underruns, player.waited), (underruns, waited_ms * MS), "{frames} frames at {at_ms} ms");
        };
        // Shown at 50 and 150; the third is due at 250.
        check(0, 2, 0, 0);
        check(250, 1, 0, 0);
        // Due at 350: shown at 400, and the one with it at 500, not late any more.
        check(400, 2, 1, 50);
        check(600, 1, 1, 50);
        check(600, 0, 1, 50);
        check(701, 1, 2, 51);
    }

    #[test]
    fn an_action_is_answered_by_the_first_frames_whose_header_covers_it_and_not_by_the_next() {
        let mut watch = Watch::new(16, true, &[], Duration::ZERO);
        watch.heard(&frames(0, 9, true, None), 1, 10 * MS);
        watch.acted(1, 20 * MS);
        // Drawn before the action came.
        watch.heard(&frames(1, 12, true, None), 1, 30 * MS);
        watch.acted(2, 40 * MS);
        watch.acted(3, 45 * MS);
        // A message without frames shows nothing.
        watch.heard(&frames(2, 0, false, Some(2)), 1, 50 * MS);
        watch.heard(&frames(2, 6, false, Some(2)), 1, 60 * MS);
        watch.heard(&frames(2, 6, true, Some(2)), 1, 70 * MS);
        let seen = watch.ended();
        assert_eq!((seen.samples.action, seen.unanswered), (vec![40.0, 20.0], 1));
    }

    #[test]
    fn intervals_are_between_the_ends_of_chunks_and_jitter_is_what_they_differ_from_what_they_should_be() {
        let check = |is_paced, jitter: &[f64]| {
            let mut watch = Watch::new(10, is_paced, &[Duration::ZERO, 300 * MS], 100 * MS);
            watch.heard(&frames(0, 1, true, None), 5, 150 * MS);
            watch.heard(&frames(1, 1, false, None), 5, 260 * MS);
            watch.heard(&frames(1, 1, true, None), 5, 350 * MS);
            watch.heard(&Heard::Stats(Stats { chunk_total_ms: Some(90.0), pace_wait_ms: Some(20.0) }), 5, 350 * MS);
            watch.heard(&frames(2, 2, true, None), 5, 580 * MS);
            let seen = watch.ended();
            assert_eq!(seen.samples.first_frame, [50.0]);
            assert_eq!(seen.samples.interval, [200.0, 230.0]);
            assert_eq!(seen.samples.delivery, [0.0, 90.0, 0.0]);
            assert_eq!(seen.samples.latency, [70.0]);
            assert_eq!(seen.samples.jitter, jitter);
            assert_eq!((seen.frames, seen.bytes), (5, 25));
            // With nothing in hand frames are due at 150, 250, 360 and 460.
            let late: Vec<_> = seen.chunks.iter().map(|chunk| chunk.is_late).collect();
            assert_eq!(late, [false, true, true]);
            assert_eq!(seen.players.iter().map(|player| player.underruns).collect::<Vec<_>>(), [2, 0]);
            assert_eq!(seen.players[0].waited, 10 * MS + 120 * MS);
        };
        check(true, &[100.0, 30.0]);
        check(false, &[30.0]);
    }
}
