//! Drawing: work waits for its turn in the order of its coming, and then draws its outputs one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::world::{Card, Picture, Progress};
use tracing::{error, warn};

use super::drawing::{DrawError, Drawn, Encoding, draw};
use super::request::job::{Costs, Failure, FailureCode, Output};
use super::request::resolve::Resolved;
use super::request::values::PictureFormat;
use super::state::OpenAi;
use super::stop::Current;
use crate::admission::rules::Refused;
use crate::guardrails::{Blocked, Guardrails};
use crate::media::quantiser;
use crate::observe::profile::Recorder;
use crate::phase::Phase;

/// What is to be drawn, once its turn comes.
pub(crate) struct Work {
    pub(crate) id: String,
    pub(crate) card: Arc<Card>,
    pub(crate) resolved: Resolved,
    pub(crate) picture: Option<Picture>,
    pub(crate) format: PictureFormat,
    /// Records its first output.
    pub(crate) recorder: Option<Recorder>,
    /// What its frames must pass.
    pub(crate) guardrails: Guardrails,
}

/// All outputs, and what they took.
pub(crate) type Done = (Vec<Output>, Costs);

impl Work {
    fn encoding(&self) -> Encoding {
        let Resolved { quality, fps, .. } = self.resolved;
        match self.format {
            _ if !self.resolved.is_picture() => Encoding::Mp4 { fps, quantiser: quantiser::of_quality(quality) },
            PictureFormat::Png => Encoding::Png,
            PictureFormat::Jpeg => Encoding::Jpeg { quality },
            PictureFormat::WebP => Encoding::WebP { quality },
        }
    }

    /// Wait for the turn, and draw. Dropping the future ends it; `current` ends it between two passes.
    pub(crate) async fn draw(self, openai: &OpenAi, current: &Current) -> Result<Done, Failure> {
        let asked = Instant::now();
        let mut phase = openai.phase.clone();
        let _turn = tokio::select! {
            biased;
            () = Phase::Draining.reached(&mut phase) => return Err(Failure::shutting_down()),
            turn = Arc::clone(&openai.turn).acquire_owned() => turn.expect("it is never closed"),
        };
        let waited = asked.elapsed();
        if let Some(recorder) = &self.recorder {
            recorder.spans().add("queue", asked, waited);
        }
        let within = openai.bounds.job_timeout;
        match tokio::time::timeout(within, self.draw_outputs(openai, current, waited)).await {
            Ok(done) => done,
            Err(_elapsed) => {
                let message =
                    format!("the device had worked for {} s, which is all that a job may take", within.as_secs());
                Err(Failure { code: FailureCode::Timeout, message })
            }
        }
    }

    async fn draw_outputs(mut self, openai: &OpenAi, current: &Current, waited: Duration) -> Result<Done, Failure> {
        let (began, count, encoding) = (Instant::now(), self.resolved.seeds.len(), self.encoding());
        let mut costs = Costs { queue: waited.as_secs_f64(), ..Costs::default() };
        let mut outputs = Vec::with_capacity(count);
        for output in 0..count {
            let mut clip = self.resolved.clip(&self.card, output, self.picture.clone());
            let recorder = self.recorder.take();
            clip.spans = recorder.as_ref().map(|recorder| recorder.spans().clone()).unwrap_or_default();
            let ticket = openai.engine.ask_clip(clip).map_err(Failure::of_refused)?;
            let progress = |_pieces: Progress, of_output: f64| {
                let mut book = openai.book();
                // The first word of it comes with its turn.
                book.begin(&self.id, openai.now());
                book.progress(&self.id, (output as f64 + of_output) / count as f64);
            };
            let turn = Instant::now();
            let drawn = draw(ticket, encoding, self.guardrails.clone(), current.next(), progress).await;
            if let Err(DrawError::Blocked(Blocked { guardrail })) = drawn {
                openai.observer.blocked(guardrail);
            }
            let Drawn { bytes, content_type, first_frame, stages, peak_bytes, .. } =
                drawn.map_err(|error| Failure::of_drawing(error, &self.id, *openai.phase.borrow()))?;
            openai.observer.output_drawn(output, turn);
            if let Some(recorder) = recorder {
                costs.profile_trace = openai.write_profile(recorder, &self.id).await;
            }
            outputs.push(Output { bytes, content_type, first_frame: Arc::new(first_frame) });
            costs.queue += stages.queue.as_secs_f64();
            costs.text += stages.text.as_secs_f64();
            costs.denoise += stages.denoise.as_secs_f64();
            costs.decode += stages.decode.as_secs_f64();
            costs.encode += stages.encode.as_secs_f64();
            costs.peak_bytes = costs.peak_bytes.max(peak_bytes);
        }
        costs.inference = began.elapsed().as_secs_f64();
        openai.observer.job_drawn([
            ("queue", costs.queue),
            ("text", costs.text),
            ("denoise", costs.denoise),
            ("decode", costs.decode),
            ("encode", costs.encode),
        ]);
        Ok((outputs, costs))
    }
}

impl OpenAi {
    /// Write the profile of what was drawn, and give its file's name. The film is whole without it: `None`, and a line in the
    /// log, if it cannot be written.
    async fn write_profile(&self, recorder: Recorder, id: &str) -> Option<String> {
        let (folder, id) = (self.profile_dir.clone()?, id.to_owned());
        let written = tokio::task::spawn_blocking(move || recorder.finish(&folder, &id)).await;
        let written = written.map_err(anyhow::Error::from).flatten();
        written.inspect_err(|why| error!(why = format!("{why:#}"), "a profile was not written")).ok()
    }
}

impl Failure {
    pub(crate) fn shutting_down() -> Failure {
        Failure { code: FailureCode::ShuttingDown, message: "the server is shutting down".to_owned() }
    }

    pub(crate) fn guardrail_blocked() -> Failure {
        Failure { code: FailureCode::GuardrailBlocked, message: "Guardrail blocked prompt.".to_owned() }
    }

    pub(crate) fn cancelled() -> Failure {
        Failure { code: FailureCode::Cancelled, message: "the work was cancelled".to_owned() }
    }

    fn of_refused(refused: Refused) -> Failure {
        match refused {
            Refused::TooLarge { .. } => Failure { code: FailureCode::OutOfMemory, message: refused.to_string() },
            // One clip of this API asks at a time, so the engine's own queue has room for it.
            Refused::ClipsFull { .. } | Refused::QueueFull { .. } => Failure::internal(),
        }
    }

    fn of_drawing(error: DrawError, id: &str, phase: Phase) -> Failure {
        match error {
            DrawError::Refused(refusal) => Failure { code: FailureCode::InvalidArgument, message: refusal.to_string() },
            DrawError::Failed(why) => {
                warn!(id, why, "a clip failed");
                Failure::internal()
            }
            DrawError::Encoder(why) => {
                warn!(id, why, "a clip was not encoded");
                Failure { code: FailureCode::EncoderFailed, message: "the video could not be encoded".to_owned() }
            }
            DrawError::Blocked(_) => {
                let message = "Guardrail blocked frames.".to_owned();
                Failure { code: FailureCode::GuardrailBlocked, message }
            }
            DrawError::Stopped if phase == Phase::Stopping => Failure::shutting_down(),
            // Whoever cancels work does not look at what comes of it: the engine has ended.
            DrawError::Stopped => Failure::internal(),
        }
    }

    /// A client is told no more.
    fn internal() -> Failure {
        Failure { code: FailureCode::Internal, message: "Model generation failed".to_owned() }
    }
}
