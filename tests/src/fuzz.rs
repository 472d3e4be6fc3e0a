//! Inputs that a parser never expected: valid ones, changed by somebody who knows how they are built.
//!
//! An input is a function of the run's seed and of its number, so a failure is named by two integers. Three things are
//! asked of every input: no panic, an end within a moment, and no memory beyond what its size allows.

use crate::chance::Chance;
use crate::message::{Event, Init, map};
use anyhow::{Context, Result, bail, ensure};
use pipeline::testcard::Testcard;
use pipeline::world::{Card, ChunkPlan, World};
use rmpv::Value;
use server::engine::turns::conditions::ConditionQueue;
use server::media::pictures;
use server::realtime::link::resume::Request;
use server::realtime::wire::acks::event_ack;
use server::realtime::wire::event::Asked;
use server::realtime::wire::init::Opening;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// For one message, on a busy machine, in a test build. Pictures are decoded off the loop and may take longer.
const MOMENT: Duration = Duration::from_secs(2);
const PICTURE_MOMENT: Duration = Duration::from_secs(20);

/// Ten times the input may take ten times as long, and three times that for luck; a parser that looks at everything
/// once for every thing takes a hundred.
const LINEAR: f64 = 30.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Event,
    Init,
    Resume,
    Picture,
}

impl Target {
    pub const ALL: [Target; 4] = [Target::Event, Target::Init, Target::Resume, Target::Picture];

    /// Resident memory that the worst input may add. A message holds 65 536 values at most; a picture 40 million pixels of
    /// eight bytes, and a turned copy of it.
    pub fn memory_bytes(self) -> u64 {
        match self {
            Target::Event | Target::Init | Target::Resume => 64 << 20,
            Target::Picture => 1 << 30,
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
            Target::Event => events(),
            Target::Init => inits(),
            Target::Resume => resumes(),
            Target::Picture => Vec::new(),
        };
        let files = match target {
            Target::Picture => pictures()?,
            Target::Event | Target::Init | Target::Resume => values.iter().map(encode).collect(),
        };
        let fuzz = Fuzz { target, card, values, files };
        // A seed that is refused would only fuzz the refusal.
        for (number, file) in fuzz.files.iter().enumerate() {
            ensure!(fuzz.feed(file), "seed {number} of {target:?} is refused");
        }
        Ok(fuzz)
    }

    /// One input: whether it was taken, or how it failed.
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
                spoil_value(&mut value, &mut chance);
            }
            encode(&value)
        };
        for _ in 0..chance.below(4) {
            spoil_bytes(&mut bytes, &self.files, &mut chance);
        }
        // Half of them with what a decoder checks first put right again, or it would never look further.
        if self.target == Target::Picture && chance.one_in(2) {
            mend_png(&mut bytes);
        }
        bytes
    }

    /// Whether the server takes it; and what is taken is used as the server would.
    pub fn feed(&self, input: &[u8]) -> bool {
        match self.target {
            Target::Event => {
                let Ok(asked) = Asked::decode(input, true) else { return false };
                let Asked::Steer(event) = asked else { return true };
                let mut queue = ConditionQueue::default();
                queue.push(event);
                for index in 0..2 {
                    let plan = ChunkPlan {
                        index,
                        first_latent_frame: 3 * index,
                        latent_frames: 3,
                        pixel_frames: 9 + 3 * index,
                    };
                    let (input, _) = queue.sample(&plan);
                    let _ = event_ack(&queue.acks(), index);
                    assert!(
                        input.controls.is_none_or(|controls| controls.len() == 3),
                        "a control for each latent frame"
                    );
                }
                true
            }
            Target::Init => {
                let Ok(opening) = Opening::decode(input, &self.card) else { return false };
                let init = opening.init(None);
                let allowed = self.card.choose_size(Some(init.size)).is_ok();
                assert!(allowed && init.sink < init.window, "more than the card allows: {init:?}");
                true
            }
            Target::Resume => {
                let Some(Ok(request)) = Request::decode(input) else { return false };
                assert!(request.token.len() <= input.len());
                true
            }
            Target::Picture => match pictures::decode(input) {
                Ok(picture) => {
                    assert_eq!(picture.rgb.len() as u64, picture.size.frame_bytes());
                    assert!(picture.size.pixels() <= pictures::FIRST_FRAME_PIXELS_MAX);
                    true
                }
                Err(_) => false,
            },
        }
    }

    /// How much longer inputs take that are ten times as long: the worst of the families in which length is cheap to have.
    pub fn growth(&self) -> Result<f64> {
        let families: Vec<Family> = match self.target {
            Target::Event => vec![
                ("transitions", |n| encode(&Event::changes(vec!["wl"; n]).into())),
                ("script", |n| encode(&Event::script(vec!["w"; n]).into())),
                ("keys", |n| encode(&with_strangers(Event::hold("w").into(), n))),
                ("nothing", |n| vec![0x91; n]),
            ],
            Target::Init => vec![
                ("prompt", |n| encode(&Init::new(&"é".repeat(n)).into())),
                ("keys", |n| encode(&with_strangers(Init::new("p").into(), n))),
                ("data", |n| {
                    let data = format!("data:image/png;base64,{}", "AAAA".repeat(10 * n));
                    encode(&Init::new("p").set("first_frame", data).into())
                }),
                ("nothing", |n| vec![0x91; n]),
            ],
            Target::Resume => vec![
                ("token", |n| encode(&resume(&"é".repeat(n), Value::Nil))),
                ("keys", |n| encode(&with_strangers(resume("t", 1.into()), n))),
            ],
            Target::Picture => vec![
                ("garbage", |n| vec![0x5a; 100 * n]),
                // Chunks of no bytes that no decoder knows.
                ("PNG chunks", |n| {
                    let (head, rest) = PNG.split_at(33);
                    [head, &b"\0\0\0\0abCd\x62\x99\xb8\x2e".repeat(n), rest].concat()
                }),
                ("JPEG markers", |n| [&[0xff, 0xd8][..], &[0xff, 0xfe, 0, 2].repeat(n), &[0xff, 0xd9]].concat()),
            ],
        };
        let mut worst = 0.0_f64;
        for (name, family) in families {
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

/// Inputs alike but for their length, and what is long about them.
type Family = (&'static str, fn(usize) -> Vec<u8>);

/// `value`, a map, with so many more keys that nobody knows.
fn with_strangers(value: Value, count: usize) -> Value {
    let Value::Map(mut entries) = value else { unreachable!("a message is a map") };
    entries.extend((0..count).map(|i| (Value::from(format!("k{i}")), Value::Nil)));
    Value::Map(entries)
}

fn events() -> Vec<Value> {
    let pose = map([("mode", "state".into()), ("transitions", Value::Array(vec![]))]);
    let events = [
        Event::prompt("a road at dusk").id(7),
        Event::hold("w").id(1),
        Event::changes(["w", "wl", ""]).id(4_294_967_295),
        Event::script(["w", "a", "", "sd", "ijkl"]),
        Event::composite([Event::prompt("night"), Event::hold("d")]).id(3),
        Event::new("camera_actions", pose),
    ];
    events.into_iter().map(Value::from).collect()
}

fn inits() -> Vec<Value> {
    let script = map([("camera_actions", crate::message::script(["w", "", "il"]))]);
    let inits = [
        Init::new("a meadow"),
        Init::new("a meadow").size(64, 48).format("jpeg").set("output_compression", 80).paced(16).max_chunks(3),
        Init::new("é").seed(1 << 60).set("condition_inputs", script).set("num_frames", 45),
        Init::new("p").set("first_frame", "data:image/png;base64,AAECAwQ=").set("output_quality", "low"),
        Init::new("p").first_frame(PNG).format("webp").set("realtime_preview_max_width", 320),
        Init::new("p").set("realtime_causal_sink_size", 6).set("realtime_causal_kv_cache_num_frames", 12.0),
        Init::new("p").set("fps", "25").set("enable_upscaling", false).features(["queue", "telepathy"]),
    ];
    inits.into_iter().map(Value::from).collect()
}

fn resume(token: &str, last_chunk: Value) -> Value {
    map([("type", "resume".into()), ("token", token.into()), ("last_chunk", last_chunk)])
}

fn resumes() -> Vec<Value> {
    vec![resume(&"0123456789abcdef".repeat(2), 7.into()), resume("é", Value::Nil), resume("", Value::from(-1))]
}

/// One red pixel.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde\0\0\0\x0cIDAT\
    \x08\xd7c\xf8\xcf\xc0\0\0\x03\x01\x01\0\x18\xdd\x8d\xb0\0\0\0\0IEND\xaeB`\x82";

fn pictures() -> Result<Vec<Vec<u8>>> {
    use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};
    let rgb = RgbImage::from_fn(24, 17, |x, y| image::Rgb([10 * x as u8, 14 * y as u8, (x * y) as u8]));
    let rgba = RgbaImage::from_fn(9, 30, |x, y| image::Rgba([x as u8, y as u8, 200, 8 * y as u8]));
    let rgb = DynamicImage::from(rgb);
    let mut files = vec![PNG.to_vec()];
    let drawn = [
        (rgb.clone(), ImageFormat::Png),
        (rgba.into(), ImageFormat::Png),
        (rgb.to_luma16().into(), ImageFormat::Png),
        (rgb.clone(), ImageFormat::Jpeg),
        (rgb.to_luma8().into(), ImageFormat::Jpeg),
        (rgb.clone(), ImageFormat::WebP),
    ];
    for (picture, format) in drawn {
        let mut file = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut file, format)?;
        files.push(file.into_inner());
    }
    let (width, height) = (rgb.width(), rgb.height());
    let size = pipeline::world::Size { width, height };
    // The two encoders that the server has itself: a JPEG of another make, and a lossy WebP.
    files.push(pictures::jpeg(rgb.to_rgb8().as_raw(), size, 70)?);
    files.push(pictures::webp(rgb.to_rgb8().as_raw(), size, 40)?);
    Ok(files)
}

/// What one change may add: the memory that is measured is to be the parser's, not ours.
const GROWTH_BYTES: usize = 128 << 10;

/// Change one thing about a value, somewhere in it.
fn spoil_value(value: &mut Value, chance: &mut Chance) {
    // Down to a random depth.
    match value {
        Value::Array(items) if !items.is_empty() && !chance.one_in(3) => {
            let at = chance.below(items.len());
            return spoil_value(&mut items[at], chance);
        }
        Value::Map(entries) if !entries.is_empty() && !chance.one_in(4) => {
            let at = chance.below(entries.len());
            let (key, inside) = &mut entries[at];
            return spoil_value(if chance.one_in(8) { key } else { inside }, chance);
        }
        _ => {}
    }
    match (chance.below(6), value) {
        (0, Value::Array(items)) if !items.is_empty() => {
            let item = chance.pick(items).clone();
            // Or three of these, one inside another, are gigabytes.
            let most = GROWTH_BYTES / encode(&item).len();
            let times = [1, 16, 600, 5000][chance.below(4)].min(most);
            items.extend(std::iter::repeat_n(item, times));
        }
        (0, Value::Map(entries)) if !entries.is_empty() => {
            let mut entry = chance.pick(entries).clone();
            spoil_value(&mut entry.1, chance);
            entries.push(entry);
        }
        (1, Value::Map(entries)) if !entries.is_empty() => drop(entries.remove(chance.below(entries.len()))),
        (1, Value::Array(items)) if !items.is_empty() => drop(items.remove(chance.below(items.len()))),
        (2, value) => {
            let inside = std::mem::replace(value, Value::Nil);
            *value = if chance.one_in(2) { Value::Array(vec![inside]) } else { Value::Map(vec![("a".into(), inside)]) };
        }
        (3, Value::String(text)) => {
            let once = text.as_str().unwrap_or_default();
            let longer = once.repeat((1 + chance.below(300)).min(1 + GROWTH_BYTES / once.len().max(1)));
            *text = longer.into();
        }
        (_, value) => *value = odd_value(chance),
    }
}

fn odd_value(chance: &mut Chance) -> Value {
    let words =
        ["", "0", "-1", "1e9", "inf", "NaN", " 16 ", "true", "init", "event", "state", "raw", "é\0", "99x0", "0x0"];
    let numbers = [0, 1, -1, 2, 127, 255, 256, 4096, i64::from(u32::MAX), 1 << 53, i64::MAX, i64::MIN];
    match chance.below(9) {
        0 => Value::Nil,
        1 => chance.one_in(2).into(),
        2 => (*chance.pick(&numbers)).into(),
        3 => Value::from(u64::MAX - chance.below(2) as u64),
        4 => Value::F64(*chance.pick(&[0.5, -0.0, 1e300, f64::NAN, f64::INFINITY, 16.0, 9.007_199_254_740_992e15])),
        5 => (*chance.pick(&words)).into(),
        6 => Value::Binary((0..chance.below(20)).map(|_| chance.next() as u8).collect()),
        7 => Value::Ext(chance.next() as i8, vec![0; chance.below(9)]),
        _ => Value::String(format!("{}x{}", chance.below(20_000), chance.below(20_000)).into()),
    }
}

/// Change some bytes, wherever they are.
fn spoil_bytes(bytes: &mut Vec<u8>, others: &[Vec<u8>], chance: &mut Chance) {
    if bytes.is_empty() {
        return bytes.push(chance.next() as u8);
    }
    let at = chance.below(bytes.len());
    let span = at..(at + 1 + chance.below(16)).min(bytes.len());
    match chance.below(8) {
        0 => bytes[at] ^= 1 << chance.below(8),
        1 => bytes[at] = chance.next() as u8,
        // Lengths are where parsers believe too much.
        2 => bytes[at] = *chance.pick(&[0x00, 0x7f, 0x80, 0xff, 0xc6, 0xc9, 0xdb, 0xdd, 0xdf]),
        3 => bytes[span].fill(*chance.pick(&[0x00, 0xff])),
        4 => bytes.truncate(at),
        5 => {
            bytes.drain(span);
        }
        6 => {
            let again = bytes[span].repeat(1 + chance.below(8));
            bytes.splice(at..at, again);
        }
        _ => {
            let other = chance.pick(others);
            let from = chance.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
}

/// Put the checksum of every chunk of a PNG right, so that what was changed is read.
fn mend_png(file: &mut [u8]) {
    let mut at = 8;
    while let Some(head) = file.get(at..at + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let end = at.saturating_add(8).saturating_add(length);
        if end.saturating_add(4) > file.len() {
            return;
        }
        let sum = crc32(&file[at + 4..end]);
        file[end..end + 4].copy_from_slice(&sum.to_be_bytes());
        at = end + 4;
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let fold = |sum: u32, &byte: &u8| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| sum >> 1 ^ (0xedb8_8320 & 0_u32.wrapping_sub(sum & 1)))
    };
    !bytes.iter().fold(u32::MAX, fold)
}

fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).expect("a Vec takes every byte");
    bytes
}

/// All of a small input; of a large one the beginning, for it can be had again by its number.
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

    /// The check value of the algorithm's own catalogue.
    #[test]
    fn a_checksum_is_the_one_of_png() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let mut mended = PNG.to_vec();
        mend_png(&mut mended);
        assert_eq!(mended, PNG);
    }
}
