//! The book of jobs: their states, their order, their bounds, and when they are forgotten. It is given the time.
//!
//! Everything that waits for the device stands here, so that one bound holds for jobs, sync clips and pictures alike. Work
//! whose client waits on its connection is not listed, and nothing of it is kept.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::job::{Account, Costs, Facts, Failure, Now, Output, Record, State};

/// What an operator bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Work that waits, of all accounts together.
    pub waiting: usize,
    /// Work that waits, of one account.
    pub of_account: usize,
    /// Bytes of results, and of pictures that are kept for a remix.
    pub bytes: u64,
    /// How long a job is kept after its end.
    pub ttl: Duration,
}

/// Jobs that are remembered; then the one that ended first is forgotten.
pub const RECORDS_MAX: usize = 1000;

/// Bounds of the advice when to ask again.
const POLL_AFTER_MIN: Duration = Duration::from_millis(250);
const POLL_AFTER_MAX: Duration = Duration::from_secs(5);

/// Why work is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// As much waits as may, of all.
    Queue {
        /// How many.
        waiting: usize,
    },
    /// As much waits as may, of this account.
    Account {
        /// How many.
        waiting: usize,
    },
    /// Results have no room. Room comes when the next one expires, after this time at the latest.
    Storage {
        /// Until the next result expires.
        retry: Duration,
    },
    /// Its result would not fit if it were alone.
    TooLarge {
        /// What it may need.
        needed: u64,
        /// What there is.
        bytes: u64,
    },
}

/// The book.
#[derive(Debug)]
pub struct Jobs {
    bounds: Bounds,
    /// By a counter: in the order of their coming.
    records: BTreeMap<u64, Record>,
    next: u64,
    /// How long the last job took, for a guess of how long others wait.
    last_inference: Duration,
}

/// A page of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Jobs as their clients see them.
    pub jobs: Vec<Value>,
    /// Whether more follow.
    pub has_more: bool,
}

/// How many there are of each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Levels {
    /// Wait for their turn.
    pub waiting: usize,
    /// Are drawn.
    pub drawing: usize,
    /// Ended well, and are kept.
    pub completed: usize,
    /// Ended badly, and are remembered.
    pub failed: usize,
    /// Bytes of results and pictures.
    pub bytes: u64,
}

/// A file that a client may fetch, or why not.
#[derive(Debug)]
pub enum Content {
    /// The outputs of a job that is done.
    Ready(Vec<Output>),
    /// It is not finished.
    NotReady,
    /// It failed, in these words.
    Failed(String),
}

impl Jobs {
    /// An empty book.
    pub fn new(bounds: Bounds) -> Jobs {
        Jobs { bounds, records: BTreeMap::new(), next: 0, last_inference: Duration::ZERO }
    }

    /// Whether pictures of so many bytes could be kept.
    pub fn room_for_pictures(&mut self, bytes: u64, now: Now) -> Result<(), Full> {
        self.expire(now);
        self.room_for(bytes, now)
    }

    fn room_for(&self, needed: u64, now: Now) -> Result<(), Full> {
        if needed > self.bounds.bytes {
            return Err(Full::TooLarge { needed, bytes: self.bounds.bytes });
        }
        if self.records.values().map(Record::bytes).sum::<u64>() + needed > self.bounds.bytes {
            return Err(Full::Storage { retry: self.next_expiry(now) });
        }
        Ok(())
    }

    /// Pictures whose client asked for addresses: kept like the files of a job.
    pub fn keep_pictures(
        &mut self,
        id: &str,
        account: Account,
        facts: Facts,
        outputs: Vec<Output>,
        costs: Costs,
        now: Now,
    ) -> Result<(), Full> {
        self.expire(now);
        let state = State::Completed { outputs, costs, at: now };
        let (id, created) = (id.to_owned(), now.unix);
        let record = Record { id, account, listed: true, facts, created, estimate: 0, percent: 100, state };
        self.room_for(record.kept_bytes(), now)?;
        self.records.insert(self.next, record);
        self.next += 1;
        self.forget_past_the_bound();
        Ok(())
    }

    /// Work that waits from now on. `listed` for a job; other work has a client that waits for it.
    pub fn enter(&mut self, id: &str, account: Account, facts: Facts, listed: bool, now: Now) -> Result<(), Full> {
        self.expire(now);
        let waits = |record: &&Record| matches!(record.state, State::Waiting);
        let waiting = self.records.values().filter(waits).count();
        let drawing = self.records.values().any(|record| matches!(record.state, State::Drawing { .. }));
        if waiting >= self.bounds.waiting && (drawing || waiting > 0) {
            return Err(Full::Queue { waiting });
        }
        let of_account = self.records.values().filter(waits).filter(|record| record.account == account).count();
        if of_account >= self.bounds.of_account {
            return Err(Full::Account { waiting: of_account });
        }
        // A picture's file may be as large as its pixels; H.264 of a clip is far smaller. The first frame is kept beside it.
        let raw = facts.resolved.raw_bytes();
        let first_frames = facts.resolved.seeds.len() as u64 * facts.resolved.size.frame_bytes();
        let estimate = if facts.resolved.is_picture() { raw } else { raw / 8 } + first_frames;
        let needed = estimate + facts.picture.as_ref().map_or(0, |picture| picture.len() as u64);
        if listed {
            self.room_for(needed, now)?;
        }
        let created = now.unix;
        let state = State::Waiting;
        let record = Record { id: id.to_owned(), account, listed, facts, created, estimate, percent: 0, state };
        self.records.insert(self.next, record);
        self.next += 1;
        self.forget_past_the_bound();
        Ok(())
    }

    /// Its turn has come: the device begins. `false` if it is gone.
    pub fn begin(&mut self, id: &str, now: Now) -> bool {
        match self.unfinished(id) {
            Some(record) => {
                if matches!(record.state, State::Waiting) {
                    record.state = State::Drawing { since: now };
                }
                true
            }
            None => false,
        }
    }

    /// So much of all outputs is done. It never falls, and 100 is said by the end alone.
    pub fn progress(&mut self, id: &str, done: f64) {
        if let Some(Record { state: State::Drawing { .. }, percent, .. }) = self.unfinished(id) {
            *percent = (*percent).max((done * 100.0).clamp(0.0, 99.0) as u8);
        }
    }

    /// All outputs are there. Dropped if the job is gone in the meantime.
    pub fn complete(&mut self, id: &str, outputs: Vec<Output>, costs: Costs, now: Now) {
        if let Some(record) = self.unfinished(id) {
            let inference = Duration::try_from_secs_f64(costs.inference).unwrap_or_default();
            record.state = State::Completed { outputs, costs, at: now };
            record.percent = 100;
            self.last_inference = inference;
            self.end(id, now);
        }
    }

    /// It goes no further.
    pub fn fail(&mut self, id: &str, failure: Failure, now: Now) {
        if let Some(record) = self.unfinished(id) {
            record.state = State::Failed { failure, at: now };
            record.facts.picture = None;
            self.end(id, now);
        }
    }

    /// Work of a connection leaves nothing behind.
    fn end(&mut self, id: &str, now: Now) {
        if self.find(id).is_some_and(|(_, record)| !record.listed) {
            self.remove(id);
        }
        self.expire(now);
        // An estimate may have been too small: what ended first makes room.
        while self.records.values().map(Record::bytes).sum::<u64>() > self.bounds.bytes && self.forget_first(Some(id)) {
        }
    }

    /// Take it out, whatever its state is.
    pub fn remove(&mut self, id: &str) {
        if let Some((at, _)) = self.find(id) {
            self.records.remove(&at);
        }
    }

    /// The job as its client sees it. `None`: it is not there, or not theirs.
    pub fn get(&mut self, id: &str, account: &Account, now: Now) -> Option<Value> {
        self.expire(now);
        let (at, record) = self.find(id).filter(|(_, record)| record.is_seen_by(account))?;
        Some(record.json(self.position(at), self.bounds.ttl))
    }

    /// What it was made from, in any state.
    pub fn facts(&mut self, id: &str, account: &Account, now: Now) -> Option<Facts> {
        self.expire(now);
        self.find(id).filter(|(_, record)| record.is_seen_by(account)).map(|(_, record)| record.facts.clone())
    }

    /// Its files.
    pub fn content(&mut self, id: &str, account: &Account, image: bool, now: Now) -> Option<Content> {
        self.expire(now);
        let seen = |record: &Record| record.facts.is_image == image && record.listed && record.account == *account;
        let (_, record) = self.find(id).filter(|(_, record)| seen(record))?;
        Some(match &record.state {
            State::Completed { outputs, .. } => Content::Ready(outputs.clone()),
            State::Failed { failure, .. } => Content::Failed(failure.message.clone()),
            State::Waiting | State::Drawing { .. } => Content::NotReady,
        })
    }

    /// A page of the account's jobs, in the order of their coming, or newest first.
    pub fn list(&mut self, account: &Account, after: Option<&str>, limit: usize, ascending: bool, now: Now) -> Page {
        self.expire(now);
        let own = self.records.iter().filter(|(_, record)| record.is_seen_by(account));
        let mut own: Vec<(u64, &Record)> = own.map(|(&at, record)| (at, record)).collect();
        if !ascending {
            own.reverse();
        }
        let start = match after {
            None => 0,
            Some(after) => own.iter().position(|(_, record)| record.id == after).map_or(own.len(), |at| at + 1),
        };
        let rest = &own[start..];
        let jobs = rest.iter().take(limit).map(|&(at, record)| record.json(self.position(at), self.bounds.ttl));
        Page { jobs: jobs.collect(), has_more: rest.len() > limit }
    }

    /// Forget what has been kept long enough.
    pub fn expire(&mut self, now: Now) {
        let ttl = self.bounds.ttl;
        self.records.retain(|_, record| record.ended().is_none_or(|at| now.since_start < at.since_start + ttl));
    }

    /// How many there are, for the operator. What is not listed counts while it waits or is drawn.
    pub fn levels(&mut self, now: Now) -> Levels {
        self.expire(now);
        let mut levels = Levels::default();
        for record in self.records.values() {
            match record.state {
                State::Waiting => levels.waiting += 1,
                State::Drawing { .. } => levels.drawing += 1,
                State::Completed { .. } => levels.completed += 1,
                State::Failed { .. } => levels.failed += 1,
            }
            levels.bytes += record.kept_bytes();
        }
        levels
    }

    /// Where it stands among those that wait, from 1 on; `None` once its turn has come.
    pub fn queue_position(&self, id: &str) -> Option<usize> {
        self.find(id).and_then(|(at, _)| self.position(at))
    }

    /// When it is worth asking for it again: a tenth of the time that it is expected to take from now on.
    pub fn poll_after(&self, id: &str, now: Now) -> Duration {
        let left = match self.find(id) {
            Some((at, Record { state: State::Waiting, .. })) => {
                self.last_inference * self.position(at).unwrap_or(1).try_into().unwrap_or(u32::MAX)
            }
            Some((_, Record { state: State::Drawing { since }, percent, .. })) => {
                let elapsed = now.since_start.saturating_sub(since.since_start);
                match f64::from(*percent) {
                    0.0 => self.last_inference.saturating_sub(elapsed),
                    percent => elapsed.mul_f64((100.0 - percent) / percent),
                }
            }
            _ => Duration::ZERO,
        };
        (left / 10).clamp(POLL_AFTER_MIN, POLL_AFTER_MAX)
    }

    fn position(&self, at: u64) -> Option<usize> {
        let waits = |record: &Record| matches!(record.state, State::Waiting);
        self.records.get(&at).filter(|record| waits(record))?;
        Some(self.records.range(..=at).filter(|(_, record)| waits(record)).count())
    }

    fn find(&self, id: &str) -> Option<(u64, &Record)> {
        self.records.iter().find(|(_, record)| record.id == id).map(|(&at, record)| (at, record))
    }

    fn unfinished(&mut self, id: &str) -> Option<&mut Record> {
        self.records.values_mut().find(|record| record.id == id && record.ended().is_none())
    }

    fn next_expiry(&self, now: Now) -> Duration {
        let ends = self.records.values().filter_map(Record::ended).map(|at| at.since_start + self.bounds.ttl);
        ends.min().map_or(Duration::from_secs(1), |end| end.saturating_sub(now.since_start))
    }

    fn forget_past_the_bound(&mut self) {
        while self.records.len() > RECORDS_MAX && self.forget_first(None) {}
    }

    /// Forget the job that ended first, but not this one. `false` if there is none.
    fn forget_first(&mut self, but: Option<&str>) -> bool {
        let ended = self.records.iter().filter(|(_, record)| but != Some(record.id.as_str()));
        let ended = ended.filter_map(|(&at, record)| Some((record.ended()?.since_start, at)));
        match ended.min() {
            Some((_, at)) => self.records.remove(&at).is_some(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests;
