//! An animated WebP, written frame by frame: any browser plays it, and no more than one frame is in memory.
//!
//! <https://developers.google.com/speed/webp/docs/riff_container>

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, ensure};
use pipeline::world::Size;

use crate::media::pictures;
use crate::whole_file::{Existing, WholeFile};

/// An animation that is being written.
pub struct Animation {
    file: WholeFile,
    size: Size,
    fps: u32,
    frames: u64,
}

/// Quality of each frame. High, since the file is kept and looked at.
const QUALITY: u8 = 85;

const RIFF_HEAD_BYTES: usize = 12;

impl Animation {
    /// Begins the file; it takes its name when it is finished. `Err`: the size is too large for WebP, something is
    /// there that must stay, or the file cannot be written.
    pub fn create(path: &Path, existing: Existing, size: Size, fps: u32) -> anyhow::Result<Animation> {
        let side_max = pictures::Format::Webp { quality: QUALITY }.side_max();
        ensure!(
            size.width.max(size.height) <= side_max,
            "{size} is too large for WebP: a side is {side_max} pixels at most"
        );
        let file = WholeFile::create(path, existing)?;
        let mut animation = Animation { file, size, fps, frames: 0 };
        // The length is known at the end.
        animation.file.write_all(b"RIFF\0\0\0\0WEBP")?;
        let mut canvas = vec![0b10, 0, 0, 0];
        canvas.extend_from_slice(&three_bytes(size.width - 1));
        canvas.extend_from_slice(&three_bytes(size.height - 1));
        animation.chunk(b"VP8X", &canvas)?;
        // A transparent background, which is never seen, and no end to the repetitions.
        animation.chunk(b"ANIM", &[0; 6])?;
        Ok(animation)
    }

    /// One more frame: RGB, 8 bits each, of the animation's size.
    pub fn push(&mut self, rgb: &[u8]) -> anyhow::Result<()> {
        let file = pictures::webp(rgb, self.size, QUALITY)?;
        // Rounded from the start of the video, so that errors do not add up.
        let shown_ms = |frames: u64| frames * 1000 / u64::from(self.fps);
        let duration_ms = (shown_ms(self.frames + 1) - shown_ms(self.frames)) as u32;
        let mut frame = Vec::with_capacity(16 + file.len());
        frame.extend_from_slice(&[0; 6]);
        frame.extend_from_slice(&three_bytes(self.size.width - 1));
        frame.extend_from_slice(&three_bytes(self.size.height - 1));
        frame.extend_from_slice(&three_bytes(duration_ms));
        // Replaces what was there.
        frame.push(0b10);
        frame.extend_from_slice(&file[RIFF_HEAD_BYTES..]);
        self.chunk(b"ANMF", &frame)?;
        self.frames += 1;
        Ok(())
    }

    /// Writes what is only known at the end.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let length = self.file.stream_position()? - 8;
        self.file.seek(SeekFrom::Start(4))?;
        self.file.write_all(&u32::try_from(length).context("a WebP file ends at 4 GiB")?.to_le_bytes())?;
        self.file.finish()
    }

    fn chunk(&mut self, name: &[u8; 4], content: &[u8]) -> anyhow::Result<()> {
        self.file.write_all(name)?;
        self.file.write_all(&u32::try_from(content.len())?.to_le_bytes())?;
        self.file.write_all(content)?;
        if content.len() % 2 == 1 {
            self.file.write_all(&[0])?;
        }
        Ok(())
    }
}

fn three_bytes(number: u32) -> [u8; 3] {
    let [a, b, c, _] = number.to_le_bytes();
    [a, b, c]
}
