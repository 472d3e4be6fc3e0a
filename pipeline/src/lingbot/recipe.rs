//! How the networks are run: `causeway.json`, then what the transformer's own configuration says, then LingBot World's
//! published values.
//!
//! The two generations of LingBot World share one configuration file and differ in their noise schedule only. Which one
//! a directory holds is told by its name ([`Lineage`]); `shift` and `steps` in `causeway.json` say it outright.
//!
//! Over 400 lines: all keys of one file, and what each may say.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::config::transformer::{CHUNK_MAX, TransformerConfig, WINDOW_MAX, check_window};
use super::memory::config::MemoryConfig;
use super::sampler::Sampler;
use super::schedule::{Schedule, TRAIN_STEPS};
use crate::load::error::LoadError;
use crate::load::file::File;
use crate::load::model_dir::{Component, ModelDir};
use crate::load::object::Object;
use crate::world::{FRAMES_PER_LATENT, Scale, Size, Steering};

/// The file beside the networks' folders.
const FILE: &str = "causeway.json";

/// The one key that does not change what is drawn from the same inputs: they say themselves in how many steps.
pub(crate) const QUICK_STEPS: &str = "quick_steps";

/// How the networks are run.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Video frames a second.
    pub fps: u32,
    /// `None`: any multiple of 16 that fits.
    pub size: Option<[u32; 2]>,
    /// Latent frames denoised together.
    pub chunk: usize,
    /// Latent frames of the first chunk: 1 to twice `chunk`.
    pub first_chunk: usize,
    /// Latent frames pinned at the start of the history.
    pub sink: usize,
    /// Latent frames visible in all.
    pub window: usize,
    /// The recipe file names the window: the model was trained with no other.
    pub window_is_fixed: bool,
    /// How a chunk goes from one noise level to the next.
    pub sampler: Sampler,
    /// Bends the noise levels of `steps` towards noise.
    pub shift: f64,
    /// Nominal steps of 1000, first to last.
    pub steps: Vec<u32>,
    /// How many steps, evenly spaced, a chunk has that a person waits for: fewer than `steps`. `None`: as many as any other.
    pub quick_steps: Option<usize>,
    /// Rows of a prompt's context.
    pub text_len: usize,
    /// Does every prompt end with `</s>`?
    pub append_eos: bool,
    /// Video frames encoded for the image condition: the picture, then grey.
    pub condition_frames: usize,
    /// The recipe file names them: the model was trained with no others.
    pub condition_is_fixed: bool,
    /// The model was also trained to start from its prompt alone, with no picture.
    pub text_start: bool,
    /// Look back further while moving than while standing still. `None`: always over the whole window.
    pub motion: Option<MotionWindowConfig>,
    /// Which pictures are kept by their place, and which are shown again. `None`: none.
    pub memory: Option<MemoryConfig>,
    /// How keys become rays.
    pub camera: CameraConfig,
}

/// How many recent latent frames are visible beside the pinned ones and the chunk itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MotionWindowConfig {
    /// While any key is held.
    pub moving: usize,
    /// After `still_chunks` chunks without a key.
    pub still: usize,
    /// Chunks without a key until then.
    pub still_chunks: usize,
}

/// Which generation of LingBot World a directory descends from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lineage {
    /// `lingbot-world-fast`: shift 10.
    V1Fast,
    /// `lingbot-world-v2-…-causal-fast` and everything unnamed: shift 5.
    V2,
}

/// How keys become a camera path, and a path rays.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub struct CameraConfig {
    /// The content of the direction channels.
    pub rays: Rays,
    /// Directions are multiplied by this when `rays` is `delta`.
    pub ray_scale: f64,
    /// Horizontal field of view; `None`: 500 pixels of focal length at every size, as LingBot World.
    pub fov_x_deg: Option<f64>,
    /// What steps are divided by.
    pub translation: Translation,
    /// With `translation: fixed`: metres to one unit of ray origin.
    pub translation_scale: f64,
    /// Forward, back or aside in a latent frame, in the configuration's own units.
    pub move_per_latent: f64,
    /// Turn of a latent frame.
    pub yaw_deg_per_latent: f64,
    /// Look up or down of a latent frame.
    pub pitch_deg_per_latent: f64,
}

/// The content of a ray's direction channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rays {
    /// `R·d`
    Absolute,
    /// `ray_scale·(R·d − d)`
    Delta,
}

/// The divisor of a step's translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Translation {
    /// The longest step of the session so far.
    RunningMax,
    /// `translation_scale`
    Fixed,
}

const KEYS: [&str; 19] = [
    "fps",
    "size",
    "chunk",
    "first_chunk",
    "sink",
    "window",
    "sampler",
    "shift",
    "steps",
    QUICK_STEPS,
    "text_len",
    "append_eos",
    "condition_frames",
    "text_start",
    "moving_window",
    "still_window",
    "still_chunks",
    "memory",
    "camera",
];

impl Recipe {
    /// From `causeway.json` of a directory; it need not have one.
    pub fn read(dir: &ModelDir, transformer: &TransformerConfig) -> Result<Recipe, LoadError> {
        let file = if dir.has(FILE) { dir.read(FILE)? } else { File::new(dir.show(FILE), b"{}".as_slice()) };
        Recipe::from_file(&file, transformer, Lineage::of(dir)?)
    }

    /// From `causeway.json`: keys that are not there have the values of the transformer's configuration or of its
    /// lineage.
    pub fn from_file(file: &File, transformer: &TransformerConfig, lineage: Lineage) -> Result<Recipe, LoadError> {
        let object = Object::of(file)?;
        object.known(&KEYS)?;

        let chunk = object.count("chunk", 1..=CHUNK_MAX, Some(transformer.num_frames_per_block))?;
        let sink = object.count("sink", 0..=WINDOW_MAX, Some(transformer.sink_size))?;
        let window = object.count("window", 1..=WINDOW_MAX, Some(transformer.sliding_window_num_frames))?;
        check_window(&object, ["chunk", "sink", "window"], chunk, sink, window)?;
        let own_first_chunk = if transformer.independent_first_frame { 1 } else { chunk };
        let first_chunk = object.count("first_chunk", 1..=window.min(2 * chunk), Some(own_first_chunk))?;

        let size = object.counts("size", 2..=2, 16..=8192)?;
        if let Some(&odd) = size.iter().flatten().find(|&&side| side % 16 != 0) {
            return Err(object.refuse("size", odd, "a multiple of 16 on both sides"));
        }
        let steps = steps(&object)?.unwrap_or_else(|| lineage.steps().to_vec());

        let quick_steps = quick_steps(&object, steps.len())?;

        // The first chunk and the one that stands for all later ones each need their own condition latents.
        let needed = condition_frames_needed(first_chunk, chunk);
        let condition_frames = object.count("condition_frames", needed..=1025, Some(needed.max(21)))?;
        if condition_frames % 4 != 1 {
            return Err(object.wrong("condition_frames", "a multiple of 4, and 1: whole latent frames"));
        }

        Ok(Recipe {
            fps: object.count("fps", 1..=240, Some(16))? as u32,
            size: size.map(|sides| [sides[0] as u32, sides[1] as u32]),
            chunk,
            first_chunk,
            sink,
            window,
            window_is_fixed: object.has("window"),
            sampler: object.choice("sampler", &Sampler::NAMES, Sampler::Renoise)?,
            // Below a hundredth every step is nearly clean, above 100 nearly noise: neither is a schedule.
            shift: object.number("shift", 0.01..=100.0, Some(lineage.shift()))?,
            steps,
            quick_steps,
            text_len: object.count("text_len", 1..=4096, Some(512))?,
            append_eos: object.flag("append_eos", true)?,
            condition_frames,
            condition_is_fixed: object.has("condition_frames"),
            text_start: object.flag("text_start", false)?,
            motion: motion(&object, chunk, sink)?,
            memory: MemoryConfig::of_recipe(&object)?,
            camera: CameraConfig::from_object(&object.object("camera", "camera.")?)?,
        })
    }

    /// Drawn where nobody asks for a size: LingBot World's where the model fixes none.
    pub fn default_size(&self) -> Size {
        let [width, height] = self.size.unwrap_or([832, 480]);
        Size { width, height }
    }

    /// Video frames to encode for the condition when a client asks for so many: at least what the model and a first
    /// chunk of `first_chunk` latent frames need, in whole latent frames, unless the model knows only one number.
    pub fn choose_condition_frames(&self, asked: Option<usize>, first_chunk: usize) -> usize {
        let asked = asked.filter(|_| !self.condition_is_fixed).unwrap_or(0).max(self.condition_frames);
        let asked = asked.max(condition_frames_needed(first_chunk, self.chunk));
        asked - (asked - 1) % 4
    }

    /// Latent frames that must be stored for the window: more than `window` where the view depends on motion.
    pub fn stored_frames(&self, sink: usize, window: usize) -> usize {
        self.motion.map_or(window, |motion| window.max(sink + motion.moving.max(motion.still) + self.chunk))
    }
}

/// Video frames of the condition latents of the first chunk and of one that stands for all later ones.
fn condition_frames_needed(first_chunk: usize, chunk: usize) -> usize {
    (first_chunk + chunk - 1) * FRAMES_PER_LATENT + 1
}

/// `steps`: a list of nominal steps, or how many evenly spaced ones. `None` where the key is absent.
fn steps(object: &Object) -> Result<Option<Vec<u32>>, LoadError> {
    if object.is_list("steps") {
        let listed = object.counts("steps", 1..=TRAIN_STEPS, 1..=TRAIN_STEPS)?.expect("the key holds a list");
        if !listed.is_sorted_by(|a, b| a > b) {
            return Err(object.wrong("steps", "strictly descending"));
        }
        return Ok(Some(listed.into_iter().map(|step| step as u32).collect()));
    }
    if !object.has("steps") {
        return Ok(None);
    }
    let count = object.count("steps", 1..=TRAIN_STEPS, None).map_err(|_| {
        let list = format!("a list of 1 to {TRAIN_STEPS} whole numbers from 1 to {TRAIN_STEPS}");
        object.wrong("steps", format!("how many evenly spaced steps, from 1 to {TRAIN_STEPS}, or {list}"))
    })?;
    Ok(Some(Schedule::even_steps(count)))
}

fn quick_steps(object: &Object, steps: usize) -> Result<Option<usize>, LoadError> {
    if !object.has(QUICK_STEPS) {
        return Ok(None);
    }
    if steps == 1 {
        return Err(object.wrong(QUICK_STEPS, "absent where a chunk has one step"));
    }
    object.count(QUICK_STEPS, 1..=steps - 1, None).map(Some)
}

/// The three keys of the motion-dependent window: all or none, as half of it means nothing.
fn motion(object: &Object, chunk: usize, sink: usize) -> Result<Option<MotionWindowConfig>, LoadError> {
    let keys = ["moving_window", "still_window", "still_chunks"];
    if !keys.iter().any(|key| object.has(key)) {
        return Ok(None);
    }
    let room = 0..=WINDOW_MAX.saturating_sub(sink + chunk);
    Ok(Some(MotionWindowConfig {
        moving: object.count(keys[0], room.clone(), None)?,
        still: object.count(keys[1], room, None)?,
        still_chunks: object.count(keys[2], 1..=1000, None)?,
    }))
}

impl Lineage {
    /// By the name the weights were saved under (`_name_or_path`), the folder LingBot's first release used, or the name
    /// of the directory: a download keeps the repository's.
    pub fn of(dir: &ModelDir) -> Result<Lineage, LoadError> {
        const V1: &str = "lingbot-world-fast";
        let files = dir.network(Component::Transformer)?;
        let mut named = files.folder == "lingbot_world_fast" || dir.full_name().to_lowercase().contains(V1);
        for path in files.config.into_iter().chain(["model_index.json".to_owned()]) {
            if dir.has(&path) {
                let json: Value = dir.read(&path)?.json()?;
                named |= json["_name_or_path"].as_str().is_some_and(|name| name.to_lowercase().contains(V1));
            }
        }
        Ok(if named { Lineage::V1Fast } else { Lineage::V2 })
    }

    fn shift(self) -> f64 {
        match self {
            Lineage::V1Fast => 10.0,
            Lineage::V2 => 5.0,
        }
    }

    fn steps(self) -> [u32; 4] {
        match self {
            Lineage::V1Fast => [1000, 821, 642, 321],
            Lineage::V2 => [1000, 750, 500, 250],
        }
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fixed = if self.window_is_fixed { " (fixed)" } else { "" };
        let first =
            if self.first_chunk == self.chunk { String::new() } else { format!(" (the first {})", self.first_chunk) };
        let size = if self.size.is_some() { "" } else { " or any multiples of 16" };
        writeln!(
            f,
            "recipe: {}{size}, {} fps, chunk {}{first}, sink {}, window {}{fixed}",
            self.default_size(),
            self.fps,
            self.chunk,
            self.sink,
            self.window
        )?;
        let eos = if self.append_eos { "with" } else { "without" };
        let quick = self.quick_steps.map_or(String::new(), |steps| format!(" ({steps} for a person who waits)"));
        write!(
            f,
            "  sampler {}, {} steps {:?}{quick}, shift {}\n  {} text tokens {eos} </s>, {} condition frames",
            self.sampler,
            self.steps.len(),
            self.steps,
            self.shift,
            self.text_len,
            self.condition_frames
        )?;
        if let Some(motion) = self.motion {
            write!(
                f,
                "\n  looks back {} latent frames while moving, {} after {} still chunks",
                motion.moving, motion.still, motion.still_chunks
            )?;
        }
        if let Some(MemoryConfig { frames, seen, reach_metres, .. }) = self.memory {
            write!(f, "\n  remembers up to {frames} pictures by place, shows {seen} within {reach_metres} m")?;
        }
        Ok(())
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lineage::V1Fast => "LingBot World fast (v1)",
            Lineage::V2 => "LingBot World v2 causal-fast",
        })
    }
}

impl CameraConfig {
    /// What a camera like this can follow besides keys. Differences of rays do not tell one lens from another while the
    /// camera rests, so a model that reads those has been trained with one lens.
    pub fn steering(&self) -> Steering {
        let scale = match self.translation {
            Translation::RunningMax => Scale::LongestStep,
            Translation::Fixed => Scale::Fixed,
        };
        Steering { rates: true, poses: Some(scale), intrinsics: self.rays == Rays::Absolute }
    }

    fn from_object(object: &Object) -> Result<CameraConfig, LoadError> {
        object.known(&[
            "rays",
            "ray_scale",
            "fov_x_deg",
            "translation",
            "translation_scale",
            "move_per_latent",
            "yaw_deg_per_latent",
            "pitch_deg_per_latent",
        ])?;
        let lingbot = CameraConfig::default();
        let rays = object.choice("rays", &[("absolute", Rays::Absolute), ("delta", Rays::Delta)], lingbot.rays)?;
        let ways = [("running_max", Translation::RunningMax), ("fixed", Translation::Fixed)];
        let scale = 1e-6..=1e6;
        Ok(CameraConfig {
            rays,
            ray_scale: object.number("ray_scale", scale.clone(), Some(lingbot.ray_scale))?,
            fov_x_deg: match object.has("fov_x_deg") {
                true => Some(object.number("fov_x_deg", 1.0..=179.0, None)?),
                false => None,
            },
            translation: object.choice("translation", &ways, lingbot.translation)?,
            translation_scale: object.number("translation_scale", scale.clone(), Some(lingbot.translation_scale))?,
            move_per_latent: object.number("move_per_latent", scale, Some(lingbot.move_per_latent))?,
            yaw_deg_per_latent: object.number("yaw_deg_per_latent", 0.0..=180.0, Some(lingbot.yaw_deg_per_latent))?,
            pitch_deg_per_latent: object.number(
                "pitch_deg_per_latent",
                0.0..=85.0,
                Some(lingbot.pitch_deg_per_latent),
            )?,
        })
    }
}

impl TryFrom<Value> for CameraConfig {
    type Error = LoadError;
    fn try_from(value: Value) -> Result<CameraConfig, LoadError> {
        CameraConfig::from_object(&Object::new("camera", value)?)
    }
}

impl Default for CameraConfig {
    /// LingBot World.
    fn default() -> CameraConfig {
        CameraConfig {
            rays: Rays::Absolute,
            ray_scale: 1.0,
            fov_x_deg: None,
            translation: Translation::RunningMax,
            translation_scale: 1.0,
            move_per_latent: 0.05,
            yaw_deg_per_latent: 6.0,
            pitch_deg_per_latent: 4.0,
        }
    }
}
