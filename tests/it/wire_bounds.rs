//! Bounds of a client's messages: what just fits is accepted, and one more is refused by the name of its field.
//!
//! Reading a message is a decision without a socket, so most are asked where it is made. Bounds that take a connection, a
//! wait or a flood to reach stand where those are: `wire_slots`, `wire_pacing`, `wire_keepalive`, `wire_bad_input`,
//! `lifecycle`, `access`.

use anyhow::{Context, Result, ensure};
use pipeline::testcard::Testcard;
use pipeline::world::{Card, Refusal, Size, World};
use rmpv::Value;
use server::access::rules::keys::{ApiKeys, KeyLimits};
use server::media::first_frame;
use server::realtime::wire::event;
use server::realtime::wire::features::Features;
use server::realtime::wire::first_message::{self, FirstMessage, WrongFirst};
use std::io::Cursor;
use std::time::{Duration, Instant};
use tests::message::{Event, Init, map, script};
use tests::puppet::Puppet;
use tests::raw::{BINARY, CLOSE, Raw};
use tests::{Server, small};

fn encoded(message: impl Into<Value>) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &message.into()).expect("a Vec takes every byte");
    bytes
}

/// Any window, and any size that an init here asks for.
fn card() -> Card {
    Card::clone(Testcard::new(Duration::ZERO).card())
}

/// The first message is accepted; the second is refused because of this field.
fn check(what: &str, fits: Result<(), Refusal>, one_more: Result<(), Refusal>, field: &str) {
    assert_eq!(fits, Ok(()), "{what} just fits");
    let refusal = one_more.expect_err(what);
    assert_eq!(refusal.field, field, "{what}: {refusal}");
    assert!(!refusal.reason.is_empty(), "{what} is refused without a reason");
}

fn check_init(what: &str, fits: Init, one_more: Init, field: &str) {
    let read = |init: Init| match first_message::decode(&encoded(init).into()).message {
        Ok(FirstMessage::Init(request)) => request.check(&card()).map(drop),
        Ok(other) => panic!("{other:?}"),
        Err(
            WrongFirst::Init(refusal)
            | WrongFirst::Resume(refusal)
            | WrongFirst::Watch(refusal)
            | WrongFirst::Hello(refusal),
        ) => Err(refusal),
    };
    check(what, read(fits), read(one_more), field);
}

fn check_event(what: &str, fits: Event, one_more: Event, field: &str) {
    let read = |event: Event| {
        event::Asked::decode(&encoded(event), Features::default()).map(drop).map_err(|invalid| invalid.refusal)
    };
    check(what, read(fits), read(one_more), field);
}

#[test]
fn numbers_of_an_init_have_an_end() {
    for (field, most) in
        [("fps", 240), ("num_frames", 257), ("realtime_causal_kv_cache_num_frames", 1024), ("output_compression", 100)]
    {
        check_init(field, small().set(field, most), small().set(field, most + 1u64), field);
    }
    // No integer of MessagePack is larger; text and a float can say it.
    for field in ["seed", "max_chunks"] {
        for one_more in [Value::from("18446744073709551616"), Value::F64(2f64.powi(64))] {
            check_init(field, small().set(field, u64::MAX), small().set(field, one_more), field);
        }
    }
    // What a chunk of three leaves of the longest window.
    let longest = || small().set("realtime_causal_kv_cache_num_frames", 1024);
    let sink = "realtime_causal_sink_size";
    check_init(sink, longest().set(sink, 1021), longest().set(sink, 1022), sink);
}

#[test]
fn a_prompt_has_a_length() {
    let prompt = |bytes: usize| "p".repeat(bytes);
    check_init("a prompt of 8 KiB", Init::new(&prompt(8192)), Init::new(&prompt(8193)), "prompt");
    check_event("a prompt of 8 KiB", Event::prompt(&prompt(8192)), Event::prompt(&prompt(8193)), "prompt");
}

#[test]
fn lists_have_a_length() {
    let actions = "camera_actions";
    let scripted = |items: usize| small().set("condition_inputs", map([(actions, script(vec!["w"; items]))]));
    check_init("a first script", scripted(4096), scripted(4097), actions);
    let items = |count: usize| Event::script(vec![""; count]);
    check_event("a script", items(4096), items(4097), actions);
    let transitions = |count: usize| Event::changes(vec!["w"; count]);
    check_event("transitions", transitions(512), transitions(513), "transitions");
    let parts = |count: usize| Event::composite(vec![Event::prompt("rain"); count]);
    check_event("a composite", parts(16), parts(17), "input_types");
}

/// With keys that nobody knows, which would be ignored.
#[test]
fn a_message_has_a_length_a_depth_and_a_number_of_values() {
    // A bin16 has three bytes before its own, and its key five.
    let filled = |bytes: usize| {
        let filler = vec![0; bytes - encoded(Event::hold("w")).len() - 8];
        let event = Event::hold("w").set("fill", Value::Binary(filler));
        assert_eq!(encoded(event.clone()).len(), bytes);
        event
    };
    check_event("an event of 64 KiB", filled(65_536), filled(65_537), "message");
    // The message's own map is one.
    let deep = |levels: usize, innermost: Value| {
        let nested = (1..levels).fold(innermost, |inside, level| match level % 2 {
            0 => Value::Array(vec![1.into(), inside, Value::Array(vec![])]),
            _ => map([("a", 1.into()), ("inside", inside)]),
        });
        small().set("fill", nested)
    };
    for innermost in [Value::Nil, "text".into(), Value::Array(vec![])] {
        check_init("lists and maps in each other", deep(16, innermost.clone()), deep(17, innermost), "message");
    }
    // The map, the keys and values that are small's, and the list itself.
    let ours = 1 + 2 * encoded_entries(small()) + 2;
    let wide = |values: usize| small().set("fill", Value::Array(vec![Value::Nil; values - ours]));
    check_init("a message of many values", wide(65_536), wide(65_537), "message");
}

fn encoded_entries(init: Init) -> usize {
    Value::from(init).as_map().expect("an init is a map").len()
}

/// The one that fits is decoded; of the other nothing but its head is read.
#[test]
fn a_first_frame_has_a_number_of_pixels() -> Result<()> {
    let file = |width: u32, height: u32| -> Result<Vec<u8>> {
        let mut file = Cursor::new(Vec::new());
        image::GrayImage::new(width, height).write_to(&mut file, image::ImageFormat::Png)?;
        Ok(file.into_inner())
    };
    let fitted = Size { width: 64, height: 48 };
    let picture = first_frame::read(&file(8000, 5000)?, fitted).map_err(anyhow::Error::msg)?;
    ensure!(picture.size == fitted, "{}", picture.size);
    let reason = first_frame::read(&file(8000, 5001)?, fitted).err().context("one row more")?;
    ensure!(reason.contains("8000x5001") && reason.contains("40000000"), "{reason}");
    Ok(())
}

#[test]
fn a_file_of_keys_has_a_length() {
    let lines = |count: usize| (0..count).map(|n| format!("k{n} sha256:{n:064x}\n")).collect::<String>();
    let parse = |count: usize| ApiKeys::parse(&lines(count), KeyLimits::default());
    assert!(parse(10_000).is_ok());
    assert!(parse(10_001).is_err_and(|error| error.to_string().contains("10000")));
}

/// A close is an exchange, but nobody waits for the other half of it for ever.
#[tokio::test]
async fn who_does_not_answer_a_close_is_hung_up_on_after_two_seconds() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let mut raw = Raw::open(server.address).await?;
    raw.send(BINARY, &encoded(small().max_chunks(1))).await?;
    while raw.receive().await?.context("the connection ended without a close")?.opcode != CLOSE {}
    let said = Instant::now();
    ensure!(raw.receive().await?.is_none(), "more after a close");
    let waited = said.elapsed();
    ensure!(waited > Duration::from_millis(1500) && waited < Duration::from_secs(10), "hung up on after {waited:?}");
    Ok(())
}
