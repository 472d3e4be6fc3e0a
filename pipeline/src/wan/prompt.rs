//! A prompt as the model was trained to see it.
//!
//! The training texts went through ftfy 6.3.1 (repairs of wrongly decoded text), Python's HTML unescaping and white space
//! collapsing; a prompt that skips them can tokenise into something the text encoder never met.

mod encodings;
mod entities;
mod mojibake;
mod repair;

/// Rounds of a step that is repeated until the text no longer changes. Three are enough for text that a person wrote;
/// `&amp;amp;amp;…` could ask for a thousand, on the thread that draws.
const ROUNDS_MAX: usize = 32;

/// `prompt`, repaired, unescaped and with single spaces. Never fails, and an empty prompt stays empty.
pub fn clean(prompt: &str) -> String {
    let repaired = repair::repair(prompt);
    // Twice, as in training: texts scraped from the web were often escaped twice.
    let unescaped = entities::unescape(&repaired);
    let unescaped = entities::unescape(&unescaped);
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

    // Two hundred of 360 000 texts that were compared once; testdata/README.md says what made them.
    #[test]
    fn a_prompt_is_cleaned_as_the_training_texts_were() {
        let cases = include_str!("../../testdata/cleaned_prompts.json");
        let cases: Vec<(String, String)> = serde_json::from_str(cases).expect("pairs of texts");
        assert_eq!(cases.len(), 200);
        for (prompt, expected) in &cases {
            check(&[(prompt, expected)]);
        }
    }

    #[test]
    fn what_asks_for_a_thousand_rounds_is_cleaned_as_far_as_it_may() {
        let clean = clean(&format!("&{}", "amp;".repeat(2000)));
        // Each round takes one away, and so do the two that follow.
        assert_eq!(clean, format!("&{}", "amp;".repeat(2000 - ROUNDS_MAX - 2)));
    }

    #[test]
    fn good_text_of_any_script_stays_as_it_is() {
        for prompt in ["雪山と松の木", "снежные горы", "a 🏔️ at dawn", "zażółć gęślą jaźń", "ทะเลสาบ", "بحيرة جبلية"]
        {
            assert_eq!(clean(prompt), prompt);
        }
    }

    #[test]
    fn a_very_long_prompt_is_cleaned_whole() {
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
