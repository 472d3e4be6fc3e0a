//! One chunk: its place in the video, what steers it, its pixels, and how long its parts took.

use std::ops::{AddAssign, Range};
use std::time::Duration;

use super::{Controls, Size, WorldError};

/// The place of a chunk in its video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkPlan {
    /// 0 for the first chunk of a video.
    pub index: usize,
    /// Absolute position of the chunk's first latent frame in the video.
    pub first_latent_frame: usize,
    /// Latent frames of the chunk.
    pub latent_frames: usize,
    /// Video frames that the chunk gives: with Wan's autoencoder 4 a latent frame, except 1 for the very first.
    pub pixel_frames: usize,
}

/// All that steers one chunk.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChunkInput {
    /// The prompt from this chunk on. `None`: as before.
    pub prompt: Option<String>,
    /// What steers each latent frame, in order. `None`: no control was ever used, and the model's camera branch is left
    /// out. That draws other pictures than a camera at rest.
    pub controls: Option<Vec<Controls>>,
}

/// Pixels of one or more consecutive video frames: row-major RGB8, frame after frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames {
    /// Width and height of each frame.
    pub size: Size,
    /// How many frames there are.
    pub count: usize,
    /// `3·width·height·count` bytes.
    pub rgb: Vec<u8>,
}

/// How long the parts of a chunk, or of a clip's piece, took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// The prompt: its text states, and every block's cross-attention keys and values. Zero if it did not change.
    pub text: Duration,
    /// The transformer: all of its passes, with the one that remembers the chunk.
    pub dit: Duration,
    /// The decoder: latents to pixels.
    pub vae: Duration,
}

/// Video frames that Wan's autoencoder makes of one latent frame. The very first latent frame of a video gives 1.
pub const FRAMES_PER_LATENT: usize = 4;

impl ChunkPlan {
    /// The plan of chunk `index` in a video whose chunks have `latent_frames` each.
    pub fn new(index: usize, latent_frames: usize) -> ChunkPlan {
        let missing = if index == 0 { FRAMES_PER_LATENT - 1 } else { 0 };
        ChunkPlan {
            index,
            first_latent_frame: index * latent_frames,
            latent_frames,
            pixel_frames: latent_frames * FRAMES_PER_LATENT - missing,
        }
    }

    /// Chunks of `latent_frames` each that a video of `frames` video frames needs.
    pub fn count_for(frames: usize, latent_frames: usize) -> usize {
        let [first, second] = [0, 1].map(|index| ChunkPlan::new(index, latent_frames).pixel_frames);
        frames.min(1) + frames.saturating_sub(first).div_ceil(second)
    }

    /// The chunk's positions in the video, in latent frames.
    pub fn latent_range(&self) -> Range<usize> {
        self.first_latent_frame..self.first_latent_frame + self.latent_frames
    }

    /// Video frames that each latent frame gives, in order.
    pub fn frames_of_each(&self) -> impl Iterator<Item = usize> + use<> {
        self.latent_range().map(|frame| if frame == 0 { 1 } else { FRAMES_PER_LATENT })
    }
}

impl ChunkInput {
    /// Check that the controls, if there are any, are as many as the latent frames of `plan`. `Err` says both numbers.
    pub fn check(&self, plan: &ChunkPlan) -> Result<(), WorldError> {
        let given = self.controls.as_ref().map_or(plan.latent_frames, Vec::len);
        if given == plan.latent_frames {
            return Ok(());
        }
        let needed = plan.latent_frames;
        Err(WorldError::Failed(format!("controls for {given} latent frames, in a chunk of {needed}")))
    }
}

impl Timings {
    /// The sum of the parts.
    pub fn total(&self) -> Duration {
        self.text + self.dit + self.vae
    }
}

impl AddAssign for Timings {
    fn add_assign(&mut self, Timings { text, dit, vae }: Timings) {
        self.text += text;
        self.dit += dit;
        self.vae += vae;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_latent_frame_of_a_video_gives_one_frame_and_every_other_four() {
        let plans: Vec<_> = (0..3).map(|index| ChunkPlan::new(index, 3)).collect();
        assert_eq!(plans.iter().map(|plan| plan.pixel_frames).collect::<Vec<_>>(), [9, 12, 12]);
        assert_eq!(plans[2].latent_range(), 6..9);
        assert_eq!(ChunkPlan::new(0, 1).pixel_frames, 1);
        let each = |index, chunk| ChunkPlan::new(index, chunk).frames_of_each().collect::<Vec<_>>();
        assert_eq!(each(0, 3), [1, 4, 4]);
        assert_eq!(each(1, 3), [4, 4, 4]);
        assert_eq!((each(0, 1), each(1, 1)), (vec![1], vec![4]));
    }
}
