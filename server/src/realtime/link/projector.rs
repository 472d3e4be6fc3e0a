//! Makes the messages of each chunk for viewers, once for each form. One task a session that is watched.
//!
//! Frames that are sent to the player in the same form are not encoded again.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::warn;

use super::reel::{Feed, Reel, Spot, is_film};
use crate::media::pictures::{Batch, Encoding, Pixels};
use crate::observe::costs::{Costs, Sums};
use crate::realtime::wire::frames::{ChunkLabel, chunk_stats, frame_group};

/// A piece of a chunk on its way.
pub(super) enum Part {
    Begin(Box<Beginning>),
    /// A latent frame: its frames as they were drawn, and as they go to the player.
    Frames(Pixels, Arc<[Batch]>),
    /// All of it; what it cost.
    End(Costs),
}

/// The beginning of a chunk.
pub(super) struct Beginning {
    serial: u64,
    label: ChunkLabel,
    spot: Spot,
    /// Video frames of each latent frame.
    frames_of_each: Vec<usize>,
    feeds: Vec<Arc<Feed>>,
    /// How it goes to the player.
    players: Encoding,
    /// Held until the chunk is done, so that few wait.
    permit: OwnedSemaphorePermit,
}

/// A chunk that is shown while it is sent to the player.
pub(super) struct Showing {
    parts: mpsc::Sender<Part>,
}

/// `None`: the channel is full.
pub(super) fn begin(
    parts: mpsc::Sender<Part>,
    (serial, label, spot): (u64, ChunkLabel, Spot),
    frames_of_each: &[usize],
    (feeds, players): (Vec<Arc<Feed>>, Encoding),
    permit: OwnedSemaphorePermit,
) -> Option<Showing> {
    // The beginning and the end.
    if parts.capacity() < frames_of_each.len() + 2 {
        return None;
    }
    let frames_of_each = frames_of_each.to_vec();
    let showing = Showing { parts };
    showing.send(Part::Begin(Box::new(Beginning { serial, label, spot, frames_of_each, feeds, players, permit })));
    Some(showing)
}

impl Showing {
    /// The next latent frame.
    pub(super) fn frames(&self, pixels: Pixels, players: Arc<[Batch]>) {
        self.send(Part::Frames(pixels, players));
    }

    /// The chunk is whole.
    pub(super) fn end(self, costs: &Costs) {
        self.send(Part::End(*costs));
    }

    /// There is room: it was looked for before the chunk began.
    fn send(&self, part: Part) {
        let _ = self.parts.try_send(part);
    }
}

/// One form of a chunk that is being made.
struct Copying {
    feed: Arc<Feed>,
    growing: Option<Growing>,
    encoding: Encoding,
    of: usize,
    sums: Sums,
}

/// What viewers are in the middle of. However it ends, they hear that no more comes.
struct Growing {
    feed: Arc<Feed>,
    reel: Arc<Reel>,
}

impl Drop for Growing {
    fn drop(&mut self) {
        self.reel.close();
        self.feed.grown();
    }
}

/// A chunk that is being made.
struct Current {
    serial: u64,
    label: ChunkLabel,
    spot: Spot,
    players: Encoding,
    copies: Vec<Copying>,
    _permit: OwnedSemaphorePermit,
}

/// Make messages of all parts that come. Returns when no more will.
pub(super) async fn run(mut parts: mpsc::Receiver<Part>, session_id: &str) {
    let mut current: Option<Current> = None;
    while let Some(part) = parts.recv().await {
        match part {
            Part::Begin(beginning) => current = Some(Current::new(*beginning)),
            Part::Frames(pixels, players) => {
                if let Some(chunk) = &mut current
                    && let Err(error) = chunk.frames(&pixels, &players).await
                {
                    warn!(session_id, error = format!("{error:#}"), "a chunk is not shown to viewers");
                    current = None;
                }
            }
            Part::End(costs) => {
                if let Some(chunk) = current.take() {
                    chunk.end(&costs);
                }
            }
        }
    }
}

impl Current {
    fn new(beginning: Beginning) -> Current {
        let Beginning { serial, label, spot, frames_of_each, feeds, players, permit } = beginning;
        let copies = feeds.into_iter().filter_map(|feed| {
            let encoding = feed.encoding(players.source(), players)?;
            if encoding != players && is_film(encoding.format()) && feed.takes_key() {
                feed.stream.want_key();
            }
            let of = encoding.batches_of(frames_of_each.iter().copied());
            Some(Copying { feed, growing: None, encoding, of, sums: Sums::default() })
        });
        Current { serial, label, spot, players, copies: copies.collect(), _permit: permit }
    }

    async fn frames(&mut self, pixels: &Pixels, players: &Arc<[Batch]>) -> anyhow::Result<()> {
        let fps = self.label.timing.map_or(1, |timing| timing.fps);
        for copy in &mut self.copies {
            let own;
            let batches: &[Batch] = match copy.encoding == self.players {
                true => players,
                false => {
                    own = copy.feed.stream.batches(copy.encoding, fps, pixels).await?;
                    &own
                }
            };
            for batch in batches {
                let group = frame_group(&self.label, &copy.encoding, batch, &copy.sums, copy.of, Instant::now());
                copy.sums.add(batch.frames, copy.encoding.source().frame_bytes(), group.bytes());
                match &copy.growing {
                    Some(growing) => growing.reel.push(group),
                    None => {
                        let begins_alone = batch.key_frames.as_ref().is_none_or(|keys| keys.first() == Some(&0));
                        let reel =
                            Arc::new(Reel::new(self.serial, self.label.chunk_index, self.spot.clone(), begins_alone));
                        reel.push(group);
                        copy.feed.show(Arc::clone(&reel));
                        copy.growing = Some(Growing { feed: Arc::clone(&copy.feed), reel });
                    }
                }
            }
            copy.feed.grown();
        }
        Ok(())
    }

    fn end(self, costs: &Costs) {
        // What the player's frames took to be written is of no viewer.
        let costs = Costs { header_write: Default::default(), payload_write: Default::default(), ..*costs };
        for Copying { growing, encoding, sums, .. } in self.copies {
            if let Some(growing) = growing {
                growing.reel.finish(chunk_stats(&self.label, &encoding, &costs, &sums));
            }
        }
    }
}
