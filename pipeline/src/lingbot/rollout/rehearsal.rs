//! The chunks of a rollout, rehearsed before the first one: then none of them asks a GPU's driver for memory.

use kvcache::RollingKvCache;

use super::{LingBotRollout, Progress};
use crate::lingbot::camera::CameraPath;
use crate::lingbot::memory::Memory;
use crate::lingbot::motion_window::MotionWindow;
use crate::lingbot::past::Past;
use crate::noise::Noise;
use crate::wan::vae::DecoderState;
use crate::world::{Cancel, ChunkInput, Controls, Rollout, WorldError};

impl LingBotRollout {
    /// Draw this rollout's chunks until its window is full, and two more, with nothing computed ([`ops::Device::rehearse`]): the first
    /// chunks have fewer latent frames, and keep less. On a processor nothing is done. An error where there is no memory for it:
    /// the rollout is refused before it has drawn anything.
    pub(super) fn rehearse(&self) -> Result<(), WorldError> {
        self.nets.denoiser.team().rehearse(&self.nets.device, || self.stand_in().draw_until_full())
    }

    /// A rollout like this one, which has drawn nothing and has memory of its own.
    fn stand_in(&self) -> LingBotRollout {
        let LingBotRollout { nets, now, .. } = self;
        let recipe = &nets.config.recipe;
        let history = |_| RollingKvCache::new(now.window().clone(), nets.remembered(self.size));
        LingBotRollout {
            nets: nets.clone(),
            size: self.size,
            chunking: self.chunking,
            fixed: self.fixed.clone(),
            seed: self.seed,
            whose: self.whose.clone(),
            now: Progress {
                chunks: 0,
                prompts: now.prompts.clone(),
                text: now.text.clone(),
                histories: (0..now.histories.len()).map(history).collect(),
                past: Past::default(),
                camera: CameraPath::new(&recipe.camera, self.size, &nets.device),
                motion: recipe.motion.map(MotionWindow::new),
                noise: Noise::silent(&nets.device),
                decoder: DecoderState::new(),
                memory: recipe.memory.map(|config| Memory::new(config, self.size)),
            },
            text_times: Vec::new(),
        }
    }

    fn draw_until_full(mut self) -> Result<(), WorldError> {
        let mut after = 0;
        while after < 2 {
            after += usize::from(self.plan().first_latent_frame >= self.now.window().total());
            let controls = Some(vec![Controls::default(); self.plan().latent_frames]);
            let input = ChunkInput { controls, ..ChunkInput::default() };
            self.generate(&input, &Cancel::default(), &mut |_| {})?;
        }
        Ok(())
    }
}
