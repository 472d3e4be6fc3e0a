//! Clients of a cluster that is broken on purpose. Each can come back, knows every frame that it must get, and gets each once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::chance::Chance;
use crate::client::Client;
use crate::message::{Init, Message, resume};
use crate::small;

/// The longest walk, in chunks.
pub const CHUNKS_MAX: usize = 64;

/// A chunk is shown for so long: 12 frames at 48 a second.
pub const CHUNK: Duration = Duration::from_millis(250);

/// A client that hears nothing for so long comes back on another line.
const SILENT: Duration = Duration::from_secs(5);

/// What a node sent on an older line before the client came back may be on its way for so long.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// A client tries to come back for so long.
const BACK_WITHIN: Duration = Duration::from_secs(40);

/// Tells the task that listens on an older line when its session went on elsewhere.
type OlderLine = watch::Sender<Option<Instant>>;

/// What clients have seen, all together.
#[derive(Default)]
pub struct Seen {
    pub chunks: AtomicU64,
    pub walks: AtomicU64,
    pub resumes: AtomicU64,
    /// Walks that could not go on, and had a chunk or more.
    pub lost: AtomicU64,
    /// Walks that were cut before their second chunk, and begun anew.
    pub unbegun: AtomicU64,
    /// Chunks that came on an older line after the session had gone on elsewhere.
    pub twice: AtomicU64,
    /// From an init to the hello of its session, with the time of the init: the order of the line.
    pub placed: Mutex<Vec<(Instant, Instant)>>,
    /// The longest time from chunk to chunk of a client, since this was taken last.
    pub gap: Mutex<Duration>,
    /// The times from chunk to chunk over a move.
    pub moves: Mutex<Vec<Duration>>,
    /// Broken promises.
    pub wrong: Mutex<Vec<String>>,
    /// Why walks were lost.
    pub reasons: Mutex<BTreeMap<String, usize>>,
}

impl Seen {
    fn wrong(&self, what: String) {
        self.wrong.lock().expect("no panic").push(what);
    }

    /// The longest time from chunk to chunk since this was asked last.
    pub fn take_gap(&self) -> Duration {
        std::mem::take(&mut *self.gap.lock().expect("no panic"))
    }

    /// The most clients that came later than one, by 100 ms, and had a place sooner.
    pub fn inversions(&self) -> usize {
        let placed = self.placed.lock().expect("no panic");
        let margin = Duration::from_millis(100);
        let passed = |(came, began): &(Instant, Instant)| {
            placed.iter().filter(|(later, sooner)| *later > *came + margin && *sooner + margin < *began).count()
        };
        placed.iter().map(passed).max().unwrap_or(0)
    }
}

fn init(chunks: u64) -> Init {
    small().paced(48).seed(7).max_chunks(chunks).features(["session", "queue", "moved"])
}

/// The frames of the longest walk, chunk by chunk: all walks are its beginning.
pub async fn expected(url: &str) -> Result<Vec<Vec<Bytes>>> {
    let mut client = Client::connect(url).await?;
    client.documented = false;
    client.send(small().seed(7).max_chunks(CHUNKS_MAX as u64).queued()).await?;
    let mut frames = Vec::new();
    for _ in 0..CHUNKS_MAX {
        frames.push(client.chunk().await?.frames());
    }
    Ok(frames)
}

/// Where clients may go.
#[derive(Clone, Default)]
pub struct Addresses {
    pub doors: Vec<String>,
    pub workers: Vec<String>,
}

/// One client: walk after walk, each of some chunks. One in four comes to a node itself first; all come back through a door.
pub async fn walks(
    at: usize,
    to: watch::Receiver<Addresses>,
    (seen, frames): (Arc<Seen>, Arc<Vec<Vec<Bytes>>>),
    seed: u64,
) {
    let mut chance = Chance::at(seed, at as u64);
    loop {
        let chunks = 4 + chance.below(CHUNKS_MAX - 4);
        let mut walk =
            Walk { to: to.clone(), seen: Arc::clone(&seen), frames: Arc::clone(&frames), token: None, next: 0 };
        match walk.run(chunks, &mut chance).await {
            Ok(()) => {
                seen.walks.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                let lost = if walk.next > 1 { &seen.lost } else { &seen.unbegun };
                lost.fetch_add(1, Ordering::Relaxed);
                if walk.next > 1 {
                    let words: String = format!("{error:#}").chars().take(120).collect();
                    *seen.reasons.lock().expect("no panic").entry(words).or_default() += 1;
                }
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

struct Walk {
    to: watch::Receiver<Addresses>,
    seen: Arc<Seen>,
    frames: Arc<Vec<Vec<Bytes>>>,
    token: Option<String>,
    next: usize,
}

/// How a line ended.
enum Ended {
    Complete,
    /// Come back.
    Cut,
    /// Come back: it moved.
    Moved,
    /// Nothing comes any more; the line still stands.
    Silent(Box<Client>),
}

impl Walk {
    fn door(&self, chance: &mut Chance) -> String {
        let to = self.to.borrow();
        chance.pick(&to.doors).clone()
    }

    async fn run(&mut self, chunks: usize, chance: &mut Chance) -> Result<()> {
        let first = match chance.one_in(4) {
            true => chance.pick(&self.to.borrow().workers).clone(),
            false => self.door(chance),
        };
        let asked = Instant::now();
        let mut client = Client::connect(&first).await?;
        client.documented = false;
        client.send(init(chunks as u64)).await?;
        let mut last = None;
        let mut older: Option<OlderLine> = None;
        loop {
            let mut moved = false;
            let ended = self.listen(client, (asked, chunks), (&mut last, &mut older)).await?;
            match ended {
                Ended::Complete => return Ok(()),
                Ended::Cut => {}
                Ended::Moved => moved = true,
                Ended::Silent(client) => older = Some(self.keep_watching(*client)),
            }
            ensure!(self.token.is_some(), "cut before it had a token");
            client = self.come_back(chance).await?;
            self.seen.resumes.fetch_add(1, Ordering::Relaxed);
            if moved {
                // Told by the first chunk that comes.
                last = last.map(|(at, _)| (at, true));
            }
        }
    }

    /// The line that was left: nothing may come on it once the session goes on elsewhere.
    fn keep_watching(&self, mut client: Client) -> watch::Sender<Option<Instant>> {
        let (went, goes_on) = watch::channel(None::<Instant>);
        let seen = Arc::clone(&self.seen);
        tokio::spawn(async move {
            let until = Instant::now() + Duration::from_secs(20);
            while let Ok(Some(message)) = client.next_before(until).await {
                match message {
                    Message::Batch(_) if goes_on.borrow().is_some_and(|at| at.elapsed() > UNDER_WAY) => {
                        seen.twice.fetch_add(1, Ordering::Relaxed);
                    }
                    Message::Closed(_) => return,
                    _ => {}
                }
            }
        });
        went
    }

    async fn listen(
        &mut self,
        mut client: Client,
        (asked, chunks): (Instant, usize),
        (last, older): (&mut Option<(Instant, bool)>, &mut Option<OlderLine>),
    ) -> Result<Ended> {
        let (mut batches, mut moved, mut heard, mut greeted) = (Vec::new(), false, Instant::now(), false);
        loop {
            let message = match client.next_before(Instant::now() + Duration::from_millis(500)).await {
                Ok(Some(message)) => message,
                // A client that waits for its place hears little, and asks for no second one.
                Ok(None) if greeted && heard.elapsed() > SILENT => {
                    return Ok(Ended::Silent(Box::new(client)));
                }
                Ok(None) => continue,
                Err(error) => {
                    let said = format!("{error:#}");
                    // A broken promise of the wire is never a fault's consequence.
                    if said.contains("chunk_index") || said.contains("schema") {
                        self.seen.wrong(said);
                    }
                    return Ok(if moved { Ended::Moved } else { Ended::Cut });
                }
            };
            heard = Instant::now();
            match message {
                Message::Session(hello) => {
                    if self.token.is_none() {
                        self.seen.placed.lock().expect("no panic").push((asked, Instant::now()));
                    }
                    ensure!(hello.next_chunk == self.next as u64, "{hello:?} and chunk {} is next", self.next);
                    self.token = Some(hello.resume_token);
                    greeted = true;
                    if let Some(older) = older.take() {
                        older.send_replace(Some(Instant::now()));
                    }
                }
                Message::Batch(batch) => batches.push(batch),
                Message::Stats(stats) => {
                    let frames: Vec<Bytes> = batches.drain(..).flat_map(|batch| batch.frames()).collect();
                    self.chunk(stats.chunk_index as usize, &frames, last);
                }
                Message::Moved(_) => moved = true,
                Message::Closed(close) if close.code == 1000 => {
                    ensure!(self.next == chunks, "closed as complete after {} of {chunks} chunks", self.next);
                    return Ok(Ended::Complete);
                }
                Message::Closed(_) => return Ok(if moved { Ended::Moved } else { Ended::Cut }),
                Message::Error(error) => bail!("{error}"),
                _ => {}
            }
        }
    }

    fn chunk(&mut self, index: usize, frames: &[Bytes], last: &mut Option<(Instant, bool)>) {
        if index != self.next {
            self.seen.wrong(format!("chunk {index} in place of {}", self.next));
        } else if self.frames.get(index).is_none_or(|expected| expected != frames) {
            self.seen.wrong(format!("chunk {index} has other frames than in a walk without faults"));
        }
        self.next = index + 1;
        self.seen.chunks.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        if let Some((before, moved)) = last.replace((now, false)) {
            let gap = now - before;
            let mut longest = self.seen.gap.lock().expect("no panic");
            *longest = (*longest).max(gap);
            if moved {
                self.seen.moves.lock().expect("no panic").push(gap);
            }
        }
    }

    async fn come_back(&mut self, chance: &mut Chance) -> Result<Client> {
        let token = self.token.clone().context("a token")?;
        let until = Instant::now() + BACK_WITHIN;
        loop {
            let attempt = async {
                let mut client = Client::connect(&self.door(chance)).await?;
                client.documented = false;
                client.send(resume(&token, self.next.checked_sub(1).map(|last| last as u64))).await?;
                anyhow::Ok(client)
            };
            match attempt.await {
                Ok(client) => return Ok(client),
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }
}
