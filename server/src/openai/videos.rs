//! `/v1/videos`: jobs are made, listed, looked at, deleted, and made again with another prompt.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::body;
use super::door::Caller;
use super::errors::ApiError;
use super::prepare::Prepared;
use super::request::ask::Ask;
use super::request::invalid::{Invalid, quoted};
use super::request::job::Facts;
use super::request::values::Route;
use super::state::OpenAi;
use crate::observe::jobs::{JobKind, JobOutcome};

const POLL_AFTER: HeaderName = HeaderName::from_static("openai-poll-after-ms");

/// Jobs on a page, unless the client says.
const LIMIT: usize = 20;
const LIMIT_MAX: usize = 100;

pub(crate) fn video_not_found() -> ApiError {
    ApiError::not_found("video_not_found", "Video not found")
}

/// `POST /v1/videos`
pub(crate) async fn create(
    State(openai): State<Arc<OpenAi>>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request,
) -> Result<Response, ApiError> {
    openai.open_for_work()?;
    openai.can_encode()?;
    let body::Read { body, held } = body::read(&openai, &caller, request).await?;
    let prepared = openai.prepare(body, Route::Video).await?;
    drop(held);
    begin(&openai, &caller, prepared)
}

/// `POST /v1/videos/{id}/remix`
pub(crate) async fn remix(
    State(openai): State<Arc<OpenAi>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    openai.open_for_work()?;
    openai.can_encode()?;
    let old = openai.book().facts(&id, &caller.account, openai.now()).ok_or_else(video_not_found)?;
    let body::Read { body, held } = body::read(&openai, &caller, request).await?;
    let remix = Ask::read_remix(body)?;
    let prepared = openai.prepare_remix(remix, Facts { remixed_from: Some(id), ..old }).await?;
    drop(held);
    begin(&openai, &caller, prepared)
}

fn begin(openai: &Arc<OpenAi>, caller: &Caller, prepared: Prepared) -> Result<Response, ApiError> {
    let id = openai
        .begin_job(caller, prepared)
        .inspect_err(|_full| openai.observer.job_ended(JobKind::Video, JobOutcome::Refused))?;
    look(openai, caller, &id)
}

/// `GET /v1/videos/{id}`
pub(crate) async fn get(
    State(openai): State<Arc<OpenAi>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    look(&openai, &caller, &id)
}

fn look(openai: &OpenAi, caller: &Caller, id: &str) -> Result<Response, ApiError> {
    let now = openai.now();
    let mut book = openai.book();
    let job = book.get(id, &caller.account, now).ok_or_else(video_not_found)?;
    let unfinished = matches!(job["status"].as_str(), Some("queued" | "in_progress"));
    let poll_after: Option<Duration> = unfinished.then(|| book.poll_after(id, now));
    drop(book);
    let mut response = Json(job).into_response();
    if let Some(after) = poll_after {
        response.headers_mut().insert(POLL_AFTER, (after.as_millis() as u64).into());
    }
    Ok(response)
}

/// `DELETE /v1/videos/{id}`
pub(crate) async fn delete(
    State(openai): State<Arc<OpenAi>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let job = openai.book().get(&id, &caller.account, openai.now());
    let mut job = job.ok_or_else(video_not_found)?;
    // Whoever hangs up: the job's end does not depend on who waits for it.
    let deleting = Arc::clone(&openai);
    let deleted = tokio::spawn(async move { deleting.delete_job(&id).await });
    deleted.await.map_err(|error| {
        tracing::error!(%error, "deleting a job");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the job could not be deleted")
    })?;
    job["deleted"] = Value::Bool(true);
    job["object"] = "video.deleted".into();
    job["status"] = "deleted".into();
    Ok(Json(job).into_response())
}

/// The query of a list.
struct Paging {
    after: Option<String>,
    limit: usize,
    ascending: bool,
}

impl Paging {
    fn read(query: &str) -> Result<Paging, Invalid> {
        let mut paging = Paging { after: None, limit: LIMIT, ascending: false };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "after" => paging.after = Some(value.into_owned()),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    paging.limit = limit.ok_or_else(|| {
                        let message = format!("limit must be from 1 to {LIMIT_MAX}, not {:?}", quoted(&value));
                        Invalid::validation("limit", message)
                    })?;
                }
                "order" => match &*value {
                    "asc" => paging.ascending = true,
                    "desc" => paging.ascending = false,
                    other => {
                        let message = format!("order must be asc or desc, not {:?}", quoted(other));
                        return Err(Invalid::validation("order", message));
                    }
                },
                _ => {}
            }
        }
        Ok(paging)
    }
}

/// `GET /v1/videos`
pub(crate) async fn list(
    State(openai): State<Arc<OpenAi>>,
    Extension(caller): Extension<Arc<Caller>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let Paging { after, limit, ascending } = Paging::read(query.as_deref().unwrap_or_default())?;
    let page = openai.book().list(&caller.account, after.as_deref(), limit, ascending, openai.now());
    let (first, last) = (page.jobs.first().map(|job| &job["id"]), page.jobs.last().map(|job| &job["id"]));
    let body = json!({
        "object": "list", "data": page.jobs, "first_id": first, "last_id": last, "has_more": page.has_more,
    });
    Ok(Json(body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_s_query_has_bounds() {
        let read = |query: &str| Paging::read(query).map(|paging| (paging.after, paging.limit, paging.ascending));
        assert_eq!(read("").ok(), Some((None, 20, false)));
        assert_eq!(read("after=a%20b&limit=2&order=asc&zzz=1").ok(), Some((Some("a b".into()), 2, true)));
        for bad in ["limit=0", "limit=101", "limit=-1", "limit=", "limit=x", "order=up", "order=", "limit=1e1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
