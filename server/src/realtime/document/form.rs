//! A message as the document has it, and the form of a field that a client may send.

use pipeline::world::PROMPT_BYTES_MAX;
use serde_json::{Map, Value, json};

/// One type of message, in one direction.
pub(super) struct Message {
    /// Its name in the document.
    pub(super) name: &'static str,
    /// What it is for, in a sentence.
    pub(super) summary: String,
    /// JSON schema of the map. Bytes stand as text.
    pub(super) payload: Value,
    pub(super) examples: Vec<Value>,
}

/// What a field may hold.
#[derive(Debug, Clone)]
pub(super) enum Form {
    Text {
        bytes_max: Option<usize>,
    },
    Integer {
        least: i128,
        most: i128,
    },
    /// Finite.
    Number {
        least: Option<f64>,
        most: Option<f64>,
    },
    Flag,
    OneOf(&'static [&'static str]),
    /// As this schema says; what its parts may hold is tested with the examples alone.
    Schema(Value),
}

impl Form {
    fn schema(&self) -> Value {
        match self {
            // Characters, where the limit counts bytes: no text that the schema refuses is allowed.
            Form::Text { bytes_max: Some(most) } => json!({ "type": "string", "maxLength": most }),
            Form::Text { bytes_max: None } => json!({ "type": "string" }),
            Form::Integer { least, most } => {
                let exact =
                    |number: i128| i64::try_from(number).map(Value::from).or(u64::try_from(number).map(Value::from));
                json!({ "type": "integer", "minimum": exact(*least).ok(), "maximum": exact(*most).ok() })
            }
            Form::Number { least, most } => {
                let mut schema = Map::from_iter([("type".to_owned(), Value::from("number"))]);
                schema.extend(least.map(|least| ("minimum".to_owned(), least.into())));
                schema.extend(most.map(|most| ("maximum".to_owned(), most.into())));
                Value::Object(schema)
            }
            Form::Flag => json!({ "type": "boolean" }),
            Form::OneOf(words) => json!({ "type": "string", "enum": words }),
            Form::Schema(schema) => schema.clone(),
        }
    }
}

/// A field that a client may send.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) form: Form,
    about: &'static str,
    required: bool,
}

/// A field that may be left out.
pub(super) fn may(name: &'static str, form: Form, about: &'static str) -> Field {
    Field { name, form, about, required: false }
}

/// A field that must be there.
pub(super) fn must(name: &'static str, form: Form, about: &'static str) -> Field {
    Field { name, form, about, required: true }
}

/// A message that a client may send.
pub(super) struct Incoming {
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    pub(super) fields: Vec<Field>,
    /// What must be in `protocol_features` for it.
    pub(super) feature: Option<&'static str>,
    pub(super) examples: Vec<Value>,
}

impl Incoming {
    pub(super) fn message(&self) -> Message {
        let properties: Map<String, Value> = self
            .fields
            .iter()
            .map(|field| {
                let mut schema = field.form.schema();
                schema["description"] = field.about.into();
                (field.name.to_owned(), schema)
            })
            .collect();
        let required: Vec<&str> = self.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
        let summary = match self.feature {
            Some(feature) => format!("{} For a client that named the feature {feature}.", self.summary),
            None => self.summary.to_owned(),
        };
        Message {
            name: self.name,
            summary,
            payload: json!({ "type": "object", "properties": properties, "required": required }),
            examples: self.examples.clone(),
        }
    }
}

/// Names of qualities.
pub(super) const QUALITIES: &[&str] = &["maximum", "high", "medium", "low", "default"];

pub(super) const TEXT: Form = Form::Text { bytes_max: None };
pub(super) const PROMPT: Form = Form::Text { bytes_max: Some(PROMPT_BYTES_MAX) };

pub(super) fn word(only: &'static [&'static str], about: &'static str) -> Field {
    must("type", Form::OneOf(only), about)
}

pub(super) const fn integer(least: i128, most: i128) -> Form {
    Form::Integer { least, most }
}
