//! A session's frames on their way out, as the payloads of messages.
//!
//! A picture stands alone, so pictures are encoded side by side. A frame of a film needs the frames before it: the encoder
//! lives as long as the session, and encodes one frame after the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Context;

use super::h264::FrameEncoder;
use super::pictures::{Batch, Encoding, Format, Pixels};

/// What a session's frames are encoded with.
#[derive(Default)]
pub struct Stream {
    film: Mutex<Option<Film>>,
    wants_key: AtomicBool,
}

struct Film {
    encoding: Encoding,
    encoder: FrameEncoder,
}

impl Stream {
    /// The next frame can be decoded without those before it.
    pub fn want_key(&self) {
        self.wants_key.store(true, Ordering::Relaxed);
    }

    /// Encode the next frames of the video, on blocking threads. `fps`: of them are shown in a second. A film begins anew
    /// when the encoding is another than that of the frames before.
    pub async fn batches(
        self: &Arc<Self>,
        encoding: Encoding,
        fps: u32,
        frames: &Pixels,
    ) -> anyhow::Result<Vec<Batch>> {
        let Format::H264 { quantiser } = encoding.format() else {
            *self.film() = None;
            return encoding.batches(frames).await;
        };
        let (stream, frames) = (Arc::clone(self), frames.clone());
        let encode = move || stream.film_batches(encoding, (quantiser, fps), &frames);
        tokio::task::spawn_blocking(encode).await.context("a film's encoder ended")?
    }

    fn film(&self) -> std::sync::MutexGuard<'_, Option<Film>> {
        self.film.lock().expect("nothing panics under this lock")
    }

    fn film_batches(
        &self,
        encoding: Encoding,
        (quantiser, fps): (u8, u32),
        frames: &Pixels,
    ) -> anyhow::Result<Vec<Batch>> {
        let mut film = self.film();
        if film.as_ref().is_none_or(|film| film.encoding != encoding) {
            let encoder = FrameEncoder::new(encoding.sent(), f64::from(fps), quantiser)?;
            *film = Some(Film { encoding, encoder });
        }
        let encoder = &mut film.as_mut().expect("begun above").encoder;
        if self.wants_key.swap(false, Ordering::Relaxed) {
            encoder.want_key();
        }
        let frame_bytes = encoding.source().frame_bytes() as usize;
        let units = frames.rgb.chunks_exact(frame_bytes).map(|rgb| encoder.encode(&encoding.scaled(rgb)?));
        let units = units.collect::<anyhow::Result<Vec<_>>>()?;
        let batches = units.chunks(encoding.batch_frames()).map(|units| Batch {
            frames: units.len(),
            payload: units.iter().map(|unit| &unit.annex_b[..]).collect::<Vec<_>>().concat().into(),
            lengths: Some(units.iter().map(|unit| unit.annex_b.len() as u32).collect()),
            key_frames: Some((0..).zip(units).filter_map(|(i, unit)| unit.is_key.then_some(i)).collect()),
        });
        Ok(batches.collect())
    }
}

#[cfg(all(test, feature = "h264"))]
mod tests {
    use pipeline::world::{Frames, Size};

    use super::*;

    const SIZE: Size = Size { width: 64, height: 32 };

    fn frames(count: usize, level: u8) -> Pixels {
        Frames { rgb: vec![level; count * SIZE.frame_bytes() as usize], count, size: SIZE }.into()
    }

    async fn keys(stream: &Arc<Stream>, encoding: Encoding, count: usize) -> Vec<u32> {
        let batches = stream.batches(encoding, 16, &frames(count, 90)).await.expect("batches");
        let mut before = 0;
        let mut keys = Vec::new();
        for batch in &batches {
            let lengths = batch.lengths.as_ref().expect("of each frame");
            assert_eq!(lengths.iter().sum::<u32>() as usize, batch.payload.len());
            assert_eq!(lengths.len(), batch.frames);
            keys.extend(batch.key_frames.iter().flatten().map(|key| before + key));
            before += batch.frames as u32;
        }
        assert_eq!(before as usize, count);
        keys
    }

    #[tokio::test]
    async fn a_film_has_a_key_frame_at_its_start_every_two_seconds_and_where_one_is_wanted() {
        let encoding = Encoding::new(Format::H264 { quantiser: 25 }, SIZE, None);
        let stream = Arc::new(Stream::default());
        assert_eq!(keys(&stream, encoding, 30).await, [0]);
        assert_eq!(keys(&stream, encoding, 10).await, [2], "two seconds of 16 frames after the first");
        stream.want_key();
        assert_eq!(keys(&stream, encoding, 4).await, [0]);
        assert_eq!(keys(&stream, encoding, 4).await, [0u32; 0]);
    }

    #[tokio::test]
    async fn another_encoding_begins_a_film_anew() {
        let film = |quantiser| Encoding::new(Format::H264 { quantiser }, SIZE, None);
        let stream = Arc::new(Stream::default());
        assert_eq!(keys(&stream, film(25), 2).await, [0]);
        assert_eq!(keys(&stream, film(25), 2).await, [0u32; 0]);
        assert_eq!(keys(&stream, film(30), 2).await, [0]);
        let jpeg = Encoding::new(Format::Jpeg { quality: 50 }, SIZE, None);
        assert!(stream.batches(jpeg, 16, &frames(1, 9)).await.expect("a picture")[0].key_frames.is_none());
        assert_eq!(keys(&stream, film(30), 2).await, [0], "pictures came between");
        let small = Encoding::new(Format::H264 { quantiser: 30 }, SIZE, Some(33));
        assert_eq!(small.sent(), Size { width: 32, height: 16 }, "even sides");
        assert_eq!(keys(&stream, small, 2).await, [0]);
    }
}
