//! A shorter view of the history while the camera rests: an option of LingBot World.
//!
//! It is off unless a model's recipe turns it on. While the camera is steered, attention sees `moving` latent frames of
//! history between the sink and the chunk. After `still_chunks` chunks without a control it sees only `still`. Hidden
//! frames stay stored and are seen again when the camera moves on.

use super::recipe::MotionWindowConfig;
use crate::world::Controls;

/// How long the camera of one video has rested.
#[derive(Debug, Clone)]
pub struct MotionWindow {
    config: MotionWindowConfig,
    /// Chunks without a control since the last one with a control.
    still_chunks: usize,
}

impl MotionWindow {
    /// A video whose first chunk comes next.
    pub fn new(config: MotionWindowConfig) -> MotionWindow {
        MotionWindow { config, still_chunks: 0 }
    }

    /// As [`MotionWindow::new`], in the middle of a video.
    pub(super) fn after(config: MotionWindowConfig, still_chunks: usize) -> MotionWindow {
        MotionWindow { config, still_chunks }
    }

    /// Chunks without a control since the last one with a control.
    pub(super) fn still_chunks(&self) -> usize {
        self.still_chunks
    }

    /// How many latent frames of history the next chunk sees, if it is steered by `controls`: the limit that
    /// [`kvcache::Window::visible`] takes. `None`, no limit, for a chunk without controls: it leaves the count as it
    /// is.
    pub fn recent(&mut self, controls: Option<&[Controls]>) -> Option<usize> {
        let moves = controls?.iter().any(|controls| !controls.is_still());
        self.still_chunks = if moves { 0 } else { self.still_chunks + 1 };
        let MotionWindowConfig { moving, still, still_chunks } = self.config;
        Some(if self.still_chunks >= still_chunks { still } else { moving })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Held;

    #[test]
    fn two_chunks_without_a_key_shorten_the_memory_and_one_key_restores_it() {
        let mut window = MotionWindow::new(MotionWindowConfig { moving: 12, still: 3, still_chunks: 2 });
        let held = [Controls::default(), Held::default().with('w').into()];
        let none = [Controls::default(), Controls::default()];
        let chunks = [Some(&held), Some(&none), None, Some(&none), Some(&none), Some(&held), Some(&none)];
        let recent = chunks.map(|controls| window.recent(controls.map(|c| c.as_slice())));
        assert_eq!(recent, [Some(12), Some(12), None, Some(3), Some(3), Some(12), Some(12)]);
    }
}
