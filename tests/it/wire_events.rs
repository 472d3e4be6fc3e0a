//! Steering: which inputs the world draws with, after which events.
//!
//! The world hangs on strings. A chunk begins and its input is noted; while it is drawn, events are sent and known to have
//! arrived; then it may end, and the next one begins. So every test is exact, and none waits for a clock.

use anyhow::{Result, ensure};
use pipeline::world::ChunkInput;
use rmpv::Value;
use tests::client::Client;
use tests::message::{Event, map, script};
use tests::puppet::{Puppet, Strings, held};
use tests::{Server, small};

/// A session whose world stands still inside a chunk.
struct Stage {
    // Dropped in this order: a client that goes first lets the server stop at once.
    client: Client,
    strings: Strings,
    _server: Server,
}

impl Stage {
    /// Inside chunk 0, with nothing said but the init.
    async fn set() -> Result<Stage> {
        let (server, mut strings) = Server::with(Puppet::on_strings())?;
        let client = server.session(small()).await?;
        let (plan, input) = strings.began().await?;
        ensure!(plan.index == 0 && input == ChunkInput::default(), "{plan:?}, {input:?}");
        Ok(Stage { client, strings, _server: server })
    }

    /// Say this while the chunk is drawn, and see what steers the next one.
    async fn after(&mut self, events: impl IntoIterator<Item = Event>) -> Result<ChunkInput> {
        for event in events {
            self.client.send(event).await?;
        }
        self.client.ping().await?;
        self.strings.allow(1);
        Ok(self.strings.began().await?.1)
    }

    /// The ids that chunks carry, once their frames are here.
    async fn id_of_next_chunk(&mut self) -> Result<Option<u64>> {
        Ok(self.client.chunk().await?.stats.event_id)
    }
}

/// A row for each chunk after the first: the events that come while the chunk before is drawn, and the keys of each of its
/// latent frames (`None`: the world's camera is not asked at all).
async fn check(rows: impl IntoIterator<Item = (Vec<Event>, Option<&str>)>) -> Result<()> {
    let mut stage = Stage::set().await?;
    for (row, (events, expected)) in rows.into_iter().enumerate() {
        let said = format!("{events:?}");
        let input = stage.after(events).await?;
        ensure!(held(&input).as_deref() == expected, "chunk {}: {input:?}, not {expected:?}, after {said}", row + 1);
    }
    Ok(())
}

fn hold(keys: &str) -> Vec<Event> {
    vec![Event::hold(keys)]
}

fn nothing() -> Vec<Event> {
    Vec::new()
}

/// C56, as it happens: said before the first chunk is drawn. A key that is pressed then does steer it.
#[tokio::test]
async fn the_first_chunk_is_drawn_with_the_prompt_of_the_init_and_with_the_keys_held_by_then() -> Result<()> {
    // The world loads on a string, so the first chunk cannot begin before everything is said.
    let (server, mut strings) = Server::with(Puppet { loads_on_a_string: true, ..Puppet::default() })?;
    let mut client = server.session(small().max_chunks(2)).await?;
    client.send(Event::prompt("rain").id(1)).await?;
    client.send(Event::hold("w").id(2)).await?;
    client.ping().await?;
    strings.allow(1);
    ensure!(strings.opened().await?.prompt == "a meadow");
    for prompt in [None, Some("rain")] {
        let (plan, input) = strings.began().await?;
        ensure!(input.prompt.as_deref() == prompt, "chunk {}: {input:?}", plan.index);
        ensure!(held(&input).as_deref() == Some("w w w"), "chunk {}: {input:?}", plan.index);
    }
    client.closed().await?;
    Ok(())
}

/// C56
#[tokio::test]
async fn a_prompt_sent_during_a_chunk_takes_effect_at_the_next_and_only_there() -> Result<()> {
    let mut stage = Stage::set().await?;
    ensure!(stage.after([Event::prompt("rain")]).await?.prompt.as_deref() == Some("rain"));
    ensure!(stage.after([]).await?.prompt.is_none(), "an unchanged prompt was given again");
    Ok(())
}

/// C57
#[tokio::test]
async fn of_two_prompts_in_one_chunk_the_last_is_used() -> Result<()> {
    let mut stage = Stage::set().await?;
    let input = stage.after([Event::prompt("rain"), Event::prompt("snow")]).await?;
    ensure!(input.prompt.as_deref() == Some("snow"), "{input:?}");
    ensure!(stage.after([]).await?.prompt.is_none());
    Ok(())
}

/// C58
#[tokio::test]
async fn a_key_is_held_until_it_is_let_go() -> Result<()> {
    let w = Some("w w w");
    check([(hold("w"), w), (nothing(), w), (nothing(), w), (hold(""), Some("- - -")), (nothing(), Some("- - -"))]).await
}

/// C59
#[tokio::test]
async fn a_tap_within_one_chunk_moves_one_latent_frame() -> Result<()> {
    check([(vec![Event::changes(["w", ""])], Some("w - -")), (nothing(), Some("- - -"))]).await?;
    check([([hold("w"), hold("")].concat(), Some("w - -")), (nothing(), Some("- - -"))]).await
}

/// And of several taps in one chunk the last is seen.
#[tokio::test]
async fn letting_go_of_a_held_key_is_not_a_tap() -> Result<()> {
    check([(hold("w"), Some("w w w")), (hold(""), Some("- - -"))]).await?;
    check([(vec![Event::changes(["w", "", "d", ""])], Some("d - -"))]).await
}

/// C60
#[tokio::test]
async fn of_several_changes_in_one_chunk_the_last_is_held() -> Result<()> {
    check([(vec![Event::changes(["w", "wd", "d"])], Some("d d d")), (nothing(), Some("d d d"))]).await
}

/// C61
#[tokio::test]
async fn a_script_is_played_once_and_then_nothing_is_held() -> Result<()> {
    let four = vec![Event::script(["w", "a", "s", "d"])];
    check([(four, Some("w a s")), (nothing(), Some("d - -")), (nothing(), Some("- - -"))]).await
}

#[tokio::test]
async fn a_new_script_replaces_what_is_left_of_the_old() -> Result<()> {
    let old = vec![Event::script(["w", "w", "w", "w", "w", "w"])];
    check([(old, Some("w w w")), (vec![Event::script(["d"])], Some("d - -")), (nothing(), Some("- - -"))]).await
}

/// C62
#[tokio::test]
async fn a_held_key_drops_a_script_and_a_script_forgets_a_held_key() -> Result<()> {
    let script_then_key = vec![Event::script(["a", "a", "a", "a"]), Event::hold("w")];
    check([(script_then_key, Some("w w w")), (nothing(), Some("w w w"))]).await?;
    let key_then_script = vec![Event::hold("w"), Event::script(["d"])];
    check([(key_then_script, Some("d - -")), (nothing(), Some("- - -"))]).await
}

/// C63
#[tokio::test]
async fn an_empty_script_stops_and_no_transitions_only_cancel_a_script() -> Result<()> {
    check([(hold("w"), Some("w w w")), (vec![Event::script([])], Some("- - -"))]).await?;
    let long = vec![Event::script(["a"; 6])];
    check([(long, Some("a a a")), (vec![Event::changes([])], Some("- - -"))]).await?;
    check([(hold("w"), Some("w w w")), (vec![Event::changes([])], Some("w w w"))]).await
}

/// C64
#[tokio::test]
async fn without_any_control_the_camera_is_not_asked() -> Result<()> {
    check([(nothing(), None), (vec![Event::prompt("rain")], None), (nothing(), None), (hold(""), Some("- - -"))]).await
}

/// C65
#[tokio::test]
async fn a_composite_with_one_bad_part_changes_nothing() -> Result<()> {
    let mut stage = Stage::set().await?;
    let bad_second = Event::composite([Event::prompt("rain"), Event::new("camera_actions", "w")]);
    let bad_first = Event::composite([Event::prompt(""), Event::hold("w")]);
    let unknown = Event::composite([Event::hold("w"), Event::new("jump", "high")]);
    let absent = Event::new("composite_input", map([("input_types", script(["w"])), ("prompt", "rain".into())]));
    let empty = Event::new("composite_input", map([("input_types", Value::Array(vec![])), ("prompt", "rain".into())]));
    let input = stage.after([bad_second, bad_first, unknown, absent, empty]).await?;
    ensure!(input == ChunkInput::default(), "{input:?}");
    for _ in 0..5 {
        stage.client.error().await?;
    }
    Ok(())
}

/// C66
#[tokio::test]
async fn the_parts_of_a_composite_take_effect_in_the_same_chunk() -> Result<()> {
    let mut stage = Stage::set().await?;
    let input = stage.after([Event::composite([Event::prompt("rain"), Event::hold("w")]).id(9)]).await?;
    ensure!(input.prompt.as_deref() == Some("rain") && held(&input).as_deref() == Some("w w w"), "{input:?}");
    stage.strings.allow(1);
    ensure!(stage.id_of_next_chunk().await?.is_none());
    ensure!(stage.id_of_next_chunk().await? == Some(9));
    Ok(())
}

/// C67
#[tokio::test]
async fn keys_that_mean_nothing_are_accepted_and_do_nothing() -> Result<()> {
    let tokens = |list: Vec<Value>| map([("actions", Value::Array(list))]);
    let odd = Value::Array(vec![tokens(vec!["W".into(), "jump".into(), 5.into(), Value::Nil, "w".into(), "w".into()])]);
    let odd = Event::new("camera_actions", map([("mode", "state".into()), ("transitions", odd)]));
    check([(vec![odd], Some("w w w"))]).await
}

/// C68
#[tokio::test]
async fn times_and_ids_may_come_as_floats() -> Result<()> {
    let mut stage = Stage::set().await?;
    let transition = map([("actions", script(["w"])[0].clone()), ("client_ts_ms", Value::F64(81_234.25))]);
    let payload = map([("mode", "state".into()), ("transitions", Value::Array(vec![transition]))]);
    let input = stage.after([Event::new("camera_actions", payload).set("event_id", Value::F64(65_536.0))]).await?;
    ensure!(held(&input).as_deref() == Some("w w w"), "{input:?}");
    stage.after([Event::prompt("rain").set("event_id", "65537")]).await?;
    stage.strings.allow(1);
    for expected in [None, Some(65_536), Some(65_537)] {
        ensure!(stage.id_of_next_chunk().await? == expected);
    }
    Ok(())
}

/// Deliberately not the reference's rule, where a camera event hides a prompt's id and a script that runs dry takes the id
/// away: what is reported is the newest of all ids applied, so that whoever waits for one sees it.
#[tokio::test]
async fn an_event_id_once_reported_is_never_taken_back() -> Result<()> {
    let mut stage = Stage::set().await?;
    let mut expected = vec![None];
    let rows = [
        (vec![Event::hold("w").id(3), Event::prompt("rain").id(5)], Some(5)),
        (vec![Event::hold("a").id(4)], Some(5)),
        (vec![Event::script(["d"]).id(8)], Some(8)),
        (nothing(), Some(8)),
        (vec![Event::hold("w")], Some(8)),
    ];
    for (events, id) in rows {
        stage.after(events).await?;
        expected.push(id);
    }
    stage.strings.allow(1);
    for expected in expected {
        let id = stage.id_of_next_chunk().await?;
        ensure!(id == expected, "{id:?}, not {expected:?}");
    }
    Ok(())
}

/// C55. Each gets one answer, and nothing that it said is taken.
#[tokio::test]
async fn each_bad_event_is_answered_once_and_changes_nothing() -> Result<()> {
    let mut stage = Stage::set().await?;
    let state = |transitions: Value| {
        Event::new("camera_actions", map([("mode", "state".into()), ("transitions", transitions)])).into()
    };
    let one = |transition: Value| state(Value::Array(vec![transition]));
    let bad: Vec<(&str, Value)> = vec![
        ("an unknown kind", Event::new("jump", "high").into()),
        ("no kind", map([("type", "event".into()), ("payload", "rain".into())])),
        ("a kind that is a number", Event::prompt("rain").set("kind", 5).into()),
        ("no payload", map([("type", "event".into()), ("kind", "prompt".into())])),
        ("an unknown type", Event::prompt("rain").set("type", "happening").into()),
        ("a list", Value::Array(vec![])),
        ("nil", Value::Nil),
        ("an empty prompt", Event::prompt("").into()),
        ("a prompt that is a number", Event::new("prompt", 5).into()),
        ("a script with a string for an item", Event::new("camera_actions", Value::Array(vec!["w".into()])).into()),
        ("a script that is a string", Event::new("camera_actions", "w").into()),
        ("a state without its mode", Event::new("camera_actions", map([("transitions", script(["w"]))])).into()),
        ("a state without transitions", Event::new("camera_actions", map([("mode", "state".into())])).into()),
        ("transitions that are a map", state(map([]))),
        ("a transition that is a list", one(Value::Array(vec!["w".into()]))),
        ("a transition without actions", one(map([]))),
        ("actions that are a string", one(map([("actions", "w".into())]))),
        ("a time that is a word", one(map([("actions", Value::Array(vec![])), ("client_ts_ms", "soon".into())]))),
        ("a fractional id", Event::hold("w").set("event_id", 7.5).into()),
        ("a negative id", Event::hold("w").set("event_id", -1).into()),
        ("an id the reference's page cannot read", Event::hold("w").set("event_id", 1_u64 << 32).into()),
        ("a second init", small().set("prompt", "another").into()),
    ];
    for (what, event) in bad {
        stage.client.send(event).await?;
        let error = stage.client.error().await.map_err(|error| error.context(what))?;
        ensure!(error.content.starts_with("invalid event"), "{what}: {error}");
    }
    stage.client.send_bytes(vec![0xc1, 0xff]).await?;
    ensure!(stage.client.error().await?.content.starts_with("invalid event"));
    let input = stage.after([]).await?;
    ensure!(input == ChunkInput::default(), "{input:?}");
    // Exactly one answer each: the next message is a frame.
    stage.client.chunk().await?;
    Ok(())
}

#[tokio::test]
async fn a_bad_event_is_told_what_is_wrong_with_it() -> Result<()> {
    let mut stage = Stage::set().await?;
    for (event, named) in [
        (Event::new("jump", "high"), "kind"),
        (Event::prompt(""), "prompt"),
        (Event::new("camera_actions", "w"), "camera_actions"),
        (Event::hold("w").set("event_id", 7.5), "event_id"),
    ] {
        stage.client.send(event).await?;
        let error = stage.client.error().await?;
        ensure!(error.to_string().contains(named), "{error:?} does not name {named}");
    }
    Ok(())
}
