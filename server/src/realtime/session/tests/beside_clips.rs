//! Sessions and clips on one device with a made-up clock: what each of them gets of it.
//!
//! Over 400 lines: the simulated device and the sessions on it are used by all of its tests.

use std::time::{Duration, Instant};

use crate::admission::rules::SeatId;
use crate::engine::turns::clips::{BESIDE_ANYBODY, BESIDE_FREE, NextGrant};
use crate::engine::turns::scheduler::{Next, Scheduler};
use crate::realtime::session::{Input, Output, Session, Stay};
use crate::realtime::wire::features::Features;
use crate::realtime::wire::init::Terms;

/// Frames a second, and of a chunk: each is shown for 750 ms.
const FPS: u32 = 16;
const FRAMES: usize = 12;
const PERIOD: Duration = Duration::from_millis(750);

const PIXELS: u64 = 1;
const CLIP: SeatId = 1000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A session and a client that takes what it is sent at once.
struct Client {
    session: Session,
    paced: bool,
    /// Chunks that were granted and are not begun.
    credit: u64,
    /// When it was sent each chunk.
    sent: Vec<Instant>,
    /// When it will have shown all of it.
    shown_until: Option<Instant>,
    /// How often it had nothing left to show.
    ran_dry: usize,
    /// It is not there until then.
    back_at: Option<Instant>,
}

/// A clip that is drawn: its reader takes each piece so long after it was drawn.
struct Reel {
    pieces: usize,
    drawn: usize,
    /// When the frames of the last piece will be taken.
    taken_at: Option<Instant>,
    reads_for: Duration,
    /// Since when its next piece could be drawn, and the longest such wait.
    ready_since: Option<Instant>,
    longest_wait: Duration,
    opened: bool,
    ended: Option<Instant>,
}

struct Device {
    now: Instant,
    scheduler: Scheduler,
    clients: Vec<Client>,
    reel: Option<Reel>,
    /// What is drawn, and until when.
    drawing: Option<(Instant, Next)>,
    chunk: Duration,
    piece: Duration,
    /// The longest piece and the longest chunk drawn so far.
    longest: (Duration, Duration),
    dice: u64,
    /// When each piece of the clip was begun.
    pieces_begun: Vec<Instant>,
}

impl Device {
    fn new(chunk: Duration, piece: Duration) -> Device {
        let now = Instant::now();
        let mut scheduler = Scheduler::default();
        // As a server that has warmed up.
        scheduler.clips.opened(PIXELS, piece);
        scheduler.clips.drew(PIXELS, piece);
        Device {
            now,
            scheduler,
            clients: Vec::new(),
            reel: None,
            drawing: None,
            chunk,
            piece,
            longest: Default::default(),
            dice: 1,
            pieces_begun: Vec::new(),
        }
    }

    fn roll(&mut self, below: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % below
    }

    /// No two take exactly as long.
    fn about(&mut self, took: Duration) -> Duration {
        took.mul_f64(0.95 + self.roll(1000) as f64 / 10_000.0)
    }

    fn join(&mut self, paced: bool) {
        let id = self.clients.len();
        let stay = Stay { idle: None, lifetime: None, grace: Duration::from_secs(3600), yield_after: None };
        let session = Session::new(Terms { fps: FPS, paced, max_chunks: None }, Features::default(), stay, self.now);
        self.clients.push(Client {
            session,
            paced,
            credit: 0,
            sent: Vec::new(),
            shown_until: None,
            ran_dry: 0,
            back_at: None,
        });
        self.scheduler.open(id as SeatId, paced);
        self.tell(id, Input::Opened);
    }

    fn begin_clip(&mut self, pieces: usize, reads_for: Duration) {
        self.scheduler.clips.begin(CLIP, PIXELS, self.now);
        self.reel = Some(Reel {
            pieces,
            drawn: 0,
            taken_at: None,
            reads_for,
            ready_since: Some(self.now),
            longest_wait: Duration::ZERO,
            opened: false,
            ended: None,
        });
    }

    fn tell(&mut self, id: usize, input: Input<'_>) {
        let (now, seat) = (self.now, id as SeatId);
        let client = &mut self.clients[id];
        client.session.handle(input, now);
        while let Some(output) = client.session.poll_output() {
            match output {
                Output::Grant { chunks, due } => {
                    client.credit += chunks;
                    self.scheduler.grant(seat, chunks, due);
                }
                Output::ExpectGrant { at } => {
                    self.scheduler.expect_grant(seat, at.map_or(NextGrant::Never, NextGrant::At));
                }
                Output::Send { pace_wait } => {
                    // As the server counts it.
                    client.ran_dry +=
                        usize::from(pace_wait.is_zero() && client.shown_until.is_some_and(|end| end < now));
                    client.shown_until = Some(now + PERIOD);
                    client.sent.push(now);
                    client.session.handle(Input::Written, now);
                }
                Output::Steer(_)
                | Output::Guest(..)
                | Output::Sharing(..)
                | Output::Received { .. }
                | Output::Clock { .. }
                | Output::Depart
                | Output::Step
                | Output::WantKeyFrame
                | Output::Transport(..)
                | Output::Rewind(..)
                | Output::Leave
                | Output::Reset(..)
                | Output::Tell(_)
                | Output::Close(_) => {
                    unreachable!("nobody steers, nothing ends")
                }
            }
        }
    }

    /// The client is gone for a while: its session rests.
    fn leave(&mut self, id: usize, back_at: Instant) {
        self.tell(id, Input::Lost);
        self.clients[id].back_at = Some(back_at);
    }

    /// The device does what is next, or waits for it.
    fn go_on(&mut self) {
        if self.drawing.is_none()
            && let Some(next) = self.scheduler.take_turn(self.now)
        {
            let took = match next {
                Next::Open(_) => unreachable!("every session is open"),
                Next::Chunk(_) => self.about(self.chunk),
                Next::Piece(_) => self.about(self.piece),
            };
            match next {
                Next::Open(_) => unreachable!("every session is open"),
                Next::Piece(_) => {
                    let reel = self.reel.as_mut().expect("the clip that has the turn");
                    let waited = self.now - reel.ready_since.take().expect("it was ready");
                    reel.longest_wait = reel.longest_wait.max(waited);
                    let stands = |paced| self.clients.iter().any(|client| client.paced == paced && client.credit > 0);
                    assert!(!stands(true) || waited >= BESIDE_ANYBODY, "before a paced chunk after {waited:?}");
                    assert!(!stands(false) || waited >= BESIDE_FREE, "before a free chunk after {waited:?}");
                    self.pieces_begun.push(self.now);
                    self.longest.0 = self.longest.0.max(took);
                }
                Next::Chunk(seat) => {
                    self.clients[seat as usize].credit -= 1;
                    self.longest.1 = self.longest.1.max(took);
                }
            }
            self.drawing = Some((self.now + took, next));
        }
        let idle = self.drawing.is_none();
        let look_again = self.scheduler.look_again_at(self.now).filter(|_| idle);
        let timers = self.clients.iter().flat_map(|client| [client.session.poll_timeout(), client.back_at]).flatten();
        let taken = self.reel.as_ref().and_then(|reel| reel.taken_at);
        let ends = self.drawing.map(|(ends, _)| ends);
        let next = timers.chain(look_again).chain(taken).chain(ends).min().expect("somebody is there");
        self.now = self.now.max(next);
        self.things_happen();
    }

    fn things_happen(&mut self) {
        let now = self.now;
        for id in 0..self.clients.len() {
            if self.clients[id].back_at.take_if(|at| *at <= now).is_some() {
                self.clients[id].shown_until = None;
                self.tell(id, Input::Found);
            }
            if self.clients[id].session.poll_timeout().is_some_and(|at| at <= now) {
                self.tell(id, Input::Tick);
            }
        }
        if let Some(reel) = &mut self.reel
            && reel.taken_at.take_if(|at| *at <= now).is_some()
        {
            reel.ready_since = Some(now);
            self.scheduler.clips.taken(CLIP, now);
        }
        let Some((_, drawn)) = self.drawing.take_if(|(ends, _)| *ends <= now) else { return };
        match drawn {
            Next::Chunk(seat) => {
                self.tell(seat as usize, Input::Chunk { event_id: None, frames: FRAMES, moves: false, usual: true })
            }
            Next::Open(_) => unreachable!("every session is open"),
            Next::Piece(_) => {
                let took = now - *self.pieces_begun.last().expect("one was begun");
                let reel = self.reel.as_mut().expect("it is drawn");
                if !std::mem::replace(&mut reel.opened, true) {
                    self.scheduler.clips.opened(PIXELS, took);
                } else {
                    self.scheduler.clips.drew(PIXELS, took);
                    reel.drawn += 1;
                }
                if reel.drawn == reel.pieces {
                    reel.ended = Some(now);
                    self.scheduler.clips.end(CLIP);
                } else {
                    reel.taken_at = Some(now + reel.reads_for);
                }
            }
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.go_on();
        }
    }

    /// How long the clip took.
    fn run_until_the_clip_ends(&mut self) -> Duration {
        let began = self.now;
        loop {
            if let Some(ended) = self.reel.as_ref().expect("there is a clip").ended {
                return ended - began;
            }
            assert!(self.now - began < Duration::from_secs(24 * 3600), "the clip does not end");
            self.go_on();
        }
    }
}

impl Client {
    fn longest_gap(&self) -> Duration {
        self.sent.windows(2).map(|pair| pair[1] - pair[0]).max().expect("it was sent chunks")
    }
}

/// Paced clients that have run for a while, each begun at another time of the period.
fn paced(clients: usize, chunk: Duration, piece: Duration) -> Device {
    let mut device = Device::new(chunk, piece);
    for _ in 0..clients {
        device.join(true);
        device.run_for(PERIOD / clients as u32 + ms(3));
    }
    device.run_for(100 * PERIOD);
    for client in &mut device.clients {
        client.sent.clear();
        client.ran_dry = 0;
    }
    device
}

/// V088.
#[test]
fn a_clip_of_200_pieces_beside_four_paced_sessions_costs_them_no_frame_and_moves_no_gap_by_more_than_one_piece() {
    for (chunk, piece) in [(ms(40), ms(40)), (ms(40), ms(100)), (ms(100), ms(15)), (ms(20), ms(150))] {
        let mut device = paced(4, chunk, piece);
        device.begin_clip(200, Duration::ZERO);
        let took = device.run_until_the_clip_ends();
        let alone = 201 * piece;
        println!("chunks of {chunk:?}, pieces of {piece:?}: {took:?}, alone {alone:?}");
        for client in &device.clients {
            assert!(
                client.sent.len() as u32 >= (took.as_millis() / PERIOD.as_millis()) as u32,
                "{}",
                client.sent.len()
            );
            assert_eq!(client.ran_dry, 0, "{chunk:?} {piece:?}");
            let gap = client.longest_gap();
            assert!(gap <= PERIOD + device.longest.0, "{chunk:?} {piece:?}: a gap of {gap:?}");
        }
    }
}

#[test]
fn a_clip_uses_most_of_the_time_that_paced_sessions_leave() {
    // They take 4 × 40 of 750 ms.
    let mut device = paced(4, ms(40), ms(20));
    device.begin_clip(200, Duration::ZERO);
    let took = device.run_until_the_clip_ends();
    let alone = 201 * ms(20);
    assert!(took < 2 * alone, "{took:?}, alone {alone:?}");
}

/// V090.
#[test]
fn a_clip_on_a_server_full_of_paced_sessions_gets_a_piece_in_five_seconds_and_they_are_late_by_one_at_most() {
    // Four times 165 of 750 ms, and no gap between them is as long as a piece.
    let mut device = paced(4, ms(165), ms(200));
    device.begin_clip(20, Duration::ZERO);
    let took = device.run_until_the_clip_ends();
    let reel = device.reel.as_ref().expect("it was drawn");
    assert!(took < 21 * (BESIDE_ANYBODY + ms(600)), "{took:?}");
    assert!(reel.longest_wait <= BESIDE_ANYBODY + device.longest.1, "{:?}", reel.longest_wait);
    for pair in device.pieces_begun.windows(2) {
        assert!(pair[1] - pair[0] >= BESIDE_ANYBODY, "nor more often: {:?}", pair[1] - pair[0]);
    }
    for client in &device.clients {
        let late = client.longest_gap().saturating_sub(PERIOD);
        // The chunk that was due, and those that wait behind it.
        assert!(late <= device.longest.0, "late by {late:?}");
    }
}

/// V089.
#[test]
fn a_clip_beside_a_free_client_gets_a_piece_a_second_and_finishes_within_twice_that() {
    let mut device = Device::new(ms(50), ms(50));
    device.join(false);
    device.run_for(Duration::from_secs(2));
    device.clients[0].sent.clear();
    device.begin_clip(30, Duration::ZERO);
    let took = device.run_until_the_clip_ends();
    let share = 31 * BESIDE_FREE;
    assert!(took < 2 * share, "{took:?}");
    for pair in device.pieces_begun.windows(2) {
        assert!(pair[1] - pair[0] >= BESIDE_FREE, "the client loses the time of one piece a second");
    }
    let gap = device.clients[0].longest_gap();
    assert!(gap <= device.longest.0 + device.longest.1, "{gap:?}");
}

#[test]
fn a_clip_alone_is_drawn_without_a_pause() {
    let mut device = Device::new(ms(50), ms(50));
    device.begin_clip(100, Duration::ZERO);
    let took = device.run_until_the_clip_ends();
    let worked: Duration = device.pieces_begun.windows(2).map(|pair| pair[1] - pair[0]).sum();
    assert!(took - worked <= device.longest.0, "{took:?} of which {worked:?} without the last piece");
}

#[test]
fn clients_that_are_away_do_not_stand_against_a_clip() {
    let mut device = paced(4, ms(40), ms(40));
    device.begin_clip(100, Duration::ZERO);
    device.run_for(ms(500));
    for id in 0..4 {
        device.leave(id, device.now + Duration::from_secs(3600));
    }
    // Each of them may have a chunk under way, and one that is granted late is waited for.
    let took = device.run_until_the_clip_ends();
    assert!(took < 101 * ms(42) + PERIOD, "{took:?}");
}

/// Everything at random: who is there, how long things take, how slow the clip's reader is, who goes away and comes back.
#[test]
fn no_clip_starves_and_no_paced_chunk_is_later_than_one_piece_whatever_happens() {
    for seed in 1..=40 {
        let mut device = Device::new(ms(1), ms(1));
        device.dice = seed * 7919;
        let sessions = 1 + device.roll(6);
        device.chunk = ms(5 + device.roll(650 / sessions));
        device.piece = ms(1 + device.roll(300));
        let with_free = device.roll(3) == 0;
        for _ in 0..sessions {
            device.join(true);
            let until_next = device.roll(700);
            device.run_for(ms(until_next));
        }
        if with_free {
            device.join(false);
        }
        device.run_for(80 * PERIOD);
        let reads_for = ms(device.roll(30));
        device.begin_clip(40, reads_for);
        let mut turns = 0;
        while device.reel.as_ref().is_some_and(|reel| reel.ended.is_none()) {
            device.go_on();
            turns += 1;
            if turns % 50 == 0 {
                let (id, away) = (device.roll(sessions) as usize, device.roll(3000));
                if device.clients[id].back_at.is_none() {
                    device.leave(id, device.now + ms(away));
                }
            }
        }
        let reel = device.reel.as_ref().expect("it was drawn");
        // What is being drawn when the time has come is drawn to its end.
        let longest = device.longest.0.max(device.longest.1);
        assert!(reel.longest_wait <= BESIDE_ANYBODY + longest, "seed {seed}: {:?}", reel.longest_wait);
    }
}
