//! What a rollout is between two chunks, kept to go back to.

use std::any::Any;

use super::WorldError;

/// All that a rollout's next chunks depend on, beside its [`Init`](super::Init) and the weights. Only the rollout that made
/// it reads it.
pub struct State(Box<dyn Any>);

impl State {
    /// What the rollout of one world keeps.
    pub fn new<T: 'static>(kept: T) -> State {
        State(Box::new(kept))
    }

    /// What was kept. `Err`: it is the state of another world's rollout.
    pub fn get<T: 'static>(&self) -> Result<&T, WorldError> {
        self.0.downcast_ref().ok_or_else(|| WorldError::Failed("a state of another world's rollout".into()))
    }
}
