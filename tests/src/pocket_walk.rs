//! A walk of the pocket world as a clip, for programs that measure.

use anyhow::Result;
use pipeline::world::{Card, ChunkInput, ChunkPlan, Chunking, ClipAsk, Controls, Held, Init};

/// So many chunks through a meadow; `held`: the keys of a chunk, by its number.
pub fn ask(card: &Card, chunks: usize, held: impl Fn(usize) -> Held) -> Result<ClipAsk> {
    let (sink, window) = card.choose_window(None, None)?;
    let init = Init {
        prompt: "a green meadow".into(),
        first_frame: None,
        size: card.default_size,
        seed: 7,
        sink,
        window,
        first_chunk: None,
        condition_frames: None,
    };
    let frames = (0..chunks).map(|index| ChunkPlan::new(index, Chunking::even(card.chunk)).pixel_frames).sum();
    let input = |index: usize| {
        let held: Controls = held(index).into();
        ChunkInput { prompt: None, recache: false, steps: None, controls: Some(vec![held; card.chunk]) }
    };
    Ok(ClipAsk::new(init, frames, (0..chunks).map(input).collect()))
}
