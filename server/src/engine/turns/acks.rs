//! Which events a chunk was drawn with, and which were replaced before a chunk could show them.

/// Ids told with one chunk, of each sort. Of more, the oldest are not told: only a client that means harm sends so many.
pub const ACKS_MAX: usize = 256;

/// The ids of events since the chunk before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acks {
    /// Drawn with this chunk for the first time.
    pub applied: Vec<u32>,
    /// Replaced by later events before a chunk showed them.
    pub superseded: Vec<u32>,
}

impl Acks {
    /// The next chunk is the first to show these.
    pub fn applied(&mut self, ids: impl IntoIterator<Item = u32>) {
        note(&mut self.applied, ids);
    }

    /// No chunk will show these.
    pub fn superseded(&mut self, ids: impl IntoIterator<Item = u32>) {
        note(&mut self.superseded, ids);
    }
}

/// Each once, at most [`ACKS_MAX`].
pub fn note(noted: &mut Vec<u32>, ids: impl IntoIterator<Item = u32>) {
    for id in ids {
        noted.retain(|&earlier| earlier != id);
        noted.push(id);
    }
    noted.drain(..noted.len().saturating_sub(ACKS_MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_noted_once_and_no_more_than_there_is_room_for() {
        let mut acks = Acks::default();
        acks.applied([7, 9, 7]);
        acks.superseded(0..ACKS_MAX as u32 + 5);
        assert_eq!(acks.applied, [9, 7]);
        assert_eq!((acks.superseded.len(), acks.superseded[0]), (ACKS_MAX, 5));
    }
}
