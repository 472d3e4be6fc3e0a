//! A small table, and prompts that are read by it.

use super::*;

const KNOWN: &str = "a the at near desert island snowy snow mountains city night sunset forest with in green meadow";

fn words() -> Words {
    let means = [
        ("desert", "sahara, wüste, 沙漠"),
        ("island", "isle, insel"),
        ("snowy", "schneebedeckt"),
        ("snowy mountains", "alps, rocky mountain range"),
        ("night", "bei nacht, nachts, 夜晚"),
        ("sunset", "the sun sets"),
    ];
    let means = means.map(|(own, others)| (own.to_owned(), others.to_owned())).into();
    let table = Table { means, neutral: "please, show me, my, 的".to_owned() };
    Words::new(table, KNOWN.split(' ').map(str::to_owned)).expect("a table")
}

#[track_caller]
fn check(prompt: &str, text: &str, unknown: &[&str]) {
    let reading = words().read(prompt);
    let told: Vec<&str> = reading.unknown.iter().map(|unknown| unknown.word.as_str()).collect();
    assert_eq!((reading.text.as_str(), told.as_slice()), (text, unknown), "{prompt:?}");
}

#[test]
fn a_prompt_of_known_words_stays_as_it_is() {
    check("A snowy city, at night.", "a snowy city at night", &[]);
    check("", "", &[]);
}

#[test]
fn what_the_table_has_is_replaced_the_longest_row_first() {
    check("the Sahara as the sun sets", "the desert sunset", &["as"]);
    check("a rocky mountain range at night", "a snowy mountains at night", &[]);
}

#[test]
fn neutral_words_and_numbers_are_passed_by_and_not_told() {
    check("please show me my desert 360", "desert", &[]);
}

#[test]
fn other_languages_are_read_with_their_endings_compounds_and_spellings() {
    check("schneebedeckter Wald bei Nacht", "snowy night", &["wald"]);
    check("eine Wüsteninsel", "desert island", &["eine"]);
    check("Wueste", "desert", &[]);
    check("沙漠的夜晚", "desert night", &[]);
    check("火星表面的沙漠，龙", "desert", &["火星表面", "龙"]);
    check("islands isles", "island island", &[]);
}

#[test]
fn an_unknown_word_is_told_once_and_with_what_is_spelt_like_it() {
    let reading = words().read("a dessert with a dragon, a Dragon");
    let suggestions: Vec<_> = reading.unknown.iter().map(|told| (&*told.word, told.suggestion.as_deref())).collect();
    assert_eq!(suggestions, [("dessert", Some("desert")), ("dragon", None)]);
    assert_eq!(reading.text, "a with a a");
}

#[test]
fn a_long_prompt_of_unknown_words_is_told_within_bounds() {
    let prompt: String = (0..500).map(|i| format!("zz{i}qq{} ", "x".repeat(40))).collect();
    let reading = words().read(&prompt);
    assert_eq!(reading.unknown.len(), UNKNOWN_MAX);
    assert!(reading.unknown.iter().all(|told| told.word.chars().count() <= LETTERS_MAX));
}

#[test]
fn a_prompt_without_a_known_word_is_nearest_to_a_preset_that_is_spelt_like_it() {
    let presets = ["a city at night", "snowy hills"].map(str::to_owned);
    let unknown = |word: &str| [Unknown { word: word.to_owned(), suggestion: None }];
    assert_eq!(nearest(&presets, &unknown("snoowy")).map(String::as_str), Some("snowy hills"));
    assert_eq!(nearest(&presets, &unknown("xqzv")).map(String::as_str), Some("a city at night"));
    assert_eq!(nearest(&[], &unknown("snowy")), None);
}

#[test]
fn a_table_that_names_strangers_or_repeats_itself_is_refused() {
    let table =
        |own: &str, others: &str| Table { means: [(own.to_owned(), others.to_owned())].into(), neutral: String::new() };
    let refused = |table| Words::new(table, ["desert".to_owned()].into_iter()).map(|_| ()).expect_err("a bad table");
    assert!(refused(table("dragon", "wyvern")).contains("dragon"));
    assert!(refused(table("desert", "sahara, gobi, Sahara")).contains("Sahara"));
    assert!(refused(table("desert", "sahara,, gobi")).contains("empty"));
}
