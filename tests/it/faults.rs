//! Clients and lines that misbehave in every way we thought of. Other sessions do not notice, and nothing of a fault
//! remains.
//!
//! A few cycles of each, through real sockets; `soak` does a hundred, and times the other session while it does.

use anyhow::{Context, Result, ensure};
use server::Limits;
use std::time::{Duration, Instant};
use tests::fault::{Fault, Ground, SEATS};
use tests::message::Message;
use tests::puppet::Puppet;
use tests::raw::{BINARY, Raw};
use tests::shaper::{Shape, Shaper};
use tests::{Server, small};

const CYCLES: u64 = 3;

/// The limits of a user's server, but with a write deadline that a test can wait for.
fn limits() -> Limits {
    Limits { sessions: SEATS, write_deadline: Duration::from_millis(400), ..Limits::default() }
}

async fn survives(fault: Fault) -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::taking(Duration::from_millis(5)), limits())?;
    let mut ground = Ground::on(server.address, small()).await?;
    for seed in 0..CYCLES {
        ground.strike(fault, seed).await.with_context(|| format!("{fault:?} {seed}"))?;
        ground.recovers().await.with_context(|| format!("after {fault:?} {seed}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_line_cut_within_a_header_ends_one_session() -> Result<()> {
    survives(Fault::CutInHeader).await
}

#[tokio::test]
async fn a_line_cut_within_a_payload_ends_one_session() -> Result<()> {
    survives(Fault::CutInPayload).await
}

#[tokio::test]
async fn a_line_that_falls_silent_ends_one_session() -> Result<()> {
    survives(Fault::HalfOpen).await
}

#[tokio::test]
async fn a_reader_that_stalls_ends_its_own_session() -> Result<()> {
    survives(Fault::StalledReader).await
}

#[tokio::test]
async fn a_reader_of_ten_kilobytes_a_second_slows_its_own_session() -> Result<()> {
    survives(Fault::SlowReader).await
}

#[tokio::test]
async fn ten_thousand_messages_of_garbage_end_one_connection() -> Result<()> {
    survives(Fault::Flood).await
}

#[tokio::test]
async fn upgrades_that_never_end_take_no_seat() -> Result<()> {
    survives(Fault::SlowLoris).await
}

#[tokio::test]
async fn messages_over_the_limit_end_one_connection() -> Result<()> {
    survives(Fault::Oversized).await
}

#[tokio::test]
async fn a_client_may_leave_from_every_state() -> Result<()> {
    survives(Fault::CloseInEveryState).await
}

/// Some clients read, one reads nothing, one has only connected: none of them can keep the server from stopping.
#[tokio::test]
async fn a_server_under_load_stops_when_told_and_says_goodbye_to_who_listens() -> Result<()> {
    for _ in 0..CYCLES {
        let limits = Limits { sessions: 4, ..Limits::default() };
        let (server, _strings) = Server::limited(Puppet::taking(Duration::from_millis(5)), limits)?;
        let mut readers = Vec::new();
        for _ in 0..3 {
            let mut reader = server.session(small()).await?;
            reader.chunk().await?;
            readers.push(tokio::spawn(async move {
                loop {
                    if let Message::Closed(close) = reader.next().await? {
                        return anyhow::Ok(close);
                    }
                }
            }));
        }
        let _stalled = server.session(small().size(400, 400)).await?;
        let _silent = Raw::open(server.address).await?;
        let from = Instant::now();
        tokio::task::spawn_blocking(|| server.stop()).await??;
        ensure!(from.elapsed() < 2 * server::SHUTDOWN + Duration::from_secs(2), "stopped after {:?}", from.elapsed());
        for reader in readers {
            let close = reader.await?.context("a client that listens")?;
            ensure!(close.code == 1001 || close.code == 1012, "{close:?}");
            ensure!(!close.reason.is_empty(), "{close:?}");
        }
    }
    Ok(())
}

/// Delay, jitter and a stall are no faults: everything arrives, whole and in order.
#[tokio::test]
async fn a_session_on_a_bad_line_gets_every_chunk() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::taking(Duration::from_millis(5)))?;
    let ms = Duration::from_millis;
    let up = Shape { delay: ms(5), jitter: ms(5), ..Shape::default() };
    let stall = Some((150_000, ms(300)));
    let down = Shape { delay: ms(5), jitter: ms(5), bytes_per_second: Some(2_000_000), stall, cut: None };
    for seed in 0..CYCLES {
        let line = Shaper::before(server.address, up, down, seed).await?;
        let mut client = tests::client::Client::connect(&line.url()).await?;
        client.send(small().size(64, 64).max_chunks(6)).await?;
        for index in 0..6 {
            ensure!(client.chunk().await?.stats.chunk_index == index);
        }
        ensure!(client.closed().await?.code == 1000);
    }
    Ok(())
}

/// Half a frame, as a shaper lets it through, is no message.
#[tokio::test]
async fn half_an_init_opens_nothing() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::default())?;
    let mut raw = Raw::open(server.address).await?;
    raw.announce(BINARY, 500).await?;
    drop(raw);
    server.session(small().max_chunks(1)).await?.chunk().await?;
    ensure!(strings.opened().await?.prompt == "a meadow");
    ensure!(strings.so_far().iter().all(|seen| !matches!(seen, tests::puppet::Seen::Opened { .. })));
    Ok(())
}
