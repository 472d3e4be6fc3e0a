//! Blocks of rows that are written again and again: what a transformer remembers, a block for each latent frame.
//!
//! In main memory each block has memory of its own, taken when it is first written. On a GPU all lie in one buffer, one after
//! the other, so that attention reads neighbouring blocks as one piece; the buffer is taken whole with the first block.

use crate::error::bail;
use crate::{Result, Tensor};

/// Blocks of one shape. They are first written in order, and then over and over.
#[derive(Debug)]
pub struct Blocks {
    capacity: usize,
    blocks: Vec<Tensor>,
    /// On a GPU, the rows of all blocks.
    buffer: Option<Tensor>,
}

impl Blocks {
    /// Room for `capacity` blocks, of which no memory is taken yet.
    pub fn new(capacity: usize) -> Blocks {
        Blocks { capacity, blocks: Vec::new(), buffer: None }
    }

    /// Write block `index`: `(rows, D)`, the same for all blocks. One that was never written is the next one.
    pub fn write(&mut self, index: usize, rows: &Tensor) -> Result<()> {
        if let Some(block) = self.blocks.get_mut(index) {
            return block.overwrite(rows);
        }
        if index != self.blocks.len() || index >= self.capacity {
            bail!(
                "block {index} follows {} of at most {}: blocks are first written in order",
                self.blocks.len(),
                self.capacity
            );
        }
        let Some(first) = rows.as_cuda() else {
            // A view would keep the whole chunk in memory.
            self.blocks.push(rows.copy()?);
            return Ok(());
        };
        let (height, width) = rows.dims2()?;
        if self.buffer.is_none() {
            self.buffer = Some(first.like(&[self.capacity * height, width])?.into());
        }
        let buffer = self.buffer.as_ref().expect("made above");
        let mut block = buffer.narrow(0, index * height, height)?;
        block.overwrite(rows)?;
        self.blocks.push(block);
        Ok(())
    }

    /// Block `index`, which was written.
    pub fn get(&self, index: usize) -> &Tensor {
        &self.blocks[index]
    }

    /// The same blocks in memory of their own.
    pub fn copy(&self) -> Result<Blocks> {
        let mut copy = Blocks::new(self.capacity);
        for (index, block) in self.blocks.iter().enumerate() {
            copy.write(index, block)?;
        }
        Ok(copy)
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        match &self.buffer {
            Some(buffer) => buffer.bytes(),
            None => self.blocks.iter().map(Tensor::bytes).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{noise, ours};

    #[test]
    fn a_block_is_written_in_order_first_and_then_over_itself() {
        let rows = |seed| ours(&noise((2, 3), seed).expect("numbers"));
        let mut blocks = Blocks::new(2);
        blocks.write(0, &rows(1)).expect("the first");
        let error = blocks.write(2, &rows(2)).expect_err("the third before the second").to_string();
        assert!(error.contains("block 2 follows 1 of at most 2"), "{error}");
        blocks.write(1, &rows(2)).expect("the second");
        assert!(blocks.write(2, &rows(3)).is_err(), "there is room for two");
        blocks.write(0, &rows(4)).expect("over the first");
        let numbers = |tensor: &Tensor| tensor.to_vec::<f32>().expect("f32");
        assert_eq!(numbers(blocks.get(0)), numbers(&rows(4)));
        assert_eq!(numbers(blocks.get(1)), numbers(&rows(2)));
        assert_eq!(blocks.bytes(), 2 * 6 * 4);
        let copy = blocks.copy().expect("memory");
        blocks.write(0, &rows(5)).expect("over the first");
        assert_eq!((numbers(copy.get(0)), numbers(copy.get(1))), (numbers(&rows(4)), numbers(&rows(2))));
    }
}
