//! Stepped sessions: a client that named `step` gets one chunk for each step that it asks for. C77 to C80.

use anyhow::{Result, ensure};
use bytes::Bytes;
use pipeline::testcard::{self, Testcard};
use pipeline::world::{Picture, Size, World};
use pipeline::{Device, load_world};
use server::{Limits, LoadWorld, pocket};
use std::time::Duration;
use tests::client::Client;
use tests::message::{Event, Init};
use tests::puppet::{Puppet, Seen};
use tests::{Server, small};

fn stepped() -> Init {
    small().features(["step", "ack"])
}

/// C77
#[tokio::test]
async fn a_stepped_session_draws_one_chunk_for_each_step_and_none_without() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::default())?;
    let mut client = server.session(stepped()).await?;
    strings.opened().await?;
    client.send(Event::hold("w").id(1)).await?;
    client.ping().await?;
    ensure!(!strings.so_far().iter().any(|seen| matches!(seen, Seen::Began { .. })), "nobody asked for a chunk");
    for index in 0..3 {
        client.send(Event::step()).await?;
        let chunk = client.chunk().await?;
        ensure!((chunk.stats.chunk_index, chunk.stats.event_id) == (index, Some(1)), "{:?}", chunk.stats);
    }
    client.ping().await?;
    let drawn = strings.so_far().into_iter().filter(|seen| matches!(seen, Seen::Began { .. })).count();
    ensure!(drawn == 3, "{drawn} chunks for 3 steps");
    client.close().await
}

/// C78
#[tokio::test]
async fn a_chunk_is_steered_by_what_was_said_before_its_step_and_by_nothing_after() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let mut client = server.session(stepped()).await?;
    // All at once: steps are answered in order, each by what stood before it.
    for (keys, id) in [("w", 1), ("a", 3), ("s", 5)] {
        client.send(Event::hold(keys).id(id)).await?;
        client.send(Event::step().id(id + 1)).await?;
    }
    client.send(Event::step_with([Event::hold("d"), Event::prompt("night")]).id(7)).await?;
    client.send(Event::hold("i").id(8)).await?;
    let mut began = Vec::new();
    for _ in 0..4 {
        let (_, input) = strings.began().await?;
        let held: String = input.controls.iter().flatten().flat_map(|controls| controls.held().iter()).collect();
        began.push((held, input.prompt));
        strings.allow(1);
    }
    let prompt = |text: &str| Some(text.to_owned());
    let expected = [("www", None), ("aaa", None), ("sss", None), ("ddd", prompt("night"))];
    ensure!(began == expected.map(|(keys, prompt)| (keys.to_owned(), prompt)), "{began:?}");
    for (index, applied) in [vec![1, 2], vec![3, 4], vec![5, 6], vec![7]].into_iter().enumerate() {
        let chunk = client.chunk().await?;
        let ack = chunk.ack.expect("each step brought news");
        ensure!((ack.chunk_index, &ack.applied) == (index as u64, &applied) && ack.superseded.is_empty(), "{ack:?}");
        ensure!(chunk.stats.event_id == applied.last().copied(), "{:?}", chunk.stats);
    }
    client.close().await
}

/// C79
#[tokio::test]
async fn a_step_too_many_is_refused_and_those_before_it_are_answered() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let mut client = server.session(stepped()).await?;
    client.send(Event::step()).await?;
    strings.began().await?;
    // One is being drawn, sixteen wait.
    for id in 1..=17 {
        client.send(Event::step().id(id)).await?;
    }
    let error = client.error().await?;
    ensure!(error.code.as_deref() == Some("invalid_event") && error.event_id == Some(17), "{error}");
    ensure!(error.details.as_ref().is_some_and(|details| details.field == "kind"), "{error:?}");
    strings.allow(17);
    for index in 0..17 {
        ensure!(client.chunk().await?.stats.chunk_index == index);
    }
    client.send(Event::step()).await?;
    strings.allow(1);
    ensure!(client.chunk().await?.stats.chunk_index == 17, "there is room again");
    // And what waits behind a step has a bound.
    client.send(Event::step()).await?;
    client.send(Event::step()).await?;
    for id in 0..257 {
        client.send(Event::hold("w").id(id)).await?;
    }
    let error = client.error().await?;
    ensure!(error.code.as_deref() == Some("invalid_event") && error.event_id.is_some(), "{error}");
    strings.allow(2);
    client.close().await
}

/// C77
#[tokio::test]
async fn a_step_is_for_who_named_it_and_has_no_pace() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let mut client = server.session(small()).await?;
    client.send(Event::step().id(3)).await?;
    let error = client.error().await?;
    ensure!(error.code.as_deref() == Some("invalid_event") && error.event_id == Some(3), "{error}");
    client.close().await?;
    let mut client = server.session(stepped().paced(16)).await?;
    let error = tests::refusal(&mut client).await?;
    ensure!(error.details.as_ref().is_some_and(|details| details.field == "realtime_output_pacing"), "{error:?}");
    client.close().await
}

/// What is held and said before each step of one session.
fn steering(seed: u64, chunk: usize) -> Event {
    let keys = ["w", "wl", "", "sj", "d"][(chunk + seed as usize) % 5];
    match chunk {
        2 => Event::step_with([Event::hold(keys), Event::prompt(&format!("the night of {seed}"))]),
        _ => Event::step_with([Event::hold(keys)]),
    }
}

async fn step(client: &mut Client, seed: u64, chunk: usize) -> Result<Vec<Bytes>> {
    client.send(steering(seed, chunk)).await?;
    Ok(client.chunk().await?.frames())
}

fn server_of(load: LoadWorld) -> Result<Server> {
    Server::start(load, Limits { sessions: 3, ..Limits::default() })
}

/// C80: three sessions in one process, in a changing order, against each of them alone.
async fn beside_each_other(load: impl Fn() -> LoadWorld, init: impl Fn(u64) -> Init, chunks: usize) -> Result<()> {
    let mut alone = Vec::new();
    let server = server_of(load())?;
    for seed in 0..3 {
        let mut client = server.session(init(seed)).await?;
        let mut frames = Vec::new();
        for chunk in 0..chunks {
            frames.push(step(&mut client, seed, chunk).await?);
        }
        client.close().await?;
        alone.push(frames);
    }
    ensure!(alone[0] != alone[1] && alone[1] != alone[2], "each has a seed and keys of its own");
    let alone = |seed: usize, chunk: usize| &alone[seed][chunk];
    let mut clients = Vec::new();
    for seed in 0..3 {
        clients.push(server.session(init(seed)).await?);
    }
    for chunk in 0..chunks {
        // All steps first, so that the three are drawn beside each other.
        for turn in 0..3 {
            let seed = (turn + chunk) % 3;
            clients[seed].send(steering(seed as u64, chunk)).await?;
        }
        for (seed, client) in clients.iter_mut().enumerate() {
            ensure!(client.chunk().await?.frames() == *alone(seed, chunk), "session {seed}, chunk {chunk}");
        }
    }
    Ok(())
}

/// C80
#[tokio::test]
async fn stepped_sessions_of_the_test_card_beside_each_other_give_the_bytes_that_each_gives_alone() -> Result<()> {
    let load = || -> LoadWorld { Box::new(|| Ok(Box::new(Testcard::new(Duration::ZERO)) as Box<dyn World>)) };
    let init = |seed| stepped().size(64, 48).seed(seed).set("prompt", format!("the day of {seed}"));
    beside_each_other(load, init, 6).await?;
    // The card says what it was steered by: the comparison above is of the right pictures.
    let server = server_of(load())?;
    let mut client = server.session(init(1).size(256, 192)).await?;
    let frames = step(&mut client, 1, 0).await?;
    let picture = Picture { size: Size { width: 256, height: 192 }, rgb: frames[8].to_vec() };
    let reading = testcard::read(&picture);
    let held = reading.and_then(|reading| reading.held).map(|held| held.iter().collect::<String>());
    ensure!(held.as_deref() == Some("wl"), "{reading:?}");
    Ok(())
}

#[tokio::test]
async fn stepped_sessions_of_the_pocket_world_beside_each_other_give_the_bytes_that_each_gives_alone() -> Result<()> {
    let load = || -> LoadWorld { Box::new(|| load_world(&pocket::dir(), &Device::cpu()).map_err(Into::into)) };
    beside_each_other(load, |seed| Init::new("a red tower").features(["step"]).seed(seed), 3).await
}
