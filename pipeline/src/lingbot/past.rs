//! The clean latents of the frames that a rollout still remembers, and what conditioned them: enough to make their keys
//! and values again under another prompt.
//!
//! Keys and values of a frame depend on the prompt through the attention of every block. After a change of prompt the
//! window is full of the old one, and a picture changes slowly or not at all. Making them again takes one pass for each
//! chunk in the window, as LongLive does it (<https://arxiv.org/abs/2509.22622>, "KV recache").

use std::collections::VecDeque;
use std::ops::Range;

use ops::{Result, Tensor};

use super::camera::CameraPath;
use crate::world::{Chunking, Controls};

/// Chunks of which at least one frame is held, oldest first.
#[derive(Default, Clone)]
pub(super) struct Past {
    chunks: VecDeque<PastChunk>,
}

/// One chunk that was drawn.
#[derive(Clone)]
pub(super) struct PastChunk {
    pub(super) first_latent_frame: usize,
    /// `(C, F, h, w)`, normalised.
    pub(super) clean: Tensor,
    /// What the camera was steered by, and the camera before it.
    pub(super) camera: Option<(CameraPath, Vec<Controls>)>,
    /// The piece of the image condition that it was drawn with.
    pub(super) piece: Range<usize>,
    /// The limit on the history between sink and chunk that it was drawn with.
    pub(super) recent: Option<usize>,
}

impl Past {
    /// One more chunk is drawn. `held`: every frame in memory; chunks without one are dropped.
    pub(super) fn keep(&mut self, chunk: PastChunk, held: &[usize]) {
        self.chunks.push_back(chunk);
        self.chunks.retain(|chunk| held.iter().any(|frame| chunk.frames().contains(frame)));
    }

    /// The clean latents of the newest chunk, if a frame of it is held.
    pub(super) fn newest(&self) -> Option<&Tensor> {
        self.chunks.back().map(|chunk| &chunk.clean)
    }

    /// The held frames of each chunk, oldest first, as places in the chunk. A chunk whose first frames are pinned and
    /// whose last ones are not has two parts, or one if the rest is gone.
    pub(super) fn parts(&self, held: &[usize]) -> Vec<(&PastChunk, Range<usize>)> {
        let mut parts: Vec<(&PastChunk, Range<usize>)> = Vec::new();
        for &frame in held {
            let chunk =
                self.chunks.iter().find(|chunk| chunk.frames().contains(&frame)).expect("a held frame's chunk is kept");
            let place = frame - chunk.first_latent_frame;
            match parts.last_mut() {
                Some((last, places)) if std::ptr::eq(*last, chunk) && places.end == place => places.end += 1,
                _ => parts.push((chunk, place..place + 1)),
            }
        }
        parts
    }

    /// The chunks, oldest first.
    pub(super) fn chunks(&self) -> &VecDeque<PastChunk> {
        &self.chunks
    }

    /// Bytes of the latents.
    pub(super) fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.clean.bytes()).sum()
    }

    /// Latent frames that are kept at most beside a window of `stored` frames of which `sink` are pinned: all of it,
    /// and what two chunks have that only begin or end in it.
    pub(super) fn frames_max(stored: usize, chunking: Chunking) -> usize {
        stored + 2 * (chunking.longest() - 1)
    }
}

impl PastChunk {
    fn frames(&self) -> Range<usize> {
        self.first_latent_frame..self.first_latent_frame + self.clean.dims()[1]
    }

    /// The rays of these frames of the chunk: `(384, F, h, w)`.
    pub(super) fn rays(&self, places: &Range<usize>) -> Result<Option<Tensor>> {
        let Some((before, controls)) = &self.camera else { return Ok(None) };
        let rays = before.clone().advance(controls)?;
        Ok(Some(rays.narrow(1, places.start, places.len())?))
    }
}
