//! UMT5's encoder: token numbers in, one state a token out.
//!
//! Unlike T5, every layer has its own table of distance biases. Only the prompt's own tokens are run: padding is masked out
//! in the reference, so leaving it out gives the same states for less work.

pub mod config;

use ops::activation::Activation;
use ops::norm::rms_norm;
use ops::relative_attention::{DistanceBias, DistanceTable, relative_attention};
use ops::{Embedding, Linear, Result, Tensor, Then};

use self::config::TextConfig;
use crate::load::error::LoadError;
use crate::load::weights::Weights;

/// The weights of the encoder.
pub struct Umt5 {
    shared: Embedding,
    blocks: Vec<Block>,
    final_layer_norm: Tensor,
    buckets: Buckets,
    eps: f64,
}

struct Block {
    attention_norm: Tensor,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    relative_attention_bias: DistanceTable,
    feed_forward_norm: Tensor,
    wi_0: Linear,
    wi_1: Linear,
    wo: Linear,
}

impl Umt5 {
    /// `weights` holds the tensors that [`tensors::text_encoder`](crate::wan::tensors::text_encoder) lists.
    pub fn load(config: &TextConfig, weights: &Weights) -> std::result::Result<Umt5, LoadError> {
        let encoder = weights.at("encoder");
        let block = |index| Block::load(&encoder.at("block").at(index));
        Ok(Umt5 {
            shared: Embedding::new(&weights.stored("shared.weight")?, weights.device())?,
            blocks: (0..config.num_layers).map(block).collect::<std::result::Result<_, _>>()?,
            final_layer_norm: encoder.tensor("final_layer_norm.weight")?,
            buckets: Buckets::new(config.relative_attention_num_buckets, config.relative_attention_max_distance),
            eps: config.layer_norm_epsilon,
        })
    }

    /// One state for each of `tokens`: `(tokens, D)`. At least one token, all of them in the vocabulary.
    pub fn encode(&self, tokens: &[u32]) -> Result<Tensor> {
        let mut x = self.shared.look_up(tokens)?;
        for block in &self.blocks {
            let bias = block.relative_attention_bias.for_rows(tokens.len(), |distance| self.buckets.of(distance));
            x = block.apply(&x, &bias, self.eps)?;
        }
        rms_norm(&x, &self.final_layer_norm, self.eps)
    }
}

impl Block {
    fn load(weights: &Weights) -> std::result::Result<Block, LoadError> {
        let attention = weights.at("layer.0.SelfAttention");
        let feed_forward = weights.at("layer.1.DenseReluDense");
        Ok(Block {
            attention_norm: weights.tensor("layer.0.layer_norm.weight")?,
            q: attention.at("q").linear_without_bias()?,
            k: attention.at("k").linear_without_bias()?,
            v: attention.at("v").linear_without_bias()?,
            o: attention.at("o").linear_without_bias()?,
            relative_attention_bias: DistanceTable::new(&attention.stored("relative_attention_bias.weight")?)?,
            feed_forward_norm: weights.tensor("layer.1.layer_norm.weight")?,
            wi_0: feed_forward.at("wi_0").linear_without_bias()?,
            wi_1: feed_forward.at("wi_1").linear_without_bias()?,
            wo: feed_forward.at("wo").linear_without_bias()?,
        })
    }

    fn apply(&self, x: &Tensor, bias: &DistanceBias, eps: f64) -> Result<Tensor> {
        let y = rms_norm(x, &self.attention_norm, eps)?;
        let y = relative_attention(&self.q.apply(&y)?, &self.k.apply(&y)?, &self.v.apply(&y)?, bias)?;
        let x = self.o.apply_then(&y, Then::Add(x))?;
        let y = rms_norm(&x, &self.feed_forward_norm, eps)?;
        let y = (self.wi_0.apply_then(&y, Then::Activate(Activation::GeluTanh))? * self.wi_1.apply(&y)?)?;
        self.wo.apply_then(&y, Then::Add(&x))
    }
}

/// Which row of a bias table a distance uses: near ones have a row each, far ones share rows that widen logarithmically.
///
/// Half of the rows are for keys at or before the query, half for keys after it.
struct Buckets {
    /// The least distance of each row of one half, ascending.
    first_distance: Vec<usize>,
}

impl Buckets {
    fn new(count: usize, max_distance: usize) -> Buckets {
        let half = count / 2;
        let exact = half / 2;
        let shared = half - exact;
        let widening = |i: usize| {
            let first = exact as f64 * (max_distance as f64 / exact as f64).powf(i as f64 / shared as f64);
            // Where a row begins at a whole number (16, 32 and 64 of UMT5-XXL) the power may come out a hair above it.
            (first - 1e-9).ceil() as usize
        };
        Buckets { first_distance: (0..exact).chain((0..shared).map(widening)).collect() }
    }

    /// `distance`: key − query.
    fn of(&self, distance: isize) -> usize {
        let half = self.first_distance.len();
        let row = self.first_distance.partition_point(|&first| first <= distance.unsigned_abs()) - 1;
        if distance > 0 { half + row } else { row }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_the_transformers_library() {
        // T5's published formula in f32, as it runs there.
        let reference = |distance: isize, count: usize, max_distance: usize| {
            let half = count / 2;
            let exact = half / 2;
            let offset = if distance > 0 { half } else { 0 };
            let n = distance.unsigned_abs();
            if n < exact {
                return offset + n;
            }
            let log = (n as f32 / exact as f32).ln() / (max_distance as f32 / exact as f32).ln();
            offset + (exact + (log * (half - exact) as f32) as usize).min(half - 1)
        };
        for (count, max_distance) in [(16, 32), (32, 128), (64, 256), (8, 20)] {
            let buckets = Buckets::new(count, max_distance);
            for distance in -600..=600 {
                let expected = reference(distance, count, max_distance);
                assert_eq!(buckets.of(distance), expected, "distance {distance} of {count}/{max_distance}");
            }
        }
    }

    #[test]
    fn rows_of_the_published_model_begin_where_they_should() {
        assert_eq!(Buckets::new(32, 128).first_distance, [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]);
    }
}
