//! `causeway generate`: a clip, drawn without a server. All that steers it is known beforehand, so the command line is
//! a recording and drawing it again gives the same bytes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use pipeline::first_frame::Target;
use pipeline::recording;
use pipeline::world::{
    Cancel, Card, ChunkInput, ChunkPlan, Chunking, ClipAsk, Frames, Held, Init, Origin, Size, Step, Timings, World,
    WorldError,
};

use crate::guardrails::Guardrails;
use crate::media::first_frame;
use crate::observe::profile::{Profiled, Recorder};
use crate::offline::film::Film;
use crate::offline::progress::{Estimate, Progress};
use crate::whole_file::{Existing, WholeFile};

/// What to draw, and where to.
#[derive(Debug)]
pub struct Request {
    /// The first frame: a JPEG, PNG or WebP file.
    pub image: Option<PathBuf>,
    /// The prompts. One of them begins with chunk 0.
    pub prompts: Vec<Switch>,
    /// Keys held in each latent frame; past the end, none.
    pub actions: Option<Vec<Held>>,
    /// `None`: as many as the actions and prompts need.
    pub chunks: Option<u32>,
    /// In place of chunks. `None`: as many as the chunks have, or a usual clip of a world that is not steered.
    pub frames: Option<u32>,
    /// The same seed draws the same video.
    pub seed: u64,
    /// Width and height in pixels; `None`: the world's own.
    pub size: Option<Size>,
    /// A directory for numbered PNG files, or a file that ends in `.webp` or `.mp4`.
    pub out: PathBuf,
    /// What happens to pictures or a film that are there already.
    pub existing: Existing,
    /// A file for what steers the video.
    pub record: Option<PathBuf>,
    /// The folder for a profile, and what is kept in it.
    pub profile: Option<(PathBuf, Profiled)>,
    /// What frames must pass; prompts, too, but they are not checked here.
    pub guardrails: Guardrails,
    /// Ends the drawing: what is drawn by then becomes a shorter video.
    pub cancel: Cancel,
}

/// A prompt, and the chunk it begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// Counted from 0.
    pub chunk: usize,
    /// The prompt.
    pub text: String,
}

/// Where time went, over all chunks.
#[derive(Debug, Default)]
pub struct Report {
    /// Chunks that were drawn.
    pub chunks: usize,
    /// Chunks that were asked for: more than were drawn if the drawing was interrupted.
    pub asked: usize,
    /// Video frames of them.
    pub frames: usize,
    /// The world's time, by stage.
    pub world: Timings,
    /// Time of drawing: the world's stages, and the rest.
    pub generate: Duration,
    /// Encoding and writing the pictures.
    pub encode: Duration,
    /// Where the profile is, if one was asked for.
    pub profile: Option<PathBuf>,
}

/// Chunks when neither they nor an action script are given.
const CHUNKS: usize = 4;

/// Draw the video of `request` into its files, with progress on standard error. One that is interrupted is a shorter video.
///
/// # Errors
/// If it cannot be drawn or written; if it was interrupted before its first frame. A file that was there stays then.
pub fn generate(world: &dyn World, request: &Request) -> anyhow::Result<Report> {
    let card = world.card();
    let mut ask = ask(card, request)?;
    if let Some(path) = &request.record {
        ensure!(card.clips.steerable, "--record: {} draws no chunks, and a recording is made of them", card.name);
        record(path, request.existing, &ask, &world.origin())?;
    }
    let mut film = Film::create(&request.out, request.existing, ask.init.size, card.fps)?;
    let recorder = request.profile.as_ref().map(|(_, profiled)| Recorder::new(*profiled));
    let spans = recorder.as_ref().map(|recorder| recorder.spans().clone()).unwrap_or_default();
    ask.spans = spans.clone();
    let mut report = draw(world, ask, &request.cancel, &mut |frames| {
        let _span = spans.begin(|| film.span().into());
        let passed = request.guardrails.process(frames);
        passed.map_err(|blocked| anyhow!("frames are blocked by the guardrail {}", blocked.guardrail))?;
        film.push(frames)
    })?;
    film.finish()?;
    if let (Some(recorder), Some((folder, _))) = (recorder, &request.profile) {
        report.profile = Some(folder.join(recorder.finish(folder, "generate")?));
    }
    Ok(report)
}

/// Write what steers a clip to a file.
fn record(path: &Path, existing: Existing, ask: &ClipAsk, origin: &Origin) -> anyhow::Result<()> {
    let mut file = WholeFile::create(path, existing)?;
    let whole = || format!("writing {}", path.display());
    file.write_all(&recording::encode_init(&ask.init, Some(origin))?).with_context(whole)?;
    for input in &ask.inputs {
        file.write_all(&recording::encode_chunk(input)?).with_context(whole)?;
    }
    file.finish()
}

/// Draw a clip, hand its frames on, which may change them, and show progress on standard error. The report says if it was
/// cancelled.
///
/// # Errors
/// If it cannot be drawn; if it was cancelled before its first frame.
pub(super) fn draw(
    world: &dyn World,
    ask: ClipAsk,
    cancel: &Cancel,
    sink: &mut dyn FnMut(&mut Frames) -> anyhow::Result<()>,
) -> anyhow::Result<Report> {
    let card = world.card();
    let opening = Instant::now();
    let mut clip = world.clip(ask).context("opening the clip")?;
    let progress = Progress::new(clip.progress().of);
    progress.tell(format_args!("opened in {:.0} ms", ms(opening.elapsed())), 0, "");
    let mut report = Report { asked: clip.progress().of, ..Report::default() };
    let drawing = Instant::now();
    loop {
        let piece = clip.progress().done;
        let mut frames: Vec<Frames> = Vec::new();
        let began = Instant::now();
        let step = match clip.step(cancel, &mut |batch| frames.push(batch)) {
            Err(WorldError::Cancelled) if report.frames == 0 => {
                bail!("interrupted before the first frame: nothing is written")
            }
            // The frames of a chunk that is not whole are dropped.
            Err(WorldError::Cancelled) => break,
            step => step
                .with_context(|| format!("drawing {} {piece}", if card.clips.steerable { "chunk" } else { "piece" }))?,
        };
        let generate = began.elapsed();
        let timings = step.timings();
        let encoding = Instant::now();
        for batch in &mut frames {
            sink(batch)?;
        }
        let encode = encoding.elapsed();
        report.chunks += 1;
        report.frames += frames.iter().map(|batch| batch.count).sum::<usize>();
        report.generate += generate;
        report.encode += encode;
        report.world += timings;
        let line = format!(
            "chunk {piece:3}  {:7.1} ms  text {:.1}  DiT {:.1}  VAE {:.1}  encode {:.1}",
            ms(generate),
            ms(timings.text),
            ms(timings.dit),
            ms(timings.vae),
            ms(encode),
        );
        let rate = report.frames as f64 / report.generate.as_secs_f64();
        let left = Estimate::of(clip.share(), drawing.elapsed());
        progress.tell(line, report.chunks, format_args!("{rate:.1} frames per second{left}"));
        if let Step::Done(_) = step {
            break;
        }
    }
    Ok(report)
}

impl Report {
    /// The drawing was cancelled before its end.
    pub fn is_interrupted(&self) -> bool {
        self.chunks < self.asked
    }

    /// A few lines for people.
    pub fn summary(&self) -> String {
        let per_second = |time: Duration| self.frames as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE);
        let total = self.generate + self.encode;
        let line = |name: &str, time: Duration| {
            let share = 100.0 * time.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE);
            format!("  {name:9}{:9.1} ms a chunk  {share:5.1} %\n", ms(time) / self.chunks.max(1) as f64)
        };
        let profile = self.profile.as_ref().map_or_else(String::new, |path| format!("  profile: {}\n", path.display()));
        format!(
            "{} frames in {} chunks: {:.1} frames per second drawn, {:.1} with encoding\n{}{}{}{}{}{profile}",
            self.frames,
            self.chunks,
            per_second(self.generate),
            per_second(total),
            line("text", self.world.text),
            line("DiT", self.world.dit),
            line("VAE", self.world.vae),
            line("the rest", self.generate.saturating_sub(self.world.total())),
            line("encode", self.encode),
        )
    }
}

fn ms(duration: Duration) -> f64 {
    1000.0 * duration.as_secs_f64()
}

/// The clip of a request, with all that the card says of what it leaves open.
fn ask(card: &Card, request: &Request) -> anyhow::Result<ClipAsk> {
    let init = init(card, request)?;
    let asked = request.frames.map(|frames| frames as usize);
    if card.clips.steerable {
        let chunking = init.chunking(card);
        let inputs = inputs(chunking, request)?;
        let whole = (0..inputs.len()).map(|index| ChunkPlan::new(index, chunking).pixel_frames).sum();
        return Ok(ClipAsk::new(init, asked.unwrap_or(whole), inputs));
    }
    let name = &card.name;
    ensure!(request.actions.is_none(), "--actions: {name} is steered by no keys");
    ensure!(request.chunks.is_none(), "--chunks: {name} draws a clip as a whole; say --frames");
    ensure!(request.prompts.len() == 1, "--prompt: {name} draws a clip from one prompt");
    let usual = (card.clips.seconds * f64::from(card.fps)).round() as usize;
    let frames = card.clips.frames.frames(asked.unwrap_or(usual));
    let frames = frames.map_err(|reason| anyhow!("--frames {} {reason}", asked.unwrap_or(usual)))?;
    let is_picture = frames == 1;
    let size = if is_picture { request.size.unwrap_or(card.clips.picture_size) } else { init.size };
    let init = Init { size, ..init };
    let mut ask = ClipAsk::new(init, frames, Vec::new());
    ask.settings = card.clips.knobs.usual(is_picture);
    Ok(ask)
}

fn init(card: &Card, request: &Request) -> anyhow::Result<Init> {
    let (sink, window) = card.choose_window(None, None)?;
    let size = card.choose_clip_size(request.size)?;
    let first_frame = match &request.image {
        None if card.needs_first_frame => bail!("--image is missing: {} starts from a picture", card.name),
        None => None,
        Some(path) => {
            let file = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            // The sentence lacks its subject, which a client reads in a field beside it.
            let picture = first_frame::read(&file, Target { size, fit: card.clips.picture_fit });
            Some(picture.map_err(|reason| anyhow!("the picture {} {reason}", path.display()))?)
        }
    };
    let first = request.prompts.iter().find(|switch| switch.chunk == 0);
    let first = first.context("no prompt for the first chunk")?;
    Ok(Init {
        prompt: first.text.clone(),
        first_frame,
        size,
        seed: request.seed,
        sink,
        window,
        first_chunk: None,
        condition_frames: None,
    })
}

/// The inputs of each chunk.
fn inputs(chunking: Chunking, request: &Request) -> anyhow::Result<Vec<ChunkInput>> {
    let mut switches: Vec<_> = request.prompts.iter().collect();
    switches.sort_by_key(|switch| switch.chunk);
    for pair in switches.windows(2) {
        ensure!(pair[0].chunk != pair[1].chunk, "two prompts for chunk {}", pair[0].chunk);
    }
    let actions = request.actions.as_ref();
    let last_switch = switches.last().map_or(0, |switch| switch.chunk);
    let needed = actions.map_or(CHUNKS, |actions| chunking.count_for_latent(actions.len()));
    let by_frames = request.frames.map(|frames| chunking.count_for(frames as usize));
    let asked = request.chunks.map(|chunks| chunks as usize).or(by_frames);
    let chunks = asked.unwrap_or(needed.max(last_switch + 1));
    ensure!(
        last_switch < chunks,
        "a prompt begins with chunk {last_switch}, and the last of {chunks} is {}",
        chunks - 1
    );
    let input = |index| {
        // The first chunk has its prompt from the init.
        let switch = switches.iter().find(|switch| switch.chunk == index && index > 0);
        let prompt = switch.map(|switch| switch.text.clone());
        let latent_frames = ChunkPlan::new(index, chunking).latent_range();
        let held =
            |held: &Vec<Held>| latent_frames.map(|at| held.get(at).copied().unwrap_or_default().into()).collect();
        ChunkInput { prompt, controls: actions.map(held), ..ChunkInput::default() }
    };
    Ok((0..chunks).map(input).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;
    use image::AnimationDecoder;
    use pipeline::testcard::{self, Reading, Testcard};
    use pipeline::world::Picture;

    use super::*;
    use crate::config::flags::{Cli, Command};
    use crate::scratch::Scratch;

    fn run(arguments: &[&str], out: &Path) -> anyhow::Result<Report> {
        let out = out.to_str().expect("a temporary path is UTF-8");
        let line =
            [&["causeway", "generate", "--world", "testcard", "--size", "128x96", "--out", out], arguments].concat();
        let Command::Generate(args) = Cli::try_parse_from(line)?.command else {
            unreachable!("the line says generate")
        };
        generate(&Testcard::new(Duration::ZERO), &args.request()?)
    }

    const WALK: &[&str] = &["--prompt", "day", "--prompt", "1:night", "--actions", "w*2,wl*3,-*2"];

    fn check_walk(readings: Vec<Reading>) {
        assert_eq!(readings.len(), 9 + 12 + 12);
        for (frame, reading) in readings.into_iter().enumerate() {
            assert_eq!(reading.frame, frame);
            let held: String = reading.held.expect("there is a script").iter().collect();
            let expected = match reading.latent_frame {
                0..2 => "w",
                2..5 => "wl",
                _ => "",
            };
            assert_eq!(held, expected, "latent frame {}", reading.latent_frame);
            let prompt = if reading.chunk == 0 { "day" } else { "night" };
            assert_eq!(reading.prompt_hash, testcard::prompt_hash(prompt));
        }
    }

    #[test]
    fn a_walk_becomes_numbered_pngs() {
        let scratch = Scratch::new();
        let dir = scratch.path("walk");
        let report = run(WALK, &dir).expect("draws");
        assert_eq!((report.chunks, report.frames), (3, 33));
        let read = |i| {
            let file = std::fs::read(dir.join(format!("{i:05}.png"))).expect("the file is there");
            testcard::read(&first_frame::read(&file, Size { width: 128, height: 96 }).expect("a PNG"))
                .expect("the test card")
        };
        check_walk((0..33).map(read).collect());
    }

    #[test]
    fn frames_cut_the_last_chunk() {
        let scratch = Scratch::new();
        let report = run(&["--prompt", "day", "--frames", "11"], &scratch.path("cut")).expect("draws");
        assert_eq!((report.chunks, report.frames), (2, 11));
    }

    #[test]
    fn a_walk_becomes_an_animation_of_the_right_length() {
        let scratch = Scratch::new();
        let path = scratch.path("walk.webp");
        run(WALK, &path).expect("draws");
        let file = std::fs::read(&path).expect("the file is there");
        assert_eq!(u32::from_le_bytes([file[4], file[5], file[6], file[7]]) as usize, file.len() - 8);
        let decoder = image::codecs::webp::WebPDecoder::new(std::io::Cursor::new(file)).expect("a WebP file");
        let frames = decoder.into_frames().collect_frames().expect("an animation");
        let shown: u32 = frames.iter().map(|frame| frame.delay().numer_denom_ms().0).sum();
        assert_eq!(shown, 33 * 1000 / 16);
        let read = |frame: image::Frame| {
            let rgb = image::DynamicImage::ImageRgba8(frame.into_buffer()).into_rgb8().into_raw();
            testcard::read(&Picture { size: Size { width: 128, height: 96 }, rgb }).expect("the test card")
        };
        check_walk(frames.into_iter().map(read).collect());
    }

    #[test]
    fn what_cannot_be_drawn_is_said_before_it_is_begun() {
        let scratch = Scratch::new();
        let check = |arguments: &[&str], out: &str, expected: &str| {
            let path = scratch.path(out);
            let error = format!("{:#}", run(arguments, &path).expect_err("refused"));
            assert!(error.contains(expected), "{error}");
        };
        check(&["--prompt", "p", "--prompt", "0:q"], "a", "two prompts for chunk 0");
        check(&["--prompt", "p", "--prompt", "q"], "b", "4:at night");
        check(&["--prompt", "p", "--prompt", "1: "], "b", "is empty");
        check(&["--prompt", " "], "b", "is empty");
        check(&["--prompt", "p", "--prompt", "3:q", "--chunks", "2"], "c", "begins with chunk 3");
        check(&["--prompt", "p", "--actions", "x"], "d", "'x'");
        check(&["--prompt", "p", "--image", "/no/such/file"], "e", "/no/such/file");
        check(&["--prompt", "p", "--chunks", "2", "--frames", "9"], "c", "cannot be used with");
        check(&["--prompt", "p"], "f.avi", "not .avi");
        assert!(!scratch.path("a").exists());
    }
}
