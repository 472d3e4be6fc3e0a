//! `chunk_stats`: what a chunk cost, told when it is done.
//!
//! The sums (frames, messages, bytes on the wire) are checked by the client on every chunk of every test: C32, C45, C47.

use anyhow::{Result, ensure};
use rmpv::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;
use tests::puppet::Puppet;
use tests::raw::{BINARY, Raw};
use tests::{Server, encoding, small};

/// The reference's keys. A server may add some; none of these may be missing.
const KEYS: [&str; 18] = [
    "type",
    "session_id",
    "request_id",
    "chunk_index",
    "event_id",
    "request_prepare_ms",
    "scheduler_forward_ms",
    "pace_wait_ms",
    "header_write_ms",
    "raw_payload_build_ms",
    "raw_write_ms",
    "ws_write_ms",
    "chunk_total_ms",
    "num_batches",
    "num_frames",
    "raw_bytes",
    "ws_payload_bytes",
    "content_type",
];

/// C46, on the bytes themselves.
#[tokio::test]
async fn statistics_have_the_eighteen_keys_and_whole_milliseconds() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let mut raw = Raw::open(server.address).await?;
    let mut init = Vec::new();
    rmpv::encode::write_value(&mut init, &small().max_chunks(1).into())?;
    raw.send(BINARY, &init).await?;
    let stats = loop {
        let frame = raw.receive().await?.expect("a chunk before the end");
        if frame.payload.windows(11).any(|bytes| bytes == b"chunk_stats") {
            break frame.payload;
        }
    };
    ensure!(encoding::check(&stats)?.floats == 0);
    let Value::Map(entries) = rmpv::decode::read_value(&mut stats.as_slice())? else { anyhow::bail!("not a map") };
    let entries: BTreeMap<&str, &Value> =
        entries.iter().map(|(key, value)| (key.as_str().expect("checked above"), value)).collect();
    let missing: BTreeSet<_> = KEYS.into_iter().filter(|key| !entries.contains_key(key)).collect();
    ensure!(missing.is_empty(), "without {missing:?}");
    ensure!(entries["event_id"].is_nil());
    for (key, value) in entries.iter().filter(|(key, _)| key.ends_with("_ms")) {
        ensure!(value.is_u64(), "{key} is {value}");
    }
    Ok(())
}

/// C48
#[tokio::test]
async fn raw_bytes_are_those_of_the_frames_before_they_were_encoded() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    for init in [small(), small().format("jpeg"), small().format("webp").set("realtime_preview_max_width", 8)] {
        let chunk = server.session(init).await?.chunk().await?;
        ensure!(chunk.stats.raw_bytes == 16 * 16 * 3 * 9, "{}", chunk.stats.raw_bytes);
    }
    Ok(())
}

/// C49
#[tokio::test]
async fn every_chunk_of_a_session_has_an_id_of_its_own() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let mut ids = HashSet::new();
    let mut sessions = HashSet::new();
    for _ in 0..2 {
        let mut client = server.session(small().max_chunks(5)).await?;
        for _ in 0..5 {
            let stats = client.chunk().await?.stats;
            ids.insert(stats.request_id);
            sessions.insert(stats.session_id);
        }
    }
    ensure!(ids.len() == 10 && sessions.len() == 2);
    Ok(())
}

#[tokio::test]
async fn forward_time_is_the_worlds_and_total_time_holds_it() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::taking(Duration::from_millis(80)))?;
    let mut client = server.session(small().format("jpeg")).await?;
    for _ in 0..3 {
        let stats = client.chunk().await?.stats;
        ensure!(stats.scheduler_forward_ms >= 80, "{} ms in the world", stats.scheduler_forward_ms);
        ensure!(stats.chunk_total_ms >= stats.scheduler_forward_ms);
        // Added before they are rounded: one apart at most.
        ensure!((stats.header_write_ms + stats.raw_write_ms).abs_diff(stats.ws_write_ms) <= 1);
        ensure!(stats.pace_wait_ms == 0);
    }
    Ok(())
}
