//! What a world offers to those who ask for a clip or a picture, beside what its card says of every video.
//!
//! A request is resolved with these values alone, without the device. What a world lacks is `None` or `false` here, so that
//! reading a setting that another family has can never fail.

use super::{Size, WorldError};
use crate::first_frame::Fit;

/// What a world offers to requests for clips and pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipCard {
    /// The model family, as a message names it: `Cosmos3`. A world that is its own family has its own name here.
    pub family: String,
    /// Whether a session can be opened. A world without draws clips and nothing else.
    pub realtime: bool,
    /// Whether a video can start from text alone.
    pub from_text: bool,
    /// Whether a video can start from a picture.
    pub from_picture: bool,
    /// How the picture that a video starts from is brought to the video's size.
    pub picture_fit: Fit,
    /// Whether a picture can be drawn from text alone.
    pub pictures: bool,
    /// Whether held keys and prompts on the way mean something.
    pub steerable: bool,
    /// The numbers of video frames that can be drawn.
    pub frames: FrameRule,
    /// The most video frames of a clip. `None`: as many as the operator allows.
    pub frames_max: Option<usize>,
    /// Pixels of the shortest side.
    pub side_min: u32,
    /// The size of a picture whose client asks for none.
    pub picture_size: Size,
    /// Seconds of a clip whose client says neither seconds nor frames.
    pub seconds: f64,
    /// The settings of the model that a client may choose.
    pub knobs: Knobs,
}

/// The numbers of video frames that a world draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameRule {
    /// Every number from 1 on: whole chunks are drawn, and the last one is cut.
    Any,
    /// 1 (a picture), or 4k + 1 from 5 on: a number between is brought down to the next of these.
    FourAndOne,
}

/// The settings of a model that a client may choose. Names are those of the request's fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Knobs {
    /// Denoising steps.
    pub num_inference_steps: Option<Knob<u32>>,
    /// How far guidance goes; it is on above 1.
    pub guidance_scale: Option<Knob<f64>>,
    /// Between which times of the schedule guidance is on; `None` inside: at all of them.
    pub guidance_interval: Option<ByMode<Option<[f64; 2]>>>,
    /// What the video should not show.
    pub negative_prompt: bool,
    /// How far the schedule is shifted towards noise.
    pub flow_shift: Option<Knob<f64>>,
    /// Tokens of the prompt that the model reads.
    pub max_sequence_length: Option<Knob<u32>>,
    /// Whether a sentence about length and rate is added to the prompt; the value is the default.
    pub use_duration_template: Option<bool>,
    /// Accepted without effect, as by the reference; the value is the default.
    pub use_resolution_template: Option<bool>,
    /// Whether the system prompt goes before the prompt; the value is the default.
    pub use_system_prompt: Option<bool>,
}

/// A number that a client may choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Knob<T> {
    /// What holds where the client says nothing.
    pub usual: ByMode<T>,
    /// `false` where the checkpoint fixes the value: what a client asks for is ignored then.
    pub free: bool,
}

/// One value for videos and one for pictures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ByMode<T> {
    /// Of a clip.
    pub video: T,
    /// Of a single picture.
    pub picture: T,
}

/// Values of the knobs for one clip. A world reads those that it has; the others are `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClipSettings {
    /// Video frames a second, for worlds that draw by time. `None`: the world's own.
    pub fps: Option<f64>,
    /// See [`Knobs::num_inference_steps`].
    pub num_inference_steps: Option<u32>,
    /// See [`Knobs::guidance_scale`].
    pub guidance_scale: Option<f64>,
    /// See [`Knobs::guidance_interval`].
    pub guidance_interval: Option<[f64; 2]>,
    /// See [`Knobs::negative_prompt`].
    pub negative_prompt: Option<String>,
    /// See [`Knobs::flow_shift`].
    pub flow_shift: Option<f64>,
    /// See [`Knobs::max_sequence_length`].
    pub max_sequence_length: Option<u32>,
    /// See [`Knobs::use_duration_template`].
    pub use_duration_template: Option<bool>,
    /// See [`Knobs::use_resolution_template`].
    pub use_resolution_template: Option<bool>,
    /// See [`Knobs::use_system_prompt`].
    pub use_system_prompt: Option<bool>,
}

impl ClipCard {
    /// Of a world with rollouts: keys steer it, and it has no knobs.
    pub fn of_rollouts(name: &str, default_size: Size, needs_first_frame: bool) -> ClipCard {
        ClipCard {
            family: name.to_owned(),
            realtime: true,
            from_text: !needs_first_frame,
            from_picture: true,
            picture_fit: Fit::Stretch,
            pictures: !needs_first_frame,
            steerable: true,
            frames: FrameRule::Any,
            frames_max: None,
            side_min: 1,
            picture_size: default_size,
            seconds: 4.0,
            knobs: Knobs::default(),
        }
    }
}

impl Knobs {
    /// What holds for a picture, or for a clip, whose client says nothing.
    pub fn usual(&self, is_picture: bool) -> ClipSettings {
        fn of<T: Copy>(knob: Option<Knob<T>>, is_picture: bool) -> Option<T> {
            knob.map(|knob| knob.usual.of(is_picture))
        }
        ClipSettings {
            fps: None,
            num_inference_steps: of(self.num_inference_steps, is_picture),
            guidance_scale: of(self.guidance_scale, is_picture),
            guidance_interval: self.guidance_interval.and_then(|interval| interval.of(is_picture)),
            negative_prompt: self.negative_prompt.then(String::new),
            flow_shift: of(self.flow_shift, is_picture),
            max_sequence_length: of(self.max_sequence_length, is_picture),
            use_duration_template: self.use_duration_template,
            use_resolution_template: self.use_resolution_template,
            use_system_prompt: self.use_system_prompt,
        }
    }
}

impl FrameRule {
    /// The number of frames to draw for `asked`, at least 1. `Err` is a sentence without its subject.
    pub fn frames(self, asked: usize) -> Result<usize, String> {
        match (self, asked) {
            (_, 0) => Err("must be positive".to_owned()),
            (FrameRule::Any, _) | (FrameRule::FourAndOne, 1) => Ok(asked),
            (FrameRule::FourAndOne, 2..=4) => {
                Err("2 to 4 frames cannot be drawn: 1 is a picture, 5 the shortest clip".to_owned())
            }
            (FrameRule::FourAndOne, _) => Ok((asked - 1) / 4 * 4 + 1),
        }
    }
}

impl<T: Copy> ByMode<T> {
    /// The value for a picture or for a clip.
    pub fn of(&self, is_picture: bool) -> T {
        if is_picture { self.picture } else { self.video }
    }
}

impl ClipSettings {
    /// `Err` if anything is set: for a world that has no knobs. A request is resolved against the card, so this is a
    /// mistake of the caller and not of a client.
    pub fn expect_none(&self) -> Result<(), WorldError> {
        let without_fps = ClipSettings { fps: None, ..self.clone() };
        match without_fps == ClipSettings::default() {
            true => Ok(()),
            false => Err(WorldError::Failed(format!("settings that this world does not have: {without_fps:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_brought_down_to_what_the_decoder_gives() {
        let check = |asked, expected: Option<usize>| {
            assert_eq!(FrameRule::FourAndOne.frames(asked).ok(), expected, "{asked}");
        };
        for (asked, expected) in [(1, 1), (5, 5), (6, 5), (8, 5), (9, 9), (83, 81), (96, 93), (189, 189), (192, 189)] {
            check(asked, Some(expected));
        }
        (2..=4).for_each(|asked| check(asked, None));
        check(0, None);
        assert!((1..500).all(|asked| FrameRule::Any.frames(asked) == Ok(asked)));
    }

    #[test]
    fn what_holds_where_nothing_is_said_has_a_value_for_every_knob_and_no_other() {
        assert_eq!(Knobs::default().usual(true), ClipSettings::default());
        let both = ByMode { video: 10.0, picture: 3.0 };
        let interval = ByMode { video: None, picture: Some([400.0, 1000.0]) };
        let knobs = Knobs {
            flow_shift: Some(Knob { usual: both, free: true }),
            guidance_interval: Some(interval),
            negative_prompt: true,
            ..Knobs::default()
        };
        let usual = knobs.usual(true);
        assert_eq!((usual.flow_shift, usual.guidance_interval), (Some(3.0), Some([400.0, 1000.0])));
        assert_eq!((usual.negative_prompt, usual.num_inference_steps), (Some(String::new()), None));
        assert_eq!((knobs.usual(false).flow_shift, knobs.usual(false).guidance_interval), (Some(10.0), None));
    }

    #[test]
    fn a_world_without_knobs_refuses_every_setting_but_the_rate() {
        let fps = ClipSettings { fps: Some(8.0), ..ClipSettings::default() };
        assert!(fps.expect_none().is_ok());
        assert!(ClipSettings { flow_shift: Some(3.0), ..fps }.expect_none().is_err());
    }
}
