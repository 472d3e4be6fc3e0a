//! A table of rows, looked up by token number.

use crate::error::bail;
use crate::{Device, Result, Stored, Tensor};

/// One row a token. Rows are looked up, so a table of gigabytes is never computed with.
#[derive(Debug, Clone)]
pub struct Embedding {
    device: Device,
    width: usize,
    /// `(tokens, D)`, row-major.
    rows: Vec<f32>,
}

impl Embedding {
    /// `table`: `(tokens, D)`.
    pub fn new(table: &Stored, device: &Device) -> Result<Embedding> {
        match *table.shape() {
            [_, width] if width > 0 => Ok(Embedding { device: device.clone(), width, rows: table.to_vec()? }),
            _ => bail!("a table has rows and columns, not {:?}", table.shape()),
        }
    }

    /// `(tokens, D)`: one row for each of these numbers. An error if there is no such row.
    pub fn look_up(&self, tokens: &[u32]) -> Result<Tensor> {
        let mut values = Vec::with_capacity(tokens.len() * self.width);
        for &token in tokens {
            match self.rows.chunks_exact(self.width).nth(token as usize) {
                Some(row) => values.extend_from_slice(row),
                None => bail!("there is no token {token} among {}", self.rows.len() / self.width),
            }
        }
        Tensor::from_vec(values, [tokens.len(), self.width], &self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn rows_are_those_of_the_numbers_in_their_order_and_no_others_exist() {
        let bytes: Vec<u8> = (0..6u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
        let table = Stored::new("table", DType::F32, &[3, 2], &bytes).expect("six numbers");
        let embedding = Embedding::new(&table, &Device::cpu()).expect("a table");
        let rows = embedding.look_up(&[2, 0, 2]).expect("three rows");
        assert_eq!((rows.dims(), rows.to_vec().expect("f32")), (&[3, 2][..], vec![4f32, 5.0, 0.0, 1.0, 4.0, 5.0]));
        assert!(embedding.look_up(&[3]).is_err());
    }
}
