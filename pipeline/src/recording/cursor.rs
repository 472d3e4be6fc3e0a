//! MessagePack, one value at a time: a [`Cursor`] reads it out of bytes, a [`Writer`] appends it to bytes. Both take
//! the bound of a value along with its name, so that nothing is written that would not be read.

use std::fmt::Display;
use std::ops::RangeInclusive;

use rmp::Marker;
use rmp::decode::{self, NumValueReadError, ValueReadError};
use rmp::encode;

use super::Invalid;

/// Field names are short; a longer one is unknown, and is not repeated in an error in full.
const NAME_BYTES_MAX: usize = 64;

const ENDLESS: &str = "a Vec takes every byte";

/// A place in the bytes of a recording. Text and bytes are borrowed, so a value is checked before it is copied.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the outermost map began.
    map_at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0, map_at: 0 }
    }

    /// The position of the next value.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Say that an outermost map begins here: what [`Invalid::Incomplete`] reports.
    pub(crate) fn begin_map(&mut self) {
        self.map_at = self.at;
    }

    /// Read the head of a map. Gives the number of its fields.
    pub(crate) fn map(&mut self, field: &str) -> Result<usize, Invalid> {
        self.value(field, "a map", decode::read_map_len).map(|count| count as usize)
    }

    /// Read so many fields of a map, in a recording of `version`. `each` is given the name of a field, reads the value,
    /// and says whether it knows that name.
    pub(crate) fn fields(
        &mut self,
        version: u64,
        count: usize,
        mut each: impl FnMut(&mut Cursor<'a>, &str) -> Result<bool, Invalid>,
    ) -> Result<(), Invalid> {
        // Only known names are added, each once, so this stays short whatever the count says.
        let mut seen: Vec<&str> = Vec::new();
        for _ in 0..count {
            let at = self.at;
            let name = self.text("the name of a field", NAME_BYTES_MAX)?;
            if seen.contains(&name) {
                return Err(refuse(at, name, "is given twice"));
            }
            if !each(self, name)? {
                return Err(refuse(at, name, format!("is not a field of version {version}")));
            }
            seen.push(name);
        }
        Ok(())
    }

    pub(crate) fn required<T>(&self, field: &str, value: Option<T>) -> Result<T, Invalid> {
        value.ok_or_else(|| refuse(self.at, field, "is missing"))
    }

    /// Read the head of a list. Gives the number of its items.
    pub(crate) fn list(&mut self, field: &str, bound: RangeInclusive<u64>) -> Result<usize, Invalid> {
        let at = self.at;
        let count = self.value(field, "a list", decode::read_array_len)?;
        check_count(at, field, count.into(), bound)?;
        Ok(count as usize)
    }

    pub(crate) fn integer(&mut self, field: &str, bound: RangeInclusive<u64>) -> Result<u64, Invalid> {
        let at = self.at;
        let mut rest = &self.bytes[at..];
        let number = match decode::read_int::<u64, _>(&mut rest) {
            Ok(number) => number,
            Err(NumValueReadError::TypeMismatch(marker)) => return Err(mismatch(at, field, "an integer", marker)),
            // The only integers that are no u64.
            Err(NumValueReadError::OutOfRange) => return Err(out_of_bound(at, field, "a negative number", &bound)),
            Err(NumValueReadError::InvalidMarkerRead(_) | NumValueReadError::InvalidDataRead(_)) => {
                return Err(self.incomplete());
            }
        };
        self.at = self.bytes.len() - rest.len();
        check_integer(at, field, number, bound)?;
        Ok(number)
    }

    pub(crate) fn boolean(&mut self, field: &str) -> Result<bool, Invalid> {
        let mut rest = &self.bytes[self.at..];
        match decode::read_bool(&mut rest) {
            Ok(value) => {
                self.at = self.bytes.len() - rest.len();
                Ok(value)
            }
            Err(ValueReadError::TypeMismatch(marker)) => Err(mismatch(self.at, field, "a boolean", marker)),
            Err(ValueReadError::InvalidMarkerRead(_) | ValueReadError::InvalidDataRead(_)) => Err(self.incomplete()),
        }
    }

    /// A float of 64 bits.
    pub(crate) fn number(&mut self, field: &str) -> Result<f64, Invalid> {
        let mut rest = &self.bytes[self.at..];
        match decode::read_f64(&mut rest) {
            Ok(number) => {
                self.at = self.bytes.len() - rest.len();
                Ok(number)
            }
            Err(ValueReadError::TypeMismatch(marker)) => {
                Err(mismatch(self.at, field, "a number with a fraction", marker))
            }
            Err(ValueReadError::InvalidMarkerRead(_) | ValueReadError::InvalidDataRead(_)) => Err(self.incomplete()),
        }
    }

    /// A list of so many floats.
    pub(crate) fn numbers<const N: usize>(&mut self, field: &str) -> Result<[f64; N], Invalid> {
        self.list(field, N as u64..=N as u64)?;
        let mut numbers = [0.0; N];
        for number in &mut numbers {
            *number = self.number(field)?;
        }
        Ok(numbers)
    }

    pub(crate) fn text(&mut self, field: &str, bytes_max: usize) -> Result<&'a str, Invalid> {
        let at = self.at;
        let bytes = self.sized(field, "text", bytes_max, decode::read_str_len)?;
        std::str::from_utf8(bytes).map_err(|_| refuse(at, field, "is not UTF-8"))
    }

    pub(crate) fn bytes(&mut self, field: &str, bytes_max: usize) -> Result<&'a [u8], Invalid> {
        self.sized(field, "bytes", bytes_max, decode::read_bin_len)
    }

    fn sized(&mut self, field: &str, kind: &str, bytes_max: usize, head: Head<'a>) -> Result<&'a [u8], Invalid> {
        let at = self.at;
        let length = self.value(field, kind, head)? as usize;
        check_length(at, field, length, bytes_max)?;
        let bytes = self.bytes[self.at..].get(..length).ok_or_else(|| self.incomplete())?;
        self.at += length;
        Ok(bytes)
    }

    /// The head of a value that has a length.
    fn value(&mut self, field: &str, kind: &str, head: Head<'a>) -> Result<u32, Invalid> {
        let mut rest = &self.bytes[self.at..];
        match head(&mut rest) {
            Ok(length) => {
                self.at = self.bytes.len() - rest.len();
                Ok(length)
            }
            Err(ValueReadError::TypeMismatch(marker)) => Err(mismatch(self.at, field, kind, marker)),
            Err(ValueReadError::InvalidMarkerRead(_) | ValueReadError::InvalidDataRead(_)) => Err(self.incomplete()),
        }
    }

    fn incomplete(&self) -> Invalid {
        Invalid::Incomplete { at: self.map_at }
    }
}

/// What reads a length.
type Head<'a> = fn(&mut &'a [u8]) -> Result<u32, ValueReadError>;

/// Appends values to bytes, integers and lengths in their shortest form.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The position of the next value.
    pub(crate) fn at(&self) -> usize {
        self.0.len()
    }

    /// The head of a map with so many fields.
    pub(crate) fn map(&mut self, fields: usize) {
        encode::write_map_len(&mut self.0, fields as u32).expect(ENDLESS);
    }

    /// The name of a field.
    pub(crate) fn name(&mut self, name: &str) {
        encode::write_str(&mut self.0, name).expect(ENDLESS);
    }

    /// The head of a list with so many items.
    pub(crate) fn list(&mut self, field: &str, count: usize, bound: RangeInclusive<u64>) -> Result<(), Invalid> {
        check_count(self.at(), field, count as u64, bound)?;
        encode::write_array_len(&mut self.0, count as u32).expect(ENDLESS);
        Ok(())
    }

    pub(crate) fn integer(&mut self, field: &str, number: u64, bound: RangeInclusive<u64>) -> Result<(), Invalid> {
        check_integer(self.at(), field, number, bound)?;
        encode::write_uint(&mut self.0, number).expect(ENDLESS);
        Ok(())
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        encode::write_bool(&mut self.0, value).expect(ENDLESS);
    }

    pub(crate) fn number(&mut self, number: f64) {
        encode::write_f64(&mut self.0, number).expect(ENDLESS);
    }

    pub(crate) fn numbers(&mut self, field: &str, numbers: &[f64]) -> Result<(), Invalid> {
        let count = numbers.len() as u64;
        self.list(field, numbers.len(), count..=count)?;
        numbers.iter().for_each(|&number| self.number(number));
        Ok(())
    }

    pub(crate) fn text(&mut self, field: &str, text: &str, bytes_max: usize) -> Result<(), Invalid> {
        check_length(self.at(), field, text.len(), bytes_max)?;
        encode::write_str(&mut self.0, text).expect(ENDLESS);
        Ok(())
    }

    pub(crate) fn bytes(&mut self, field: &str, bytes: &[u8], bytes_max: usize) -> Result<(), Invalid> {
        check_length(self.at(), field, bytes.len(), bytes_max)?;
        encode::write_bin(&mut self.0, bytes).expect(ENDLESS);
        Ok(())
    }
}

fn check_length(at: usize, field: &str, length: usize, bytes_max: usize) -> Result<(), Invalid> {
    if length <= bytes_max { Ok(()) } else { Err(refuse(at, field, format!("{length} bytes; at most {bytes_max}"))) }
}

fn check_count(at: usize, field: &str, count: u64, bound: RangeInclusive<u64>) -> Result<(), Invalid> {
    if bound.contains(&count) { Ok(()) } else { Err(out_of_bound(at, field, format!("{count} items"), &bound)) }
}

fn check_integer(at: usize, field: &str, number: u64, bound: RangeInclusive<u64>) -> Result<(), Invalid> {
    if bound.contains(&number) { Ok(()) } else { Err(out_of_bound(at, field, number, &bound)) }
}

fn out_of_bound(at: usize, field: &str, found: impl Display, bound: &RangeInclusive<u64>) -> Invalid {
    let allowed = match (bound.start(), bound.end()) {
        (low, high) if low == high => format!("{low}"),
        (low, high) => format!("{low} to {high}"),
    };
    refuse(at, field, format!("{found} is not allowed: it must be {allowed}"))
}

fn mismatch(at: usize, field: &str, kind: &str, found: Marker) -> Invalid {
    let found = match found {
        Marker::Null => "nil",
        Marker::True | Marker::False => "a boolean",
        Marker::FixPos(_) | Marker::U8 | Marker::U16 | Marker::U32 | Marker::U64 => "an integer",
        Marker::FixNeg(_) | Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64 => "an integer",
        Marker::F32 | Marker::F64 => "a number with a fraction",
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => "text",
        Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => "bytes",
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => "a list",
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => "a map",
        _ => "not a value of MessagePack that is used here",
    };
    refuse(at, field, format!("must be {kind}, not {found}"))
}

pub(crate) fn refuse(at: usize, field: &str, reason: impl Into<String>) -> Invalid {
    Invalid::Refused { at, field: field.to_owned(), reason: reason.into() }
}
