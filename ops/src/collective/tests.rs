//! Ranks on threads of the processor.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::attention::{Heads, grouped_attention};
use crate::testing::{noise, ours};

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec().expect("f32")
}

#[test]
fn shares_are_neighbours_of_one_size_and_the_first_few_have_one_more() {
    let lengths = |total, ranks| -> Vec<usize> { (0..ranks).map(|rank| share(total, rank, ranks).len()).collect() };
    // The published example: 4524 tokens over 8 ranks.
    assert_eq!(lengths(4524, 8), [566, 566, 566, 566, 565, 565, 565, 565]);
    assert_eq!(lengths(4680, 8), [585; 8]);
    assert_eq!(lengths(2, 3), [1, 1, 0]);
    for (total, ranks) in [(7, 2), (10, 4), (3, 3), (1, 1), (12, 5)] {
        let all: Vec<usize> = (0..ranks).flat_map(|rank| share(total, rank, ranks)).collect();
        assert_eq!(all, (0..total).collect::<Vec<_>>());
    }
}

#[test]
fn attention_over_ranks_is_attention_bit_for_bit_for_uneven_tokens_and_grouped_heads() {
    // The last has the groups of Cosmos3 Nano: 32 heads of queries share 8 of keys.
    for (ranks, tokens, queries, keys, dim) in
        [(2, 7, 4, 4, 6), (3, 10, 6, 3, 8), (4, 9, 4, 4, 18), (4, 5, 4, 4, 4), (1, 5, 2, 1, 4), (4, 33, 32, 8, 16)]
    {
        let rows = |heads: usize, seed| ours(&noise((tokens, heads * dim), seed).expect("numbers"));
        let (q, k, v) = (rows(queries, 1), rows(keys, 2), rows(keys, 3));
        let plain = grouped_attention(&q, &[&k], &[&v], Heads { queries, keys }).expect("fits");
        let team = Team::of_threads(ranks).expect("threads");
        assert_eq!(team.ranks(), ranks);
        let attended = team.run(&mut vec![(); ranks], |rank, ()| -> Result<Tensor> {
            let own = rank.share(tokens);
            let own = |x: &Tensor| x.narrow(0, own.start, own.len());
            let [q, k, v] = rank.own_heads([&own(&q)?, &own(&k)?, &own(&v)?])?;
            assert_eq!(k.dims(), [tokens, keys / ranks * dim]);
            let heads = Heads { queries: queries / ranks, keys: keys / ranks };
            let own = rank.own_tokens(grouped_attention(&q, &[&k], &[&v], heads)?)?;
            assert_eq!(own.dims(), [rank.share(tokens).len(), queries * dim]);
            rank.gather(own)
        });
        for attended in attended.expect("a team") {
            assert_eq!(numbers(&attended), numbers(&plain), "{ranks} ranks, {tokens} tokens");
        }
    }
}

#[test]
fn a_rank_that_fails_ends_the_others_and_says_why() {
    let team = Team::of_threads(3).expect("threads");
    let rows = ours(&noise((2, 6), 1).expect("numbers"));
    for failing in 0..3 {
        let run = |fail: &(dyn Fn() -> Result<()> + Sync)| {
            // The others wait in the first exchange, or in the second one.
            team.run(&mut [0, 1, 2], |rank, number| -> Result<Tensor> {
                assert_eq!(rank.number(), *number);
                let gathered = rank.gather(rows.clone())?;
                if rank.number() == failing {
                    fail()?;
                }
                rank.gather(gathered)
            })
        };
        let error = run(&|| bail!("it has no weights")).expect_err("one failed");
        assert_eq!(error.to_string(), "it has no weights");
        catch_unwind(AssertUnwindSafe(|| run(&|| panic!("a planted panic")))).expect_err("one panicked");
        // The team goes on.
        let gathered = run(&|| Ok(())).expect("none failed");
        assert_eq!(gathered.len(), 3);
        assert_eq!(gathered[failing].dims(), [18, 6]);
    }
}

#[test]
fn what_cannot_be_shared_is_an_error_in_words() {
    assert!(Team::of_threads(0).is_err());
    let team = Team::of_threads(2).expect("threads");
    assert!(team.run(&mut [()], |_, ()| Result::Ok(())).is_err(), "one state for two ranks");
    let rows = ours(&noise((2, 5), 1).expect("numbers"));
    let shared = team.run(&mut [(), ()], |rank, ()| rank.own_heads([&rows]).map(|_| ()));
    assert_eq!(shared.expect_err("five").to_string(), "2 ranks cannot share rows of 5");
}
