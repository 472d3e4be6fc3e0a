//! What is kept of a rollout to go back to: states, and what each chunk since the oldest was steered by and drawn to.
//!
//! A state is nearly as large as the rollout's memory, so there is one for each chunk only where that is little. Else they
//! are as close together as their bound allows, two seconds of video at most. Between two states the chunks are drawn
//! again from what is kept of them: without denoising where the world can, and the same bytes.

use std::collections::VecDeque;
use std::mem::size_of;

use pipeline::world::{Card, ChunkInput, Controls, FRAMES_PER_LATENT, KeptBytes, PROMPT_BYTES_MAX};

/// Seconds of video that a client can go back.
pub const SECONDS: usize = 10;
/// Seconds of video between two states at most: so much is drawn again for a client that goes back.
const APART_SECONDS: usize = 2;

/// How often a state is kept, and how many are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spacing {
    /// Chunks from one state to the next.
    every: usize,
    /// States at most.
    most: usize,
    /// The most bytes that are kept.
    bytes: u64,
}

impl Spacing {
    /// The closest that keeps no more than `bytes_max`, for a world of this card at its own frame rate. `None`: states two
    /// seconds apart need more.
    pub fn within(card: &Card, kept: KeptBytes, bytes_max: u64) -> Option<Spacing> {
        let frames = card.chunk * FRAMES_PER_LATENT;
        let furthest = (APART_SECONDS * card.fps as usize / frames).max(1);
        (1..=furthest).map(|every| Spacing::every(every, card, kept)).find(|spacing| spacing.bytes <= bytes_max)
    }

    fn every(every: usize, card: &Card, kept: KeptBytes) -> Spacing {
        // One more: just after a state was kept, the oldest is this many intervals old.
        let most = (SECONDS * card.fps as usize).div_ceil(every * card.chunk * FRAMES_PER_LATENT) + 1;
        let chunks = (most * every) as u64;
        // Twice as long as usual, a first chunk may be.
        let controls = 2 * card.chunk.max(card.first_chunk) * size_of::<Controls>();
        let input = size_of::<ChunkInput>() + PROMPT_BYTES_MAX + controls;
        let bytes = (most as u64).saturating_mul(kept.state).saturating_add(chunks * (input as u64 + kept.chunk));
        Spacing { every, most, bytes }
    }

    /// The most bytes that are kept.
    pub fn bytes(self) -> u64 {
        self.bytes
    }
}

/// What is kept of a chunk: what it was steered by and, if its world says so, what it was drawn to.
pub type DrawnWith<S> = (ChunkInput, Option<S>);

/// What is kept of one rollout. `S`: a state.
#[derive(Debug)]
pub struct Rewinds<S> {
    spacing: Spacing,
    /// With the chunk that came next, the oldest first.
    states: VecDeque<(usize, S)>,
    /// Of each chunk since the oldest state.
    chunks: VecDeque<DrawnWith<S>>,
    /// The chunk that is drawn next.
    next: usize,
}

impl<S: Clone> Rewinds<S> {
    /// Of a rollout whose first chunk is drawn next.
    pub fn new(spacing: Spacing) -> Rewinds<S> {
        Rewinds { spacing, states: VecDeque::new(), chunks: VecDeque::new(), next: 0 }
    }

    /// Of a rollout that goes on with this chunk; nothing is kept of those before it.
    pub fn going_on(spacing: Spacing, next: usize) -> Rewinds<S> {
        Rewinds { next, ..Rewinds::new(spacing) }
    }

    /// Whether a state is to be kept before the next chunk is drawn.
    pub fn is_due(&self) -> bool {
        self.states.is_empty()
            || self.next.is_multiple_of(self.spacing.every) && self.states.back().is_none_or(|(at, _)| *at < self.next)
    }

    /// Keep the state before the next chunk.
    pub fn keep(&mut self, state: S) {
        self.states.push_back((self.next, state));
        if self.states.len() > self.spacing.most {
            self.states.pop_front();
            let oldest = self.states.front().map_or(self.next, |(at, _)| *at);
            self.chunks.drain(..self.chunks.len() - (self.next - oldest));
        }
    }

    /// The next chunk was drawn with this.
    pub fn drew(&mut self, with: DrawnWith<S>) {
        self.chunks.push_back(with);
        self.next += 1;
    }

    /// Go back, so that `to` is the chunk that is drawn next: the state before it, and what is kept of the chunks from
    /// there to `to`. `Err` says which chunks can be gone back to.
    pub fn back(&mut self, to: usize) -> Result<(&S, VecDeque<DrawnWith<S>>), String> {
        let oldest = self.states.front().map_or(self.next, |(at, _)| *at);
        if to < oldest || to > self.next {
            return Err(format!("chunk {to}: a client can go back to chunks {oldest} to {}", self.next));
        }
        self.states.retain(|(at, _)| *at <= to);
        self.chunks.truncate(to - oldest);
        self.next = to;
        let Some((at, state)) = self.states.back() else { return Err("nothing was drawn yet".to_owned()) };
        Ok((state, self.chunks.iter().skip(at - oldest).cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pipeline::testcard::Testcard;
    use pipeline::world::World;

    use super::*;

    fn with(chunk: usize) -> DrawnWith<usize> {
        (ChunkInput { prompt: Some(chunk.to_string()), ..ChunkInput::default() }, Some(chunk))
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
            rewinds.drew(with(rewinds.next));
        }
    }

    fn spacing(every: usize, most: usize) -> Spacing {
        Spacing { every, most, bytes: 0 }
    }

    #[test]
    fn states_are_as_close_as_their_memory_allows_and_two_seconds_apart_at_most() {
        let card = Card { fps: 16, chunk: 1, first_chunk: 1, ..Card::clone(Testcard::new(Duration::ZERO).card()) };
        let check = |bytes_max: u64, expected: Option<(usize, usize)>| {
            let kept = KeptBytes { state: 1 << 20, chunk: 1 << 10 };
            let spacing = Spacing::within(&card, kept, bytes_max);
            assert_eq!(spacing.map(|spacing| (spacing.every, spacing.most)), expected, "{bytes_max}");
            if let Some(spacing) = spacing {
                assert!(spacing.bytes <= bytes_max && spacing.bytes > spacing.most as u64 * kept.state);
                // Ten seconds back at every moment: 40 chunks.
                assert!((spacing.most - 1) * spacing.every >= 40);
            }
        };
        check(64 << 20, Some((1, 41)));
        check(24 << 20, Some((2, 21)));
        check(13 << 20, Some((4, 11)));
        check(7 << 20, Some((8, 6)));
        check(6 << 20, None);
    }

    #[test]
    fn every_chunk_since_the_oldest_state_can_be_gone_back_to() {
        for (every, most) in [(1usize, 3usize), (3, 3), (4, 2)] {
            for chunks in 1..20usize {
                let oldest = chunks.div_ceil(every).saturating_sub(most) * every;
                for to in 0..=chunks + 1 {
                    let mut rewinds = drawn(spacing(every, most), chunks);
                    let back = rewinds.back(to).map(|(state, again)| (*state, again));
                    if to < oldest || to > chunks {
                        assert!(back.expect_err("not kept").contains(&format!("chunks {oldest} to {chunks}")));
                        continue;
                    }
                    let (state, again) = back.expect("kept");
                    assert!(state <= to && to - state <= every, "from {state} to {to}");
                    assert!(again.into_iter().eq((state..to).map(with)), "{every}, {most}: {chunks} back to {to}");
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
        assert_eq!((&rewinds.states, &rewinds.chunks, rewinds.next), (&never.states, &never.chunks, never.next));
        // Also twice to the same chunk, and to one where a state stands: it is not kept twice.
        rewinds.back(9).expect("kept");
        rewinds.back(9).expect("kept");
        draw(&mut rewinds, 13);
        assert_eq!((&rewinds.states, &rewinds.chunks), (&never.states, &never.chunks));
    }
}
