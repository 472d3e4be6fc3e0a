//! The server's AsyncAPI document, as a judge of every message that a test receives: each field is in it, with its type.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use rmpv::Value;
use serde_json::Value as Json;
use server::realtime::document::document;

/// Whether the document describes this message.
pub fn check(map: &[u8]) -> Result<()> {
    let message = rmpv::decode::read_value_ref(&mut &map[..])?.to_owned();
    let kind = message["type"].as_str().context("a message without its type")?;
    let described = &document()["components"]["messages"][kind]["payload"];
    matches(&message, described).with_context(|| format!("{kind} is not as /asyncapi.json says"))
}

fn matches(value: &Value, schema: &Json) -> Result<()> {
    let types: Vec<&str> = match &schema["type"] {
        Json::Array(several) => several.iter().filter_map(Json::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let found = match value {
        Value::Nil => "null",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) => "integer",
        Value::F32(_) | Value::F64(_) => "number",
        // Bytes stand as text in the document.
        Value::String(_) | Value::Binary(_) => "string",
        Value::Array(_) => "array",
        Value::Map(_) | Value::Ext(..) => "object",
    };
    ensure!(types.contains(&found), "{found} where {types:?} is described");
    ensure!(
        schema["contentEncoding"].is_string() == matches!(value, Value::Binary(_)),
        "text and bytes are not the same"
    );
    if let Value::Array(items) = value {
        items.iter().try_for_each(|item| matches(item, &schema["items"]))?;
    }
    if let Value::Map(entries) = value {
        let entries: BTreeMap<&str, &Value> =
            entries.iter().filter_map(|(key, value)| Some((key.as_str()?, value))).collect();
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            ensure!(entries.contains_key(name), "{name} is required, and absent");
        }
        for (name, value) in entries {
            matches(value, &schema["properties"][name]).with_context(|| name.to_owned())?;
        }
    }
    Ok(())
}
