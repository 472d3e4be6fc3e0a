//! The inputs of a pass besides the chunk itself, each with its own lifetime.

use kvcache::{PromptKvCache, RollingKvCache};
use ops::Tensor;
use ops::rope::Rotary;

/// All that a pass may look at besides the chunk.
pub struct PassContext<'a> {
    /// Lives as long as the chunk.
    pub condition: &'a Condition,
    /// Lives as long as the prompt.
    pub prompt: &'a PromptKvCache,
    /// Lives as long as the video.
    pub history: &'a mut RollingKvCache,
}

/// The inputs that are the same for every pass over one chunk.
pub struct Condition {
    pub(super) rotary: Rotary,
    /// `(N, D)`: the tokens' part that comes from mask and condition latents, bias included.
    pub(super) fixed_tokens: Tensor,
    /// One entry a block; `None` if no control was ever used.
    pub(super) camera: Option<Vec<CameraModulation>>,
    /// A limit on the history between sink and chunk, in latent frames.
    pub(super) recent: Option<usize>,
}

/// What one chunk's camera does to one block: `h·gain + shift`, `(N, D)` each.
pub struct CameraModulation {
    pub(super) gain: Tensor,
    pub(super) shift: Tensor,
}
