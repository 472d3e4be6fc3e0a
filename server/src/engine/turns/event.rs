//! A checked event, which steers a session's video, as a list of parts.

use pipeline::world::{FOV_DEG, Held, Intrinsics, PROMPT_BYTES_MAX, Pose, Rates, Size};
use serde::{Deserialize, Serialize};

/// What a client wants changed, all of it at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Chosen by the client; comes back on the chunks that were drawn with the event.
    pub id: Option<u32>,
    /// In the order in which they take effect. A step may have none.
    pub parts: Vec<EventPart>,
}

/// One thing that an event changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EventPart {
    /// The prompt from the next chunk on.
    Prompt {
        /// What the world looks like.
        text: String,
        /// Make what is remembered of earlier frames again under this prompt, before the chunk is drawn.
        recache: bool,
    },
    /// Keys for the latent frames to come, one by one.
    Script(Vec<Held>),
    /// What steers the camera after each transition.
    State(Vec<Transition>),
}

/// A change of what steers the camera. What is absent stays as it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// When it takes effect, in milliseconds of the video (`pts_ms`). Absent: as soon as it can.
    pub at_ms: Option<f64>,
    /// The keys held from then on.
    pub held: Option<Held>,
    /// The rates from then on.
    pub rates: Option<Rates>,
    /// Where the camera is then. Not beside keys or rates that move it.
    pub pose: Option<Pose>,
    /// The lens from then on.
    pub lens: Option<Lens>,
}

/// A lens as clients give it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Lens {
    /// In pixels of the video.
    Pixels(Intrinsics),
    /// A horizontal field of view in degrees, in the range of a lens; square pixels, the axis through the middle.
    FieldOfView(f64),
}

impl Lens {
    /// In a video of this size.
    pub fn in_pixels(self, size: Size) -> Intrinsics {
        match self {
            Lens::Pixels(lens) => lens,
            Lens::FieldOfView(degrees) => {
                Intrinsics::of_field_of_view(degrees, size).expect("the range was checked where it was read")
            }
        }
    }
}

impl Lens {
    /// As it is checked where it is read: for one that was kept.
    pub fn check(self) -> Result<(), String> {
        match self {
            Lens::FieldOfView(degrees) if !FOV_DEG.contains(&degrees) => Err(format!("a field of view of {degrees}")),
            Lens::FieldOfView(_) | Lens::Pixels(_) => Ok(()),
        }
    }
}

impl From<Held> for Transition {
    fn from(held: Held) -> Transition {
        Transition { held: Some(held), ..Transition::default() }
    }
}

impl Event {
    /// As it is checked where it is read: for one that was kept.
    pub fn check(&self) -> Result<(), String> {
        for part in &self.parts {
            if let Some(long) = part.text().filter(|text| text.len() > PROMPT_BYTES_MAX) {
                return Err(format!("a prompt of {} bytes", long.len()));
            }
            for Transition { at_ms, lens, .. } in part.transitions() {
                if let Some(ms) = at_ms.filter(|ms| !ms.is_finite()) {
                    return Err(format!("a time of {ms} ms"));
                }
                lens.map_or(Ok(()), Lens::check)?;
            }
        }
        Ok(())
    }

    /// Whether all that it changes says when: such an event hurries nobody.
    pub fn waits_for_its_time(&self) -> bool {
        let timed = |part: &EventPart| match part {
            EventPart::State(transitions) => {
                !transitions.is_empty() && transitions.iter().all(|transition| transition.at_ms.is_some())
            }
            EventPart::Prompt { .. } | EventPart::Script(_) => false,
        };
        !self.parts.is_empty() && self.parts.iter().all(timed)
    }
}

impl EventPart {
    /// Those of this part, if it has any.
    pub fn transitions(&self) -> &[Transition] {
        match self {
            EventPart::State(transitions) => transitions,
            EventPart::Prompt { .. } | EventPart::Script(_) => &[],
        }
    }

    /// The new prompt of this part, if it has one.
    pub fn text(&self) -> Option<&str> {
        match self {
            EventPart::Prompt { text, .. } => Some(text),
            EventPart::Script(_) | EventPart::State(_) => None,
        }
    }

    /// A new prompt, and the past as it is.
    pub fn prompt(text: impl Into<String>) -> EventPart {
        EventPart::Prompt { text: text.into(), recache: false }
    }
}
