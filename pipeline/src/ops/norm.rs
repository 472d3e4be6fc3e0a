//! Normalisation of rows.

use super::{Result, Tensor};

/// `x / sqrt(mean(x²) + eps) · gamma` over the last dimension.
///
/// `x`: `(N, D)`, `gamma`: `(D)`.
pub fn rms_norm(x: &Tensor, gamma: &Tensor, eps: f64) -> Result<Tensor> {
    let mean_square = (x.sqr()?.sum_keepdim(1)? / x.dim(1)? as f64)?;
    x.broadcast_div(&(mean_square + eps)?.sqrt()?)?.broadcast_mul(gamma)
}
