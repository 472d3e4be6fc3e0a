//! H.264 of RGB frames: Main profile, 4:2:0, BT.709 limited range, one constant quantiser, no B-frames.
//!
//! The encoder is Cisco's OpenH264, compiled from the sources that its crate carries. Colours are converted here, since
//! the crate's own conversion is BT.601 and truncates.

use anyhow::{Context, ensure};
use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, Profile, QpRange, RateControlMode,
    VuiConfig,
};
use openh264::formats::YUVSource;
use pipeline::world::Size;

use super::quantiser;

/// Whether this build can encode H.264: it has the feature `h264`.
pub const AVAILABLE: bool = true;

/// The longer and the shorter side that OpenH264 encodes at most.
const SIDES_MAX: (u32, u32) = (3840, 2160);

/// A player that seeks decodes from the key frame before: two seconds are a short wait, and cost few bytes.
const KEY_FRAME_SECONDS: f64 = 2.0;

/// The bytes of one frame.
pub struct AccessUnit {
    /// NAL units, each behind a start code. Those of a key frame begin with the parameter sets.
    pub annex_b: Vec<u8>,
    /// Decoding can begin here.
    pub is_key: bool,
}

/// Whether frames of this size can be encoded.
pub fn check(size: Size) -> anyhow::Result<()> {
    let Size { width, height } = size;
    let (longer, shorter) = SIDES_MAX;
    ensure!(
        width.max(height) <= longer && width.min(height) <= shorter && width.min(height) > 0,
        "{size} is too large for H.264: at most {longer}x{shorter}"
    );
    ensure!(width % 2 == 0 && height % 2 == 0, "{size} cannot be H.264: both sides must be even");
    Ok(())
}

/// What an encoder holds, in frames of RGB: 16, and one MiB. Measured by resident memory, sessions that send films beside as
/// many that send JPEG: 19 MB more each at 832x480, 1.6 MB at 128x96.
pub fn frames_held(size: Size) -> usize {
    16 + (1u64 << 20).div_ceil(size.frame_bytes()) as usize
}

/// The encoder of one clip, or of one session.
pub struct FrameEncoder {
    encoder: Encoder,
    planes: Planes,
    fps: f64,
    quantiser: u8,
}

impl FrameEncoder {
    /// An encoder for frames of `size`, `fps` of them a second. The same frames and values give the same bytes.
    ///
    /// # Errors
    /// If a side is odd or too long for the encoder, or the quantiser is none.
    pub fn new(size: Size, fps: f64, quantiser: u8) -> anyhow::Result<FrameEncoder> {
        check(size)?;
        ensure!(
            (quantiser::MIN..=quantiser::MAX).contains(&quantiser),
            "quantiser {quantiser}: from {} to {}",
            quantiser::MIN,
            quantiser::MAX
        );
        Ok(FrameEncoder { encoder: start(fps, quantiser)?, planes: Planes::new(size), fps, quantiser })
    }

    /// The next frame can be decoded without those before it.
    pub fn want_key(&mut self) {
        self.encoder.force_intra_frame();
    }

    /// Encode the next frame: RGB, 8 bits each, row by row, of the encoder's size.
    pub fn encode(&mut self, rgb: &[u8]) -> anyhow::Result<AccessUnit> {
        self.planes.fill(rgb);
        loop {
            let coded = self.encoder.encode(&self.planes).map(|coded| (coded.to_vec(), coded.frame_type()));
            match coded {
                Ok((annex_b, kind)) => {
                    // A skipped frame would make the film shorter.
                    ensure!(!annex_b.is_empty(), "the encoder gave nothing for a frame ({kind:?})");
                    return Ok(AccessUnit { annex_b, is_key: kind == FrameType::IDR });
                }
                // The library has room for a frame as large as it is uncompressed. Noise needs more at a fine quantiser: from
                // here on the film is coarser, and goes on with a key frame.
                Err(error) if self.quantiser < quantiser::MAX => {
                    // Six double the step.
                    self.quantiser = (self.quantiser + 6).min(quantiser::MAX);
                    tracing::debug!(%error, quantiser = self.quantiser, "a frame had no room");
                    self.encoder = start(self.fps, self.quantiser)?;
                }
                Err(error) => return Err(error).context("encoding a frame"),
            }
        }
    }
}

fn start(fps: f64, quantiser: u8) -> anyhow::Result<Encoder> {
    let key_frame_period = (KEY_FRAME_SECONDS * fps).round().max(1.0) as u32;
    // A constant quantiser is a range of one value in the mode that heeds ranges (`Off` does not), with a bitrate that is never
    // reached. Skipping must be allowed, or the library prints a warning; with that bitrate it never happens.
    let config = EncoderConfig::new()
        .profile(Profile::Main)
        .rate_control_mode(RateControlMode::Quality)
        .qp(QpRange::new(quantiser, quantiser))
        .bitrate(BitRate::from_bps(200_000_000))
        .skip_frames(true)
        .max_frame_rate(FrameRate::from_hz(fps as f32))
        // A cut needs no key frame of its own, and this way they come when they are expected.
        .scene_change_detect(false)
        .intra_frame_period(IntraFramePeriod::from_num_frames(key_frame_period))
        // One: the bytes depend on nothing else, and the other cores draw.
        .num_threads(1)
        .vui(VuiConfig::bt709());
    Encoder::with_api_config(OpenH264API::from_source(), config).context("starting OpenH264")
}

/// A frame as luma and two chroma planes, the latter half as wide and half as high.
struct Planes {
    size: Size,
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

/// BT.709 with limited range (ITU-R BT.709-6, 3.3 and 4.6) in 16 binary places: what a level of red, green and blue
/// adds to each plane. Luma goes from 16 to 235, chroma from 16 to 240 around 128.
const Y: [i32; 3] = [11966, 40254, 4064];
const U: [i32; 3] = [-6596, -22189, 28785];
const V: [i32; 3] = [28785, -26146, -2639];

fn weighted([red, green, blue]: [i32; 3], weights: [i32; 3]) -> i32 {
    red * weights[0] + green * weights[1] + blue * weights[2]
}

impl Planes {
    fn new(size: Size) -> Planes {
        let pixels = size.pixels() as usize;
        Planes { size, y: vec![0; pixels], u: vec![0; pixels / 4], v: vec![0; pixels / 4] }
    }

    /// Convert a frame. Chroma is that of the mean of 2×2 pixels.
    fn fill(&mut self, rgb: &[u8]) {
        assert_eq!(rgb.len() as u64, self.size.frame_bytes(), "a frame of {}", self.size);
        let width = self.size.width as usize;
        let two_rows = rgb.chunks_exact(6 * width).zip(self.y.chunks_exact_mut(2 * width));
        let chroma = self.u.chunks_exact_mut(width / 2).zip(self.v.chunks_exact_mut(width / 2));
        for ((rgb, y), (u, v)) in two_rows.zip(chroma) {
            let ((above, below), (y_above, y_below)) = (rgb.split_at(3 * width), y.split_at_mut(width));
            let pixels = above.chunks_exact(6).zip(below.chunks_exact(6));
            let luma = y_above.chunks_exact_mut(2).zip(y_below.chunks_exact_mut(2));
            for (((above, below), (y_above, y_below)), (u, v)) in pixels.zip(luma).zip(u.iter_mut().zip(v)) {
                let pixel = |row: &[u8], at: usize| [row[at], row[at + 1], row[at + 2]].map(i32::from);
                let block = [pixel(above, 0), pixel(above, 3), pixel(below, 0), pixel(below, 3)];
                let luma = block.map(|pixel| (((16 << 16) + (1 << 15) + weighted(pixel, Y)) >> 16) as u8);
                [y_above[0], y_above[1], y_below[0], y_below[1]] = luma;
                let sum = block.into_iter().fold([0; 3], |sum, pixel| [0, 1, 2].map(|c| sum[c] + pixel[c]));
                *u = (((128 << 18) + (1 << 17) + weighted(sum, U)) >> 18) as u8;
                *v = (((128 << 18) + (1 << 17) + weighted(sum, V)) >> 18) as u8;
            }
        }
    }
}

impl YUVSource for Planes {
    fn dimensions(&self) -> (usize, usize) {
        (self.size.width as usize, self.size.height as usize)
    }

    fn strides(&self) -> (usize, usize, usize) {
        let width = self.size.width as usize;
        (width, width / 2, width / 2)
    }

    fn y(&self) -> &[u8] {
        &self.y
    }

    fn u(&self) -> &[u8] {
        &self.u
    }

    fn v(&self) -> &[u8] {
        &self.v
    }
}

#[cfg(test)]
mod tests;
