//! One JSON object, read key by key: a value that cannot be used is an error that says which key, what it was, and what is
//! allowed. Bounds stand at every key, so that no arithmetic on sizes can overflow later.

use std::fmt::{Debug, Display};
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::LoadError;
use super::file::File;

/// No network of these families comes near; and the product of any four of these fits 64 bits.
pub(crate) const WIDTH_MAX: usize = 1 << 15;
pub(crate) const HEADS_MAX: usize = 512;
pub(crate) const LAYERS_MAX: usize = 512;

/// A JSON object and where it came from.
pub(crate) struct Object {
    file: String,
    /// `camera.`, say: where in the file this object stands.
    prefix: &'static str,
    map: Map<String, Value>,
}

impl Object {
    pub(crate) fn of(file: &File) -> Result<Object, LoadError> {
        Object::new(file.name(), file.json()?)
    }

    pub(crate) fn new(file: &str, value: Value) -> Result<Object, LoadError> {
        match value {
            Value::Object(map) => Ok(Object { file: file.to_owned(), prefix: "", map }),
            other => Err(LoadError::file(file, format!("must hold a JSON object; it holds {other}"))),
        }
    }

    /// The error for what stands at `key`.
    pub(crate) fn wrong(&self, key: &str, allowed: impl Display) -> LoadError {
        let value = match self.map.get(key) {
            None => "missing".to_owned(),
            Some(value) => value.to_string(),
        };
        self.refuse(key, value, allowed)
    }

    /// The error for a value that followed from several keys.
    pub(crate) fn refuse(&self, key: &str, value: impl Display, allowed: impl Display) -> LoadError {
        LoadError::Config {
            file: self.file.clone(),
            key: format!("{}{key}", self.prefix),
            value: value.to_string(),
            allowed: allowed.to_string(),
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Does `key` hold a list?
    pub(crate) fn is_list(&self, key: &str) -> bool {
        self.get(key).is_some_and(Value::is_array)
    }

    /// The value at `key`. `null` is as good as nothing.
    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Without a `default` the key must be there.
    fn read<T: PartialOrd + Debug>(
        &self,
        key: &str,
        range: RangeInclusive<T>,
        default: Option<T>,
        parse: impl Fn(&Value) -> Option<T>,
        what: &str,
    ) -> Result<T, LoadError> {
        match (self.get(key), default) {
            (None, Some(default)) => Ok(default),
            (value, _) => value
                .and_then(parse)
                .filter(|value| range.contains(value))
                .ok_or_else(|| self.wrong(key, format!("{what} from {:?} to {:?}", range.start(), range.end()))),
        }
    }

    pub(crate) fn count(
        &self,
        key: &str,
        range: RangeInclusive<usize>,
        default: Option<usize>,
    ) -> Result<usize, LoadError> {
        self.read(key, range, default, as_count, "a whole number")
    }

    pub(crate) fn number(&self, key: &str, range: RangeInclusive<f64>, default: Option<f64>) -> Result<f64, LoadError> {
        self.read(key, range, default, Value::as_f64, "a number")
    }

    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool, LoadError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "true or false")),
        }
    }

    /// A list of whole numbers, as long as `lengths` allows.
    pub(crate) fn counts(
        &self,
        key: &str,
        lengths: RangeInclusive<usize>,
        range: RangeInclusive<usize>,
    ) -> Result<Option<Vec<usize>>, LoadError> {
        let what = format!("whole numbers from {} to {}", range.start(), range.end());
        self.list(key, lengths, &what, |value| as_count(value).filter(|count| range.contains(count)))
    }

    /// A list of what `parse` takes, as long as `lengths` allows.
    pub(crate) fn list<T>(
        &self,
        key: &str,
        lengths: RangeInclusive<usize>,
        what: &str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, LoadError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let items = value.as_array().filter(|items| lengths.contains(&items.len()));
        let items = items.and_then(|items| items.iter().map(parse).collect::<Option<Vec<T>>>());
        let length = match lengths.into_inner() {
            (least, most) if least == most => format!("{least}"),
            (least, most) => format!("{least} to {most}"),
        };
        items.map(Some).ok_or_else(|| self.wrong(key, format!("a list of {length} {what}")))
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)], default: T) -> Result<T, LoadError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let chosen = choices.iter().find(|(word, _)| value.as_str() == Some(word));
        chosen.map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.wrong(key, words.join(" or "))
        })
    }

    /// What a key says where it is there must be one of `allowed`: other networks exist, and this is not one of them.
    pub(crate) fn only(&self, key: &str, allowed: &[Value]) -> Result<(), LoadError> {
        match self.get(key) {
            Some(value) if !allowed.contains(value) => {
                let words: Vec<_> = allowed.iter().map(Value::to_string).collect();
                Err(self.wrong(key, if words.is_empty() { "null or absent".to_owned() } else { words.join(" or ") }))
            }
            _ => Ok(()),
        }
    }

    /// No keys but these.
    pub(crate) fn known(&self, keys: &[&str]) -> Result<(), LoadError> {
        match self.map.keys().find(|key| !keys.contains(&key.as_str())) {
            Some(key) => Err(LoadError::file(
                &self.file,
                format!("unknown key {}{key}; known are {}", self.prefix, keys.join(", ")),
            )),
            None => Ok(()),
        }
    }

    /// The object at `key`; an empty one where there is none.
    pub(crate) fn object(&self, key: &str, prefix: &'static str) -> Result<Object, LoadError> {
        let map = match self.get(key) {
            None => Map::new(),
            Some(Value::Object(map)) => map.clone(),
            Some(_) => return Err(self.wrong(key, "an object")),
        };
        Ok(Object { file: self.file.clone(), prefix, map })
    }
}

/// A whole number, also where Python wrote it as `3.0`.
fn as_count(value: &Value) -> Option<usize> {
    let whole = |number: &f64| number.fract() == 0.0 && (0.0..=9e15).contains(number);
    let count = value.as_u64().or_else(|| value.as_f64().filter(whole).map(|number| number as u64));
    count.and_then(|count| usize::try_from(count).ok())
}
