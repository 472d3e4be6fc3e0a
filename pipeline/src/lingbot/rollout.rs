//! One video in the making: a chunk at a time out of noise, a latent frame at a time into pixels.

mod packed;
mod pictures;
mod progress;
mod rehearsal;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use kvcache::{RollingKvCache, Window};
use ops::{Moment, Tensor};

use self::pictures::DECODED_AHEAD;
pub(super) use self::progress::Progress;
use super::camera::CameraPath;
use super::context::TeamContext;
use super::dit::ChunkConditions;
use super::memory::{Memory, Remembered};
use super::motion_window::MotionWindow;
use super::nets::Nets;
use super::past::{Past, PastChunk};
use crate::first_frame;
use crate::noise::Noise;
use crate::packed::Whose;
use crate::wan::vae::DecoderState;
use crate::world::{
    Cancel, Card, ChunkInput, ChunkPlan, Chunking, Controls, Frames, Init, Refusal, Rollout, Size, State, Timings,
    WorldError,
};

/// One video in the making.
pub struct LingBotRollout {
    nets: Arc<Nets>,
    size: Size,
    chunking: Chunking,
    /// Mask and condition latents, cut into pieces of a chunk: `(20, pieces·F, h, w)`. The last piece serves for ever.
    fixed: Tensor,
    /// Says of its bytes whose state they are.
    whose: Whose,
    seed: u64,
    now: Progress,
    /// Prompts that were read and that no chunk has accounted for yet: from when to when.
    text_times: Vec<(Moment, Moment)>,
}

/// A chunk's latent, which a GPU may still compute.
struct Sampled {
    /// `(16, F, h, w)`, normalised.
    latent: Tensor,
    /// Before its first pass, and behind its last one.
    times: (Moment, Moment),
}

/// What a chunk was drawn to. Its keys, values and pictures follow from that in one pass and one decoding.
struct LastDrawn {
    /// `(16, F, h, w)`, normalised.
    clean: Tensor,
    /// The noise of the chunk after it.
    noise: Noise,
}

impl LingBotRollout {
    /// A rollout that begins with `init`.
    pub(super) fn open(nets: &Arc<Nets>, card: &Card, init: Init, noise: Noise) -> Result<LingBotRollout, WorldError> {
        let text = nets.in_own_words(&init.prompt).or_else(|| {
            let reading = card.read_prompt(&init.prompt);
            card.begins_instead(&reading, init.first_frame.is_some()).and_then(|preset| nets.in_own_words(preset))
        });
        LingBotRollout::begin(nets, card, init, noise, text.unwrap_or_default())
    }

    /// `text`: the prompt in the world's own words.
    fn begin(
        nets: &Arc<Nets>,
        card: &Card,
        init: Init,
        noise: Noise,
        text: String,
    ) -> Result<LingBotRollout, WorldError> {
        let recipe = &nets.config.recipe;
        let refuse = |field, reason: String| WorldError::Refused(Refusal { field, reason });
        if init.first_frame.is_none() && !recipe.text_start {
            return Err(refuse("first_frame", "this world starts from a picture; none was given".into()));
        }
        let chunking = init.chunking(card);
        let window = Window::new(recipe.stored_frames(init.sink, init.window), init.sink, chunking.later)
            .and_then(|window| window.starting_with(chunking.first))
            .map_err(|error| refuse("realtime_causal_kv_cache_num_frames", error.to_string()))?;

        let (ranks, tokens) = (nets.denoiser.team().ranks(), nets.tokens(init.size));
        if tokens < ranks {
            let reason = format!("{ranks} ranks cannot share the {tokens} tokens of a latent frame at {}", init.size);
            return Err(refuse("size", reason));
        }
        let history = |_| RollingKvCache::new(window.clone(), nets.remembered(init.size));

        let (whose, seed) = (Whose::of(nets.origin.clone(), card, &init), init.seed);
        let before_text = nets.device.moment()?;
        let prompts = nets.read_prompt(&text)?;
        let text_times = vec![(before_text, nets.device.moment()?)];

        let frames = recipe.choose_condition_frames(init.condition_frames, chunking.first);
        let fixed = match init.first_frame {
            Some(picture) => nets.condition_on(&first_frame::fit(picture, init.size), frames, chunking)?,
            None => nets.condition_on_nothing(init.size, chunking)?,
        };

        let rollout = LingBotRollout {
            size: init.size,
            chunking,
            fixed,
            whose,
            seed,
            now: Progress {
                chunks: 0,
                prompts,
                text: text.into(),
                histories: (0..ranks).map(history).collect(),
                past: Past::default(),
                camera: CameraPath::new(&recipe.camera, init.size, &nets.device),
                motion: recipe.motion.map(MotionWindow::new),
                noise,
                decoder: DecoderState::new(),
                memory: recipe.memory.map(|config| Memory::new(config, init.size)),
            },
            text_times,
            nets: nets.clone(),
        };
        rollout.rehearse()?;
        Ok(rollout)
    }

    /// The next chunk's clean latent, `(16, F, h, w)`, normalised. Waits for it.
    pub fn chunk_latents(&mut self, input: &ChunkInput, cancel: &Cancel) -> Result<(Tensor, Timings), WorldError> {
        let index = self.plan().index;
        let Sampled { latent, times: (began, ended) } = self.sample_over_team(input, None, cancel)?;
        self.must_be_finite(index, latent.is_finite()?)?;
        Ok((latent, Timings { text: self.take_text_time()?, dit: began.until(&ended)?, vae: Duration::ZERO }))
    }

    fn must_be_finite(&self, index: usize, is_finite: bool) -> Result<(), WorldError> {
        match is_finite {
            true => Ok(()),
            false => Err(WorldError::Failed(format!("chunk {index} holds values that are not finite"))),
        }
    }

    fn take_text_time(&mut self) -> ops::Result<Duration> {
        self.text_times.drain(..).map(|(began, ended)| began.until(&ended)).sum()
    }

    fn sample_over_team(
        &mut self,
        input: &ChunkInput,
        known: Option<&LastDrawn>,
        cancel: &Cancel,
    ) -> Result<Sampled, WorldError> {
        let nets = self.nets.clone();
        let before = self.now.before();
        let texts = self.text_times.len();
        let sampled = nets.denoiser.team().lead(|| self.sample(input, known, cancel));
        if let Err(WorldError::Cancelled | WorldError::GivenUp) = sampled {
            self.now.put_back(before);
            self.text_times.truncate(texts);
        }
        sampled
    }

    /// Ask for the next chunk's latent. A GPU has not computed it when this returns. `known`: what the chunk was drawn to once
    /// before; then it is remembered and not denoised.
    fn sample(
        &mut self,
        input: &ChunkInput,
        known: Option<&LastDrawn>,
        cancel: &Cancel,
    ) -> Result<Sampled, WorldError> {
        let plan = self.plan();
        // A prompt of unknown words alone changes nothing: the video goes on as it was.
        if let Some(prompt) = &input.prompt
            && let Some(text) = self.nets.in_own_words(prompt)
        {
            let began = self.nets.device.moment()?;
            // Of another world nothing was seen.
            if let Some(memory) = self.now.memory.as_mut().filter(|_| *text != *self.now.text) {
                memory.forget();
            }
            (self.now.prompts, self.now.text) = (self.nets.read_prompt(&text)?, text.into());
            self.text_times.push((began, self.nets.device.moment()?));
        }
        let began = self.nets.device.moment()?;
        input.check(&plan)?;
        let most = self.nets.denoiser.steps_max();
        if let Some(steps) = input.steps.filter(|steps| !(1..=most).contains(steps)) {
            return Err(WorldError::Failed(format!("a chunk in {steps} steps: this world draws one in 1 to {most}")));
        }
        if input.recache {
            self.remember_again(cancel)?;
        }

        let controls = input.controls.as_deref();
        let steering = self.nets.config.recipe.camera.steering();
        if let Some(Err(what)) =
            controls.into_iter().flatten().map(|controls| steering.check(controls)).find(Result::is_err)
        {
            return Err(WorldError::Failed(format!("this world does not follow {what}")));
        }
        let steered = controls.map(|controls| (self.now.camera.clone(), controls.to_vec()));
        let remembered = self.recall(&plan, controls)?;
        let rays = controls.map(|controls| self.now.camera.advance(controls)).transpose()?;
        let (_, _, height, width) = self.fixed.dims4()?;
        let piece = self.piece(&plan)?;
        let recent = self.now.motion.as_mut().and_then(|motion| motion.recent(controls));
        let fixed = self.fixed.narrow(1, piece.start, piece.len())?;
        let conditions = self.nets.denoiser.conditions(ChunkConditions {
            first_latent_frame: plan.first_latent_frame,
            fixed: &remembered.map_or(Ok(fixed.clone()), |remembered| remembered.told(&fixed))?,
            camera: rays.as_ref(),
            recent,
        })?;
        let Progress { prompts, histories, noise, .. } = &mut self.now;
        let mut context = TeamContext { conditions: &conditions, prompts, histories };
        let shape = [self.nets.config.transformer.out_channels, plan.latent_frames, height, width];
        let latent = match known {
            None => self.nets.denoiser.sample((shape, input.steps), noise, &mut context, cancel)?,
            Some(LastDrawn { clean, noise: noise_after }) => {
                cancel.check()?;
                self.nets.denoiser.remember(clean, &mut context)?;
                *noise = noise_after.clone();
                clean.clone()
            }
        };
        let (first_latent_frame, clean) = (plan.first_latent_frame, latent.clone());
        let drawn = PastChunk { first_latent_frame, clean, camera: steered, piece, recent };
        self.now.past.keep(drawn, &self.now.window().held().collect::<Vec<_>>());
        self.now.chunks += 1;
        Ok(Sampled { latent, times: (began, self.nets.device.moment()?) })
    }

    /// What is remembered of the views of the next chunk, which `controls` steer; notes the views, so that its pictures can be
    /// remembered too. Without controls there is no camera, and nothing is.
    fn recall(&mut self, plan: &ChunkPlan, controls: Option<&[Controls]>) -> Result<Option<Remembered>, WorldError> {
        let Some(memory) = &mut self.now.memory else { return Ok(None) };
        let views = controls.map(|controls| self.now.camera.views(controls)).unwrap_or_default();
        let frames = plan.latent_range();
        let shown = memory.look(&frames, &views, self.now.histories[0].window().total());
        memory.drew(&frames, &views);
        Ok(shown.map(|shown| memory.encode(&self.nets.vae, &shown, &self.nets.device)).transpose()?)
    }

    /// A pass of the transformer over the next chunk, as often as it is called: nothing of it is kept.
    pub(super) fn pass(
        mut self,
        input: &ChunkInput,
    ) -> Result<impl FnMut() -> Result<(), WorldError> + use<>, WorldError> {
        let plan = self.plan();
        let rays = input.controls.as_deref().map(|controls| self.now.camera.advance(controls)).transpose()?;
        let piece = self.piece(&plan)?;
        let (_, _, height, width) = self.fixed.dims4()?;
        let conditions = self.nets.denoiser.conditions(ChunkConditions {
            first_latent_frame: plan.first_latent_frame,
            fixed: &self.fixed.narrow(1, piece.start, piece.len())?,
            camera: rays.as_ref(),
            recent: None,
        })?;
        let channels = self.nets.config.transformer.out_channels;
        let x = self.now.noise.draw(&[channels, plan.latent_frames, height, width])?;
        Ok(move || {
            let LingBotRollout { nets, now: Progress { prompts, histories, .. }, .. } = &mut self;
            let mut context = TeamContext { conditions: &conditions, prompts, histories };
            let denoiser = &nets.denoiser;
            denoiser.team().lead(|| denoiser.pass(&x, 0, &mut context))?;
            Ok(nets.device.wait()?)
        })
    }

    /// The image condition's latent frames for a chunk: its own while there are some, then the last whole piece.
    fn piece(&self, plan: &ChunkPlan) -> Result<Range<usize>, WorldError> {
        let Chunking { first, later } = self.chunking;
        let last = (self.fixed.dim(1)? - first) / later;
        Ok(ChunkPlan::new(plan.index.min(last), self.chunking).latent_range())
    }

    /// Make the keys and values of every frame that is held again, under the prompt of now: one pass for each of its
    /// chunks. Pictures that were remembered when one was drawn do not steer it again.
    fn remember_again(&mut self, cancel: &Cancel) -> Result<(), WorldError> {
        let denoiser = &self.nets.denoiser;
        let held: Vec<_> = self.now.window().held().collect();
        for (chunk, places) in self.now.past.parts(&held) {
            cancel.check_unkept()?;
            let first_latent_frame = chunk.first_latent_frame + places.start;
            let rays = chunk.rays(&places)?;
            let conditions = denoiser.conditions(ChunkConditions {
                first_latent_frame,
                fixed: &self.fixed.narrow(1, chunk.piece.start + places.start, places.len())?,
                camera: rays.as_ref(),
                recent: chunk.recent,
            })?;
            for history in &mut self.now.histories {
                history.stage_again(first_latent_frame..first_latent_frame + places.len());
            }
            let (prompts, histories) = (&self.now.prompts, &mut self.now.histories);
            let mut context = TeamContext { conditions: &conditions, prompts, histories };
            denoiser.remember(&chunk.clean.narrow(1, places.start, places.len())?, &mut context)?;
        }
        Ok(())
    }
}

impl Rollout for LingBotRollout {
    fn plan(&self) -> ChunkPlan {
        ChunkPlan::new(self.now.chunks, self.chunking)
    }

    fn generate(
        &mut self,
        input: &ChunkInput,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Frames),
    ) -> Result<Timings, WorldError> {
        let index = self.plan().index;
        let Sampled { latent, times: (began, ended) } = self.sample_over_team(input, None, cancel)?;
        let mut timings = Timings::default();
        // A GPU is asked for the whole chunk before anything is waited for: the first thing is the first latent frame's pixels.
        let mut finite = Some(latent.begin_is_finite()?);
        let mut decoded = VecDeque::new();
        for frame in 0..latent.dim(1)? {
            cancel.check()?;
            if let Some(here) = finite.take_if(|finite| finite.is_here()) {
                self.must_be_finite(index, here.wait()?)?;
            }
            decoded.push_back(self.begin_decode(&latent.narrow(1, frame, 1)?)?);
            while decoded.front().is_some_and(|first| first.rgb.is_here()) || decoded.len() > DECODED_AHEAD {
                self.give(decoded.pop_front().expect("there is one"), index, &mut finite, &mut timings, sink)?;
            }
        }
        for last in decoded {
            self.give(last, index, &mut finite, &mut timings, sink)?;
        }
        timings.text = self.take_text_time()?;
        timings.dit = began.until(&ended)?;
        Ok(timings)
    }

    fn last_drawn(&self) -> Option<State> {
        let clean = self.now.past.newest()?.clone();
        Some(State::new(LastDrawn { clean, noise: self.now.noise.clone() }))
    }

    /// The decoder carries frames from each latent frame to the next ones, so every latent frame is decoded; no picture
    /// is made of it.
    fn draw_again(
        &mut self,
        input: &ChunkInput,
        drawn: Option<&State>,
        cancel: &Cancel,
    ) -> Result<Timings, WorldError> {
        let known = drawn.map(State::get::<LastDrawn>).transpose()?;
        let index = self.plan().index;
        let Sampled { latent, times: (began, ended) } = self.sample_over_team(input, known, cancel)?;
        self.must_be_finite(index, latent.is_finite()?)?;
        let decoding = self.nets.device.moment()?;
        for frame in 0..latent.dim(1)? {
            cancel.check()?;
            self.decode_unseen(&latent.narrow(1, frame, 1)?)?;
        }
        let decoded = self.nets.device.moment()?;
        Ok(Timings { text: self.take_text_time()?, dit: began.until(&ended)?, vae: decoding.until(&decoded)? })
    }

    fn save(&self) -> Result<State, WorldError> {
        Ok(State::new(self.now.copy()?))
    }

    fn pack(&self) -> Result<Vec<u8>, WorldError> {
        self.packed()
    }

    fn restore(&mut self, state: &State) -> Result<(), WorldError> {
        self.now = state.get::<Progress>()?.copy()?;
        self.text_times.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
