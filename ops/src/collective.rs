//! Ranks that compute one thing together: each has a share of the tokens, and in attention a share of the heads.
//!
//! What a layer does to a token needs no other token, so a rank computes it for its own tokens alone. Attention needs them
//! all, but no other head. So before attention every rank sends each other one the heads that are its, and after it sends them
//! back: DeepSpeed-Ulysses (<https://arxiv.org/abs/2309.14509>).
//!
//! No sum is split, so a team computes the same bits as one rank. Surprising: a rank that fails wakes all others. It holds one
//! end of a channel to each of them, and drops it when it ends, however it ends.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::vec::IntoIter;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::bail;
use crate::threads::among_workers;
use crate::{Error, FrameStack, Result, Tensor};

/// The threads of a team of ranks.
#[derive(Debug)]
pub struct Team {
    /// A pool for each rank: a rank that waits for another one holds up no thread but its own. Empty for one rank alone, which
    /// computes where it is called.
    pools: Vec<ThreadPool>,
    /// Held while the ranks compute. Of two runs at once each could wait for a thread that the other one has.
    turn: Mutex<()>,
}

/// One of the ranks, while something is computed.
#[derive(Debug)]
pub struct Rank {
    number: usize,
    /// To every rank, itself too. Empty for one rank alone.
    to: Vec<SyncSender<Parcel>>,
    /// From every rank.
    from: Vec<Receiver<Parcel>>,
}

/// What one rank sends another. All ranks are at the same exchange, so both know which it is.
#[derive(Debug)]
enum Parcel {
    Tensors(Vec<Tensor>),
    Frames(Option<FrameStack>),
}

/// One message from a rank to another is under way at a time: a rank sends the next one after it has heard from all others, and
/// those have taken the last one soon after.
const UNDER_WAY: usize = 1;

/// The error of a rank that waits for another one in vain. It is never seen: the other one says why.
const ENDED: &str = "another rank has ended";

/// The part of `total` things that is the one of rank `number` of `ranks`: neighbours, as many for each rank, and one more for
/// the first few where that does not come out even. As the published pipeline splits tokens.
pub fn share(total: usize, number: usize, ranks: usize) -> Range<usize> {
    let (each, more) = (total / ranks, total % ranks);
    let start = number * each + number.min(more);
    start..start + each + usize::from(number < more)
}

impl Team {
    /// One rank, which has all tokens and all heads.
    pub fn alone() -> Team {
        Team { pools: Vec::new(), turn: Mutex::default() }
    }

    /// Ranks on threads of this machine's processor. The threads that compute are divided among them; each has at least one.
    pub fn of_threads(ranks: usize) -> Result<Team> {
        let pool = |rank: usize| {
            let threads = (rayon::current_num_threads() / ranks).max(1);
            let name = move |thread| format!("rank-{rank}-{thread}");
            ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build().map_err(Error::new)
        };
        match ranks {
            0 => bail!("a team has at least one rank"),
            1 => Ok(Team::alone()),
            _ => Ok(Team { pools: (0..ranks).map(pool).collect::<Result<_>>()?, ..Team::alone() }),
        }
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.pools.len().max(1)
    }

    /// Do what calls [`Team::run`] many times: for one rank on one of the threads that compute. A team has threads of its own,
    /// and a thread that computes must not wait for them: meanwhile it could take up other work that waits for this.
    pub fn lead<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        if self.pools.is_empty() { among_workers(work) } else { work() }
    }

    /// Do `work` on every rank at once, each with its own of `states`. → what each made of it, in the order of ranks.
    ///
    /// All ranks must exchange the same things in the same order. If one fails, the others end at their next exchange, and the
    /// error of the first one that failed is returned.
    pub fn run<S: Send, T: Send, E: From<Error> + Send + Sync>(
        &self,
        states: &mut [S],
        work: impl Fn(&Rank, &mut S) -> std::result::Result<T, E> + Sync,
    ) -> std::result::Result<Vec<T>, E> {
        if states.len() != self.ranks() {
            let message = format!("{} ranks were given the states of {}", self.ranks(), states.len());
            return Err(Error::new(message).into());
        }
        if self.pools.is_empty() {
            return Ok(vec![work(&Rank::alone(), &mut states[0])?]);
        }
        // Nothing is kept behind the lock that a panic could leave half done.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let failed: OnceLock<E> = OnceLock::new();
        let mut results: Vec<Option<T>> = self.pools.iter().map(|_| None).collect();
        let ranks = Rank::all(self.pools.len()).into_iter().zip(states).zip(&mut results);
        let jobs: Vec<_> = self.pools.iter().zip(ranks).collect();
        on_all(jobs.into_iter(), &|((rank, state), result)| {
            match work(&rank, state) {
                Ok(value) => *result = Some(value),
                // An error is kept before the rank is dropped. Ranks that end because of that come later, and keep nothing.
                Err(error) => _ = failed.set(error),
            }
            drop(rank);
        });
        match failed.into_inner() {
            Some(error) => Err(error),
            None => {
                Ok(results.into_iter().map(|result| result.expect("a rank that did not fail has a result")).collect())
            }
        }
    }
}

/// Do each job in its pool, all at once, and return when all are done. A job that panics does so here, after the others.
fn on_all<J: Send>(mut jobs: IntoIter<(&ThreadPool, J)>, work: &(impl Fn(J) + Sync)) {
    if let Some((pool, job)) = jobs.next() {
        pool.in_place_scope(|scope| {
            scope.spawn(move |_| work(job));
            on_all(jobs, work);
        });
    }
}

impl Rank {
    /// One rank that has all tokens and all heads.
    pub fn alone() -> Rank {
        Rank { number: 0, to: Vec::new(), from: Vec::new() }
    }

    fn all(count: usize) -> Vec<Rank> {
        let mut ranks: Vec<Rank> = (0..count).map(|number| Rank { number, ..Rank::alone() }).collect();
        for from in 0..count {
            for to in 0..count {
                let (sender, receiver) = sync_channel(UNDER_WAY);
                ranks[from].to.push(sender);
                ranks[to].from.push(receiver);
            }
        }
        ranks
    }

    /// Its number, counted from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// How many ranks there are.
    pub fn count(&self) -> usize {
        self.to.len().max(1)
    }

    /// Its part of `total` tokens or heads.
    pub fn share(&self, total: usize) -> Range<usize> {
        share(total, self.number, self.count())
    }

    /// Before attention: all heads of its own tokens become its own heads of all tokens.
    ///
    /// `rows`: `(its tokens, D)` each, heads side by side; several are sent as one message. → `(all tokens, D / ranks)` each.
    pub fn own_heads<const N: usize>(&self, rows: [&Tensor; N]) -> Result<[Tensor; N]> {
        if self.to.is_empty() {
            return Ok(rows.map(Tensor::clone));
        }
        let received = self.exchange(|rank| {
            let heads = |rows: &&Tensor| {
                let (_, width) = rows.dims2()?;
                if width % self.count() != 0 {
                    bail!("{} ranks cannot share rows of {width}", self.count());
                }
                let own = share(width, rank, self.count());
                rows.narrow(1, own.start, own.len())
            };
            rows.iter().map(heads).collect()
        })?;
        let joined = (0..N).map(|i| {
            let parts: Vec<&Tensor> = received.iter().map(|parts| &parts[i]).collect();
            Tensor::cat(&parts, 0)
        });
        let joined = joined.collect::<Result<Vec<_>>>()?;
        Ok(joined.try_into().expect("as many as were given"))
    }

    /// After attention: its own heads of all tokens become all heads of its own tokens.
    ///
    /// `heads`: `(all tokens, D / ranks)` → `(its tokens, D)`.
    pub fn own_tokens(&self, heads: Tensor) -> Result<Tensor> {
        if self.to.is_empty() {
            return Ok(heads);
        }
        let (tokens, _) = heads.dims2()?;
        let received = self.exchange(|rank| {
            let own = share(tokens, rank, self.count());
            Ok(vec![heads.narrow(0, own.start, own.len())?])
        })?;
        Tensor::cat(&received.concat(), 1)
    }

    /// The rows of all ranks, one rank after the other, on every rank. `rows`: `(its tokens, any)` → `(all tokens, any)`.
    pub fn gather(&self, rows: Tensor) -> Result<Tensor> {
        if self.to.is_empty() {
            return Ok(rows);
        }
        let received = self.exchange(|_| Ok(vec![rows.clone()]))?;
        Tensor::cat(&received.concat(), 0)
    }

    /// Frames from every rank, in the order of ranks. `for_rank`: what each gets of this one.
    pub(crate) fn exchange_frames(
        &self,
        for_rank: impl Fn(usize) -> Option<FrameStack>,
    ) -> Result<Vec<Option<FrameStack>>> {
        let received = self.exchange_parcels(|rank| Ok(Parcel::Frames(for_rank(rank))))?;
        let frames = |parcel| match parcel {
            Parcel::Frames(frames) => frames,
            Parcel::Tensors(_) => panic!("all ranks are at the same exchange"),
        };
        Ok(received.into_iter().map(frames).collect())
    }

    /// Tensors from every rank, in the order of ranks. `for_rank`: what each gets of this one.
    fn exchange(&self, for_rank: impl Fn(usize) -> Result<Vec<Tensor>>) -> Result<Vec<Vec<Tensor>>> {
        let received = self.exchange_parcels(|rank| for_rank(rank).map(Parcel::Tensors))?;
        let tensors = |parcel| match parcel {
            Parcel::Tensors(tensors) => tensors,
            Parcel::Frames(_) => panic!("all ranks are at the same exchange"),
        };
        Ok(received.into_iter().map(tensors).collect())
    }

    fn exchange_parcels(&self, for_rank: impl Fn(usize) -> Result<Parcel>) -> Result<Vec<Parcel>> {
        for (rank, to) in self.to.iter().enumerate() {
            to.send(for_rank(rank)?).map_err(|_| Error::new(ENDED))?;
        }
        self.from.iter().map(|from| from.recv().map_err(|_| Error::new(ENDED))).collect()
    }
}

#[cfg(test)]
mod tests {
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
}
