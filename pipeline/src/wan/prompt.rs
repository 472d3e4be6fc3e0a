//! A prompt as the model was trained to see it.
//!
//! The training texts went through ftfy (repairs of wrongly decoded text), HTML unescaping and white space collapsing; a
//! prompt that skips them can tokenise into something the text encoder never met. Two things of Python's are not done: a
//! terminal's colour codes lose their escape character only, and `&amp` without its semicolon stays as it is.

use html_escape::decode_html_entities;
use plsfix::{TextFixerConfig, fix_text};

/// `prompt`, repaired, unescaped and with single spaces. Never fails, and an empty prompt stays empty.
pub fn clean(prompt: &str) -> String {
    // Longer texts would be cut into pieces of this many bytes, wherever in a character that falls. How long a prompt may
    // be is decided where it arrives.
    let config = TextFixerConfig { max_decode_length: i32::MAX, ..TextFixerConfig::default() };
    let repaired = fix_text(prompt, Some(&config));
    // Twice, as in training: texts scraped from the web were often escaped twice.
    let unescaped = decode_html_entities(&repaired);
    let unescaped = decode_html_entities(&unescaped);
    unescaped.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cases: &[(&str, &str)]) {
        for (prompt, expected) in cases {
            assert_eq!(clean(prompt), *expected, "{prompt:?}");
        }
    }

    #[test]
    fn white_space_becomes_single_spaces() {
        check(&[
            ("", ""),
            (" \n\t ", ""),
            ("  a\n b\t c ", "a b c"),
            ("x\u{a0}y", "x y"),
            ("line\r\nbreak\u{2028}next\u{3000}wide", "line break next wide"),
        ]);
    }

    #[test]
    fn entities_are_unescaped_however_often_they_were_escaped() {
        check(&[
            ("a castle &lt;at&gt; dusk", "a castle <at> dusk"),
            ("&amp;amp;quot;hi&amp;quot;", "\"hi\""),
            ("&#39;x&#39; &#x41; &copy; &mdash; &hellip;", "'x' A © — …"),
            ("&nbsp;x&nbsp;", "x"),
            ("a <b>bold</b> &amp; x & y", "a <b>bold</b> & x & y"),
        ]);
    }

    // The expected texts are what ftfy 6.3.1 gives.
    #[test]
    fn wrongly_decoded_text_is_repaired_as_ftfy_does() {
        check(&[
            ("cafÃ© — ok", "café — ok"),
            ("The Mona Lisa doesnÃƒÂ¢Ã¢â€šÂ¬Ã¢â€žÂ¢t have eyebrows.", "The Mona Lisa doesn't have eyebrows."),
            ("“curly” ‘quotes’ — dash", "\"curly\" 'quotes' — dash"),
            ("ｆｕｌｌ ｗｉｄｔｈ, ﬁne ﬂow", "full width, fine flow"),
            ("zero\0byte\u{7}bell", "zerobytebell"),
            ("e\u{301}clair", "éclair"),
            ("\u{feff}bom", "bom"),
        ]);
    }

    #[test]
    fn good_text_of_any_script_stays_as_it_is() {
        for prompt in ["雪山と松の木", "снежные горы", "a 🏔️ at dawn", "zażółć gęślą jaźń", "ทะเลสาบ", "بحيرة جبلية"]
        {
            assert_eq!(clean(prompt), prompt);
        }
    }

    #[test]
    fn a_prompt_longer_than_a_repair_segment_is_not_cut() {
        let prompt = "雪".repeat(400_000);
        assert_eq!(clean(&prompt), prompt);
    }

    #[test]
    fn no_text_makes_the_repair_panic() {
        // Pieces that the repairs look for, in every order of three.
        let pieces = [
            "Ã", "\u{a0}", "â€", "\u{9d}", "&amp;", "&#", "<", "\u{1b}[", "é", "\n", "\u{fffd}", "🏔", " ", "\u{80}",
            "x",
        ];
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    clean(&[a, b, c, a].concat());
                }
            }
        }
    }
}
