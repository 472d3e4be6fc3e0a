//! H.264 in a build without the feature `h264`: there is no encoder, and a request for one is an error.

use std::convert::Infallible;

use anyhow::bail;
use pipeline::world::Size;

/// Whether this build can encode H.264.
pub const AVAILABLE: bool = false;

/// The bytes of one frame.
pub struct AccessUnit {
    /// NAL units, each behind a start code.
    pub annex_b: Vec<u8>,
    /// Decoding can begin here.
    pub is_key: bool,
}

/// An error: there is no encoder.
pub fn check(_size: Size) -> anyhow::Result<()> {
    bail!("this build has no video encoder (its feature h264 is off)")
}

/// None: there is no encoder.
pub fn frames_held(_size: Size) -> usize {
    0
}

/// An encoder, which this build does not have.
pub struct FrameEncoder {
    never: Infallible,
}

impl FrameEncoder {
    /// An error: there is no encoder.
    pub fn new(_size: Size, _fps: f64, _quantiser: u8) -> anyhow::Result<FrameEncoder> {
        bail!("this build has no video encoder (its feature h264 is off)")
    }

    /// Never called.
    pub fn want_key(&mut self) {
        match self.never {}
    }

    /// Never called.
    pub fn encode(&mut self, _rgb: &[u8]) -> anyhow::Result<AccessUnit> {
        match self.never {}
    }
}
