//! What a Cosmos3 model offers and what it lets a client choose, told from its files alone, and the last look at a request.

use super::config::sampling::Sampling;
use super::config::{ModelConfig, Variant};
use crate::first_frame::Fit;
use crate::load::error::LoadError;
use crate::load::model_dir::ModelDir;
use crate::world::{
    ByMode, Card, ClipAsk, ClipCard, ClipSettings, FrameRule, Knob, Knobs, Refusal, Size, Sizes, Steering,
};

/// The largest frame: 1920×1088.
const PIXELS_MAX: u64 = 1920 * 1088;
/// Pixels of the shortest side.
const SIDE_MIN: u32 = 64;
/// The longest clip that the models were made for.
const FRAMES_MAX: usize = 300;

/// What a model offers, told from its files alone.
pub(crate) fn card(dir: &ModelDir, config: &ModelConfig) -> Result<Card, LoadError> {
    let multiple = config.vae.spatial_factor() as u32;
    let edge = config.variant() == Variant::Edge;
    let size = |width, height| Size { width, height };
    let (default_size, picture_size) = match edge {
        true => (size(832, 480), size(640, 640)),
        false => (size(1280, 720), size(1024, 1024)),
    };
    let clips = ClipCard {
        family: "Cosmos3".to_owned(),
        realtime: false,
        from_text: true,
        from_picture: true,
        picture_fit: Fit::Cover,
        pictures: true,
        steerable: false,
        frames: FrameRule::FourAndOne,
        frames_max: Some(FRAMES_MAX),
        side_min: SIDE_MIN,
        picture_size,
        seconds: 4.0,
        knobs: knobs(&config.sampling, edge),
    };
    Ok(Card {
        name: dir.name().trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned(),
        sizes: Sizes::MultiplesOf { multiple, pixels_max: PIXELS_MAX },
        default_size,
        fps: 24,
        // Frames leave a latent frame at a time.
        chunk: 1,
        first_chunk: 1,
        sink: 0,
        window: 1,
        window_is_fixed: true,
        needs_first_frame: false,
        look_step: None,
        steering: Steering::default(),
        quick_steps: None,
        clips,
        gallery: dir.gallery()?,
        presets: dir.presets()?,
        words: None,
    })
}

/// The knobs of a checkpoint. Defaults are SGLang's, whose clients must see no change.
fn knobs(sampling: &Sampling, edge: bool) -> Knobs {
    fn knob<T>(video: T, picture: T, free: bool) -> Option<Knob<T>> {
        Some(Knob { usual: ByMode { video, picture }, free })
    }
    let common = Knobs {
        max_sequence_length: knob(4096, 4096, true),
        use_duration_template: Some(true),
        use_resolution_template: Some(false),
        use_system_prompt: Some(false),
        ..Knobs::default()
    };
    match sampling {
        // Levels, and with them the shift, are fixed, and guidance is baked in.
        Sampling::Distilled { sigmas } => {
            let steps = sigmas.len() as u32;
            Knobs {
                num_inference_steps: knob(steps, steps, false),
                guidance_scale: knob(1.0, 1.0, false),
                flow_shift: knob(1.0, 1.0, false),
                ..common
            }
        }
        Sampling::FlowUniPc => Knobs {
            num_inference_steps: knob(35, 35, true),
            guidance_scale: if edge { knob(5.0, 7.0, true) } else { knob(4.0, 4.0, true) },
            guidance_interval: Some(ByMode { video: None, picture: Some([400.0, 1000.0]) }),
            negative_prompt: true,
            flow_shift: if edge { knob(3.0, 3.0, true) } else { knob(10.0, 3.0, true) },
            ..common
        },
    }
}

/// The settings of `ask`, and the card's where nothing is set. What a checkpoint fixes is the card's, whatever is asked.
pub(super) fn complete(card: &Card, ask: &ClipAsk) -> ClipSettings {
    let usual = card.clips.knobs.usual(ask.frames == 1);
    let knobs = &card.clips.knobs;
    fn pick<T: Copy>(knob: Option<Knob<T>>, usual: Option<T>, asked: Option<T>) -> Option<T> {
        asked.filter(|_| knob.is_some_and(|knob| knob.free)).or(usual)
    }
    let asked = ask.settings.clone();
    ClipSettings {
        fps: asked.fps.or(Some(f64::from(card.fps))),
        num_inference_steps: pick(knobs.num_inference_steps, usual.num_inference_steps, asked.num_inference_steps),
        guidance_scale: pick(knobs.guidance_scale, usual.guidance_scale, asked.guidance_scale),
        guidance_interval: asked.guidance_interval,
        negative_prompt: asked.negative_prompt.or(usual.negative_prompt),
        flow_shift: pick(knobs.flow_shift, usual.flow_shift, asked.flow_shift),
        max_sequence_length: pick(knobs.max_sequence_length, usual.max_sequence_length, asked.max_sequence_length),
        use_duration_template: asked.use_duration_template.or(usual.use_duration_template),
        use_resolution_template: None,
        use_system_prompt: asked.use_system_prompt.or(usual.use_system_prompt),
    }
}

/// That a clip can be drawn as it was asked for. A request is resolved against the card, so this is the last look, not the
/// first.
pub(super) fn check(card: &Card, ask: &ClipAsk) -> Result<(), Refusal> {
    let refuse = |field, reason: String| Err(Refusal { field, reason });
    match card.clips.frames.frames(ask.frames) {
        Ok(frames) if frames == ask.frames => {}
        Ok(frames) => return refuse("num_frames", format!("{}; the next that can be drawn is {frames}", ask.frames)),
        Err(reason) => return refuse("num_frames", reason),
    }
    if ask.frames > FRAMES_MAX {
        return refuse("num_frames", format!("{}; at most {FRAMES_MAX}", ask.frames));
    }
    card.choose_size(Some(ask.init.size))?;
    if ask.frames == 1 && ask.init.first_frame.is_some() {
        let reason = "a picture is drawn from text alone; a clip, of 5 frames or more, can start from one";
        return refuse("first_frame", reason.to_owned());
    }
    fn within<T: PartialOrd + std::fmt::Display>(
        field: &'static str,
        value: Option<T>,
        least: T,
        most: T,
    ) -> Result<(), Refusal> {
        match value {
            Some(value) if !(value >= least && value <= most) => {
                Err(Refusal { field, reason: format!("{value}; it must be {least} to {most}") })
            }
            _ => Ok(()),
        }
    }
    let ClipSettings { fps, num_inference_steps, guidance_scale, guidance_interval, flow_shift, .. } = &ask.settings;
    within("fps", *fps, 1.0, 240.0)?;
    within("num_inference_steps", *num_inference_steps, 1, 200)?;
    within("guidance_scale", *guidance_scale, 0.0, 20.0)?;
    for end in guidance_interval.iter().flatten() {
        within("guidance_interval", Some(*end), 0.0, 1000.0)?;
    }
    within("flow_shift", *flow_shift, 0.1, 100.0)?;
    within("max_sequence_length", ask.settings.max_sequence_length, 8, 8192)
}
