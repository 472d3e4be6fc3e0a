//! The journal of a session: what steered each of its chunks, and a state of its rollout now and then, in NATS. When its node
//! dies another node goes on from the newest state, and draws again what was steered since: the same bytes.
//!
//! A chunk is sent when NATS has what steers it. While NATS does not answer, chunks are sent without that; then the session can
//! be gone on with only once a new state is kept. Two states are kept: a client that is a few chunks behind the newest has the
//! one before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use super::nats::Nats;
use super::rules::token::resume_name;

/// The most bytes of a state. There are two: 64 MiB a session.
pub(crate) const STATE_BYTES_MAX: usize = 32 << 20;

/// The most bytes of a record, below what a server of NATS takes (1 MiB).
pub(super) const LOGGED_BYTES_MAX: usize = 512 << 10;

/// The most bytes of records that are read of a session: it can be gone on with from before those that follow.
pub(super) const READ_BYTES_MAX: usize = 64 << 20;

/// The most records of a session: with two states each 256 chunks after the one before.
pub(super) const RECORDS_MAX: i64 = 600;

/// After a record was not written, chunks are sent without a journal for so long, also where NATS answers again.
const WITHOUT: Duration = Duration::from_secs(2);

/// A session's journal. What it has written is removed when this is dropped, unless another node goes on with it.
pub(crate) struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    nats: Nats,
    every: u32,
    /// Whether NATS takes this node's records.
    joined: watch::Receiver<bool>,
    /// The engine is to give the state before the next chunk.
    wants: Arc<AtomicBool>,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// Chunks since the last state.
    since: u32,
    /// A state is on its way.
    is_keeping: bool,
    /// A state was given and could not be kept: another is needed.
    missed: bool,
    /// Which of the two is written next.
    next: usize,
    /// For each of the two: the number of the first record that it needs.
    first: [Option<u64>; 2],
    /// Until when nothing is written, since NATS did not answer.
    without: Option<Instant>,
    /// Nothing is written any more.
    is_over: bool,
    /// Another node writes it.
    is_left: bool,
}

/// What a journal has of a session.
pub(crate) struct Kept {
    /// Its states, as the session wrote them, and which of the two each is.
    pub(crate) states: Vec<(usize, Vec<u8>)>,
    /// What was logged, in order.
    pub(crate) records: Vec<Bytes>,
}

fn object(name: &str, at: usize) -> String {
    format!("{name}-{at}")
}

/// Read the journal of the session of this resume token.
pub(super) async fn read(nats: &Nats, resume_token: &str) -> anyhow::Result<Kept> {
    let name = resume_name(resume_token);
    let records = nats.logged(&name).await?;
    let mut states = Vec::new();
    for at in 0..2 {
        match nats.kept(&object(&name, at)).await {
            Ok(state) => states.extend(state.map(|state| (at, state))),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "a state of a journal cannot be read"),
        }
    }
    Ok(Kept { states, records })
}

/// Remove the journal of a session that nobody goes on with.
pub(super) async fn remove(nats: &Nats, name: &str) {
    nats.forget(name, &[0, 1].map(|at| object(name, at))).await;
}

impl Journal {
    /// `wants` is heard by the engine. `from`: which of the two states the session has gone on from.
    pub(super) fn new(
        nats: Nats,
        joined: watch::Receiver<bool>,
        every: u32,
        resume_token: &str,
        wants: Arc<AtomicBool>,
        from: Option<usize>,
    ) -> Journal {
        let book = Mutex::new(Book { next: from.map_or(0, |from| 1 - from), ..Book::default() });
        Journal { inner: Arc::new(Inner { name: resume_name(resume_token), nats, every, joined, wants, book }) }
    }

    pub(crate) fn writer(&self) -> JournalWriter {
        JournalWriter(Arc::clone(&self.inner))
    }

    /// The rollout has gone elsewhere: only a new state counts.
    pub(crate) fn begins_anew(&self) {
        self.inner.wants.store(true, Ordering::Relaxed);
    }

    /// Another node has the session: what stands there is its own.
    pub(crate) fn leave(&self) {
        let mut book = self.inner.book();
        (book.is_over, book.is_left) = (true, true);
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let was_over = std::mem::replace(&mut self.inner.book().is_over, true);
        if !was_over && let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let inner = Arc::clone(&self.inner);
            runtime.spawn(async move { remove(&inner.nats, &inner.name).await });
        }
    }
}

/// Writes what a chunk is.
pub(crate) struct JournalWriter(Arc<Inner>);

impl JournalWriter {
    /// Write a chunk's record, and keep the state before it, if there is one. Returns once NATS has the record, or does not
    /// answer.
    pub(crate) async fn log(
        self,
        record: Vec<u8>,
        state: Option<impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static>,
    ) {
        let inner = self.0;
        {
            let mut book = inner.book();
            // A chunk waits for NATS only while it is known to be there.
            if !*inner.joined.borrow() {
                book.without = Some(Instant::now() + WITHOUT);
            }
            if book.is_over || book.without.is_some_and(|until| Instant::now() < until) {
                book.missed = true;
                return;
            }
            book.without = None;
        }
        let written = match record.len() <= LOGGED_BYTES_MAX {
            true => inner.nats.log(&inner.name, record.into()).await.ok(),
            false => None,
        };
        let Some(number) = written else {
            tracing::info!("a chunk is not in its journal: a new state is needed");
            inner.book().without = Some(Instant::now() + WITHOUT);
            return inner.wants.store(true, Ordering::Relaxed);
        };
        let mut book = inner.book();
        book.since += 1;
        match state {
            Some(state) if !book.is_keeping => {
                (book.is_keeping, book.missed, book.since) = (true, false, 0);
                tokio::spawn(Arc::clone(&inner).keep(number, state));
            }
            Some(_) => book.missed = true,
            None if !book.is_keeping && (book.missed || book.since >= inner.every) => {
                book.missed = false;
                inner.wants.store(true, Ordering::Relaxed);
            }
            None => {}
        }
    }
}

impl Inner {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nothing panics under this lock")
    }

    async fn keep(self: Arc<Self>, number: u64, state: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static) {
        let at = self.book().next;
        let kept = async {
            let state = tokio::task::spawn_blocking(state).await?.map_err(anyhow::Error::msg)?;
            if state.len() > STATE_BYTES_MAX {
                // The next one would be as large.
                self.book().is_over = true;
                remove(&self.nats, &self.name).await;
                anyhow::bail!("it has {} bytes, at most {STATE_BYTES_MAX}: no journal of it any more", state.len());
            }
            self.nats.keep(&object(&self.name, at), state).await
        };
        let kept = kept.await;
        let oldest = {
            let mut book = self.book();
            book.is_keeping = false;
            if kept.is_ok() {
                (book.first[at], book.next) = (Some(number), 1 - at);
            }
            book.first[1 - at].filter(|_| kept.is_ok())
        };
        if let Err(error) = kept {
            return tracing::warn!(error = format!("{error:#}"), "a state is not in its journal");
        }
        if let Some(oldest) = oldest
            && let Err(error) = self.nats.forget_before(&self.name, oldest).await
        {
            tracing::debug!(error = format!("{error:#}"), "old records are left for later");
        }
        let ended = {
            let book = self.book();
            book.is_over && !book.is_left
        };
        if ended {
            // It ended meanwhile, and this came after its removal.
            remove(&self.nats, &self.name).await;
        }
    }
}
