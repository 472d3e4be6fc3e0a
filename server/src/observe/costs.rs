//! A chunk's costs and sums: sent to its client, and counted.

use std::time::Duration;

use pipeline::world::Timings;

/// A chunk's times. Exact here, whole milliseconds on the wire.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Costs {
    /// Sampling the controls.
    pub(crate) prepare: Duration,
    /// All of the world's work.
    pub(crate) generate: Duration,
    /// How the world spent that.
    pub(crate) world: Timings,
    /// Held back for the pace, before it was begun and after it was drawn.
    pub(crate) pace_wait: Duration,
    /// Encoding its frames.
    pub(crate) encode: Duration,
    /// The server's own work between the world and the socket: what is handed from thread to thread, encoding, messages.
    pub(crate) serve: Duration,
    /// Handing its headers to the socket.
    pub(crate) header_write: Duration,
    /// Handing its frames to the socket.
    pub(crate) payload_write: Duration,
    /// From the sampling to the last byte written.
    pub(crate) total: Duration,
}

/// A chunk's sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Messages, or pairs of a header and its payload.
    pub(crate) batches: usize,
    /// Video frames.
    pub(crate) frames: usize,
    /// Bytes of the pixels before encoding.
    pub(crate) raw_bytes: u64,
    /// Bytes handed to the socket for the chunk's frames.
    pub(crate) socket_bytes: u64,
}

impl Sums {
    /// Some frames more, in a message or two of so many bytes. `frame_bytes`: of a frame before encoding.
    pub(crate) fn add(&mut self, frames: usize, frame_bytes: u64, socket_bytes: u64) {
        self.batches += 1;
        self.frames += frames;
        self.raw_bytes += frames as u64 * frame_bytes;
        self.socket_bytes += socket_bytes;
    }
}
