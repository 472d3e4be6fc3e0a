//! The inputs of a pass besides the chunk itself, each with its own lifetime.

use std::ops::Range;

use kvcache::{PromptKvCache, RollingKvCache};
use ops::Tensor;
use ops::collective::Rank;
use ops::rope::Rotary;

/// All that a pass may look at besides the chunk, on one rank.
pub struct PassContext<'a> {
    /// Lives as long as the pass.
    pub rank: &'a Rank,
    /// Of the rank's tokens. Lives as long as the chunk.
    pub condition: &'a Condition,
    /// Of all heads. Lives as long as the prompt.
    pub prompt: &'a PromptKvCache,
    /// Of the rank's heads. Lives as long as the video.
    pub history: &'a mut RollingKvCache,
}

/// All that a pass may look at besides the chunk, on every rank of a team.
pub struct TeamContext<'a> {
    /// One a rank.
    pub conditions: &'a [Condition],
    /// One that all ranks read, or one a rank where each has memory of its own.
    pub prompts: &'a [PromptKvCache],
    /// One a rank.
    pub histories: &'a mut [RollingKvCache],
}

/// The inputs that are the same for every pass over one chunk, of the tokens of one rank.
pub struct Condition {
    /// Which of the chunk's tokens these are: `n` of `N`.
    pub(super) tokens: Range<usize>,
    pub(super) rotary: Rotary,
    /// `(n, D)`: the tokens' part that comes from mask and condition latents, bias included.
    pub(super) fixed_tokens: Tensor,
    /// One entry a block; `None` if no control was ever used.
    pub(super) camera: Option<Vec<CameraModulation>>,
    /// A limit on the history between sink and chunk, in latent frames.
    pub(super) recent: Option<usize>,
}

/// What one chunk's camera does to one block: `h·gain + shift`, `(n, D)` each.
pub struct CameraModulation {
    pub(super) gain: Tensor,
    pub(super) shift: Tensor,
}
