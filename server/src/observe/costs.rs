//! What a chunk cost and what it came to: told to its client, and counted.

use std::time::Duration;

use pipeline::world::Timings;

/// What a chunk cost. Durations are exact here and whole milliseconds on the wire.
#[derive(Debug, Clone, Copy, Default)]
pub struct Costs {
    /// Sampling the controls.
    pub prepare: Duration,
    /// All of the world's work.
    pub generate: Duration,
    pub world: Timings,
    pub pace_wait: Duration,
    pub encode: Duration,
    pub header_write: Duration,
    pub payload_write: Duration,
    /// From the sampling to the last byte written.
    pub total: Duration,
}

/// What a chunk came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub batches: usize,
    pub frames: usize,
    /// Pixels, unencoded.
    pub raw_bytes: u64,
    /// All that was handed to the socket for the chunk's frames.
    pub socket_bytes: u64,
}
