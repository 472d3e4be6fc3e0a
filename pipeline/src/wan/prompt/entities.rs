//! HTML character references in text, read in the two ways in which the training texts were: once with care, before the
//! repair of wrongly decoded text, and afterwards as Python's `html.unescape` reads them.

use std::borrow::Cow;
use std::sync::LazyLock;

use html_escape::NAMED_ENTITIES;
use regex::{Captures, Regex};

/// Names that HTML also knows without their semicolon, for old pages: `&copy 2024`.
/// <https://html.spec.whatwg.org/entities.json>
#[rustfmt::skip]
const WITHOUT_SEMICOLON: [&str; 106] = [
    "AElig", "AMP", "Aacute", "Acirc", "Agrave", "Aring", "Atilde", "Auml", "COPY", "Ccedil", "ETH", "Eacute", "Ecirc",
    "Egrave", "Euml", "GT", "Iacute", "Icirc", "Igrave", "Iuml", "LT", "Ntilde", "Oacute", "Ocirc", "Ograve", "Oslash",
    "Otilde", "Ouml", "QUOT", "REG", "THORN", "Uacute", "Ucirc", "Ugrave", "Uuml", "Yacute", "aacute", "acirc", "acute",
    "aelig", "agrave", "amp", "aring", "atilde", "auml", "brvbar", "ccedil", "cedil", "cent", "copy", "curren", "deg",
    "divide", "eacute", "ecirc", "egrave", "eth", "euml", "frac12", "frac14", "frac34", "gt", "iacute", "icirc", "iexcl",
    "igrave", "iquest", "iuml", "laquo", "lt", "macr", "micro", "middot", "nbsp", "not", "ntilde", "oacute", "ocirc",
    "ograve", "ordf", "ordm", "oslash", "otilde", "ouml", "para", "plusmn", "pound", "quot", "raquo", "reg", "sect",
    "shy", "sup1", "sup2", "sup3", "szlig", "thorn", "times", "uacute", "ucirc", "ugrave", "uml", "uuml", "yacute", "yen",
    "yuml",
];

/// Read every reference, also one without its semicolon, and a known name at the start of a longer one.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"&(?:#([0-9]+);?|#[xX]([0-9a-fA-F]+);?|([^\t\n\x0c <&#;]{1,32};?))").expect("a pattern we wrote")
    });
    REFERENCE.replace_all(text, |reference: &Captures| {
        if let Some(digits) = reference.get(1) {
            numbered(digits.as_str(), 10)
        } else if let Some(digits) = reference.get(2) {
            numbered(digits.as_str(), 16)
        } else {
            named(&reference[3]).unwrap_or_else(|| reference[0].to_owned())
        }
    })
}

/// Read references that are complete and unambiguous, and names in capitals of what has a capital: `P&EACUTE;REZ`.
pub(super) fn unescape_complete(text: &str) -> Cow<'_, str> {
    static REFERENCE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("&#?[0-9A-Za-z]{1,24};").expect("a pattern we wrote"));
    REFERENCE.replace_all(text, |reference: &Captures| {
        let whole = &reference[0];
        let name = whole.trim_start_matches('&').trim_end_matches(';');
        if name.starts_with('#') {
            let read = unescape(whole);
            // A semicolon that is left means that only a part was read.
            return if read.contains(';') { whole.to_owned() } else { read.into_owned() };
        }
        if let Some(text) = lookup(name) {
            return text.to_owned();
        }
        let in_capitals = !name.contains(|char: char| char.is_ascii_lowercase());
        match lookup(&name.to_ascii_lowercase()) {
            Some(text) if in_capitals && unescape(whole) == whole => text.to_uppercase(),
            _ => whole.to_owned(),
        }
    })
}

/// The character of a numeric reference. A C1 control gives its Windows-1252 character; a code point that HTML forbids
/// gives nothing.
fn numbered(digits: &str, radix: u32) -> String {
    // Too many digits for 32 bits are past the last character, too.
    let number = u32::from_str_radix(digits, radix).unwrap_or(u32::MAX);
    match number {
        0 => char::REPLACEMENT_CHARACTER.into(),
        0x80..0xA0 => super::encodings::WINDOWS_1252
            .upper()
            .nth(number as usize - 0x80)
            .map(|(_, char)| char)
            .into_iter()
            .collect(),
        0x01..0x09 | 0x0B | 0x0E..0x20 | 0x7F | 0xFDD0..0xFDF0 => String::new(),
        _ if number & 0xFFFE == 0xFFFE && number <= char::MAX.into() => String::new(),
        _ => char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER).into(),
    }
}

/// `name` may end in its semicolon. `None` if nothing at its start is a name.
fn named(name: &str) -> Option<String> {
    if let Some(text) = name.strip_suffix(';').and_then(lookup) {
        return Some(text.to_owned());
    }
    let known = |end: &usize| WITHOUT_SEMICOLON.contains(&&name[..*end]);
    // The longest name wins: `&notit` is `¬it`, and `&notin` would be, had it a semicolon, another sign.
    let end = (2..=name.len()).rev().filter(|&end| name.is_char_boundary(end)).find(known)?;
    Some([lookup(&name[..end])?, &name[end..]].concat())
}

/// The one or two characters of a name that is given without `&` and `;`.
fn lookup(name: &str) -> Option<&'static str> {
    let at = NAMED_ENTITIES.binary_search_by_key(&name.as_bytes(), |&(name, _)| name).ok()?;
    Some(NAMED_ENTITIES[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_a_semicolon_are_in_html_s_table_and_in_order() {
        assert!(WITHOUT_SEMICOLON.is_sorted());
        for name in WITHOUT_SEMICOLON {
            assert!(lookup(name).is_some(), "{name}");
        }
    }

    // The expected texts are what Python 3.11's html.unescape gives.
    #[test]
    fn every_reference_is_read_as_python_reads_it() {
        let cases = [
            ("&amp &ampx &notit; &notin; &copy2024", "& &x ¬it; ∉ ©2024"),
            ("&#39;&#x41;&#X41&#0065 &#0;&#xD800;&#x110000;&#99999999999;", "'AAA \u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            ("&#x80;&#129;&#7;&#xFFFE;&#x1FFFF;&#xFDD0;&#13;x", "€\u{81}\rx"),
            ("&; &#; &#x; &unknown; &é; a&b", "&; &#; &#x; &unknown; &é; a&b"),
        ];
        for (text, expected) in cases {
            assert_eq!(unescape(text), expected, "{text:?}");
        }
    }

    // The expected texts are what ftfy 6.3.1's unescape_html gives.
    #[test]
    fn with_care_only_whole_references_are_read_and_capitals_are_understood() {
        let cases = [
            ("&lt;tag&gt; &amp &notit; &#38; &#59; &#12ab;", "<tag> &amp &notit; & &#59; &#12ab;"),
            ("P&EACUTE;REZ &NTILDE; &nTILDE; &SZLIG; &LTRI;", "PÉREZ Ñ &nTILDE; SS &LTRI;"),
        ];
        for (text, expected) in cases {
            assert_eq!(unescape_complete(text), expected, "{text:?}");
        }
    }
}
