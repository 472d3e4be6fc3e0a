//! A chunk on its way from the engine to the client: encoded and sent latent frame by latent frame while it is drawn.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pipeline::world::Frames;
use tokio::sync::mpsc;
use tracing::debug;

use super::outlet::Outlet;
use crate::engine::thread::{ChunkPart, Drawn};
use crate::media::pictures;
use crate::observe::LiveSession;
use crate::observe::costs::{Costs, Sums};
use crate::realtime::wire::acks::event_ack;
use crate::realtime::wire::frames::{self, ChunkLabel};

pub(super) type Parts = mpsc::Receiver<Result<ChunkPart, String>>;

pub(super) async fn next_part(parts: &mut Parts) -> anyhow::Result<ChunkPart> {
    parts.recv().await.unwrap_or_else(|| Err("the engine stopped".to_owned())).map_err(anyhow::Error::msg)
}

/// Encode and send a chunk while it is drawn, latent frame by latent frame, and say what it cost.
pub(super) async fn deliver(
    outlet: &Outlet,
    label: &ChunkLabel,
    encoding: pictures::Encoding,
    (chunk, first): (Drawn, Frames),
    parts: &mut Parts,
    pace_wait: Duration,
    live: &LiveSession,
) -> anyhow::Result<()> {
    let of = encoding.batches_of(chunk.plan.frames_of_each());
    outlet.begin(label.chunk_index);
    if let Some(ack) = event_ack(&chunk.acks, label.chunk_index) {
        outlet.say(ack).await?;
    }
    let mut sums = Sums::default();
    let mut costs = Costs { prepare: chunk.prepare, pace_wait, ..Costs::default() };
    let began = chunk.began;
    let mut part = ChunkPart::First(chunk, first);
    loop {
        let frames = match part {
            ChunkPart::First(_, frames) | ChunkPart::More(frames) => frames,
            ChunkPart::End { generate, world } => {
                (costs.generate, costs.world) = (generate, world);
                break;
            }
        };
        let encoding_began = Instant::now();
        let batches = encoding.batches(frames).await?;
        costs.encode += encoding_began.elapsed();
        live.encoded(label.chunk_index, encoding_began);
        let writing = Instant::now();
        for batch in batches {
            let group = frames::frame_group(label, &encoding, &batch, &sums, of, writing);
            sums.batches += 1;
            sums.frames += batch.frames;
            sums.raw_bytes += batch.frames as u64 * encoding.source().frame_bytes();
            sums.socket_bytes += (group.header.len() + group.payload.as_ref().map_or(0, Bytes::len)) as u64;
            let took = outlet.send(group).await?;
            costs.header_write += took.header;
            costs.payload_write += took.payload;
        }
        live.written(label.chunk_index, writing);
        part = next_part(parts).await?;
    }
    costs.total = began.elapsed();
    outlet.say(frames::chunk_stats(label, &encoding, &costs, &sums)).await?;
    live.sent(&costs, &sums, outlet.kept_bytes());
    debug!(chunk = label.chunk_index, ?costs, ?sums, "sent");
    Ok(())
}
