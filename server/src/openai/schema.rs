//! `/openapi.json`: the stable fields of a request, with their types and bounds. What a model family adds is not in it.

use axum::Json;
use serde_json::{Map, Value, json};

use super::request::ask::FPS_MAX;
use super::request::values::OUTPUTS_MAX;

/// The stable fields of a clip, each with its schema. A test holds that the parser knows each of them, and that none is an
/// extra.
pub(crate) fn video_fields() -> Map<String, Value> {
    let text = || json!({ "type": "string" });
    let positive = || json!({ "type": "integer", "minimum": 1 });
    let fields = [
        ("prompt", text()),
        ("negative_prompt", text()),
        ("model", text()),
        ("size", json!({ "type": "string", "pattern": "^[0-9]+x[0-9]+$" })),
        ("width", positive()),
        ("height", positive()),
        ("seconds", json!({ "anyOf": [{ "type": "number", "exclusiveMinimum": 0 }, { "type": "string" }] })),
        ("fps", json!({ "type": "number", "minimum": 1, "maximum": FPS_MAX })),
        ("num_frames", positive()),
        ("n", json!({ "type": "integer", "minimum": 1, "maximum": OUTPUTS_MAX })),
        ("num_outputs_per_prompt", json!({ "type": "integer", "minimum": 1, "maximum": OUTPUTS_MAX })),
        (
            "seed",
            json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "array", "items": { "type": "integer" } }] }),
        ),
        ("num_inference_steps", json!({ "type": "integer", "minimum": 1, "maximum": 200 })),
        ("guidance_scale", json!({ "type": "number", "minimum": 0, "maximum": 20 })),
        ("flow_shift", json!({ "type": "number", "minimum": 0.1, "maximum": 100 })),
        ("max_sequence_length", json!({ "type": "integer", "minimum": 8, "maximum": 8192 })),
        ("input_reference", json!({ "type": "string", "format": "binary" })),
        ("reference_url", text()),
        ("image_reference", json!({ "type": "object", "properties": { "image_url": { "type": "string" } } })),
        ("task_type", json!({ "type": "string", "enum": ["t2v", "i2v", "t2i", "ti2v"] })),
        ("output_quality", json!({ "type": "string", "enum": ["default", "maximum", "high", "medium", "low"] })),
        ("output_compression", json!({ "type": "integer", "minimum": 1, "maximum": 100 })),
        ("profile", json!({ "type": "boolean" })),
        ("num_profiled_timesteps", json!({ "type": "integer" })),
        ("profile_all_stages", json!({ "type": "boolean" })),
        ("user", text()),
        ("metadata", json!({})),
        ("quality", text()),
        ("style", text()),
        ("background", text()),
    ];
    fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn image_fields() -> Map<String, Value> {
    let mut fields = video_fields();
    for name in ["seconds", "fps", "num_frames", "input_reference", "reference_url", "image_reference"] {
        fields.remove(name);
    }
    fields.insert("response_format".to_owned(), json!({ "type": "string", "enum": ["b64_json", "url"] }));
    fields.insert("output_format".to_owned(), json!({ "type": "string", "enum": ["png", "jpeg", "webp"] }));
    fields
}

/// `GET /openapi.json`
pub(crate) async fn page() -> Json<Value> {
    Json(openapi())
}

fn openapi() -> Value {
    let schema = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let body = |name: &str, form: bool| {
        let mut content = json!({ "application/json": { "schema": schema(name) } });
        if form {
            content["multipart/form-data"] = json!({ "schema": schema(name) });
        }
        json!({ "required": true, "content": content })
    };
    let answers = |text: &str| json!({ "200": { "description": text }, "default": { "description": "an error" } });
    let id = json!([{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }]);
    let variant = json!([
        { "name": "id", "in": "path", "required": true, "schema": { "type": "string" } },
        { "name": "variant", "in": "query", "schema": { "type": "string" } },
    ]);
    let paging = json!([
        { "name": "after", "in": "query", "schema": { "type": "string" } },
        { "name": "limit", "in": "query", "schema": { "type": "integer", "minimum": 1, "maximum": 100 } },
        { "name": "order", "in": "query", "schema": { "type": "string", "enum": ["asc", "desc"] } },
    ]);
    let remix = json!({ "type": "object", "required": ["prompt"], "properties": { "prompt": { "type": "string" } } });
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Causeway", "version": env!("CARGO_PKG_VERSION") },
        "paths": {
            "/v1/videos": {
                "post": { "requestBody": body("VideoRequest", true), "responses": answers("the queued job") },
                "get": { "parameters": paging, "responses": answers("a page of jobs") },
            },
            "/v1/videos/sync": {
                "post": { "requestBody": body("VideoRequest", true), "responses": answers("the video") },
            },
            "/v1/videos/{id}": {
                "get": { "parameters": id, "responses": answers("the job") },
                "delete": { "parameters": id, "responses": answers("the deleted job") },
            },
            "/v1/videos/{id}/content": { "get": { "parameters": variant, "responses": answers("the file") } },
            "/v1/videos/{id}/remix": {
                "post": { "parameters": id, "requestBody": body("RemixRequest", true), "responses": answers("the queued job") },
            },
            "/v1/images/generations": {
                "post": { "requestBody": body("ImageRequest", false), "responses": answers("pictures") },
            },
            "/v1/images/{id}/content": { "get": { "parameters": variant, "responses": answers("the picture") } },
        },
        "components": { "schemas": {
            "VideoRequest": { "type": "object", "required": ["prompt"], "properties": video_fields() },
            "ImageRequest": { "type": "object", "required": ["prompt"], "properties": image_fields() },
            "RemixRequest": remix,
        } },
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use pipeline::testcard::Testcard;
    use pipeline::world::World;
    use std::time::Duration;

    use super::super::request::Body;
    use super::super::request::ask::Ask;
    use super::super::request::values::Route;
    use super::*;

    /// Fields that the parser takes: what is left goes to `ignored`, or is refused.
    fn is_known(name: &str, route: Route) -> bool {
        let testcard = Testcard::new(Duration::ZERO);
        let mut fields = json!({ "prompt": "p" });
        if name != "prompt" {
            fields[name] = json!("");
        }
        let body = Body::read(None, &Bytes::from(fields.to_string())).expect("an object");
        let ask = Ask::read(body, route, testcard.card()).expect("empty text asks for nothing");
        ask.ignored.is_empty()
    }

    #[test]
    fn every_field_of_the_schema_is_one_that_the_parser_knows() {
        for (route, fields) in [(Route::Video, video_fields()), (Route::Image, image_fields())] {
            for name in fields.keys() {
                assert!(is_known(name, route), "{name}");
            }
        }
        assert!(!is_known("zzz", Route::Video));
    }

    /// Line 30 of docs/videos-conformance.md is proved over a socket; this holds the lists beside each other.
    #[test]
    fn no_extra_is_in_the_schema() {
        let fields = video_fields();
        for extra in [
            "use_duration_template",
            "use_resolution_template",
            "use_system_prompt",
            "use_guardrails",
            "guardrails",
            "guidance_interval",
            "camera_actions",
            "prompts",
            "generate_sound",
            "action_mode",
            "extra_params",
        ] {
            assert!(!fields.contains_key(extra), "{extra}");
        }
    }
}
