//! Single fields that have rules of their own: what they may hold, and what is said of anything else.

use pipeline::world::{PROMPT_BYTES_MAX, Size};
use serde_json::Value;

use super::Transport;
use super::fields::{Fields, integer, is_blank, number};
use super::invalid::{Invalid, quoted};
use crate::observe::profile::{Profiled, STEPS};

/// Outputs of one request; more are clamped, as by the references.
pub const OUTPUTS_MAX: u32 = 10;

/// Which route a request came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// A clip.
    Video,
    /// One picture or several.
    Image,
}

/// Seeds that a client chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seeds {
    /// Output k has this and k.
    From(u64),
    /// One for each output.
    Each(Vec<u64>),
}

/// What kind of drawing a client names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// `t2v`: a video from text.
    TextToVideo,
    /// `i2v`: a video from a picture.
    PictureToVideo,
    /// `t2i`: a picture from text.
    TextToPicture,
    /// `ti2v`: a video from text, and from a picture if there is one.
    EitherToVideo,
}

/// How well a file is to be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// `output_quality`, by its name. `default` has a number of its own for each kind of file.
    Default,
    /// 1 to 100.
    Number(u8),
}

/// How pictures are answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PictureAnswer {
    /// As addresses on this server, and not inside the answer.
    pub by_url: bool,
    /// Their files.
    pub format: PictureFormat,
}

/// Files that pictures are sent as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PictureFormat {
    /// Lossless.
    #[default]
    Png,
    /// Lossy.
    Jpeg,
    /// Lossy.
    WebP,
}

pub(super) fn too_long(name: &'static str) -> Invalid {
    Invalid::value(name, format!("{name} must be at most {PROMPT_BYTES_MAX} bytes"))
}

pub(super) fn prompt(fields: &mut Fields, transport: Transport, route: Route) -> Result<String, Invalid> {
    let prompt = fields.text("prompt")?;
    match prompt {
        Some(prompt) if prompt.len() > PROMPT_BYTES_MAX => Err(too_long("prompt")),
        // An empty prompt in JSON is a clip without a condition.
        Some(prompt) if !(prompt.is_empty() && transport == Transport::Form) => Ok(prompt),
        _ if route == Route::Image => Err(Invalid::validation("prompt", "prompt: Field required")),
        _ => Err(Invalid::value("prompt", "prompt is required")),
    }
}

pub(super) fn size(fields: &mut Fields, route: Route) -> Result<Option<Size>, Invalid> {
    let Some(text) = fields.text("size")? else { return Ok(None) };
    if text.trim().is_empty() || route == Route::Image && text.trim().eq_ignore_ascii_case("auto") {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|why: String| Invalid::value("size", why))
}

pub(super) fn outputs(fields: &mut Fields) -> Result<u32, Invalid> {
    let n = fields.integer("n")?;
    let named = fields.integer("num_outputs_per_prompt")?;
    if named.is_some_and(|number| number <= 0) {
        return Err(Invalid::value("num_outputs_per_prompt", "num_outputs_per_prompt must be positive"));
    }
    Ok(named.or(n).unwrap_or(1).clamp(1, OUTPUTS_MAX.into()) as u32)
}

pub(super) fn seeds(fields: &mut Fields, outputs: u32) -> Result<Option<Seeds>, Invalid> {
    let seed = |value: &Value| {
        let number = integer(value).map_err(|why| format!("seed: {why}"))?;
        u64::try_from(number).map_err(|_| format!("seed must be from 0 to {}", u64::MAX))
    };
    match fields.take("seed").filter(|value| !is_blank(value)) {
        None => Ok(None),
        Some(Value::Array(items)) => {
            if items.len() != outputs as usize {
                let message =
                    format!("seed: a list of {} for {outputs} outputs; give one number, or one each", items.len());
                return Err(Invalid::value("seed", message));
            }
            let each = items.iter().map(seed).collect::<Result<_, _>>();
            each.map(|each| Some(Seeds::Each(each))).map_err(|message| Invalid::value("seed", message))
        }
        Some(value) => match integer(&value) {
            Err(why) => Err(fields.wrong_type("seed", why)),
            Ok(_) => seed(&value).map(|seed| Some(Seeds::From(seed))).map_err(|why| Invalid::value("seed", why)),
        },
    }
}

pub(super) fn guidance_interval(fields: &mut Fields) -> Result<Option<[f64; 2]>, Invalid> {
    let wrong = || {
        Invalid::value(
            "guidance_interval",
            "guidance_interval must be [LOW, HIGH], two numbers from 0 to 1000 that ascend",
        )
    };
    let items = match fields.take("guidance_interval").filter(|value| !is_blank(value)) {
        None => return Ok(None),
        Some(Value::Array(items)) => items,
        Some(Value::String(text)) if text.len() <= 100 => serde_json::from_str(&text).map_err(|_| wrong())?,
        Some(_) => return Err(wrong()),
    };
    let [low, high] = &items[..] else { return Err(wrong()) };
    let (low, high) = (number(low).map_err(|_| wrong())?, number(high).map_err(|_| wrong())?);
    let within = |end: &f64| (0.0..=1000.0).contains(end);
    if low <= high && within(&low) && within(&high) { Ok(Some([low, high])) } else { Err(wrong()) }
}

pub(super) fn task(fields: &mut Fields) -> Result<Option<Task>, Invalid> {
    let Some(text) = fields.text("task_type")?.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    match text.trim().to_ascii_lowercase().as_str() {
        "t2v" => Ok(Some(Task::TextToVideo)),
        "i2v" => Ok(Some(Task::PictureToVideo)),
        "t2i" => Ok(Some(Task::TextToPicture)),
        "ti2v" => Ok(Some(Task::EitherToVideo)),
        "auto" => Ok(None),
        other => {
            let message = format!("task_type must be one of t2v, i2v, t2i, ti2v, not {:?}", quoted(other));
            Err(Invalid::value("task_type", message))
        }
    }
}

pub(super) fn quality(fields: &mut Fields) -> Result<Option<Quality>, Invalid> {
    let named = match fields.text("output_quality")?.as_deref().map(str::trim) {
        None | Some("") => None,
        Some("default") => Some(Quality::Default),
        Some("maximum") => Some(Quality::Number(100)),
        Some("high") => Some(Quality::Number(90)),
        Some("medium") => Some(Quality::Number(55)),
        Some("low") => Some(Quality::Number(35)),
        Some(other) => {
            let message = format!(
                "Invalid output_quality '{}'. Expected one of: ['maximum', 'high', 'medium', 'low', 'default']",
                quoted(other)
            );
            return Err(Invalid::value("output_quality", message));
        }
    };
    let number = fields.integer_in("output_compression", 1..=100)?;
    Ok(number.map(|number| Quality::Number(number as u8)).or(named))
}

pub(super) fn answer(fields: &mut Fields) -> Result<PictureAnswer, Invalid> {
    let by_url = match fields.text("response_format")?.as_deref() {
        None | Some("" | "b64_json") => false,
        Some("url") => true,
        Some(other) => {
            let message = format!("response_format={} is not supported", quoted(other));
            return Err(Invalid::value("response_format", message));
        }
    };
    let format = match fields.text("output_format")?.as_deref() {
        None | Some("" | "png") => PictureFormat::Png,
        Some("jpeg" | "jpg") => PictureFormat::Jpeg,
        Some("webp") => PictureFormat::WebP,
        Some(other) => {
            let message = format!("output_format={} is not supported: png, jpeg or webp", quoted(other));
            return Err(Invalid::value("output_format", message));
        }
    };
    Ok(PictureAnswer { by_url, format })
}

/// Which part of a request is to be profiled, if any. A number of steps that cannot be is an error even if none is.
pub(super) fn profile(fields: &mut Fields) -> Result<Option<Profiled>, Invalid> {
    let steps = fields.integer("num_profiled_timesteps")?.unwrap_or(STEPS.into());
    // Numbers past every request mean all of its steps but the first.
    let steps = steps.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
    let all = fields.flag("profile_all_stages")?.unwrap_or(false);
    let profiled = Profiled::new(steps, all);
    let profiled = profiled.map_err(|wrong| Invalid::value("num_profiled_timesteps", wrong.to_string()))?;
    let asked = fields.flag("profile")?.unwrap_or(false) || all;
    Ok(asked.then_some(profiled))
}
