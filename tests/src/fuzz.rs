//! Inputs that no parser expects: valid ones, changed with knowledge of how they are built.
//!
//! An input is a function of the run's seed and of its number, so two integers name a failure. Every input must pass three
//! checks: no panic, an end in time, and no more memory than its size allows.

mod seeds;
mod spoil;

use crate::chance::Chance;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use pipeline::cosmos3::caption::structured;
use pipeline::packed::sealed_again;
use pipeline::recording;
use pipeline::testcard::Testcard;
use pipeline::world::{Card, ChunkPlan, Size, World};
use rmpv::Value;
use server::engine::turns::conditions::{Beginning, ConditionQueue};
use server::media::first_frame;
use server::openai::request::Body;
use server::openai::request::ask::Ask;
use server::openai::request::resolve::{Resolved, Rules};
use server::openai::request::values::Route;
use server::realtime::wire::acks::event_ack;
use server::realtime::wire::event::Asked;
use server::realtime::wire::features::{Features, Offer};
use server::realtime::wire::first_message::{self, FirstMessage};
use server::realtime::wire::from_recording::{CHUNKS_MAX, FromRecording, INPUT_BYTES_MAX};
use server::realtime::wire::receipts;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Of a client that names all there are.
const EVERY_FEATURE: Features = Features {
    queue: true,
    session: true,
    ack: true,
    timing: true,
    pause: true,
    step: true,
    transport: true,
    playback: true,
    key_frame: true,
    rates: Offer::Open,
    poses: Offer::Open,
    intrinsics: Offer::Open,
    receipts: true,
    rewind: Offer::Open,
    reset: true,
    recording: true,
    spectators: true,
    unknown_words: true,
    moved: true,
    redirect: true,
};

/// What happens to a video before a chunk.
enum Goes {
    On,
    Back,
    Anew,
}

/// For one message, on a busy machine, in a test build. Pictures are decoded off the loop and may take longer.
const MOMENT: Duration = Duration::from_secs(2);
const PICTURE_MOMENT: Duration = Duration::from_secs(20);

/// What pictures are brought to: larger than some of them and smaller than others.
const FITTED: Size = Size { width: 20, height: 20 };

/// Ten times the input may take ten times as long, and three times that because clocks are noisy. A parser of quadratic
/// time takes a hundred times as long.
const LINEAR: f64 = 30.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Event,
    Init,
    Resume,
    Recording,
    Picture,
    /// A prompt of Cosmos3, which may be a JSON object.
    Caption,
    /// A form that asks for a clip.
    Form,
    /// JSON that asks for a clip, with its containers.
    Containers,
    /// A rollout that comes from another server.
    State,
}

impl Target {
    pub const ALL: [Target; 9] = [
        Target::Event,
        Target::Init,
        Target::Resume,
        Target::Recording,
        Target::Picture,
        Target::Caption,
        Target::Form,
        Target::Containers,
        Target::State,
    ];

    /// Resident memory that the worst input may add. A message holds 65 536 values at most.
    pub fn memory_bytes(self) -> u64 {
        match self {
            Target::Event
            | Target::Init
            | Target::Resume
            | Target::Recording
            | Target::Caption
            | Target::Form
            | Target::State
            | Target::Containers => 64 << 20,
            Target::Picture => first_frame::DECODING_BYTES_MAX,
        }
    }

    fn moment(self) -> Duration {
        if self == Target::Picture { PICTURE_MOMENT } else { MOMENT }
    }
}

/// Seeds, and how to feed them.
pub struct Fuzz {
    target: Target,
    card: Card,
    values: Vec<Value>,
    files: Vec<Vec<u8>>,
}

impl Fuzz {
    pub fn new(target: Target) -> Result<Fuzz> {
        let card = Card::clone(Testcard::new(Duration::ZERO).card());
        let values = match target {
            Target::Event => seeds::events(),
            Target::Init => seeds::inits(),
            Target::Resume => seeds::resumes(),
            Target::Recording => seeds::recordings()?,
            Target::State => seeds::states()?,
            Target::Picture | Target::Caption | Target::Form | Target::Containers => Vec::new(),
        };
        let files = match target {
            Target::Picture => seeds::pictures()?,
            Target::Caption => seeds::captions(),
            Target::Form => seeds::forms(),
            Target::Containers => seeds::containers(),
            Target::Recording => values.iter().map(encode_sequence).collect(),
            Target::State => values.iter().map(|value| spoil::sealed(encode(value))).collect(),
            Target::Event | Target::Init | Target::Resume => values.iter().map(encode).collect(),
        };
        let fuzz = Fuzz { target, card, values, files };
        // A seed that is refused would only fuzz the refusal.
        for (number, file) in fuzz.files.iter().enumerate() {
            ensure!(fuzz.feed(file), "seed {number} of {target:?} is refused");
        }
        Ok(fuzz)
    }

    /// Feed one input. `Ok` says whether it was accepted, `Err` which check it failed.
    pub fn run(&self, seed: u64, number: u64) -> Result<bool> {
        let input = self.input(seed, number);
        let began = Instant::now();
        let taken = catch_unwind(AssertUnwindSafe(|| self.feed(&input)));
        let took = began.elapsed();
        let which = || format!("{:?}, seed {seed}, input {number}: {}", self.target, hex(&input));
        let Ok(taken) = taken else { bail!("a panic: {}", which()) };
        ensure!(took < self.target.moment(), "{took:?}: {}", which());
        Ok(taken)
    }

    pub fn input(&self, seed: u64, number: u64) -> Vec<u8> {
        let mut chance = Chance::at(seed, number);
        let mut bytes = if self.values.is_empty() {
            chance.pick(&self.files).clone()
        } else {
            let mut value = chance.pick(&self.values).clone();
            for _ in 0..chance.below(4) {
                if !(self.target == Target::State && spoil::change_rollout(&mut value, &mut chance)) {
                    spoil::change_value(&mut value, &mut chance);
                }
            }
            if self.target == Target::Recording { encode_sequence(&value) } else { encode(&value) }
        };
        if self.target == Target::State {
            bytes = spoil::sealed(bytes);
        }
        for _ in 0..chance.below(4) {
            spoil::change_bytes(&mut bytes, &self.files, &mut chance);
        }
        // Half of them with what a decoder checks first put right again, or it would never look further.
        if self.target == Target::Picture && chance.one_in(2) {
            spoil::mend_png(&mut bytes);
        }
        if self.target == Target::State && !chance.one_in(8) {
            bytes = sealed_again(bytes);
        }
        bytes
    }

    /// Whether the server accepts it. An accepted input is then used as the server would use it.
    pub fn feed(&self, input: &[u8]) -> bool {
        match self.target {
            Target::Event => {
                let Ok(asked) = Asked::decode(input, EVERY_FEATURE) else { return false };
                let (Asked::Steer(event) | Asked::Step(event)) = asked else { return true };
                let every_tap = Beginning { every_tap: true, ..Beginning::plain(16, self.card.default_size) };
                let mut queue = ConditionQueue::new(every_tap);
                if queue.push(event, Instant::now()).is_err() {
                    return false;
                }
                // The same chunk again after a way back, and the first of another video.
                for (index, goes) in [(0, Goes::On), (1, Goes::On), (1, Goes::Back), (0, Goes::Anew)] {
                    match goes {
                        Goes::On => {}
                        Goes::Back => queue.goes_back_to(3 * index),
                        Goes::Anew => {
                            queue.leaves();
                            queue.begins_anew(Beginning::plain(16, self.card.default_size));
                        }
                    }
                    let plan = ChunkPlan {
                        index,
                        first_latent_frame: 3 * index,
                        latent_frames: 3,
                        pixel_frames: 9 + 3 * index,
                    };
                    let (input, _) = queue.sample(&plan);
                    let acks = queue.acks();
                    let _ = (event_ack(&acks, index), receipts::applied(&acks, index));
                    assert!(
                        input.controls.is_none_or(|controls| controls.len() == 3),
                        "a control for each latent frame"
                    );
                }
                true
            }
            Target::Init => {
                let Some(FirstMessage::Init(request)) = read_first(input) else { return false };
                let Ok(opening) = request.check(&self.card) else { return false };
                let init = opening.init(None);
                let allowed = self.card.choose_size(Some(init.size)).is_ok();
                assert!(allowed && init.sink < init.window, "more than the card allows: {init:?}");
                true
            }
            Target::Resume => {
                let Some(FirstMessage::Resume(request)) = read_first(input) else { return false };
                assert!(request.token.len() <= input.len());
                true
            }
            Target::Recording => {
                // As a client uploads it: within its bounds, or refused.
                if let Ok(read) = FromRecording::whole(Bytes::copy_from_slice(input)).decode(input) {
                    assert!(read.bytes <= INPUT_BYTES_MAX && read.inputs.len() <= CHUNKS_MAX as usize);
                    let _ = read.check(&read.init, read.init.chunking(&self.card));
                }
                let Ok((init, chunks)) = recording::read(input) else { return false };
                let origin = chunks.origin.clone();
                let Ok(chunks) = chunks.collect::<Result<Vec<_>, _>>() else { return false };
                let mut bytes = recording::encode_init(&init, origin.as_ref()).expect("what was read can be written");
                for chunk in &chunks {
                    bytes.extend(recording::encode_chunk(chunk).expect("what was read can be written"));
                }
                let (again, rest) = recording::read(&bytes).expect("what was written can be read");
                assert!(
                    again == init && rest.origin == origin && rest.map(Result::ok).eq(chunks.into_iter().map(Some)),
                    "another recording"
                );
                true
            }
            Target::State => {
                let world = Testcard::new(Duration::ZERO);
                let Ok(rollout) = world.open_at(seeds::state_of(), input) else { return false };
                let packed = rollout.pack().expect("what was opened can be packed");
                let again = world.open_at(seeds::state_of(), &packed).expect("what was packed can be opened");
                assert_eq!(again.plan(), rollout.plan());
                true
            }
            Target::Form => self.clip(Some(seeds::FORM_TYPE), input),
            Target::Containers => self.clip(None, input),
            Target::Picture => match first_frame::read(input, FITTED) {
                Ok(picture) => {
                    assert_eq!(picture.rgb.len() as u64, picture.size.frame_bytes());
                    assert_eq!(picture.size, FITTED);
                    true
                }
                Err(_) => false,
            },
            Target::Caption => {
                let Ok(prompt) = std::str::from_utf8(input) else { return false };
                let Some(written) = structured(prompt, FITTED, 93, 24.0) else { return false };
                assert!(written.is_ascii(), "{written}");
                assert_eq!(structured(&written, FITTED, 93, 24.0).as_ref(), Some(&written), "read again");
                true
            }
        }
    }

    /// A request for a clip, from its bytes to what the world is asked.
    fn clip(&self, content_type: Option<&str>, input: &[u8]) -> bool {
        let Ok(body) = Body::read(content_type, &Bytes::copy_from_slice(input)) else { return false };
        let Ok(ask) = Ask::read(body, Route::Video, &self.card) else { return false };
        let Ok(resolved) = Resolved::new(ask, &self.card, Rules { clip_frames: 481 }) else { return false };
        assert!(resolved.ignored.len() <= 32 && resolved.ignored.iter().all(|name| name.len() <= 64));
        assert!((1..=10).contains(&resolved.seeds.len()) && (1..=481).contains(&resolved.frames));
        let clip = resolved.clip(&self.card, 0, None);
        assert_eq!(clip.inputs.len(), self.card.chunking().count_for(clip.frames), "an input for each chunk");
        assert!(self.card.choose_size(Some(clip.init.size)).is_ok(), "{clip:?}");
        true
    }

    /// How much longer inputs take that are ten times as long: the worst of the families in which length is cheap to have.
    pub fn growth(&self) -> Result<f64> {
        let mut worst = 0.0_f64;
        for (name, family) in seeds::families(self.target) {
            let best = |input: Vec<u8>| {
                let times = (0..9).map(|_| {
                    let began = Instant::now();
                    self.feed(&input);
                    began.elapsed()
                });
                // What a family costs beside nothing at all: a microsecond more or less is the clock's.
                times.min().unwrap_or_default().max(Duration::from_micros(20)).as_secs_f64()
            };
            // A machine that is busy elsewhere can make one measurement anything; it cannot make five of them wrong.
            let growths = (0..5).map(|_| best(family(5_000)) / best(family(500)));
            let growth = growths.fold(f64::INFINITY, f64::min);
            ensure!(growth < LINEAR, "{:?}: {name} ten times as long takes {growth:.1} times as long", self.target);
            worst = worst.max(growth);
        }
        Ok(worst)
    }
}

/// A first message that is well formed.
fn read_first(input: &[u8]) -> Option<FirstMessage> {
    first_message::decode(&Bytes::copy_from_slice(input)).message.ok()
}

fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).expect("a Vec takes every byte");
    bytes
}

/// A recording is a list of maps here, and their bytes are without the list's.
fn encode_sequence(value: &Value) -> Vec<u8> {
    match value {
        Value::Array(items) => items.iter().flat_map(encode).collect(),
        other => encode(other),
    }
}

/// All of a small input, and the beginning of a large one: its number reproduces it.
fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().take(200).map(|byte| format!("{byte:02x}")).collect();
    format!("{} bytes, {digits}{}", bytes.len(), if bytes.len() > 200 { "…" } else { "" })
}

/// A figure of this process in bytes, from `/proc/self/status`: `VmRSS`, or `VmHWM` for the most it ever was.
pub fn memory_of_this_process(figure: &str) -> Result<u64> {
    memory_of("self", figure)
}

pub fn memory_of(process: &str, figure: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).with_context(|| figure.to_owned())?;
    Ok(kilobytes.parse::<u64>()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_a_function_of_its_seed_and_number() -> Result<()> {
        for target in Target::ALL {
            let (fuzz, again) = (Fuzz::new(target)?, Fuzz::new(target)?);
            let inputs: Vec<_> = (0..200).map(|number| fuzz.input(1, number)).collect();
            assert!((0..200).map(|number| again.input(1, number)).eq(inputs.iter().cloned()));
            let different: std::collections::BTreeSet<_> = inputs.iter().collect();
            assert!(different.len() > 100, "{target:?}: {} of 200 inputs are different", different.len());
        }
        Ok(())
    }

    #[test]
    fn some_inputs_are_taken_and_some_are_refused() -> Result<()> {
        for target in Target::ALL {
            let fuzz = Fuzz::new(target)?;
            let taken = (0..400).map(|number| fuzz.run(2, number)).collect::<Result<Vec<_>>>()?;
            let share = taken.iter().filter(|&&taken| taken).count();
            assert!((20..380).contains(&share), "{target:?}: {share} of 400 are taken");
        }
        Ok(())
    }
}
