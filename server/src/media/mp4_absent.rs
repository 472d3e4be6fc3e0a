//! Films in a build without the feature `h264`: there are none, and who asks for one is told so.

use std::convert::Infallible;
use std::io::Write;
use std::marker::PhantomData;

use anyhow::bail;
use pipeline::world::Size;

/// A film, which this build cannot begin.
pub struct Film<W: Write> {
    never: Infallible,
    file: PhantomData<W>,
}

impl<W: Write> Film<W> {
    /// An error: there is no encoder.
    pub fn begin(_file: W, _size: Size, _fps: f64, _quantiser: u8) -> anyhow::Result<Film<W>> {
        bail!("this build has no video encoder (its feature h264 is off)")
    }

    /// Never called.
    pub fn push(&mut self, _rgb: &[u8]) -> anyhow::Result<()> {
        match self.never {}
    }

    /// Never called.
    pub fn finish(self) -> anyhow::Result<W> {
        match self.never {}
    }
}
