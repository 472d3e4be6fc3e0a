//! Ordinary words in, a small world's own words out.
//!
//! A text encoder whose vocabulary is a few hundred words takes every other word for the same one. A table beside its
//! tokenizer says which ordinary words, in any language, mean one of its own; words that are in neither are told.
//!
//! A prompt is cut into units: runs of letters and digits, and each Chinese character for itself. The longest row of units
//! that the table has is replaced first.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;

/// Unknown words that are told of one prompt. A prompt of 8 KiB could hold thousands.
pub const UNKNOWN_MAX: usize = 16;
/// Letters of the longest word that is told, and that a suggestion is looked for.
const LETTERS_MAX: usize = 32;
/// Letters that a suggestion may differ in.
const MISSPELT_MAX: usize = 2;
/// A word is taken for a compound of two from this length of each.
const PART_MIN: usize = 4;
/// Letters that inflection adds to words, in English and German.
const ENDINGS: [&str; 12] = ["s", "es", "ed", "ing", "ly", "e", "en", "er", "em", "n", "ern", "y"];
/// Letters that must be left without an ending.
const STEM_MIN: usize = 4;
/// German vowels as they are written where a keyboard lacks them.
const SPELT_OUT: [(&str, &str); 3] = [("ae", "ä"), ("oe", "ö"), ("ue", "ü")];

/// `words.json` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// The model's own words, and what else means the same, with commas between.
    means: BTreeMap<String, String>,
    /// Words that say nothing about a picture: they are passed by, and not told.
    neutral: String,
}

/// What a world with a small vocabulary makes of words.
#[derive(Debug)]
pub struct Words {
    known: HashSet<String>,
    means: HashMap<String, String>,
    neutral: HashSet<String>,
    /// Units of the longest row in the table.
    longest: usize,
}

/// A prompt as a world reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// In the world's own words; empty: it knows none of them.
    pub text: String,
    /// Words that it does not know, each once, in their order; at most [`UNKNOWN_MAX`].
    pub unknown: Vec<Unknown>,
}

/// A word that a world does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// In small letters, at most 32 of them.
    pub word: String,
    /// A word that it knows and that is spelt much the same.
    pub suggestion: Option<String>,
}

impl Words {
    /// `Err` says which word of the table the vocabulary lacks, or what stands in it twice.
    pub(crate) fn new(table: Table, vocabulary: impl Iterator<Item = String>) -> Result<Words, String> {
        let mut words =
            Words { known: vocabulary.collect(), means: HashMap::new(), neutral: HashSet::new(), longest: 1 };
        for (own, others) in table.means {
            if let Some(stranger) = units(&own).into_iter().find(|unit| !words.known.contains(unit)) {
                return Err(format!("{own:?} has {stranger:?}, which the tokenizer does not know"));
            }
            for other in others.split(',') {
                let row = units(other);
                words.longest = words.longest.max(row.len());
                if row.is_empty() || words.means.insert(row.join(" "), own.clone()).is_some() {
                    return Err(format!("{:?} stands there twice, or is empty", other.trim()));
                }
            }
        }
        words.neutral = table.neutral.split(',').map(|word| units(word).join(" ")).collect();
        Ok(words)
    }

    /// A prompt in the world's own words, and which words it does not know.
    pub fn read(&self, prompt: &str) -> Reading {
        let (text, strangers) = self.translate(prompt);
        Reading { text, unknown: self.tell(strangers) }
    }

    /// A prompt in the world's own words; `None`: it has words, and none that is known. Looks for no suggestions, which are
    /// for people: this runs where the world draws.
    pub(crate) fn in_own_words(&self, prompt: &str) -> Option<String> {
        let (text, strangers) = self.translate(prompt);
        (!text.is_empty() || strangers.is_empty()).then_some(text)
    }

    fn translate(&self, prompt: &str) -> (String, Vec<String>) {
        let units = units(prompt);
        let (mut own, mut strangers) = (Vec::new(), Vec::<String>::new());
        let (mut at, mut goes_on) = (0, false);
        while at < units.len() {
            let (taken, means) = self.at(&units[at..]);
            let is_stranger = means.is_none();
            match (means, strangers.last_mut()) {
                (Some(text), _) => own.push(text),
                // Nothing says where a Chinese word ends: a row of unknown characters is told as one.
                (None, Some(word)) if goes_on && units[at].chars().all(is_ideograph) => word.push_str(&units[at]),
                (None, _) => strangers.push(units[at].clone()),
            }
            goes_on = is_stranger && units[at].chars().all(is_ideograph);
            at += taken;
        }
        own.retain(|text| !text.is_empty());
        (own.join(" "), strangers)
    }

    /// Each word once, as many as may be told.
    fn tell(&self, strangers: Vec<String>) -> Vec<Unknown> {
        let mut words: Vec<String> = Vec::new();
        for stranger in strangers {
            let word: String = stranger.chars().take(LETTERS_MAX).collect();
            if words.len() < UNKNOWN_MAX && !words.contains(&word) {
                words.push(word);
            }
        }
        words.into_iter().map(|word| Unknown { suggestion: self.suggestion(&word), word }).collect()
    }

    /// How many units the longest row has that is known here, and what it means; `None`: the first unit is unknown.
    fn at(&self, units: &[String]) -> (usize, Option<String>) {
        for length in (2..=self.longest.min(units.len())).rev() {
            let row = units[..length].join(" ");
            if let Some(own) = self.means.get(&row) {
                return (length, Some(own.clone()));
            }
            if self.neutral.contains(&row) {
                return (length, Some(String::new()));
            }
        }
        (1, self.one(&units[0]))
    }

    /// What one unit means; empty: nothing to see.
    fn one(&self, unit: &str) -> Option<String> {
        if let Some(own) = self.listed(unit) {
            return Some(own);
        }
        if unit.chars().all(|letter| letter.is_ascii_digit()) {
            return Some(String::new());
        }
        // No word is so long, and every place of it would be tried.
        if unit.chars().count() > LETTERS_MAX {
            return None;
        }
        self.inflected(unit).or_else(|| self.compound(unit))
    }

    /// As it stands in the vocabulary or the table.
    fn listed(&self, unit: &str) -> Option<String> {
        if self.known.contains(unit) {
            return Some(unit.to_owned());
        }
        if let Some(own) = self.means.get(unit) {
            return Some(own.clone());
        }
        self.neutral.contains(unit).then(String::new)
    }

    fn inflected(&self, unit: &str) -> Option<String> {
        let spelt = SPELT_OUT.iter().fold(unit.to_owned(), |text, (two, vowel)| text.replace(two, vowel));
        [unit, &spelt].into_iter().find_map(|spelling| {
            let stems = ENDINGS.iter().filter_map(|ending| spelling.strip_suffix(ending));
            let long = |stem: &&str| stem.chars().count() >= STEM_MIN;
            self.listed(spelling).or_else(|| stems.filter(long).find_map(|stem| self.listed(stem)))
        })
    }

    /// Two words in one, as German writes them.
    fn compound(&self, unit: &str) -> Option<String> {
        let cuts = unit.char_indices().map(|(at, _)| at);
        cuts.map(|at| unit.split_at(at)).find_map(|(first, second)| {
            let is_part = |part: &str| part.chars().count() >= PART_MIN;
            if !is_part(first) || !is_part(second) {
                return None;
            }
            let part = |part| self.listed(part).or_else(|| self.inflected(part)).filter(|own| !own.is_empty());
            Some(format!("{} {}", part(first)?, part(second)?))
        })
    }

    /// The word that is spelt most like it, if one is near: a letter in four may differ, but not the first, with which
    /// slips seldom begin. Of those that are equally near, the first in the alphabet.
    fn suggestion(&self, word: &str) -> Option<String> {
        let letters = word.chars().count();
        let slips = (letters / 4).min(MISSPELT_MAX);
        let alike = |other: &&String| {
            other.chars().next() == word.chars().next() && other.chars().count().abs_diff(letters) <= slips
        };
        let single = self.means.keys().filter(|row| !row.contains(' '));
        let near = self.known.iter().chain(single).filter(|other| letters > STEM_MIN && alike(other));
        let near = near.map(|other| (strsim::osa_distance(word, other), other));
        near.filter(|&(distance, _)| distance <= slips).min().map(|(_, other)| other.clone())
    }
}

/// The preset that is spelt most like these words: what a video begins with whose prompt has no word that is known.
pub(super) fn nearest<'p>(presets: &'p [String], unknown: &[Unknown]) -> Option<&'p String> {
    let distance = |preset: &&String| {
        let words = units(preset);
        let pairs = unknown
            .iter()
            .flat_map(|said| words.iter().map(|word| strsim::normalized_damerau_levenshtein(&said.word, word)));
        // Floats that are compared as integers: a thousandth of likeness is enough.
        (1000.0 * (1.0 - pairs.fold(0.0, f64::max))) as u32
    };
    presets.iter().min_by_key(distance)
}

/// Small letters, composed; Chinese characters one by one.
fn units(text: &str) -> Vec<String> {
    let mut units = Vec::new();
    let mut open = String::new();
    for letter in text.nfkc().flat_map(char::to_lowercase) {
        let stands_alone = is_ideograph(letter);
        if (stands_alone || !letter.is_alphanumeric()) && !open.is_empty() {
            units.push(std::mem::take(&mut open));
        }
        if stands_alone {
            units.push(letter.to_string());
        } else if letter.is_alphanumeric() {
            open.push(letter);
        }
    }
    units.extend((!open.is_empty()).then_some(open));
    units
}

/// CJK unified ideographs, with extension A.
fn is_ideograph(letter: char) -> bool {
    matches!(letter, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}')
}

#[cfg(test)]
mod tests;
