//! A world on strings: it reports what it was asked to draw, draws a known pattern, and ends a chunk when a test says
//! so.
//!
//! So no test depends on how fast anything is. A chunk begins (its inputs are taken, and reported), the test does what
//! should happen meanwhile, and lets the chunk end.

use pipeline::world::{
    Cancel, Card, ChunkInput, ChunkPlan, Chunking, Clip, ClipAsk, ClipCard, ClipSettings, Frames, Held, Init, Origin,
    Rollout, RolloutBytes, Script, Size, Sizes, Steering, Timings, WarmUp, World, WorldError,
};
use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

use anyhow::{Context, Result, bail};

/// How often a waiting chunk looks whether it was cancelled.
const NAP: Duration = Duration::from_millis(2);

/// How long a test waits for something to happen in a world.
const PATIENCE: Duration = Duration::from_secs(20);

/// The settings of a puppet. Every field may be changed before it is handed to a server.
pub struct Puppet {
    pub card: Card,
    pub pace: Pace,
    /// This chunk fails, with these words.
    pub fails: Option<(usize, String)>,
    /// This chunk panics, which no world should.
    pub panics: Option<usize>,
    /// What a rollout holds, for each pixel of its size.
    pub bytes_per_pixel: u64,
    /// Loading takes until the strings allow it.
    pub loads_on_a_string: bool,
}

/// When a chunk is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// After this long.
    Takes(Duration),
    /// After this long for each pixel of a frame.
    TakesAPixel(Duration),
    /// When the test says so.
    OnStrings,
    /// Each of its latent frames when the test says so.
    EachOnStrings,
}

/// What happened in the world, in order.
#[derive(Debug, Clone)]
pub enum Seen {
    Asked { ask: ClipAsk },
    Opened { rollout: usize, init: Init },
    Began { rollout: usize, plan: ChunkPlan, input: ChunkInput },
    Cancelled { rollout: usize },
    Dropped { rollout: usize },
}

/// The test's end of the strings.
pub struct Strings {
    seen: mpsc::UnboundedReceiver<Seen>,
    gate: Arc<Gate>,
}

impl Default for Puppet {
    /// Any size, three latent frames a chunk, no picture needed, as fast as it can.
    fn default() -> Puppet {
        Puppet {
            card: Card {
                name: "puppet".into(),
                sizes: Sizes::MultiplesOf { multiple: 1, pixels_max: 1920 * 1080 },
                default_size: Size { width: 832, height: 480 },
                fps: 16,
                chunk: 3,
                first_chunk: 3,
                sink: 3,
                window: 18,
                window_is_fixed: false,
                needs_first_frame: false,
                look_step: None,
                steering: Steering::default(),
                quick_steps: None,
                gallery: Vec::new(),
                presets: Vec::new(),
                words: None,
                clips: ClipCard::of_rollouts("puppet", Size { width: 832, height: 480 }, false),
            },
            pace: Pace::Takes(Duration::ZERO),
            fails: None,
            panics: None,
            bytes_per_pixel: 1,
            loads_on_a_string: false,
        }
    }
}

impl Puppet {
    pub fn on_strings() -> Puppet {
        Puppet { pace: Pace::OnStrings, ..Puppet::default() }
    }

    pub fn taking(chunk_time: Duration) -> Puppet {
        Puppet { pace: Pace::Takes(chunk_time), ..Puppet::default() }
    }

    /// The world for a server to load, and the strings for the test to hold.
    pub fn rig(self) -> (server::LoadWorld, Strings) {
        let (tell, seen) = mpsc::unbounded_channel();
        let gate = Arc::new(Gate::default());
        let strings = Strings { seen, gate: gate.clone() };
        let load = move || -> Result<Box<dyn World>> {
            if self.loads_on_a_string {
                gate.pass(&Cancel::default(), Cancel::check)?;
            }
            let Puppet { card, pace, fails, panics, bytes_per_pixel, .. } = self;
            let strings = Inside { pace, fails, panics, tell, gate };
            Ok(Box::new(Stage {
                card: Arc::new(card),
                bytes_per_pixel,
                inside: Arc::new(strings),
                opened: Cell::new(0),
            }))
        };
        (Box::new(load), strings)
    }
}

impl Strings {
    /// The next thing that happens in the world.
    pub async fn next(&mut self) -> Result<Seen> {
        let seen = tokio::time::timeout(PATIENCE, self.seen.recv()).await;
        seen.context("nothing happened in the world")?.context("the world is gone")
    }

    /// The next chunk that begins, and what steers it.
    pub async fn began(&mut self) -> Result<(ChunkPlan, ChunkInput)> {
        loop {
            match self.next().await? {
                Seen::Began { plan, input, .. } => return Ok((plan, input)),
                Seen::Asked { .. } | Seen::Opened { .. } => {}
                other => bail!("instead of a chunk that begins: {other:?}"),
            }
        }
    }

    /// The next clip that is asked for, with all values that were decided for it.
    pub async fn asked(&mut self) -> Result<ClipAsk> {
        let asked = |seen| if let Seen::Asked { ask } = seen { Some(ask) } else { None };
        self.until("no clip was asked for", asked).await
    }

    /// The next video that is opened.
    pub async fn opened(&mut self) -> Result<Init> {
        let opened = |seen| if let Seen::Opened { init, .. } = seen { Some(init) } else { None };
        self.until("no video was opened", opened).await
    }

    /// The next rollout that is dropped, by its number.
    pub async fn dropped(&mut self) -> Result<usize> {
        let dropped = |seen| if let Seen::Dropped { rollout } = seen { Some(rollout) } else { None };
        self.until("no rollout was dropped", dropped).await
    }

    /// The next of these, whatever else happens before.
    pub async fn until<T>(&mut self, otherwise: &str, wanted: impl Fn(Seen) -> Option<T>) -> Result<T> {
        let found = async {
            loop {
                if let Some(found) = wanted(self.next().await?) {
                    return anyhow::Ok(found);
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.with_context(|| format!("{otherwise} within {PATIENCE:?}"))?
    }

    /// Everything that already happened.
    pub fn so_far(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }

    /// Let so many more chunks end.
    pub fn allow(&self, chunks: usize) {
        self.gate.open(chunks);
    }
}

/// Bytes of a free session's frames that may be drawn and not yet written: two chunks of three latent frames.
pub const fn in_flight_bytes(size: Size) -> u64 {
    2 * 3 * 4 * 3 * size.width as u64 * size.height as u64
}

/// Frames of a chunk as raw bytes: three ramps, each steeper than the one before, that begin elsewhere in every row,
/// frame and chunk.
///
/// A row is a piece of one long line, so that a test build draws the largest frames faster than a socket takes them.
pub fn picture(size: Size, chunk: usize, frames: std::ops::Range<usize>) -> Vec<u8> {
    const PERIOD: usize = 4096;
    let width = size.width as usize;
    let line: Vec<u8> = (0..PERIOD + width).flat_map(|i| [(i >> 4) as u8, (i >> 2) as u8, i as u8]).collect();
    let mut rgb = Vec::with_capacity(frames.len() * size.frame_bytes() as usize);
    for frame in frames {
        for y in 0..size.height as usize {
            let start = (37 * y + 1009 * frame + 389 * chunk) % PERIOD;
            rgb.extend_from_slice(&line[3 * start..3 * (start + width)]);
        }
    }
    rgb
}

/// Short for what a chunk was steered with: `"w w -"`, and `None` where no control was ever used.
pub fn held(input: &ChunkInput) -> Option<String> {
    let letters = |held: Held| if held.is_empty() { "-".to_owned() } else { held.iter().collect() };
    input
        .controls
        .as_ref()
        .map(|controls| controls.iter().map(|controls| letters(controls.held())).collect::<Vec<_>>().join(" "))
}

struct Stage {
    card: Arc<Card>,
    bytes_per_pixel: u64,
    inside: Arc<Inside>,
    opened: Cell<usize>,
}

/// What a world and its rollouts share.
struct Inside {
    pace: Pace,
    fails: Option<(usize, String)>,
    panics: Option<usize>,
    tell: mpsc::UnboundedSender<Seen>,
    gate: Arc<Gate>,
}

impl Inside {
    fn tell(&self, seen: Seen) {
        // An error means that the test no longer listens.
        let _ = self.tell.send(seen);
    }
}

impl World for Stage {
    fn card(&self) -> &Arc<Card> {
        &self.card
    }

    fn origin(&self) -> Origin {
        Origin { world: "puppet".to_owned(), weights: "none".to_owned(), compute: "integers".to_owned() }
    }

    fn rollout_bytes(&self) -> RolloutBytes {
        let bytes_per_pixel = self.bytes_per_pixel;
        Arc::new(move |init| init.size.pixels() * bytes_per_pixel)
    }

    /// Draws only what a test asks for.
    fn warm_up(&self) -> Result<Option<WarmUp>, WorldError> {
        Ok(None)
    }

    fn open(&self, init: Init) -> Result<Box<dyn Rollout>, WorldError> {
        let rollout = self.opened.get();
        self.opened.set(rollout + 1);
        let size = init.size;
        let chunking = init.chunking(&self.card);
        self.inside.tell(Seen::Opened { rollout, init });
        let inside = self.inside.clone();
        Ok(Box::new(Dance { rollout, size, chunking, chunk: 0, inside }))
    }

    /// Its card may be that of a world with knobs and without keys: they are reported, and chunks are drawn.
    fn clip(&self, ask: ClipAsk) -> Result<Box<dyn Clip>, WorldError> {
        self.inside.tell(Seen::Asked { ask: ask.clone() });
        let mut ask = ask;
        ask.settings = ClipSettings::default();
        if !self.card.clips.steerable {
            ask.inputs = vec![ChunkInput::default(); ask.init.chunking(&self.card).count_for(ask.frames)];
        }
        Ok(Box::new(Script::open(self, ask)?))
    }
}

struct Dance {
    rollout: usize,
    size: Size,
    chunking: Chunking,
    chunk: usize,
    inside: Arc<Inside>,
}

impl Rollout for Dance {
    fn plan(&self) -> ChunkPlan {
        ChunkPlan::new(self.chunk, self.chunking)
    }

    fn generate(
        &mut self,
        input: &ChunkInput,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Frames),
    ) -> Result<Timings, WorldError> {
        let plan = self.plan();
        let started = Instant::now();
        self.inside.tell(Seen::Began { rollout: self.rollout, plan, input: input.clone() });
        let waited = match self.inside.pace {
            Pace::OnStrings => self.inside.gate.pass(cancel, Cancel::check_unkept),
            Pace::EachOnStrings => Ok(()),
            Pace::Takes(time) => cancel.sleep_until(started + time, Cancel::check_unkept),
            Pace::TakesAPixel(time) => {
                cancel.sleep_until(started + time * self.size.pixels() as u32, Cancel::check_unkept)
            }
        };
        if let Err(cancelled) = waited {
            self.inside.tell(Seen::Cancelled { rollout: self.rollout });
            return Err(cancelled);
        }
        if let Some((chunk, words)) = &self.inside.fails
            && *chunk == plan.index
        {
            return Err(WorldError::Failed(words.clone()));
        }
        assert!(self.inside.panics != Some(plan.index), "the strings are torn");
        let mut frame = 0;
        for latent_frame in plan.latent_range() {
            if self.inside.pace == Pace::EachOnStrings {
                self.inside.gate.pass(cancel, Cancel::check)?;
            }
            let count = if latent_frame == 0 { 1 } else { 4 };
            let rgb = picture(self.size, plan.index, frame..frame + count);
            sink(Frames { size: self.size, count, rgb });
            frame += count;
        }
        self.chunk += 1;
        Ok(Timings { dit: started.elapsed(), ..Timings::default() })
    }
}

impl Drop for Dance {
    fn drop(&mut self) {
        self.inside.tell(Seen::Dropped { rollout: self.rollout });
    }
}

/// How many chunks may still end.
#[derive(Default)]
struct Gate {
    allowed: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    fn open(&self, chunks: usize) {
        *self.allowed.lock().expect("nothing panics under this lock") += chunks;
        self.changed.notify_all();
    }

    /// Waits for the test, until `check` says otherwise.
    fn pass(&self, cancel: &Cancel, check: fn(&Cancel) -> Result<(), WorldError>) -> Result<(), WorldError> {
        let mut allowed = self.allowed.lock().expect("nothing panics under this lock");
        while *allowed == 0 {
            check(cancel)?;
            (allowed, _) = self.changed.wait_timeout(allowed, NAP).expect("nothing panics under this lock");
        }
        *allowed -= 1;
        Ok(())
    }
}
