//! A client's `init`. All of it is checked here before anything is opened: the reference finds most mistakes only in
//! the first chunk. What depends on the world is checked against its card, in a second step: while the world loads
//! there is none.

use std::time::Duration;

use bytes::Bytes;
use pipeline::world::{
    CONDITION_FRAMES_MAX, Card, FRAMES_PER_LATENT, Held, Init, Picture, Refusal, Size, WINDOW_FRAMES_MAX,
};
use rmpv::ValueRef;
use serde::{Deserialize, Serialize};

use super::control::Transport;
use super::features::Features;
use super::fields::{Fields, as_str, check_prompt, refuse};
pub use super::first_frame::FirstFrame;
use super::first_frame::first_frame;
use super::from_recording::FromRecording;
use super::{event, steering};
use crate::engine::turns::event::Lens;
use crate::media::pictures::Encoding;

/// Video frames a second that a client may ask for.
pub const FPS_MAX: u32 = 240;

/// An `init` whose fields are all well formed. What depends on the world is not decided yet: it may still be loading.
#[derive(Debug)]
pub struct InitRequest {
    prompt: String,
    model: Option<String>,
    size: Option<Size>,
    seed: u64,
    sink: Option<usize>,
    window: Option<usize>,
    first_chunk: Option<usize>,
    condition_frames: Option<usize>,
    first_frame: Option<FirstFrame>,
    /// Its picture is elsewhere, and decoded.
    has_picture: bool,
    script: Option<Vec<Held>>,
    transport: Transport,
    lens: Option<Lens>,
    recording: Option<FromRecording>,
    record: Option<bool>,
    fps: Option<u32>,
    paced: bool,
    max_chunks: Option<u64>,
    guardrails: Option<bool>,
    features: Features,
}

/// A checked `init`, but for the picture: decoding that takes time, so it is done elsewhere.
#[derive(Debug)]
pub struct Opening {
    prompt: String,
    /// The model's name, as the client gave it.
    pub model: Option<String>,
    size: Size,
    seed: u64,
    sink: usize,
    window: usize,
    first_chunk: Option<usize>,
    condition_frames: Option<usize>,
    /// The encoded first frame, or its URL.
    pub first_frame: Option<FirstFrame>,
    /// The controls of the first latent frames, one by one.
    pub script: Option<Vec<Held>>,
    /// The lens from the first latent frame on; `None`: the world's own.
    pub lens: Option<Lens>,
    /// How frames go to the client.
    pub encoding: Encoding,
    /// What that was made of, for a video of another size.
    pub transport: Transport,
    /// How many chunks the session gets, and when.
    pub terms: Terms,
    /// Whether prompts are to be checked, if the client said so.
    pub guardrails: Option<bool>,
    /// Features that the client understands.
    pub features: Features,
    /// Whether the client wishes to be recorded, if it said so.
    pub record: Option<bool>,
}

/// How many chunks a session gets, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Video frames per second.
    pub fps: u32,
    /// Hold a chunk back until the one before it has been shown at `fps`.
    pub paced: bool,
    /// Chunks in all. `None`: no limit.
    pub max_chunks: Option<u64>,
}

impl Terms {
    /// How often a paced session needs a chunk; `None` for a free one.
    pub fn chunk_period(&self, card: &Card) -> Option<Duration> {
        let frames = card.chunk * FRAMES_PER_LATENT;
        self.paced.then(|| Duration::from_secs_f64(frames as f64 / f64::from(self.fps)))
    }
}

impl InitRequest {
    /// Features that the client understands.
    pub fn features(&self) -> Features {
        self.features
    }

    /// All fields but `type` and `api_key`. `fields` are those of `message`, of which a picture keeps its part.
    pub(crate) fn read(fields: &mut Fields<'_>, message: &Bytes) -> Result<InitRequest, Refusal> {
        let features = Features::take(fields)?;
        let recording = if features.recording { FromRecording::read(fields, message)? } else { None };
        let prompt = match fields.text("prompt")? {
            None if recording.is_some() => "",
            said => said.ok_or_else(|| refuse("prompt", "is missing"))?,
        };
        check_prompt(prompt)?;

        let size = fields.text("size")?.map(|text| text.parse().map_err(|reason: String| refuse("size", reason)));
        let frames = |number: u32| number as usize;
        let window_frames_max = WINDOW_FRAMES_MAX as u32;
        let request = InitRequest {
            prompt: prompt.to_owned(),
            size: size.transpose()?,
            sink: fields.integer_in("realtime_causal_sink_size", 0..=window_frames_max)?.map(frames),
            window: fields.integer_in("realtime_causal_kv_cache_num_frames", 1..=window_frames_max)?.map(frames),
            first_chunk: fields.integer_in("realtime_first_chunk_num_frames", 1..=window_frames_max)?.map(frames),
            // Clients send zero for "not set".
            condition_frames: fields
                .integer_in("num_frames", 0..=CONDITION_FRAMES_MAX as u32)?
                .map(frames)
                .filter(|&frames| frames > 0),
            fps: fields.integer_in("fps", 1..=FPS_MAX)?,
            max_chunks: fields.integer_in("max_chunks", 1..=u64::MAX)?,
            paced: fields.flag("realtime_output_pacing")?,
            model: fields.take("model").and_then(|model| as_str(&model).map(str::to_owned)),
            seed: fields.integer_in("seed", 0..=u64::MAX)?.unwrap_or(SEED),
            first_frame: fields.take("first_frame").map(|value| first_frame(value, message)).transpose()?,
            has_picture: false,
            script: script(fields)?,
            transport: Transport::read(fields)?,
            recording,
            record: if features.recording { fields.flag_if_said("record")? } else { None },
            guardrails: match fields.flag_if_said("use_guardrails")? {
                None => fields.flag_if_said("guardrails")?,
                said => said,
            },
            lens: steering::first_lens(fields, &features)?,
            features,
        };
        refuse_what_is_not_done(fields)?;
        if request.paced && request.features.step {
            let reason = "must be false with the feature step: a chunk is drawn when its step comes, and sent at once";
            return Err(refuse("realtime_output_pacing", reason));
        }
        Ok(request)
    }

    /// The recording that it begins with, if there is one; taken out.
    pub fn take_recording(&mut self) -> Option<FromRecording> {
        self.recording.take()
    }

    /// Ask for the video that begins like this one. Its picture is not asked for: a recording has it, decoded.
    pub fn begins_like(&mut self, init: &Init) {
        self.prompt.clone_from(&init.prompt);
        (self.size, self.seed) = (Some(init.size), init.seed);
        (self.sink, self.window) = (Some(init.sink), Some(init.window));
        (self.first_chunk, self.condition_frames) = (init.first_chunk, init.condition_frames);
        self.has_picture = init.first_frame.is_some();
    }

    /// Ask without the picture that will come later.
    pub fn has_its_picture_elsewhere(&mut self) {
        self.has_picture = true;
    }

    /// Check the rest against the world's card.
    pub fn check(self, card: &Card) -> Result<Opening, Refusal> {
        let size = card.choose_size(self.size)?;
        let features = steering::limit(self.features, &card.steering);
        if self.lens.is_some() {
            // Whether the world follows it is known only now.
            features.intrinsics.open("intrinsics", ValueRef::Nil)?;
        }
        let (sink, window) = card.choose_window(self.sink, self.window)?;
        let first_chunk = card.choose_first_chunk(self.first_chunk, window)?;
        let encoding = self.transport.of(size)?;
        if card.needs_first_frame && self.first_frame.is_none() && !self.has_picture {
            return Err(refuse("first_frame", format!("is missing: {} starts from a picture", card.name)));
        }
        Ok(Opening {
            prompt: self.prompt,
            model: self.model,
            size,
            seed: self.seed,
            sink,
            window,
            first_chunk,
            condition_frames: self.condition_frames,
            first_frame: self.first_frame,
            script: self.script,
            lens: self.lens,
            encoding,
            transport: self.transport,
            terms: Terms { fps: self.fps.unwrap_or(card.fps), paced: self.paced, max_chunks: self.max_chunks },
            guardrails: self.guardrails,
            features,
            record: self.record,
        })
    }
}

impl Opening {
    /// The world's part of the request.
    pub fn init(&self, first_frame: Option<Picture>) -> Init {
        Init {
            prompt: self.prompt.clone(),
            first_frame,
            size: self.size,
            seed: self.seed,
            sink: self.sink,
            window: self.window,
            first_chunk: self.first_chunk,
            condition_frames: self.condition_frames,
        }
    }

    /// What the world is to look like.
    pub fn prompt(&self) -> &str {
        &self.prompt
    }

    /// Width and height of the video as it is drawn.
    pub fn size(&self) -> Size {
        self.size
    }
}

/// As the reference's.
const SEED: u64 = 42;

fn script(fields: &mut Fields<'_>) -> Result<Option<Vec<Held>>, Refusal> {
    let Some(inputs) = fields.take("condition_inputs") else { return Ok(None) };
    let mut inputs = Fields::from_value("condition_inputs", inputs)?;
    let Some(actions) = inputs.take("camera_actions") else { return Ok(None) };
    event::script("camera_actions", actions).map(Some)
}

/// Modes that do not exist here. Ignoring these keys would promise them. Other unknown keys are ignored, as in the
/// reference.
fn refuse_what_is_not_done(fields: &mut Fields<'_>) -> Result<(), Refusal> {
    for name in ["enable_upscaling", "enable_frame_interpolation", "enhance_prompt"] {
        if fields.flag(name)? {
            return Err(refuse(name, "is not offered by this server: leave it out, or send false"));
        }
    }
    for name in ["upscaling_model_path", "frame_interpolation_model_path"] {
        if fields.text(name)?.is_some_and(|path| path.contains("://")) {
            return Err(refuse(name, "must be a local path or a HuggingFace repo id, not a URL"));
        }
    }
    // It has no effect on a distilled model, but an invalid value is still an error.
    fields.integer("num_inference_steps")?;
    for name in ["guidance_scale", "guidance_scale_2"] {
        if fields.number(name)?.is_some_and(|scale| scale < 0.0) {
            return Err(refuse(name, "must not be negative"));
        }
    }
    fields.text("negative_prompt")?;
    Ok(())
}

#[cfg(test)]
mod tests;
