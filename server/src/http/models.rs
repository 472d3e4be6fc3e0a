//! The models that are served, and their gallery.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use pipeline::world::Card;
use serde_json::{Value, json};
use url::Url;

use super::app::App;
use super::asset::Asset;
use super::not_found;
use super::status::{choices, loading};
use crate::openai::errors::ApiError;
use crate::openai::request::invalid::quoted;

/// OpenAI's list of models, filled as the reference does. `causeway` has the options of a client.
pub(crate) async fn models(State(app): State<App>) -> Response {
    let Some(card) = app.card() else { return loading() };
    Json(json!({ "object": "list", "data": [line(&card)] })).into_response()
}

/// One model of the list.
pub(crate) async fn model(State(app): State<App>, Path(id): Path<String>) -> Response {
    let Some(card) = app.card() else { return loading() };
    if id != card.name {
        let message = format!("The model '{}' does not exist", quoted(&id));
        return ApiError::not_found("model_not_found", message).about("model").into_response();
    }
    Json(line(&card)).into_response()
}

fn line(card: &Card) -> Value {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    json!({
        "id": card.name,
        "object": "model",
        "created": created,
        "owned_by": "causeway",
        "root": card.name,
        "parent": null,
        "max_model_len": null,
        "num_gpus": 0,
        "task_type": "I2V",
        "causeway": choices(card),
    })
}

pub(crate) async fn gallery(State(app): State<App>) -> Response {
    let Some(card) = app.card() else { return loading() };
    let items = card
        .gallery
        .iter()
        .map(|item| json!({ "name": item.name, "prompt": item.prompt, "image": picture_address(&item.name) }));
    Json(items.collect::<Vec<_>>()).into_response()
}

pub(crate) async fn gallery_picture(State(app): State<App>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(card) = app.card() else { return loading() };
    let Some(item) = card.gallery.iter().find(|item| item.name == name) else {
        return not_found("no such picture in the gallery");
    };
    let content_type = match &*item.file {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'R', b'I', b'F', b'F', ..] => "image/webp",
        _ => "image/jpeg",
    };
    Asset::new(content_type, item.file.to_vec().into()).answer(&headers)
}

/// Where the picture `name` of the gallery is found. A file's name may hold what means something else in an address.
fn picture_address(name: &str) -> String {
    let mut address = Url::parse("http://host/v1/gallery").expect("an address");
    address.path_segments_mut().expect("http has a path").push(name);
    address.path().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_s_name_is_one_part_of_its_address_whatever_is_in_it() {
        let check = |name: &str, expected: &str| assert_eq!(picture_address(name), expected);
        check("meadow.png", "/v1/gallery/meadow.png");
        check("a b#c?d%20e.png", "/v1/gallery/a%20b%23c%3Fd%2520e.png");
        check("雪.png", "/v1/gallery/%E9%9B%AA.png");
    }
}
