//! Attention to packed keys and values beside the definition in f64, on every unit and its plain twin.

use super::*;
use crate::testing::noise;

fn numbers(rows: usize, width: usize, seed: u32) -> Vec<f32> {
    noise((rows, width), seed).and_then(|noise| noise.flatten_all()?.to_vec1()).expect("f32")
}

fn held(value: f32) -> f64 {
    f64::from(half::bf16::from_f32(value).to_f32())
}

/// `(N, heads·dim)`, of keys and values that are rounded as they are held.
fn definition(q: &[f32], keys: &[f32], values: &[f32], heads: usize, dim: usize) -> Vec<f64> {
    let width = heads * dim;
    let mut out = Vec::new();
    for q in q.chunks_exact(width) {
        for head in 0..heads {
            let of = |row: &[f32]| -> Vec<f64> { row[head * dim..][..dim].iter().map(|x| held(*x)).collect() };
            let q: Vec<f64> = q[head * dim..][..dim].iter().map(|x| f64::from(*x)).collect();
            let scores: Vec<f64> = keys
                .chunks_exact(width)
                .map(|key| of(key).iter().zip(&q).map(|(k, q)| k * q).sum::<f64>() / (dim as f64).sqrt())
                .collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let total: f64 = weights.iter().sum();
            let mut sums = vec![0.0; dim];
            for (weight, value) in weights.iter().zip(values.chunks_exact(width)) {
                sums.iter_mut().zip(of(value)).for_each(|(sum, value)| *sum += weight * value / total);
            }
            out.extend(sums);
        }
    }
    out
}

/// Written in order, and then over again where a window would.
fn written(shape: HistoryShape) -> (History, Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let HistoryShape { blocks, rows, heads, dim } = shape;
    let mut history = History::new(shape);
    let (mut keys, mut values) = (vec![Vec::new(); blocks], vec![Vec::new(); blocks]);
    for (time, block) in (0..blocks).chain([0, blocks / 2]).enumerate() {
        keys[block] = numbers(rows, heads * dim, 100 + time as u32);
        values[block] = numbers(rows, heads * dim, 200 + time as u32);
        history.write(block, &keys[block], &values[block]);
    }
    (history, keys, values)
}

#[test]
fn every_unit_gives_what_the_definition_says_of_the_blocks_that_are_seen() {
    for (shape, queries) in [
        (HistoryShape { blocks: 1, rows: 1, heads: 1, dim: 2 }, 1),
        (HistoryShape { blocks: 9, rows: 24, heads: 4, dim: 48 }, 24),
        (HistoryShape { blocks: 5, rows: 7, heads: 2, dim: 6 }, 14),
        (HistoryShape { blocks: 3, rows: 5, heads: 1, dim: 19 }, 100),
        // More keys than a strip.
        (HistoryShape { blocks: 4, rows: 301, heads: 2, dim: 32 }, 9),
        (HistoryShape { blocks: 2, rows: 33, heads: 1, dim: 128 }, 13),
    ] {
        let HistoryShape { blocks, heads, dim, .. } = shape;
        let (history, keys, values) = written(shape);
        let q: Vec<f32> = numbers(queries, heads * dim, 1).iter().map(|x| 3.0 * x).collect();
        let seen = [(0..blocks).rev().collect(), vec![0], vec![blocks - 1], (0..blocks).step_by(2).collect::<Vec<_>>()];
        for seen in seen {
            let of = |all: &[Vec<f32>]| seen.iter().flat_map(|block| all[*block].clone()).collect::<Vec<_>>();
            let expected = definition(&q, &of(&keys), &of(&values), heads, dim);
            for unit in Bf16Unit::available().into_iter().chain([Bf16Unit::PlainPairs, Bf16Unit::PlainTiles]) {
                if unit.is_tiles() && dim % ALIGN != 0 {
                    continue;
                }
                // A unit that multiplies bf16 itself rounds queries and weights to 8 bits, too.
                let tolerance = if unit.widens() { 6e-6 } else { 1.0 / 64.0 };
                let found = history.attend_by(unit, &q, &seen);
                assert_eq!(found.len(), expected.len());
                for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let error = (f64::from(*found) - expected).abs();
                    assert!(
                        error <= tolerance,
                        "{unit:?} {shape:?}, blocks {seen:?}, at {at}: {found}, not {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_threads_nor_on_what_unseen_blocks_hold() {
    let shape = HistoryShape { blocks: 6, rows: 50, heads: 4, dim: 48 };
    let (mut history, ..) = written(shape);
    let q = numbers(150, 4 * 48, 1);
    let on = |history: &History, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let found = pool.install(|| history.attend(&q, &[1, 2, 4]));
        found.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
    };
    let alone = on(&history, 1);
    assert_eq!(on(&history, 2), alone);
    assert_eq!(on(&history, 3), alone);
    for unseen in [0, 3, 5] {
        let other = numbers(50, 4 * 48, 900 + unseen as u32);
        history.write(unseen, &other, &other);
    }
    assert_eq!(on(&history, 2), alone);
}

#[test]
fn a_block_is_held_as_its_numbers_rounded_and_all_take_little_more_than_two_bytes_each() {
    let shape = HistoryShape { blocks: 3, rows: 5, heads: 2, dim: 9 };
    let (history, keys, values) = written(shape);
    for block in 0..3 {
        let rounded = |all: &[f32]| all.iter().map(|x| held(*x) as f32).collect::<Vec<_>>();
        assert_eq!(history.block(block), (rounded(&keys[block]), rounded(&values[block])));
    }
    assert_eq!(shape.bytes(), 2 * (history.keys.len() + history.values.len()) as u64);
    // The published shape: nine frames of 1560 keys, 12 heads of 128.
    let wide = HistoryShape { blocks: 9, rows: 1560, heads: 12, dim: 128 };
    let plain = 2 * 2 * 9 * 1560 * 12 * 128;
    assert!(wide.bytes() >= plain && wide.bytes() < plain + plain / 500, "{} for {plain}", wide.bytes());
}

#[test]
fn strips_cover_what_is_seen_once_and_begin_where_tiles_do() {
    let history = History::new(HistoryShape { blocks: 20, rows: 100, heads: 1, dim: 2 });
    for blocks in [vec![0], vec![3], vec![2, 1, 0], vec![0, 5, 6, 7, 8, 9, 10, 11, 12, 19]] {
        let strips = history.strips(&blocks);
        let mut seen: Vec<usize> = Vec::new();
        for Strip { first, length, seen: here } in &strips {
            assert!(first % ALIGN == 0 && length % ALIGN == 0 && (ALIGN..=STRIP).contains(length), "{strips:?}");
            assert!(here.end <= *length && first + length <= history.shape.length(), "{strips:?}");
            seen.extend(here.clone().map(|key| first + key));
        }
        let mut expected: Vec<usize> = blocks.iter().flat_map(|block| block * 100..(block + 1) * 100).collect();
        expected.sort_unstable();
        assert_eq!(seen, expected);
    }
}
