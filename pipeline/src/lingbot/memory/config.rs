//! `memory` of `causeway.json`: which pictures are kept, and which of them a chunk sees.

use crate::load::error::LoadError;
use crate::load::object::Object;

/// Memory by place: every key is needed, as a model was trained with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemoryConfig {
    /// Pictures that are kept at most.
    pub frames: usize,
    /// Pictures that a latent frame sees at most.
    pub seen: usize,
    /// A picture is not kept if one is kept that is nearer than this, in the units of the world's camera, ...
    pub apart_metres: f64,
    /// ... and turned away by less than this.
    pub apart_degrees: f64,
    /// A picture from further away is not seen: what stands up would be in the wrong place.
    pub reach_metres: f64,
    /// From the camera down to the ground.
    pub eye_height: f64,
}

const KEYS: [&str; 6] = ["frames", "seen", "apart_metres", "apart_degrees", "reach_metres", "eye_height"];
/// A picture of 832×480 is 1.2 MB: this bounds what a recipe can ask of a session.
const FRAMES_MAX: usize = 1024;
const SEEN_MAX: usize = 16;
const METRES_MAX: f64 = 1e4;

impl MemoryConfig {
    /// From the object at `memory`; `None` where there is none.
    pub(in crate::lingbot) fn of_recipe(recipe: &Object) -> Result<Option<MemoryConfig>, LoadError> {
        if !recipe.has("memory") {
            return Ok(None);
        }
        let object = recipe.object("memory", "memory.")?;
        object.known(&KEYS)?;
        Ok(Some(MemoryConfig {
            frames: object.count("frames", 1..=FRAMES_MAX, None)?,
            seen: object.count("seen", 1..=SEEN_MAX, None)?,
            apart_metres: object.number("apart_metres", 0.0..=METRES_MAX, None)?,
            apart_degrees: object.number("apart_degrees", 0.0..=180.0, None)?,
            // Both are divided by.
            reach_metres: object.number("reach_metres", 1e-3..=METRES_MAX, None)?,
            eye_height: object.number("eye_height", 1e-3..=METRES_MAX, None)?,
        }))
    }
}
