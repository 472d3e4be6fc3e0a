//! Bad input of every kind: the server lives on, and other sessions do not notice.
//!
//! Every test has a bystander whose chunks are counted and checked from before the mischief until after it. Which answer a
//! wrong field gets is told in `wire_init` and `wire_events`; here it is what is too deep, too long or too many.
//!
//! Over 400 lines: every kind of bad input once, beside the same bystander.

use anyhow::{Context, Result, ensure};
use rmpv::Value;
use server::Limits;
use std::time::{Duration, Instant};
use tests::bystander::{Bystander, Scene};
use tests::message::{Event, Init, Message};
use tests::puppet::{Puppet, held};
use tests::raw::{BINARY, CLOSE, Raw};
use tests::{Server, refusal, small};

/// Containers that claim more than they hold, or hold containers without end.
fn monsters() -> Vec<(&'static str, Vec<u8>)> {
    let under_a_key = |value: &[u8]| [&[0x81, 0xa6][..], b"prompt", value].concat();
    vec![
        ("an array of four billion", vec![0xdd, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ("a map of four billion", vec![0xdf, 0xff, 0xff, 0xff, 0xff, 0xa1, b'a', 0x01]),
        ("a string of 4 GB", under_a_key(&[0xdb, 0xff, 0xff, 0xff, 0xff, b'a'])),
        ("a picture of 4 GB", under_a_key(&[0xc6, 0xff, 0xff, 0xff, 0xff, 0x00])),
        ("an extension of 4 GB", under_a_key(&[0xc9, 0xff, 0xff, 0xff, 0xff, 0x01])),
        ("four billion in each of many", [0xdd, 0xff, 0xff, 0xff, 0xff].repeat(10_000)),
        ("arrays a million deep", vec![0x91; 1 << 20]),
        ("maps half a million deep", [0x81, 0xa0].repeat(1 << 19)),
        ("two million nils", [&[0xdd, 0x00, 0x20, 0x00, 0x00][..], &vec![0xc0; 1 << 21]].concat()),
    ]
}

#[tokio::test]
async fn messagepack_that_claims_too_much_is_refused_before_a_session() -> Result<()> {
    let mut scene = Scene::set().await?;
    let mut client = scene.server.connect().await?;
    for (what, bytes) in monsters() {
        client.send_bytes(bytes).await?;
        refusal(&mut client).await.context(what)?;
    }
    client.send(small().max_chunks(1)).await?;
    client.chunk().await?;
    scene.ends_well().await
}

#[tokio::test]
async fn messagepack_that_claims_too_much_is_refused_during_a_session() -> Result<()> {
    let mut scene = Scene::set().await?;
    let mut client = scene.server.session(small()).await?;
    for (what, bytes) in monsters() {
        client.send_bytes(bytes).await?;
        ensure!(client.error().await.context(what)?.content.starts_with("invalid event"));
    }
    scene.ends_well().await
}

#[tokio::test]
async fn every_prefix_of_a_good_init_is_refused() -> Result<()> {
    let mut scene = Scene::set().await?;
    let mut init = Vec::new();
    rmpv::encode::write_value(&mut init, &small().max_chunks(1).into())?;
    let mut client = scene.server.connect().await?;
    for length in 0..init.len() {
        // Too many bad messages at once end a connection.
        if length % 40 == 39 {
            client = scene.server.connect().await?;
        }
        client.send_bytes(init[..length].to_vec()).await?;
        refusal(&mut client).await.with_context(|| format!("{length} bytes of {}", init.len()))?;
    }
    client.send_bytes(init).await?;
    client.chunk().await?;
    scene.ends_well().await
}

/// The reference drops the connection without a word. A text frame can never be right, so it is an end; a named one.
#[tokio::test]
async fn a_text_frame_during_a_session_closes_it_with_1003() -> Result<()> {
    let mut scene = Scene::set().await?;
    let mut client = scene.server.session(small()).await?;
    client.chunk().await?;
    client.send_text("w").await?;
    let close = loop {
        if let Message::Closed(close) = client.next().await? {
            break close;
        }
    };
    ensure!(close.code == 1003 && !close.reason.is_empty(), "{close:?}");
    scene.ends_well().await
}

#[tokio::test]
async fn a_hundred_megabytes_in_one_message_end_that_connection_only() -> Result<()> {
    let mut scene = Scene::set().await?;
    let mut raw = Raw::open(scene.server.address).await?;
    // Sent for real this time, all of it or until nobody takes it any more.
    raw.announce(BINARY, 100 << 20).await?;
    let block = vec![0; 1 << 20];
    for _ in 0..100 {
        if tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &block).await.is_err() {
            break;
        }
    }
    // A close frame, unless what was still under way has reset the connection; never an answer.
    let last = raw.receive().await;
    ensure!(last.as_ref().map_or(true, |frame| frame.as_ref().is_none_or(|f| f.opcode == CLOSE)), "{last:?}");
    scene.ends_well().await
}

#[tokio::test]
async fn a_prompt_of_a_megabyte_is_refused_by_name() -> Result<()> {
    let mut scene = Scene::set().await?;
    let prompt = "a long way ".repeat(100_000);
    let mut client = scene.server.session(Init::new(&prompt).size(16, 16)).await?;
    let error = refusal(&mut client).await?;
    ensure!(error.to_string().contains("prompt"), "{error}");
    ensure!(error.to_string().len() < 1000, "the answer repeats the prompt");
    client.send(small()).await?;
    client.chunk().await?;
    client.send(Event::prompt(&prompt)).await?;
    ensure!(client.error().await?.content.starts_with("invalid event"));
    client.send(Event::prompt(&prompt[..20_000])).await?;
    let error = client.error().await?;
    ensure!(error.content.starts_with("invalid event") && error.to_string().contains("prompt"), "{error}");
    client.chunk().await?;
    scene.ends_well().await
}

/// The reference silently keeps the last 512 of them.
#[tokio::test]
async fn a_script_of_ten_thousand_actions_is_refused_whole() -> Result<()> {
    let mut scene = Scene::set().await?;
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let mut client = server.session(small()).await?;
    strings.began().await?;
    client.send(Event::script(["w"; 10_000])).await?;
    let error = client.error().await?;
    ensure!(error.content.starts_with("invalid event") && error.to_string().contains("camera_actions"), "{error}");
    strings.allow(1);
    let (_, input) = strings.began().await?;
    ensure!(input.controls.is_none(), "some of it was taken: {input:?}");

    let script = tests::message::script(["w"; 10_000]);
    let init = small().set("condition_inputs", tests::message::map([("camera_actions", script)]));
    let error = refusal(&mut scene.server.session(init).await?).await?;
    ensure!(error.to_string().contains("camera_actions"), "{error}");
    scene.ends_well().await
}

#[tokio::test]
async fn ten_thousand_transitions_in_one_event_end_in_the_last_or_are_refused() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let mut client = server.session(small()).await?;
    strings.began().await?;
    client.send(Event::changes(["a", "d"].repeat(5_000).into_iter().chain(["w"]))).await?;
    client.ping().await?;
    strings.allow(1);
    let (_, input) = strings.began().await?;
    let steered = held(&input);
    ensure!(matches!(steered.as_deref(), None | Some("w w w")), "{steered:?}");
    if steered.is_none() {
        ensure!(client.error().await?.content.starts_with("invalid event"));
    }
    Ok(())
}

/// More than a hand can make while a slow chunk is drawn.
#[tokio::test]
async fn as_many_events_as_may_come_at_once_end_in_the_last() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let mut client = server.session(small()).await?;
    strings.began().await?;
    for event in flips() {
        client.send(event).await?;
    }
    client.ping().await?;
    strings.allow(2);
    let (_, input) = strings.began().await?;
    ensure!(held(&input).as_deref() == Some("w w w"), "{input:?}");
    client.chunk().await?;
    ensure!(client.chunk().await?.stats.event_id == Some(EVENTS_BURST));
    Ok(())
}

/// Before the first chunk, no session takes events yet.
#[tokio::test]
async fn as_many_events_as_may_wait_for_a_session_steer_it_and_one_more_is_told_so_and_closed() -> Result<()> {
    // 64 KiB each, so that four are as many bytes as may wait. A bin16 has three before its own, and its key five.
    let hold = || Event::hold("w").id(EVENTS_BURST);
    let mut short = Vec::new();
    rmpv::encode::write_value(&mut short, &hold().into())?;
    let long = || hold().set("fill", Value::Binary(vec![0; 65_536 - short.len() - 8]));
    for as_many in [flips().collect(), vec![long(); 4]] {
        for one_more in [false, true] {
            let (server, mut strings) = Server::with(Puppet { loads_on_a_string: true, ..Puppet::default() })?;
            let mut client = server.session(small().max_chunks(1)).await?;
            for event in &as_many {
                client.send(event.clone()).await?;
            }
            client.ping().await?;
            if one_more {
                client.send(Event::hold("s").id(9000)).await?;
                let Message::Error(error) = client.next().await? else { anyhow::bail!("not told why") };
                ensure!(error.content == "invalid event" && error.to_string().contains("256 events"), "{error}");
                let close = client.closed().await?;
                ensure!(close.code == 1008 && !close.reason.is_empty(), "{close:?}");
                continue;
            }
            strings.allow(1);
            let (_, input) = strings.began().await?;
            ensure!(held(&input).as_deref() == Some("w w w"), "{input:?}");
            ensure!(client.chunk().await?.stats.event_id == Some(EVENTS_BURST));
        }
    }
    Ok(())
}

/// As in the table of bounds.
const EVENTS_BURST: u64 = 256;

fn flips() -> impl Iterator<Item = Event> {
    let keys = |id| if id == EVENTS_BURST { "w" } else { ["a", "d"][id as usize % 2] };
    (1..=EVENTS_BURST).map(move |id| Event::hold(keys(id)).id(id))
}

/// Good events, but too many: past their bound each is answered with an error, and past the bound of errors the connection
/// ends.
#[tokio::test]
async fn ten_thousand_events_during_one_chunk_are_a_flood() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let mut client = server.session(small()).await?;
    strings.began().await?;
    for flip in 0..10_000_u64 {
        // Closed meanwhile, and reset for what was still under way.
        if client.send(Event::hold(if flip % 2 == 0 { "a" } else { "d" }).id(flip)).await.is_err() {
            break;
        }
    }
    let mut told = 0;
    while let Ok(message) = client.next().await {
        match message {
            Message::Error(error) => {
                ensure!(error.content == "invalid event" && error.to_string().contains("256 at once"), "{error}");
                ensure!(error.event_id.is_some(), "{error:?}");
                told += 1;
            }
            Message::Closed(close) => {
                ensure!(close.code == 1008 && !close.reason.is_empty() && told > 0, "{close:?} after {told} errors");
                break;
            }
            other => anyhow::bail!("nothing was drawn, yet {other:?}"),
        }
    }
    // The chunk that would never have ended was cancelled: its seat is given back.
    ensure!(strings.dropped().await? == 0);
    Ok(())
}

/// The reference answers every one of them for ever.
#[tokio::test]
async fn a_flood_of_garbage_is_answered_for_a_while_and_then_closed() -> Result<()> {
    let mut scene = Scene::set().await?;
    for begins in [true, false] {
        let mut flood = scene.server.connect().await?;
        if begins {
            flood.send(small()).await?;
        }
        // Answers are not read meanwhile: the server may not wait for that either.
        for _ in 0..5_000 {
            if flood.send_bytes(vec![0xc1, 0x00]).await.is_err() {
                break;
            }
        }
        scene.bystander.goes_on().await?;
        loop {
            match flood.next().await {
                Ok(Message::Closed(close)) => {
                    ensure!(close.code == 1008 && !close.reason.is_empty(), "{close:?}");
                    break;
                }
                Ok(_) => {}
                // What was still under way when the server closed has reset the connection.
                Err(_) => break,
            }
        }
    }
    scene.ends_well().await
}

/// The same with nothing under way, so that the close arrives for sure.
#[tokio::test]
async fn the_sixty_fifth_bad_message_at_once_closes_with_a_reason() -> Result<()> {
    let mut scene = Scene::set().await?;
    let mut client = scene.server.connect().await?;
    for _ in 0..64 {
        client.send_bytes(vec![0xc1]).await?;
        refusal(&mut client).await?;
    }
    client.send_bytes(vec![0xc1]).await?;
    // Some are forgiven with time, so on a slow machine it takes a few more.
    let mut more = 0;
    let close = loop {
        match client.next().await? {
            Message::Closed(close) => break close,
            _ => {
                more += 1;
                ensure!(more < 2_000, "never closed");
                let _ = client.send_bytes(vec![0xc1]).await;
            }
        }
    };
    ensure!(close.code == 1008 && !close.reason.is_empty(), "{close:?}");
    scene.ends_well().await
}

#[tokio::test]
async fn two_inits_in_one_breath_begin_one_session() -> Result<()> {
    let mut scene = Scene::set().await?;
    let mut client = scene.server.session(small().max_chunks(2)).await?;
    client.send(small().set("prompt", "another")).await?;
    ensure!(client.error().await?.content.starts_with("invalid event"));
    ensure!(client.closed().await?.code == 1000);
    ensure!(scene.strings.opened().await?.prompt == "a meadow");
    scene.ends_well().await
}

#[tokio::test]
async fn clients_that_vanish_in_every_state_leave_nothing_behind() -> Result<()> {
    let limits = Limits { busy_wait: Duration::from_secs(20), ..Limits::default() };
    let mut scene = Scene::limited(limits).await?;
    // A seat was once lost to a client that left in the moment it was given one, so that moment is looked for.
    for after_micros in (0..400).map(|attempt| 5 * attempt) {
        let leaver = scene.server.session(small()).await?;
        std::thread::sleep(Duration::from_micros(after_micros));
        drop(leaver);
    }
    for _ in 0..10 {
        let mut half_a_frame = Raw::open(scene.server.address).await?;
        half_a_frame.announce(BINARY, 500).await?;
        drop(half_a_frame);
        drop(scene.server.connect().await?);
        drop(scene.server.session(small()).await?);
        let mut inside = scene.server.session(small().size(400, 400)).await?;
        inside.next().await?;
        drop(inside);
    }
    // All four seats but the bystander's are free: three sessions side by side.
    let mut seated = Vec::new();
    for _ in 0..3 {
        seated.push(Bystander::on(&scene.server).await?);
    }
    drop(seated);
    scene.ends_well().await
}

/// A client that reads nothing holds its own seat until the write deadline, and no more memory than its two chunks.
#[tokio::test]
async fn while_one_client_reads_nothing_another_keeps_its_rate() -> Result<()> {
    let limits = Limits { write_deadline: Duration::from_secs(2), ..Limits::default() };
    let mut scene = Scene::limited(limits).await?;
    let stalled = scene.server.session(small().size(832, 480)).await?;
    scene.strings.opened().await?;
    let (from, before) = (Instant::now(), scene.bystander.chunks());
    while from.elapsed() < Duration::from_millis(500) {
        scene.bystander.goes_on().await?;
    }
    // One in 5 ms alone; a server that waited for the stalled client would give none.
    let chunks = scene.bystander.chunks() - before;
    ensure!(chunks >= 10, "{chunks} chunks in half a second");
    scene.strings.dropped().await?;
    drop(stalled);
    scene.ends_well().await
}

/// Nothing about a value's type is assumed: any MessagePack value in any field, before and during a session.
#[tokio::test]
async fn any_value_in_any_field_is_answered() -> Result<()> {
    let mut scene = Scene::set().await?;
    let values = [
        Value::Nil,
        true.into(),
        Value::from(-1),
        Value::from(u64::MAX),
        Value::F64(f64::INFINITY),
        Value::F64(-0.0),
        Value::F64(1e300),
        Value::String(rmpv::Utf8String::from("é\0")),
        Value::Binary(vec![0xff, 0xfe]),
        Value::Array(vec![Value::Array(vec![Value::Nil])]),
        Value::Map(vec![(Value::Nil, Value::Nil)]),
        Value::Ext(-1, vec![0; 4]),
    ];
    let mut running = scene.server.session(small()).await?;
    for field in
        ["type", "prompt", "first_frame", "size", "fps", "seed", "max_chunks", "num_frames", "condition_inputs"]
    {
        // A new connection a field: too many bad messages at once end one.
        let mut waiting = scene.server.connect().await?;
        for value in &values {
            // Never good as a whole, so that every one of them gets an answer.
            waiting.send(small().set("enhance_prompt", true).set(field, value.clone())).await?;
            refusal(&mut waiting).await.with_context(|| format!("{field}: {value}"))?;
        }
    }
    for field in ["type", "kind", "payload", "event_id"] {
        for value in &values {
            running.send(Event::hold("w").set("kind", "jump").set(field, value.clone())).await?;
            let error = running.error().await.with_context(|| format!("{field}: {value}"))?;
            ensure!(error.content.starts_with("invalid event"), "{field}: {value}: {error}");
        }
    }
    scene.ends_well().await
}
