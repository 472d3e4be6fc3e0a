//! `POST /v1/videos/sync`: the answer is the file. The client is the job's owner: when it leaves, the work ends.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use tokio::time::{Instant, timeout_at};

use super::body;
use super::door::Caller;
use super::errors::ApiError;
use super::leaving::Leaving;
use super::prepare::Prepared;
use super::request::job::{Costs, Facts, Failure, FailureCode, Output};
use super::request::reading::unknown_words;
use super::request::values::Route;
use super::state::OpenAi;
use super::stop::Current;
use super::work::{Done, Work};
use crate::observe::jobs::{JobKind, JobOutcome};
use crate::phase::Phase;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_MODEL: HeaderName = HeaderName::from_static("x-model");
const X_INFERENCE_TIME_S: HeaderName = HeaderName::from_static("x-inference-time-s");
const X_STAGE_DURATIONS: HeaderName = HeaderName::from_static("x-stage-durations");
const X_PEAK_MEMORY_MB: HeaderName = HeaderName::from_static("x-peak-memory-mb");
const X_SEED: HeaderName = HeaderName::from_static("x-seed");
const X_IGNORED: HeaderName = HeaderName::from_static("x-ignored");
const X_UNKNOWN_WORDS: HeaderName = HeaderName::from_static("x-unknown-words");
const X_PROFILE_TRACE: HeaderName = HeaderName::from_static("x-profile-trace");

/// `POST /v1/videos/sync`
pub(crate) async fn create(
    State(openai): State<Arc<OpenAi>>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    let until = Instant::now() + openai.bounds.sync_timeout;
    openai.open_for_work()?;
    openai.can_encode()?;
    let body::Read { body, held } = body::read(&openai, &caller, request).await?;
    let prepared = openai.prepare(body, Route::Video).await?.unblocked()?;
    drop(held);
    if prepared.facts.resolved.seeds.len() > 1 {
        let message = "n must be 1: this route answers with one file";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_value", message).about("n"));
    }
    let id = format!("video_sync-{}", uuid::Uuid::new_v4().simple());
    let facts = prepared.facts.clone();
    let (outputs, costs) = openai.draw_for(&caller, &id, JobKind::Sync, prepared, until).await?;
    let output = outputs.into_iter().next().expect("one output was asked for");
    Ok(answer(&id, &facts, output, &costs))
}

fn answer(id: &str, facts: &Facts, output: Output, costs: &Costs) -> Response<Body> {
    let Facts { model, resolved, read, .. } = facts;
    let mut answer = Response::new(Body::from(output.bytes));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(output.content_type));
    let peak = costs.peak_bytes as f64 / f64::from(1 << 20);
    for (name, value) in [
        (X_REQUEST_ID, id.to_owned()),
        (X_MODEL, model.clone()),
        (X_INFERENCE_TIME_S, format!("{:.3}", costs.inference)),
        (X_STAGE_DURATIONS, costs.stages().to_string()),
        (X_PEAK_MEMORY_MB, format!("{peak:.3}")),
        (X_SEED, resolved.seeds[0].to_string()),
    ] {
        headers.insert(name, printable(&value));
    }
    if let Some(name) = &costs.profile_trace {
        headers.insert(X_PROFILE_TRACE, printable(name));
    }
    if let Some(words) = read.as_deref().and_then(unknown_words) {
        headers.insert(X_UNKNOWN_WORDS, printable(&words));
    }
    if !resolved.ignored.is_empty() {
        let names: Vec<_> = resolved.ignored.iter().map(|name| name.replace(',', "?")).collect();
        headers.insert(X_IGNORED, printable(&names.join(",")));
    }
    answer
}

/// A header's value: a client's own names may hold anything.
fn printable(text: &str) -> HeaderValue {
    let kept: String = text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
    HeaderValue::from_str(&kept).expect("printable characters make a header")
}

impl OpenAi {
    /// Draw for a client that waits on its connection: all ends when this future is dropped.
    pub(crate) async fn draw_for(
        self: &Arc<Self>,
        caller: &Caller,
        id: &str,
        kind: JobKind,
        prepared: Prepared,
        until: Instant,
    ) -> Result<Done, ApiError> {
        let Prepared { card, facts, picture, answer, recorder, guardrails, .. } = prepared;
        // Dropped last: a drain waits for the answer.
        let _present = self.present.upgrade().ok_or_else(ApiError::draining)?;
        let (id_of_work, resolved, format) = (id.to_owned(), facts.resolved.clone(), answer.format);
        let work = Work { id: id_of_work, card, resolved, picture, format, recorder, guardrails };
        // Nothing of it is kept for a remix.
        let facts = Facts { picture: None, ..facts };
        let entered = Leaving::enter(self, id.to_owned(), kind, caller.account.clone(), facts);
        let leaving = entered.inspect_err(|_full| self.observer.job_ended(kind, JobOutcome::Refused))?;
        let (current, mut phase) = (Current::default(), self.phase.clone());
        let drawing = timeout_at(until, work.draw(self, &current));
        let drawn = tokio::select! {
            drawn = drawing => drawn,
            () = Phase::Stopping.reached(&mut phase) => Ok(Err(Failure::shutting_down())),
        };
        let what = if kind == JobKind::Image { "Image" } else { "Video" };
        match drawn {
            Ok(Ok(done)) => {
                leaving.ended(JobOutcome::Completed);
                Ok(done)
            }
            Ok(Err(failure)) => {
                leaving.ended(JobOutcome::Failed);
                Err(of_failure(failure, what))
            }
            Err(_elapsed) => {
                leaving.ended(JobOutcome::Cancelled);
                let message = format!("{what} generation timed out after {}s.", self.bounds.sync_timeout.as_secs_f64());
                Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message))
            }
        }
    }

    /// A build without an encoder draws no videos.
    pub(crate) fn can_encode(&self) -> Result<(), ApiError> {
        if cfg!(feature = "h264") {
            return Ok(());
        }
        let message = "this build has no video encoder: build it with the feature h264";
        Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "encoder_unavailable", message))
    }
}

fn of_failure(Failure { code, message }: Failure, what: &str) -> ApiError {
    let failed = |status, code| ApiError::new(status, code, format!("{what} generation failed: {message}"));
    match code {
        FailureCode::ShuttingDown => ApiError::draining(),
        FailureCode::Timeout => failed(StatusCode::GATEWAY_TIMEOUT, "timeout"),
        FailureCode::GuardrailBlocked => failed(StatusCode::BAD_REQUEST, "guardrail_blocked"),
        FailureCode::InvalidArgument | FailureCode::OutOfMemory => failed(StatusCode::BAD_REQUEST, "invalid_value"),
        FailureCode::EncoderFailed => failed(StatusCode::INTERNAL_SERVER_ERROR, "encoder_failed"),
        // Nobody listens any more to work that was cancelled.
        FailureCode::Cancelled | FailureCode::Internal => failed(StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_s_own_words_cannot_break_a_header() {
        assert_eq!(printable("a\r\nX-B: é\0"), "a??X-B: ??");
        assert_eq!(printable(""), "");
    }
}
