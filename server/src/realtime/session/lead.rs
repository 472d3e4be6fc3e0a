//! How far a session may be ahead of what its client has shown. A client that never says where it is sets no bound: then
//! credit and pace alone decide.

use pipeline::world::{ChunkPlan, Chunking};

use crate::realtime::wire::control::Playback;

/// What was granted, and what the client has shown of it.
pub(crate) struct Lead {
    chunking: Chunking,
    fps: u32,
    /// The place in the video of the chunk that is granted next.
    next: usize,
    /// Video frames of all chunks that were granted.
    frames: u64,
    playback: Option<Playback>,
}

impl Lead {
    pub(crate) fn new(fps: u32) -> Lead {
        Lead { chunking: Chunking::even(1), fps, next: 0, frames: 0, playback: None }
    }

    /// Video frames of all chunks that were granted, and the chunk after them.
    pub(crate) fn place(&self) -> (u64, usize) {
        (self.frames, self.next)
    }

    /// Video frames of the chunks that were granted before this one.
    pub(crate) fn frames_before(&self, chunk: usize) -> u64 {
        (chunk..self.next).fold(self.frames, |frames, granted| frames.saturating_sub(self.frames_of(granted)))
    }

    /// The video is cut like this and goes on at this chunk, after so many frames.
    pub(crate) fn goes_on(&mut self, chunking: Chunking, (frames, next): (u64, usize)) {
        (self.chunking, self.frames, self.next) = (chunking, frames, next);
    }

    /// The video is cut like this, and begins at this chunk.
    pub(crate) fn begins(&mut self, chunking: Chunking, next: usize) {
        (self.chunking, self.next) = (chunking, next);
    }

    /// The video goes on with this chunk.
    pub(crate) fn goes_on_at(&mut self, chunk: usize) {
        self.next = chunk;
    }

    /// The chunk that is shown this long before the next one.
    pub(crate) fn before(&self, ms: u32) -> usize {
        let mut frames = u64::from(ms) * u64::from(self.fps) / 1000;
        let mut chunk = self.next;
        while chunk > 0 && frames > 0 {
            chunk -= 1;
            frames = frames.saturating_sub(self.frames_of(chunk));
        }
        chunk
    }

    pub(crate) fn granted(&mut self, chunks: u64) {
        for _ in 0..chunks {
            self.frames += self.frames_of(self.next);
            self.next += 1;
        }
    }

    /// The client says where it is; `None`: it is another client, which has not said so.
    pub(crate) fn playback(&mut self, playback: Option<Playback>) {
        self.playback = playback;
    }

    /// Whether one more chunk would put the session further ahead than its client wants. Who has shown all gets one.
    pub(crate) fn is_too_far(&self) -> bool {
        self.room(1) == 0
    }

    /// How many of these chunks may be granted at once.
    pub(crate) fn room(&self, chunks: u64) -> u64 {
        let Some(Playback { shown, lead_ms }) = self.playback else { return chunks };
        let lead = (u64::from(lead_ms) * u64::from(self.fps)).div_ceil(1000);
        let mut ahead = self.frames.saturating_sub(u64::from(shown));
        let fits = |index: &u64| {
            let after = ahead + self.frames_of(self.next + *index as usize);
            let fits = ahead == 0 || after <= lead;
            ahead = after;
            fits
        };
        (0..chunks).take_while(fits).count() as u64
    }

    fn frames_of(&self, index: usize) -> u64 {
        ChunkPlan::new(index, self.chunking).pixel_frames as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_before_the_next_chunk_are_whole_chunks() {
        let mut lead = Lead::new(16);
        lead.begins(Chunking::even(3), 0);
        lead.granted(5);
        // Chunks of 9, 12, 12, 12 and 12 frames.
        for (ms, chunk) in
            [(1, 5), (100, 4), (750, 4), (800, 4), (820, 3), (1500, 3), (3000, 1), (3100, 0), (10_000, 0)]
        {
            assert_eq!(lead.before(ms), chunk, "{ms} ms");
        }
        lead.goes_on_at(2);
        assert_eq!((lead.before(750), lead.frames), (1, 57));
    }

    #[test]
    fn a_chunk_is_too_far_ahead_if_its_last_frame_is() {
        let mut lead = Lead::new(16);
        lead.begins(Chunking::even(3), 0);
        lead.granted(2);
        assert!(!lead.is_too_far(), "nobody said where they are");
        let check = |lead: &mut Lead, shown, lead_ms, expected| {
            lead.playback(Some(Playback { shown, lead_ms }));
            assert_eq!(lead.is_too_far(), expected, "{shown} shown of {}, {lead_ms} ms", lead.frames);
        };
        // 21 frames are granted, the next chunk has 12: 16 frames are a second.
        check(&mut lead, 0, 2000, true);
        check(&mut lead, 1, 2000, false);
        check(&mut lead, 20, 700, true);
        check(&mut lead, 21, 0, false);
        check(&mut lead, 1000, 0, false);
        lead.playback(Some(Playback { shown: 1, lead_ms: 2000 }));
        assert_eq!((lead.room(1), lead.room(2)), (1, 1));
        lead.granted(1);
        check(&mut lead, 1, 2000, true);
        check(&mut lead, 13, 2000, false);
        lead.playback(None);
        assert_eq!(lead.room(2), 2);
    }
}
