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

/// Latent frames of the chunks of one video: of the first, and of every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunking {
    /// Of chunk 0.
    pub first: usize,
    /// Of every chunk after it.
    pub later: usize,
}

/// All that steers one chunk.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChunkInput {
    /// The prompt from this chunk on. `None`: as before.
    pub prompt: Option<String>,
    /// Let the past count as if it had been drawn with the new prompt, before this chunk is drawn: a world makes what
    /// it remembers of earlier frames again, from their clean latents. It takes the time of a chunk or more. Only with
    /// a prompt; a world that remembers nothing has nothing to make again.
    pub recache: bool,
    /// Denoise it in so many steps, evenly spaced, and not as the world's recipe says: in fewer, for a person who waits.
    /// `None`: as the recipe says. A world that has no steps takes any number.
    pub steps: Option<usize>,
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

impl Chunking {
    /// Chunks of the same number of latent frames.
    pub const fn even(latent_frames: usize) -> Chunking {
        Chunking { first: latent_frames, later: latent_frames }
    }

    /// Latent frames of the longest chunk.
    pub fn longest(self) -> usize {
        self.first.max(self.later)
    }

    /// Chunks that a video of `frames` video frames needs.
    pub fn count_for(self, frames: usize) -> usize {
        let [first, second] = [0, 1].map(|index| ChunkPlan::new(index, self).pixel_frames);
        frames.min(1) + frames.saturating_sub(first).div_ceil(second)
    }

    /// Chunks that hold `latent_frames` latent frames.
    pub fn count_for_latent(self, latent_frames: usize) -> usize {
        latent_frames.min(1) + latent_frames.saturating_sub(self.first).div_ceil(self.later)
    }
}

impl ChunkPlan {
    /// The plan of chunk `index` of a video.
    pub fn new(index: usize, chunking: Chunking) -> ChunkPlan {
        let Chunking { first, later } = chunking;
        let (first_latent_frame, latent_frames, missing) = match index {
            0 => (0, first, FRAMES_PER_LATENT - 1),
            _ => (first + (index - 1) * later, later, 0),
        };
        let pixel_frames = latent_frames * FRAMES_PER_LATENT - missing;
        ChunkPlan { index, first_latent_frame, latent_frames, pixel_frames }
    }

    /// The chunk's positions in the video, in latent frames.
    pub fn latent_range(&self) -> Range<usize> {
        self.first_latent_frame..self.first_latent_frame + self.latent_frames
    }

    /// Video frames before the chunk.
    pub fn first_frame(&self) -> usize {
        (self.first_latent_frame * FRAMES_PER_LATENT).saturating_sub(FRAMES_PER_LATENT - 1)
    }

    /// Video frames that each latent frame gives, in order.
    pub fn frames_of_each(&self) -> impl Iterator<Item = usize> + use<> {
        self.latent_range().map(|frame| if frame == 0 { 1 } else { FRAMES_PER_LATENT })
    }
}

impl ChunkInput {
    /// Check that the controls, if there are any, are as many as the latent frames of `plan`, and that only a new
    /// prompt lets the past be made again. `Err` says what is wrong.
    pub fn check(&self, plan: &ChunkPlan) -> Result<(), WorldError> {
        if self.recache && self.prompt.is_none() {
            return Err(WorldError::Failed("recache without a new prompt".into()));
        }
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
        let plans: Vec<_> = (0..3).map(|index| ChunkPlan::new(index, Chunking::even(3))).collect();
        assert_eq!(plans.iter().map(|plan| plan.pixel_frames).collect::<Vec<_>>(), [9, 12, 12]);
        assert_eq!(plans[2].latent_range(), 6..9);
        assert_eq!(ChunkPlan::new(0, Chunking::even(1)).pixel_frames, 1);
        let each = |index, chunk| ChunkPlan::new(index, Chunking::even(chunk)).frames_of_each().collect::<Vec<_>>();
        assert_eq!(each(0, 3), [1, 4, 4]);
        assert_eq!(each(1, 3), [4, 4, 4]);
        assert_eq!((each(0, 1), each(1, 1)), (vec![1], vec![4]));
    }

    #[test]
    fn chunks_cover_a_video_without_a_gap_whatever_the_first_one_has() {
        for later in 1..=4 {
            for first in 1..=2 * later {
                let chunking = Chunking { first, later };
                let (mut latent, mut frames) = (0, 0);
                for index in 0..6 {
                    let plan = ChunkPlan::new(index, chunking);
                    assert_eq!(plan.latent_range(), latent..latent + if index == 0 { first } else { later });
                    assert_eq!(plan.first_frame(), frames);
                    assert_eq!(plan.frames_of_each().sum::<usize>(), plan.pixel_frames);
                    // One frame more than what the chunks before gave needs this chunk, and so does all that it gives.
                    let (least, most) = (frames + 1, frames + plan.pixel_frames);
                    assert_eq!((chunking.count_for(least), chunking.count_for(most)), (index + 1, index + 1));
                    assert_eq!(chunking.count_for_latent(latent + 1), index + 1);
                    latent = plan.latent_range().end;
                    assert_eq!(chunking.count_for_latent(latent), index + 1);
                    frames = most;
                }
                assert_eq!((chunking.count_for(0), chunking.count_for_latent(0)), (0, 0));
                assert_eq!(chunking.longest(), first.max(later));
            }
        }
    }
}
