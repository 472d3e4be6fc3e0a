//! One clip in the making. A piece of its work is: reading both prompts; encoding the picture it starts from, if there is one;
//! a denoising step; decoding a latent frame.

use std::sync::Arc;
use std::time::Instant;

use ops::threads::among_workers;
use ops::{Device, FrameStack, Tensor, pixels};

use super::Nets;
use super::denoise::{Branches, Denoise, Guidance};
use super::mrope::Grid;
use super::pace::Piece;
use super::prompt::{PromptTokens, Scene, final_prompt, system_prompt};
use super::schedule::Schedule;
use crate::first_frame;
use crate::noise::Noise;
use crate::wan::vae::DecoderState;
use crate::world::{
    Cancel, Clip, ClipAsk, ClipSettings, FRAMES_PER_LATENT, Frames, Picture, Progress, Size, Spans, Step, Timings,
    WorldError,
};

/// Token numbers of both prompts of a clip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompts {
    /// Of the prompt.
    pub prompt: Vec<u32>,
    /// Of the negative prompt, where guidance can be on.
    pub negative: Option<Vec<u32>>,
}

/// All that a clip is made of, resolved: nothing is left to a default.
#[derive(Clone)]
pub struct Plan {
    /// Width and height.
    pub size: Size,
    /// Video frames: 1, or one more than a multiple of four.
    pub frames: usize,
    /// Video frames a second.
    pub fps: f64,
    /// Both prompts.
    pub prompts: Prompts,
    /// The noise levels.
    pub schedule: Schedule,
    /// How the negative prompt counts.
    pub guidance: Guidance,
    /// The picture that the clip starts from, of its size: one frame of three channels in [-1, 1].
    pub picture: Option<FrameStack>,
}

impl Plan {
    /// What `ask`, which was checked and whose settings are complete, comes to with these networks.
    pub(super) fn new(nets: &Nets, ask: ClipAsk) -> Result<Plan, WorldError> {
        let ClipAsk { init, frames, settings, spans, .. } = ask;
        let scene = Scene { size: init.size, frames, fps: fps(&settings) };
        let steps = settings.num_inference_steps.expect("settings are complete") as usize;
        let tokenize = spans.begin(|| "tokenize".into());
        let prompts = prompts(&nets.tokens, &init.prompt, &scene, &settings)?;
        drop(tokenize);
        Ok(Plan {
            size: init.size,
            frames,
            fps: scene.fps,
            prompts,
            schedule: Schedule::new(&nets.config.sampling, steps, settings.flow_shift.expect("settings are complete")),
            guidance: guidance(&settings),
            picture: init.first_frame.map(|picture| frame(picture, init.size, &nets.device)).transpose()?,
        })
    }
}

/// A picture as the encoder sees it, scaled to cover the clip.
fn frame(picture: Picture, size: Size, device: &Device) -> ops::Result<FrameStack> {
    let Picture { size, rgb } = first_frame::cover(picture, size);
    pixels::from_rgb8(&rgb, size.height as usize, size.width as usize, device)
}

/// Video frames a second. Settings are complete.
pub(super) fn fps(settings: &ClipSettings) -> f64 {
    settings.fps.expect("settings are complete")
}

fn guidance(settings: &ClipSettings) -> Guidance {
    Guidance { scale: settings.guidance_scale.expect("settings are complete"), interval: settings.guidance_interval }
}

/// Both prompts as token numbers.
pub(super) fn prompts(
    tokens: &PromptTokens,
    prompt: &str,
    scene: &Scene,
    settings: &ClipSettings,
) -> ops::Result<Prompts> {
    let longest = settings.max_sequence_length.expect("settings are complete") as usize;
    let system = (settings.use_system_prompt == Some(true)).then(|| system_prompt(scene));
    let text = final_prompt(prompt, scene, settings.use_duration_template == Some(true));
    let negative = guidance(settings).can_be_on().then(|| {
        let text = settings.negative_prompt.as_deref().unwrap_or_default();
        tokens.of(text, system, longest)
    });
    Ok(Prompts { prompt: tokens.of(&text, system, longest)?, negative: negative.transpose()? })
}

/// The pieces of a clip's work.
fn pieces(
    prompts: &Prompts,
    from_picture: bool,
    schedule: &Schedule,
    guidance: Guidance,
    grid: &Grid,
    size: Size,
) -> Vec<Piece> {
    let read = prompts.prompt.len() + prompts.negative.as_ref().map_or(0, Vec::len);
    let step = |timestep: f64| Piece::denoise(grid.tokens(), guidance.at(timestep) > 1.0);
    std::iter::once(Piece::read(read))
        .chain(from_picture.then(|| Piece::encode(size.pixels())))
        .chain((0..schedule.steps()).map(|at| step(schedule.timestep(at))))
        .chain((0..grid.frames).map(|latent_frame| Piece::decode(latent_frame, size.pixels())))
        .collect()
}

/// One clip in the making.
pub struct Cosmos3Clip {
    nets: Arc<Nets>,
    size: Size,
    grid: Grid,
    /// In their order.
    pieces: Vec<Piece>,
    /// The share of its time that is over after each of them.
    shares: Vec<f64>,
    done: usize,
    state: State,
    spans: Spans,
}

enum State {
    Reading(Beginning),
    Encoding(Beginning, Box<Branches>, FrameStack),
    Denoising(Box<Denoise>),
    Decoding { latent: Tensor, frame: usize, decoder: DecoderState },
    Over,
}

/// Steps until the solver remembers as much as it ever does: it looks back two.
const STEPS_REHEARSED: usize = 4;

/// Latent frames until the decoder carries as much as it ever does, and one more: convolutions look back two frames, and those that
/// double the time begin with the second.
const FRAMES_REHEARSED: usize = 5;

impl State {
    /// The latent is clean.
    fn decoding(denoise: &Denoise) -> State {
        State::Decoding { latent: denoise.latent().clone(), frame: 0, decoder: DecoderState::new() }
    }
}

/// What is used once the prompts are read.
struct Beginning {
    prompts: Prompts,
    schedule: Schedule,
    guidance: Guidance,
    noise: Noise,
    picture: Option<FrameStack>,
}

impl Cosmos3Clip {
    /// The clip of this plan, nothing of it drawn yet.
    pub(super) fn new(nets: &Arc<Nets>, plan: Plan, noise: Noise) -> Cosmos3Clip {
        let Plan { size, frames, fps, prompts, schedule, guidance, picture } = plan;
        let side = nets.config.vae.spatial_factor();
        let grid = Grid {
            frames: (frames - 1) / FRAMES_PER_LATENT + 1,
            height: size.height as usize / side,
            width: size.width as usize / side,
            fps: Some(fps),
            temporal_factor: FRAMES_PER_LATENT,
        };
        let pieces = pieces(&prompts, picture.is_some(), &schedule, guidance, &grid, size);
        let shares = nets.times.lock().expect("nothing panics under this lock").shares(&pieces);
        let state = State::Reading(Beginning { prompts, schedule, guidance, noise, picture });
        Cosmos3Clip { nets: nets.clone(), size, grid, pieces, shares, done: 0, state, spans: Spans::default() }
    }

    /// Draw a clip of this plan with nothing computed ([`ops::Device::rehearse`]), so that no piece of it asks a GPU's driver for memory.
    /// On a processor nothing is done. An error where there is no memory for it: the clip is refused before it is drawn.
    pub(super) fn rehearse(nets: &Arc<Nets>, plan: &Plan) -> Result<(), WorldError> {
        // With guidance at each step, where it may be on at a later one alone.
        let plan = Plan { guidance: Guidance { interval: None, ..plan.guidance }, ..plan.clone() };
        nets.transformer.team().rehearse(&nets.device, || {
            let mut clip = Cosmos3Clip::new(nets, plan.clone(), Noise::silent(&nets.device));
            loop {
                clip.state = match std::mem::replace(&mut clip.state, State::Over) {
                    State::Denoising(denoise) if denoise.done() >= STEPS_REHEARSED => State::decoding(&denoise),
                    State::Decoding { frame, .. } if frame == clip.grid.frames.min(FRAMES_REHEARSED) => return Ok(()),
                    state => state,
                };
                clip.advance(&Cancel::default(), &mut |_| {})?;
            }
        })
    }

    /// The same clip; what its parts take goes to `spans`.
    pub(super) fn profiled(self, spans: Spans) -> Cosmos3Clip {
        Cosmos3Clip { spans, ..self }
    }

    /// The latent so far, `(C, F, h, w)`, normalised: after the last denoising step the clean one. `None` before the first.
    pub fn latent(&self) -> Option<&Tensor> {
        match &self.state {
            State::Denoising(denoise) => Some(denoise.latent()),
            State::Decoding { latent, .. } => Some(latent),
            _ => None,
        }
    }

    /// Bytes that it holds between two pieces.
    pub fn bytes(&self) -> u64 {
        match &self.state {
            State::Reading(Beginning { picture, .. }) => picture.as_ref().map_or(0, FrameStack::bytes),
            State::Encoding(_, branches, picture) => branches.bytes() + picture.bytes(),
            State::Denoising(denoise) => denoise.bytes(),
            State::Decoding { latent, decoder, .. } => latent.bytes() + decoder.bytes(),
            State::Over => 0,
        }
    }

    fn read(&self, begin: &Beginning, cancel: &Cancel) -> Result<Branches, WorldError> {
        self.nets.transformer.team().lead(|| {
            let read = |tokens: &Vec<u32>, name: &str| {
                let _span = self.spans.begin(|| name.to_owned());
                self.nets.transformer.read(tokens, &self.grid, cancel)
            };
            let negative = begin.prompts.negative.as_ref().map(|tokens| read(tokens, "und_uncond")).transpose()?;
            let branches = Branches { prompt: read(&begin.prompts.prompt, "und_cond")?, negative };
            self.nets.device.wait()?;
            Ok(branches)
        })
    }

    fn denoise(&self, begin: Beginning, branches: Branches, given: Option<Tensor>) -> Result<State, WorldError> {
        let Beginning { schedule, guidance, noise, .. } = begin;
        let Grid { frames, height, width, .. } = self.grid;
        let shape = [self.nets.config.transformer.latent_channels, frames, height, width];
        Ok(State::Denoising(Box::new(
            Denoise::new(schedule, shape, noise, guidance, branches, given)?.profiled(self.spans.clone()),
        )))
    }

    /// The next piece. Every piece is waited for, also where a GPU computes: sessions come between two of them.
    fn advance(&mut self, cancel: &Cancel, sink: &mut dyn FnMut(Frames)) -> Result<Timings, WorldError> {
        let spans = self.spans.clone();
        let began = Instant::now();
        let mut timings = Timings::default();
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Reading(mut begin) => {
                let branches = self.read(&begin, cancel)?;
                timings.text = began.elapsed();
                match begin.picture.take() {
                    Some(picture) => State::Encoding(begin, Box::new(branches), picture),
                    None => self.denoise(begin, branches, None)?,
                }
            }
            State::Encoding(begin, branches, picture) => {
                // `(C, 1, h, w)`, normalised: the first latent frame of a clip is that of its first frame.
                let _span = spans.begin(|| "encode".into());
                let given = among_workers(|| self.nets.vae.encode(picture, 1))?;
                self.nets.device.wait()?;
                timings.vae = began.elapsed();
                self.denoise(begin, *branches, Some(given))?
            }
            State::Denoising(mut denoise) => {
                let step = spans.begin_step(denoise.done());
                denoise.step(&self.nets.transformer, cancel)?;
                drop(step);
                timings.dit = began.elapsed();
                match denoise.done() == denoise.steps() {
                    true => State::decoding(&denoise),
                    false => State::Denoising(denoise),
                }
            }
            State::Decoding { latent, frame, mut decoder } => {
                let span = spans.begin(|| format!("vae_frame{frame}"));
                let one = latent.narrow(1, frame, 1)?;
                let (team, vae) = (self.nets.transformer.team(), &self.nets.vae);
                let video = team.lead(|| vae.decode_over(team, &one, &mut decoder))?;
                let frames = Frames { size: self.size, count: video.len(), rgb: pixels::to_rgb8(&video)? };
                drop(span);
                timings.vae = began.elapsed();
                sink(frames);
                State::Decoding { latent, frame: frame + 1, decoder }
            }
            State::Over => panic!("a clip that is done, or has failed, is only dropped"),
        };
        Ok(timings)
    }
}

impl Clip for Cosmos3Clip {
    fn step(&mut self, cancel: &Cancel, sink: &mut dyn FnMut(Frames)) -> Result<Step, WorldError> {
        cancel.check()?;
        let began = Instant::now();
        let timings = self.advance(cancel, sink)?;
        let mut times = self.nets.times.lock().expect("nothing panics under this lock");
        times.took(self.pieces[self.done], began.elapsed());
        drop(times);
        self.done += 1;
        if self.done < self.pieces.len() {
            return Ok(Step::More(timings));
        }
        self.state = State::Over;
        Ok(Step::Done(timings))
    }

    fn progress(&self) -> Progress {
        Progress { done: self.done, of: self.pieces.len() }
    }

    fn share(&self) -> f64 {
        self.done.checked_sub(1).map_or(0.0, |last| self.shares[last])
    }
}
