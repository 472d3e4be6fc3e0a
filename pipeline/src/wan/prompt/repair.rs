//! What ftfy 6.3.1's `fix_text` does, in its order: references, mojibake, ligatures, widths, quotes, line ends, control
//! characters, composition, until nothing changes.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization;

use super::{ROUNDS_MAX, entities, mojibake};

/// `text`, repaired line by line.
pub(super) fn repair(text: &str) -> String {
    let mut is_html = false;
    text.split_inclusive('\n')
        .map(|line| {
            // With a tag it is HTML, and its references may be meant; so may those in the lines behind it.
            is_html |= line.contains('<');
            repair_line(line, is_html)
        })
        .collect()
}

fn repair_line(line: &str, is_html: bool) -> String {
    let mut line = line.to_owned();
    for _round in 0..ROUNDS_MAX {
        let read = if is_html { Cow::Borrowed(&*line) } else { entities::unescape_complete(&line) };
        let undone = mojibake::undo(&read);
        let plain = in_common_forms(&mojibake::read_controls(&undone));
        let plain = plain.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}', '\u{85}'], "\n");
        let mut plain = without_terminal_escapes(&plain).into_owned();
        plain.retain(|char| !is_invisible(char));
        let composed: String = plain.nfc().collect();
        if composed == line {
            break;
        }
        line = composed;
    }
    line
}

/// Latin ligatures as their letters, full and half widths as the common one, curled quotes as straight ones.
fn in_common_forms(text: &str) -> String {
    let mut common = String::with_capacity(text.len());
    for char in text.chars() {
        let letters = match char {
            'Ĳ' => "IJ",
            'ĳ' => "ij",
            'ŉ' => "'n",
            'Ǳ' => "DZ",
            'ǲ' => "Dz",
            'ǳ' => "dz",
            'Ǆ' => "DŽ",
            'ǅ' => "Dž",
            'ǆ' => "dž",
            'Ǉ' => "LJ",
            'ǈ' => "Lj",
            'ǉ' => "lj",
            'Ǌ' => "NJ",
            'ǋ' => "Nj",
            'ǌ' => "nj",
            'ﬀ' => "ff",
            'ﬁ' => "fi",
            'ﬂ' => "fl",
            'ﬃ' => "ffi",
            'ﬄ' => "ffl",
            'ﬅ' => "ſt",
            'ﬆ' => "st",
            '\u{2bc}' | '\u{2018}'..='\u{201b}' => "'",
            '\u{201c}'..='\u{201f}' => "\"",
            '\u{3000}' => " ",
            '\u{ff01}'..='\u{ffef}' => {
                common.extend([char].into_iter().nfkc());
                continue;
            }
            _ => {
                common.push(char);
                continue;
            }
        };
        common.push_str(letters);
    }
    common
}

/// `text` without the sequences that colour text in a terminal.
fn without_terminal_escapes(text: &str) -> Cow<'_, str> {
    // Python's `\d` is a digit of any script.
    static ESCAPE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\x1b\[[\p{Nd};]*[a-zA-Z]").expect("a pattern we wrote"));
    ESCAPE.replace_all(text, "")
}

/// Controls that are no white space, and characters that the Unicode standard asks not to use in text with markup.
fn is_invisible(char: char) -> bool {
    matches!(
        char,
        '\0'..='\u{8}'
            | '\u{b}'
            | '\u{e}'..='\u{1f}'
            | '\u{7f}'
            | '\u{206a}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffc}'
    )
}
