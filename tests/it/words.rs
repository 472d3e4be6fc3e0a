//! The words of the world that ships: ordinary sentences are read, and what is not known is told. C115, C116.

use std::sync::Arc;

use anyhow::Result;
use pipeline::testcard::Testcard;
use pipeline::world::Card;
use server::Limits;
use tests::message::{Event, Init, PromptRead, UnknownWord};
use tests::{Server, small};

fn card() -> Arc<Card> {
    let world = pipeline::load_world(&server::pocket::dir(), &pipeline::Device::cpu()).expect("the pocket world");
    world.card().clone()
}

#[test]
fn the_world_that_ships_reads_two_thousand_words_and_its_own_prompts_stay_as_they_are() {
    let card = card();
    let table = include_str!("../../pocket/weights/tokenizer/words.json");
    let table: serde_json::Value = serde_json::from_str(table).expect("JSON");
    let means = table["means"].as_object().expect("a table");
    let others: Vec<&str> = means.values().flat_map(|others| others.as_str().unwrap_or_default().split(", ")).collect();
    assert!(others.len() > 2000, "{}", others.len());
    for other in others {
        let reading = card.read_prompt(other);
        assert!(reading.unknown.is_empty() && !reading.text.is_empty(), "{other:?} is read as {reading:?}");
    }
    for prompt in card.presets.iter().chain(card.gallery.iter().map(|item| &item.prompt)) {
        let reading = card.read_prompt(prompt);
        assert_eq!((reading.text, reading.unknown.len()), (prompt.replace(',', ""), 0));
    }
}

#[test]
fn ordinary_sentences_in_three_languages_name_a_place_and_strangers_are_told() {
    let card = card();
    for (prompt, place, unknown) in [
        ("the Sahara under a full moon", "desert", &[][..]),
        ("Show me Hawaii in the afternoon, please!", "island", &[]),
        ("hiking in the Alps during a blizzard", "snowy mountain range", &[]),
        ("ein verschneiter Winterwald bei Nacht", "winter forest", &[]),
        ("eine Straße in Tokio am Abend", "city", &[]),
        ("黄昏时的沙漠", "desert", &[]),
        ("海边的灯塔", "lighthouse", &[]),
        ("a dragon over Manhattan at midnight", "city", &["dragon"]),
    ] {
        let reading = card.read_prompt(prompt);
        let told: Vec<&str> = reading.unknown.iter().map(|unknown| unknown.word.as_str()).collect();
        assert!(reading.text.contains(place) && told == unknown, "{prompt:?} is read as {reading:?}");
    }
}

#[test]
fn a_prompt_of_strangers_begins_with_a_preset_where_there_is_no_picture() {
    let card = card();
    let reading = card.read_prompt("dragons versus robots");
    assert!(reading.text.is_empty(), "{reading:?}");
    let instead = card.begins_instead(&reading, false).expect("a preset");
    assert!(card.presets.iter().any(|preset| preset == instead));
    assert_eq!(card.begins_instead(&reading, true), None, "the picture says what to draw");
    assert_eq!(card.begins_instead(&card.read_prompt(""), false), None, "nothing was asked");
}

fn stranger(word: &str, suggestion: Option<&str>) -> UnknownWord {
    UnknownWord { word: word.to_owned(), suggestion: suggestion.map(str::to_owned) }
}

/// C115: of the init, and of an event at once.
#[tokio::test]
async fn a_client_that_asks_hears_which_words_of_its_prompts_the_world_does_not_know() -> Result<()> {
    let server = Server::start(
        Box::new(|| Ok(pipeline::load_world(&server::pocket::dir(), &pipeline::Device::cpu())?)),
        Limits::default(),
    )?;
    let init = |prompt: &str| Init::new(prompt).features(["unknown_words", "step"]);
    let mut client = server.session(init("dragons versus robots")).await?;
    client.send(Event::step_with([Event::prompt("a dessert by night, with a wyvern")]).id(7)).await?;
    client.chunk().await?;
    let [first, event] = &client.read[..] else { panic!("{:?}", client.read) };
    assert_eq!((first.event_id, first.text.as_str()), (None, ""));
    assert_eq!(first.unknown, ["dragons", "versus", "robots"].map(|word| stranger(word, None)));
    assert!(first.instead.is_some(), "{first:?}");
    let unknown = vec![stranger("dessert", Some("desert")), stranger("wyvern", None)];
    let text = "a by night with a".to_owned();
    assert_eq!(event, &PromptRead { event_id: Some(7), text, unknown, instead: None });

    let mut known = server.session(init("a desert at noon")).await?;
    known.send(Event::step()).await?;
    known.chunk().await?;
    let read = PromptRead { event_id: None, text: "a desert at noon".into(), unknown: Vec::new(), instead: None };
    assert_eq!(known.read, [read], "a page can take away what it told before");
    Ok(())
}

/// C116: a message of a type that nobody asked for would be an error of the strict client.
#[tokio::test]
async fn a_client_that_does_not_ask_and_a_world_that_reads_any_text_hear_nothing_of_words() -> Result<()> {
    let server = Server::start(Box::new(|| Ok(Box::new(Testcard::new(Default::default())))), Limits::default())?;
    let mut client = server.session(small().features(["unknown_words", "step"])).await?;
    client.send(Event::step_with([Event::prompt("dragons versus robots")])).await?;
    client.chunk().await?;
    assert_eq!(client.read, []);
    Ok(())
}
