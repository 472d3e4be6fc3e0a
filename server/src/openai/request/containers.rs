//! Containers: fields may come wrapped in `extra_body`, `extra_json`, `extra_args` and `extra_params`. One order holds for
//! every field: the top level first, then these four; the first that has the name with a value decides.

use serde_json::{Map, Value};

use super::invalid::Invalid;
use super::json::{BadJson, Budget};

/// The containers, in their order.
pub const CONTAINERS: [&str; 4] = ["extra_body", "extra_json", "extra_args", "extra_params"];

/// Containers inside each other: clients wrap twice, and nobody needs more than twice that.
pub const LEVELS_MAX: usize = 4;

/// Other names of fields. The name on the right wins where both are given.
const ALIASES: [(&str, &str); 5] = [
    ("guardrails", "use_guardrails"),
    ("condition_frame_indexes_vision", "condition_frame_indexes"),
    ("num_steps", "num_inference_steps"),
    ("guidance", "guidance_scale"),
    ("shift", "flow_shift"),
];

/// Every field that has a value, without containers and under its own name. `null` is absent everywhere.
pub fn merge(fields: Map<String, Value>, json: &mut Budget) -> Result<Map<String, Value>, Invalid> {
    let mut merged = flatten(fields, json, 0)?;
    for (alias, name) in ALIASES {
        if let Some(value) = merged.remove(alias) {
            merged.entry(name).or_insert(value);
        }
    }
    Ok(merged)
}

/// An object's own fields, then those of the containers in it. `level` is how many containers are around it.
fn flatten(fields: Map<String, Value>, json: &mut Budget, level: usize) -> Result<Map<String, Value>, Invalid> {
    let (mut own, mut wrapped) = (Map::new(), [const { None }; CONTAINERS.len()]);
    for (name, value) in fields {
        match CONTAINERS.iter().position(|&container| container == name) {
            _ if value.is_null() => {}
            Some(place) => wrapped[place] = Some(value),
            None => {
                own.insert(name, value);
            }
        }
    }
    for (name, value) in CONTAINERS.into_iter().zip(wrapped) {
        let Some(inside) = value.map(|value| object(name, value, json)).transpose()?.flatten() else { continue };
        if level == LEVELS_MAX {
            return Err(Invalid::value(name, format!("{name}: containers are followed {LEVELS_MAX} levels deep")));
        }
        for (name, value) in flatten(inside, json, level + 1)? {
            own.entry(name).or_insert(value);
        }
    }
    // Inside a container only: at the top level another container may give `use_guardrails` itself, and that wins.
    if level > 0
        && let Some(guardrails) = own.get("guardrails").cloned()
    {
        own.entry("use_guardrails").or_insert(guardrails);
    }
    Ok(own)
}

/// What a container holds; `None` for empty text, which is absent.
fn object(name: &'static str, value: Value, json: &mut Budget) -> Result<Option<Map<String, Value>>, Invalid> {
    let value = match value {
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => json.value(text.as_bytes()).map_err(|bad| match bad {
            BadJson::NotJson => Invalid::json(Some(name.into()), format!("{name} is not valid JSON")),
            BadJson::TooMuch(why) => Invalid::value(name, format!("{name} {why}")),
        })?,
        value => value,
    };
    match value {
        Value::Object(fields) => Ok(Some(fields)),
        Value::Null => Ok(None),
        _ => Err(Invalid::value(name, format!("{name} must be an object"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(fields: Value) -> Result<Map<String, Value>, String> {
        let Value::Object(fields) = fields else { unreachable!("a test gives an object") };
        merge(fields, &mut Budget::default()).map_err(|invalid| invalid.message)
    }

    fn check(fields: Value, name: &str, expected: Value) {
        let shown = fields.to_string();
        assert_eq!(merged(fields).expect(&shown).get(name).cloned().unwrap_or_default(), expected, "{shown}");
    }

    #[test]
    fn the_first_of_the_order_that_has_a_value_decides() {
        let mut fields = json!({ "flow_shift": 1.5 });
        for (at, name) in CONTAINERS.into_iter().enumerate() {
            fields[name] = json!({ "flow_shift": at as f64 + 2.5 });
        }
        for (at, name) in ["flow_shift"].into_iter().chain(CONTAINERS).enumerate() {
            check(fields.clone(), "flow_shift", json!(at as f64 + 1.5));
            fields[name] = Value::Null;
        }
        check(fields, "flow_shift", Value::Null);
    }

    #[test]
    fn a_container_may_be_text_that_holds_an_object() {
        for name in CONTAINERS {
            check(json!({ name: "{\"flow_shift\": 7}" }), "flow_shift", json!(7));
            check(json!({ name: "  " }), "flow_shift", Value::Null);
            check(json!({ name: "null" }), "flow_shift", Value::Null);
            assert_eq!(merged(json!({ name: "{bad" })), Err(format!("{name} is not valid JSON")));
            for no_object in [json!("[1]"), json!([1]), json!(1), json!(true), json!("1")] {
                assert_eq!(merged(json!({ name: no_object })), Err(format!("{name} must be an object")));
            }
        }
    }

    #[test]
    fn a_container_takes_over_what_one_inside_it_has() {
        let inside =
            json!({ "flow_shift": 5.0, "extra_params": { "flow_shift": 6.0, "guardrails": false, "seed": 1 } });
        check(json!({ "extra_body": inside }), "flow_shift", json!(5.0));
        check(json!({ "extra_body": inside }), "use_guardrails", json!(false));
        check(json!({ "extra_body": inside }), "seed", json!(1));
        check(json!({ "seed": null, "extra_body": inside }), "seed", json!(1));
        check(json!({ "guardrails": false, "use_guardrails": true }), "use_guardrails", json!(true));
        check(
            json!({ "guardrails": false, "extra_params": { "use_guardrails": true } }),
            "use_guardrails",
            json!(true),
        );
    }

    #[test]
    fn containers_are_followed_four_levels_deep() {
        let nested = |levels: usize| {
            (0..levels).fold(json!({ "seed": 1 }), |inside, level| json!({ CONTAINERS[level % 4]: inside }))
        };
        (1..=4).for_each(|levels| check(nested(levels), "seed", json!(1)));
        assert!(merged(nested(5)).is_err_and(|message| message.contains("4 levels")));
    }

    #[test]
    fn other_names_stand_for_a_field_that_is_not_given_itself() {
        for (alias, name) in ALIASES {
            check(json!({ alias: 3 }), name, json!(3));
            check(json!({ alias: 3, name: 4 }), name, json!(4));
            assert!(!merged(json!({ alias: 3 })).expect("an object").contains_key(alias));
        }
    }
}
