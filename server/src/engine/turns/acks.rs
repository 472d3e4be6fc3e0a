//! Which events a chunk was drawn with, and which were replaced before a chunk could show them.

use std::time::Instant;

/// Ids told with one chunk, of each sort. Of more, the oldest are not told: only a client that means harm sends so many.
pub const ACKS_MAX: usize = 256;

/// The ids of events since the chunk before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acks {
    /// Drawn with this chunk for the first time.
    pub applied: Vec<u32>,
    /// Replaced by later events before a chunk showed them.
    pub superseded: Vec<u32>,
    /// Of those applied, where and since when; of an event with several parts, of its first.
    pub receipts: Vec<Receipt>,
}

/// Where an event shows first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The event's id.
    pub id: u32,
    /// The first latent frame that it changes.
    pub latent_frame: usize,
    /// When it came to the queue of conditions.
    pub arrived: Instant,
}

impl Acks {
    /// The next chunk is the first to show these.
    pub fn applied(&mut self, ids: impl IntoIterator<Item = u32>) {
        note(&mut self.applied, ids);
    }

    /// The next chunk is the first to show this one.
    pub fn receipt(&mut self, receipt: Receipt) {
        self.applied([receipt.id]);
        // Of an event with several parts, the first to show.
        let earlier = self.receipts.iter().position(|earlier| earlier.id == receipt.id);
        let receipt = earlier.map(|at| self.receipts.remove(at)).map_or(receipt, |earlier| Receipt {
            latent_frame: earlier.latent_frame.min(receipt.latent_frame),
            ..receipt
        });
        self.receipts.push(receipt);
        self.receipts.drain(..self.receipts.len().saturating_sub(ACKS_MAX));
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
