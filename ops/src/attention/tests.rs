//! Attention against its definition.

use candle_core::D;

use super::*;
use crate::testing::{Plain, PlainResult, SameBits, assert_close, noise, ours};

/// The definition, one head of queries at a time. In `mask`, what is added to the scores: `(N, length)`.
fn plain(q: &Plain, k: &Plain, v: &Plain, heads: Heads, mask: Option<&Plain>) -> PlainResult<Plain> {
    let dim = q.dim(1)? / heads.queries;
    let of_head = |x: &Plain, head: usize| x.narrow(1, head * dim, dim)?.contiguous();
    let heads = (0..heads.queries).map(|head| {
        let shared = head / (heads.queries / heads.keys);
        let scores = (of_head(q, head)?.matmul(&of_head(k, shared)?.t()?)? / (dim as f64).sqrt())?;
        let scores = mask.map_or(Ok(scores.clone()), |mask| &scores + mask)?;
        let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?.matmul(&of_head(v, shared)?)
    });
    Plain::cat(&heads.collect::<PlainResult<Vec<_>>>()?, 1)
}

#[test]
fn it_agrees_with_the_definition_however_the_history_is_cut_into_blocks() -> PlainResult<()> {
    for (rows, length, queries, keys, dim) in [
        (1, 1, 1, 1, 4),
        (5, 9, 2, 2, 18),
        (24, 216, 4, 4, 48),
        (17, 40, 1, 1, 128),
        (7, 23, 6, 3, 24),
        (30, 50, 8, 2, 16),
        (9, 33, 4, 1, 16),
        // Several spans of keys, the last of them shorter; several tiles and parts of queries.
        (14, 600, 2, 1, 32),
        (1, 1100, 2, 2, 8),
        (1100, 1030, 2, 1, 8),
    ] {
        let heads = Heads { queries, keys };
        let q = (noise((rows, queries * dim), 1)? * 3.0)?;
        let (k, v) = (noise((length, keys * dim), 2)?, noise((length, keys * dim), 3)?);
        let expected = plain(&q, &k, &v, heads, None)?;
        for cut in [length, length / 2, length.min(1)] {
            let blocks = |x: &Plain| -> PlainResult<Vec<Tensor>> {
                [(0, cut), (cut, length - cut)]
                    .into_iter()
                    .filter(|(_, n)| *n > 0)
                    .map(|(from, n)| Ok(ours(&x.narrow(0, from, n)?)))
                    .collect()
            };
            let (k, v) = (blocks(&k)?, blocks(&v)?);
            let (k, v): (Vec<_>, Vec<_>) = (k.iter().collect(), v.iter().collect());
            let mut same = SameBits::default();
            for isa in Isa::available() {
                let found = attention_with(isa, &ours(&q), &k, &v, heads, Sight::Everything).expect("rows");
                assert_close(&found, &expected, 2e-6);
                same.see(isa, found.to_vec::<f32>().expect("f32"));
            }
        }
    }
    Ok(())
}

#[test]
fn a_token_of_a_text_sees_itself_and_what_came_before() -> PlainResult<()> {
    // The last two take several tiles of scores, and several spans of keys and parts of queries.
    for (rows, queries, keys, dim) in [(1, 1, 1, 4), (13, 6, 3, 24), (40, 4, 1, 16), (300, 2, 1, 8), (1100, 2, 1, 8)] {
        let heads = Heads { queries, keys };
        let q = (noise((rows, queries * dim), 1)? * 3.0)?;
        let (k, v) = (noise((rows, keys * dim), 2)?, noise((rows, keys * dim), 3)?);
        let mask = |i: usize| if i % rows > i / rows { f32::NEG_INFINITY } else { 0.0 };
        let mask = Plain::from_vec((0..rows * rows).map(mask).collect(), (rows, rows), q.device())?;
        let expected = plain(&q, &k, &v, heads, Some(&mask))?;
        let (q, k, v) = (ours(&q), ours(&k), ours(&v));
        for isa in Isa::available() {
            let found = attention_with(isa, &q, &[&k], &[&v], heads, Sight::Past).expect("rows");
            assert_close(&found, &expected, 2e-6);
        }
    }
    Ok(())
}

#[test]
fn heads_that_do_not_fit_the_rows_are_an_error() -> PlainResult<()> {
    let (q, k) = (ours(&noise((2, 12), 1)?), ours(&noise((3, 6), 2)?));
    let check = |heads: Heads, said: &str| {
        let error = grouped_attention(&q, &[&k], &[&k], heads).expect_err(said).to_string();
        assert!(error.contains(said), "{error:?} does not say {said:?}");
    };
    check(Heads { queries: 4, keys: 3 }, "4 heads of queries in 3 groups");
    check(Heads { queries: 5, keys: 1 }, "does not hold 5 heads");
    check(Heads { queries: 4, keys: 1 }, "are rows of 3");
    assert!(causal_attention(&q, &k, &k, Heads { queries: 4, keys: 2 }).is_err(), "2 queries, 3 keys");
    grouped_attention(&q, &[&k], &[&k], Heads { queries: 4, keys: 2 }).expect("fits");
    Ok(())
}
