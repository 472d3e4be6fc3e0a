//! The backlog: messages sent last, for a client that may come back without having received them. Whole chunks, the
//! newest kept, within a bound in bytes.

use std::collections::VecDeque;

use bytes::Bytes;
use pipeline::world::Refusal;
use serde::{Deserialize, Serialize};

pub(crate) struct Backlog {
    bytes_max: usize,
    bytes: usize,
    /// Consecutive chunks. The last may still be growing.
    chunks: VecDeque<Kept>,
    /// Number of the chunk after the last.
    next: usize,
}

/// What goes on in another process: the number of the chunk after the last, and the messages of those before it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackedBacklog {
    next: usize,
    /// Consecutive chunks, the newest first.
    chunks: Vec<Vec<serde_bytes::ByteBuf>>,
}

struct Kept {
    index: usize,
    bytes: usize,
    messages: Vec<Bytes>,
}

impl Backlog {
    pub(crate) fn new(bytes_max: usize) -> Backlog {
        Backlog { bytes_max, bytes: 0, chunks: VecDeque::new(), next: 0 }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages pushed from here on belong to this chunk.
    pub(crate) fn begin(&mut self, index: usize) {
        self.chunks.push_back(Kept { index, bytes: 0, messages: Vec::new() });
        self.next = index + 1;
    }

    pub(crate) fn keep(&mut self, message: &Bytes) {
        // None: the chunk alone is larger than the bound.
        let Some(chunk) = self.chunks.back_mut() else { return };
        chunk.messages.push(message.clone());
        chunk.bytes += message.len();
        self.bytes += message.len();
        while self.bytes > self.bytes_max {
            let oldest = self.chunks.pop_front().expect("bytes belong to chunks");
            self.bytes -= oldest.bytes;
        }
    }

    /// The newest chunks, as many as are no more than these bytes.
    pub(crate) fn pack(&self, bytes_max: usize) -> PackedBacklog {
        let mut left = bytes_max;
        let fits = |chunk: &&Kept| {
            // A message has a head of some bytes, too.
            let bytes = chunk.bytes + 8 * (chunk.messages.len() + 1);
            left.checked_sub(bytes).map(|rest| left = rest).is_some()
        };
        let copied = |chunk: &Kept| chunk.messages.iter().map(|message| message.to_vec().into()).collect();
        PackedBacklog { next: self.next, chunks: self.chunks.iter().rev().take_while(fits).map(copied).collect() }
    }

    /// For a client that has this chunk: the number of the next one, and the messages it lacks.
    pub(crate) fn after(&self, last: Option<usize>) -> Result<(usize, Vec<Bytes>), Refusal> {
        let refuse = |reason| Err(Refusal { field: "last_chunk", reason });
        let needed = last.map_or(0, |last| last.saturating_add(1));
        let oldest = self.chunks.front().map_or(self.next, |chunk| chunk.index);
        if needed > self.next {
            return refuse(format!("chunk {} has not been sent: the next is {}", needed - 1, self.next));
        }
        if needed < oldest {
            return refuse(format!("chunk {needed} is no longer kept: the oldest to be had is {oldest}"));
        }
        let missed = self.chunks.iter().filter(|chunk| chunk.index >= needed);
        Ok((needed, missed.flat_map(|chunk| &chunk.messages).cloned().collect()))
    }
}

impl PackedBacklog {
    /// Nothing is kept, and this is the number of the next chunk.
    pub(crate) fn none_before(next: usize) -> PackedBacklog {
        PackedBacklog { next, chunks: Vec::new() }
    }

    /// The backlog, which keeps no more than these bytes. `Err`: no server has made this.
    pub(crate) fn unpack(self, bytes_max: usize) -> Result<Backlog, String> {
        let PackedBacklog { next, chunks } = self;
        let first =
            next.checked_sub(chunks.len()).ok_or_else(|| format!("{} chunks before chunk {next}", chunks.len()))?;
        let mut backlog = Backlog { next, ..Backlog::new(bytes_max) };
        for (index, messages) in (first..next).zip(chunks.into_iter().rev()) {
            backlog.begin(index);
            messages.into_iter().for_each(|message| backlog.keep(&message.into_vec().into()));
        }
        Ok(backlog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chunks of two messages of ten bytes each.
    fn sent(bytes_max: usize, chunks: usize) -> Backlog {
        let mut backlog = Backlog::new(bytes_max);
        for index in 0..chunks {
            backlog.begin(index);
            for _ in 0..2 {
                backlog.keep(&Bytes::from(vec![index as u8; 10]));
            }
        }
        backlog
    }

    fn first_bytes(messages: &[Bytes]) -> Vec<u8> {
        messages.iter().map(|message| message[0]).collect()
    }

    #[test]
    fn a_client_gets_what_it_has_not() {
        let backlog = sent(1000, 3);
        let after =
            |last| backlog.after(last).map(|(next, messages)| (next, first_bytes(&messages))).expect("it is kept");
        assert_eq!(after(None), (0, vec![0, 0, 1, 1, 2, 2]));
        assert_eq!(after(Some(1)), (2, vec![2, 2]));
        assert_eq!(after(Some(2)), (3, vec![]));
    }

    #[test]
    fn a_chunk_that_is_still_being_sent_begins_anew() {
        let mut backlog = sent(1000, 1);
        backlog.begin(1);
        backlog.keep(&Bytes::from_static(&[1; 10]));
        let (next, messages) = backlog.after(Some(0)).expect("it is kept");
        assert_eq!((next, first_bytes(&messages)), (1, vec![1]));
    }

    #[test]
    fn in_another_process_the_newest_chunks_are_kept_that_fit() {
        let backlog = sent(1000, 4);
        let after = |bytes_max, last| {
            let kept = backlog.pack(bytes_max).unpack(1000).expect("made here");
            kept.after(last).map(|(next, messages)| (next, first_bytes(&messages)))
        };
        assert_eq!(after(1000, None), Ok((0, vec![0, 0, 1, 1, 2, 2, 3, 3])));
        assert_eq!(after(100, Some(1)), Ok((2, vec![2, 2, 3, 3])));
        assert!(after(100, Some(0)).is_err_and(|refusal| refusal.reason.contains("the oldest to be had is 2")));
        assert_eq!(after(0, Some(3)), Ok((4, vec![])), "who has all needs nothing");
        assert!(PackedBacklog { next: 1, chunks: vec![Vec::new(); 2] }.unpack(0).is_err());
    }

    #[test]
    fn what_is_too_old_or_has_never_been_is_refused_by_name() {
        let backlog = sent(40, 5);
        assert_eq!(backlog.after(Some(2)).map(|(next, _)| next), Ok(3));
        for (last, words) in [
            (Some(1), "chunk 2 is no longer kept: the oldest to be had is 3"),
            (None, "chunk 0 is"),
            (Some(5), "chunk 5 has not been sent: the next is 5"),
        ] {
            let refusal = backlog.after(last).map(|_| ()).expect_err("it is not kept");
            assert!(refusal.field == "last_chunk" && refusal.reason.starts_with(words), "{refusal}");
        }
        assert!(sent(40, 5).after(Some(usize::MAX)).is_err());
    }

    #[test]
    fn no_more_is_kept_than_may_be_even_of_one_chunk() {
        for bytes_max in [0, 19, 20, 45] {
            let backlog = sent(bytes_max, 3);
            let kept: usize = backlog.chunks.iter().flat_map(|chunk| &chunk.messages).map(Bytes::len).sum();
            assert!(kept <= bytes_max && kept == backlog.bytes, "{kept} of {bytes_max}");
            assert_eq!(backlog.after(Some(2)).map(|(next, _)| next), Ok(3), "who has all needs nothing");
            assert_eq!(backlog.after(Some(1)).is_ok(), bytes_max >= 20);
        }
    }
}
