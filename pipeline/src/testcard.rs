//! The test card: a [`World`] without weights that draws its inputs (chunk, held keys, prompt), at the speed asked for.
//!
//! It serves tests, demonstrations and load runs. A strip along the bottom repeats the picture's text as black and
//! white cells that survive JPEG, WebP and scaling. [`read`] reads the strip from the pixels that a client received.

mod font;
mod packed;
mod strip;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::packed::Whose;
use crate::world::{
    Cancel, Card, ChunkInput, ChunkPlan, Chunking, ClipCard, FRAMES_PER_LATENT, Frames, Held, Init, KeptBytes, Origin,
    Pose, Rollout, RolloutBytes, Size, Sizes, State, StateBytes, Steering, Timings, WarmUp, World, WorldError,
};
use strip::{BLACK, STRIP_PART, WHITE, cells, steered_cells};
pub use strip::{Reading, Steered, prompt_hash, read, read_steered};

/// Latent frames of a chunk, as in LingBot World.
const CHUNK: usize = 3;

/// The world of the test card: every size, no gallery, no weights.
pub struct Testcard {
    card: Arc<Card>,
    chunk_time: Duration,
    /// Of a chunk that says in how many steps it is drawn.
    quick_time: Duration,
}

impl Testcard {
    /// A world that takes `chunk_time` for each chunk, or as little as it can if that is zero.
    pub fn new(chunk_time: Duration) -> Testcard {
        let default_size = Size { width: 832, height: 480 };
        let card = Card {
            name: "testcard".into(),
            sizes: Sizes::MultiplesOf { multiple: 1, pixels_max: 3840 * 2160 },
            default_size,
            fps: 16,
            chunk: CHUNK,
            first_chunk: CHUNK,
            sink: 9,
            window: 18,
            window_is_fixed: false,
            needs_first_frame: false,
            look_step: None,
            steering: Steering::ALL,
            quick_steps: None,
            gallery: Vec::new(),
            presets: Vec::new(),
            words: None,
            clips: ClipCard::of_rollouts("testcard", default_size, false),
        };
        Testcard { card: Arc::new(card), chunk_time, quick_time: chunk_time }
    }

    /// The same, whose chunks in this number of steps take that long.
    pub fn with_quick(self, steps: usize, quick_time: Duration) -> Testcard {
        let card = Card { quick_steps: Some(steps), ..Card::clone(&self.card) };
        Testcard { card: Arc::new(card), quick_time, ..self }
    }

    /// The test card with chunks of another world's length, at its size and frame rate, so that it can be compared with
    /// that world.
    pub fn paced_like(world: &Card, chunk_time: Duration) -> Testcard {
        let Testcard { card, .. } = Testcard::new(chunk_time);
        let card = Card {
            default_size: world.default_size,
            fps: world.fps,
            chunk: world.chunk,
            first_chunk: world.first_chunk,
            clips: ClipCard::of_rollouts("testcard", world.default_size, false),
            ..Card::clone(&card)
        };
        Testcard { card: Arc::new(card), chunk_time, quick_time: chunk_time }
    }

    /// A video before its first chunk.
    fn drawing(&self, init: &Init) -> Drawing {
        Drawing {
            size: init.size,
            chunking: init.chunking(&self.card),
            chunk_time: self.chunk_time,
            quick_time: self.quick_time,
            gradient: gradient(init.size),
            whose: Whose::of(self.origin(), &self.card, init),
            now: Progress { caption: Caption::new(&init.prompt), chunk: 0, frame: 0, pose: None },
        }
    }
}

impl World for Testcard {
    fn card(&self) -> &Arc<Card> {
        &self.card
    }

    fn origin(&self) -> Origin {
        Origin { world: self.card.name.clone(), weights: "none".to_owned(), compute: "integers".to_owned() }
    }

    fn rollout_bytes(&self) -> RolloutBytes {
        Arc::new(|init| {
            let latent_frame = FRAMES_PER_LATENT as u64 * init.size.frame_bytes();
            latent_frame + gradient_bytes(init.size) as u64 + CAPTION_BYTES as u64 + size_of::<Drawing>() as u64
        })
    }

    fn state_bytes(&self) -> Option<StateBytes> {
        Some(Arc::new(|_| KeptBytes { state: CAPTION_BYTES as u64 + size_of::<Progress>() as u64, chunk: 0 }))
    }

    fn open(&self, init: Init) -> Result<Box<dyn Rollout>, WorldError> {
        Ok(Box::new(self.drawing(&init)))
    }

    fn open_at(&self, init: Init, packed: &[u8]) -> Result<Box<dyn Rollout>, WorldError> {
        let now = Progress::unpack(Whose::of(self.origin(), &self.card, &init).unseal(packed)?)?;
        Ok(Box::new(Drawing { now, ..self.drawing(&init) }))
    }

    /// Draws nothing where it was told how long a chunk takes.
    fn warm_up(&self) -> Result<Option<WarmUp>, WorldError> {
        if self.chunk_time.is_zero() {
            return WarmUp::of(self).map(Some);
        }
        Ok(Some(WarmUp { size: self.card.default_size, opened: Duration::ZERO, chunk: self.chunk_time }))
    }
}

/// A rollout: one video of the test card.
struct Drawing {
    size: Size,
    chunking: Chunking,
    chunk_time: Duration,
    quick_time: Duration,
    gradient: Vec<u8>,
    whose: Whose,
    now: Progress,
}

/// What changes from chunk to chunk.
#[derive(Clone)]
struct Progress {
    caption: Caption,
    chunk: usize,
    /// Video frames drawn so far.
    frame: usize,
    /// Where poses have led, once one came.
    pose: Option<Pose>,
}

/// A prompt as it is drawn: its beginning, and the hash of the whole.
#[derive(Clone)]
struct Caption {
    text: String,
    hash: u32,
}

/// More text than a picture of a usual shape has room for.
const CAPTION_BYTES: usize = 512;

impl Caption {
    fn new(prompt: &str) -> Caption {
        Caption { text: prompt[..prompt.floor_char_boundary(CAPTION_BYTES)].to_owned(), hash: prompt_hash(prompt) }
    }
}

impl Rollout for Drawing {
    fn plan(&self) -> ChunkPlan {
        ChunkPlan::new(self.now.chunk, self.chunking)
    }

    fn generate(
        &mut self,
        input: &ChunkInput,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Frames),
    ) -> Result<Timings, WorldError> {
        let start = Instant::now();
        let plan = self.plan();
        input.check(&plan)?;
        let mut timings = Timings::default();
        let takes = if input.steps.is_some() { self.quick_time } else { self.chunk_time };
        for (i, latent_frame) in plan.latent_range().enumerate() {
            let wait = Instant::now();
            // Until something of it is shown, it can be given up.
            let check = if i == 0 { Cancel::check_unkept } else { Cancel::check };
            cancel.sleep_until(start + takes.mul_f64((i + 1) as f64 / plan.latent_frames as f64), check)?;
            if let Some(prompt) = input.prompt.as_ref().filter(|_| i == 0) {
                self.now.caption = Caption::new(prompt);
            }
            let draw = Instant::now();
            let reading = Reading {
                chunk: plan.index,
                latent_frame,
                frame: self.now.frame,
                held: input.controls.as_ref().map(|controls| controls[i].held()),
                prompt_hash: self.now.caption.hash,
            };
            let controls = input.controls.as_ref().map(|controls| &controls[i]);
            if let Some(way) = controls.and_then(|controls| controls.way()) {
                self.now.pose = Some(way.from(&self.now.pose.unwrap_or(Pose::START)));
            }
            let steered = controls.and_then(|controls| Steered::of(controls, self.now.pose));
            let count = if latent_frame == 0 { 1 } else { FRAMES_PER_LATENT };
            sink(self.draw(reading, steered, count));
            self.now.frame += count;
            timings.dit += draw - wait;
            timings.vae += draw.elapsed();
        }
        self.now.chunk += 1;
        Ok(timings)
    }

    fn save(&self) -> Result<State, WorldError> {
        Ok(State::new(self.now.clone()))
    }

    fn pack(&self) -> Result<Vec<u8>, WorldError> {
        self.whose.seal(&self.now.pack()?)
    }

    fn restore(&mut self, state: &State) -> Result<(), WorldError> {
        self.now = state.get::<Progress>()?.clone();
        Ok(())
    }
}

const INK: [u8; 3] = [250, 250, 250];
const SHADE: [u8; 3] = [18, 20, 28];
const KEY: [u8; 3] = [52, 56, 70];
const KEY_LETTER: [u8; 3] = [150, 155, 170];
const KEY_HELD: [u8; 3] = [255, 190, 40];
const KEY_UNUSED: [u8; 3] = [30, 32, 40];

impl Drawing {
    /// `count` frames, which differ in the gradient's position and in the frame number.
    fn draw(&self, first: Reading, steered: Option<Steered>, count: usize) -> Frames {
        let frame_bytes = self.size.frame_bytes() as usize;
        let mut rgb = Vec::with_capacity(count * frame_bytes);
        for i in 0..count {
            let reading = Reading { frame: first.frame + i, ..first };
            let start = rgb.len();
            self.extend_with_gradient(&mut rgb, reading.frame);
            let mut canvas = Canvas { size: self.size, rgb: &mut rgb[start..] };
            canvas.face(&reading, &self.now.caption.text);
            canvas.strip(&reading);
            if let Some(steered) = &steered {
                canvas.upper_strip(steered);
            }
        }
        Frames { size: self.size, count, rgb }
    }

    /// Each row is the row above it, shifted by one pixel: a frame is copied row by row out of one long line.
    fn extend_with_gradient(&self, rgb: &mut Vec<u8>, frame: usize) {
        let row_bytes = 3 * self.size.width as usize;
        let phase = 4 * frame % PERIOD;
        for y in 0..self.size.height as usize {
            let start = 3 * (phase + y);
            rgb.extend_from_slice(&self.gradient[start..start + row_bytes]);
        }
    }
}

/// The gradient repeats after this many pixels.
const PERIOD: usize = 256;

fn gradient_bytes(size: Size) -> usize {
    3 * (size.width as usize + size.height as usize + PERIOD)
}

fn gradient(size: Size) -> Vec<u8> {
    // A triangle wave has no step where it repeats. Integers give the same bytes on every machine.
    let wave = |i: usize| (i % PERIOD).min(PERIOD - i % PERIOD) as u8;
    let pixel = |i: usize| [24 + wave(i), 40 + wave(i + PERIOD / 3) / 2, 150 - wave(i + PERIOD / 2) / 2];
    (0..gradient_bytes(size) / 3).flat_map(pixel).collect()
}

/// One frame to draw on. Parts of a shape outside it are cut off.
struct Canvas<'a> {
    size: Size,
    rgb: &'a mut [u8],
}

impl Canvas<'_> {
    /// Draw the part for people: chunk and latent frame, the prompt, the keys.
    fn face(&mut self, reading: &Reading, caption: &str) {
        let Size { width, height } = self.size;
        let dot = (width / 128).min(height / 96).max(1);
        let line = 7 * dot;
        let keys_top = (height - height / STRIP_PART).saturating_sub(30 * dot);

        let title = format!("CHUNK {}  LATENT {}", reading.chunk, reading.latent_frame);
        self.fill(0..width, 0..9 * dot, SHADE);
        self.text(2 * dot, 2 * dot, dot, &title, INK);
        let columns = (width / dot).saturating_sub(4) / (font::LETTER.0 + 1);
        for (row, words) in (0..).zip(lines(caption, columns as usize)) {
            let y = 11 * dot + row * line;
            if y + line > keys_top {
                break;
            }
            self.text(2 * dot, y, dot, &words, INK);
        }
        self.cluster(2 * dot, keys_top, dot, ['w', 'a', 's', 'd'], reading.held);
        self.cluster(width.saturating_sub(42 * dot), keys_top, dot, ['i', 'j', 'k', 'l'], reading.held);
    }

    /// Draw four keys as on a keyboard: one above three.
    fn cluster(&mut self, x: u32, y: u32, dot: u32, keys: [char; 4], held: Option<Held>) {
        let (side, step) = (12 * dot, 14 * dot);
        for (key, (column, row)) in keys.into_iter().zip([(1, 0), (0, 1), (1, 1), (2, 1)]) {
            let (x, y) = (x + column * step, y + row * step);
            let (box_colour, letter_colour) = match held {
                None => (KEY_UNUSED, KEY),
                Some(held) if held.has(key) => (KEY_HELD, SHADE),
                Some(_) => (KEY, KEY_LETTER),
            };
            self.fill(x..x + side, y..y + side, box_colour);
            self.text(x + 3 * dot, y + dot, 2 * dot, key.encode_utf8(&mut [0; 4]), letter_colour);
        }
    }

    fn text(&mut self, x: u32, y: u32, dot: u32, text: &str, colour: [u8; 3]) {
        let (columns, rows) = font::LETTER;
        for (i, letter) in (0..).zip(text.chars()) {
            let left = x + i * (columns + 1) * dot;
            if left >= self.size.width {
                break;
            }
            let dots = font::dots(letter);
            for row in 0..rows {
                for column in 0..columns {
                    if dots >> (3 * (rows - 1 - row) + (columns - 1 - column)) & 1 == 1 {
                        let (x, y) = (left + column * dot, y + row * dot);
                        self.fill(x..x + dot, y..y + dot, colour);
                    }
                }
            }
        }
    }

    fn fill(&mut self, x: Range<u32>, y: Range<u32>, colour: [u8; 3]) {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let (left, right) = ((x.start as usize).min(width), (x.end as usize).min(width));
        for y in (y.start as usize).min(height)..(y.end as usize).min(height) {
            let row = &mut self.rgb[3 * (y * width + left)..3 * (y * width + right)];
            row.as_chunks_mut::<3>().0.fill(colour);
        }
    }

    /// The part that a program reads: see [`read`].
    fn strip(&mut self, reading: &Reading) {
        let word = reading.word();
        for (bit, (x, y)) in cells(self.size).enumerate() {
            self.fill(x, y, if word >> bit & 1 == 1 { WHITE } else { BLACK });
        }
    }

    /// See [`read_steered`].
    fn upper_strip(&mut self, steered: &Steered) {
        let bytes = steered.bytes();
        for (bit, (x, y)) in steered_cells(self.size).enumerate() {
            self.fill(x, y, if bytes[bit / 8] >> (bit % 8) & 1 == 1 { WHITE } else { BLACK });
        }
    }
}

/// `text` broken between words. A word longer than a line is not broken and is cut off by the picture's edge.
fn lines(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= columns {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests;
