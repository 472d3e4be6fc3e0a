//! What a client asks for: the fields of a request under their types, before the world's defaults.

use bytes::Bytes;
use pipeline::world::{Card, Held, PROMPT_BYTES_MAX, Size};
use serde_json::Value;

use super::Body;
use super::fields::{Fields, is_blank, kind};
use super::form::FilePart;
use super::invalid::Invalid;
use super::refuse;
use super::script::{self, Switch};
use super::values::{self, PictureAnswer, Quality, Route, Seeds, Task};
use crate::observe::profile::Profiled;

/// Video frames a second that a client may ask for.
pub const FPS_MAX: f64 = 240.0;

/// The longest side in pixels that can be asked for at all; the world's bound is below.
const SIDE_MAX: u32 = 1 << 16;

/// The most video frames that can be asked for at all; the world's bound is below.
const FRAMES_MAX: u32 = 1 << 20;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Which route it came by.
    pub route: Route,
    /// May be empty in JSON.
    pub prompt: String,
    /// What the video should not show.
    pub negative_prompt: Option<String>,
    /// `WxH`.
    pub size: Option<Size>,
    /// Wins over the size's.
    pub width: Option<u32>,
    /// Wins over the size's.
    pub height: Option<u32>,
    /// Used only where frames are not said.
    pub seconds: Option<f64>,
    /// Frames a second.
    pub fps: Option<f64>,
    /// Video frames.
    pub num_frames: Option<u32>,
    /// 1 to [`values::OUTPUTS_MAX`].
    pub outputs: u32,
    /// One, or one for each output.
    pub seeds: Option<Seeds>,
    /// See the card's knobs.
    pub num_inference_steps: Option<u32>,
    /// See the card's knobs.
    pub guidance_scale: Option<f64>,
    /// See the card's knobs.
    pub guidance_interval: Option<[f64; 2]>,
    /// See the card's knobs.
    pub flow_shift: Option<f64>,
    /// See the card's knobs.
    pub max_sequence_length: Option<u32>,
    /// See the card's knobs.
    pub use_duration_template: Option<bool>,
    /// See the card's knobs.
    pub use_resolution_template: Option<bool>,
    /// See the card's knobs.
    pub use_system_prompt: Option<bool>,
    /// The picture to start from.
    pub picture: Option<Source>,
    /// What the client thinks it asks for.
    pub task: Option<Task>,
    /// 1 to 100.
    pub quality: Option<Quality>,
    /// Keys held in each latent frame. `None`: no control is ever given.
    pub script: Option<Vec<Held>>,
    /// Prompts on the way.
    pub prompts: Vec<Switch>,
    /// Pictures alone: how they are answered.
    pub answer: PictureAnswer,
    /// Names that were given and are not used, so far.
    pub ignored: Vec<String>,
    /// Whether prompts are to be checked, if the client said so.
    pub guardrails: Option<bool>,
    /// What is to be recorded of the time that it takes.
    pub profile: Option<Profiled>,
}

/// What a remix asks for: everything else is as in the old job.
#[derive(Debug, PartialEq)]
pub struct Remix {
    /// In place of the old one.
    pub prompt: String,
    /// Whether prompts are to be checked, if the client said so. The old job's answer does not count for a new prompt.
    pub guardrails: Option<bool>,
    /// What is to be recorded of the time that it takes.
    pub profile: Option<Profiled>,
    /// Names that were given and are not used.
    pub ignored: Vec<String>,
}

/// Where a picture is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Its file.
    File(Bytes),
    /// A `data:` URL, or a URL of http or https. Whether it may be fetched is not decided here.
    Text(String),
}

impl Ask {
    /// Read a request: its fields, then the modes that do not exist here. What can be drawn is decided in `resolve`.
    pub fn read(body: Body, route: Route, card: &Card) -> Result<Ask, Invalid> {
        let Body { transport, fields, files } = body;
        let mut fields = Fields::new(transport, fields);
        let prompt = values::prompt(&mut fields, transport, route)?;
        let negative_prompt = fields.text("negative_prompt")?;
        if negative_prompt.as_ref().is_some_and(|text| text.len() > PROMPT_BYTES_MAX) {
            return Err(values::too_long("negative_prompt"));
        }
        let size = values::size(&mut fields, route)?;
        let width = fields.positive("width", SIDE_MAX)?;
        let height = fields.positive("height", SIDE_MAX)?;
        let seconds = fields.number("seconds")?;
        if seconds.is_some_and(|seconds| seconds <= 0.0) {
            return Err(Invalid::value("seconds", "seconds must be positive"));
        }
        let fps = fields.number_in("fps", 1.0..=FPS_MAX)?;
        let num_frames = fields.positive("num_frames", FRAMES_MAX)?;
        let outputs = values::outputs(&mut fields)?;
        let seeds = values::seeds(&mut fields, outputs)?;
        let steps = fields.positive("num_inference_steps", u32::MAX)?;
        if steps.is_some_and(|steps| steps > 200) {
            return Err(Invalid::value("num_inference_steps", "num_inference_steps must be from 1 to 200"));
        }
        let mut ask = Ask {
            route,
            prompt,
            negative_prompt,
            size,
            width,
            height,
            seconds,
            fps,
            num_frames,
            outputs,
            seeds,
            num_inference_steps: steps,
            guidance_scale: fields.number_in("guidance_scale", 0.0..=20.0)?,
            guidance_interval: values::guidance_interval(&mut fields)?,
            flow_shift: fields.number_in("flow_shift", 0.1..=100.0)?,
            max_sequence_length: fields.integer_in("max_sequence_length", 8..=8192)?,
            use_duration_template: fields.flag("use_duration_template")?,
            use_resolution_template: fields.flag("use_resolution_template")?,
            use_system_prompt: fields.flag("use_system_prompt")?,
            picture: None,
            task: values::task(&mut fields)?,
            quality: values::quality(&mut fields)?,
            script: None,
            prompts: Vec::new(),
            answer: if route == Route::Image { values::answer(&mut fields)? } else { PictureAnswer::default() },
            ignored: Vec::new(),
            guardrails: None,
            profile: values::profile(&mut fields)?,
        };
        ask.guardrails = fields.flag("use_guardrails")?;
        // OpenAI's, accepted without effect; and the model's name, since a server has one world.
        for name in ["user", "metadata", "quality", "style", "background", "model"] {
            fields.take(name);
        }

        refuse::missing_modes(&mut fields, &files, card)?;
        ask.steer(&mut fields, card)?;
        ask.find_picture(&mut fields, files, card)?;
        ask.ignored.extend(fields.names().map(str::to_owned));
        Ok(ask)
    }

    /// A new prompt for what was asked before, and nothing else.
    pub fn read_remix(body: Body) -> Result<Remix, Invalid> {
        let Body { transport, fields, files } = body;
        let mut fields = Fields::new(transport, fields);
        let prompt = values::prompt(&mut fields, transport, Route::Video)?;
        let (guardrails, profile) = (fields.flag("use_guardrails")?, values::profile(&mut fields)?);
        fields.take("model");
        let files = files.iter().map(|file| file.field.to_owned());
        let ignored = fields.names().map(str::to_owned).chain(files).collect();
        Ok(Remix { prompt, guardrails, profile, ignored })
    }

    fn steer(&mut self, fields: &mut Fields, card: &Card) -> Result<(), Invalid> {
        let mut actions = fields.take("camera_actions");
        match fields.take("condition_inputs") {
            Some(Value::Object(mut inside)) => {
                let wrapped = inside.remove("camera_actions").filter(|value| !value.is_null());
                actions = actions.or(wrapped);
                self.ignored.extend(inside.keys().map(|name| format!("condition_inputs.{name}")));
            }
            Some(other) if refuse::is_truthy(&other) => {
                let message = format!("condition_inputs: must be an object, not {}", kind(&other));
                return Err(Invalid::value("condition_inputs", message));
            }
            _ => {}
        }
        let prompts = fields.take("prompts");
        if !card.clips.steerable {
            for (name, value) in [("camera_actions", &actions), ("prompts", &prompts)] {
                if value.as_ref().is_some_and(refuse::is_truthy) {
                    return Err(Invalid::unsupported(name, format!("{name}: {} cannot be steered", card.name)));
                }
            }
            return Ok(());
        }
        self.script = script::camera_actions(actions)?;
        self.prompts = script::prompts(prompts)?;
        Ok(())
    }

    /// The picture to start from: a file, text in its place, or an address in one of two other fields. The first is used.
    fn find_picture(&mut self, fields: &mut Fields, files: Vec<FilePart>, card: &Card) -> Result<(), Invalid> {
        let mut pictures = Vec::new();
        for file in files {
            match file.field {
                "input_reference" => pictures.push(Source::File(file.bytes)),
                other => self.ignored.push(other.to_owned()),
            }
        }
        for name in ["input_reference", "reference_url", "image_reference"] {
            let Some(value) = fields.take(name).filter(|value| !is_blank(value)) else { continue };
            let values = match value {
                Value::Array(values) => values,
                value => vec![value],
            };
            for value in values {
                let address = match value {
                    Value::String(text) => text,
                    Value::Object(mut object) => match object.remove("image_url") {
                        Some(Value::String(text)) => text,
                        _ => return Err(Invalid::value(name, format!("{name}: image_url must be text"))),
                    },
                    other => {
                        let message = format!("{name} must be a file, a URL or a data URL, not {}", kind(&other));
                        return Err(Invalid::value(name, message));
                    }
                };
                pictures.push(Source::Text(address));
            }
        }
        let several = pictures.len() > 1;
        self.picture = pictures.into_iter().next();
        if several {
            self.ignored.push("input_reference[1..]".to_owned());
        }
        match (&self.picture, self.route) {
            (Some(_), Route::Image) => {
                Err(Invalid::unsupported("input_reference", "input_reference is not supported for T2I models."))
            }
            (Some(_), Route::Video) if !card.clips.from_picture => {
                let message = format!("input_reference: {} starts from text alone", card.name);
                Err(Invalid::unsupported("input_reference", message))
            }
            (None, Route::Video) if !card.clips.from_text => {
                Err(Invalid::value("input_reference", format!("input_reference: {} starts from a picture", card.name)))
            }
            _ => Ok(()),
        }
    }
}
