//! Which latent frames are visible and in which slot each one lies: integers only.
//!
//! There is no bookkeeping to get wrong: a frame's slot follows from its number alone.

use std::ops::Range;

/// A rolling window over the latent frames of one video, and the place in it of the chunk being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Frames at the start of the video that are never evicted.
    sink: usize,
    /// Frames kept in all: sink, recent ones and the chunk being made.
    total: usize,
    /// Frames made together.
    chunk: usize,
    /// Frames of the very first chunk.
    first_chunk: usize,
    /// First frame of the chunk being made.
    start: usize,
}

/// A window that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Chunks of nothing.
    #[error("a chunk needs at least one latent frame")]
    EmptyChunk,
    /// The pinned frames leave less than a chunk. All in latent frames.
    #[error("a window of {total} latent frames with {sink} pinned has no room for a chunk of {chunk}")]
    TooSmall {
        /// Kept in all.
        total: usize,
        /// Pinned.
        sink: usize,
        /// Made together.
        chunk: usize,
    },
    /// More frames at once than are kept. Both in latent frames.
    #[error("a window of {total} latent frames does not hold a first chunk of {first_chunk}")]
    FirstChunk {
        /// Kept in all.
        total: usize,
        /// Made together in the first chunk.
        first_chunk: usize,
    },
}

impl Window {
    /// A window before its first chunk. `total`, `sink` and `chunk` are latent frames: kept in all, pinned, made
    /// together.
    pub fn new(total: usize, sink: usize, chunk: usize) -> Result<Window, WindowError> {
        if chunk == 0 {
            return Err(WindowError::EmptyChunk);
        }
        if total.checked_sub(sink).is_none_or(|rolling| rolling < chunk) {
            return Err(WindowError::TooSmall { total, sink, chunk });
        }
        Ok(Window { sink, total, chunk, first_chunk: chunk, start: 0 })
    }

    /// The same window before a first chunk of `first_chunk` latent frames. Frames of the sink count as any others:
    /// they are made in the first chunk, too.
    pub fn starting_with(self, first_chunk: usize) -> Result<Window, WindowError> {
        match first_chunk {
            0 => Err(WindowError::EmptyChunk),
            _ if first_chunk > self.total => Err(WindowError::FirstChunk { total: self.total, first_chunk }),
            _ => Ok(Window { first_chunk, ..self }),
        }
    }

    /// The frames of the chunk being made, counted from the start of the video.
    pub fn current(&self) -> Range<usize> {
        self.start..self.start + if self.start == 0 { self.first_chunk } else { self.chunk }
    }

    /// Frames kept when the window is full.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Where a frame lies. The sink has the first slots to itself; the rest is a ring, so frame `f` lies where
    /// frame `f − (total − sink)` was.
    pub fn slot(&self, frame: usize) -> usize {
        if frame < self.sink { frame } else { self.sink + (frame - self.sink) % (self.total - self.sink) }
    }

    /// The frames that attention sees while the current chunk is made, oldest first: the sink, then what is kept, then
    /// the chunk itself. With `recent`, of the frames between sink and chunk only that many of the newest.
    pub fn visible(&self, recent: Option<usize>) -> impl Iterator<Item = usize> + use<> {
        let Range { start, end } = self.current();
        let sink = self.sink.min(end);
        let kept = end.saturating_sub(self.total - self.sink);
        let wanted = recent.map_or(0, |recent| start.saturating_sub(recent));
        (0..sink).chain(kept.max(wanted).max(sink)..end)
    }

    /// Of the frames in memory, those that attention saw when `again` was made, as far as they are still there: for
    /// making its keys and values again. `again` are consecutive held frames; `recent` is as in [`Window::visible`].
    pub fn visible_again(&self, again: &Range<usize>, recent: Option<usize>) -> impl Iterator<Item = usize> + use<> {
        let (sink, end) = (self.sink, again.end);
        let wanted = recent.map_or(0, |recent| again.start.saturating_sub(recent));
        self.held().filter(move |&frame| frame < end && (frame < sink || frame >= wanted))
    }

    /// The frames in memory before anything of the current chunk is written, oldest first.
    pub fn held(&self) -> impl Iterator<Item = usize> + use<> {
        let sink = self.sink.min(self.start);
        (0..sink).chain(self.start.saturating_sub(self.total - self.sink).max(sink)..self.start)
    }

    /// The same window after this many chunks.
    pub fn after(self, chunks: usize) -> Window {
        let start = chunks.checked_sub(1).map_or(0, |later| self.first_chunk + later * self.chunk);
        Window { start, ..self }
    }

    /// Go on to the next chunk.
    pub fn advance(&mut self) {
        self.start = self.current().end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference's own bookkeeping, in frames: a buffer that is shifted left when it overflows.
    struct Shifting {
        rows: Vec<usize>,
        sink: usize,
        total: usize,
    }

    impl Shifting {
        fn append(&mut self, frames: Range<usize>) {
            self.rows.extend(frames);
            let evicted = self.rows.len().saturating_sub(self.total);
            self.rows.drain(self.sink.min(self.rows.len())..self.sink.min(self.rows.len()) + evicted);
        }

        fn visible(&self, chunk: usize, recent: Option<usize>) -> Vec<usize> {
            let filled = self.rows.len();
            let sink = self.sink.min(filled);
            let first = recent.map_or(0, |recent| sink.max((filled - chunk).saturating_sub(recent)));
            if first <= sink { self.rows.clone() } else { [&self.rows[..sink], &self.rows[first..]].concat() }
        }
    }

    #[test]
    fn every_small_window_sees_what_a_shifted_buffer_would() {
        for (total, sink, chunk) in small_windows() {
            check(Window::new(total, sink, chunk).expect("possible"), chunk);
        }
    }

    #[test]
    fn first_chunks_of_one_frame_to_twice_a_chunk_are_seen_as_in_a_shifted_buffer() {
        for (total, sink, chunk) in small_windows() {
            for first in 1..=(2 * chunk).min(total) {
                let window = Window::new(total, sink, chunk).and_then(|window| window.starting_with(first));
                check(window.expect("possible"), first);
            }
        }
    }

    fn small_windows() -> impl Iterator<Item = (usize, usize, usize)> {
        let sinks = (1..=9).flat_map(|total| (0..total).map(move |sink| (total, sink)));
        sinks.flat_map(|(total, sink)| (1..=total - sink).map(move |chunk| (total, sink, chunk)))
    }

    fn check(mut window: Window, first_chunk: usize) {
        let (total, sink, chunk) = (window.total, window.sink, window.chunk);
        let mut plain = Shifting { rows: Vec::new(), sink, total };
        // What each slot holds: a frame must still be where it was put when it is looked at.
        let mut slots = vec![None; total];
        let mut start = 0;
        for index in 0..12 {
            let frames = if index == 0 { first_chunk } else { chunk };
            assert_eq!(window.current(), start..start + frames, "{window:?}");
            plain.append(window.current());
            for frame in window.current() {
                slots[window.slot(frame)] = Some(frame);
            }
            for recent in (0..=total).map(Some).chain([None]) {
                let visible: Vec<_> = window.visible(recent).collect();
                assert_eq!(visible, plain.visible(frames, recent), "{window:?}, recent {recent:?}");
                for &frame in &visible {
                    assert_eq!(slots[window.slot(frame)], Some(frame), "{window:?}");
                }
            }
            start += frames;
            window.advance();
            assert_eq!(window.held().collect::<Vec<_>>(), plain.rows, "{window:?}");
        }
    }

    #[test]
    fn a_window_that_cannot_hold_its_chunk_is_refused() {
        assert_eq!(Window::new(4, 0, 0), Err(WindowError::EmptyChunk));
        for (total, sink, chunk) in [(0, 0, 1), (3, 1, 3), (3, 4, 1), (18, 16, 3)] {
            assert_eq!(Window::new(total, sink, chunk), Err(WindowError::TooSmall { total, sink, chunk }));
        }
        assert!(Window::new(3, 0, 3).is_ok());
        let first = |frames| Window::new(4, 1, 3).expect("possible").starting_with(frames);
        assert_eq!(first(0), Err(WindowError::EmptyChunk));
        assert_eq!(first(5), Err(WindowError::FirstChunk { total: 4, first_chunk: 5 }));
        assert!(first(4).is_ok());
    }
}
