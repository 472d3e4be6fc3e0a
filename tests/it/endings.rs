//! Orderly ends of sessions: drained, idle, or over. No chunk is cut; the client checks that.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use server::Limits;
use server::realtime::session::Stay;
use tests::client::Client;
use tests::message::{Close, Event, Message};
use tests::puppet::{Puppet, Seen};
use tests::raw::Raw;
use tests::{Server, small};

const SHUTDOWN: &str = "server is shutting down";

fn staying(stay: impl FnOnce(&mut Stay)) -> Limits {
    let mut limits = Limits::default();
    stay(&mut limits.stay);
    limits
}

async fn status(server: &Server, path: &str) -> Result<String> {
    let (head, body) = Raw::get(server.address, path).await?;
    Ok(format!("{} {body}", head.split(' ').nth(1).unwrap_or_default()))
}

#[tokio::test]
async fn a_server_that_drains_says_so_and_takes_nobody_new() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let _running = server.session(small()).await?;
    strings.began().await?;
    server.drain();
    while !status(&server, "/health").await?.starts_with("503") {}
    ensure!(status(&server, "/ready").await? == r#"503 {"status":"draining"}"#);
    ensure!(status(&server, "/liveness").await?.starts_with("200"));
    let refused = Client::connect(&server.url()).await.map(|_| ()).expect_err("it drains");
    ensure!(format!("{refused:#}").contains("503"), "{refused:#}");
    Ok(())
}

#[tokio::test]
async fn a_running_session_finishes_its_chunks_and_everybody_else_is_sent_away_at_once() -> Result<()> {
    let limits = Limits { sessions: 1, busy_wait: Duration::from_secs(60), ..Limits::default() };
    let (server, mut strings) = Server::limited(Puppet::on_strings(), limits)?;
    let mut silent = server.connect().await?;
    let mut running = server.session(small()).await?;
    strings.began().await?;
    let mut waiting = server.session(small()).await?;
    waiting.ping().await?;
    server.drain();
    let shutdown = Close { code: 1012, reason: SHUTDOWN.into() };
    ensure!(silent.closed().await? == shutdown && waiting.closed().await? == shutdown);
    // As many as it had credit for.
    strings.allow(100);
    for _ in 0..server::realtime::session::CREDIT {
        running.chunk().await?;
    }
    ensure!(running.closed().await? == shutdown);
    server.ended()
}

#[tokio::test]
async fn a_server_that_stops_says_goodbye_to_everybody() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let mut silent = server.connect().await?;
    let mut running = server.session(small()).await?;
    strings.began().await?;
    let stopped = tokio::task::spawn_blocking(move || server.stop());
    let shutdown = Close { code: 1012, reason: SHUTDOWN.into() };
    ensure!(silent.closed().await? == shutdown && running.closed().await? == shutdown);
    drop((silent, running));
    stopped.await?
}

#[tokio::test]
async fn a_chunk_that_does_not_end_is_cut_short_when_the_time_for_draining_is_over() -> Result<()> {
    let limits = Limits { drain: Duration::from_millis(300), ..Limits::default() };
    let (server, mut strings) = Server::limited(Puppet::on_strings(), limits)?;
    let mut running = server.session(small()).await?;
    strings.began().await?;
    let told = Instant::now();
    server.drain();
    ensure!(running.closed().await?.code == 1012);
    ensure!(told.elapsed() >= Duration::from_millis(300));
    server.ended()
}

#[tokio::test]
async fn a_session_whose_client_is_away_does_not_hold_up_the_drain() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let mut away = server.session(small().features(["session"])).await?;
    away.hello().await?;
    away.chunk().await?;
    drop(away);
    let told = Instant::now();
    server.drain();
    server.ended()?;
    ensure!(told.elapsed() < Limits::default().stay.grace / 2);
    Ok(())
}

#[tokio::test]
async fn a_client_that_waits_for_the_world_is_sent_away_when_the_server_drains() -> Result<()> {
    let (server, strings) = Server::with(Puppet { loads_on_a_string: true, ..Puppet::default() })?;
    let mut waiting = server.session(small()).await?;
    waiting.ping().await?;
    server.drain();
    ensure!(waiting.closed().await?.code == 1012);
    strings.allow(1);
    server.ended()
}

#[tokio::test]
async fn a_session_that_nobody_steers_ends_and_one_that_is_steered_goes_on() -> Result<()> {
    let idle = Duration::from_millis(700);
    let limits = staying(|stay| stay.idle = Some(idle));
    let (server, mut strings) = Server::limited(Puppet::taking(Duration::from_millis(10)), limits)?;
    let began = Instant::now();
    let mut left = server.session(small()).await?;
    let mut held = server.session(small()).await?;
    while began.elapsed() < 2 * idle {
        held.send(Event::hold("w")).await?;
        held.chunk().await?;
    }
    ensure!(left.closed().await? == Close { code: 1000, reason: "session idle timeout".into() });
    held.chunk().await?;
    ensure!(!strings.so_far().iter().any(|seen| matches!(seen, Seen::Cancelled { .. })));
    Ok(())
}

#[tokio::test]
async fn a_session_is_over_after_its_lifetime_however_it_is_steered() -> Result<()> {
    let limits = staying(|stay| stay.lifetime = Some(Duration::from_millis(500)));
    let (server, _strings) = Server::limited(Puppet::taking(Duration::from_millis(10)), limits)?;
    let mut client = server.session(small()).await?;
    let began = Instant::now();
    loop {
        // It may have closed since.
        let _ = client.send(Event::hold("w")).await;
        if let Message::Closed(close) = client.next().await? {
            ensure!(close == Close { code: 1000, reason: "maximum session lifetime reached".into() });
            break;
        }
    }
    ensure!(began.elapsed() >= Duration::from_millis(500));
    Ok(())
}
