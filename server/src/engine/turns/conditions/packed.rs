//! The conditions of a session that goes on in another process: what is held, what waits, and what is not acknowledged yet.
//!
//! When an event came is not kept: the time that a receipt measures begins again.

use std::time::Instant;

use pipeline::world::{PROMPT_BYTES_MAX, Size};
use serde::{Deserialize, Serialize};

use super::{ACKS_MAX, Acks, Camera, ConditionQueue, Prompt, Receipt};

/// All of a [`ConditionQueue`] between two chunks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackedConditions {
    camera: Camera,
    prompt: Option<PackedPrompt>,
    applied_id: Option<u32>,
    waiting_id: Option<u32>,
    hurried_id: Option<u32>,
    /// Ids, and the latent frames that they show in.
    waiting: Vec<(u32, usize)>,
    applied: Vec<u32>,
    superseded: Vec<u32>,
    receipts: Vec<(u32, usize)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackedPrompt {
    text: String,
    recache: bool,
    id: Option<u32>,
    reported_id: Option<u32>,
}

impl ConditionQueue {
    /// What is to go on. The session goes to no other video or place in it meanwhile.
    pub fn pack(&self) -> PackedConditions {
        let ConditionQueue { camera, prompt, leaves: _, left: _, applied_id, waiting_id, hurried_id, waiting, acks } =
            self;
        let places = |receipts: &[Receipt]| receipts.iter().map(|receipt| (receipt.id, receipt.latent_frame)).collect();
        PackedConditions {
            camera: camera.clone(),
            prompt: prompt.as_ref().map(|Prompt { text, recache, id, reported_id, arrived: _ }| PackedPrompt {
                text: text.clone(),
                recache: *recache,
                id: *id,
                reported_id: *reported_id,
            }),
            applied_id: *applied_id,
            waiting_id: *waiting_id,
            hurried_id: *hurried_id,
            waiting: places(waiting),
            applied: acks.applied.clone(),
            superseded: acks.superseded.clone(),
            receipts: places(&acks.receipts),
        }
    }
}

impl PackedConditions {
    /// The conditions of a video of this size at this rate, from now on. `Err`: no server has made this.
    pub fn unpack(self, fps: u32, size: Size, now: Instant) -> Result<ConditionQueue, String> {
        let PackedConditions {
            camera,
            prompt,
            applied_id,
            waiting_id,
            hurried_id,
            waiting,
            applied,
            superseded,
            receipts,
        } = self;
        let ids =
            [waiting.len(), applied.len(), superseded.len(), receipts.len()].into_iter().max().unwrap_or_default();
        if ids > ACKS_MAX {
            return Err(format!("{ids} ids of events wait; at most {ACKS_MAX} may"));
        }
        if let Some(long) = prompt.as_ref().filter(|prompt| prompt.text.len() > PROMPT_BYTES_MAX) {
            return Err(format!("a prompt of {} bytes; at most {PROMPT_BYTES_MAX}", long.text.len()));
        }
        let places = |places: Vec<(u32, usize)>| {
            places.into_iter().map(|(id, latent_frame)| Receipt { id, latent_frame, arrived: now }).collect()
        };
        Ok(ConditionQueue {
            camera: camera.kept(fps, size)?,
            prompt: prompt.map(|PackedPrompt { text, recache, id, reported_id }| Prompt {
                text,
                recache,
                id,
                reported_id,
                arrived: now,
            }),
            leaves: false,
            left: None,
            applied_id,
            waiting_id,
            hurried_id,
            waiting: places(waiting),
            acks: Acks { applied, superseded, receipts: places(receipts) },
        })
    }
}
