//! The keys and values of one layer, a block for each latent frame, and attention to them.
//!
//! They are kept as the blocks that are written, or in bf16, packed for attention when they are written. Then they take half the
//! memory, and a pass packs its own chunk alone.

use crate::attention::attention;
use crate::cpu::narrow::{History, HistoryShape};
use crate::cpu::storage::read;
use crate::error::bail;
use crate::{Blocks, Device, Result, Tensor};

/// Keys and values of one layer.
#[derive(Debug)]
pub struct KeyValues {
    heads: usize,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    /// In the type in which they are written.
    AsWritten { keys: Blocks, values: Blocks },
    /// In bf16, in main memory. `None` before the first block, whose shape all have.
    Packed { capacity: usize, history: Option<History> },
}

impl KeyValues {
    /// Room for `capacity` blocks of these heads, kept as they are written. No memory is taken yet.
    pub fn new(capacity: usize, heads: usize) -> KeyValues {
        KeyValues { heads, kept: Kept::AsWritten { keys: Blocks::new(capacity), values: Blocks::new(capacity) } }
    }

    /// The same, kept in bf16 and packed. The memory of all blocks is taken with the first one. Only in main memory.
    pub fn packed(capacity: usize, heads: usize) -> KeyValues {
        KeyValues { heads, kept: Kept::Packed { capacity, history: None } }
    }

    /// Bytes of `capacity` packed blocks of `rows` keys and values.
    pub fn packed_bytes(capacity: usize, rows: usize, heads: usize, head_dim: usize) -> u64 {
        HistoryShape { blocks: capacity, rows, heads, dim: head_dim }.bytes()
    }

    /// Write block `index`: keys and values, `(rows, D)` each, the same shape for all blocks. One that was never written is the
    /// next one.
    pub fn write(&mut self, index: usize, keys: &Tensor, values: &Tensor) -> Result<()> {
        let heads = self.heads;
        match &mut self.kept {
            Kept::AsWritten { keys: kept_keys, values: kept_values } => {
                kept_keys.write(index, keys)?;
                kept_values.write(index, values)
            }
            Kept::Packed { capacity, history } => {
                let (rows, width) = keys.dims2()?;
                if values.dims() != keys.dims() || width % heads != 0 {
                    bail!("keys of {:?} and values of {:?} in {heads} heads", keys.dims(), values.dims());
                }
                let shape = HistoryShape { blocks: *capacity, rows, heads, dim: width / heads };
                let history = history.get_or_insert_with(|| History::new(shape));
                if history.shape() != shape || index >= *capacity {
                    bail!("block {index} of {shape:?} does not fit into {:?}", history.shape());
                }
                read(keys, |keys| read(values, |values| history.write(index, keys, values)))?
            }
        }
    }

    /// `softmax(q·kᵀ / √d)·v`, head by head, over these blocks, which were written. `q`: `(N, D)` → `(N, D)`.
    pub fn attend(&self, q: &Tensor, blocks: &[usize]) -> Result<Tensor> {
        match &self.kept {
            Kept::AsWritten { keys, values } => {
                let of = |kept: &Blocks| blocks.iter().map(|index| kept.get(*index).clone()).collect::<Vec<_>>();
                let (keys, values) = (of(keys), of(values));
                attention(q, &keys.iter().collect::<Vec<_>>(), &values.iter().collect::<Vec<_>>(), self.heads)
            }
            Kept::Packed { history, .. } => {
                let history = written(history)?;
                let width = history.shape().heads * history.shape().dim;
                if q.dims2()?.1 != width {
                    bail!("queries of {:?} look at keys of {width}", q.dims());
                }
                let found = read(q, |q| history.attend(q, blocks))?;
                Tensor::from_vec(found, q.dims(), &q.device())
            }
        }
    }

    /// Keys and values of a block that was written, `(rows, D)` each, as they are kept.
    pub fn block(&self, index: usize) -> Result<(Tensor, Tensor)> {
        match &self.kept {
            Kept::AsWritten { keys, values } => Ok((keys.get(index).clone(), values.get(index).clone())),
            Kept::Packed { history, .. } => {
                let history = written(history)?;
                let HistoryShape { rows, heads, dim, .. } = history.shape();
                let (keys, values) = history.block(index);
                let tensor = |numbers| Tensor::from_vec(numbers, [rows, heads * dim], &Device::cpu());
                Ok((tensor(keys)?, tensor(values)?))
            }
        }
    }

    /// The same in memory of its own.
    pub fn copy(&self) -> Result<KeyValues> {
        let kept = match &self.kept {
            Kept::AsWritten { keys, values } => Kept::AsWritten { keys: keys.copy()?, values: values.copy()? },
            Kept::Packed { capacity, history } => Kept::Packed { capacity: *capacity, history: history.clone() },
        };
        Ok(KeyValues { heads: self.heads, kept })
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        match &self.kept {
            Kept::AsWritten { keys, values } => keys.bytes() + values.bytes(),
            Kept::Packed { history, .. } => history.as_ref().map_or(0, |history| history.shape().bytes()),
        }
    }
}

fn written(history: &Option<History>) -> Result<&History> {
    match history {
        Some(history) => Ok(history),
        None => bail!("no block was written yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PlainResult, noise, ours};

    #[test]
    fn packed_blocks_are_attended_to_as_the_rounded_ones_are_and_take_half_the_memory() -> PlainResult<()> {
        let rows = |seed| -> PlainResult<Tensor> { Ok(ours(&noise((32, 4 * 48), seed)?)) };
        let (mut packed, mut plain) = (KeyValues::packed(4, 4), KeyValues::new(4, 4));
        assert_eq!((packed.bytes(), plain.bytes()), (0, 0));
        for index in [0, 1, 2, 3, 1] {
            let (keys, values) = (rows(index as u32)?, rows(100 + index as u32)?);
            packed.write(index, &keys, &values).expect("a block");
            let (keys, values) = packed.block(index).expect("was written");
            plain.write(index, &keys, &values).expect("a block");
        }
        assert_eq!((2 * packed.bytes(), packed.bytes()), (plain.bytes(), KeyValues::packed_bytes(4, 32, 4, 48)));
        let q = rows(7)?;
        for kept in [&packed, &packed.copy().expect("memory")] {
            let found = kept.attend(&q, &[3, 1, 2]).and_then(|found| found.to_vec::<f32>()).expect("f32");
            let expected = plain.attend(&q, &[3, 1, 2]).and_then(|found| found.to_vec::<f32>()).expect("f32");
            let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // A processor that multiplies bf16 rounds queries and weights, too.
            let allowed = if crate::cpu::narrow::multiplies_bf16() { 1.0 / 64.0 } else { 4e-6 };
            assert!(off <= allowed, "off by {off:e}");
        }
        let error = packed.write(4, &q, &q).expect_err("there is room for four").to_string();
        assert!(error.contains("block 4"), "{error}");
        assert!(KeyValues::packed(4, 4).attend(&q, &[0]).is_err(), "nothing was written");
        Ok(())
    }
}
