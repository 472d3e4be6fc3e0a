//! A prompt as it is compared: what looks the same to a reader is the same text.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Compatibility forms are resolved (NFKC), combining marks and invisible characters are left out, letters are lower
/// case, and runs of white space are one space. `pöison`, `ｐｏｉｓｏｎ` and `poi\u{200b}son` become `poison`.
pub fn plain(text: &str) -> String {
    // Marks are only characters of their own once letters are taken apart; what is left is put together again.
    let letters = text.nfkd().filter(|&c| !is_combining_mark(c) && !is_invisible(c));
    let composed = letters.nfkc().flat_map(char::to_lowercase).collect::<String>();
    composed.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Characters that take no room: joiners, marks of direction, soft hyphens, tags, variation selectors and control
/// characters that are no white space.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    ) || (c.is_control() && !c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_look_alike_become_the_same() {
        let check = |text: &str, expected: &str| assert_eq!(plain(text), expected, "{text:?}");
        check("  A\tquiet \n meadow ", "a quiet meadow");
        check("pöison", "poison");
        check("po\u{308}ison", "poison");
        check("ｐｏｉｓｏｎ", "poison");
        check("poi\u{200b}s\u{ad}on", "poison");
        check("po\u{0}ison", "poison");
        check("ﬁre", "fire");
        check("İstanbul", "istanbul");
        check("道 路", "道 路");
        check("", "");
    }
}
