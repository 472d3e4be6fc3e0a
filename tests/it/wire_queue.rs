//! The queue for a place: who is told what, who is next, and what a place needs besides being free.
//!
//! None of it is the reference's, which has one seat and a second of patience; `wire_slots` has the sentences that are.

use anyhow::{Result, ensure};
use pipeline::world::Size;
use server::Limits;
use std::time::{Duration, Instant};
use tests::client::Client;
use tests::message::{Close, Event, Init, Message, Reason, Refused};
use tests::puppet::{Puppet, Strings, held, in_flight_bytes};
use tests::{Server, opening, small, waiting};

/// One seat. A client that hears of the queue waits for as long as a test takes, any other not at all.
fn one_seat() -> Limits {
    Limits { sessions: 1, queue_wait: Duration::from_secs(60), busy_wait: Duration::ZERO, ..Limits::default() }
}

fn queued(prompt: &str) -> Init {
    small().set("prompt", prompt).queued()
}

/// A server whose one seat is taken by a chunk that never ends.
async fn taken(limits: Limits) -> Result<(Server, Strings, Client)> {
    let (server, mut strings) = Server::limited(Puppet::on_strings(), limits)?;
    let first = server.session(small()).await?;
    strings.began().await?;
    Ok((server, strings, first))
}

/// A client that waits at this position.
async fn waits(server: &Server, init: Init, position: u64) -> Result<Client> {
    let mut client = server.session(init).await?;
    let standing = client.standing().await?;
    ensure!(standing.position == position, "{standing:?} instead of {position}");
    Ok(client)
}

/// How a client is turned away that gets no place.
async fn refused(client: &mut Client) -> Result<Refused> {
    let error = client.error().await?;
    ensure!(error.content == "another realtime session is already active", "{error}");
    ensure!(client.closed().await? == Close { code: 1008, reason: "busy".into() });
    Ok(error)
}

#[tokio::test]
async fn a_client_that_asked_for_it_hears_its_position_at_once_and_when_it_changes() -> Result<()> {
    // At once: no chunk of this server ever ends, and nobody waits for one.
    let (server, mut strings, first) = taken(one_seat()).await?;
    let second = waits(&server, queued("second"), 1).await?;
    let mut third = waits(&server, queued("third"), 2).await?;
    let mut fourth = waits(&server, queued("fourth"), 3).await?;
    // Dropped without a close frame: a client that is gone is forgotten.
    drop(second);
    let standing = third.standing().await?;
    ensure!(standing.position == 1 && standing.reason == Reason::Sessions, "{standing:?}");
    ensure!(fourth.standing().await?.position == 2);
    first.close().await?;
    ensure!(strings.opened().await?.prompt == "third");
    ensure!(fourth.standing().await?.position == 1);
    strings.allow(1);
    third.chunk().await?;
    drop(third);
    ensure!(strings.opened().await?.prompt == "fourth");
    strings.allow(1);
    fourth.chunk().await?;
    Ok(())
}

#[tokio::test]
async fn a_client_that_asked_for_something_else_hears_nothing_and_is_refused_in_its_time() -> Result<()> {
    let limits = Limits { busy_wait: Duration::from_millis(600), ..one_seat() };
    let (server, _strings, _first) = taken(limits).await?;
    let features = vec!["telepathy".into(), "QUEUE".into()];
    let asked = Instant::now();
    let mut second = server.session(small().set("protocol_features", rmpv::Value::Array(features))).await?;
    let Message::Error(error) = second.next().await? else { anyhow::bail!("not an error") };
    ensure!(asked.elapsed() >= Duration::from_millis(600), "refused after {:?}", asked.elapsed());
    ensure!(error.code.as_deref() == Some("session_busy") && error.details.is_none(), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn a_client_that_hears_its_position_is_refused_only_when_its_own_wait_is_over() -> Result<()> {
    let limits = Limits { queue_wait: Duration::from_millis(700), ..one_seat() };
    let (server, _strings, _first) = taken(limits).await?;
    let asked = Instant::now();
    let mut patient = waits(&server, queued("patient"), 1).await?;
    refused(&mut server.session(small()).await?).await?;
    refused(&mut patient).await?;
    ensure!(asked.elapsed() >= Duration::from_millis(700), "refused after {:?}", asked.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_client_that_says_that_it_still_waits_keeps_its_place_and_its_wait_begins_anew() -> Result<()> {
    let limits = Limits { queue_wait: Duration::from_millis(900), ..one_seat() };
    let (server, _strings, _first) = taken(limits).await?;
    let mut stays = waits(&server, queued("stays"), 1).await?;
    let (asked, mut silent) = (Instant::now(), waits(&server, queued("silent"), 2).await?);
    while asked.elapsed() < Duration::from_millis(1800) {
        stays.send(Event::wait()).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    refused(&mut silent).await?;
    waits(&server, queued("newcomer"), 2).await?;
    // It says no more.
    refused(&mut stays).await?;
    Ok(())
}

#[tokio::test]
async fn as_many_wait_as_the_queue_holds_and_the_next_is_refused_at_once() -> Result<()> {
    let limits = Limits { queue: 2, busy_wait: Duration::from_secs(60), ..one_seat() };
    let (server, _strings, _first) = taken(limits).await?;
    let second = waits(&server, queued("second"), 1).await?;
    let _third = waits(&server, queued("third"), 2).await?;
    for init in [small(), small().queued()] {
        // Long before any wait is over, or the client loses its patience.
        let error = refused(&mut server.session(init).await?).await?;
        ensure!(error.code.as_deref() == Some("queue_full"), "{error:?}");
        ensure!(error.details.is_some_and(|details| details.reason.contains("2 sessions wait already")));
    }
    second.close().await?;
    waits(&server, queued("fourth"), 2).await?;
    Ok(())
}

#[tokio::test]
async fn while_the_world_loads_as_many_wait_as_may_afterwards() -> Result<()> {
    let limits = Limits { sessions: 1, queue: 1, ..Limits::default() };
    let puppet = Puppet { loads_on_a_string: true, ..Puppet::default() };
    let (server, strings) = Server::limited(puppet, limits)?;
    let mut first = server.session(small().max_chunks(1)).await?;
    let mut second = server.session(queued("second").max_chunks(1)).await?;
    opening(&server, 2).await?;
    let error = refused(&mut server.session(small()).await?).await?;
    ensure!(error.code.as_deref() == Some("queue_full"), "{error:?}");
    ensure!(error.details.is_some_and(|details| details.reason.contains("still being loaded, and 2 sessions wait")));
    strings.allow(1);
    first.chunk().await?;
    second.chunk().await?;
    Ok(())
}

#[tokio::test]
async fn without_a_queue_nobody_waits() -> Result<()> {
    let limits = Limits { queue: 0, busy_wait: Duration::from_secs(60), ..one_seat() };
    let (server, _strings, _first) = taken(limits).await?;
    refused(&mut server.session(small()).await?).await?;
    Ok(())
}

#[tokio::test]
async fn clients_of_both_kinds_wait_in_one_queue() -> Result<()> {
    let limits = Limits { busy_wait: Duration::from_secs(60), ..one_seat() };
    let (server, mut strings, first) = taken(limits).await?;
    let legacy = server.session(small().set("prompt", "legacy")).await?;
    waiting(&server, 1).await?;
    let _queued = waits(&server, queued("queued"), 2).await?;
    first.close().await?;
    ensure!(strings.opened().await?.prompt == "legacy");
    legacy.close().await?;
    ensure!(strings.opened().await?.prompt == "queued");
    Ok(())
}

#[tokio::test]
async fn once_somebody_has_left_those_that_wait_hear_for_how_long() -> Result<()> {
    let (server, _strings, first) = taken(one_seat()).await?;
    let mut waiting = Vec::new();
    for (position, name) in [(1, "second"), (2, "third")] {
        let mut client = server.session(queued(name)).await?;
        let standing = client.standing().await?;
        ensure!(standing.position == position && standing.estimated_wait_ms.is_none(), "{standing:?}");
        waiting.push(client);
    }
    // The first stays for half a second, so the next is expected to do the same.
    tokio::time::sleep(Duration::from_millis(500)).await;
    first.close().await?;
    let standing = waiting[1].standing().await?;
    let estimate = standing.estimated_wait_ms;
    ensure!(estimate.is_some_and(|ms| (500..20_000).contains(&ms)), "{standing:?}");
    Ok(())
}

#[tokio::test]
async fn one_that_waits_hears_of_a_queue_that_moves_fast_a_few_times_a_second() -> Result<()> {
    let (server, _strings, _first) = taken(one_seat()).await?;
    let mut ahead = Vec::new();
    for position in 1..=12 {
        ahead.push(waits(&server, queued("ahead"), position).await?);
    }
    let mut last = server.session(queued("last")).await?;
    let from = Instant::now();
    for client in ahead {
        client.close().await?;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let mut told = 1;
    while last.standing().await?.position > 1 {
        told += 1;
    }
    let most = 2 + from.elapsed().as_millis() / 250;
    ensure!(told <= most, "told {told} times, and there was time for {most}");
    Ok(())
}

#[tokio::test]
async fn keys_that_are_held_while_waiting_steer_the_first_chunk() -> Result<()> {
    let (server, mut strings, first) = taken(one_seat()).await?;
    let mut second = waits(&server, queued("second"), 1).await?;
    second.send(Event::hold("w").id(1)).await?;
    second.ping().await?;
    first.close().await?;
    strings.opened().await?;
    let (_, input) = strings.began().await?;
    ensure!(held(&input).as_deref() == Some("w w w"), "{input:?}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_stops_says_so_to_those_that_wait() -> Result<()> {
    let (server, _strings, first) = taken(one_seat()).await?;
    let mut second = waits(&server, queued("second"), 1).await?;
    let stopped = tokio::task::spawn_blocking(move || server.stop());
    ensure!(second.closed().await?.code == 1012);
    drop(first);
    stopped.await?
}

/// A rollout of 16x16 at ten bytes a pixel takes 2560 bytes, and its frames 18 432; a quarter of both for 8x8.
const SMALL_BYTES: u64 = 2560 + in_flight_bytes(Size { width: 16, height: 16 });

fn heavy() -> Puppet {
    Puppet { bytes_per_pixel: 10, ..Puppet::taking(Duration::from_millis(2)) }
}

#[tokio::test]
async fn a_session_that_finds_no_memory_hears_that_it_was_memory() -> Result<()> {
    let limits = Limits { memory_bytes: SMALL_BYTES + 440, busy_wait: Duration::from_millis(50), ..Limits::default() };
    let (server, _strings) = Server::limited(heavy(), limits)?;
    let mut first = server.session(small()).await?;
    first.chunk().await?;
    let error = refused(&mut server.session(small()).await?).await?;
    ensure!(error.code.as_deref() == Some("memory_busy"), "{error:?}");
    let details = error.details.expect("it says more");
    ensure!(
        details.field == "size" && details.reason.contains("20992 bytes, and 440 of 21432 are free"),
        "{details:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_session_that_fits_passes_one_that_waits_for_memory() -> Result<()> {
    let limits = Limits { memory_bytes: SMALL_BYTES + SMALL_BYTES / 4, ..Limits::default() };
    let (server, _strings) = Server::limited(heavy(), limits)?;
    let mut first = server.session(small()).await?;
    first.chunk().await?;
    let mut large = waits(&server, queued("large"), 1).await?;
    let mut light = server.session(small().size(8, 8).max_chunks(1)).await?;
    light.chunk().await?;
    ensure!(light.closed().await?.code == 1000);
    first.close().await?;
    large.chunk().await?;
    Ok(())
}

/// Every chunk takes 100 ms.
fn slow() -> Puppet {
    Puppet::taking(Duration::from_millis(100))
}

/// Needs a chunk every 200 ms: half of a device that takes 100 ms for one.
fn half() -> Init {
    small().paced(60)
}

async fn draws(client: &mut Client, chunks: u32) -> Result<()> {
    for _ in 0..chunks {
        client.chunk().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_paced_session_waits_for_the_devices_time_and_a_free_one_does_not() -> Result<()> {
    let (server, _strings) = Server::limited(slow(), Limits { load: 0.9, ..Limits::default() })?;
    let mut first = server.session(half()).await?;
    draws(&mut first, 2).await?;
    let mut second = waits(&server, half().queued(), 1).await?;
    let mut free = server.session(small().max_chunks(1)).await?;
    free.chunk().await?;
    let error = refused(&mut server.session(half()).await?).await?;
    ensure!(error.code.as_deref() == Some("device_busy"), "{error:?}");
    let details = error.details.expect("it says more");
    ensure!(details.field == "realtime_output_pacing" && details.reason.contains("of 90 % are taken"), "{details:?}");
    first.close().await?;
    draws(&mut second, 2).await?;
    Ok(())
}

#[tokio::test]
async fn paced_sessions_are_let_in_up_to_the_load_that_is_allowed() -> Result<()> {
    // Room for four of them, so that a slow moment of this machine does not look like a session too many.
    let limits = Limits { load: 2.0, ..Limits::default() };
    let (server, _strings) = Server::limited(slow(), limits)?;
    let mut first = server.session(half()).await?;
    draws(&mut first, 2).await?;
    let mut second = server.session(half()).await?;
    draws(&mut second, 2).await?;
    Ok(())
}

#[tokio::test]
async fn a_paced_session_that_is_too_much_for_the_device_runs_if_it_is_the_only_one() -> Result<()> {
    let (server, _strings) = Server::limited(slow(), Limits { load: 0.1, ..Limits::default() })?;
    for _ in 0..2 {
        let mut client = server.session(half()).await?;
        draws(&mut client, 2).await?;
        client.close().await?;
    }
    Ok(())
}
