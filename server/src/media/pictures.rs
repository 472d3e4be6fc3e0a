//! Pictures out: a chunk's frames as raw RGB, JPEG or WebP. For films see [`super::stream`].

use std::borrow::Cow;

use anyhow::{Context, bail};
use bytes::Bytes;
use fast_image_resize as resize;
use pipeline::world::{Frames, Size};
use serde::{Deserialize, Serialize};

/// The encoding of frames for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    format: Format,
    source: Size,
    /// Size of an encoded frame; raw frames are never scaled.
    sent: Size,
}

/// What a frame is sent as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// RGB, 8 bits each, row by row.
    Raw,
    /// H.264 in Annex B: a film, one access unit a frame.
    H264 {
        /// See [`super::quantiser`].
        quantiser: u8,
    },
    /// Lossy WebP.
    Webp {
        /// 0 to 100.
        quality: u8,
    },
    /// Baseline JPEG.
    Jpeg {
        /// 0 to 100.
        quality: u8,
    },
}

impl Format {
    /// The encoding's name on the wire, under `encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::H264 { .. } => "h264",
            Format::Webp { .. } => "webp",
            Format::Jpeg { .. } => "jpeg",
        }
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Raw => "application/x-raw-rgb",
            Format::H264 { .. } => "video/h264",
            Format::Webp { .. } => "image/webp",
            Format::Jpeg { .. } => "image/jpeg",
        }
    }

    /// Pixels that a side of a picture can have.
    pub fn side_max(self) -> u32 {
        match self {
            Format::Raw => u32::MAX,
            Format::H264 { .. } => 3840,
            Format::Webp { .. } => 16_383,
            Format::Jpeg { .. } => 65_500,
        }
    }
}

/// Frames as they were drawn, to be encoded in several ways: a copy shares the bytes.
#[derive(Debug, Clone)]
pub struct Pixels {
    /// RGB, 8 bits each, row by row, one frame after the other.
    pub rgb: Bytes,
    /// How many frames.
    pub count: usize,
    /// Of each of them.
    pub size: Size,
}

impl From<Frames> for Pixels {
    fn from(frames: Frames) -> Pixels {
        Pixels { rgb: frames.rgb.into(), count: frames.count, size: frames.size }
    }
}

/// The payload of one message.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Frames in it.
    pub frames: usize,
    /// All of their bytes, one frame after the other.
    pub payload: Bytes,
    /// Bytes of each frame; `None`: all frames have the same size.
    pub lengths: Option<Vec<u32>>,
    /// The frames of it at which decoding can begin, counted from 0; `None`: all.
    pub key_frames: Option<Vec<u32>>,
}

impl Encoding {
    /// For frames of `source` size; encoded ones are scaled down to at most `preview_width_max`.
    pub fn new(format: Format, source: Size, preview_width_max: Option<u32>) -> Encoding {
        let sent = match preview_width_max {
            Some(width) if format != Format::Raw && 0 < width && width < source.width => {
                let height = f64::from(source.height) * f64::from(width) / f64::from(source.width);
                let height = (height.round_ties_even() as u32).max(1);
                match format {
                    // Colours are sent for two by two pixels.
                    Format::H264 { .. } => Size { width: (width & !1).max(2), height: (height & !1).max(2) },
                    _ => Size { width, height },
                }
            }
            _ => source,
        };
        Encoding { format, source, sent }
    }

    /// What a frame is sent as.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The size that is drawn.
    pub fn source(&self) -> Size {
        self.source
    }

    /// The size that is sent.
    pub fn sent(&self) -> Size {
        self.sent
    }

    /// Frames in a message at most.
    pub fn batch_frames(&self) -> usize {
        match self.format {
            Format::Raw => 16,
            Format::Webp { .. } | Format::Jpeg { .. } | Format::H264 { .. } => 6,
        }
    }

    /// Number of messages for a chunk, given the video frames of each latent frame.
    pub fn batches_of(&self, frames_of_each: impl Iterator<Item = usize>) -> usize {
        frames_of_each.map(|frames| frames.div_ceil(self.batch_frames())).sum()
    }

    /// Encode frames into the payloads of messages, in parallel on blocking threads.
    pub async fn batches(self, frames: &Pixels) -> anyhow::Result<Vec<Batch>> {
        let frame_bytes = self.source.frame_bytes() as usize;
        let Pixels { rgb: pixels, count, .. } = frames;
        let count = *count;
        if self.format == Format::Raw {
            let batch = |first: usize| {
                let frames = (count - first).min(self.batch_frames());
                let payload = pixels.slice(first * frame_bytes..(first + frames) * frame_bytes);
                Batch { frames, payload, lengths: None, key_frames: None }
            };
            return Ok((0..count).step_by(self.batch_frames()).map(batch).collect());
        }
        let encodings: Vec<_> = (0..count)
            .map(|i| pixels.slice(i * frame_bytes..(i + 1) * frame_bytes))
            .map(|rgb| tokio::task::spawn_blocking(move || self.encode(&rgb)))
            .collect();
        let mut files = Vec::with_capacity(count);
        for encoding in encodings {
            files.push(encoding.await.context("a frame's encoder ended")??);
        }
        let batch = |files: &[Vec<u8>]| Batch {
            frames: files.len(),
            payload: files.concat().into(),
            lengths: Some(files.iter().map(|file| file.len() as u32).collect()),
            key_frames: None,
        };
        Ok(files.chunks(self.batch_frames()).map(batch).collect())
    }

    fn encode(self, rgb: &[u8]) -> anyhow::Result<Vec<u8>> {
        let rgb = self.scaled(rgb)?;
        match self.format {
            Format::Raw => Ok(rgb.into_owned()),
            Format::Webp { quality } => webp(&rgb, self.sent, quality),
            Format::Jpeg { quality } => jpeg(&rgb, self.sent, quality),
            Format::H264 { .. } => bail!("a frame of a film is encoded by its stream"),
        }
    }

    /// A frame at the size that is sent.
    pub(super) fn scaled<'a>(&self, rgb: &'a [u8]) -> anyhow::Result<Cow<'a, [u8]>> {
        if self.sent == self.source {
            return Ok(Cow::Borrowed(rgb));
        }
        Ok(Cow::Owned(scale(rgb, self.source, self.sent)?))
    }
}

/// These pixels at another size: bicubic, as the reference scales its previews.
///
/// Four bytes a pixel on the way, because the crate is built for those alone: its kernels for thirteen other kinds of pixels are 3 MB
/// of a binary.
pub fn scale(rgb: &[u8], from: Size, to: Size) -> anyhow::Result<Vec<u8>> {
    let (colours, _) = rgb.as_chunks::<3>();
    let padded = colours.iter().flat_map(|&[r, g, b]| [r, g, b, 0]).collect();
    let source = resize::images::Image::from_vec_u8(from.width, from.height, padded, resize::PixelType::U8x4)?;
    let mut target = resize::images::Image::new(to.width, to.height, resize::PixelType::U8x4);
    let bicubic = resize::ResizeAlg::Convolution(resize::FilterType::CatmullRom);
    // The fourth byte is no transparency.
    let options = resize::ResizeOptions::new().resize_alg(bicubic).use_alpha(false);
    resize::Resizer::new().resize(&source, &mut target, &options)?;
    let (pixels, _) = target.buffer().as_chunks::<4>();
    Ok(pixels.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect())
}

/// Baseline JPEG with full colour resolution: 4:2:0 would save a third of the bytes, but blur thin coloured lines.
pub fn jpeg(rgb: &[u8], size: Size, quality: u8) -> anyhow::Result<Vec<u8>> {
    let mut compressor = turbojpeg::Compressor::new()?;
    compressor.set_quality(i32::from(quality))?;
    compressor.set_subsamp(turbojpeg::Subsamp::None)?;
    let (width, height) = (size.width as usize, size.height as usize);
    let image = turbojpeg::Image { pixels: rgb, width, pitch: 3 * width, height, format: turbojpeg::PixelFormat::RGB };
    Ok(compressor.compress_to_vec(image)?)
}

/// Without loss.
pub fn png(rgb: &[u8], size: Size) -> anyhow::Result<Vec<u8>> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, size.width, size.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()?;
    Ok(file)
}

/// Lossy WebP with libwebp's fastest method: a frame must be encoded before the next one comes.
pub fn webp(rgb: &[u8], size: Size, quality: u8) -> anyhow::Result<Vec<u8>> {
    let mut config = webp::WebPConfig::new().map_err(|()| anyhow::anyhow!("libwebp of another version"))?;
    config.quality = f32::from(quality);
    config.method = 0;
    let encoder = webp::Encoder::from_rgb(rgb, size.width, size.height);
    let file = encoder.encode_advanced(&config).map_err(|error| anyhow::anyhow!("WebP: {error:?}"))?;
    Ok(file.to_vec())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pipeline::testcard::{self, Testcard};
    use pipeline::world::{Cancel, ChunkInput, Init, Picture, World};

    use super::*;

    const SMALL: Size = Size { width: 128, height: 96 };

    fn chunk(size: Size) -> Vec<Frames> {
        let init = Init {
            prompt: "a road".into(),
            first_frame: None,
            size,
            seed: 0,
            sink: 9,
            window: 18,
            first_chunk: None,
            condition_frames: None,
        };
        let mut rollout = Testcard::new(Duration::ZERO).open(init).expect("the test card opens any size");
        let mut chunk = Vec::new();
        let mut sink = |frames| chunk.push(frames);
        rollout.generate(&ChunkInput::default(), &Cancel::default(), &mut sink).expect("nothing can fail");
        chunk
    }

    async fn files(format: Format, preview: Option<u32>) -> Vec<Vec<u8>> {
        let encoding = Encoding::new(format, SMALL, preview);
        let mut batches = Vec::new();
        for frames in chunk(SMALL) {
            batches.extend(encoding.batches(&frames.into()).await.expect("encodes"));
        }
        assert_eq!(batches.iter().map(|batch| batch.frames).collect::<Vec<_>>(), [1, 4, 4]);
        let mut files = Vec::new();
        for batch in batches {
            let mut rest = &batch.payload[..];
            for length in batch.lengths.expect("encoded frames differ in length") {
                let (file, after) = rest.split_at(length as usize);
                files.push(file.to_vec());
                rest = after;
            }
            assert!(rest.is_empty());
        }
        files
    }

    #[tokio::test]
    async fn the_strip_survives_every_format_and_half_the_size() {
        for format in [Format::Jpeg { quality: 50 }, Format::Webp { quality: 50 }, Format::Webp { quality: 1 }] {
            for preview in [None, Some(96)] {
                for (frame, file) in files(format, preview).await.iter().enumerate() {
                    let picture = image::load_from_memory(file).expect("what we encode can be decoded").into_rgb8();
                    assert_eq!(picture.width(), preview.unwrap_or(128));
                    let size = Size { width: picture.width(), height: picture.height() };
                    let picture = Picture { size, rgb: picture.into_raw() };
                    let reading = testcard::read(&picture).unwrap_or_else(|| panic!("{format:?} {preview:?} {frame}"));
                    assert_eq!((reading.frame, reading.prompt_hash), (frame, testcard::prompt_hash("a road")));
                }
            }
        }
    }

    #[tokio::test]
    async fn raw_frames_are_the_pixels_sixteen_to_a_message() {
        let size = Size { width: 4, height: 2 };
        let pixels: Vec<u8> = (0..17 * 24).map(|i| i as u8).collect();
        let encoding = Encoding::new(Format::Raw, size, Some(1));
        assert_eq!(encoding.batches_of([1, 16, 17].into_iter()), 4);
        let frames = Frames { size, count: 17, rgb: pixels.clone() };
        let batches = encoding.batches(&frames.into()).await.expect("nothing can fail");
        assert_eq!(batches.iter().map(|batch| batch.frames).collect::<Vec<_>>(), [16, 1]);
        assert_eq!([&batches[0].payload[..], &batches[1].payload[..]].concat(), pixels);
    }

    #[test]
    fn a_preview_keeps_the_shape_and_never_grows() {
        let check = |width, height, preview, expected: (u32, u32)| {
            let encoding = Encoding::new(Format::Webp { quality: 50 }, Size { width, height }, preview);
            assert_eq!((encoding.sent().width, encoding.sent().height), expected);
        };
        check(101, 51, Some(40), (40, 20));
        check(101, 51, Some(101), (101, 51));
        check(101, 51, Some(0), (101, 51));
        check(101, 51, None, (101, 51));
        check(1000, 1, Some(10), (10, 1));
        check(4, 5, Some(2), (2, 2));
        assert_eq!(Encoding::new(Format::Raw, SMALL, Some(40)).sent(), SMALL);
    }
}
