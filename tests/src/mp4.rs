//! An MP4 file, read and decoded with crates that did not write it: what a player would show, and when.

use anyhow::{Context, Result, ensure};
use openh264::decoder::{DecodedYUV, Decoder};
use openh264::formats::YUVSource;
use pipeline::world::{Picture, Size};
use re_mp4::{Mp4, StsdBoxContent};

/// What is in a file with one H.264 track.
pub struct Film {
    /// Of each frame.
    pub size: Size,
    /// When each frame is shown, in seconds.
    pub shown_at: Vec<f64>,
    /// Seconds of the whole.
    pub duration: f64,
    /// The frames.
    pub frames: Vec<Picture>,
}

impl Film {
    /// Read a file and decode all of it.
    pub fn read(file: &[u8]) -> Result<Film> {
        let mp4 = Mp4::read_bytes(file)?;
        ensure!(mp4.tracks().len() == 1, "{} tracks", mp4.tracks().len());
        let track = mp4.tracks().values().next().context("a track")?;
        let StsdBoxContent::Avc1(avc1) = &track.trak(&mp4).mdia.minf.stbl.stsd.contents else {
            anyhow::bail!("the track is not avc1");
        };
        let size = Size { width: track.width.into(), height: track.height.into() };
        let seconds = |units: u64| units as f64 / track.timescale as f64;
        let shown_at = track.samples.iter().map(|sample| seconds(sample.composition_timestamp as u64)).collect();

        // As a player does it: the parameter sets from the header, then each sample with start codes for its lengths.
        let mut decoder = Decoder::new()?;
        let (sequence, picture) = (&avc1.avcc.sequence_parameter_sets, &avc1.avcc.picture_parameter_sets);
        let mut coded = Vec::new();
        for set in sequence.iter().chain(picture) {
            coded.extend_from_slice(&[0, 0, 0, 1]);
            coded.extend_from_slice(&set.bytes);
        }
        let mut frames = Vec::new();
        for sample in &track.samples {
            let mut rest = file.get(sample.byte_range()).context("a sample ends behind the file")?;
            while let Some((length, units)) = rest.split_first_chunk() {
                let length = u32::from_be_bytes(*length) as usize;
                coded.extend_from_slice(&[0, 0, 0, 1]);
                coded.extend_from_slice(units.get(..length).context("a unit ends behind its sample")?);
                rest = &units[length..];
            }
            let decoded = decoder.decode(&coded)?.with_context(|| format!("frame {} is not shown", frames.len()))?;
            ensure!(decoded.dimensions() == (size.width as usize, size.height as usize), "a frame of another size");
            frames.push(rgb(&decoded, size));
            coded.clear();
        }
        Ok(Film { size, shown_at, duration: seconds(track.duration), frames })
    }
}

/// BT.709 with limited range, back to RGB.
pub fn rgb(decoded: &DecodedYUV, size: Size) -> Picture {
    let strides = decoded.strides();
    let mut rgb = Vec::with_capacity(size.frame_bytes() as usize);
    for row in 0..size.height as usize {
        for column in 0..size.width as usize {
            let chroma = |plane: &[u8], stride: usize| f64::from(plane[row / 2 * stride + column / 2]) - 128.0;
            let luma = (f64::from(decoded.y()[row * strides.0 + column]) - 16.0) * 255.0 / 219.0;
            let blue = luma + chroma(decoded.u(), strides.1) * 1.8556 * 255.0 / 224.0;
            let red = luma + chroma(decoded.v(), strides.2) * 1.5748 * 255.0 / 224.0;
            let green = (luma - 0.2126 * red - 0.0722 * blue) / 0.7152;
            // Rounded, and held within a byte by the cast.
            rgb.extend([red, green, blue].map(|level| level.round() as u8));
        }
    }
    Picture { size, rgb }
}
