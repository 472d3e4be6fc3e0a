//! What a request for a clip or a picture asks for: from its bytes to what the engine is told, and the book of jobs. Sans-IO.

pub mod ask;
pub mod containers;
pub mod fields;
pub mod form;
pub mod invalid;
pub mod job;
pub mod jobs;
pub mod json;
pub mod reading;
pub mod refuse;
pub mod resolve;
pub mod script;
pub mod values;

use bytes::Bytes;

use self::form::FilePart;
use self::invalid::Invalid;
use serde_json::{Map, Value};

/// How a request came. A wrong type in a form is answered otherwise than one in JSON, as by the references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A JSON object.
    Json,
    /// `multipart/form-data`.
    Form,
}

/// A body, taken apart: fields by name with their containers merged, and files.
#[derive(Debug)]
pub struct Body {
    /// How it came.
    pub transport: Transport,
    /// Every field and extra that has a value.
    pub fields: Map<String, Value>,
    /// The parts of a form that are files.
    pub files: Vec<FilePart>,
}

impl Body {
    /// Read a body. It is a form if `content_type` says so, and JSON whatever else it says: clients forget the header.
    pub fn read(content_type: Option<&str>, body: &Bytes) -> Result<Body, Invalid> {
        let mut json = json::Budget::default();
        let is_form = content_type.is_some_and(|kind| {
            kind.trim_start().get(..19).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/form-data"))
        });
        let (transport, fields, files) = if is_form {
            let form = form::read(content_type.unwrap_or_default(), body, &mut json)?;
            (Transport::Form, form.fields, form.files)
        } else {
            (Transport::Json, json.object(body)?, Vec::new())
        };
        Ok(Body { transport, fields: containers::merge(fields, &mut json)?, files })
    }
}
