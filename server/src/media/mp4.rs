//! A film in an MP4 file: H.264 at a constant rate, the index before the pictures, so that a player can begin at once.
//!
//! The encoded frames are kept in memory until the film is complete, since the index needs the length of each. They are
//! small, and a reader never gets half a film.

use std::io::Write;

use anyhow::{Context, ensure};
use muxide::api::{Muxer, MuxerBuilder, VideoCodec};
use pipeline::world::Size;

use super::h264::FrameEncoder;

/// Frames a second that a film can have.
const FPS: std::ops::RangeInclusive<f64> = 1.0..=240.0;

/// A film that is being written to `W`.
pub struct Film<W: Write> {
    encoder: FrameEncoder,
    muxer: Muxer<W>,
    fps: f64,
    frames: u64,
}

impl<W: Write> Film<W> {
    /// Begin a film of frames of `size`; for `quantiser` see [`super::quantiser`].
    ///
    /// # Errors
    /// If the encoder cannot take this size, rate or quantiser.
    pub fn begin(file: W, size: Size, fps: f64, quantiser: u8) -> anyhow::Result<Film<W>> {
        ensure!(FPS.contains(&fps), "{fps} frames a second: from {} to {}", FPS.start(), FPS.end());
        let encoder = FrameEncoder::new(size, fps, quantiser)?;
        let muxer = MuxerBuilder::new(file).video(VideoCodec::H264, size.width, size.height, fps);
        let muxer = muxer.build().context("beginning an MP4 file")?;
        Ok(Film { encoder, muxer, fps, frames: 0 })
    }

    /// Add a frame: RGB, 8 bits each, row by row.
    pub fn push(&mut self, rgb: &[u8]) -> anyhow::Result<()> {
        let unit = self.encoder.encode(rgb)?;
        // The parameter sets stand in the header. The muxer finds them in the first frame, and keeps them there, too.
        let coded = if self.frames == 0 { &unit.annex_b[..] } else { without_parameter_sets(&unit.annex_b) };
        // From the start of the film, so that errors of rounding do not add up.
        let shown_at = self.frames as f64 / self.fps;
        self.muxer.write_video(shown_at, coded, unit.is_key).context("adding a frame to an MP4 file")?;
        self.frames += 1;
        Ok(())
    }

    /// Write the file.
    ///
    /// # Errors
    /// If the film has one frame, whose length the muxer could not tell: that is a picture.
    pub fn finish(mut self) -> anyhow::Result<W> {
        ensure!(self.frames > 1, "a film has at least 2 frames, and {} was drawn", self.frames);
        self.muxer.finish_in_place().context("writing an MP4 file")?;
        Ok(self.muxer.into_writer())
    }
}

/// What follows the parameter sets at the beginning of an access unit.
fn without_parameter_sets(mut annex_b: &[u8]) -> &[u8] {
    const START: [u8; 3] = [0, 0, 1];
    let (sequence, picture) = (7, 8);
    loop {
        let mut starts = annex_b.windows(4).enumerate().filter(|(_, bytes)| bytes[..3] == START);
        match (starts.next(), starts.next()) {
            (Some((_, [.., kind])), Some((next, _))) if [sequence, picture].contains(&(kind & 31)) => {
                annex_b = &annex_b[next..];
            }
            _ => return annex_b,
        }
    }
}

#[cfg(test)]
mod tests;
