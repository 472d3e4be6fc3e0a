//! The fields of a request, taken one by one under their types. What is left at the end nobody knows.
//!
//! Clients write numbers as text and texts as numbers: both are read where nothing is lost. `null` was removed before; empty
//! text is absent for numbers, Booleans and lists.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::Transport;
use super::invalid::{Invalid, Kind, quoted};

/// The fields that were not taken yet.
#[derive(Debug)]
pub struct Fields {
    transport: Transport,
    left: Map<String, Value>,
}

impl Fields {
    /// `left` are merged fields: none is `null`, and none is a container.
    pub fn new(transport: Transport, left: Map<String, Value>) -> Fields {
        Fields { transport, left }
    }

    /// A value as it came.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name)
    }

    /// A value as it came, left where it is.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.left.get(name)
    }

    /// Names that nobody took.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.left.keys().map(String::as_str)
    }

    /// A value of a wrong type: 400 in JSON, 422 in a form, as by the references.
    pub fn wrong_type(&self, name: &'static str, why: impl std::fmt::Display) -> Invalid {
        match self.transport {
            Transport::Json => Invalid::value(name, format!("Invalid request body: {name}: {why}")),
            Transport::Form => Invalid { kind: Kind::Validation, ..Invalid::value(name, format!("{name}: {why}")) },
        }
    }

    /// Text. A number or a Boolean is the text that it is written as: a form knows no types.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, Invalid> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(value) => Err(self.wrong_type(name, format_args!("must be text, not {}", kind(&value)))),
        }
    }

    /// A number: no NaN, no infinity.
    pub fn number(&mut self, name: &'static str) -> Result<Option<f64>, Invalid> {
        match self.take(name) {
            Some(value) if !is_blank(&value) => number(&value).map(Some).map_err(|why| self.wrong_type(name, why)),
            _ => Ok(None),
        }
    }

    /// A number in a range.
    pub fn number_in(&mut self, name: &'static str, range: RangeInclusive<f64>) -> Result<Option<f64>, Invalid> {
        let Some(number) = self.number(name)? else { return Ok(None) };
        if range.contains(&number) {
            return Ok(Some(number));
        }
        Err(Invalid::value(name, format!("{name} must be from {} to {}, not {number}", range.start(), range.end())))
    }

    /// A whole number: `8`, `8.0` and `"8"`, not `8.5`.
    pub fn integer(&mut self, name: &'static str) -> Result<Option<i128>, Invalid> {
        match self.take(name) {
            Some(value) if !is_blank(&value) => integer(&value).map(Some).map_err(|why| self.wrong_type(name, why)),
            _ => Ok(None),
        }
    }

    /// A whole number above zero, at most `most`.
    pub fn positive(&mut self, name: &'static str, most: u32) -> Result<Option<u32>, Invalid> {
        let Some(number) = self.integer(name)? else { return Ok(None) };
        if number <= 0 {
            return Err(Invalid::value(name, format!("{name} must be positive")));
        }
        match u32::try_from(number).ok().filter(|&number| number <= most) {
            Some(number) => Ok(Some(number)),
            None => Err(Invalid::value(name, format!("{name} must be at most {most}"))),
        }
    }

    /// A whole number in a range.
    pub fn integer_in(&mut self, name: &'static str, range: RangeInclusive<u32>) -> Result<Option<u32>, Invalid> {
        let Some(number) = self.integer(name)? else { return Ok(None) };
        match u32::try_from(number).ok().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let (least, most) = range.into_inner();
                Err(Invalid::value(name, format!("{name} must be from {least} to {most}")))
            }
        }
    }

    /// A Boolean: `true false 1 0`, and as text also `yes no on off`, in any case.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Invalid> {
        let Some(value) = self.take(name).filter(|value| !is_blank(value)) else { return Ok(None) };
        let word = match &value {
            Value::Bool(flag) => return Ok(Some(*flag)),
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.trim().to_ascii_lowercase(),
            Value::Null | Value::Array(_) | Value::Object(_) => kind(&value).to_owned(),
        };
        match word.as_str() {
            "true" | "1" | "1.0" | "yes" | "on" => Ok(Some(true)),
            "false" | "0" | "0.0" | "no" | "off" => Ok(Some(false)),
            _ => Err(Invalid::value(name, format!("{name} must be true or false, not {}", quoted(&word)))),
        }
    }
}

/// Empty text is absent where it can mean nothing.
pub fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// `Err` is a sentence without its subject.
pub fn number(value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        other => return Err(format!("must be a number, not {}", kind(other))),
    };
    number.filter(|number: &f64| number.is_finite()).ok_or_else(|| "must be a number".to_owned())
}

/// `Err` is a sentence without its subject.
pub fn integer(value: &Value) -> Result<i128, String> {
    let exact = match value {
        Value::Number(number) => number.as_i128(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    if let Some(exact) = exact {
        return Ok(exact);
    }
    let number = number(value).map_err(|_| format!("must be a whole number{}", but(value)))?;
    // Past these every range ends long before.
    if number.fract() == 0.0 { Ok(number as i128) } else { Err(format!("must be a whole number, not {number}")) }
}

fn but(value: &Value) -> String {
    match value {
        Value::String(text) => format!(", not {:?}", quoted(text)),
        other => format!(", not {}", kind(other)),
    }
}

/// The name of a value's type, for a message.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a Boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(transport: Transport, value: Value) -> Fields {
        Fields::new(transport, Map::from_iter([("field".to_owned(), value)]))
    }

    #[test]
    fn a_whole_number_is_written_in_many_ways() {
        let check = |value: Value, expected: Option<i128>| {
            let read = fields(Transport::Json, value.clone()).integer("field");
            assert_eq!(read.ok().flatten(), expected, "{value}");
        };
        for eight in [json!(8), json!(8.0), json!("8"), json!(" 8 "), json!("8.0"), json!("+8")] {
            check(eight, Some(8));
        }
        check(json!(u64::MAX), Some(u64::MAX.into()));
        check(json!("18446744073709551615"), Some(u64::MAX.into()));
        check(json!(-3), Some(-3));
        for bad in
            [json!(8.5), json!("lots"), json!([8]), json!({}), json!(true), json!("NaN"), json!("inf"), json!("8 8")]
        {
            check(bad, None);
        }
        check(json!(""), None);
        assert_eq!(fields(Transport::Json, json!("")).integer("field"), Ok(None), "empty text is absent");
    }

    #[test]
    fn a_wrong_type_is_answered_by_how_it_came() {
        let wrong = |transport| fields(transport, json!("lots")).integer("field").expect_err("no number");
        assert_eq!(wrong(Transport::Json).kind, Kind::Value);
        assert!(wrong(Transport::Json).message.starts_with("Invalid request body: field: "));
        assert_eq!(wrong(Transport::Form).kind, Kind::Validation);
    }

    #[test]
    fn a_boolean_is_written_in_many_ways() {
        let check = |value: Value, expected: Result<Option<bool>, ()>| {
            assert_eq!(fields(Transport::Form, value.clone()).flag("field").map_err(drop), expected, "{value}");
        };
        for yes in [json!(true), json!(1), json!(1.0), json!("1"), json!("TRUE"), json!(" yes "), json!("On")] {
            check(yes, Ok(Some(true)));
        }
        for no in [json!(false), json!(0), json!("0"), json!("False"), json!("no"), json!("OFF")] {
            check(no, Ok(Some(false)));
        }
        check(json!(""), Ok(None));
        for bad in [json!("maybe"), json!(2), json!([]), json!({}), json!("null")] {
            check(bad, Err(()));
        }
    }

    #[test]
    fn numbers_are_finite_and_in_their_range() {
        let check = |value: Value, fits: bool| {
            assert_eq!(fields(Transport::Json, value.clone()).number_in("field", 0.1..=100.0).is_ok(), fits, "{value}");
        };
        [json!(0.1), json!("100"), json!("1e1")].into_iter().for_each(|value| check(value, true));
        for bad in [json!(0), json!(100.1), json!("NaN"), json!("inf"), json!("1e999"), json!("x"), json!([])] {
            check(bad, false);
        }
    }
}
