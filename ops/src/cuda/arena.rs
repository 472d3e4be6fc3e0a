//! Memory of the device that is kept and used again.
//!
//! A buffer that is dropped goes back to the arena, not to the driver: to ask the driver costs more than most kernels, and
//! waits for all of them. Work on one stream runs in order, so memory may be given to a later operation while an earlier
//! one still reads it. A chunk asks for the same sizes in the same order as the one before it; a rollout's chunks are rehearsed
//! when it is opened (`rehearsal.rs`), so that none of them asks the driver.

use std::collections::BTreeMap;

/// Where a block of memory begins on the device.
pub(super) type Address = u64;

/// A block that was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) address: Address,
    /// May be more than was asked for.
    pub(super) bytes: usize,
}

/// Blocks that nobody holds, by size.
#[derive(Debug, Default)]
pub(super) struct Arena {
    free: BTreeMap<usize, Vec<Address>>,
    /// Bytes of all blocks, free ones included.
    taken: usize,
    /// Bytes of free blocks.
    idle: usize,
    /// Blocks that the driver gave, ever.
    given: u64,
}

/// Kernels read and write 16 bytes at a time.
const ALIGNMENT: usize = 16;

/// The bytes that a block of `bytes` takes: no block is empty, and its end is aligned.
pub(super) fn block_bytes(bytes: usize) -> usize {
    bytes.max(1).next_multiple_of(ALIGNMENT)
}

impl Arena {
    /// The smallest free block that holds `bytes` and is at most an eighth larger: a much larger one would be missing
    /// where it fits.
    pub(super) fn take(&mut self, bytes: usize) -> Option<Block> {
        let wanted = block_bytes(bytes);
        let (&bytes, addresses) = self.free.range_mut(wanted..=wanted + wanted / 8).next()?;
        let address = addresses.pop().expect("a size without blocks is removed");
        if addresses.is_empty() {
            self.free.remove(&bytes);
        }
        self.idle -= bytes;
        Some(Block { address, bytes })
    }

    /// A block that the driver gave, which is handed out at once.
    pub(super) fn add(&mut self, block: Block) {
        self.taken += block.bytes;
        self.given += 1;
    }

    /// A block that nobody holds any more.
    pub(super) fn give_back(&mut self, block: Block) {
        self.free.entry(block.bytes).or_default().push(block.address);
        self.idle += block.bytes;
    }

    /// All free blocks, for the driver: the arena forgets them.
    pub(super) fn drain(&mut self) -> Vec<Block> {
        let blocks: Vec<Block> = std::mem::take(&mut self.free)
            .into_iter()
            .flat_map(|(bytes, addresses)| addresses.into_iter().map(move |address| Block { address, bytes }))
            .collect();
        self.taken -= self.idle;
        self.idle = 0;
        blocks
    }

    /// Bytes of free blocks.
    pub(super) fn idle(&self) -> usize {
        self.idle
    }

    /// Blocks that the driver gave, ever.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// Bytes of blocks that somebody holds.
    pub(super) fn held(&self) -> usize {
        self.taken - self.idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(arena: &mut Arena, address: Address, bytes: usize) -> Block {
        let block = Block { address, bytes: block_bytes(bytes) };
        arena.add(block);
        block
    }

    #[test]
    fn a_block_is_used_again_for_what_it_fits_and_not_for_what_is_much_smaller() {
        let mut arena = Arena::default();
        let (small, large) = (add(&mut arena, 1, 1000), add(&mut arena, 2, 4096));
        arena.give_back(small);
        arena.give_back(large);
        assert_eq!((arena.taken, arena.held()), (1008 + 4096, 0));
        assert_eq!(arena.take(4097), None, "no block is so large");
        assert_eq!(arena.take(2000), None, "a block of twice the size is kept for what needs it");
        assert_eq!(arena.take(3700), Some(large));
        assert_eq!(arena.take(1005), Some(small));
        assert_eq!((arena.take(1000), arena.held()), (None, 1008 + 4096));
    }

    #[test]
    fn drained_blocks_are_the_driver_s_again() {
        let mut arena = Arena::default();
        let (kept, spare) = (add(&mut arena, 1, 32), add(&mut arena, 2, 64));
        arena.give_back(spare);
        assert_eq!(arena.drain(), [spare]);
        assert_eq!((arena.taken, arena.held(), arena.take(64)), (32, 32, None));
        arena.give_back(kept);
        assert_eq!(arena.drain(), [kept]);
        assert_eq!(arena.taken, 0);
    }
}
