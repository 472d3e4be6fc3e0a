//! Signs of life: a client that gives none is closed, and a client that gives nothing else is left alone.
//!
//! The intervals are a tenth of a second and less than two where users have twenty seconds each. What is proved is an order
//! of events; times are only compared with others that are many times as long.

use anyhow::{Context, Result, ensure};
use server::Limits;
use std::time::{Duration, Instant};
use tests::bystander::Bystander;
use tests::message::Init;
use tests::puppet::Puppet;
use tests::raw::{BINARY, CLOSE, PING, PONG, Raw, RawFrame};
use tests::{Server, small};

const PING_EVERY: Duration = Duration::from_millis(100);
/// As long as a bystander may be kept from its processor before it counts as dead.
const PONG_WITHIN: Duration = Duration::from_millis(1500);

fn limits() -> Limits {
    Limits { ping_every: PING_EVERY, pong_within: PONG_WITHIN, ..Limits::default() }
}

async fn says(raw: &mut Raw, init: Init) -> Result<()> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &init.into())?;
    raw.send(BINARY, &bytes).await
}

/// The last frame before the connection ends: reads all that comes, and answers nothing.
async fn last(raw: &mut Raw) -> Result<RawFrame> {
    let mut last = None;
    while let Some(frame) = raw.receive().await? {
        if frame.opcode == CLOSE {
            return Ok(frame);
        }
        last = Some(frame.opcode);
    }
    anyhow::bail!("the connection ended without a close, after {last:?}")
}

fn is_keepalive(close: &RawFrame) -> bool {
    close.payload == [&1011_u16.to_be_bytes()[..], b"keepalive ping timeout"].concat()
}

/// C04. Fifteen pings, which at the usual interval are five minutes; and between any two of them another session gets
/// chunks.
#[tokio::test]
async fn a_connection_that_says_nothing_hears_only_pings_and_blocks_nobody() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::taking(Duration::from_millis(5)), limits())?;
    let mut silent = Raw::open(server.address).await?;
    let mut bystander = Bystander::on(&server).await?;
    for _ in 0..15 {
        let frame = silent.receive().await?.context("the connection ended")?;
        ensure!(frame.opcode == PING, "{frame:?}");
        silent.send(PONG, &frame.payload).await?;
        bystander.goes_on().await?;
    }
    Ok(())
}

/// C06
#[tokio::test]
async fn a_client_that_answers_no_ping_is_closed_with_1011_and_others_go_on() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::taking(Duration::from_millis(5)), limits())?;
    let mut bystander = Bystander::on(&server).await?;
    for state in ["nothing said", "half a message said", "running"] {
        let asked = Instant::now();
        let mut dead = Raw::open(server.address).await?;
        match state {
            "half a message said" => dead.announce(BINARY, 500).await?,
            "running" => says(&mut dead, small()).await?,
            _ => {}
        }
        let close = last(&mut dead).await?;
        ensure!(is_keepalive(&close), "{state}: {close:?}");
        ensure!(asked.elapsed() >= PING_EVERY + PONG_WITHIN, "{state}: closed after {:?}", asked.elapsed());
    }
    bystander.goes_on().await
}

/// C06, the half that the reference cannot do: there the close waits behind what nobody reads, and the only seat with it.
#[tokio::test]
async fn a_dead_client_is_closed_with_1011_also_while_the_server_has_unsent_data() -> Result<()> {
    // Not the write deadline: that comes a minute later.
    let limits = Limits { write_deadline: Duration::from_secs(60), ..limits() };
    let (server, mut strings) = Server::limited(Puppet::taking(Duration::from_millis(2)), limits)?;
    let mut dead = Raw::open(server.address).await?;
    // 11 MB in the first chunk: more than a socket swallows.
    says(&mut dead, small().size(832, 480)).await?;
    let from = Instant::now();
    // Its seat is given back before a byte of the frames was read.
    strings.dropped().await?;
    ensure!(from.elapsed() < Duration::from_secs(15), "given back only after {:?}", from.elapsed());
    // And if it wakes within two seconds, it finds what was under way, and after that the reason.
    let close = last(&mut dead).await?;
    ensure!(is_keepalive(&close), "{close:?}");
    Ok(())
}
