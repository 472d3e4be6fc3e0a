//! A clip becomes a file: the engine draws, and meanwhile one encoder on the blocking pool makes bytes of what came.
//!
//! An encoder that falls behind holds up its own clip, and nobody waits for it: at most two batches of frames are here, one
//! that is encoded and one that waits, beside the piece in the engine's channel.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pipeline::world::{Cancel, Frames, Picture, Progress, Refusal, Size, Spans};
use tokio::task::JoinHandle;

use crate::engine::clip::{ClipError, ClipPart};
use crate::engine::clip_seat::ClipTicket;
use crate::guardrails::{Blocked, Guardrails};
use crate::media::{mp4, pictures};

/// What kind of file is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Encoding {
    /// A film; it has at least two frames.
    Mp4 {
        /// How fast it plays, whatever the world's own rate is: 1 to 240.
        fps: f64,
        /// See [`crate::media::quantiser`].
        quantiser: u8,
    },
    /// The picture of a clip of one frame, without loss.
    Png,
    /// The picture of a clip of one frame.
    Jpeg {
        /// 1 to 100.
        quality: u8,
    },
    /// The picture of a clip of one frame.
    WebP {
        /// 1 to 100.
        quality: u8,
    },
}

/// A file, and how it came about.
#[derive(Debug)]
pub struct Drawn {
    /// The file.
    pub bytes: Bytes,
    /// Its media type.
    pub content_type: &'static str,
    /// Frames in it.
    pub frames: usize,
    /// The first of them, as it was drawn.
    pub first_frame: Picture,
    /// Where time went.
    pub stages: Stages,
    /// From its turn to the last byte of the file.
    pub took: Duration,
    /// The most bytes that its drawing held: what it was admitted with.
    pub peak_bytes: u64,
}

/// Time by stage. Encoding goes on while the next piece is drawn, so the sum may be more than the time that passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// Waiting for its turn.
    pub queue: Duration,
    /// Opening the clip (its first frame and prompt), and the prompts on the way.
    pub text: Duration,
    /// The transformer.
    pub denoise: Duration,
    /// Latents to pixels.
    pub decode: Duration,
    /// Pixels to the file.
    pub encode: Duration,
}

/// Why there is no file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    /// What was asked for cannot be drawn.
    #[error(transparent)]
    Refused(Refusal),
    /// The world failed.
    #[error("{0}")]
    Failed(String),
    /// The frames could not be encoded.
    #[error("{0}")]
    Encoder(String),
    /// A guardrail does not let a frame be sent.
    #[error("the guardrail {} blocked frames", .0.guardrail)]
    Blocked(Blocked),
    /// It was cancelled, or the server stops.
    #[error("the clip was cut short")]
    Stopped,
}

impl Encoding {
    /// The media type of the file.
    pub fn content_type(self) -> &'static str {
        match self {
            Encoding::Mp4 { .. } => "video/mp4",
            Encoding::Png => "image/png",
            Encoding::Jpeg { .. } => "image/jpeg",
            Encoding::WebP { .. } => "image/webp",
        }
    }
}

/// Wait for the clip's turn, draw it, and encode what passes the guardrails.
///
/// `progress` hears that its turn has come (nothing of one piece is done), and then of each piece; beside it, which share of
/// the clip's time is over. To end it at once drop
/// the future; `cancel` can be called by any thread, is seen between two passes and before each frame is encoded, and does
/// not end the wait for its turn.
pub async fn draw(
    ticket: ClipTicket,
    encoding: Encoding,
    guardrails: Guardrails,
    cancel: Cancel,
    progress: impl Fn(Progress, f64) + Send,
) -> Result<Drawn, DrawError> {
    // When this future is dropped, what is being encoded stops, too.
    let ends = CancelWhenDropped(cancel);
    let (size, peak_bytes, spans, asked) = (ticket.size(), ticket.bytes(), ticket.spans(), Instant::now());
    let mut seat = ticket.begin(ends.0.clone()).await?;
    let turn = Instant::now();
    progress(Progress { done: 0, of: 1 }, 0.0);
    let mut stages = Stages { queue: turn - asked, ..Stages::default() };
    let output = Output::begin(size, encoding, ends.0.clone())?;
    let mut encoder = Encoder::Idle(Output { guardrails, spans, ..output });
    while let Some(part) = seat.next().await? {
        match part {
            // These frames wait until those before them are encoded. As long as they do, nothing else is taken, and once
            // the engine's channel is full no piece is drawn.
            ClipPart::Frames(frames) => encoder = encoder.add(frames).await?,
            ClipPart::Opened { took } => stages.text += took,
            ClipPart::Piece { progress: pieces, share, world, .. } => {
                stages.text += world.text;
                stages.denoise += world.dit;
                stages.decode += world.vae;
                progress(pieces, share);
            }
        }
    }
    let output = encoder.idle().await?;
    let (frames, finished) = (output.frames, on_blocking_thread(move || output.finish()));
    let (file, first_frame, encode) = finished.await?;
    stages.encode = encode;
    let content_type = encoding.content_type();
    Ok(Drawn { bytes: file.into(), content_type, frames, first_frame, stages, took: turn.elapsed(), peak_bytes })
}

/// Lends a thread of the blocking pool for one batch: one that was kept would be missing for pictures of sessions.
enum Encoder {
    Idle(Output),
    Busy(JoinHandle<Result<Output, DrawError>>),
}

impl Encoder {
    /// Begin to encode these frames, once the ones before are.
    async fn add(self, batch: Frames) -> Result<Encoder, DrawError> {
        let output = self.idle().await?;
        Ok(Encoder::Busy(tokio::task::spawn_blocking(move || output.push(batch))))
    }

    /// Wait until all that was added is encoded.
    async fn idle(self) -> Result<Output, DrawError> {
        match self {
            Encoder::Idle(output) => Ok(output),
            Encoder::Busy(encoding) => joined(encoding).await,
        }
    }
}

async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DrawError> + Send + 'static,
) -> Result<T, DrawError> {
    joined(tokio::task::spawn_blocking(work)).await
}

async fn joined<T>(encoding: JoinHandle<Result<T, DrawError>>) -> Result<T, DrawError> {
    encoding.await.unwrap_or_else(|error| Err(DrawError::Encoder(format!("the encoder broke: {error}"))))
}

/// A file in the making.
struct Output {
    file: File,
    size: Size,
    cancel: Cancel,
    frames: usize,
    first_frame: Option<Picture>,
    /// Time of encoding.
    took: Duration,
    /// Takes that time, batch by batch.
    spans: Spans,
    guardrails: Guardrails,
}

/// Packed RGB8 to the bytes of a picture's file.
type EncodePicture = Box<dyn Fn(&[u8]) -> anyhow::Result<Vec<u8>> + Send>;

enum File {
    Film(Box<mp4::Film<Vec<u8>>>),
    Picture { encode: EncodePicture, file: Option<Vec<u8>> },
}

impl Output {
    fn begin(size: Size, encoding: Encoding, cancel: Cancel) -> Result<Output, DrawError> {
        let picture = |encode| File::Picture { encode, file: None };
        let file = match encoding {
            Encoding::Mp4 { fps, quantiser } => {
                File::Film(Box::new(mp4::Film::begin(Vec::new(), size, fps, quantiser).map_err(failed)?))
            }
            Encoding::Png => picture(Box::new(move |rgb| pictures::png(rgb, size))),
            Encoding::Jpeg { quality } => picture(Box::new(move |rgb| pictures::jpeg(rgb, size, quality))),
            Encoding::WebP { quality } => picture(Box::new(move |rgb| pictures::webp(rgb, size, quality))),
        };
        let (took, spans, guardrails) = (Duration::ZERO, Spans::default(), Guardrails::default());
        Ok(Output { file, size, cancel, frames: 0, first_frame: None, took, spans, guardrails })
    }

    fn push(mut self, mut batch: Frames) -> Result<Output, DrawError> {
        let spans = self.spans.clone();
        if !self.guardrails.checks_no_frames() {
            self.check()?;
            let _span = spans.begin_beside(|| "frame_guardrail".into());
            self.guardrails.process(&mut batch).map_err(DrawError::Blocked)?;
        }
        let _span = spans.begin_beside(|| self.file.span().into());
        for rgb in batch.rgb.chunks_exact(self.size.frame_bytes() as usize) {
            self.check()?;
            let began = Instant::now();
            self.file.push(rgb).map_err(failed)?;
            self.took += began.elapsed();
            self.first_frame.get_or_insert_with(|| Picture { size: self.size, rgb: rgb.to_vec() });
            self.frames += 1;
        }
        Ok(self)
    }

    /// The file, its first frame, and the time that encoding took.
    fn finish(self) -> Result<(Vec<u8>, Picture, Duration), DrawError> {
        self.check()?;
        let first_frame = self.first_frame.ok_or_else(|| DrawError::Failed("no frame was drawn".to_owned()))?;
        let _span = self.spans.begin_beside(|| self.file.span().into());
        let began = Instant::now();
        let file = self.file.finish().map_err(failed)?;
        Ok((file, first_frame, self.took + began.elapsed()))
    }

    fn check(&self) -> Result<(), DrawError> {
        self.cancel.check().map_err(|_| DrawError::Stopped)
    }
}

impl File {
    fn push(&mut self, rgb: &[u8]) -> anyhow::Result<()> {
        match self {
            File::Film(film) => film.push(rgb),
            File::Picture { encode, file } => {
                anyhow::ensure!(file.is_none(), "a picture is one frame, and a second one was drawn");
                *file = Some(encode(rgb)?);
                Ok(())
            }
        }
    }

    /// What encoding is called in a profile.
    fn span(&self) -> &'static str {
        match self {
            File::Film(_) => "encode_mp4",
            File::Picture { .. } => "encode_picture",
        }
    }

    fn finish(self) -> anyhow::Result<Vec<u8>> {
        match self {
            File::Film(film) => film.finish(),
            File::Picture { file, .. } => Ok(file.expect("a file is finished after its first frame")),
        }
    }
}

fn failed(error: anyhow::Error) -> DrawError {
    DrawError::Encoder(format!("{error:#}"))
}

struct CancelWhenDropped(Cancel);

impl Drop for CancelWhenDropped {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl From<ClipError> for DrawError {
    fn from(error: ClipError) -> DrawError {
        match error {
            ClipError::Refused(refusal) => DrawError::Refused(refusal),
            ClipError::Failed(reason) => DrawError::Failed(reason),
            ClipError::Stopped => DrawError::Stopped,
        }
    }
}
