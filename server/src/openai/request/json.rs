//! JSON within bounds: a request's values are counted before any memory is taken for them.
//!
//! A list of 30 million nulls is 120 MB in a body and a gigabyte once read. The bound is for the whole request, whose
//! fields and containers may each be text that holds JSON.

use serde_json::{Map, Value};

use super::invalid::Invalid;

/// Values in a request, as in a message of the socket.
pub const VALUES_MAX: usize = 65_536;

/// Lists and objects inside each other, as in a message of the socket.
pub const DEPTH_MAX: usize = 16;

/// The values that a request may still hold.
#[derive(Debug)]
pub struct Budget {
    values_left: usize,
}

/// Why text gives no value.
#[derive(Debug, PartialEq, Eq)]
pub enum BadJson {
    /// It is not JSON.
    NotJson,
    /// It is JSON, and holds more than may be; a sentence without its subject.
    TooMuch(String),
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { values_left: VALUES_MAX }
    }
}

impl Budget {
    /// The value that `text` is. Costs as many values as it holds.
    pub fn value(&mut self, text: &[u8]) -> Result<Value, BadJson> {
        let values = count(text)?;
        if values > self.values_left {
            return Err(BadJson::TooMuch(format!("holds more than {VALUES_MAX} values")));
        }
        let value = serde_json::from_slice(text).map_err(|_| BadJson::NotJson)?;
        self.values_left -= values;
        Ok(value)
    }

    /// The object that a body is.
    pub fn object(&mut self, body: &[u8]) -> Result<Map<String, Value>, Invalid> {
        match self.value(body) {
            Ok(Value::Object(fields)) => Ok(fields),
            Ok(_) => Err(Invalid::json(None, "Invalid request body: it must be a JSON object")),
            Err(BadJson::NotJson) => Err(Invalid::json(None, "Invalid request body: it is not valid JSON")),
            Err(BadJson::TooMuch(why)) => Err(Invalid::json(None, format!("Invalid request body: it {why}"))),
        }
    }
}

/// Values that the text holds if it is JSON, or more: names count, too. Nothing is allocated for it.
fn count(text: &[u8]) -> Result<usize, BadJson> {
    let (mut values, mut depth, mut in_string, mut escaped) = (1_usize, 0_usize, false, false);
    for &byte in text {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                values += 1;
                if depth > DEPTH_MAX {
                    return Err(BadJson::TooMuch(format!("nests deeper than {DEPTH_MAX} lists and objects")));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_holds_so_many_values_in_all() {
        let list = |values: usize| format!("[{}]", vec!["0"; values].join(","));
        let mut budget = Budget::default();
        assert!(budget.value(list(VALUES_MAX / 2 - 1).as_bytes()).is_ok());
        assert!(budget.value(list(VALUES_MAX / 2 - 1).as_bytes()).is_ok());
        assert!(matches!(budget.value(b"[]"), Err(BadJson::TooMuch(_))), "all of it is used up");
        assert!(matches!(Budget::default().value(list(VALUES_MAX).as_bytes()), Err(BadJson::TooMuch(_))));
    }

    #[test]
    fn lists_nest_sixteen_deep() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Budget::default().value(nested(DEPTH_MAX).as_bytes()).is_ok());
        for depth in [DEPTH_MAX + 1, 100_000] {
            assert!(matches!(Budget::default().value(nested(depth).as_bytes()), Err(BadJson::TooMuch(_))));
        }
        assert!(Budget::default().value(format!("{:?}", "[{,".repeat(50_000)).as_bytes()).is_ok(), "text is one value");
    }

    #[test]
    fn a_body_is_an_object() {
        for body in ["{oops", "", "[]", "\"\"", "1", "nul", "{\"a\":1}x", "\u{feff}{}"] {
            assert!(Budget::default().object(body.as_bytes()).is_err(), "{body}");
        }
        assert_eq!(Budget::default().object(b" {\"a\": null} ").map(|fields| fields.len()), Ok(1));
        assert!(Budget::default().object(b"{\"a\":\"\xff\"}").is_err(), "not UTF-8");
    }
}
