//! A server's own life: it listens while its world loads, reports its state, fails with a message, and keeps its bounds.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use server::Limits;
use std::time::Duration;
use tests::message::Message;
use tests::puppet::Puppet;
use tests::raw::{BINARY, CLOSE, Raw};
use tests::{Server, small};

/// The status and the body, which is JSON.
async fn json(server: &Server, path: &str) -> Result<(u16, Value)> {
    let (head, body) = Raw::get(server.address, path).await?;
    let status = head.split(' ').nth(1).context("a status line")?.parse()?;
    Ok((status, serde_json::from_str(&body).with_context(|| format!("{path}: {body}"))?))
}

#[tokio::test]
async fn while_the_world_loads_health_says_so_and_an_init_waits_for_it() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet { loads_on_a_string: true, ..Puppet::default() })?;
    let (status, health) = json(&server, "/health").await?;
    ensure!(status == 503 && health["status"] == "loading", "{status} {health}");
    ensure!(json(&server, "/liveness").await?.0 == 200);

    let mut early = server.session(small().max_chunks(1)).await?;
    early.ping().await?;
    ensure!(strings.so_far().is_empty());
    strings.allow(1);
    early.chunk().await?;
    let (status, health) = json(&server, "/health").await?;
    ensure!(status == 200 && health["status"] == "ok", "{status} {health}");
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_while_the_world_loads_is_forgotten() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet { loads_on_a_string: true, ..Puppet::default() })?;
    let mut gone = server.session(small().set("prompt", "never drawn")).await?;
    gone.ping().await?;
    gone.close().await?;
    strings.allow(1);
    let mut there = server.session(small().max_chunks(1)).await?;
    there.chunk().await?;
    ensure!(strings.opened().await?.prompt == "a meadow");
    Ok(())
}

/// Clients of the reference ask these before they connect.
#[tokio::test]
async fn the_pages_that_realtime_clients_read_first_are_there() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    server.session(small().max_chunks(1)).await?.chunk().await?;
    for path in ["/v1/models", "/models"] {
        let (status, models) = json(&server, path).await?;
        ensure!(status == 200 && models["object"] == "list", "{path}: {status} {models}");
        ensure!(models["data"][0]["id"] == "puppet" && models["data"][0]["object"] == "model", "{models}");
    }
    ensure!(json(&server, "/server_info").await?.1.is_object());
    ensure!(json(&server, "/v1/gallery").await?.1.is_array());
    Ok(())
}

#[tokio::test]
async fn a_world_that_cannot_be_loaded_ends_the_server_with_the_reason() -> Result<()> {
    let load: server::LoadWorld = Box::new(|| anyhow::bail!("no transformer in this directory"));
    let error = Server::start(load, Limits::default())?.ended().expect_err("a server without a world");
    ensure!(format!("{error:#}").contains("no transformer in this directory"), "{error:#}");
    Ok(())
}

/// A panic is a bug: whoever supervises the process should see it, rather than a server that hangs.
#[tokio::test]
async fn a_world_that_panics_ends_the_server_with_its_words() -> Result<()> {
    let (server, strings) = Server::with(Puppet { panics: Some(1), ..Puppet::on_strings() })?;
    let mut client = server.session(small()).await?;
    strings.allow(1);
    client.chunk().await?;
    strings.allow(1);
    // Told one way or another, and never left waiting.
    while let Ok(message) = client.next().await {
        if let Message::Closed(close) = message {
            ensure!(close.code != 1000, "{close:?}");
            break;
        }
    }
    drop(client);
    let error = tokio::task::spawn_blocking(|| server.ended()).await?.expect_err("a server without a world");
    ensure!(format!("{error:#}").contains("the strings are torn"), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn connections_have_a_bound_and_the_one_too_many_is_told() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::default(), Limits { connections: 2, ..Limits::default() })?;
    let mut first = server.session(small()).await?;
    first.chunk().await?;
    let second = server.connect().await?;
    let (_raw, head) = Raw::upgrade(server.address, &[]).await?;
    ensure!(head.starts_with("HTTP/1.1 503 "), "{head}");
    second.close().await?;
    // The place is given back once the server has seen it leave.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while server.connect().await.is_err() {
        ensure!(tokio::time::Instant::now() < deadline, "a place is never given back");
    }
    first.chunk().await?;
    Ok(())
}

/// C05
#[tokio::test]
async fn a_message_as_long_as_the_limit_is_read_and_one_byte_more_closes() -> Result<()> {
    let limits = Limits { message_bytes: 1000, ..Limits::default() };
    let (server, mut strings) = Server::limited(Puppet::default(), limits)?;
    let mut raw = Raw::open(server.address).await?;
    let mut init = Vec::new();
    rmpv::encode::write_value(&mut init, &small().max_chunks(1).into())?;
    let filled = |bytes: usize| -> Result<Vec<u8>> {
        // A bin16 has three bytes before its own, and its key five.
        let filler = rmpv::Value::Binary(vec![0; bytes - init.len() - 8]);
        let mut filled = Vec::new();
        rmpv::encode::write_value(&mut filled, &small().max_chunks(1).set("fill", filler).into())?;
        ensure!(filled.len() == bytes, "{} bytes, not {bytes}", filled.len());
        Ok(filled)
    };
    raw.send(BINARY, &filled(1000)?).await?;
    ensure!(strings.opened().await?.prompt == "a meadow");
    let mut raw = Raw::open(server.address).await?;
    raw.send(BINARY, &filled(1001)?).await?;
    let close = raw.receive().await?;
    let with_1009 = |payload: &[u8]| payload.starts_with(&1009_u16.to_be_bytes());
    ensure!(close.as_ref().is_some_and(|frame| frame.opcode == CLOSE && with_1009(&frame.payload)), "{close:?}");
    Ok(())
}
