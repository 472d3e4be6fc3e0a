//! JSON as Python reads and writes it by default.

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// `null`, `true` or `false`.
    Word(&'static str),
    /// As it is written again.
    Number(String),
    Text(Text),
    List(Vec<Value>),
    /// Keys are distinct.
    Object(Vec<(Text, Value)>),
}

/// A text in UTF-16 units, since Python's may hold half a surrogate pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text(Vec<u16>);

impl Text {
    pub(super) fn of(text: &str) -> Text {
        Text(text.encode_utf16().collect())
    }
}

/// Python follows about a thousand levels, depending on what called it. No caption has a tenth of that.
const DEPTH_MAX: usize = 512;

/// The one value that `text` holds, with white space around it. `None`: it holds something else, a number that is not finite
/// included.
pub(super) fn read(text: &str) -> Option<Value> {
    let mut reader = Reader { rest: text };
    let value = reader.value(DEPTH_MAX)?;
    reader.skip_space();
    reader.rest.is_empty().then_some(value)
}

/// Give `key` this value: at the place it has, or at the end.
pub(super) fn set(entries: &mut Vec<(Text, Value)>, key: &str, value: Value) {
    let key = Text::of(key);
    match entries.iter_mut().find(|(known, _)| *known == key) {
        Some((_, old)) => *old = value,
        None => entries.push((key, value)),
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// Take `word` if it is next.
    fn take(&mut self, word: &str) -> bool {
        match self.rest.strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// `depth`: how many levels may follow.
    fn value(&mut self, depth: usize) -> Option<Value> {
        self.skip_space();
        if self.take("\"") {
            return Some(Value::Text(self.text()?));
        }
        if let Some(word) = ["null", "true", "false"].into_iter().find(|word| self.take(word)) {
            return Some(Value::Word(word));
        }
        if self.take("[") {
            return Some(Value::List(self.list(depth.checked_sub(1)?)?));
        }
        if self.take("{") {
            return Some(Value::Object(self.object(depth.checked_sub(1)?)?));
        }
        Some(Value::Number(self.number()?))
    }

    fn list(&mut self, depth: usize) -> Option<Vec<Value>> {
        let mut items = Vec::new();
        self.skip_space();
        if self.take("]") {
            return Some(items);
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_space();
            if self.take("]") {
                return Some(items);
            }
            self.take(",").then_some(())?;
        }
    }

    fn object(&mut self, depth: usize) -> Option<Vec<(Text, Value)>> {
        let mut entries = Entries::default();
        self.skip_space();
        if self.take("}") {
            return Some(entries.in_order);
        }
        loop {
            self.skip_space();
            self.take("\"").then_some(())?;
            let key = self.text()?;
            self.skip_space();
            self.take(":").then_some(())?;
            entries.put(key, self.value(depth)?);
            self.skip_space();
            if self.take("}") {
                return Some(entries.in_order);
            }
            self.take(",").then_some(())?;
        }
    }

    /// The rest of a text, whose first quotation mark is taken.
    fn text(&mut self) -> Option<Text> {
        let mut units = Vec::new();
        loop {
            let next = self.rest.chars().next()?;
            self.rest = &self.rest[next.len_utf8()..];
            match next {
                '"' => return Some(Text(units)),
                '\\' => units.push(self.escape()?),
                // A control character must be escaped.
                '\0'..='\x1f' => return None,
                other => units.extend_from_slice(other.encode_utf16(&mut [0; 2])),
            }
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Option<u16> {
        let kind = self.rest.chars().next()?;
        self.rest = &self.rest[kind.len_utf8()..];
        Some(match kind {
            '"' | '\\' | '/' => kind as u16,
            'b' => 0x08,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'u' => {
                let digits = self.rest.get(..4)?;
                // A sign, which `from_str_radix` takes, is none.
                digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
                self.rest = &self.rest[4..];
                u16::from_str_radix(digits, 16).ok()?
            }
            _ => return None,
        })
    }

    fn number(&mut self) -> Option<String> {
        let bytes = self.rest.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut end = usize::from(bytes.first() == Some(&b'-'));
        let whole = digits(end);
        if whole == 0 || (whole > 1 && bytes[end] == b'0') {
            return None;
        }
        end += whole;
        let after_whole = end;
        if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
            end += 1 + digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end + 1 + sign);
            if exponent > 0 {
                end += 1 + sign + exponent;
            }
        }
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        if end == after_whole {
            return Some(if number == "-0" { "0" } else { number }.to_owned());
        }
        let value: f64 = number.parse().ok()?;
        value.is_finite().then(|| python_float(value))
    }
}

/// The entries of an object, and where each key is: a long caption may have thousands.
#[derive(Default)]
struct Entries {
    in_order: Vec<(Text, Value)>,
    places: std::collections::HashMap<Vec<u16>, usize>,
}

impl Entries {
    /// A doubled key has its last value at its first place.
    fn put(&mut self, key: Text, value: Value) {
        match self.places.get(&key.0) {
            Some(&place) => self.in_order[place].1 = value,
            None => {
                self.places.insert(key.0.clone(), self.in_order.len());
                self.in_order.push((key, value));
            }
        }
    }
}

/// A finite number as Python's `repr` writes it: the fewest digits that read back, `.0` where it is whole, an exponent of two
/// digits below 1e-4 and from 1e16 on.
pub(super) fn python_float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').expect("a number with an exponent");
    let exponent: i32 = exponent.parse().expect("a whole exponent");
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

/// With ", " and ": " between things, and everything but printable ASCII escaped.
pub(super) fn write(value: &Value) -> String {
    let mut out = String::new();
    write_to(value, &mut out);
    out
}

fn write_to(value: &Value, out: &mut String) {
    match value {
        Value::Word(word) => out.push_str(word),
        Value::Number(number) => out.push_str(number),
        Value::Text(text) => write_text(text, out),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_to(item, out);
            }
            out.push(']');
        }
        Value::Object(entries) => {
            out.push('{');
            for (i, (key, value)) in entries.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_text(key, out);
                out.push_str(": ");
                write_to(value, out);
            }
            out.push('}');
        }
    }
}

fn write_text(text: &Text, out: &mut String) {
    out.push('"');
    for &unit in &text.0 {
        match u8::try_from(unit) {
            Ok(byte @ (b'"' | b'\\')) => out.extend(['\\', byte.into()]),
            Ok(byte @ b' '..=b'~') => out.push(byte.into()),
            Ok(b'\n') => out.push_str("\\n"),
            Ok(b'\r') => out.push_str("\\r"),
            Ok(b'\t') => out.push_str("\\t"),
            Ok(0x0c) => out.push_str("\\f"),
            Ok(0x08) => out.push_str("\\b"),
            _ => out.push_str(&format!("\\u{unit:04x}")),
        }
    }
    out.push('"');
}
