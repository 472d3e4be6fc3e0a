//! What of a video changes from chunk to chunk.

use std::sync::Arc;

use kvcache::{PromptKvCache, RollingKvCache, Window};

use crate::lingbot::camera::CameraPath;
use crate::lingbot::memory::Memory;
use crate::lingbot::motion_window::MotionWindow;
use crate::lingbot::past::Past;
use crate::noise::Noise;
use crate::wan::vae::DecoderState;

/// All that a rollout keeps to go back to.
pub(in crate::lingbot) struct Progress {
    pub(in crate::lingbot) chunks: usize,
    /// One for each network.
    pub(in crate::lingbot) prompts: Vec<PromptKvCache>,
    /// That prompt as the text encoder read it.
    pub(in crate::lingbot) text: Arc<str>,
    /// The keys and values of each rank's heads.
    pub(in crate::lingbot) histories: Vec<RollingKvCache>,
    pub(in crate::lingbot) past: Past,
    pub(in crate::lingbot) camera: CameraPath,
    pub(in crate::lingbot) motion: Option<MotionWindow>,
    pub(in crate::lingbot) noise: Noise,
    pub(in crate::lingbot) decoder: DecoderState,
    /// Pictures by their place, for a world that reads them.
    pub(in crate::lingbot) memory: Option<Memory>,
}

/// What a chunk changes before anything of it is kept. Keys and values are not among it: every pass writes over those of the
/// chunk, and only they are written.
pub(super) struct Before {
    prompts: Vec<PromptKvCache>,
    text: Arc<str>,
    camera: CameraPath,
    motion: Option<MotionWindow>,
    noise: Noise,
    memory: Option<Memory>,
}

impl Progress {
    /// Which frames are remembered: the same on every rank.
    pub(in crate::lingbot) fn window(&self) -> &Window {
        self.histories[0].window()
    }

    /// Shared, or a few numbers.
    pub(super) fn before(&self) -> Before {
        Before {
            prompts: self.prompts.clone(),
            text: Arc::clone(&self.text),
            camera: self.camera.clone(),
            motion: self.motion.clone(),
            noise: self.noise.clone(),
            memory: self.memory.clone(),
        }
    }

    pub(super) fn put_back(&mut self, before: Before) {
        let Before { prompts, text, camera, motion, noise, memory } = before;
        (self.prompts, self.text, self.camera, self.motion) = (prompts, text, camera, motion);
        (self.noise, self.memory) = (noise, memory);
    }

    /// Keys and values are copied, because they are overwritten in place. Everything else is replaced rather than
    /// written to, so it is shared.
    pub(super) fn copy(&self) -> ops::Result<Progress> {
        Ok(Progress {
            chunks: self.chunks,
            prompts: self.prompts.clone(),
            text: Arc::clone(&self.text),
            histories: self.histories.iter().map(RollingKvCache::copy).collect::<ops::Result<_>>()?,
            past: self.past.clone(),
            camera: self.camera.clone(),
            motion: self.motion.clone(),
            noise: self.noise.clone(),
            decoder: self.decoder.clone(),
            memory: self.memory.clone(),
        })
    }
}
