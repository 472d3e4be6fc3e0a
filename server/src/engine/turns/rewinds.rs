//! What is kept of a rollout to go back to: a state every two seconds of video, and what steered each chunk since the oldest.
//!
//! A state is as large as the rollout's memory, so one for each chunk would take forty times that memory. Between two
//! states the chunks are drawn again from what steered them: less than two seconds of video, and the same bytes.

use std::collections::VecDeque;
use std::mem::size_of;

use pipeline::world::{Card, ChunkInput, Controls, FRAMES_PER_LATENT, PROMPT_BYTES_MAX};

/// Seconds of video that a client can go back.
pub const SECONDS: usize = 10;
/// Seconds of video between two states.
const EVERY_SECONDS: usize = 2;

/// How often a state is kept, and how many are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spacing {
    /// Chunks from one state to the next.
    every: usize,
    /// States at most.
    most: usize,
    /// Latent frames of a chunk.
    latent_frames: usize,
}

impl Spacing {
    /// For a world of this card, at its own frame rate.
    pub fn of(card: &Card) -> Spacing {
        let frames = card.chunk * FRAMES_PER_LATENT;
        let every = (EVERY_SECONDS * card.fps as usize / frames).max(1);
        // One more: just after a state was kept, the oldest is this many intervals old.
        let most = (SECONDS * card.fps as usize).div_ceil(every * frames) + 1;
        Spacing { every, most, latent_frames: card.chunk.max(card.first_chunk) }
    }

    /// The most bytes that are kept, if a state has so many.
    pub fn bytes(self, state_bytes: u64) -> u64 {
        let chunks = (self.most * self.every) as u64;
        // Twice as long as usual, a first chunk may be.
        let controls = 2 * self.latent_frames * size_of::<Controls>();
        let input = size_of::<ChunkInput>() + PROMPT_BYTES_MAX + controls;
        self.most as u64 * state_bytes + chunks * input as u64
    }
}

/// What is kept of one rollout. `S`: a state.
#[derive(Debug)]
pub struct Rewinds<S> {
    spacing: Spacing,
    /// With the chunk that came next, the oldest first.
    states: VecDeque<(usize, S)>,
    /// What steered each chunk since the oldest state.
    inputs: VecDeque<ChunkInput>,
    /// The chunk that is drawn next.
    next: usize,
}

impl<S> Rewinds<S> {
    /// Of a rollout whose first chunk is drawn next.
    pub fn new(spacing: Spacing) -> Rewinds<S> {
        Rewinds { spacing, states: VecDeque::new(), inputs: VecDeque::new(), next: 0 }
    }

    /// Whether a state is to be kept before the next chunk is drawn.
    pub fn is_due(&self) -> bool {
        self.next.is_multiple_of(self.spacing.every) && self.states.back().is_none_or(|(at, _)| *at < self.next)
    }

    /// Keep the state before the next chunk.
    pub fn keep(&mut self, state: S) {
        self.states.push_back((self.next, state));
        if self.states.len() > self.spacing.most {
            self.states.pop_front();
            let oldest = self.states.front().map_or(self.next, |(at, _)| *at);
            self.inputs.drain(..self.inputs.len() - (self.next - oldest));
        }
    }

    /// The next chunk was drawn with this.
    pub fn drew(&mut self, input: ChunkInput) {
        self.inputs.push_back(input);
        self.next += 1;
    }

    /// Go back, so that `to` is the chunk that is drawn next: the state before it, and what steers the chunks from
    /// there to `to`. `Err` says which chunks can be gone back to.
    pub fn back(&mut self, to: usize) -> Result<(&S, VecDeque<ChunkInput>), String> {
        let oldest = self.states.front().map_or(self.next, |(at, _)| *at);
        if to < oldest || to > self.next {
            return Err(format!("chunk {to}: a client can go back to chunks {oldest} to {}", self.next));
        }
        self.states.retain(|(at, _)| *at <= to);
        self.inputs.truncate(to - oldest);
        self.next = to;
        let Some((at, state)) = self.states.back() else { return Err("nothing was drawn yet".to_owned()) };
        Ok((state, self.inputs.iter().skip(at - oldest).cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(chunk: usize) -> ChunkInput {
        ChunkInput { prompt: Some(chunk.to_string()), ..ChunkInput::default() }
    }

    /// A state is the number of the chunk after it.
    fn drawn(spacing: Spacing, chunks: usize) -> Rewinds<usize> {
        let mut rewinds = Rewinds::new(spacing);
        draw(&mut rewinds, chunks);
        rewinds
    }

    fn draw(rewinds: &mut Rewinds<usize>, until: usize) {
        while rewinds.next < until {
            if rewinds.is_due() {
                rewinds.keep(rewinds.next);
            }
            rewinds.drew(input(rewinds.next));
        }
    }

    fn spacing(every: usize, most: usize) -> Spacing {
        Spacing { every, most, latent_frames: 1 }
    }

    #[test]
    fn every_chunk_since_the_oldest_state_can_be_gone_back_to() {
        for (every, most) in [(1usize, 3usize), (3, 3), (4, 2)] {
            for chunks in 1..20usize {
                let oldest = chunks.div_ceil(every).saturating_sub(most) * every;
                for to in 0..=chunks + 1 {
                    let mut rewinds = drawn(spacing(every, most), chunks);
                    let back = rewinds.back(to).map(|(state, inputs)| (*state, inputs));
                    if to < oldest || to > chunks {
                        assert!(back.expect_err("not kept").contains(&format!("chunks {oldest} to {chunks}")));
                        continue;
                    }
                    let (state, inputs) = back.expect("kept");
                    assert!(state <= to && to - state <= every, "from {state} to {to}");
                    assert!(inputs.into_iter().eq((state..to).map(input)), "{every}, {most}: {chunks} back to {to}");
                }
            }
        }
    }

    #[test]
    fn after_going_back_it_is_as_if_the_rest_had_never_been_drawn() {
        let mut rewinds = drawn(spacing(3, 3), 11);
        rewinds.back(7).expect("kept");
        draw(&mut rewinds, 13);
        let never = drawn(spacing(3, 3), 13);
        assert_eq!((&rewinds.states, &rewinds.inputs, rewinds.next), (&never.states, &never.inputs, never.next));
        // Also twice to the same chunk, and to one where a state stands: it is not kept twice.
        rewinds.back(9).expect("kept");
        rewinds.back(9).expect("kept");
        draw(&mut rewinds, 13);
        assert_eq!((&rewinds.states, &rewinds.inputs), (&never.states, &never.inputs));
    }
}
