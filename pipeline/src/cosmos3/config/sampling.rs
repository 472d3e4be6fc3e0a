//! `scheduler/scheduler_config.json`: which of the two samplers a checkpoint was made for.
//!
//! Surprising: of the usual configuration nothing but its class is used. The published files name a Karras schedule, which the
//! reference ignores, and so do we: it gives visibly other timesteps. The shift comes with the request.

use std::fmt;

use serde_json::json;

use crate::load::error::LoadError;
use crate::load::file::File;
use crate::load::object::Object;

/// How a checkpoint goes from noise to picture.
#[derive(Debug, Clone, PartialEq)]
pub enum Sampling {
    /// FlowUniPC of order 2, in any number of steps, with guidance.
    FlowUniPc,
    /// Distilled: these noise levels and no others, fresh noise between them, guidance baked in.
    Distilled {
        /// From the first to the last, falling; the picture itself, at 0, is not among them.
        sigmas: Vec<f64>,
    },
}

/// More levels than a distilled model could be for.
const LEVELS_MAX: usize = 64;

impl Sampling {
    /// From `scheduler/scheduler_config.json`.
    pub fn from_file(file: &File) -> Result<Sampling, LoadError> {
        let object = Object::of(file)?;
        let classes = [
            ("UniPCMultistepScheduler", false),
            ("FlowUniPCMultistepScheduler", false),
            ("FlowMatchEulerDiscreteScheduler", true),
        ];
        if !object.choice("_class_name", &classes, false)? {
            object.only("prediction_type", &[json!("flow_prediction")])?;
            return Ok(Sampling::FlowUniPc);
        }
        let fixed = object.object("fixed_step_sampler_config", "fixed_step_sampler_config.")?;
        fixed.only("sample_type", &[json!("sde")])?;
        object.only("shift", &[json!(1), json!(1.0)])?;
        object.only("stochastic_sampling", &[json!(true)])?;
        let what = "noise levels above 0 and at most 1, falling";
        let level = |value: &serde_json::Value| value.as_f64().filter(|&sigma| sigma > 0.0 && sigma <= 1.0);
        let sigmas = fixed.list("t_list", 1..=LEVELS_MAX, what, level)?;
        let allowed = format!("a list of 1 to {LEVELS_MAX} {what}");
        let sigmas = sigmas.ok_or_else(|| fixed.wrong("t_list", &allowed))?;
        if sigmas.windows(2).any(|pair| pair[0] <= pair[1]) {
            return Err(fixed.wrong("t_list", &allowed));
        }
        Ok(Sampling::Distilled { sigmas })
    }

    /// Whether steps and guidance are the model's own.
    pub fn is_distilled(&self) -> bool {
        matches!(self, Sampling::Distilled { .. })
    }
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sampling::FlowUniPc => f.write_str("FlowUniPC of order 2, with guidance"),
            Sampling::Distilled { sigmas } => {
                write!(f, "distilled: {} fixed noise levels {sigmas:?}, no guidance", sigmas.len())
            }
        }
    }
}
