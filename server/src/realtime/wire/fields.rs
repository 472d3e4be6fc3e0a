//! MessagePack from a client, read as leniently as the reference reads it: 25.0 and "25" are integers, bytes that hold
//! UTF-8 are text. What it must never do is believe a length: 5 bytes can claim four thousand million values.

use pipeline::world::Refusal;
use rmpv::Value;

/// Values in one message, however nested. A script of 4096 items of eight keys is 37 000.
pub const VALUES_MAX: usize = 65_536;

/// Lists and maps around one value. Nothing that means something has more than six.
pub const DEPTH_MAX: usize = 16;

pub(crate) fn refuse(field: &'static str, reason: impl Into<String>) -> Refusal {
    Refusal { field, reason: reason.into() }
}

/// One map that a client sent.
pub(crate) struct Fields(Vec<(Value, Value)>);

impl Fields {
    /// A whole message. `Err` is not about a field of it: that is named `message`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Fields, Refusal> {
        let length = measure(bytes).map_err(|reason| refuse("message", reason))?;
        if length < bytes.len() {
            return Err(refuse("message", format!("{} bytes follow the MessagePack value", bytes.len() - length)));
        }
        // The decoder has a bound on its depth too, but counts steps of its own in it: a list is two of them, text three.
        let value = rmpv::decode::read_value(&mut &bytes[..])
            .map_err(|error| refuse("message", format!("not MessagePack: {error}")))?;
        Fields::from_value("message", value)
    }

    pub(crate) fn from_value(field: &'static str, value: Value) -> Result<Fields, Refusal> {
        match value {
            Value::Map(pairs) => Ok(Fields(pairs)),
            other => Err(refuse(field, format!("must be a map, not {}", kind(&other)))),
        }
    }

    /// The value under `key`; a nil counts as absent.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        // The last of two equal keys wins, as in every dictionary.
        let at = self.0.iter().rposition(|(name, _)| name.as_str() == Some(key))?;
        let value = std::mem::replace(&mut self.0[at].1, Value::Nil);
        (!value.is_nil()).then_some(value)
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Result<Option<String>, Refusal> {
        self.take(key).map(|value| text(key, value)).transpose()
    }

    pub(crate) fn integer(&mut self, key: &'static str) -> Result<Option<i64>, Refusal> {
        self.take(key).map(|value| integer(key, &value)).transpose()
    }

    /// An integer in `range`.
    pub(crate) fn integer_in(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<Option<i64>, Refusal> {
        let Some(number) = self.integer(key)? else { return Ok(None) };
        if range.contains(&number) {
            return Ok(Some(number));
        }
        let allowed = match (*range.start(), *range.end()) {
            (low, i64::MAX) => format!("at least {low}"),
            (low, high) => format!("{low} to {high}"),
        };
        Err(refuse(key, format!("{number} is not allowed: it must be {allowed}")))
    }

    pub(crate) fn number(&mut self, key: &'static str) -> Result<Option<f64>, Refusal> {
        self.take(key).map(|value| number(key, &value)).transpose()
    }

    pub(crate) fn flag(&mut self, key: &'static str) -> Result<bool, Refusal> {
        let Some(value) = self.take(key) else { return Ok(false) };
        let word = match &value {
            Value::Boolean(flag) => return Ok(*flag),
            Value::String(text) => text.as_str().unwrap_or_default().to_ascii_lowercase(),
            other => integer(key, other).map(|number| number.to_string()).unwrap_or_default(),
        };
        match word.as_str() {
            "1" | "true" | "t" | "yes" | "y" | "on" => Ok(true),
            "0" | "false" | "f" | "no" | "n" | "off" => Ok(false),
            _ => Err(refuse(key, format!("must be true or false, not {}", kind(&value)))),
        }
    }
}

pub(crate) fn text(field: &'static str, value: Value) -> Result<String, Refusal> {
    let text = match value {
        Value::String(text) => text.into_str(),
        Value::Binary(bytes) => String::from_utf8(bytes).ok(),
        other => return Err(refuse(field, format!("must be text, not {}", kind(&other)))),
    };
    text.ok_or_else(|| refuse(field, "is not UTF-8"))
}

pub(crate) fn list(field: &'static str, value: Value) -> Result<Vec<Value>, Refusal> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(refuse(field, format!("must be a list, not {}", kind(&other)))),
    }
}

pub(crate) fn number(field: &'static str, value: &Value) -> Result<f64, Refusal> {
    let number = match value {
        Value::Integer(number) => number.as_f64(),
        Value::F32(number) => Some(f64::from(*number)),
        Value::F64(number) => Some(*number),
        Value::Boolean(flag) => Some(f64::from(u8::from(*flag))),
        Value::String(text) => text.as_str().and_then(|text| text.trim().parse().ok()),
        _ => None,
    };
    let number = number.ok_or_else(|| refuse(field, format!("must be a number, not {}", kind(value))))?;
    if number.is_finite() { Ok(number) } else { Err(refuse(field, format!("must be finite, not {number}"))) }
}

pub(crate) fn integer(field: &'static str, value: &Value) -> Result<i64, Refusal> {
    if let Some(number) = value.as_i64() {
        return Ok(number);
    }
    if let Some(number) = value.as_str().and_then(|text| text.trim().parse().ok()) {
        return Ok(number);
    }
    let number = number(field, value)?;
    // Past 2^53 a float no longer says which integer it means.
    if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 {
        Ok(number as i64)
    } else {
        Err(refuse(field, format!("must be an integer, not {number}")))
    }
}

/// What a value is, in a word for an error.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "a boolean",
        Value::Integer(_) | Value::F32(_) | Value::F64(_) => "a number",
        Value::String(_) => "text",
        Value::Binary(_) => "bytes",
        Value::Array(_) => "a list",
        Value::Map(_) => "a map",
        Value::Ext(..) => "an extension",
    }
}

/// Bytes that the first value of `bytes` takes. Walks over it before anything is allocated for it: a list of 30 million
/// nils is 30 MB on the wire and a gigabyte once decoded.
fn measure(bytes: &[u8]) -> Result<usize, String> {
    let cut_off = || "the MessagePack value is cut off".to_owned();
    let big_endian = |at: usize, width: usize| -> Result<usize, String> {
        let digits = bytes.get(at..at + width).ok_or_else(cut_off)?;
        Ok(digits.iter().fold(0, |number, &digit| number << 8 | usize::from(digit)))
    };
    let (mut at, mut left, mut seen) = (0, 1, 0);
    // Values that are still to come: of the message, and of each list and map around the next value.
    let (mut around, mut depth) = ([0; DEPTH_MAX + 1], 0);
    around[0] = 1;
    while left > 0 {
        while around[depth] == 0 {
            depth -= 1;
        }
        around[depth] -= 1;
        let marker = *bytes.get(at).ok_or_else(cut_off)?;
        at += 1;
        // Bytes of a length that follows, bytes of content besides, values inside.
        let low = |mask: u8| usize::from(marker & mask);
        let (skip, inside) = match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0),
            0x80..=0x8f => (0, 2 * low(0x0f)),
            0x90..=0x9f => (0, low(0x0f)),
            0xa0..=0xbf => (low(0x1f), 0),
            0xc4 | 0xd9 => (1 + big_endian(at, 1)?, 0),
            0xc5 | 0xda => (2 + big_endian(at, 2)?, 0),
            0xc6 | 0xdb => (4 + big_endian(at, 4)?, 0),
            0xc7 => (2 + big_endian(at, 1)?, 0),
            0xc8 => (3 + big_endian(at, 2)?, 0),
            0xc9 => (5 + big_endian(at, 4)?, 0),
            0xcc | 0xd0 => (1, 0),
            0xcd | 0xd1 => (2, 0),
            0xca | 0xce | 0xd2 => (4, 0),
            0xcb | 0xcf | 0xd3 => (8, 0),
            0xd4..=0xd8 => (1 + (1 << (marker - 0xd4)), 0),
            0xdc => (2, big_endian(at, 2)?),
            0xdd => (4, big_endian(at, 4)?),
            0xde => (2, 2 * big_endian(at, 2)?),
            0xdf => (4, 2 * big_endian(at, 4)?),
            0xc1 => return Err("not MessagePack: the byte c1 means nothing".to_owned()),
        };
        at += skip;
        left = left - 1 + inside;
        seen += 1;
        if seen + left > VALUES_MAX {
            return Err(format!("holds more than {VALUES_MAX} values"));
        }
        if inside > 0 {
            depth += 1;
            *around.get_mut(depth).ok_or_else(|| format!("nests deeper than {DEPTH_MAX} lists and maps"))? = inside;
        }
    }
    if at > bytes.len() { Err(cut_off()) } else { Ok(at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, value).expect("a Vec takes everything");
        bytes
    }

    #[test]
    fn a_message_is_exactly_one_map() {
        let check = |bytes: &[u8], expected: &str| {
            let refusal = Fields::decode(bytes).err().expect("refused");
            assert_eq!(refusal.field, "message");
            assert!(refusal.reason.contains(expected), "{bytes:02x?}: {refusal}");
        };
        assert!(Fields::decode(&[0x80]).is_ok());
        check(&[], "cut off");
        check(&[0x81, 0xa1], "cut off");
        check(&[0x80, 0x00], "1 bytes follow");
        check(&[0xc0], "must be a map, not nil");
        check(&[0x07], "a number");
        check(&[0x90], "a list");
        check(&[0xc1], "c1");
        check(b"not msgpack", "follow");
    }

    #[test]
    fn a_claimed_length_is_not_believed() {
        for claim in [&[0xdd, 0xff, 0xff, 0xff, 0xff][..], &[0xdf, 0xff, 0xff, 0xff, 0xff], &[0xdc, 0xff, 0xff, 0x90]] {
            assert!(Fields::decode(claim).is_err());
        }
        assert!(Fields::decode(&[0xc6, 0xff, 0xff, 0xff, 0xff]).is_err());
        let refusal = Fields::decode(&[0x91; 10_000]).err().expect("refused");
        assert!(refusal.reason.contains("deeper than 16"), "{refusal}");
        let nils = [&[0xdd, 0, 1, 0, 1][..], &[0xc0; 65_537]].concat();
        let refusal = Fields::decode(&nils).err().expect("refused");
        assert!(refusal.reason.contains("more than 65536 values"), "{refusal}");
    }

    #[test]
    fn every_value_measures_what_it_encodes_to() {
        let long = "x".repeat(70_000);
        let values = [
            Value::Nil,
            Value::from(true),
            Value::from(-1),
            Value::from(-200),
            Value::from(-70_000),
            Value::from(i64::MIN),
            Value::from(200),
            Value::from(300),
            Value::from(70_000),
            Value::from(u64::MAX),
            Value::F32(1.5),
            Value::F64(1.5),
            Value::from("short"),
            Value::from(&long[..40]),
            Value::from(&long[..300]),
            Value::from(long.as_str()),
            Value::Binary(vec![0; 3]),
            Value::Binary(vec![0; 300]),
            Value::Binary(vec![0; 70_000]),
            Value::Ext(1, vec![0; 1]),
            Value::Ext(1, vec![0; 16]),
            Value::Ext(1, vec![0; 17]),
            Value::Ext(1, vec![0; 300]),
            Value::Ext(1, vec![0; 70_000]),
            Value::Array(vec![Value::Nil; 20]),
            Value::Map(vec![(Value::from("k"), Value::from(1)); 20]),
        ];
        for value in values.iter().chain([&Value::Array(values.to_vec())]) {
            let bytes = bytes(value);
            assert_eq!(measure(&bytes), Ok(bytes.len()), "{value}");
            assert!(measure(&bytes[..bytes.len() - 1]).is_err());
        }
    }

    #[test]
    fn integers_may_come_as_whole_floats_or_text_or_booleans() {
        let check = |value: Value, expected: Option<i64>| assert_eq!(integer("n", &value).ok(), expected, "{value}");
        check(Value::from(25), Some(25));
        check(Value::F64(25.0), Some(25));
        check(Value::F32(-3.0), Some(-3));
        check(Value::F64(65536.0), Some(65536));
        check(Value::from("25"), Some(25));
        check(Value::from(" 7 "), Some(7));
        check(Value::from("25.0"), Some(25));
        check(Value::from(true), Some(1));
        for bad in [
            Value::F64(25.5),
            Value::F64(f64::NAN),
            Value::F64(1e300),
            Value::from("seven"),
            Value::from(""),
            Value::from(u64::MAX),
            Value::Array(vec![]),
            Value::Nil,
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn flags_and_text_are_lenient_too() {
        let flag = |value: Value| Fields(vec![(Value::from("f"), value)]).flag("f").ok();
        assert_eq!(flag(Value::Nil), Some(false));
        assert_eq!(flag(Value::from("True")), Some(true));
        assert_eq!(flag(Value::F64(1.0)), Some(true));
        assert_eq!(flag(Value::from(2)), None);
        assert_eq!(flag(Value::from("maybe")), None);
        assert_eq!(text("t", Value::Binary(b"ok".to_vec())).as_deref(), Ok("ok"));
        assert!(text("t", Value::Binary(vec![0xff])).is_err());
        assert!(text("t", Value::from(1)).is_err());
    }
}
