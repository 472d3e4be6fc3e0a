//! A chunk on its way from the engine to the client: encoded and sent latent frame by latent frame while it is drawn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use pipeline::world::Frames;
use tokio::sync::mpsc;
use tracing::debug;

use super::audience::Audience;
use super::outlet::Outlet;
use crate::engine::messages::{ChunkPart, Drawn};
use crate::guardrails::{Blocked, Guardrails};
use crate::media::pictures::{Batch, Encoding, Pixels};
use crate::media::stream::Stream;
use crate::observe::LiveSession;
use crate::observe::costs::{Costs, Sums};
use crate::realtime::wire::frames::{self, ChunkLabel, Timing};

pub(super) type Parts = mpsc::Receiver<Result<ChunkPart, String>>;

pub(super) async fn next_part(parts: &mut Parts) -> anyhow::Result<ChunkPart> {
    parts.recv().await.unwrap_or_else(|| Err("the engine stopped".to_owned())).map_err(anyhow::Error::msg)
}

/// Why a chunk is not sent: a guardrail does not let its frames leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the guardrail {} blocked frames", .0.guardrail)]
pub(super) struct BlockedFrames(pub(super) Blocked);

/// These frames as the guardrails let them leave.
async fn passed(guardrails: &Guardrails, mut frames: Frames) -> anyhow::Result<Frames> {
    if guardrails.checks_no_frames() {
        return Ok(frames);
    }
    let guardrails = guardrails.clone();
    let process = move || guardrails.process(&mut frames).map(|()| frames);
    let processed = tokio::task::spawn_blocking(process).await.context("a guardrail panicked")?;
    Ok(processed.map_err(BlockedFrames)?)
}

/// Encode and send a chunk while it is drawn, latent frame by latent frame, and say what it cost. The messages in `before`
/// come before it.
pub(super) async fn deliver(
    (outlet, audience): (&Outlet, &Audience),
    (label, timing, went_elsewhere): (&ChunkLabel, Timing, bool),
    (stream, encoding, guardrails, before): (&Arc<Stream>, Encoding, &Guardrails, Vec<Bytes>),
    (mut chunk, (first, on_its_way)): (Drawn, (Frames, Duration)),
    parts: &mut Parts,
    pace_wait: Duration,
    live: &LiveSession,
) -> anyhow::Result<()> {
    let frames_of_each: Vec<usize> = chunk.plan.frames_of_each().collect();
    let of = encoding.batches_of(frames_of_each.iter().copied());
    let for_viewers = || ChunkLabel { timing: Some(timing), ..label.clone() };
    let place = (chunk.plan.index, chunk.plan.first_frame());
    let showing = audience.begin(for_viewers, (place, went_elsewhere), &frames_of_each, (encoding, stream));
    outlet.begin(label.chunk_index);
    for message in before {
        outlet.say(message).await?;
    }
    let mut latent_frame = chunk.plan.first_latent_frame;
    let shown_first = std::mem::take(&mut chunk.acks.receipts);
    let mut sums = Sums::default();
    let mut costs = Costs { prepare: chunk.prepare, pace_wait, serve: on_its_way, ..Costs::default() };
    let began = chunk.began;
    let mut part = ChunkPart::First(chunk, first);
    loop {
        let taken = Instant::now();
        let frames = match part {
            ChunkPart::First(_, frames) => frames,
            ChunkPart::More(frames, handed) => {
                costs.serve += taken.saturating_duration_since(handed);
                frames
            }
            ChunkPart::End { generate, world } => {
                (costs.generate, costs.world) = (generate, world);
                break;
            }
        };
        let frames = passed(guardrails, frames).await?;
        let encoding_began = Instant::now();
        let pixels = Pixels::from(frames);
        let batches: Arc<[Batch]> = stream.batches(encoding, timing.fps, &pixels).await?.into();
        costs.encode += encoding_began.elapsed();
        live.encoded(label.chunk_index, encoding_began);
        let writing = Instant::now();
        let mut on_socket = Duration::ZERO;
        for (i, batch) in batches.iter().enumerate() {
            let group = frames::frame_group(label, &encoding, batch, &sums, of, writing);
            sums.add(batch.frames, encoding.source().frame_bytes(), group.bytes());
            let took = outlet.send(group).await?;
            costs.header_write += took.header;
            costs.payload_write += took.payload;
            on_socket += took.header + took.payload;
            // The first message of a latent frame holds its first video frame.
            for receipt in shown_first.iter().filter(|receipt| i == 0 && receipt.latent_frame == latent_frame) {
                live.showed(receipt.arrived.elapsed());
            }
        }
        // Viewers come after the player.
        if let Some(showing) = &showing {
            showing.frames(pixels, batches);
        }
        latent_frame += 1;
        live.written(label.chunk_index, writing);
        costs.serve += taken.elapsed().saturating_sub(on_socket);
        part = next_part(parts).await?;
    }
    costs.total = began.elapsed();
    outlet.say(frames::chunk_stats(label, &encoding, &costs, &sums)).await?;
    if let Some(showing) = showing {
        showing.end(&costs);
    }
    live.sent(encoding.format().name(), (&costs, &sums), outlet.kept_bytes());
    debug!(chunk = label.chunk_index, ?costs, ?sums, "sent");
    Ok(())
}
