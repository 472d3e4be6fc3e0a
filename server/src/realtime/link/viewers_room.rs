//! Room for viewers: how many the server has, and the memory that is held for them at most. Each part of it goes back when
//! the value that stands for it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::bounds::AudienceBounds;

/// What all audiences of the server share.
pub(crate) struct ViewersRoom {
    bounds: AudienceBounds,
    viewers: AtomicUsize,
    bytes: AtomicU64,
}

impl ViewersRoom {
    pub(super) fn new(bounds: AudienceBounds) -> Arc<ViewersRoom> {
        Arc::new(ViewersRoom { bounds, viewers: AtomicUsize::new(0), bytes: AtomicU64::new(0) })
    }

    /// Viewers of all sessions.
    pub(crate) fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Relaxed)
    }

    /// Viewers of one session at most.
    pub(super) fn viewers_of_session(&self) -> usize {
        self.bounds.viewers_of_session
    }

    /// What is held for them at most.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// So many bytes more, if there is room for them.
    pub(super) fn hold(self: &Arc<Self>, bytes: u64) -> Result<Held, Full> {
        let fits = |held: u64| held.checked_add(bytes).filter(|all| *all <= self.bounds.bytes);
        let held = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        held.map_err(|_| Full("the memory for viewers is full".to_owned()))?;
        Ok(Held { room: Arc::clone(self), bytes: AtomicU64::new(bytes) })
    }

    pub(super) fn take_place(self: &Arc<Self>) -> Result<Place, Full> {
        let most = self.bounds.viewers;
        let fits = |viewers: usize| (viewers < most).then_some(viewers + 1);
        let taken = self.viewers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.map_err(|_| Full(format!("{most} viewers watch sessions of this server already")))?;
        Ok(Place(Arc::clone(self)))
    }
}

/// There is no room for another viewer, for this reason.
pub(super) struct Full(pub(super) String);

/// Memory counted for viewers, until this is dropped.
pub(super) struct Held {
    room: Arc<ViewersRoom>,
    bytes: AtomicU64,
}

impl Held {
    /// At least so much from now on, if there is room.
    pub(super) fn grow(&self, bytes: u64) -> Result<(), Full> {
        let more = bytes.saturating_sub(self.bytes.load(Ordering::Relaxed));
        let held = self.room.hold(more)?;
        self.bytes.fetch_add(held.bytes.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        Ok(())
    }

    /// At most so much from now on.
    pub(super) fn shrink(&self, bytes: u64) {
        let less = self.bytes.load(Ordering::Relaxed).saturating_sub(bytes);
        self.bytes.fetch_sub(less, Ordering::Relaxed);
        self.room.bytes.fetch_sub(less, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.bytes.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// One of the server's viewers, until this is dropped.
pub(super) struct Place(Arc<ViewersRoom>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}
