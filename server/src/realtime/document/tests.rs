//! The document and the code agree.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Value, json};

use super::form::{Form, Incoming};
use super::{document, incoming, outgoing};
use crate::realtime::wire::event::Asked;
use crate::realtime::wire::features::Features;
use crate::realtime::wire::fields::asked_for;
use crate::realtime::wire::{first_message, message};

fn features() -> Features {
    let names = json!({ "type": "init", "prompt": "", "protocol_features": incoming::FEATURES });
    match first_message::decode(&Bytes::from(message(&names.to_string()))).message {
        Ok(first_message::FirstMessage::Init(init)) => init.features(),
        other => panic!("{other:?}"),
    }
}

/// What a server that has read this says: nothing, or which field was wrong.
fn refused(example: &Value) -> Option<&'static str> {
    let bytes = message(&example.to_string());
    if example["type"] == "event" {
        return Asked::decode(&bytes, features()).err().map(|invalid| invalid.refusal.field);
    }
    match first_message::decode(&Bytes::from(bytes)).message {
        Ok(_) => None,
        Err(wrong) => wrong.error().details.map(|details| details.field),
    }
}

#[test]
fn every_example_of_a_client_s_message_is_accepted() {
    for Incoming { name, examples, .. } in incoming::all() {
        assert!(!examples.is_empty(), "{name}");
        for example in examples {
            assert_eq!(refused(&example), None, "{name}: {example}");
        }
    }
}

/// The names of all properties of a schema, however deep.
fn properties(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                if key == "properties" {
                    names.extend(value.as_object().into_iter().flatten().map(|(name, _)| name.clone()));
                }
                properties(value, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| properties(item, names)),
        _ => {}
    }
}

#[test]
fn what_a_parser_looks_for_is_in_the_document_and_nothing_else_is() {
    let (mut looked_for, mut documented) = (BTreeSet::new(), BTreeSet::new());
    features();
    asked_for::keys();
    for described in incoming::all() {
        for example in &described.examples {
            refused(example);
        }
        // The flags that say what is named: `features` looks for them too.
        looked_for.extend(asked_for::keys());
        properties(&described.message().payload, &mut documented);
    }
    assert_eq!(looked_for, documented, "left: what parsers look for; right: what the document has");
}

#[test]
fn a_value_at_each_limit_is_accepted_and_one_past_it_is_refused_by_its_name() {
    for described in incoming::all() {
        let example = &described.examples[0];
        for field in &described.fields {
            let check = |value: Value, refused_by: Option<&str>| {
                let mut tried = example.clone();
                tried[field.name] = value.clone();
                assert_eq!(refused(&tried), refused_by, "{}.{} = {value:.99}", described.name, field.name);
            };
            let wrong = Some(field.name);
            match &field.form {
                Form::Integer { least, most } => {
                    for within in [*least, *most] {
                        check(json!(within.to_string()), None);
                    }
                    for past in [least - 1, most + 1] {
                        check(json!(past.to_string()), wrong);
                    }
                    check(json!(least + 1), None);
                    check(json!(0.5), wrong);
                }
                Form::Number { least, most } => {
                    for (limit, past) in [(least, -1.0), (most, 1.0)] {
                        let Some(limit) = limit else { continue };
                        check(json!(limit), None);
                        check(json!(limit + past), wrong);
                    }
                    check(json!("much"), wrong);
                }
                Form::Flag => {
                    check(json!("maybe"), wrong);
                    if field.name != "recache" || described.name == "event_prompt" {
                        check(json!(true), None);
                    }
                }
                Form::OneOf(words) if field.name != "kind" && field.name != "type" => {
                    words.iter().for_each(|word| check(json!(word), None));
                    check(json!("png"), wrong);
                }
                Form::OneOf(_) => check(json!("png"), wrong),
                Form::Text { bytes_max: Some(most) } => {
                    check(json!("x".repeat(*most)), None);
                    check(json!("x".repeat(most + 1)), wrong);
                }
                Form::Text { bytes_max: None } | Form::Schema(_) => {}
            }
        }
    }
}

/// Words of the sources of this module's neighbours, without their tests. Crude, as a rule is that needs no parser.
fn words_before<'a>(source: &'a str, marks: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().map(str::trim).filter(move |line| marks.iter().any(|mark| line.contains(mark)));
    lines.filter_map(|line| line.strip_prefix('"')?.split('"').next())
}

#[test]
fn every_kind_of_event_and_every_feature_is_in_the_document() {
    let kinds: BTreeSet<String> = incoming::all()
        .iter()
        .flat_map(|described| described.fields.clone())
        .filter_map(|field| match field.form {
            Form::OneOf(words) if field.name == "kind" => Some(words.iter().map(|word| (*word).to_owned())),
            _ => None,
        })
        .flatten()
        .collect();
    let sources =
        [include_str!("../wire/event.rs"), include_str!("../wire/control.rs"), include_str!("../wire/sharing.rs")];
    let in_code: BTreeSet<&str> = sources.into_iter().flat_map(|source| words_before(source, &["=>"])).collect();
    assert!(in_code.len() >= 5, "this test no longer reads the sources: {in_code:?}");
    for kind in in_code {
        assert!(kinds.contains(kind), "the kind {kind:?} of event.rs is not in the document");
    }
    let in_code: BTreeSet<&str> =
        words_before(include_str!("../wire/features.rs"), &["= true", "= Offer::Open"]).collect();
    assert_eq!(in_code, incoming::FEATURES.iter().copied().collect(), "left: features.rs; right: the document");
    assert_eq!(features().names().len(), incoming::FEATURES.len());
}

#[test]
fn every_message_of_the_server_is_in_the_document_with_all_its_fields() {
    let messages = outgoing::messages();
    assert!(messages.iter().all(|message| message.examples.len() == 1 && !message.summary.is_empty()));
    // A door of a cluster says hello to a node, as a client does.
    let to_nodes = incoming::messages().into_iter().map(|message| message.name);
    let names: BTreeSet<&str> = messages.iter().map(|message| message.name).chain(to_nodes).collect();
    for (source, file) in [
        (include_str!("../wire/acks.rs"), "acks.rs"),
        (include_str!("../wire/error.rs"), "error.rs"),
        (include_str!("../wire/frames.rs"), "frames.rs"),
        (include_str!("../wire/grant.rs"), "grant.rs"),
        (include_str!("../wire/hello.rs"), "hello.rs"),
        (include_str!("../wire/queue.rs"), "queue.rs"),
        (include_str!("../wire/receipts.rs"), "receipts.rs"),
        (include_str!("../wire/timeline.rs"), "timeline.rs"),
        (include_str!("../wire/watch.rs"), "watch.rs"),
    ] {
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        let tagged =
            code.match_indices("rename = \"").filter_map(|(at, mark)| code[at + mark.len()..].split('"').next());
        for name in tagged {
            assert!(names.contains(name), "{name:?} of {file} is not in the document");
        }
    }
}

#[test]
fn the_document_is_whole() {
    let document = document();
    let messages = document["components"]["messages"].as_object().expect("messages");
    for (name, message) in messages {
        assert!(message["payload"]["properties"]["type"].is_object(), "{name} says no type");
        for (field, schema) in message["payload"]["properties"].as_object().expect("properties") {
            assert!(schema["description"].as_str().is_some_and(|about| about.len() > 5), "{name}.{field}");
        }
    }
    let references = |operation: &str| document["operations"][operation]["messages"].as_array().map_or(0, Vec::len);
    assert_eq!(references("say") + references("hear"), messages.len());
    assert_eq!(messages["chunk_stats"]["payload"]["properties"]["event_id"]["type"], json!(["integer", "null"]));
    assert_eq!(messages["frame_batch"]["payload"]["properties"]["payload"]["contentEncoding"], "base64");
}
