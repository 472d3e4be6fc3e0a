//! A list of words and phrases that no prompt may hold: found as whole words, and nearly so.
//!
//! The rule is that of NVIDIA's `cosmos_guardrail` 0.3.1: an entry blocks if it stands in the prompt as whole words, or
//! if as many neighbouring words as it has are nearly equal to it.

use std::str::FromStr;

use super::plain::plain;
use super::similarity::{ratio, ratio_at_most};

/// The entries, each as it is compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocklist {
    /// Whole words, and nearly so.
    entries: Vec<Entry>,
    /// Whole words only.
    exact: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    text: String,
    chars: Vec<char>,
    words: usize,
}

/// How near is near enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Match {
    /// Whole words alone.
    Exact,
    /// Of entries with this many characters or more, this many characters may differ.
    Near {
        /// Shorter entries are only found as whole words.
        characters_min: usize,
        /// As a part of a character, because a difference counts in both texts.
        differ: f64,
    },
}

/// Why a prompt is blocked.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<'a> {
    /// The entry, as it is compared.
    pub entry: &'a str,
    /// How much alike it is; 1 for whole words.
    pub ratio: f64,
}

impl Blocklist {
    /// `entries` are found as whole words and nearly so, `exact` as whole words alone, without those in `allowed`.
    pub fn new<'a>(
        entries: impl IntoIterator<Item = &'a str>,
        exact: impl IntoIterator<Item = &'a str>,
        allowed: impl IntoIterator<Item = &'a str>,
    ) -> Blocklist {
        let allowed: Vec<String> = allowed.into_iter().map(plain).collect();
        let entry = |text: &str| {
            let text = plain(text);
            Entry { chars: text.chars().collect(), words: text.split(' ').count(), text }
        };
        let told = |entry: &Entry| !entry.text.is_empty();
        Blocklist {
            entries: entries.into_iter().map(entry).filter(told).collect(),
            exact: exact.into_iter().map(entry).filter(|entry| told(entry) && !allowed.contains(&entry.text)).collect(),
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len() + self.exact.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first entry that blocks this prompt: whole words of the whole list come before what is nearly equal.
    pub fn find(&self, prompt: &str, near: Match) -> Option<Found<'_>> {
        self.find_in_plain(&plain(prompt), near)
    }

    /// As [`Blocklist::find`], in a prompt that is plain already.
    fn find_in_plain(&self, prompt: &str, near: Match) -> Option<Found<'_>> {
        let whole = self.exact.iter().chain(&self.entries).find(|entry| has_words(prompt, &entry.text));
        if let Some(entry) = whole {
            return Some(Found { entry: &entry.text, ratio: 1.0 });
        }
        let Match::Near { characters_min, differ } = near else { return None };
        let chars: Vec<char> = prompt.chars().collect();
        let words = words(&chars);
        for entry in self.entries.iter().filter(|entry| entry.chars.len() >= characters_min) {
            let length = entry.chars.len() as f64;
            let least = (length - differ) / length;
            for window in words.windows(entry.words) {
                let window = &chars[window[0].0..window[entry.words - 1].1];
                // Most windows are too long or too short to be near: those are not looked at.
                if ratio_at_most(window.len(), entry.chars.len()) < least {
                    continue;
                }
                let ratio = ratio(window, &entry.chars);
                if ratio >= least {
                    return Some(Found { entry: &entry.text, ratio });
                }
            }
        }
        None
    }
}

/// Where each word begins and ends, of a text whose words stand one space apart.
fn words(chars: &[char]) -> Vec<(usize, usize)> {
    let mut words = Vec::new();
    let mut start = 0;
    for (end, c) in chars.iter().copied().chain([' ']).enumerate() {
        if c == ' ' {
            if end > start {
                words.push((start, end));
            }
            start = end + 1;
        }
    }
    words
}

/// Does `entry` stand in `text` between boundaries of words? A boundary lies between a letter, digit or underscore and
/// anything else, so an entry that ends in `#` wants a letter behind it, as with `\b` in Python.
fn has_words(text: &str, entry: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (first, last) = (is_word(entry.chars().next()), is_word(entry.chars().next_back()));
    let mut from = 0;
    while let Some(at) = text[from..].find(entry).map(|at| at + from) {
        let before = is_word(text[..at].chars().next_back());
        let after = is_word(text[at + entry.len()..].chars().next());
        if before != first && after != last {
            return true;
        }
        from = at + text[at..].chars().next().map_or(1, char::len_utf8);
    }
    false
}

impl Default for Match {
    /// That of NVIDIA's newer framework.
    fn default() -> Match {
        Match::Near { characters_min: 6, differ: 0.4 }
    }
}

impl FromStr for Match {
    type Err = String;

    /// `exact`, or two numbers: `6:0.4`.
    fn from_str(text: &str) -> Result<Match, String> {
        let near = || {
            let (characters, differ) = text.split_once(':')?;
            let (characters_min, differ) = (characters.parse().ok()?, differ.parse().ok()?);
            let possible = (1..=1000).contains(&characters_min) && (0.0..characters_min as f64).contains(&differ);
            possible.then_some(Match::Near { characters_min, differ })
        };
        match text {
            "exact" => Ok(Match::Exact),
            _ => near().ok_or_else(|| {
                "exact, or CHARACTERS:DIFFER such as 6:0.4: the fewest characters of an entry, and how many of them may differ"
                    .to_owned()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Decision {
        prompt: String,
        words: Vec<String>,
        min_chars: usize,
        letter_count: f64,
        result: Decided,
    }

    #[derive(Deserialize)]
    struct Decided {
        blocked: bool,
        how: Option<String>,
        word: Option<String>,
        ratio: Option<f64>,
    }

    /// The public rule takes letters in lower case and white space together, and nothing more: so does this test.
    #[test]
    fn cosmos3_guardrail_decisions_are_those_of_the_public_rule() {
        let file = include_str!("../../../../tests/golden/cosmos3/guardrail/partial_match.json");
        let decisions: Vec<Decision> = serde_json::from_str(file).expect("decisions");
        assert_eq!(decisions.len(), 36);
        for decision in decisions {
            let Decision { prompt, words, min_chars, letter_count, result } = decision;
            let list = Blocklist::new(words.iter().map(String::as_str), [], []);
            let text = prompt.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
            let found = list.find_in_plain(&text, Match::Near { characters_min: min_chars, differ: letter_count });
            assert_eq!(found.is_some(), result.blocked, "{prompt}, {min_chars}:{letter_count}");
            let Some(found) = found else { continue };
            assert_eq!(Some(found.entry), result.word.as_deref(), "{prompt}");
            assert_eq!(found.ratio == 1.0, result.how.as_deref() == Some("exact"), "{prompt}");
            if let Some(ratio) = result.ratio {
                assert!((found.ratio - ratio).abs() < 1e-12, "{prompt}: {} for {ratio}", found.ratio);
            }
        }
    }

    #[test]
    fn whole_words_are_found_and_parts_of_words_are_not() {
        let check = |text: &str, entry: &str, expected: bool| assert_eq!(has_words(text, entry), expected, "{text}");
        check("a bomb, please", "bomb", true);
        check("bomb", "bomb", true);
        check("bombs and a bomb", "bomb", true);
        check("bombs", "bomb", false);
        check("a_bomb", "bomb", false);
        check("in f# minor", "f#", false);
        check("f#x", "f#", true);
        check("道路", "道", false);
        check("道 路", "道", true);
        check("éclair", "clair", false);
    }

    #[test]
    fn what_looks_like_an_entry_is_one_and_what_is_allowed_is_not() {
        let list = Blocklist::new(["acid attack", ""], ["damn", "hell"], ["HELL"]);
        assert_eq!(list.len(), 2, "an empty entry is none");
        let blocked = |prompt: &str, near| list.find(prompt, near).map(|found| found.entry);
        let exact = Match::Exact;
        assert_eq!(blocked("an ÁCID\u{200b}   attack", exact), Some("acid attack"));
        assert_eq!(blocked("acid attacks", exact), None);
        assert_eq!(blocked("acid attacks", Match::Near { characters_min: 4, differ: 0.5 }), Some("acid attack"));
        assert_eq!(blocked("Damn!", exact), Some("damn"));
        assert_eq!(blocked("damns", Match::Near { characters_min: 4, differ: 0.5 }), None, "this list is exact");
        assert_eq!(blocked("hell", exact), None);
        assert_eq!(blocked("", exact), None);
    }

    #[test]
    fn how_near_is_said_by_two_numbers_or_a_word() {
        assert_eq!("exact".parse(), Ok(Match::Exact));
        assert_eq!("4:0.5".parse(), Ok(Match::Near { characters_min: 4, differ: 0.5 }));
        assert_eq!("6:0.4".parse(), Ok(Match::default()));
        for wrong in ["", "4", "4:", ":0.5", "0:0.5", "4:5", "4:-1", "4:NaN", "fuzzy"] {
            assert!(wrong.parse::<Match>().is_err(), "{wrong}");
        }
    }
}
