//! A session is given everything that can happen, in any order, thousands of times. It grants no more than it may, never
//! stands still, and cuts no chunk.
//!
//! Reproducible chance plays the engine, the line and the clock. A failure names its seed, which reproduces it.

use pipeline::world::Chunking;
use rmpv::Value;
use server::realtime::session::{CREDIT, Input, Output, Session, Stay};
use server::realtime::wire::close::Close;
use server::realtime::wire::features::Features;
use server::realtime::wire::init::Terms;
use std::time::{Duration, Instant};
use tests::chance::Chance;
use tests::message::Event;

const WALKS: u64 = 3000;
const STEPS: usize = 300;

/// The state around a session: what engine, line and client know.
struct Scene {
    chance: Chance,
    session: Session,
    terms: Terms,
    features: Features,
    stay: Stay,
    now: Instant,
    granted: u64,
    drawn: u64,
    written: u64,
    /// A chunk was handed over, and not released yet.
    held: bool,
    /// It was released, and its last message is not out yet.
    sending: bool,
    away: bool,
    paused: bool,
    /// It gets a chunk for each step, and no other.
    stepped: bool,
    /// Steps that were asked for, and not refused.
    asked: u64,
    /// A step waits until the events before it are checked.
    checking: bool,
    /// The client talks nonsense most of the time.
    floods: bool,
    /// Told to end, or has said so: there will be no more chunks than there are.
    told_to_end: bool,
    newest_id: u32,
    /// The last inputs.
    story: Vec<String>,
}

impl Scene {
    fn set(seed: u64) -> Scene {
        let mut chance = Chance::new(seed);
        let max_chunks = chance.one_in(2).then(|| 1 + chance.below(12) as u64);
        let paced = chance.one_in(2);
        let stepped = !paced && chance.one_in(2);
        let terms = Terms { fps: 1 + chance.below(60) as u32, paced, max_chunks };
        // No idle limit and no lifetime: they would hide a session that stands still.
        let stay = Stay { idle: None, lifetime: None, grace: Duration::from_secs(30), yield_after: None };
        let now = Instant::now();
        let features = Features { pause: true, step: stepped, ..Features::default() };
        let session = Session::new(terms, features, stay, now);
        let floods = chance.one_in(20);
        Scene {
            chance,
            session,
            terms,
            features,
            stay,
            now,
            granted: 0,
            drawn: 0,
            written: 0,
            held: false,
            sending: false,
            away: false,
            paused: false,
            stepped,
            asked: 0,
            checking: false,
            floods,
            told_to_end: false,
            newest_id: 0,
            story: Vec::new(),
        }
    }

    /// How it ended, if it did.
    fn walk(&mut self) -> Option<Close> {
        let mut close = self.say("opened", Input::Opened);
        for _ in 0..STEPS {
            if close.is_some() {
                return close;
            }
            close = self.step();
        }
        close
    }

    fn step(&mut self) -> Option<Close> {
        if self.floods && !self.away && !self.chance.one_in(4) {
            return self.say("garbage", Input::Binary(&[0xc1]));
        }
        self.now += Duration::from_millis([0, 1, 17, 250][self.chance.below(4)]);
        if self.session.poll_timeout().is_some_and(|due| due <= self.now) {
            return self.say("tick", Input::Tick);
        }
        if self.checking && self.chance.one_in(3) {
            self.checking = false;
            return self.say("ready", Input::Ready);
        }
        match self.chance.below(23) {
            0..=4 if self.granted > self.drawn && !self.held && !self.sending => {
                self.drawn += 1;
                self.held = true;
                let event_id = (self.newest_id > 0 && self.chance.one_in(2)).then_some(self.newest_id);
                self.say("chunk", Input::Chunk { event_id, frames: 9, moves: false, usual: true })
            }
            5..=9 if self.sending => {
                self.sending = false;
                self.written += 1;
                self.say("written", Input::Written)
            }
            10 | 11 if !self.away && self.stepped => {
                self.asked += 1;
                self.say("step", Input::Binary(&bytes_of(Event::step().into())))
            }
            10..=12 if !self.away => {
                let id = self.newest_id + self.chance.below(2) as u32;
                self.newest_id = id;
                let bytes = bytes_of(Event::hold("w").id(u64::from(id)).into());
                self.say("event", Input::Binary(&bytes))
            }
            13 if !self.away => self.say("garbage", Input::Binary(&[0xc1])),
            14 => self.say("tick too early", Input::Tick),
            15 if self.away || self.chance.one_in(4) => {
                self.away = false;
                self.say("found", Input::Found)
            }
            16 if !self.away && self.chance.one_in(4) => {
                self.away = true;
                self.say("lost", Input::Lost)
            }
            17 if self.chance.one_in(40) => {
                self.told_to_end = true;
                self.say("end", Input::End(Close::SHUTDOWN))
            }
            22 if self.chance.one_in(10) => self.say("depart", Input::Depart),
            18 if self.chance.one_in(100) => self.say("failed", Input::Failed("the well is dry".into())),
            19 if !self.away && self.chance.one_in(100) => self.say("text", Input::Text),
            // Mostly to go on.
            20 | 21 if !self.away => {
                self.paused = self.chance.one_in(4);
                let (what, event) = if self.paused { ("pause", Event::pause()) } else { ("resume", Event::resume()) };
                self.say(what, Input::Binary(&bytes_of(event.into())))
            }
            // Time goes on to where the session wants to be asked again; but few stay away for as long as they may.
            _ if self.away && !self.chance.one_in(20) => None,
            _ => {
                self.now = self.session.poll_timeout().unwrap_or(self.now).max(self.now);
                None
            }
        }
    }

    fn say(&mut self, what: &str, input: Input<'_>) -> Option<Close> {
        self.story.push(what.to_owned());
        self.session.handle(input, self.now);
        let mut close = None;
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Grant { chunks, .. } => {
                    self.granted += chunks;
                    self.check("more was promised than has room", self.granted - self.written <= self.most_at_once());
                    let max = self.terms.max_chunks.unwrap_or(u64::MAX);
                    self.check("more was promised than asked for", chunks > 0 && self.granted <= max);
                    self.check("something was promised to nobody", !self.away && !self.paused);
                    self.check("something was promised after the end", !self.told_to_end);
                    self.check("a chunk without a step", !self.stepped || self.granted <= self.asked);
                }
                Output::Send { .. } => {
                    self.check("sent what was not there", self.held && !self.sending);
                    (self.held, self.sending) = (false, true);
                }
                // Whoever runs a session stops at the first.
                Output::Close(why) => {
                    close.get_or_insert(why);
                }
                Output::ExpectGrant { at } => {
                    self.check("a free session expects nothing", self.terms.paced && self.held);
                    let more = !self.told_to_end && self.terms.max_chunks.is_none_or(|max| self.granted < max);
                    self.check("a chunk is expected after the last", at.is_none() || more);
                }
                Output::Depart => {
                    self.check("left with a chunk under way", self.granted == self.written && !self.told_to_end);
                    self.go_elsewhere();
                }
                Output::WantKeyFrame => self.check("no client names key_frame here", false),
                Output::Step => {
                    self.check("a step of a session without steps, or a second one", self.stepped && !self.checking);
                    self.checking = true;
                }
                Output::Tell(_) if what == "step" => self.asked -= 1,
                Output::Tell(_)
                | Output::Steer(_)
                | Output::Transport(..)
                | Output::Rewind(..)
                | Output::Leave
                | Output::Reset(..) => {}
                Output::Received { .. } | Output::Clock { .. } => {}
                Output::Guest(..) | Output::Sharing(..) => unreachable!("nobody watches"),
            }
        }
        match &close {
            Some(why) => self.check_end(why),
            None => self.check_progress(),
        }
        close
    }

    /// Another process has it from now on, and its client is not there yet.
    fn go_elsewhere(&mut self) {
        if std::mem::take(&mut self.checking) {
            self.session.handle(Input::Ready, self.now);
        }
        let kept = self.session.pack(self.now);
        let how = (self.terms, self.features, self.stay);
        let unpacked = kept.unpack(how, Chunking::even(3), self.now).expect("it was packed just now");
        self.session = unpacked;
        self.away = true;
    }

    fn most_at_once(&self) -> u64 {
        if self.terms.paced { 1 } else { CREDIT }
    }

    /// Orderly ends cut no chunk.
    fn check_end(&self, why: &Close) {
        if *why == Close::COMPLETE {
            self.check("not complete", self.terms.max_chunks == Some(self.written) && !self.away);
        }
        if *why == Close::SHUTDOWN {
            self.check("a chunk was cut", self.written == self.granted && self.told_to_end);
        }
        if *why == Close::NOT_RESUMED {
            self.check("somebody was there", self.away);
        }
    }

    /// Something will happen: a chunk comes, a message goes out, or time has an end.
    fn check_progress(&self) {
        let moves = self.granted > self.written && !self.held;
        let steps_left = self.terms.max_chunks.unwrap_or(u64::MAX).min(self.asked).saturating_sub(self.granted);
        let waits = self.paused || self.checking || (self.stepped && steps_left == 0);
        self.check("stands still", moves || waits || self.session.poll_timeout().is_some());
    }

    fn check(&self, otherwise: &str, holds: bool) {
        let last = self.story.len().saturating_sub(20);
        assert!(holds, "{otherwise}: {:?}, after … {}", self.terms, self.story[last..].join(", "));
    }
}

fn bytes_of(value: Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &value).expect("a Vec takes every byte");
    bytes
}

#[test]
fn a_session_keeps_its_promises_whatever_happens_in_whatever_order() {
    let mut ends = std::collections::BTreeMap::<&str, u32>::new();
    for seed in 0..WALKS {
        let walk = std::panic::catch_unwind(|| Scene::set(seed).walk());
        let end = walk.unwrap_or_else(|_| panic!("seed {seed}"));
        *ends.entry(end.map_or("still running", |close| close.reason)).or_default() += 1;
    }
    println!("{ends:?}");
    // Otherwise the random walks would not reach the states that matter.
    for reason in [Close::COMPLETE, Close::SHUTDOWN, Close::FAILED, Close::TEXT, Close::NOT_RESUMED, Close::FLOOD] {
        assert!(ends.get(reason.reason).is_some_and(|&times| times >= 5), "{}: {ends:?}", reason.reason);
    }
}
