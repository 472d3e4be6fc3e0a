//! A clip: a video of a known length that is drawn from start to end, with nobody steering it.
//!
//! A clip advances one piece of work at a time, so that the owner of the device can serve others between two pieces.
//! Every world that has rollouts draws clips through [`Script`], where a piece is a chunk. A world without rollouts
//! brings its own
//! [`Clip`], whose pieces are smaller than a video: a denoising step, or a decoded latent frame.

use std::sync::Arc;
use std::time::Instant;
use std::vec;

use super::{Cancel, ChunkInput, ClipSettings, Frames, Init, Refusal, Rollout, Spans, Timings, World, WorldError};

/// A video that is drawn piece by piece, without a client. Dropping it gives everything back.
pub trait Clip {
    /// Do the next piece of work. Frames go to `sink` in order, as soon as they are decoded; a piece may give none.
    ///
    /// After an error, and after [`Step::Done`], the clip is spent: only drop it.
    fn step(&mut self, cancel: &Cancel, sink: &mut dyn FnMut(Frames)) -> Result<Step, WorldError>;

    /// Pieces done, and pieces in all.
    fn progress(&self) -> Progress;

    /// The share of its time that is over, as far as can be told: 0 to 1, and it never falls. Where pieces take about the
    /// same time, the share of its pieces.
    fn share(&self) -> f64 {
        let Progress { done, of } = self.progress();
        done as f64 / of as f64
    }
}

/// What one piece of work came to, and where the time of this piece went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// More pieces follow.
    More(Timings),
    /// This was the last piece: every frame has been given.
    Done(Timings),
}

impl Step {
    /// Where the time of this piece went.
    pub fn timings(self) -> Timings {
        let (Step::More(timings) | Step::Done(timings)) = self;
        timings
    }
}

/// How far a clip is, in pieces of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Pieces done.
    pub done: usize,
    /// Pieces in all; at least 1.
    pub of: usize,
}

/// The values that a clip is asked with. All have been checked against the card.
///
/// It is made with [`ClipAsk::new`] and grows by fields that have a usual value, so that a new one changes no caller.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClipAsk {
    /// How the video begins.
    pub init: Init,
    /// Video frames to give; at least 1. A world that draws whole chunks cuts the last one.
    pub frames: usize,
    /// What steers each chunk: one input for each of [`Chunking::count_for`](super::Chunking::count_for) chunks. None for a world that is not steered.
    pub inputs: Vec<ChunkInput>,
    /// Values of the model's knobs.
    pub settings: ClipSettings,
    /// Takes what each part of the work took. Usually off.
    pub spans: Spans,
}

impl ClipAsk {
    /// A clip of `frames` video frames whose chunks are steered by `inputs`, one each.
    pub fn new(init: Init, frames: usize, inputs: Vec<ChunkInput>) -> ClipAsk {
        ClipAsk { init, frames, inputs, settings: ClipSettings::default(), spans: Spans::default() }
    }

    /// Bytes that the inputs hold until their chunks are drawn.
    fn inputs_bytes(&self) -> u64 {
        let bytes = |input: &ChunkInput| {
            let controls = input.controls.as_ref().map_or(0, |controls| size_of_val(controls.as_slice()));
            size_of::<ChunkInput>() + input.prompt.as_ref().map_or(0, String::len) + controls
        };
        self.inputs.iter().map(bytes).sum::<usize>() as u64
    }
}

/// Bytes that a clip asked with these values will hold at most. Apart from the world, so that nobody waits for the
/// device to hear it.
pub type ClipBytes = Arc<dyn Fn(&ClipAsk) -> u64 + Send + Sync>;

/// The clip of a world with rollouts: a rollout, the inputs of the chunks to come, and the frames still to give.
///
/// It draws what a session would have drawn whose chunks were steered by these inputs, byte for byte.
pub struct Script {
    rollout: Box<dyn Rollout>,
    inputs: vec::IntoIter<ChunkInput>,
    /// Chunks in all.
    chunks: usize,
    /// Video frames still to give.
    frames: usize,
    spans: Spans,
}

impl Script {
    /// Open the rollout that will draw the clip.
    pub fn open(world: &(impl World + ?Sized), ask: ClipAsk) -> Result<Script, WorldError> {
        let ClipAsk { init, frames, inputs, settings, spans } = ask;
        settings.expect_none()?;
        if frames == 0 {
            let reason = "0 frames; a clip has at least 1".to_owned();
            return Err(WorldError::Refused(Refusal { field: "num_frames", reason }));
        }
        let chunks = init.chunking(world.card()).count_for(frames);
        if inputs.len() != chunks {
            let reason = format!("{} inputs for a clip of {frames} frames, which are {chunks} chunks", inputs.len());
            return Err(WorldError::Failed(reason));
        }
        let opened = spans.begin(|| "encode".into());
        let rollout = world.open(init)?;
        drop(opened);
        Ok(Script { rollout, inputs: inputs.into_iter(), chunks, frames, spans })
    }

    /// Bytes that the clip holds: its rollout's, and the inputs still to come.
    pub fn bytes(ask: &ClipAsk, rollout_bytes: impl Fn(&Init) -> u64) -> u64 {
        rollout_bytes(&ask.init) + ask.inputs_bytes()
    }
}

impl Clip for Script {
    fn step(&mut self, cancel: &Cancel, sink: &mut dyn FnMut(Frames)) -> Result<Step, WorldError> {
        cancel.check()?;
        let input = self.inputs.next().expect("a clip that is done is only dropped");
        let plan = self.rollout.plan();
        let (mut drawn, left) = (0, &mut self.frames);
        let step = self.spans.begin_step(plan.index);
        let began = Instant::now();
        // When the frames of each latent frame came, and when the work on the next went on.
        let mut given = Vec::new();
        let timings = self.rollout.generate(&input, cancel, &mut |mut frames| {
            let came = Instant::now();
            drawn += frames.count;
            cut(&mut frames, *left);
            *left -= frames.count;
            if frames.count > 0 {
                sink(frames);
            }
            given.push((came, Instant::now()));
        })?;
        if self.spans.is_on() {
            // The prompt comes first, then the transformer; what is left until the first frames is their decoding.
            let drawing = began + timings.text;
            self.spans.add("text", began, timings.text);
            self.spans.add("dit", drawing, timings.dit);
            let mut from = drawing + timings.dit;
            for (latent_frame, (came, went_on)) in plan.latent_range().zip(given) {
                self.spans.add(format!("vae_frame{latent_frame}"), from, came.saturating_duration_since(from));
                from = went_on;
            }
        }
        drop(step);
        if drawn != plan.pixel_frames {
            return Err(WorldError::Failed(format!("{drawn} frames were drawn for {plan:?}")));
        }
        Ok(if self.inputs.len() == 0 { Step::Done(timings) } else { Step::More(timings) })
    }

    fn progress(&self) -> Progress {
        Progress { done: self.chunks - self.inputs.len(), of: self.chunks }
    }
}

/// Keep the first `count` of these frames.
fn cut(frames: &mut Frames, count: usize) {
    if count < frames.count {
        frames.rgb.truncate(count * frames.size.frame_bytes() as usize);
        frames.count = count;
    }
}

#[cfg(test)]
mod tests;
