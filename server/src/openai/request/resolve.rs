//! From what was asked to what is drawn: a pure function of the request and the world's card.

use pipeline::world::{
    Card, ChunkInput, ChunkPlan, ClipAsk, ClipSettings, Controls, Held, Init, Knob, Picture, Refusal, Size,
};

use super::ask::Ask;
use super::invalid::{Invalid, quoted};
use super::script::Switch;
use super::values::{Quality, Route, Seeds, Task};
use crate::media::quantiser;

/// What the operator bounds or chooses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// The most video frames of a clip, where the world has no bound of its own.
    pub clip_frames: usize,
}

/// What is drawn: every value is decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The prompt that the video begins with.
    pub prompt: String,
    /// Width and height.
    pub size: Size,
    /// Video frames; 1 is a picture.
    pub frames: usize,
    /// Video frames a second of the file.
    pub fps: f64,
    /// One for each output, at least one.
    pub seeds: Vec<u64>,
    /// Values of the knobs that the world has.
    pub settings: ClipSettings,
    /// 1 to 100.
    pub quality: u8,
    /// Keys held in each latent frame, no more than the clip has.
    pub script: Option<Vec<Held>>,
    /// Prompts on the way, each within the clip.
    pub prompts: Vec<Switch>,
    /// Names that were given and are not used.
    pub ignored: Vec<String>,
}

/// As the reference's.
const SEED: u64 = 42;

/// Names in `ignored`, and bytes of one.
const IGNORED_MAX: usize = 32;
const IGNORED_BYTES_MAX: usize = 64;

impl Resolved {
    /// Decide every value of `ask`. `Err` names what this world draws.
    pub fn new(ask: Ask, card: &Card, rules: Rules) -> Result<Resolved, Invalid> {
        let mut ignored = ask.ignored.clone();
        let size = size(&ask, card)?;
        let fps = ask.fps.unwrap_or(f64::from(card.fps));
        let frames = frames(&ask, card, rules, fps)?;
        let is_picture = frames == 1;
        check_task(&ask, card, is_picture)?;
        if is_picture && ask.picture.is_none() && !card.clips.pictures {
            let message = format!("{} draws no picture from text alone", card.name);
            return Err(Invalid::unsupported("num_frames", message));
        }
        if is_picture && ask.picture.is_some() && !card.clips.steerable {
            let message = format!("input_reference: {} draws a single frame from text alone", card.name);
            return Err(Invalid::unsupported("input_reference", message));
        }
        let settings = settings(&ask, card, is_picture, fps, &mut ignored);
        let quality = match ask.quality {
            Some(Quality::Number(number)) => number,
            // The default of pictures, as the reference's.
            _ if is_picture => 75,
            _ => quantiser::default_quality(size),
        };
        let seeds = match ask.seeds {
            Some(Seeds::Each(seeds)) => seeds,
            one => {
                let first = if let Some(Seeds::From(seed)) = one { seed } else { SEED };
                (0..u64::from(ask.outputs)).map(|output| first.wrapping_add(output)).collect()
            }
        };
        let (mut script, mut prompts) = (ask.script, ask.prompts);
        if card.clips.steerable {
            let chunks = card.chunking().count_for(frames);
            let latent_frames = ChunkPlan::new(chunks - 1, card.chunking()).latent_range().end;
            if let Some(script) = script.as_mut().filter(|script| script.len() > latent_frames) {
                script.truncate(latent_frames);
                ignored.push(format!("camera_actions[{latent_frames}..]"));
            }
            let within = prompts.iter().take_while(|switch| switch.chunk < chunks).count();
            if within < prompts.len() {
                prompts.truncate(within);
                ignored.push(format!("prompts[{within}..]"));
            }
        }
        let prompt = ask.prompt;
        let mut resolved = Resolved { prompt, size, frames, fps, seeds, settings, quality, script, prompts, ignored };
        resolved.bound_ignored();
        Ok(resolved)
    }

    /// Cut `ignored` to what an answer may hold: the names are a client's own words.
    pub fn bound_ignored(&mut self) {
        self.ignored.truncate(IGNORED_MAX);
        for name in &mut self.ignored {
            name.truncate(name.floor_char_boundary(IGNORED_BYTES_MAX));
        }
    }

    /// What the world is asked for the output of this number.
    pub fn clip(&self, card: &Card, output: usize, first_frame: Option<Picture>) -> ClipAsk {
        let (sink, window) = card.choose_window(None, None).expect("a world's own window is a good one");
        let init = Init {
            prompt: self.prompt.clone(),
            first_frame,
            size: self.size,
            seed: self.seeds[output],
            sink,
            window,
            first_chunk: None,
            condition_frames: None,
        };
        let inputs = if card.clips.steerable { self.inputs(card) } else { Vec::new() };
        let mut clip = ClipAsk::new(init, self.frames, inputs);
        clip.settings = self.settings.clone();
        clip
    }

    fn inputs(&self, card: &Card) -> Vec<ChunkInput> {
        let input = |index| {
            let held = |script: &Vec<Held>| {
                let latent_frames = ChunkPlan::new(index, card.chunking()).latent_range();
                latent_frames.map(|frame| Controls::from(script.get(frame).copied().unwrap_or_default())).collect()
            };
            let switch = self.prompts.iter().find(|switch| switch.chunk == index);
            ChunkInput {
                prompt: switch.map(|switch| switch.prompt.clone()),
                recache: false,
                steps: None,
                controls: self.script.as_ref().map(held),
            }
        };
        (0..card.chunking().count_for(self.frames)).map(input).collect()
    }

    /// Whether it is a picture, and no video.
    pub fn is_picture(&self) -> bool {
        self.frames == 1
    }

    /// Bytes of all outputs before encoding.
    pub fn raw_bytes(&self) -> u64 {
        self.seeds.len() as u64 * self.frames as u64 * self.size.frame_bytes()
    }

    /// `seconds` of the answer: rounded, as text.
    pub fn seconds(&self) -> String {
        format!("{}", (self.frames as f64 / self.fps).round_ties_even())
    }
}

fn size(ask: &Ask, card: &Card) -> Result<Size, Invalid> {
    let usual = match ask.route {
        Route::Video => card.default_size,
        Route::Image => card.clips.picture_size,
    };
    let base = ask.size.unwrap_or(usual);
    let size = Size { width: ask.width.unwrap_or(base.width), height: ask.height.unwrap_or(base.height) };
    // Its reason names the size and what is drawn, but not the field.
    let refused = |refusal: Refusal| Invalid::value("size", format!("size: {}", refusal.reason));
    card.choose_clip_size(Some(size)).map_err(refused)
}

fn frames(ask: &Ask, card: &Card, rules: Rules, fps: f64) -> Result<usize, Invalid> {
    let (field, asked) = match ask.num_frames {
        _ if ask.route == Route::Image => return Ok(1),
        Some(frames) => ("num_frames", frames as usize),
        None if ask.seconds.is_none() && ask.task == Some(Task::TextToPicture) => return Ok(1),
        // A number past every bound saturates.
        None => ("seconds", (ask.seconds.unwrap_or(card.clips.seconds) * fps).round_ties_even() as usize),
    };
    if asked == 0 {
        return Err(Invalid::value(field, format!("{field}: too short for a frame at {fps} frames a second")));
    }
    let frames =
        card.clips.frames.frames(asked).map_err(|why| Invalid::value("num_frames", format!("num_frames: {why}")))?;
    let most = card.clips.frames_max.unwrap_or(rules.clip_frames);
    if frames > most {
        let message = format!("{field}: {frames} frames; {} draws at most {most}", quoted(&card.name));
        return Err(Invalid::value(field, message));
    }
    Ok(frames)
}

fn check_task(ask: &Ask, card: &Card, is_picture: bool) -> Result<(), Invalid> {
    let wrong = |why: String| Err(Invalid::value("task_type", format!("task_type: {why}")));
    let lacks = |what: &str| wrong(format!("{} has no {what}", card.name));
    let Some(task) = ask.task else { return Ok(()) };
    match task {
        Task::TextToPicture if !card.clips.pictures => lacks("pictures from text"),
        Task::TextToPicture if ask.picture.is_some() => {
            wrong("t2i starts from text alone, and a picture is given".into())
        }
        Task::TextToPicture if !is_picture => wrong("t2i is a picture: num_frames must be 1".into()),
        Task::TextToVideo if !card.clips.from_text => lacks("videos from text"),
        Task::TextToVideo if ask.picture.is_some() => {
            wrong("t2v starts from text alone, and a picture is given".into())
        }
        Task::PictureToVideo if !card.clips.from_picture => lacks("videos from a picture"),
        Task::PictureToVideo if ask.picture.is_none() => wrong("i2v starts from a picture, and none is given".into()),
        Task::TextToVideo | Task::PictureToVideo | Task::EitherToVideo if is_picture => {
            wrong("a video has more than one frame".into())
        }
        _ => Ok(()),
    }
}

/// The request's values of the knobs that the world has, else the mode's defaults. The others are ignored, never an error.
fn settings(ask: &Ask, card: &Card, is_picture: bool, fps: f64, ignored: &mut Vec<String>) -> ClipSettings {
    fn number<T: Copy>(asked: Option<T>, knob: Option<&Knob<T>>, picture: bool, unused: impl FnOnce()) -> Option<T> {
        match (asked, knob) {
            (Some(asked), Some(knob)) if knob.free => Some(asked),
            (asked, knob) => {
                if asked.is_some() {
                    unused();
                }
                knob.map(|knob| knob.usual.of(picture))
            }
        }
    }
    let knobs = &card.clips.knobs;
    let mut unused = |name: &str| ignored.push(name.to_owned());
    let steps = knobs.num_inference_steps.as_ref();
    let num_inference_steps = number(ask.num_inference_steps, steps, is_picture, || unused("num_inference_steps"));
    let scale = knobs.guidance_scale.as_ref();
    let guidance_scale = number(ask.guidance_scale, scale, is_picture, || unused("guidance_scale"));
    let guidance_interval = match knobs.guidance_interval {
        Some(usual) => ask.guidance_interval.or(usual.of(is_picture)),
        None => {
            if ask.guidance_interval.is_some() {
                unused("guidance_interval");
            }
            None
        }
    };
    let negative_prompt = match knobs.negative_prompt {
        true => Some(ask.negative_prompt.clone().unwrap_or_default()),
        false => {
            // An empty one asks for nothing: every client library sends it.
            if ask.negative_prompt.as_ref().is_some_and(|text| !text.is_empty()) {
                unused("negative_prompt");
            }
            None
        }
    };
    let flow_shift = number(ask.flow_shift, knobs.flow_shift.as_ref(), is_picture, || unused("flow_shift"));
    let length = knobs.max_sequence_length.as_ref();
    let max_sequence_length = number(ask.max_sequence_length, length, is_picture, || unused("max_sequence_length"));
    let mut flag = |name: &str, asked: Option<bool>, usual: Option<bool>| match usual {
        Some(usual) => Some(asked.unwrap_or(usual)),
        None => {
            if asked.is_some() {
                unused(name);
            }
            None
        }
    };
    ClipSettings {
        fps: Some(fps),
        num_inference_steps,
        guidance_scale,
        guidance_interval,
        negative_prompt,
        flow_shift,
        max_sequence_length,
        use_duration_template: flag("use_duration_template", ask.use_duration_template, knobs.use_duration_template),
        use_resolution_template: flag(
            "use_resolution_template",
            ask.use_resolution_template,
            knobs.use_resolution_template,
        ),
        use_system_prompt: flag("use_system_prompt", ask.use_system_prompt, knobs.use_system_prompt),
    }
}

#[cfg(test)]
mod tests;
