//! The API keys that are valid now.

use std::sync::{Arc, PoisonError, RwLock};

use super::rules::keys::ApiKeys;

/// The API keys that are valid now, shared. Every holder sees a change of the key file at once.
#[derive(Debug, Clone)]
pub struct KeyRing(Arc<RwLock<Arc<ApiKeys>>>);

impl From<ApiKeys> for KeyRing {
    fn from(keys: ApiKeys) -> KeyRing {
        KeyRing(Arc::new(RwLock::new(Arc::new(keys))))
    }
}

impl KeyRing {
    /// The keys as they are now.
    pub fn now(&self) -> Arc<ApiKeys> {
        // Only ever replaced as a whole, so a panic elsewhere cannot leave half of it.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on these keys are good, and no others.
    pub fn replace(&self, keys: ApiKeys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }
}
