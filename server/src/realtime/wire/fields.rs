//! MessagePack from a client, read as leniently as the reference reads it: 25.0 and "25" are integers, bytes that hold
//! UTF-8 are text. A length in a message is never trusted: 5 bytes can claim four thousand million values.

use std::ops::RangeInclusive;

use pipeline::world::{Held, PROMPT_BYTES_MAX, Refusal};
use rmpv::ValueRef;

/// Values in one message, however nested. A script of 4096 items of eight keys is 37 000.
pub(crate) const VALUES_MAX: usize = 65_536;

/// Most lists and maps around one value. Valid messages have at most six.
pub(crate) const DEPTH_MAX: usize = 16;

pub(crate) fn refuse(field: &'static str, reason: impl Into<String>) -> Refusal {
    Refusal { field, reason: reason.into() }
}

/// One map that a client sent. Its text and bytes are borrowed from the message: a picture of 30 MiB is not copied to
/// read the fields beside it.
pub(crate) struct Fields<'a>(Vec<(ValueRef<'a>, ValueRef<'a>)>);

impl<'a> Fields<'a> {
    /// A whole message. `Err` is not about a field of it: that is named `message`.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Fields<'a>, Refusal> {
        let length = measure(bytes).map_err(|reason| refuse("message", reason))?;
        if length < bytes.len() {
            return Err(refuse("message", format!("{} bytes follow the MessagePack value", bytes.len() - length)));
        }
        // The decoder has a bound on its depth too, but counts steps of its own in it: a list is two of them, text
        // three.
        let value = rmpv::decode::read_value_ref(&mut &bytes[..])
            .map_err(|error| refuse("message", format!("not MessagePack: {error}")))?;
        Fields::from_value("message", value)
    }

    /// The map that stands under `field`.
    pub(crate) fn from_value(field: &'static str, value: ValueRef<'a>) -> Result<Fields<'a>, Refusal> {
        match value {
            ValueRef::Map(pairs) => Ok(Fields(pairs)),
            other => Err(refuse(field, format!("must be a map, not {}", kind(&other)))),
        }
    }

    /// The value under `key`; a nil counts as absent.
    pub(crate) fn take(&mut self, key: &str) -> Option<ValueRef<'a>> {
        #[cfg(test)]
        asked_for::note(key);
        // The last of two equal keys wins, as in a Python dict.
        let at = self.0.iter().rposition(|(name, _)| as_str(name) == Some(key))?;
        let value = std::mem::replace(&mut self.0[at].1, ValueRef::Nil);
        (!matches!(value, ValueRef::Nil)).then_some(value)
    }

    /// The name of a field that was not taken, if there is one; in the case of a name that is no text, a word for it.
    pub(crate) fn left(&self) -> Option<&'a str> {
        let left = self.0.iter().find(|(_, value)| !matches!(value, ValueRef::Nil));
        left.map(|(name, _)| as_str(name).unwrap_or("a name that is no text"))
    }

    /// Whether there is a value under `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        let found = self.0.iter().rfind(|(name, _)| as_str(name) == Some(key));
        found.is_some_and(|(_, value)| !matches!(value, ValueRef::Nil))
    }

    /// Text, as a string or as bytes that hold UTF-8.
    pub(crate) fn text(&mut self, key: &'static str) -> Result<Option<&'a str>, Refusal> {
        self.take(key).map(|value| text(key, &value)).transpose()
    }

    /// Whatever its size: a field that has a range says so.
    pub(crate) fn integer(&mut self, key: &'static str) -> Result<Option<i128>, Refusal> {
        self.take(key).map(|value| integer(key, &value)).transpose()
    }

    /// An integer in `range`, whose ends are of the type that is read.
    pub(crate) fn integer_in<T: Copy + Into<i128> + TryFrom<i128>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(number) = self.integer(key)? else { return Ok(None) };
        let (low, high) = ((*range.start()).into(), (*range.end()).into());
        if let Some(number) = T::try_from(number).ok().filter(|_| (low..=high).contains(&number)) {
            return Ok(Some(number));
        }
        let allowed = match number < low && high == i128::from(u64::MAX) {
            true => format!("at least {low}"),
            false => format!("{low} to {high}"),
        };
        Err(refuse(key, format!("{} is not allowed: it must be {allowed}", shown(number))))
    }

    /// A finite number.
    pub(crate) fn number(&mut self, key: &'static str) -> Result<Option<f64>, Refusal> {
        self.take(key).map(|value| number(key, &value)).transpose()
    }

    /// True or false, in any accepted form; false if absent.
    pub(crate) fn flag(&mut self, key: &'static str) -> Result<bool, Refusal> {
        self.flag_if_said(key).map(Option::unwrap_or_default)
    }

    /// As [`Fields::flag`]; `None` if absent.
    pub(crate) fn flag_if_said(&mut self, key: &'static str) -> Result<Option<bool>, Refusal> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let word = match &value {
            ValueRef::Boolean(flag) => return Ok(Some(*flag)),
            ValueRef::String(_) => as_str(&value).unwrap_or_default().to_ascii_lowercase(),
            other => integer(key, other).map(|number| number.to_string()).unwrap_or_default(),
        };
        match word.as_str() {
            "1" | "true" | "t" | "yes" | "y" | "on" => Ok(Some(true)),
            "0" | "false" | "f" | "no" | "n" | "off" => Ok(Some(false)),
            _ => Err(refuse(key, format!("must be true or false, not {}", kind(&value)))),
        }
    }
}

/// Whether a prompt is as long as one may be.
pub(crate) fn check_prompt(text: &str) -> Result<(), Refusal> {
    if text.len() > PROMPT_BYTES_MAX {
        return Err(refuse("prompt", format!("{} bytes; at most {PROMPT_BYTES_MAX}", text.len())));
    }
    Ok(())
}

/// A string that is UTF-8.
pub(crate) fn as_str<'a>(value: &ValueRef<'a>) -> Option<&'a str> {
    if let ValueRef::String(text) = value { text.into_str() } else { None }
}

/// Text, as a string or as bytes that hold UTF-8.
pub(crate) fn text<'a>(field: &'static str, value: &ValueRef<'a>) -> Result<&'a str, Refusal> {
    let text = match value {
        ValueRef::String(text) => text.into_str(),
        ValueRef::Binary(bytes) => str::from_utf8(bytes).ok(),
        other => return Err(refuse(field, format!("must be text, not {}", kind(other)))),
    };
    text.ok_or_else(|| refuse(field, "is not UTF-8"))
}

/// The items of a list.
pub(crate) fn list<'a>(field: &'static str, value: ValueRef<'a>) -> Result<Vec<ValueRef<'a>>, Refusal> {
    match value {
        ValueRef::Array(items) => Ok(items),
        other => Err(refuse(field, format!("must be a list, not {}", kind(&other)))),
    }
}

/// Tokens that are no key, or no text at all, mean nothing: the reference accepts them too.
pub(crate) fn keys(field: &'static str, value: ValueRef<'_>) -> Result<Held, Refusal> {
    let tokens = list(field, value)?;
    Ok(Held::from_tokens(tokens.iter().filter_map(as_str)))
}

/// A finite number: as one, as a boolean, or as text.
pub(crate) fn number(field: &'static str, value: &ValueRef<'_>) -> Result<f64, Refusal> {
    let number = match value {
        ValueRef::Integer(number) => number.as_f64(),
        ValueRef::F32(number) => Some(f64::from(*number)),
        ValueRef::F64(number) => Some(*number),
        ValueRef::Boolean(flag) => Some(f64::from(u8::from(*flag))),
        text => as_str(text).and_then(|text| text.trim().parse().ok()),
    };
    let number = number.ok_or_else(|| refuse(field, format!("must be a number, not {}", kind(value))))?;
    if number.is_finite() { Ok(number) } else { Err(refuse(field, format!("must be finite, not {number}"))) }
}

/// An integer of any size, so that one that is too large for a field is called that, and not something else.
pub(crate) fn integer(field: &'static str, value: &ValueRef<'_>) -> Result<i128, Refusal> {
    if let ValueRef::Integer(number) = value {
        let signed = number.as_i64().map(i128::from);
        return Ok(signed.or(number.as_u64().map(i128::from)).expect("an integer is one with a sign or without"));
    }
    if let Some(text) = as_str(value).map(str::trim) {
        let digits = text.trim_start_matches(['+', '-']);
        let most = if text.starts_with('-') { i128::MIN } else { i128::MAX };
        match text.parse() {
            Ok(number) => return Ok(number),
            Err(_) if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) => return Ok(most),
            Err(_) => {}
        }
    }
    let number = number(field, value)?;
    // Every float from 2^53 on is a whole number. Those that do not fit become the largest that does: past every range.
    if number.fract() == 0.0 {
        Ok(number as i128)
    } else {
        Err(refuse(field, format!("must be an integer, not {number}")))
    }
}

/// A number as it was sent, but for one that only says how large it is.
fn shown(number: i128) -> String {
    match number {
        i128::MAX | i128::MIN => "this number".to_owned(),
        number => number.to_string(),
    }
}

/// The name of a value's type, for an error.
fn kind(value: &ValueRef<'_>) -> &'static str {
    match value {
        ValueRef::Nil => "nil",
        ValueRef::Boolean(_) => "a boolean",
        ValueRef::Integer(_) | ValueRef::F32(_) | ValueRef::F64(_) => "a number",
        ValueRef::String(_) => "text",
        ValueRef::Binary(_) => "bytes",
        ValueRef::Array(_) => "a list",
        ValueRef::Map(_) => "a map",
        ValueRef::Ext(..) => "an extension",
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

/// Which keys parsers look for, so that a test can compare them with the document.
#[cfg(test)]
pub(crate) mod asked_for {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static KEYS: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(crate) fn note(key: &str) {
        KEYS.with_borrow_mut(|keys| keys.insert(key.to_owned()));
    }

    /// Those of this thread since the last call.
    pub(crate) fn keys() -> BTreeSet<String> {
        KEYS.take()
    }
}

#[cfg(test)]
mod tests;
