//! A shorter memory while nothing moves, an option of LingBot World.
//!
//! Off unless a model's policy asks for it. While keys are held attention sees `moving` frames of history between sink and
//! chunk; after `still_chunks` chunks without a key only `still`. What is hidden is not forgotten.

use crate::lingbot::config::MotionWindowConfig;
use crate::world::Controls;

/// Where one video stands.
#[derive(Debug, Clone)]
pub struct MotionWindow {
    config: MotionWindowConfig,
    /// Chunks without a key since the last one with.
    still_chunks: usize,
}

impl MotionWindow {
    pub fn new(config: MotionWindowConfig) -> MotionWindow {
        MotionWindow { config, still_chunks: 0 }
    }

    /// The limit for a chunk steered by `controls`: see [`kvcache::Window::visible`]. Without controls there is none.
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
