//! Why a request cannot be used: which field, what was wrong, and how it is to be answered.

use std::borrow::Cow;

/// A request that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// How it is answered.
    pub kind: Kind,
    /// The field, where there is one.
    pub field: Option<Cow<'static, str>>,
    /// A sentence for the client: the field, what was wrong and what is allowed.
    pub message: String,
}

/// How a mistake is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 400 `invalid_value`.
    Value,
    /// 400 `invalid_json`.
    Json,
    /// 400 `unsupported`: a mode that does not exist here.
    Unsupported,
    /// 400 `guardrails_unavailable`.
    Guardrails,
    /// 422 `validation_error`.
    Validation,
}

/// Bytes of a client's own words in a message.
const QUOTED_BYTES_MAX: usize = 256;

/// A client's own words, cut to what a message may hold of them.
pub fn quoted(words: &str) -> &str {
    &words[..words.floor_char_boundary(QUOTED_BYTES_MAX)]
}

impl Invalid {
    /// A value that cannot be used. `message` names the field.
    pub fn value(field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Invalid {
        Invalid { kind: Kind::Value, field: Some(field.into()), message: message.into() }
    }

    /// A mode that does not exist here.
    pub fn unsupported(field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Invalid {
        Invalid { kind: Kind::Unsupported, field: Some(field.into()), message: message.into() }
    }

    /// Text that is not JSON where JSON is needed.
    pub fn json(field: Option<Cow<'static, str>>, message: impl Into<String>) -> Invalid {
        Invalid { kind: Kind::Json, field, message: message.into() }
    }

    /// A mistake in the request's form, which is answered with 422.
    pub fn validation(field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Invalid {
        Invalid { kind: Kind::Validation, field: Some(field.into()), message: message.into() }
    }
}
