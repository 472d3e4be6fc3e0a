//! Who gets a seat, when there are fewer seats than clients.
//!
//! The reference has one seat; here the tests of its behaviour give the server one.

use anyhow::{Result, ensure};
use server::Limits;
use std::time::{Duration, Instant};
use tests::bystander::Bystander;
use tests::message::{Close, Message};
use tests::puppet::Puppet;
use tests::{Server, small, waiting};

fn one_seat() -> Limits {
    Limits { sessions: 1, ..Limits::default() }
}

/// One seat, and no client waits for it longer than this.
fn one_seat_waiting(busy_wait: Duration) -> Limits {
    Limits { busy_wait, ..one_seat() }
}

/// C25
#[tokio::test]
async fn a_second_init_while_the_seat_is_taken_is_refused_after_a_second() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::taking(Duration::from_millis(5)), one_seat())?;
    let mut bystander = Bystander::on(&server).await?;
    let mut second = server.connect().await?;
    let asked = Instant::now();
    second.send(small()).await?;
    let Message::Error(error) = second.next().await? else { anyhow::bail!("not an error") };
    let waited = asked.elapsed();
    ensure!(error.content == "another realtime session is already active", "{error}");
    ensure!(waited > Duration::from_millis(900) && waited < Duration::from_secs(4), "refused after {waited:?}");
    let Message::Closed(close) = second.next().await? else { anyhow::bail!("not closed") };
    // The reference gives no reason; a page that shows one should have one.
    ensure!(close.code == 1008 && !close.reason.is_empty(), "{close:?}");
    bystander.goes_on().await
}

/// C26
#[tokio::test]
async fn a_waiting_init_starts_when_the_seat_is_given_back_in_time() -> Result<()> {
    let (server, mut strings) = Server::limited(Puppet::default(), one_seat_waiting(Duration::from_secs(10)))?;
    let mut first = server.session(small()).await?;
    first.chunk().await?;
    let mut second = server.session(small().max_chunks(1)).await?;
    second.ping().await?;
    first.close().await?;
    second.chunk().await?;
    ensure!(strings.dropped().await? == 0, "the second began before the first had ended");
    Ok(())
}

/// The other is refused at its own deadline.
#[tokio::test]
async fn of_two_that_wait_the_first_gets_the_seat() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::default(), one_seat_waiting(Duration::from_secs(2)))?;
    let mut first = server.session(small()).await?;
    first.chunk().await?;
    let mut second = server.session(small().set("prompt", "second")).await?;
    waiting(&server, 1).await?;
    let mut third = server.session(small().set("prompt", "third")).await?;
    third.ping().await?;
    first.close().await?;
    second.chunk().await?;
    ensure!(third.closed_after_error().await?.code == 1008);
    Ok(())
}

/// C27
#[tokio::test]
async fn connections_that_have_not_said_init_take_no_seat() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::default(), one_seat_waiting(Duration::ZERO))?;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(server.connect().await?);
    }
    idle[7].send_bytes(vec![0xc1]).await?;
    idle[7].error().await?;
    server.session(small()).await?.chunk().await?;
    Ok(())
}

/// C28
#[tokio::test]
async fn a_seat_is_free_again_after_a_session_has_ended_by_itself() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::default(), one_seat())?;
    for _ in 0..3 {
        let mut client = server.session(small().max_chunks(1)).await?;
        ensure!(client.closed().await? == Close { code: 1000, reason: "generation complete".into() });
    }
    Ok(())
}

/// C29. The reference keeps the seat until the chunk is done; here the chunk is cancelled. It would never end by itself.
#[tokio::test]
async fn a_client_that_vanishes_during_a_chunk_gives_its_seat_back_at_once() -> Result<()> {
    let (server, mut strings) = Server::limited(Puppet::on_strings(), one_seat())?;
    let client = server.session(small()).await?;
    strings.began().await?;
    // Without a close frame.
    drop(client);
    let mut second = server.session(small().max_chunks(1)).await?;
    strings.opened().await?;
    strings.allow(1);
    second.chunk().await?;
    Ok(())
}

#[tokio::test]
async fn a_client_that_closes_while_it_waits_is_forgotten() -> Result<()> {
    let (server, mut strings) = Server::limited(Puppet::default(), one_seat_waiting(Duration::from_secs(10)))?;
    let mut first = server.session(small()).await?;
    first.chunk().await?;
    let mut gone = server.session(small().set("prompt", "never drawn")).await?;
    gone.ping().await?;
    gone.close().await?;
    let mut third = server.session(small().set("prompt", "drawn next").max_chunks(1)).await?;
    third.ping().await?;
    first.close().await?;
    third.chunk().await?;
    ensure!(strings.opened().await?.prompt == "a meadow");
    ensure!(strings.opened().await?.prompt == "drawn next");
    Ok(())
}

#[tokio::test]
async fn two_sessions_get_their_chunks_in_turn() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::taking(Duration::from_millis(5)))?;
    let mut raw = server.session(small().max_chunks(12)).await?;
    let mut jpeg = server.session(small().max_chunks(12).format("jpeg")).await?;
    let (raw, jpeg) = tokio::join!(raw.closed(), jpeg.closed());
    ensure!(raw?.reason == "generation complete" && jpeg?.reason == "generation complete");
    Ok(())
}

#[tokio::test]
async fn the_one_too_many_of_the_default_four_is_refused_and_the_four_go_on() -> Result<()> {
    let limits = Limits { busy_wait: Duration::from_millis(50), ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::taking(Duration::from_millis(2)), limits)?;
    let mut seated = Vec::new();
    for _ in 0..4 {
        seated.push(Bystander::on(&server).await?);
    }
    let mut fifth = server.session(small()).await?;
    ensure!(fifth.error().await?.content == "another realtime session is already active");
    ensure!(fifth.closed().await?.code == 1008);
    for bystander in &mut seated {
        bystander.goes_on().await?;
    }
    Ok(())
}

/// A rollout is opened only if its memory fits beside the others'.
#[tokio::test]
async fn a_session_that_does_not_fit_beside_the_others_waits_for_their_memory() -> Result<()> {
    let limits = Limits { memory_bytes: 21_432, busy_wait: Duration::from_millis(500), ..Limits::default() };
    let puppet = Puppet { bytes_per_pixel: 10, ..Puppet::taking(Duration::from_millis(5)) };
    let (server, _strings) = Server::limited(puppet, limits)?;
    // 16x16 at ten bytes a pixel is 2560 bytes, and 18 432 of frames.
    let mut bystander = Bystander::on(&server).await?;
    let mut second = server.session(small()).await?;
    ensure!(second.closed_after_error().await?.code == 1008);
    bystander.goes_on().await?;
    drop(bystander);
    let mut third = server.session(small().max_chunks(1)).await?;
    third.chunk().await?;
    Ok(())
}

#[tokio::test]
async fn a_dropped_session_drops_its_rollout() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::default())?;
    let mut client = server.session(small()).await?;
    client.chunk().await?;
    client.close().await?;
    ensure!(strings.dropped().await? == 0);
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_during_a_chunk_stops() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let mut client = server.session(small()).await?;
    strings.began().await?;
    let stopped = tokio::task::spawn_blocking(move || server.stop());
    // The running chunk would never end by itself, so it is cut short.
    while let Ok(message) = client.next().await {
        if let Message::Closed(close) = message {
            ensure!(close.code == 1012, "{close:?}");
            break;
        }
    }
    drop(client);
    stopped.await?
}
