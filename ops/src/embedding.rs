//! A table of rows, looked up by token number.

use crate::error::bail;
use crate::{DType, Device, Result, Stored, Tensor};

/// One row a token. The table stays in the type of its file, and a row is cast when it is looked up: UMT5's has a billion
/// numbers, of which a prompt needs a few rows.
#[derive(Debug, Clone)]
pub struct Embedding {
    device: Device,
    dtype: DType,
    /// `(tokens, D)`.
    shape: [usize; 2],
    /// The numbers as their file stores them, row-major.
    table: Vec<u8>,
}

impl Embedding {
    /// `table`: `(tokens, D)`. An error if a number is not finite.
    pub fn new(table: &Stored, device: &Device) -> Result<Embedding> {
        match *table.shape() {
            [tokens, width] if width > 0 => {
                table.check()?;
                let table_bytes = table.bytes().to_vec();
                Ok(Embedding {
                    device: device.clone(),
                    dtype: table.dtype(),
                    shape: [tokens, width],
                    table: table_bytes,
                })
            }
            _ => bail!("a table has rows and columns, not {:?}", table.shape()),
        }
    }

    /// `(tokens, D)`: one row for each of these numbers. An error if there is no such row.
    pub fn look_up(&self, tokens: &[u32]) -> Result<Tensor> {
        let [rows, width] = self.shape;
        let table = Stored::new("table", self.dtype, &self.shape, &self.table)?;
        let mut values = vec![0.0; tokens.len() * width];
        for (&token, row) in tokens.iter().zip(values.chunks_exact_mut(width)) {
            match token as usize {
                token if token < rows => table.read(token * width, row)?,
                token => bail!("there is no token {token} among {rows}"),
            }
        }
        Tensor::from_vec(values, [tokens.len(), width], &self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn rows_are_those_of_the_numbers_in_their_order_and_no_others_exist() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let bytes: Vec<u8> = (0..6u8)
                .map(f32::from)
                .flat_map(|value| match dtype {
                    DType::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
                    DType::BF16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
                    _ => value.to_le_bytes().to_vec(),
                })
                .collect();
            let table = Stored::new("table", dtype, &[3, 2], &bytes).expect("six numbers");
            let embedding = Embedding::new(&table, &Device::cpu()).expect("a table");
            let rows = embedding.look_up(&[2, 0, 2]).expect("three rows");
            let expected = vec![4f32, 5.0, 0.0, 1.0, 4.0, 5.0];
            assert_eq!((rows.dims(), rows.to_vec().expect("f32")), (&[3, 2][..], expected), "{dtype}");
            assert!(embedding.look_up(&[3]).is_err());
        }
    }
}
