//! A server seen from outside: its metrics, its sessions, whether it is ready, and where time goes.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use server::Limits;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tests::exposition::Exposition;
use tests::message::Message;
use tests::puppet::Puppet;
use tests::raw::{BINARY, Raw};
use tests::{Server, refusal, small};

async fn page(server: &Server, path: &str) -> Result<(u16, String)> {
    let (head, body) = Raw::get(server.address, path).await?;
    Ok((head.split(' ').nth(1).context("a status line")?.parse()?, body))
}

async fn json(server: &Server, path: &str) -> Result<(u16, Value)> {
    let (status, body) = page(server, path).await?;
    Ok((status, serde_json::from_str(&body).with_context(|| format!("{path}: {body}"))?))
}

async fn metrics(server: &Server) -> Result<Exposition> {
    let (status, body) = page(server, "/metrics").await?;
    ensure!(status == 200, "{status}");
    Exposition::parse(&body)
}

/// Wait until all these series have these values: the server may count a moment after a client has seen.
async fn until(server: &Server, expected: &[(&str, f64)]) -> Result<Exposition> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let metrics = metrics(server).await?;
        let different = expected.iter().find(|(series, value)| metrics.get(series).ok() != Some(*value));
        let Some((series, value)) = different else { return Ok(metrics) };
        ensure!(tokio::time::Instant::now() < deadline, "{series} is not {value}: {:?}", metrics.get(series));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn metrics_of_a_server_that_loads_are_well_formed_and_all_zero() -> Result<()> {
    let (server, _strings) = Server::with(Puppet { loads_on_a_string: true, ..Puppet::default() })?;
    let (head, _) = Raw::get(server.address, "/metrics").await?;
    ensure!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    let metrics = metrics(&server).await?;
    for series in [
        "causeway_ready",
        "causeway_connections",
        "causeway_sessions{state=\"running\"}",
        "causeway_chunk_seconds_count",
        "causeway_drops_total{reason=\"write_deadline\"}",
        "causeway_frames_total{format=\"jpeg\"}",
    ] {
        ensure!(metrics.get(series)? == 0.0, "{series}");
    }
    ensure!(metrics.get("process_resident_memory_bytes")? > 1e6);
    Ok(())
}

#[tokio::test]
async fn metrics_count_what_happened() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::taking(Duration::from_millis(3)))?;
    let mut raw = server.session(small().max_chunks(4)).await?;
    let mut jpeg = server.session(small().format("jpeg")).await?;
    let mut bytes = 0;
    for _ in 0..4 {
        bytes += raw.chunk().await?.stats.ws_payload_bytes;
    }
    jpeg.chunk().await?;
    while !matches!(raw.next().await?, Message::Closed(_)) {}
    let mut mistaken = server.session(small().set("size", "no size")).await?;
    refusal(&mut mistaken).await?;
    let metrics = until(
        &server,
        &[
            // A first chunk has nine frames, every other twelve.
            ("causeway_frames_total{format=\"raw\"}", 9.0 + 3.0 * 12.0),
            ("causeway_sent_bytes_total{format=\"raw\"}", bytes as f64),
            ("causeway_frames_total{format=\"webp\"}", 0.0),
            ("causeway_errors_total{code=\"invalid_generate_request\"}", 1.0),
            ("causeway_connections_closed_total{code=\"1000\",reason=\"generation complete\"}", 1.0),
            ("causeway_sessions{state=\"running\"}", 1.0),
            ("causeway_sessions{state=\"opening\"}", 0.0),
            ("causeway_sessions_started_total", 2.0),
            ("causeway_connections", 2.0),
            // A byte a pixel, and two chunks of frames that may be on their way.
            ("causeway_memory_bytes{kind=\"rollouts\"}", 256.0 + 18432.0),
            ("causeway_ready", 1.0),
        ],
    )
    .await?;
    ensure!(metrics.get("causeway_frames_total{format=\"jpeg\"}")? >= 9.0);
    let dit = |series: &str| metrics.get(&format!("causeway_chunk_stage_seconds_{series}"));
    ensure!(dit("count{stage=\"dit\"}")? >= 5.0 && dit("bucket{stage=\"dit\",le=\"0.0025\"}")? == 0.0);
    ensure!(dit("sum{stage=\"dit\"}")? >= 5.0 * 0.003);
    ensure!(dit("count{stage=\"text\"}")? == 0.0, "the puppet reads no text");
    drop((jpeg, mistaken));
    until(&server, &[("causeway_connections", 0.0), ("causeway_memory_bytes{kind=\"rollouts\"}", 0.0)]).await?;
    Ok(())
}

#[tokio::test]
async fn a_session_that_waits_for_the_world_is_opening() -> Result<()> {
    let (server, strings) = Server::with(Puppet { loads_on_a_string: true, ..Puppet::default() })?;
    let mut early = server.session(small()).await?;
    until(&server, &[("causeway_sessions{state=\"opening\"}", 1.0)]).await?;
    strings.allow(1);
    early.chunk().await?;
    until(&server, &[("causeway_sessions{state=\"opening\"}", 0.0), ("causeway_sessions{state=\"running\"}", 1.0)])
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_client_that_is_sent_away_is_counted_by_what_it_did() -> Result<()> {
    let limits = Limits { write_deadline: Duration::from_millis(100), message_bytes: 1000, ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::default(), limits)?;
    let mut flood = Raw::open(server.address).await?;
    for _ in 0..5_000 {
        // Closed meanwhile, and reset for what was still under way.
        if flood.send(BINARY, b"garbage").await.is_err() {
            break;
        }
    }
    let mut too_big = Raw::open(server.address).await?;
    too_big.send(BINARY, &[0; 1001]).await?;
    let mut stalled = Raw::open(server.address).await?;
    let mut init = Vec::new();
    rmpv::encode::write_value(&mut init, &small().size(1280, 720).into())?;
    stalled.send(BINARY, &init).await?;
    until(
        &server,
        &[
            ("causeway_drops_total{reason=\"flood\"}", 1.0),
            ("causeway_drops_total{reason=\"too_big\"}", 1.0),
            ("causeway_drops_total{reason=\"write_deadline\"}", 1.0),
            ("causeway_drops_total{reason=\"keepalive\"}", 0.0),
        ],
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_world_that_is_too_slow_for_its_frame_rate_shows_as_missed_deadlines() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::taking(Duration::from_millis(120)))?;
    // Twelve frames last 50 ms at 240 a second.
    let init = small().set("realtime_output_pacing", true).set("fps", 240).max_chunks(3);
    let mut client = server.session(init).await?;
    for _ in 0..3 {
        client.chunk().await?;
    }
    until(&server, &[("causeway_deadline_misses_total", 2.0), ("causeway_underruns_total", 2.0)]).await?;
    Ok(())
}

#[tokio::test]
async fn a_server_is_ready_once_its_world_is_loaded_and_alive_before() -> Result<()> {
    let (server, strings) = Server::with(Puppet { loads_on_a_string: true, ..Puppet::default() })?;
    let (status, ready) = json(&server, "/ready").await?;
    ensure!(status == 503 && ready["status"] == "loading", "{status} {ready}");
    ensure!(json(&server, "/liveness").await?.0 == 200);
    let info = json(&server, "/server_info").await?.1;
    ensure!(info["status"] == "loading" && info["world"].is_null(), "{info}");
    strings.allow(1);
    until(&server, &[("causeway_ready", 1.0), ("causeway_world_info{world=\"puppet\"}", 1.0)]).await?;
    let (status, ready) = json(&server, "/ready").await?;
    ensure!(status == 200 && ready["status"] == "ok", "{status} {ready}");
    Ok(())
}

#[tokio::test]
async fn the_server_says_what_it_serves_and_within_which_limits() -> Result<()> {
    let limits = Limits { sessions: 3, memory_bytes: 56_789, ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::default(), limits)?;
    let mut client = server.session(small()).await?;
    client.chunk().await?;
    let info = json(&server, "/server_info").await?.1;
    ensure!(info["server"] == "causeway" && info["status"] == "ok" && info["model"] == "puppet", "{info}");
    ensure!(info["limits"]["sessions"] == 3 && info["limits"]["memory_bytes"] == 56_789, "{info}");
    ensure!(info["world"]["default_size"] == "832x480" && info["world"]["fps"] == 16, "{info}");
    ensure!(info["sessions"] == 1 && info["connections"] == 1 && info["memory_bytes_used"] == 256 + 18_432, "{info}");
    ensure!(info["uptime_s"].as_f64().is_some_and(|seconds| seconds > 0.0), "{info}");
    Ok(())
}

#[tokio::test]
async fn the_list_of_sessions_says_how_one_fares() -> Result<()> {
    let (server, strings) = Server::with(Puppet::on_strings())?;
    let mut client = server.session(small().format("jpeg")).await?;
    strings.allow(1);
    let stats = client.chunk().await?.stats;
    until(&server, &[("causeway_frames_total{format=\"jpeg\"}", 9.0)]).await?;
    let listed = json(&server, "/v1/realtime_video/sessions").await?.1;
    let [a] = listed["sessions"].as_array().context("a list")?.as_slice() else {
        anyhow::bail!("not one: {listed}");
    };
    ensure!(a["session_id"] == stats.session_id.as_str() && a["format"] == "jpeg" && a["size"] == "16x16", "{listed}");
    ensure!(a["chunks"] == 1 && a["frames"] == 9 && a["memory_bytes"] == 256 + 18_432, "{listed}");
    ensure!(a["sent_bytes"] == stats.ws_payload_bytes && a["seat"].is_u64(), "{listed}");
    ensure!(a["last_chunk_ms"].is_u64() && a["age_s"].as_f64().is_some_and(|age| age > 0.0), "{listed}");
    drop(client);
    until(&server, &[("causeway_sessions{state=\"running\"}", 0.0)]).await?;
    ensure!(json(&server, "/v1/realtime_video/sessions").await?.1["sessions"] == Value::Array(vec![]));
    Ok(())
}

#[tokio::test]
async fn a_queue_is_seen_with_all_that_wait_in_it() -> Result<()> {
    let limits = Limits { sessions: 1, queue: 2, busy_wait: Duration::ZERO, ..Limits::default() };
    let (server, mut strings) = Server::limited(Puppet::on_strings(), limits)?;
    let first = server.session(small()).await?;
    strings.began().await?;
    let mut second = server.session(small().queued()).await?;
    second.standing().await?;
    let mut refused = server.session(small()).await?;
    refused.closed_after_error().await?;
    let mut third = server.session(small().queued()).await?;
    third.standing().await?;
    let mut full = server.session(small()).await?;
    full.closed_after_error().await?;
    until(
        &server,
        &[
            ("causeway_sessions{state=\"waiting\"}", 2.0),
            ("causeway_sessions{state=\"opening\"}", 0.0),
            ("causeway_sessions{state=\"running\"}", 1.0),
            ("causeway_queue_max", 2.0),
            ("causeway_queue_wait_seconds_count", 1.0),
            ("causeway_sessions_refused_total{reason=\"sessions\"}", 1.0),
            ("causeway_sessions_refused_total{reason=\"queue_full\"}", 1.0),
            ("causeway_errors_total{code=\"session_busy\"}", 1.0),
            ("causeway_errors_total{code=\"queue_full\"}", 1.0),
        ],
    )
    .await?;
    let info = json(&server, "/server_info").await?.1;
    ensure!(info["sessions_waiting"] == 2 && info["limits"]["queue"] == 2, "{info}");
    let listed = json(&server, "/v1/realtime_video/sessions").await?.1;
    let [a, b] = listed["waiting"].as_array().context("a list")?.as_slice() else { anyhow::bail!("not two: {listed}") };
    ensure!(a["position"] == 1 && b["position"] == 2 && a["reason"] == "sessions", "{listed}");
    ensure!(listed["waiting_max"] == 2, "{listed}");

    tokio::time::sleep(Duration::from_millis(150)).await;
    first.close().await?;
    strings.opened().await?;
    strings.allow(1);
    second.chunk().await?;
    let metrics =
        until(&server, &[("causeway_sessions{state=\"waiting\"}", 1.0), ("causeway_queue_wait_seconds_count", 2.0)])
            .await?;
    ensure!(metrics.get("causeway_queue_wait_seconds_bucket{le=\"0.1\"}")? == 1.0, "the second waited longer");
    drop((second, third));
    until(&server, &[("causeway_sessions{state=\"waiting\"}", 0.0), ("causeway_sessions{state=\"running\"}", 0.0)])
        .await?;
    Ok(())
}

#[tokio::test]
async fn the_devices_time_that_paced_sessions_need_is_measured() -> Result<()> {
    let limits = Limits { load: 0.7, ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::taking(Duration::from_millis(50)), limits)?;
    let mut free = server.session(small()).await?;
    free.chunk().await?;
    ensure!(metrics(&server).await?.get("causeway_load")? == 0.0, "a free session needs none of its own");
    // A chunk every half second.
    let mut paced = server.session(small().paced(24)).await?;
    paced.chunk().await?;
    let metrics = metrics(&server).await?;
    let load = metrics.get("causeway_load")?;
    ensure!((0.09..0.5).contains(&load), "{load}");
    ensure!(metrics.get("causeway_load_max")? == 0.7);
    paced.close().await?;
    until(&server, &[("causeway_load", 0.0)]).await?;
    Ok(())
}

/// Gone with the test.
struct TraceFile(PathBuf);

impl TraceFile {
    fn new(name: &str) -> TraceFile {
        TraceFile(std::env::temp_dir().join(format!("causeway-{name}-{}.json", std::process::id())))
    }

    fn read(&self) -> Result<Vec<Value>> {
        Ok(serde_json::from_slice(&std::fs::read(&self.0)?)?)
    }
}

impl Drop for TraceFile {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Begin and end of a slice in nanoseconds: exact, where a sum of floats would not be.
fn span(event: &Value) -> Result<(u64, u64)> {
    let time = |field: &str| -> Result<u64> {
        let microseconds = event[field].as_f64().with_context(|| format!("no {field} in {event}"))?;
        Ok((microseconds * 1000.0).round() as u64)
    };
    Ok((time("ts")?, time("ts")? + time("dur")?))
}

#[tokio::test]
async fn a_trace_holds_every_chunk_of_every_session_and_its_slices_nest() -> Result<()> {
    let file = TraceFile::new("trace");
    let limits = Limits { trace_file: Some(file.0.clone()), ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::taking(Duration::from_millis(2)), limits)?;
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(server.session(small().format("jpeg").max_chunks(5)).await?);
    }
    for client in &mut clients {
        for _ in 0..5 {
            client.chunk().await?;
        }
    }
    // Whole while it grows.
    file.read()?;
    tokio::task::spawn_blocking(|| server.stop()).await??;
    let events = file.read()?;

    let mut tracks: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    for slice in events.iter().filter(|event| event["ph"] == "X") {
        tracks.entry(slice["tid"].as_u64().context("a track")?).or_default().push(slice);
    }
    let count = |name: &str| events.iter().filter(|event| event["ph"] == "X" && event["name"] == name).count();
    // Five chunks of two sessions; each of their latent frames leaves by itself.
    for (name, times) in [("chunk", 10), ("sample", 10), ("dit", 10), ("encode", 30), ("write", 30)] {
        ensure!(count(name) == times, "{} times {name}", count(name));
    }
    ensure!(tracks.len() == 5, "an engine and two tracks a session, not {:?}", tracks.keys());
    for (track, slices) in &mut tracks {
        let named = events.iter().any(|event| event["name"] == "thread_name" && event["tid"] == *track);
        ensure!(named, "track {track} has no name");
        let mut spans = slices.iter().map(|slice| span(slice)).collect::<Result<Vec<_>>>()?;
        // By their beginning, the longer one first: whoever is inside another comes after it.
        spans.sort_by_key(|&(began, ended)| (began, std::cmp::Reverse(ended)));
        let mut around: Vec<u64> = Vec::new();
        for (began, ended) in spans {
            while around.last().is_some_and(|&end| end <= began) {
                around.pop();
            }
            ensure!(around.last().is_none_or(|&end| ended <= end), "slices of track {track} cross at {began} ns");
            around.push(ended);
        }
    }
    // Each stage inside its own chunk.
    for stage in events.iter().filter(|event| event["name"] == "dit") {
        let (began, ended) = span(stage)?;
        let chunk = events.iter().find(|event| event["name"] == "chunk" && event["args"] == stage["args"]);
        let (first, last) = span(chunk.context("a stage without its chunk")?)?;
        ensure!(first <= began && ended <= last, "{stage} outside its chunk");
    }
    Ok(())
}

#[tokio::test]
async fn a_trace_file_that_cannot_be_made_ends_the_server_with_its_name() -> Result<()> {
    let file = std::env::temp_dir().join("causeway-no-such-directory").join("trace.json");
    let limits = Limits { trace_file: Some(file), ..Limits::default() };
    let (load, _strings) = Puppet::default().rig();
    let error = Server::start(load, limits)?.ended().expect_err("a server without its trace");
    ensure!(format!("{error:#}").contains("causeway-no-such-directory"), "{error:#}");
    Ok(())
}
