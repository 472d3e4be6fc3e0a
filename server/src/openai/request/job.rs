//! A job: what it was asked, where it stands, what came of it, and how its client sees it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pipeline::world::Picture;
use serde_json::{Value, json};

use super::reading::PromptRead;
use super::resolve::Resolved;

/// On whose account work is done. `None` where the server asks for no key: then all clients are one.
pub type Account = Option<Arc<str>>;

/// Moments as the book needs them.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Since the server began.
    pub since_start: Duration,
    /// Seconds since 1970.
    pub unix: u64,
}

/// What a job is, from the beginning on.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What is drawn.
    pub resolved: Resolved,
    /// How the world reads its prompts, if it knows few words.
    pub read: Option<Vec<PromptRead>>,
    /// The file of the picture that it starts from: kept for a remix.
    pub picture: Option<Bytes>,
    /// The world that draws.
    pub model: String,
    /// The job that it was made from.
    pub remixed_from: Option<String>,
    /// Pictures that are found under `/v1/images`, and not in the list of videos.
    pub is_image: bool,
}

impl Facts {
    /// How the world reads its prompts; null: it reads any text.
    pub fn prompt_read(&self) -> Option<Vec<Value>> {
        Some(self.read.as_ref()?.iter().map(PromptRead::json).collect())
    }
}

/// The file of one output.
#[derive(Debug, Clone)]
pub struct Output {
    /// All of it.
    pub bytes: Bytes,
    /// `video/mp4`, or of a picture.
    pub content_type: &'static str,
    /// For the thumbnail.
    pub first_frame: Arc<Picture>,
}

/// What drawing took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Costs {
    /// Seconds of each stage.
    pub queue: f64,
    /// Seconds for the prompt.
    pub text: f64,
    /// Seconds in the transformer.
    pub denoise: f64,
    /// Seconds of decoding latents.
    pub decode: f64,
    /// Seconds of encoding the file.
    pub encode: f64,
    /// Seconds since its turn.
    pub inference: f64,
    /// The most bytes held.
    pub peak_bytes: u64,
    /// The file in the operator's folder that says more, if a profile was asked for.
    pub profile_trace: Option<String>,
}

/// Why work failed, in a word that programs know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureCode {
    /// A guardrail does not let a prompt be drawn, or a frame leave.
    GuardrailBlocked,
    /// It needs more memory than there is.
    OutOfMemory,
    /// The world does not draw what was asked for.
    InvalidArgument,
    /// It was ended on purpose.
    Cancelled,
    /// It has taken all the time that it may.
    Timeout,
    /// Frames could not be made a file.
    EncoderFailed,
    /// The server stops.
    ShuttingDown,
    /// A mistake of the server: its client is told no more.
    Internal,
}

impl FailureCode {
    /// As clients hear it.
    pub fn name(self) -> &'static str {
        match self {
            FailureCode::GuardrailBlocked => "guardrail_blocked",
            FailureCode::OutOfMemory => "out_of_memory",
            FailureCode::InvalidArgument => "invalid_argument",
            FailureCode::Cancelled => "cancelled",
            FailureCode::Timeout => "timeout",
            FailureCode::EncoderFailed => "encoder_failed",
            FailureCode::ShuttingDown => "shutting_down",
            FailureCode::Internal => "internal",
        }
    }
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For programs.
    pub code: FailureCode,
    /// For people.
    pub message: String,
}

/// Where a job stands.
#[derive(Debug)]
pub(super) enum State {
    /// For its turn.
    Waiting,
    /// Its turn has come.
    Drawing {
        /// When.
        since: Now,
    },
    /// It has ended well.
    Completed {
        /// Its files.
        outputs: Vec<Output>,
        /// What they took.
        costs: Costs,
        /// When.
        at: Now,
    },
    /// It has ended badly.
    Failed {
        /// Why.
        failure: Failure,
        /// When.
        at: Now,
    },
}

/// A job, or work of a connection, in the book.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) account: Account,
    /// Whether it is a job, and no work of a connection.
    pub(super) listed: bool,
    pub(super) facts: Facts,
    pub(super) created: u64,
    /// What its result may need.
    pub(super) estimate: u64,
    /// Of all outputs; it never falls.
    pub(super) percent: u8,
    pub(super) state: State,
}

impl Record {
    pub(super) fn is_seen_by(&self, account: &Account) -> bool {
        self.listed && !self.facts.is_image && self.account == *account
    }

    pub(super) fn ended(&self) -> Option<Now> {
        match self.state {
            State::Completed { at, .. } | State::Failed { at, .. } => Some(at),
            State::Waiting | State::Drawing { .. } => None,
        }
    }

    /// Bytes that it holds.
    pub(super) fn kept_bytes(&self) -> u64 {
        let picture = self.facts.picture.as_ref().map_or(0, |picture| picture.len() as u64);
        let State::Completed { outputs, .. } = &self.state else { return picture };
        let of_output = |output: &Output| output.bytes.len() as u64 + output.first_frame.rgb.len() as u64;
        picture + outputs.iter().map(of_output).sum::<u64>()
    }

    /// Bytes that it holds, or may hold once it is done.
    pub(super) fn bytes(&self) -> u64 {
        let to_come = if self.listed && self.ended().is_none() { self.estimate } else { 0 };
        self.kept_bytes() + to_come
    }

    pub(super) fn json(&self, position: Option<usize>, ttl: Duration) -> Value {
        let Record { id, facts, created, .. } = self;
        let resolved = &facts.resolved;
        let status = match self.state {
            State::Waiting => "queued",
            State::Drawing { .. } => "in_progress",
            State::Completed { .. } => "completed",
            State::Failed { .. } => "failed",
        };
        let address = |variant: usize| match variant {
            0 => format!("/v1/videos/{id}/content"),
            variant => format!("/v1/videos/{id}/content?variant={variant}"),
        };
        let done =
            if let State::Completed { outputs, costs, .. } = &self.state { Some((outputs, costs)) } else { None };
        let failure = if let State::Failed { failure, .. } = &self.state { Some(failure) } else { None };
        let fps = if resolved.fps.fract() == 0.0 { json!(resolved.fps as u64) } else { json!(resolved.fps) };
        json!({
            "id": id,
            "object": "video",
            "model": facts.model,
            "status": status,
            "progress": self.percent,
            "created_at": created,
            "completed_at": done.and(self.ended()).map(|at| at.unix),
            "expires_at": self.ended().map(|at| at.unix + ttl.as_secs()),
            "size": resolved.size.to_string(),
            "seconds": resolved.seconds(),
            "quality": "standard",
            "prompt": resolved.prompt,
            "num_frames": resolved.frames,
            "fps": fps,
            "seed": resolved.seeds[0],
            "num_outputs": resolved.seeds.len(),
            "url": done.map(|_| address(0)),
            "urls": done.map(|(outputs, _)| (0..outputs.len()).map(address).collect::<Vec<_>>()),
            "error": failure.map(|failure| json!({ "code": failure.code.name(), "message": failure.message })),
            "remixed_from_video_id": facts.remixed_from,
            "prompt_read": facts.prompt_read(),
            "revised_prompt": null,
            "inference_time_s": done.map(|(_, costs)| costs.inference),
            "peak_memory_mb": done.map(|(_, costs)| costs.peak_bytes as f64 / f64::from(1 << 20)),
            "stage_durations": done.map_or(json!({}), |(_, costs)| costs.stages()),
            "file_path": null,
            "file_paths": null,
            "action": null,
            "lidar": null,
            "profile_trace": done.and_then(|(_, costs)| costs.profile_trace.as_deref()),
            "ignored": resolved.ignored,
            "queue_position": position,
        })
    }
}

impl Costs {
    /// Stage by stage, in seconds.
    pub fn stages(&self) -> Value {
        json!({
            "queue": self.queue,
            "text": self.text,
            "denoise": self.denoise,
            "decode": self.decode,
            "encode": self.encode,
        })
    }
}
