//! Attention over blocks of keys and values that lie anywhere on a device.
//!
//! The kernel takes a few runs of rows. Blocks that lie one after the other in memory are one run: so the frames of a rolling
//! window, which lie in one buffer a layer, are three at most.

use std::slice::from_ref;

use super::CudaTensor;
use super::launch::{self, Attention, Run};
use crate::Result;
use crate::attention::Heads;

/// `softmax(q·kᵀ / √d)·v`. `q`: `(N, queries·d)`; `keys`, `values`: blocks of `(any length, keys·d)`, as many of each.
pub(crate) fn attention(
    q: &CudaTensor,
    keys: &[CudaTensor],
    values: &[CudaTensor],
    heads: Heads,
    causal: bool,
) -> Result<CudaTensor> {
    let dim = q.width() / heads.queries;
    attend(q, keys, values, heads, 1.0 / (dim as f32).sqrt(), None, causal)
}

/// `softmax(q·kᵀ + bias)·v`, where every row sees every row. `bias`: `(heads, 2·N − 1)`, one a distance.
pub(crate) fn relative_attention(
    q: &CudaTensor,
    k: &CudaTensor,
    v: &CudaTensor,
    heads: usize,
    bias: &[f32],
) -> Result<CudaTensor> {
    let bias = CudaTensor::from_f32(q.cuda(), bias, &[bias.len()])?;
    attend(q, from_ref(k), from_ref(v), Heads { queries: heads, keys: heads }, 1.0, Some(&bias), false)
}

fn attend(
    q: &CudaTensor,
    keys: &[CudaTensor],
    values: &[CudaTensor],
    heads: Heads,
    scale: f32,
    bias: Option<&CudaTensor>,
    causal: bool,
) -> Result<CudaTensor> {
    let dim = q.width() / heads.queries;
    let kv_step = heads.keys * dim;
    let cast = |blocks: &[CudaTensor]| blocks.iter().map(|block| block.cast(q.dtype())).collect::<Result<Vec<_>>>();
    // Of one type already, but where a prompt was read as f32: then the casts live until the launch is queued, and their
    // memory is given to later work alone.
    let (keys, values) = (cast(keys)?, cast(values)?);
    let out = q.like(q.shape())?;
    if out.elements() == 0 {
        return Ok(out);
    }
    let attention = Attention {
        q: q.address_of(0),
        rows: q.rows(),
        q_step: q.width(),
        runs: &runs(&keys, &values),
        kv_step,
        heads: heads.queries,
        key_heads: heads.keys,
        head: dim,
        bias,
        scale,
        causal,
    };
    launch::attention(&attention, &out)?;
    Ok(out)
}

/// Neighbouring blocks that also lie one after the other, keys and values both, as one run.
fn runs(keys: &[CudaTensor], values: &[CudaTensor]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (keys, values) in keys.iter().zip(values).filter(|(keys, _)| keys.rows() > 0) {
        let (rows, bytes) = (keys.rows(), |run: &Run| (run.rows * keys.width() * keys.dtype().bytes()) as u64);
        let (keys, values) = (keys.address_of(0), values.address_of(0));
        match runs.last_mut() {
            Some(run) if run.keys + bytes(run) == keys && run.values + bytes(run) == values => run.rows += rows,
            _ => runs.push(Run { keys, values, rows }),
        }
    }
    runs
}
