//! Attention with a learnt bias for each distance, as in T5. Scores are not divided by √d: the training absorbed it.

use crate::{Device, Result, Tensor};

/// A bias for every head and every distance `key − query`, for a text of one length.
pub struct DistanceBias {
    heads: usize,
    rows: usize,
    /// Head-major, distances from `1 − rows` to `rows − 1`: so the bias of one query over all keys is a slice.
    by_distance: Vec<f32>,
}

impl DistanceBias {
    /// `table`: `(buckets, heads)`. `bucket_of(distance)` is a row of it.
    pub fn new(table: &Tensor, rows: usize, bucket_of: impl Fn(isize) -> usize) -> Result<DistanceBias> {
        let (_, heads) = table.dims2()?;
        let table = table.to_vec2::<f32>()?;
        let reach = rows as isize - 1;
        let buckets: Vec<_> = (-reach..=reach).map(bucket_of).collect();
        let by_distance = (0..heads).flat_map(|head| buckets.iter().map(move |&bucket| (head, bucket)));
        Ok(DistanceBias { heads, rows, by_distance: by_distance.map(|(head, bucket)| table[bucket][head]).collect() })
    }

    /// `(heads, N, N)`: query, then key.
    fn dense(&self) -> Result<Tensor> {
        let n = self.rows;
        let mut dense = Vec::with_capacity(self.heads * n * n);
        for head in self.by_distance.chunks_exact(2 * n - 1) {
            for query in 0..n {
                // Key 0 is at distance −query, which stands n − 1 − query places after the first.
                let first = n - 1 - query;
                dense.extend_from_slice(&head[first..first + n]);
            }
        }
        Tensor::from_vec(dense, (self.heads, n, n), &Device::Cpu)
    }
}

/// `softmax(q·kᵀ + bias)·v` for each head.
///
/// `q`, `k`, `v`: `(N, heads·d)`, heads side by side. Every row sees every row.
pub fn relative_attention(q: &Tensor, k: &Tensor, v: &Tensor, bias: &DistanceBias) -> Result<Tensor> {
    let (n, width) = q.dims2()?;
    assert_eq!(n, bias.rows, "a bias is made for one length of text");
    let by_head = |x: &Tensor| x.reshape((n, bias.heads, width / bias.heads))?.transpose(0, 1)?.contiguous();
    let scores = (by_head(q)?.matmul(&by_head(k)?.transpose(1, 2)?)? + bias.dense()?)?;
    let weights = scores.broadcast_sub(&scores.max_keepdim(2)?)?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(2)?)?;
    weights.matmul(&by_head(v)?)?.transpose(0, 1)?.reshape((n, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_equals_attention_written_as_loops() -> Result<()> {
        let (n, heads, d) = (5, 3, 4);
        let wave = |step: f32, count: usize| (0..count).map(|i| (i as f32 * step).sin()).collect::<Vec<_>>();
        let [q, k, v] = [0.7, 1.3, 2.1].map(|step| wave(step, n * heads * d));
        let table = wave(0.9, 2 * n * heads);
        let bucket_of = |distance: isize| (distance + n as isize) as usize;

        let tensor = |x: &[f32]| Tensor::from_slice(x, (n, heads * d), &Device::Cpu);
        let table_tensor = Tensor::from_slice(&table, (2 * n, heads), &Device::Cpu)?;
        let bias = DistanceBias::new(&table_tensor, n, bucket_of)?;
        let found = relative_attention(&tensor(&q)?, &tensor(&k)?, &tensor(&v)?, &bias)?.to_vec2::<f32>()?;

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
                    let found = f64::from(found[query][head * d + i]);
                    assert!((found - expected).abs() < 1e-5, "head {head} query {query}: {found} is not {expected}");
                }
            }
        }
        Ok(())
    }
}
