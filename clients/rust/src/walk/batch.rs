//! Frames of one message, handed out one by one as they lie in it.

use bytes::Bytes;

use super::Frame;
use crate::read::{Fields, List};

/// A content type, held in place. Longer ones than this are none.
#[derive(Clone, Copy)]
struct ContentType {
    bytes: [u8; 40],
    length: usize,
}

impl ContentType {
    fn new(text: &str) -> Option<ContentType> {
        let mut bytes = [0; 40];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(ContentType { bytes, length: text.len() })
    }

    fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).expect("it was copied from text")
    }
}

/// Frames of a message that is checked.
pub(super) struct New {
    payload: Bytes,
    lengths: List<u32, 16>,
    /// Bytes of each frame where they have no lengths of their own.
    each: usize,
    count: u32,
    /// Frames at the beginning that were handed out before.
    skip: u32,
    width: u32,
    height: u32,
    chunk: u64,
    /// The number of the first frame in the video.
    first: u64,
    event_id: Option<u32>,
    /// Frames a second, where the server says when frames are due.
    fps: Option<u32>,
    content_type: ContentType,
}

impl New {
    /// `frames`: how many were handed out before. `Err` says what of the fields cannot be true.
    pub(super) fn read(
        fields: &Fields<'_>,
        payload: Bytes,
        fps: Option<u32>,
        frames: u64,
    ) -> Result<New, &'static str> {
        let (Some(chunk), Some(count)) = (fields.chunk_index, fields.num_frames) else {
            return Err("frames without their chunk or their number");
        };
        let (width, height) = (fields.width.unwrap_or(0), fields.height.unwrap_or(0));
        let length = payload.len();
        let each = width as usize * height as usize * 3;
        let lengths = fields.payload_lengths;
        let sum = match lengths.as_slice() {
            [] => each.checked_mul(count as usize),
            lengths if lengths.len() == count as usize => Some(lengths.iter().map(|&length| length as usize).sum()),
            _ => None,
        };
        if sum != Some(length) || fields.total_size != Some(length as u64) {
            return Err("the payload is not as long as its header says");
        }
        let fps = fps.filter(|&fps| fps > 0 && fields.pts_ms.is_some());
        let first = fields.first_frame_index.unwrap_or(frames);
        let content_type = fields.content_type.and_then(ContentType::new).ok_or("frames without a content type")?;
        Ok(New {
            content_type,
            payload,
            lengths,
            each,
            count,
            skip: 0,
            width,
            height,
            chunk,
            first,
            event_id: fields.event_id,
            fps,
        })
    }

    pub(super) fn chunk(&self) -> u64 {
        self.chunk
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// But for those at the beginning that were handed out before.
    pub(super) fn without(self, skip: u32) -> New {
        New { skip, ..self }
    }

    /// With none of them handed out yet.
    pub(super) fn begin(self) -> Batch {
        Batch { new: self, at: 0, length: 0, next: 0 }
    }
}

/// Frames of one message, and which of them is handed out.
pub(super) struct Batch {
    new: New,
    /// Where the frame lies in the payload.
    at: usize,
    length: usize,
    /// The frame after it.
    next: u32,
}

impl Batch {
    /// Go to the next frame. `false`: there is none.
    pub(super) fn advance(&mut self) -> bool {
        loop {
            if self.next == self.new.count {
                return false;
            }
            self.at += self.length;
            let lengths = self.new.lengths.as_slice();
            self.length = lengths.get(self.next as usize).map_or(self.new.each, |&length| length as usize);
            self.next += 1;
            if self.next > self.new.skip {
                return true;
            }
        }
    }

    /// The number of this frame in the video. Where a server does not number frames, those that were skipped count before.
    pub(super) fn index(&self) -> u64 {
        self.new.first + u64::from(self.next - 1)
    }

    pub(super) fn frame(&self) -> Frame<'_> {
        Frame {
            data: &self.new.payload[self.at..self.at + self.length],
            content_type: self.new.content_type.as_str(),
            width: self.new.width,
            height: self.new.height,
            chunk: self.new.chunk,
            index: self.index(),
            event_id: self.new.event_id,
            pts_ms: self.new.fps.map(|fps| self.index() * 1000 / u64::from(fps)),
        }
    }
}

/// The chunk that is arriving.
#[derive(Default)]
pub(super) struct Arriving {
    chunk: u64,
    /// Frames of it that came over this connection.
    came: u32,
    /// Frames of it that were handed out.
    given: u32,
}

impl Arriving {
    /// So many frames of this chunk come. How many of them were handed out before: a chunk that was cut comes again from its
    /// beginning.
    pub(super) fn come(&mut self, chunk: u64, count: u32) -> u32 {
        if chunk != self.chunk {
            *self = Arriving { chunk, ..Arriving::default() };
        }
        let known = self.given.saturating_sub(self.came).min(count);
        self.came += count;
        self.given = self.given.max(self.came);
        known
    }

    /// Another connection: the chunk begins again.
    pub(super) fn again(&mut self) {
        self.came = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_come_again_after_a_cut_are_known_and_those_after_them_are_not() {
        let mut arriving = Arriving::default();
        assert_eq!([arriving.come(0, 9), arriving.come(1, 4), arriving.come(1, 4)], [0, 0, 0]);
        arriving.again();
        assert_eq!([arriving.come(1, 6), arriving.come(1, 6), arriving.come(2, 4)], [6, 2, 0]);
    }
}
