//! Ranks that compute one thing together: each has a share of the tokens, and in attention a share of the heads.
//!
//! What a layer does to a token needs no other token, so a rank computes it for its own tokens alone. Attention needs them
//! all, but no other head. So before attention every rank sends each other one the heads that are its, and after it sends them
//! back: DeepSpeed-Ulysses (<https://arxiv.org/abs/2309.14509>).
//!
//! No sum is split, so a team computes the same bits as one rank. Surprising: a rank that fails wakes all others. It holds one
//! end of a channel to each of them, and drops it when it ends, however it ends.
//!
//! Ranks are threads of the processor, or GPUs (`gpus.rs`), each with a thread that asks it for work.

mod gpus;

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::vec::IntoIter;

use rayon::{ThreadPool, ThreadPoolBuilder};

use self::gpus::Shape;
use crate::cuda::Links;
use crate::error::bail;
use crate::threads::among_workers;
use crate::{Device, Error, FrameStack, Result, Tensor};

/// The threads of a team of ranks.
#[derive(Debug)]
pub struct Team {
    /// A pool for each rank: a rank that waits for another one holds up no thread but its own. Empty for one rank alone, which
    /// computes where it is called.
    pools: Vec<ThreadPool>,
    /// Held while the ranks compute. Of two runs at once each could wait for a thread that the other one has.
    turn: Mutex<()>,
    /// Between the GPUs, if each rank has one.
    links: Option<Arc<Links>>,
}

/// One of the ranks, while something is computed.
#[derive(Debug)]
pub struct Rank {
    number: usize,
    /// To every rank, itself too. Empty for one rank alone.
    to: Vec<SyncSender<Parcel>>,
    /// From every rank.
    from: Vec<Receiver<Parcel>>,
    /// As the team's.
    links: Option<Arc<Links>>,
}

/// What one rank sends another. All ranks are at the same exchange, so both know which it is.
#[derive(Debug)]
enum Parcel {
    Tensors(Vec<Tensor>),
    Frames(Option<FrameStack>),
    /// Of what its GPU will send.
    Shapes(Vec<Shape>),
    /// It has the memory for what it will receive.
    Ready,
}

/// One message from a rank to another is under way at a time: a rank sends the next one after it has heard from all others, and
/// those have taken the last one soon after.
const UNDER_WAY: usize = 1;

/// What both sides of an exchange rely on.
const SAME: &str = "all ranks are at the same exchange";

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
        Team { pools: Vec::new(), turn: Mutex::default(), links: None }
    }

    /// Ranks on threads of this machine's processor. The threads that compute are divided among them; each has at least one.
    pub fn of_threads(ranks: usize) -> Result<Team> {
        let threads = rayon::current_num_threads() / ranks.max(1);
        match ranks {
            0 => bail!("a team has at least one rank"),
            1 => Ok(Team::alone()),
            _ => Ok(Team { pools: pools(ranks, threads.max(1))?, ..Team::alone() }),
        }
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.pools.len().max(1)
    }

    /// How many ranks look at the same memory: all on a processor, one where each is a GPU.
    pub fn sharers(&self) -> usize {
        if self.links.is_some() { 1 } else { self.ranks() }
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
        if let Some(links) = &self.links {
            links.check()?;
        }
        let failed: OnceLock<E> = OnceLock::new();
        let mut results: Vec<Option<T>> = self.pools.iter().map(|_| None).collect();
        let ranks = Rank::all(self.pools.len(), self.links.as_ref()).into_iter().zip(states).zip(&mut results);
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

/// For each rank some threads.
fn pools(ranks: usize, threads: usize) -> Result<Vec<ThreadPool>> {
    let pool = |rank: usize| {
        let name = move |thread| format!("rank-{rank}-{thread}");
        ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build().map_err(Error::new)
    };
    (0..ranks).map(pool).collect()
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
        Rank { number: 0, to: Vec::new(), from: Vec::new(), links: None }
    }

    fn all(count: usize, links: Option<&Arc<Links>>) -> Vec<Rank> {
        let rank = |number| Rank { number, links: links.cloned(), ..Rank::alone() };
        let mut ranks: Vec<Rank> = (0..count).map(rank).collect();
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
        let received = self.exchange(0, |rank| {
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
        Ok(received.try_into().expect("as many as were given"))
    }

    /// After attention: its own heads of all tokens become all heads of its own tokens.
    ///
    /// `heads`: `(all tokens, D / ranks)` → `(its tokens, D)`.
    pub fn own_tokens(&self, heads: Tensor) -> Result<Tensor> {
        if self.to.is_empty() {
            return Ok(heads);
        }
        let (tokens, _) = heads.dims2()?;
        let mut received = self.exchange(1, |rank| {
            let own = share(tokens, rank, self.count());
            Ok(vec![heads.narrow(0, own.start, own.len())?])
        })?;
        Ok(received.swap_remove(0))
    }

    /// The rows of all ranks, one rank after the other, on every rank. `rows`: `(its tokens, any)` → `(all tokens, any)`.
    pub fn gather(&self, rows: Tensor) -> Result<Tensor> {
        if self.to.is_empty() {
            return Ok(rows);
        }
        let mut received = self.exchange(0, |_| Ok(vec![rows.clone()]))?;
        Ok(received.swap_remove(0))
    }

    /// What the first rank has, on every rank's own device. All are given the same tensor, which lies on the first one's.
    pub fn spread(&self, tensor: &Tensor) -> Result<Tensor> {
        match &self.links {
            None => Ok(tensor.clone()),
            Some(links) => self.spread_over_gpus(links, tensor),
        }
    }

    /// Its GPU. `None` if it is a thread of the processor.
    pub fn device(&self) -> Option<Device> {
        Some(Device::of_cuda(&self.links.as_ref()?.devices()[self.number]))
    }

    /// Frames from every rank, in the order of ranks. `for_rank`: what each gets of this one.
    pub(crate) fn exchange_frames(
        &self,
        for_rank: impl Fn(usize) -> Option<FrameStack>,
    ) -> Result<Vec<Option<FrameStack>>> {
        if self.links.is_some() {
            bail!("bands of a picture are not exchanged between GPUs: one of them decodes");
        }
        let received = self.exchange_parcels(|rank| Ok(Parcel::Frames(for_rank(rank))))?;
        let frames = |parcel| match parcel {
            Parcel::Frames(frames) => frames,
            _ => panic!("{SAME}"),
        };
        Ok(received.into_iter().map(frames).collect())
    }

    /// Tensors from every rank, as many from each: those in the same place joined along `dim`, in the order of ranks. `for_rank`: what
    /// each gets of this one.
    fn exchange(&self, dim: usize, for_rank: impl Fn(usize) -> Result<Vec<Tensor>>) -> Result<Vec<Tensor>> {
        if let Some(links) = &self.links {
            let parts = (0..self.count()).map(for_rank).collect::<Result<Vec<_>>>()?;
            return self.exchange_between_gpus(links, dim, &parts);
        }
        let received = self.exchange_parcels(|rank| for_rank(rank).map(Parcel::Tensors))?;
        let tensors = |parcel| match parcel {
            Parcel::Tensors(tensors) => tensors,
            _ => panic!("{SAME}"),
        };
        let received: Vec<Vec<Tensor>> = received.into_iter().map(tensors).collect();
        let place = |i: usize| {
            let parts: Vec<&Tensor> = received.iter().map(|parts| &parts[i]).collect();
            Tensor::cat(&parts, dim)
        };
        (0..received[0].len()).map(place).collect()
    }

    fn exchange_parcels(&self, for_rank: impl Fn(usize) -> Result<Parcel>) -> Result<Vec<Parcel>> {
        for (rank, to) in self.to.iter().enumerate() {
            to.send(for_rank(rank)?).map_err(|_| Error::new(ENDED))?;
        }
        self.from.iter().map(|from| from.recv().map_err(|_| Error::new(ENDED))).collect()
    }
}

#[cfg(test)]
mod tests;
