//! A camera is steered by more than keys: by rates, poses and lenses, at the times that the client says. The test card draws
//! what it was driven with, and each test reads it from the pixels.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pipeline::testcard::{Steered, Testcard, read, read_steered};
use pipeline::world::{Held, Picture, Pose, Size, Steering};
use rmpv::Value;
use server::Limits;
use tests::Server;
use tests::client::{Chunk, Client};
use tests::message::{Event, Init, Message, map};
use tests::puppet::Puppet;

const SIZE: Size = Size { width: 128, height: 96 };
const FEATURES: [&str; 4] = ["rates", "poses", "intrinsics", "ack"];

fn testcard(chunk_time: Duration) -> Result<Server> {
    Server::start(Box::new(move || Ok(Box::new(Testcard::new(chunk_time)))), Limits::default())
}

/// Four frames a second: a latent frame lasts a second.
fn init() -> Init {
    Init::new("a meadow").size(SIZE.width, SIZE.height).set("fps", 4).features(FEATURES)
}

fn number(value: f64) -> Value {
    value.into()
}

fn rates(forward: f64, yaw: f64) -> Value {
    map([("forward", number(forward)), ("yaw", number(yaw))])
}

fn pose(pose: &Pose) -> Value {
    Value::Array(pose.camera_from_world().as_flattened().iter().map(|&value| number(value)).collect())
}

/// When the first video frame of a latent frame is due at 4 frames a second.
fn ms_of(latent_frame: usize) -> Value {
    let frame = if latent_frame == 0 { 0 } else { 4 * latent_frame - 3 };
    number(frame as f64 * 250.0)
}

/// What each latent frame of a chunk was driven with, from the pixels of its first picture.
fn driven(chunk: &Chunk) -> Result<Vec<(Held, Option<Steered>)>> {
    let (mut seen, mut driven) = (None, Vec::new());
    for frame in chunk.frames() {
        let picture = Picture { size: SIZE, rgb: frame.to_vec() };
        let reading = read(&picture).context("a picture that says nothing")?;
        if seen.replace(reading.latent_frame) != Some(reading.latent_frame) {
            driven.push((reading.held.unwrap_or_default(), read_steered(&picture)));
        }
    }
    Ok(driven)
}

async fn chunks(client: &mut Client, count: usize) -> Result<Vec<(Held, Option<Steered>)>> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.extend(driven(&client.chunk().await?)?);
    }
    Ok(all)
}

/// A session whose first chunk is not sampled before these events have come: they come while it waits for its place.
async fn begun_with(server: &Server, init: Init, events: impl IntoIterator<Item = Event>) -> Result<Client> {
    let mut client = server.connect().await?;
    client.send(init).await?;
    for event in events {
        client.send(event).await?;
    }
    Ok(client)
}

fn forward(steered: &Option<Steered>) -> f64 {
    steered.map_or(0.0, |steered| steered.rates.numbers()[0])
}

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 0.01
}

/// C84, C85
#[tokio::test]
async fn rates_go_evenly_from_one_given_value_to_the_next_and_keys_fall_on_the_latent_frame_of_their_time() -> Result<()>
{
    let server = testcard(Duration::from_millis(60))?;
    let events = [Event::steers([
        map([("rates", rates(0.0, 0.0)), ("at_ms", ms_of(13))]),
        map([("rates", rates(1.0, -0.5)), ("at_ms", ms_of(17))]),
        map([("actions", Value::Array(vec!["w".into()])), ("at_ms", ms_of(14))]),
        map([("actions", Value::Array(vec![])), ("at_ms", ms_of(16))]),
    ])
    .id(7)];
    let mut client = begun_with(&server, init().max_chunks(7), events).await?;
    let driven = chunks(&mut client, 7).await?;
    let expected = [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0];
    for (latent_frame, expected) in (12..).zip(expected) {
        let (held, steered) = driven[latent_frame];
        ensure!(close(forward(&steered), expected), "{latent_frame}: {steered:?} is not {expected}");
        ensure!(held == if (14..16).contains(&latent_frame) { Held::from_tokens(["w"]) } else { Held::default() });
    }
    ensure!(driven[..13].iter().all(|(held, steered)| held.is_empty() && steered.is_none()));
    let yaw = driven[19].1.context("steered")?.rates.numbers()[2];
    ensure!(close(yaw, -0.5), "{yaw}");
    Ok(())
}

/// C86
#[tokio::test]
async fn what_was_given_and_taken_back_between_two_chunks_shows_for_one_latent_frame() -> Result<()> {
    let server = testcard(Duration::from_millis(200))?;
    let mut client = server.session(init().max_chunks(4)).await?;
    let Message::Begun(begun) = client.next().await? else { anyhow::bail!("something else came first") };
    ensure!(begun.features == ["ack", "rates", "poses", "intrinsics"], "{begun:?}");
    // While the first chunk is drawn: D is held throughout, W and the rate come and go.
    client
        .send(Event::steers([
            map([("actions", Value::Array(vec!["d".into()]))]),
            map([("actions", Value::Array(vec!["d".into(), "w".into()])), ("rates", rates(0.25, 0.0))]),
            map([("rates", rates(0.0, 0.0))]),
            map([("actions", Value::Array(vec!["d".into()]))]),
        ]))
        .await?;
    let driven = chunks(&mut client, 4).await?;
    let first = driven.iter().position(|(held, _)| held.has('d')).context("never held")?;
    ensure!(driven[first].0 == Held::from_tokens(["d", "w"]) && close(forward(&driven[first].1), 0.25), "{driven:?}");
    for (held, steered) in &driven[first + 1..] {
        ensure!(*held == Held::from_tokens(["d"]) && steered.is_none(), "{held:?} {steered:?}");
    }
    Ok(())
}

/// C87: a turn of 6° and a step of 0.05 ahead in each latent frame, integrated as the reference integrates `wl`.
#[tokio::test]
async fn poses_of_the_reference_s_formulas_are_reached_frame_by_frame() -> Result<()> {
    let server = testcard(Duration::from_millis(60))?;
    let (mut yaw, mut at, mut poses) = (0f64, [0.0; 3], Vec::new());
    for _ in 0..15 {
        yaw += 6f64.to_radians();
        at = [at[0] + 0.05 * yaw.sin(), 0.0, at[2] + 0.05 * yaw.cos()];
        poses.push(Pose::new(at, [(yaw / 2.0).cos(), 0.0, (yaw / 2.0).sin(), 0.0]).map_err(anyhow::Error::msg)?);
    }
    let timed = (0..).zip(&poses).map(|(latent, at)| map([("pose", pose(at)), ("at_ms", ms_of(latent))]));
    let mut client = begun_with(&server, init().max_chunks(8), [Event::steers(timed)]).await?;
    // Whatever was drawn before they came, a pose whose time has passed is not gone to any more.
    let driven = chunks(&mut client, 8).await?;
    let mut reached = 0;
    for (latent_frame, expected) in poses.iter().enumerate() {
        let Some(found) = driven[latent_frame].1.and_then(|steered| steered.pose) else { continue };
        let off = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        ensure!(off(&found.position(), &expected.position()) <= 6e-4, "{latent_frame}: {found:?}, not {expected:?}");
        ensure!(
            off(&found.quaternion(), &expected.quaternion()) <= 1e-4,
            "{latent_frame}: {found:?}, not {expected:?}"
        );
        reached += 1;
    }
    ensure!(reached >= 6, "{reached}");
    Ok(())
}

/// C88
#[tokio::test]
async fn a_lens_of_the_init_is_there_from_the_first_frame_and_changes_evenly() -> Result<()> {
    let server = testcard(Duration::from_millis(60))?;
    let lens = |focal: f64| map([("fx", focal.into()), ("fy", focal.into()), ("cx", 64.into()), ("cy", 48.into())]);
    let events = [Event::steers([
        map([("intrinsics", lens(100.0)), ("at_ms", ms_of(13))]),
        map([("intrinsics", lens(180.0)), ("at_ms", ms_of(17))]),
    ])];
    let wide = map([("fov_x_deg", 90.into())]);
    let mut client = begun_with(&server, init().set("intrinsics", wide).max_chunks(7), events).await?;
    let driven = chunks(&mut client, 7).await?;
    let focals: Vec<_> = driven.iter().filter_map(|(_, s)| Some(s.as_ref()?.intrinsics?.numbers()[0])).collect();
    ensure!(focals.len() == 21 && close(focals[0], 64.0), "{focals:?}");
    ensure!(focals[13..19] == [100.0, 120.0, 140.0, 160.0, 180.0, 180.0], "{focals:?}");
    Ok(())
}

/// C89
#[tokio::test]
async fn what_a_world_cannot_follow_is_refused_by_its_name_and_not_among_its_features() -> Result<()> {
    let mut puppet = Puppet::default();
    puppet.card.steering = Steering { rates: true, ..Steering::default() };
    let (server, _strings) = Server::with(puppet)?;
    let mut client = server.session(init()).await?;
    let Message::Begun(begun) = client.next().await? else { anyhow::bail!("something else came first") };
    ensure!(begun.features == ["ack", "rates"], "{begun:?}");
    for (id, field, value) in [(1, "pose", pose(&Pose::START)), (2, "intrinsics", map([("fov_x_deg", 60.into())]))] {
        client.send(Event::steer([(field, value)]).id(id)).await?;
        let error = client.error().await?;
        let details = error.details.clone().context("no details")?;
        ensure!(error.event_id == Some(id) && details.field == field, "{error:?}");
        ensure!(details.reason.contains("cannot be followed by this world"), "{details:?}");
    }
    client.send(Event::steer([("rates", rates(2.0, 0.0))]).id(3)).await?;
    let details = client.error().await?.details.context("no details")?;
    ensure!(details.field == "rates" && details.reason.contains("forward is 2: −1 to 1"), "{details:?}");
    // A client that has named nothing is told what is missing.
    let mut client = server.session(Init::new("p").size(64, 48)).await?;
    client.send(Event::steer([("rates", rates(1.0, 0.0))])).await?;
    let details = client.error().await?.details.context("no details")?;
    ensure!(details.field == "rates" && details.reason.contains("protocol_features"), "{details:?}");
    // In an init too, and it may try again on the same socket.
    let mut client = server.connect().await?;
    client.send(init().set("intrinsics", map([("fov_x_deg", 60.into())]))).await?;
    let details = client.error().await?.details.context("no details")?;
    ensure!(details.field == "intrinsics" && details.reason.contains("this world"), "{details:?}");
    client.send(init().max_chunks(1)).await?;
    client.chunk().await?;
    Ok(())
}

/// C90
#[tokio::test]
async fn an_event_that_waits_for_its_time_hurries_no_paced_session() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet {
        card: pipeline::world::Card { steering: Steering::ALL, ..Puppet::default().card },
        ..Puppet::on_strings()
    })?;
    let mut client = server.session(init().paced(12).max_chunks(4)).await?;
    strings.began().await?;
    strings.allow(1);
    client.chunk().await?;
    // Each chunk lasts a second, so none begins by itself within the next 100 ms; a timed key does not change that, and
    // one without a time does.
    client.send(Event::steer([("actions", Value::Array(vec!["w".into()])), ("at_ms", 60_000.into())]).id(1)).await?;
    client.ping().await?;
    ensure!(tokio::time::timeout(Duration::from_millis(100), strings.began()).await.is_err(), "it hurried");
    client.send(Event::hold("d").id(2)).await?;
    let (_, input) = strings.began().await?;
    let keys: Vec<_> = input.controls.context("steered")?.iter().map(|controls| controls.held()).collect();
    ensure!(keys == [Held::from_tokens(["d"]); 3], "{keys:?}");
    strings.allow(1);
    let chunk = client.chunk().await?;
    ensure!(chunk.ack.as_ref().is_some_and(|ack| ack.applied == [2]), "{:?}", chunk.ack);
    ensure!(chunk.stats.event_id == Some(2), "{:?}", chunk.stats);
    Ok(())
}

/// The bound of `docs/operating.md`: a session's steering that waits for its time.
#[tokio::test]
async fn changes_that_wait_have_a_bound_and_one_too_many_changes_nothing() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet {
        card: pipeline::world::Card { steering: Steering::ALL, ..Puppet::default().card },
        ..Puppet::on_strings()
    })?;
    let mut client = server.session(init()).await?;
    let far = |from: usize, count: usize| {
        let at = |i: usize| map([("rates", rates(0.5, 0.0)), ("at_ms", (1_000_000 + 1000 * (from + i)).into())]);
        Event::steers((0..count).map(at))
    };
    client.send(far(0, 512).id(1)).await?;
    client.send(far(512, 512).id(2)).await?;
    client.send(far(1024, 1).id(3)).await?;
    let error = client.error().await?;
    let details = error.details.clone().context("no details")?;
    ensure!(error.event_id == Some(3) && details.field == "transitions", "{error:?}");
    ensure!(details.reason.contains("1024 wait") && details.reason.contains("at most 1024"), "{details:?}");
    // Keys without a time join what is there.
    client.send(Event::hold("w").id(4)).await?;
    client.ping().await?;
    strings.allow(1);
    strings.began().await?;
    let (_, input) = strings.began().await?;
    let keys: Vec<_> = input.controls.context("steered")?.iter().map(|controls| controls.held()).collect();
    ensure!(keys == [Held::from_tokens(["w"]); 3], "{keys:?}");
    Ok(())
}
