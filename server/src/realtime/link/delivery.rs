//! A chunk on its way from the engine to the client: encoded and sent latent frame by latent frame while it is drawn.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pipeline::world::Frames;
use tokio::sync::mpsc;
use tracing::debug;

use super::outlet::Outlet;
use crate::engine::thread::{Drawn, Part};
use crate::media::pictures;
use crate::observe::LiveSession;
use crate::observe::costs::{Costs, Sums};
use crate::realtime::wire::acks::event_ack;
use crate::realtime::wire::frames::{self, ChunkLabel};

pub(super) type Parts = mpsc::Receiver<Result<Part, String>>;

pub(super) async fn next_part(parts: &mut Parts) -> anyhow::Result<Part> {
    parts.recv().await.unwrap_or_else(|| Err("the engine stopped".to_owned())).map_err(anyhow::Error::msg)
}

/// Encode and send a chunk while it is drawn, latent frame by latent frame, and say what it cost.
pub(super) async fn deliver(
    outlet: &Outlet,
    label: &ChunkLabel,
    output: pictures::Output,
    (chunk, first): (Drawn, Frames),
    parts: &mut Parts,
    pace_wait: Duration,
    live: &LiveSession,
) -> anyhow::Result<()> {
    let of = output.batches_of(chunk.plan.frames_of_each());
    outlet.begin(label.chunk_index);
    if let Some(ack) = event_ack(&chunk.acks, label.chunk_index) {
        outlet.say(ack).await?;
    }
    let mut sums = Sums::default();
    let mut costs = Costs { prepare: chunk.prepare, pace_wait, ..Costs::default() };
    let began = chunk.began;
    let mut part = Part::First(chunk, first);
    loop {
        let frames = match part {
            Part::First(_, frames) | Part::More(frames) => frames,
            Part::End { generate, world } => {
                (costs.generate, costs.world) = (generate, world);
                break;
            }
        };
        let encoding = Instant::now();
        let batches = output.batches(frames).await?;
        costs.encode += encoding.elapsed();
        live.encoded(label.chunk_index, encoding);
        let writing = Instant::now();
        for batch in batches {
            let group = frames::frame_group(label, &output, &batch, &sums, of, writing);
            sums.batches += 1;
            sums.frames += batch.frames;
            sums.raw_bytes += batch.frames as u64 * output.source().frame_bytes();
            sums.socket_bytes += (group.header.len() + group.payload.as_ref().map_or(0, Bytes::len)) as u64;
            let took = outlet.send(group).await?;
            costs.header_write += took.header;
            costs.payload_write += took.payload;
        }
        live.written(label.chunk_index, writing);
        part = next_part(parts).await?;
    }
    costs.total = began.elapsed();
    outlet.say(frames::chunk_stats(label, &output, &costs, &sums)).await?;
    live.sent(&costs, &sums, outlet.kept_bytes());
    debug!(chunk = label.chunk_index, ?costs, ?sums, "sent");
    Ok(())
}
