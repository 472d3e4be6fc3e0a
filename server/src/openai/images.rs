//! `/v1/images`: pictures, drawn while the client waits.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::body;
use super::door::Caller;
use super::errors::ApiError;
use super::request::invalid::Invalid;
use super::request::values::Route;
use super::state::OpenAi;
use crate::observe::jobs::JobKind;

/// `POST /v1/images/generations`
pub(crate) async fn create(
    State(openai): State<Arc<OpenAi>>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request,
) -> Result<Response, ApiError> {
    let until = Instant::now() + openai.bounds.sync_timeout;
    openai.open_for_work()?;
    let body::Read { body, held } = body::read(&openai, &caller, request).await?;
    let prepared = openai.prepare(body, Route::Image).await?.unblocked()?;
    drop(held);
    let (answer, facts) = (prepared.answer, prepared.facts.clone());
    if answer.by_url {
        openai.book().room_for_pictures(facts.resolved.raw_bytes(), openai.now())?;
    }
    let id = uuid::Uuid::new_v4().to_string();
    let (outputs, costs) = openai.draw_for(&caller, &id, JobKind::Image, prepared, until).await?;
    let prompt = &facts.resolved.prompt;
    let data: Vec<Value> = outputs
        .iter()
        .enumerate()
        .map(|(variant, output)| {
            let (inside, url) = match (answer.by_url, variant) {
                (false, _) => (Some(STANDARD.encode(&output.bytes)), None),
                (true, 0) => (None, Some(format!("/v1/images/{id}/content"))),
                (true, variant) => (None, Some(format!("/v1/images/{id}/content?variant={variant}"))),
            };
            json!({ "b64_json": inside, "url": url, "revised_prompt": prompt, "file_path": null })
        })
        .collect();
    let format = match outputs.first().map(|output| output.content_type) {
        Some("image/jpeg") => "jpeg",
        Some("image/webp") => "webp",
        _ => "png",
    };
    let (size, ignored) = (facts.resolved.size.to_string(), facts.resolved.ignored.clone());
    let prompt_read = facts.prompt_read();
    let now = openai.now();
    if answer.by_url {
        openai.book().keep_pictures(&id, caller.account.clone(), facts, outputs, costs.clone(), now)?;
    }
    let body = json!({
        "id": id,
        "created": now.unix,
        "data": data,
        "size": size,
        "output_format": format,
        "inference_time_s": costs.inference,
        "profile_trace": costs.profile_trace,
        "peak_memory_mb": costs.peak_bytes as f64 / f64::from(1 << 20),
        "usage": null,
        "ignored": ignored,
        "prompt_read": prompt_read,
    });
    Ok(Json(body).into_response())
}

/// `POST /v1/images/edits`: no world here edits pictures.
pub(crate) async fn edit(
    State(openai): State<Arc<OpenAi>>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let body::Read { body, held } = body::read(&openai, &caller, request).await?;
    drop(held);
    let given = |name: &str| body.fields.get(name).is_some_and(|value| !super::request::fields::is_blank(value));
    if !body.files.iter().any(|file| file.field == "image") && !given("image") && !given("url") {
        return Err(Invalid::validation("image", "Field 'image' or 'url' is required").into());
    }
    if !given("prompt") {
        return Err(Invalid::validation("prompt", "prompt: Field required").into());
    }
    Err(Invalid::unsupported("image", "input_reference is not supported for T2I models.").into())
}
