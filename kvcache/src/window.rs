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
}

impl Window {
    /// A window before its first chunk. `total`, `sink` and `chunk` are latent frames: kept in all, pinned, made together.
    pub fn new(total: usize, sink: usize, chunk: usize) -> Result<Window, WindowError> {
        if chunk == 0 {
            return Err(WindowError::EmptyChunk);
        }
        if total.checked_sub(sink).is_none_or(|rolling| rolling < chunk) {
            return Err(WindowError::TooSmall { total, sink, chunk });
        }
        Ok(Window { sink, total, chunk, start: 0 })
    }

    /// The frames of the chunk being made, counted from the start of the video.
    pub fn current(&self) -> Range<usize> {
        self.start..self.start + self.chunk
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

    /// The frames that attention sees while the current chunk is made, oldest first: the sink, then what is kept, then the
    /// chunk itself. With `recent`, of the frames between sink and chunk only that many of the newest.
    pub fn visible(&self, recent: Option<usize>) -> impl Iterator<Item = usize> + use<> {
        let Range { start, end } = self.current();
        let sink = self.sink.min(end);
        let kept = end.saturating_sub(self.total - self.sink);
        let wanted = recent.map_or(0, |recent| start.saturating_sub(recent));
        (0..sink).chain(kept.max(wanted).max(sink)..end)
    }

    /// The frames in memory before anything of the current chunk is written, oldest first.
    pub fn held(&self) -> impl Iterator<Item = usize> + use<> {
        let sink = self.sink.min(self.start);
        (0..sink).chain(self.start.saturating_sub(self.total - self.sink).max(sink)..self.start)
    }

    /// Go on to the next chunk.
    pub fn advance(&mut self) {
        self.start += self.chunk;
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
        for total in 1..=9 {
            for sink in 0..total {
                for chunk in 1..=total - sink {
                    let mut window = Window::new(total, sink, chunk).expect("possible");
                    let mut plain = Shifting { rows: Vec::new(), sink, total };
                    // What each slot holds: a frame must still be where it was put when it is looked at.
                    let mut slots = vec![None; total];
                    for _ in 0..12 {
                        plain.append(window.current());
                        for frame in window.current() {
                            slots[window.slot(frame)] = Some(frame);
                        }
                        for recent in (0..=total).map(Some).chain([None]) {
                            let visible: Vec<_> = window.visible(recent).collect();
                            assert_eq!(visible, plain.visible(chunk, recent), "{window:?}, recent {recent:?}");
                            for &frame in &visible {
                                assert_eq!(slots[window.slot(frame)], Some(frame), "{window:?}");
                            }
                        }
                        window.advance();
                    }
                }
            }
        }
    }

    #[test]
    fn a_window_that_cannot_hold_its_chunk_is_refused() {
        assert_eq!(Window::new(4, 0, 0), Err(WindowError::EmptyChunk));
        for (total, sink, chunk) in [(0, 0, 1), (3, 1, 3), (3, 4, 1), (18, 16, 3)] {
            assert_eq!(Window::new(total, sink, chunk), Err(WindowError::TooSmall { total, sink, chunk }));
        }
        assert!(Window::new(3, 0, 3).is_ok());
    }
}
