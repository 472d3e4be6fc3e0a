//! Actions at random times, and how long each takes: to be received, and to the first frame that it changes.
//!
//! A client that named the feature `receipts` is told which video frame is the first that an event changes. The time to it is
//! measured here, at the client, from the send to the message that holds the frame.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pipeline::testcard::Testcard;
use pipeline::world::{Card, World};
use server::Limits;

use crate::Server;
use crate::chance::Chance;
use crate::client::Client;
use crate::message::{Event, Init, Message};

/// When keys go down and up.
#[derive(Debug, Clone)]
pub struct Fingers {
    /// How long from one action to the next: a random time between these.
    between: [Duration; 2],
    chance: Chance,
    next_at: Instant,
    actions: u64,
}

/// What one client's actions took, and its chunks.
#[derive(Debug, Default)]
pub struct Measured {
    /// From the send to the receipt.
    pub received: Vec<Duration>,
    /// From the send to the first frame that shows it.
    pub to_frame: Vec<Duration>,
    /// Between the first messages of neighbouring chunks.
    pub between_chunks: Vec<Duration>,
    /// How long chunks took to be drawn.
    pub drawing: Vec<Duration>,
    sent: BTreeMap<u64, Instant>,
    /// First frames that were announced, and when their events were sent.
    awaited: Vec<(u64, Instant)>,
    frames: u64,
    chunk_began: Option<Instant>,
}

impl Fingers {
    /// `between`: at least and at most.
    pub fn new(between: [Duration; 2], seed: u64, now: Instant) -> Fingers {
        let mut fingers = Fingers { between, chance: Chance::new(seed), next_at: now, actions: 0 };
        fingers.wait(now);
        fingers
    }

    fn wait(&mut self, now: Instant) {
        let [least, most] = self.between;
        let more = (most - least).as_micros() as usize;
        self.next_at = now + least + Duration::from_micros(self.chance.below(more.max(1)) as u64);
    }

    /// The action that is due now.
    fn act(&mut self, now: Instant) -> Option<Event> {
        if now < self.next_at {
            return None;
        }
        self.actions += 1;
        self.wait(now);
        Some(Event::hold(if self.actions % 2 == 1 { "w" } else { "" }).id(self.actions))
    }
}

impl Measured {
    /// The next message of a session whose every message is taken here, from its init on; `fingers` act meanwhile.
    pub async fn step(&mut self, client: &mut Client, fingers: &mut Fingers) -> Result<Option<Message>> {
        let message = client.next_before(fingers.next_at).await?;
        let now = Instant::now();
        if let Some(event) = fingers.act(now) {
            self.sent.insert(fingers.actions, now);
            client.send(event).await?;
        }
        if let Some(message) = &message {
            self.hear(message, now)?;
        }
        Ok(message)
    }

    fn hear(&mut self, message: &Message, now: Instant) -> Result<()> {
        match message {
            Message::Received(received) => {
                let id = received.event_id.context("every action has an id")?;
                self.received.push(now - *self.sent.get(&id).context("it was sent")?);
            }
            Message::Applied(applied) => {
                for first in &applied.applied {
                    let sent = self.sent.remove(&first.event_id).context("it was sent")?;
                    ensure!(first.first_frame_index >= self.frames, "{first:?} after {} frames", self.frames);
                    self.awaited.push((first.first_frame_index, sent));
                }
            }
            Message::Batch(batch) => {
                if batch.header.frame_batch_index == 0 {
                    let before = self.chunk_began.replace(now);
                    self.between_chunks.extend(before.map(|before| now - before));
                }
                self.frames += batch.header.num_frames as u64;
                let frames = self.frames;
                self.to_frame
                    .extend(self.awaited.extract_if(.., |(first, _)| *first < frames).map(|(_, sent)| now - sent));
            }
            Message::Stats(stats) => self.drawing.push(Duration::from_millis(stats.scheduler_forward_ms)),
            Message::Error(error) => bail!("an action was refused: {error}"),
            Message::Closed(close) => bail!("closed: {} {:?}", close.code, close.reason),
            _ => {}
        }
        Ok(())
    }
}

/// Of milliseconds.
pub fn mean_ms(durations: &[Duration]) -> f64 {
    durations.iter().map(Duration::as_secs_f64).sum::<f64>() * 1e3 / durations.len().max(1) as f64
}

/// A session on the test card, with chunks of one latent frame, over loopback.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    /// Frames a second; `None`: it runs free.
    paced: Option<u64>,
    /// How long a chunk takes to be drawn.
    drawing: Duration,
    /// Free sessions beside it, which share the device.
    others: usize,
}

/// What one session's actions took, in means.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// P: of a free session as measured, of a paced one a chunk's frames at its rate.
    pub period_ms: f64,
    /// g, as the test card is told it.
    pub drawing_ms: f64,
    pub to_frame_ms: f64,
    pub received_ms: f64,
}

impl Session {
    pub fn free(drawing: Duration, others: usize) -> Session {
        Session { paced: None, drawing, others }
    }

    pub fn paced(fps: u64, drawing: Duration) -> Session {
        Session { paced: Some(fps), drawing, others: 0 }
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.paced, self.others) {
            (Some(fps), _) => write!(f, "paced at {fps} frames a second"),
            (None, 0) => write!(f, "free, alone"),
            (None, others) => write!(f, "free, beside {others} others"),
        }
    }
}

impl Row {
    /// e: what is more than half a period and the drawing of a chunk.
    pub fn added_ms(&self) -> f64 {
        self.to_frame_ms - (self.period_ms / 2.0 + self.drawing_ms)
    }
}

/// So many actions at random times, in a session of its own server.
pub async fn measure(session: &Session, actions: usize, seed: u64) -> Result<Row> {
    let drawing = session.drawing;
    let card = Card { chunk: 1, first_chunk: 1, ..Card::clone(Testcard::new(drawing).card()) };
    let world = move || -> Result<Box<dyn World>> { Ok(Box::new(Testcard::paced_like(&card, drawing))) };
    let server = Server::start(Box::new(world), Limits::default())?;
    let init = Init::new("a meadow").size(64, 48);
    let mut others = tokio::task::JoinSet::new();
    for _ in 0..session.others {
        let mut other = server.session(init.clone()).await?;
        others.spawn(async move { while other.next().await.is_ok() {} });
    }
    let init = init.features(["receipts"]);
    let init = if let Some(fps) = session.paced { init.paced(fps) } else { init };
    let mut client = server.session(init).await?;
    let period = session.paced.map(|fps| Duration::from_secs(4) / fps as u32);
    // Long enough for the one before to be answered, and of no relation to the chunks.
    let longest = period.unwrap_or(drawing * (1 + session.others as u32)) + drawing;
    let mut fingers = Fingers::new([longest, longest * 2], seed, Instant::now() + longest);
    let mut measured = Measured::default();
    while measured.to_frame.len() < actions {
        measured.step(&mut client, &mut fingers).await?;
    }
    ensure!(measured.received.len() >= actions, "{} receipts of {actions}", measured.received.len());
    others.abort_all();
    let period_ms = period.map_or(mean_ms(&measured.between_chunks), |period| period.as_secs_f64() * 1e3);
    Ok(Row {
        period_ms,
        drawing_ms: drawing.as_secs_f64() * 1e3,
        to_frame_ms: mean_ms(&measured.to_frame),
        received_ms: mean_ms(&measured.received),
    })
}
