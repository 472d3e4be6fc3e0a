//! What clients send is held until it is handled, and how much that may be has a bound: of all clients, and of each address.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use server::Limits;
use tests::bystander::Bystander;
use tests::message::{Event, Init};
use tests::puppet::Puppet;
use tests::raw::{BINARY, CLOSE, Raw};
use tests::{Server, opening, small, waiting};
use tokio::io::AsyncWriteExt;

const MIB: usize = 1 << 20;

/// What the server's page says of the bytes that are held.
async fn held(server: &Server) -> Result<u64> {
    let (_, page) = Raw::get(server.address, "/metrics").await?;
    let line = page.lines().find_map(|line| line.strip_prefix("causeway_memory_bytes{kind=\"inbound\"} "));
    Ok(line.context("a gauge of the bytes")?.parse()?)
}

async fn until_held(server: &Server, fits: impl Fn(u64) -> bool) -> Result<()> {
    for _ in 0..1000 {
        if fits(held(server).await?) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    anyhow::bail!("{} bytes are held", held(server).await?)
}

/// The start of a message of so many bytes, and that many of them but one.
async fn begin_a_message(server: &Server, bytes: usize) -> Result<Raw> {
    let mut raw = Raw::open(server.address).await?;
    raw.announce(BINARY, bytes as u64).await?;
    raw.stream.write_all(&vec![0; bytes - 1]).await?;
    Ok(raw)
}

#[tokio::test]
async fn an_address_cannot_fill_memory_with_messages_that_never_end() -> Result<()> {
    let limits = Limits { inbound_bytes: 32 * MIB as u64, ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::taking(Duration::from_millis(5)), limits)?;
    let mut bystander = Bystander::on(&server).await?;
    let mut held_by_them = Vec::new();
    for _ in 0..3 {
        held_by_them.push(begin_a_message(&server, 2 * MIB + 300_000).await?);
    }
    until_held(&server, |bytes| bytes > 6 * MIB as u64).await?;

    // A quarter of the bound is one address's: eight.
    let mut one_too_many = Raw::open(server.address).await?;
    one_too_many.announce(BINARY, 4 * MIB as u64).await?;
    // Little more than there is room for: what the server does not read must fit into the line.
    one_too_many.stream.write_all(&vec![0; 2_500_000]).await?;
    let error = one_too_many.receive().await?.context("an error")?;
    let said = String::from_utf8_lossy(&error.payload).into_owned();
    ensure!(error.opcode == BINARY && said.contains("too_many_bytes"), "{said}");
    let close = one_too_many.receive().await?.context("a close")?;
    ensure!(close.opcode == CLOSE && close.payload[..2] == 1008u16.to_be_bytes(), "{close:?}");

    // Whoever sends little is not in the way, and what was held is given back.
    bystander.goes_on().await?;
    let mut client = server.session(small().max_chunks(1)).await?;
    client.chunk().await?;
    drop((held_by_them, one_too_many));
    until_held(&server, |bytes| bytes == 0).await?;
    client = server.session(small().max_chunks(1)).await?;
    client.chunk().await?;
    Ok(())
}

#[tokio::test]
async fn a_picture_counts_as_long_as_its_client_waits_for_a_place() -> Result<()> {
    let limits = Limits { sessions: 1, busy_wait: Duration::from_secs(20), ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::taking(Duration::from_millis(5)), limits)?;
    let mut first = server.session(small()).await?;
    first.chunk().await?;
    let padded = || -> Init { small().first_frame(&padded_png()) };
    let mut waits = server.session(padded()).await?;
    waiting(&server, 1).await?;
    ensure!(held(&server).await? > MIB as u64);
    first.close().await?;
    waits.chunk().await?;
    ensure!(held(&server).await? == 0, "it has begun");
    Ok(())
}

/// Nobody has to read what comes after a PNG's end.
fn padded_png() -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(4, 4).write_to(&mut file, image::ImageFormat::Png).expect("a Vec takes everything");
    let mut file = file.into_inner();
    file.resize(2 * MIB, 0);
    file
}

/// Pings may stand between the parts of a message, and give nothing back of what it holds.
#[tokio::test]
async fn pings_between_the_parts_of_a_message_give_nothing_back() -> Result<()> {
    let limits = Limits { inbound_bytes: 8 * MIB as u64, ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::default(), limits)?;
    let mut raw = Raw::open(server.address).await?;
    // A first part, and then continuations, none of them the last.
    let part = vec![0; 100_000];
    let mut opcode = BINARY;
    let mut told = false;
    for _ in 0..26 {
        let mut head = vec![opcode, 0x80 | 127];
        head.extend((part.len() as u64).to_be_bytes());
        head.extend([0; 4]);
        if raw.stream.write_all(&head).await.is_err() || raw.stream.write_all(&part).await.is_err() {
            break;
        }
        opcode = 0;
        if raw.send(0x9, b"ping").await.is_err() {
            break;
        }
    }
    while let Some(frame) = raw.receive().await? {
        told |= String::from_utf8_lossy(&frame.payload).contains("too_many_bytes");
        if frame.opcode == CLOSE {
            break;
        }
    }
    ensure!(told, "a message of more than two megabytes came in parts");
    Ok(())
}

#[tokio::test]
async fn events_of_a_session_are_no_burden() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::taking(Duration::from_millis(5)))?;
    let mut client = server.session(small()).await?;
    for _ in 0..50 {
        client.send(Event::prompt(&"p".repeat(8000))).await?;
        client.chunk().await?;
    }
    ensure!(held(&server).await? == 0);
    opening(&server, 0).await
}
