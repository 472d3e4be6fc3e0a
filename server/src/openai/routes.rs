//! The routes of this API, behind their door.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use super::errors::ApiError;
use super::state::OpenAi;
use super::{content, door, images, schema, sync, videos};

/// Whether a path belongs to this API, so that all errors on it have its shape.
pub(crate) fn answers(path: &str) -> bool {
    ["/v1/videos", "/v1/images", "/v1/models", "/openapi.json"].iter().any(|own| path.starts_with(own))
}

/// All of them. They know their own state.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(openai: &Arc<OpenAi>) -> Router<S> {
    let entrance = openai.entrance.clone();
    let keyed = Router::new()
        .route("/v1/videos", post(videos::create).get(videos::list))
        .route("/v1/videos/sync", post(sync::create))
        .route("/v1/videos/{id}", get(videos::get).delete(videos::delete))
        .route("/v1/videos/{id}/content", get(content::of_video))
        .route("/v1/videos/{id}/remix", post(videos::remix))
        .route("/v1/images/generations", post(images::create))
        .route("/v1/images/edits", post(images::edit))
        .route("/v1/images/{id}/content", get(content::of_image))
        .method_not_allowed_fallback(async || ApiError::method())
        .route_layer(from_fn_with_state(entrance.clone(), door::enter));
    let open = Router::new()
        .route("/openapi.json", get(schema::page))
        .method_not_allowed_fallback(async || ApiError::method())
        .route_layer(from_fn_with_state(entrance, door::enter_without_key));
    keyed.merge(open).with_state(Arc::clone(openai))
}
