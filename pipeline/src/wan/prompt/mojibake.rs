//! Mojibake: text in UTF-8 that a program has read as another encoding, `cafÃ©` for `café`, and how it is undone.
//!
//! The rules are those of ftfy 6.3.1 (<https://github.com/rspeer/python-ftfy>), through which the training texts went: so a
//! rule must not be improved here. A text is repaired only if it looks wrong; then each encoding is tried that has all of
//! its characters, and the first whose bytes are UTF-8 is taken.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;
use regex::bytes::Regex as BytesRegex;

use super::ROUNDS_MAX;
use super::encodings::{ALL, LIKE_LATIN_1, SUBSTITUTE, SingleByte, WINDOWS_1252};

/// `text` with every layer of mojibake undone.
pub(super) fn undo(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for _round in 0..ROUNDS_MAX {
        match undo_once(&text) {
            Some(undone) if undone != text => text = undone.into(),
            _ => break,
        }
    }
    text
}

/// Each C1 control as the character that Windows has at its place, as web browsers read it.
pub(super) fn read_controls(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return text.into();
    }
    let table: Vec<char> = WINDOWS_1252.upper().map(|(_, char)| char).collect();
    text.chars().map(|char| if is_control(char) { table[char as usize - 0x80] } else { char }).collect()
}

fn is_control(char: char) -> bool {
    matches!(char, '\u{80}'..='\u{9f}')
}

/// One layer less. `None` if there is nothing to undo.
fn undo_once(text: &str) -> Option<String> {
    if text.is_ascii() || !looks_wrong(text) {
        return None;
    }
    if let Some(read) = ALL.iter().find_map(|encoding| read_as_utf8(encoding, encoding.encode(text)?)) {
        return Some(read);
    }
    let pieces = undo_pieces(text);
    if pieces != text {
        return Some(pieces);
    }
    text.contains(is_control).then(|| read_controls(text).into_owned())
}

/// `bytes`, which `encoding` reads as the text at hand, as UTF-8; `None` if they are none.
fn read_as_utf8(encoding: &SingleByte, mut bytes: Vec<u8>) -> Option<String> {
    if encoding.restores_spaces && SPACED.is_match(&bytes) {
        bytes = restore_spaces(&bytes);
    }
    if encoding.replaces {
        bytes = LOSSY.replace_all(&bytes, "\u{fffd}".as_bytes()).into_owned();
    }
    decode(&bytes)
}

/// UTF-8 in which a space may stand for the byte 0xA0, where that gives a likely character.
static SPACED: LazyLock<BytesRegex> = LazyLock::new(|| {
    bytes_regex(&[
        r"[\xc2\xc3\xc5\xce\xd0\xd9] ",
        r"[\xe2\xe3] [\x80-\x84\x86-\x9f\xa1-\xbf]",
        r"[\xe0-\xe3][\x80-\x84\x86-\x9f\xa1-\xbf] ",
        r"\xf0 [\x80-\xbf][\x80-\xbf]",
        r"\xf0[\x80-\xbf] [\x80-\xbf]",
        r"\xf0[\x80-\xbf][\x80-\xbf] ",
    ])
});

fn restore_spaces(bytes: &[u8]) -> Vec<u8> {
    /// `à` as a word of its own keeps the space behind it, but for the Portuguese words that begin with it.
    const PORTUGUESE: [&[u8]; 5] = [b" ", b"quele", b"quela", b"quilo", b"s "];
    let mut words = Vec::with_capacity(bytes.len());
    for (at, &byte) in bytes.iter().enumerate() {
        let rest = &bytes[at + 1..];
        let is_word = byte == 0xC3 && rest.first() == Some(&b' ');
        words.push(byte);
        if is_word && !PORTUGUESE.iter().any(|word| rest[1..].starts_with(word)) {
            words.push(0xA0);
        }
    }
    let restored = SPACED.replace_all(&words, |spaced: &regex::bytes::Captures| {
        spaced[0].iter().map(|&byte| if byte == b' ' { 0xA0 } else { byte }).collect::<Vec<u8>>()
    });
    restored.into_owned()
}

/// Sequences of UTF-8, and of surrogates, of which bytes were lost on the way; a `?` for one of them at most.
static LOSSY: LazyLock<BytesRegex> = LazyLock::new(|| {
    assert_eq!(SUBSTITUTE, 0x1A, "it stands in the patterns");
    bytes_regex(&[
        r"[\xc2-\xdf]\x1a",
        r"[\xc2-\xc3][?]",
        r"\xed[\xa0-\xaf][\x1a?]\xed[\xb0-\xbf][\x1a?\x80-\xbf]",
        r"\xed[\xa0-\xaf][\x1a?\x80-\xbf]\xed[\xb0-\xbf][\x1a?]",
        r"[\xe0-\xef][\x1a?][\x1a\x80-\xbf]",
        r"[\xe0-\xef][\x1a\x80-\xbf][\x1a?]",
        r"[\xf0-\xf4][\x1a?][\x1a\x80-\xbf][\x1a\x80-\xbf]",
        r"[\xf0-\xf4][\x1a\x80-\xbf][\x1a?][\x1a\x80-\xbf]",
        r"[\xf0-\xf4][\x1a\x80-\xbf][\x1a\x80-\xbf][\x1a?]",
        r"\x1a",
    ])
});

fn bytes_regex(alternatives: &[&str]) -> BytesRegex {
    BytesRegex::new(&format!("(?s-u:{})", alternatives.join("|"))).expect("a pattern we wrote")
}

/// UTF-8, and its two variants: a surrogate pair of six bytes (CESU-8), and 0xC0 0x80 for the character 0 (Java).
fn decode(bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len());
    let (mut plain, mut at) = (0, 0);
    while at < bytes.len() {
        let (char, length) = match bytes[at..] {
            [0xC0, 0x80, ..] => ('\0', 2),
            // Python's `$` also matches before a line's end, so that ftfy takes the line's end for the second byte.
            [0xC0, b'\n'] => ('\0', 2),
            [0xED, a @ 0xA0..=0xAF, b @ 0x80..=0xBF, 0xED, c @ 0xB0..=0xBF, d @ 0x80..=0xBF, ..] => {
                let [a, b, c, d] = [a & 0x0F, b & 0x3F, c & 0x0F, d & 0x3F].map(u32::from);
                (char::from_u32(0x1_0000 + (a << 16) + (b << 10) + (c << 6) + d)?, 6)
            }
            _ => {
                at += 1;
                continue;
            }
        };
        text.push_str(str::from_utf8(&bytes[plain..at]).ok()?);
        text.push(char);
        at += length;
        plain = at;
    }
    text.push_str(str::from_utf8(&bytes[plain..]).ok()?);
    Some(text)
}

/// `text` with each run of characters undone that can be UTF-8 read as an encoding like Latin-1.
fn undo_pieces(text: &str) -> String {
    let mut undone = String::with_capacity(text.len());
    let mut before = None;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        // Within a garble a piece alone would make matters worse.
        let inside = before.is_some_and(|before| role(before) & FOLLOWS_SURELY != 0);
        let length = if inside { 0 } else { run_length(rest) };
        let (run, after) = rest.split_at(length.max(first.len_utf8()));
        // The whole text was looked at already.
        if length > 0 && run.len() < text.len() && looks_wrong(run) {
            undone.push_str(&undo(run));
        } else {
            undone.push_str(run);
        }
        before = run.chars().next_back();
        rest = after;
    }
    undone
}

/// Bytes at the start of `text` that are whole sequences of UTF-8, by their characters' roles.
fn run_length(text: &str) -> usize {
    let mut chars = text.chars().map(|char| (role(char), char.len_utf8())).peekable();
    let mut length = 0;
    while let Some((first, bytes)) = chars.next() {
        let mut sequence = bytes;
        let mut following = 0;
        while following < 3
            && let Some((_, bytes)) = chars.next_if(|(role, _)| role & FOLLOWS != 0)
        {
            following += 1;
            sequence += bytes;
            let whole = match following {
                1 => FIRST_OF_2,
                2 => FIRST_OF_3,
                _ => FIRST_OF_4,
            };
            if first & whole != 0 {
                length += sequence;
                sequence = 0;
                break;
            }
        }
        if sequence > 0 {
            break;
        }
    }
    length
}

// Roles of a character of mojibake, as bits: it can be the first of a sequence of UTF-8, or one that follows, or both.
const FIRST_OF_2: u8 = 1;
const FIRST_OF_3: u8 = 2;
const FIRST_OF_4: u8 = 4;
const FOLLOWS: u8 = 8;
/// Follows, and is no dash, quotation mark or ellipsis: these often stand for themselves beside mojibake.
const FOLLOWS_SURELY: u8 = 16;

fn role(char: char) -> u8 {
    static ROLES: LazyLock<HashMap<char, u8>> = LazyLock::new(|| {
        // A space may have been U+00A0.
        let mut roles = HashMap::from([(' ', FOLLOWS)]);
        for (byte, char) in LIKE_LATIN_1.iter().flat_map(|encoding| encoding.upper()) {
            let often_itself = matches!(char, '\u{2013}'..='\u{2026}') && !matches!(char, '†' | '‡');
            *roles.entry(char).or_default() |= match byte {
                0x80..=0xBF if often_itself => FOLLOWS,
                0x80..=0xBF => FOLLOWS | FOLLOWS_SURELY,
                0xC2..=0xDF => FIRST_OF_2,
                0xE0..=0xEF => FIRST_OF_3,
                // Others begin characters that are not assigned.
                0xF0 | 0xF3 => FIRST_OF_4,
                _ => 0,
            };
        }
        roles
    });
    ROLES.get(&char).copied().unwrap_or_default()
}

/// Whether `text` has characters side by side that are likely in mojibake and unlikely elsewhere.
fn looks_wrong(text: &str) -> bool {
    static UNLIKELY: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(&unlikely_pairs().join("|")).expect("a pattern we wrote"));
    UNLIKELY.is_match(text)
}

/// Patterns of characters that are unlikely side by side.
fn unlikely_pairs() -> Vec<String> {
    // Classes of characters, by how they are used in text that is right.
    let common = r"\u{a0}\u{ad}·´–—―…’";
    let control = r"\x{80}-\x{9f}";
    let bad = "¦¤¨¬¯¸ƒˆˇ˘˛˜†‡‰⌐◊�ªº";
    let law = "¶§";
    let currency = "¢£¥₧€";
    let opening = r"¡«¿©΄΅‘‚“„•‹\u{f8ff}";
    let closing = "®»˝”›™";
    let numeric = "²³¹±¼½¾×µ÷⁄∂∆∏∑√∞∩∫≈≠≡≤≥№";
    // Used to draw faces, so that some of these letters are missing from the accented ones.
    let faces = "Ò-ÖÙ-Üò-öø-üŐŌŪŲ°";
    let upper = "À-ÑØÜÝĂĀĄĆČĎĐĘĚĒĖĞĢİĪĶĹĽŁĻŃŇŅŒŘŚŞŠŢŤŮŰŸŹŻŽҐ";
    let lower = "ßà-ñăąāćčďđęěēėğģīįķĺľłļœŕśşšťüźżžґﬁﬂ";
    let upper_other = "ÞΑ-ΩΆΈΉΊΌΎΏΪΫЁ-Я";
    let lower_other = "α-ωάέήίΰа-џ";
    let boxes = "│┌┐┘├┤┬┼═-╬▀▄█▌▐░▒▓";
    // As Python has them.
    let word = r"[\p{L}\p{N}_]";
    let space = r"[\s\x1c-\x1f]";
    let arabic = format!("[ØÙ][{common}{currency}{bad}{numeric}{opening}ŸŠ®°µ»]");

    vec![
        format!("[{control}]"),
        format!("[{bad}{lower}{upper}{boxes}{opening}{closing}{currency}{numeric}{law}][{bad}]"),
        format!("[a-zA-Z][{lower_other}{upper_other}][{bad}]"),
        format!("[{bad}][{lower}{upper}{boxes}{opening}{closing}{currency}{numeric}{law}]"),
        format!("[{lower}{lower_other}{boxes}{closing}{currency}{numeric}][{upper}]"),
        format!("[{boxes}{closing}{currency}{numeric}][{lower}]"),
        format!("[{lower}{boxes}{closing}][{currency}]"),
        format!("{space}[{upper}][{currency}]"),
        format!("[{upper}{boxes}][{numeric}{law}]"),
        format!("[{lower}{upper}{boxes}{currency}{closing}][{opening}][{numeric}]"),
        format!("[{lower}{upper}{currency}{numeric}{boxes}{law}][{closing}][{opening}]"),
        format!("[{currency}{numeric}{boxes}][{opening}]"),
        format!("[a-z][{upper}][{opening}{currency}]"),
        format!("[{boxes}][{faces}]"),
        format!("[{lower}{upper}{currency}{numeric}{opening}{closing}{law}][{boxes}]"),
        format!("[{boxes}][{closing}]"),
        format!("[{lower}{upper}][{opening}{closing}]{word}"),
        "[Œœ][^A-Za-z]".into(),
        format!("[{upper}]°"),
        // Windows-1252: what precedes most of Latin-1, and Arabic, whose letters come in pairs of which both look wrong.
        format!(r"[ÂÃÎÐ][€œŠš¢£Ÿž\u{{a0}}\u{{ad}}®©°·»{opening}{closing}–—´]"),
        "×[²³]".into(),
        format!("{arabic}{arabic}"),
        "à[²µ¹¼½¾]".into(),
        // Macintosh Roman.
        "√[±∂†≠®™´≤≥¥µø]".into(),
        "≈[°¢]".into(),
        "‚Ä[ìîïòôúùû†°¢π]".into(),
        "‚[âó][àä°ê]".into(),
        // Windows-1251: punctuation from U+2000 on, Cyrillic letters, and Cyrillic read wrongly twice.
        "вЂ".into(),
        format!("[ВГРС][{control}{bad}{opening}{closing}{currency}°µ][ВГРС]"),
        "ГўВЂВ.[A-Za-z ]".into(),
        // `à` and `á`, and what is left of `à` and `Â` before a space.
        r"Ã[\u{a0}¡]".into(),
        format!("[a-z]{space}?[ÃÂ] "),
        "^[ÃÂ] ".into(),
        format!("[a-z.,?!{closing}]Â[ {opening}{closing}]"),
        // Windows-1253, and 1257.
        r"β€[™\u{a0}Ά\u{ad}®°]".into(),
        format!("[ΒΓΞΟ][{control}{bad}{opening}{closing}{currency}°][ΒΓΞΟ]"),
        "ā€".into(),
    ]
}
