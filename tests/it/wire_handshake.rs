//! Before anything is said: the upgrade, and the rules of the transport.
//!
//! Nothing here asks for a video except to show that the connection under test disturbs none.

use anyhow::{Result, ensure};
use std::time::Duration;
use tests::bystander::Bystander;
use tests::message::{Init, Message};
use tests::puppet::Puppet;
use tests::raw::{BINARY, CLOSE, PING, PONG, Raw};
use tests::{Server, small};

/// C01
#[tokio::test]
async fn an_upgrade_on_either_path_is_answered_101_without_extensions() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let (_raw, head) = Raw::upgrade(server.address, &[]).await?;
    ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
    ensure!(!head.to_lowercase().contains("sec-websocket-extensions"), "{head}");
    // The accept key of RFC 6455's own example.
    ensure!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");

    let short = format!("ws://{}/v1/realtime_video", server.address);
    let mut client = tests::client::Client::connect(&short).await?;
    client.send(small().max_chunks(1)).await?;
    client.chunk().await?;
    Ok(())
}

/// C02
#[tokio::test]
async fn a_subprotocol_that_is_offered_is_not_taken() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let (_raw, head) = Raw::upgrade(server.address, &["Sec-WebSocket-Protocol: x"]).await?;
    ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
    ensure!(!head.to_lowercase().contains("sec-websocket-protocol"), "{head}");
    Ok(())
}

/// C03
#[tokio::test]
async fn compression_that_is_offered_is_not_taken() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";
    let (mut raw, head) = Raw::upgrade(server.address, &[offer]).await?;
    ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
    ensure!(!head.to_lowercase().contains("permessage-deflate"), "{head}");
    // `receive` refuses a frame whose compression bit is set.
    raw.send(BINARY, &[0xc0]).await?;
    ensure!(raw.receive().await?.is_some_and(|frame| frame.opcode == BINARY && frame.whole));
    Ok(())
}

#[tokio::test]
async fn the_socket_path_without_an_upgrade_is_refused() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let (_raw, head) = Raw::ask(server.address, "/v1/realtime_video/generate", &[]).await?;
    ensure!(head.starts_with("HTTP/1.1 4"), "{head}");
    Ok(())
}

/// C05. The limit is ours, 32 MiB where the reference has 16, so that a photograph fits.
#[tokio::test]
async fn a_message_over_the_limit_closes_with_1009() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::taking(Duration::from_millis(5)))?;
    let mut bystander = Bystander::on(&server).await?;
    // Announced and not sent, so that nothing lies unread when the server closes and its close frame arrives for sure.
    let mut raw = Raw::open(server.address).await?;
    raw.announce(BINARY, 33 << 20).await?;
    let close = raw.receive().await?;
    ensure!(
        close.as_ref().is_some_and(|frame| frame.opcode == CLOSE && frame.payload.starts_with(&1009u16.to_be_bytes())),
        "{close:?}"
    );
    bystander.goes_on().await
}

/// C07
#[tokio::test]
async fn a_ping_is_answered_with_its_own_payload_while_a_chunk_is_drawn() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let mut raw = Raw::open(server.address).await?;
    raw.send(BINARY, &bytes_of(small())).await?;
    strings.began().await?;
    raw.send(PING, b"halfway?").await?;
    let pong = raw.receive().await?;
    ensure!(pong.as_ref().is_some_and(|frame| frame.opcode == PONG && frame.payload == b"halfway?"), "{pong:?}");
    Ok(())
}

#[tokio::test]
async fn a_message_in_fragments_is_one_message() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::default())?;
    let mut raw = Raw::open(server.address).await?;
    let init = bytes_of(small().max_chunks(1));
    let (start, end) = init.split_at(20);
    let mut frames = vec![BINARY, 0x80 | start.len() as u8, 0, 0, 0, 0];
    frames.extend(start);
    frames.extend([0x80, 0x80 | end.len() as u8, 0, 0, 0, 0]);
    frames.extend(end);
    tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &frames).await?;
    ensure!(strings.opened().await?.prompt == "a meadow");
    Ok(())
}

#[tokio::test]
async fn a_client_that_closes_gets_its_close_echoed() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let mut raw = Raw::open(server.address).await?;
    raw.send(CLOSE, &1000u16.to_be_bytes()).await?;
    let echo = raw.receive().await?;
    ensure!(echo.as_ref().is_some_and(|frame| frame.opcode == CLOSE), "{echo:?}");
    ensure!(raw.receive().await?.is_none(), "the connection outlives its close");
    Ok(())
}

/// C43: in every test the client fails on a message of another type or in an encoding that the reference's page cannot read.
#[tokio::test]
async fn a_session_that_sees_everything_sees_only_the_four_types() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let mut client = server.connect().await?;
    client.send_bytes(vec![0xc1]).await?;
    client.error().await?;
    client.send(small().max_chunks(3).format("jpeg")).await?;
    client.send(tests::message::Event::new("jump", "high")).await?;
    let mut kinds = std::collections::BTreeSet::new();
    loop {
        kinds.insert(match client.next().await? {
            Message::Batch(_) => "batch",
            Message::Stats(_) => "stats",
            Message::Error(_) => "error",
            Message::Session(_) => "session",
            Message::Queue(_) => "queue",
            Message::Begun(_) => "init_ack",
            Message::Ack(_) => "event_ack",
            Message::Received(_) => "event_received",
            Message::Applied(_) => "event_applied",
            Message::Clock(_) => "clock",
            Message::Timeline(_) => "timeline",
            Message::Watching(_) | Message::Stage(_) | Message::Skipped(_) => "for a viewer",
            Message::Shared(_) | Message::Viewers(_) => "of viewers",
            Message::PromptRead(_) => "prompt_read",
            Message::Moved(_) => "moved",
            Message::Closed(_) => break,
        });
    }
    ensure!(kinds.into_iter().eq(["batch", "error", "stats"]));
    Ok(())
}

fn bytes_of(init: Init) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &init.into()).expect("a Vec takes every byte");
    bytes
}
