//! Attention with a learnt bias for each distance, as in T5. Scores are not divided by √d: the training absorbed it.

use candle_core as candle;

use crate::cuda;
use crate::error::bail;
use crate::tensor::{On, on};
use crate::{Error, Result, Stored, Tensor};

/// The table of biases of one layer, one row a bucket of distances.
#[derive(Debug, Clone)]
pub struct DistanceTable {
    heads: usize,
    /// `(buckets, heads)`, row-major.
    biases: Vec<f32>,
}

/// A bias for every head and every distance `key − query`, for a text of one length.
pub struct DistanceBias {
    heads: usize,
    rows: usize,
    /// Head-major, distances from `1 − rows` to `rows − 1`: so the bias of one query over all keys is a slice.
    by_distance: Vec<f32>,
}

impl DistanceTable {
    /// `table`: `(buckets, heads)`.
    pub fn new(table: &Stored) -> Result<DistanceTable> {
        match *table.shape() {
            [_, heads] if heads > 0 => Ok(DistanceTable { heads, biases: table.to_vec()? }),
            _ => bail!("a table of biases has buckets and heads, not {:?}", table.shape()),
        }
    }

    /// The biases for a text of `rows` tokens. `bucket_of(distance)` is a row of the table.
    pub fn for_rows(&self, rows: usize, bucket_of: impl Fn(isize) -> usize) -> DistanceBias {
        let reach = rows as isize - 1;
        let buckets: Vec<_> = (-reach..=reach).map(bucket_of).collect();
        let heads = self.heads;
        let by_distance = (0..heads).flat_map(|head| buckets.iter().map(move |bucket| bucket * heads + head));
        DistanceBias { heads, rows, by_distance: by_distance.map(|at| self.biases[at]).collect() }
    }
}

impl DistanceBias {
    /// `(heads, N, N)`: query, then key.
    fn dense(&self, device: &candle::Device) -> candle::Result<candle::Tensor> {
        let n = self.rows;
        let mut dense = Vec::with_capacity(self.heads * n * n);
        for head in self.by_distance.chunks_exact(2 * n - 1) {
            for query in 0..n {
                // Key 0 is at distance −query, which stands n − 1 − query places after the first.
                let first = n - 1 - query;
                dense.extend_from_slice(&head[first..first + n]);
            }
        }
        candle::Tensor::from_vec(dense, (self.heads, n, n), device)
    }
}

/// `softmax(q·kᵀ + bias)·v` for each head.
///
/// `q`, `k`, `v`: `(N, heads·d)`, heads side by side. Every row sees every row.
pub fn relative_attention(q: &Tensor, k: &Tensor, v: &Tensor, bias: &DistanceBias) -> Result<Tensor> {
    let (n, width) = q.dims2()?;
    assert_eq!(n, bias.rows, "a bias is made for one length of text");
    if let On::Cuda([q, k, v]) = on("attention with distances", [q, k, v])? {
        return Ok(cuda::relative_attention(q, k, v, bias.heads, &bias.by_distance)?.into());
    }
    let here = |x: &Tensor| x.cpu("attention with distances").cloned();
    let (q, k, v) = (&here(q)?, &here(k)?, &here(v)?);
    let attend = || -> candle::Result<candle::Tensor> {
        let by_head =
            |x: &candle::Tensor| x.reshape((n, bias.heads, width / bias.heads))?.transpose(0, 1)?.contiguous();
        let scores = (by_head(q)?.matmul(&by_head(k)?.transpose(1, 2)?)? + bias.dense(q.device())?)?;
        let weights = scores.broadcast_sub(&scores.max_keepdim(2)?)?.exp()?;
        let weights = weights.broadcast_div(&weights.sum_keepdim(2)?)?;
        weights.matmul(&by_head(v)?)?.transpose(0, 1)?.reshape((n, width))
    };
    attend().map(Tensor::of).map_err(Error::of_storage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::testing::Weight;

    #[test]
    fn it_equals_attention_written_as_loops() -> Result<()> {
        let (n, heads, d) = (5, 3, 4);
        let wave = |step: f32, count: usize| (0..count).map(|i| (i as f32 * step).sin()).collect::<Vec<_>>();
        let [q, k, v] = [0.7, 1.3, 2.1].map(|step| wave(step, n * heads * d));
        let table = wave(0.9, 2 * n * heads);
        let bucket_of = |distance: isize| (distance + n as isize) as usize;

        let tensor = |x: &[f32]| Tensor::from_vec(x.to_vec(), [n, heads * d], &Device::cpu());
        let bias = DistanceTable::new(&Weight::new(&table, &[2 * n, heads]).stored())?.for_rows(n, bucket_of);
        let found = relative_attention(&tensor(&q)?, &tensor(&k)?, &tensor(&v)?, &bias)?.to_vec::<f32>()?;

        for head in 0..heads {
            let at = |x: &[f32], row: usize, i: usize| f64::from(x[(row * heads + head) * d + i]);
            for query in 0..n {
                let score = |key: usize| {
                    let dot: f64 = (0..d).map(|i| at(&q, query, i) * at(&k, key, i)).sum();
                    let bucket = bucket_of(key as isize - query as isize);
                    (dot + f64::from(table[bucket * heads + head])).exp()
                };
                let total: f64 = (0..n).map(score).sum();
                for i in 0..d {
                    let expected: f64 = (0..n).map(|key| score(key) * at(&v, key, i)).sum::<f64>() / total;
                    let found = f64::from(found[(query * heads + head) * d + i]);
                    assert!((found - expected).abs() < 1e-5, "head {head} query {query}: {found} is not {expected}");
                }
            }
        }
        Ok(())
    }
}
