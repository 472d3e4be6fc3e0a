//! What a rollout is between two chunks, kept to go back to.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use super::{Init, WorldError};

/// All that a rollout's next chunks depend on, beside its [`Init`] and the weights; or what a chunk was drawn to. Only the
/// rollout that made it reads it. A clone is the same memory.
#[derive(Clone)]
pub struct State(Rc<dyn Any>);

impl State {
    /// What the rollout of one world keeps.
    pub fn new<T: 'static>(kept: T) -> State {
        State(Rc::new(kept))
    }

    /// What was kept. `Err`: it is the state of another world's rollout.
    pub fn get<T: 'static>(&self) -> Result<&T, WorldError> {
        self.0.downcast_ref().ok_or_else(|| WorldError::Failed("a state of another world's rollout".into()))
    }
}

/// The most bytes that are kept of a rollout that can go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptBytes {
    /// Of each state.
    pub state: u64,
    /// Of each chunk since the oldest state: what [`Rollout::last_drawn`](super::Rollout::last_drawn) gives, and what it added to the
    /// memory that states share.
    pub chunk: u64,
}

/// What is kept of a rollout that begins like this.
pub type StateBytes = Arc<dyn Fn(&Init) -> KeptBytes + Send + Sync>;
