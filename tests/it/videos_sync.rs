//! `POST /v1/videos/sync`: the answer is the file, and a client that leaves ends the work. Lines V055 to V066 of the list.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use server::{JobLimits, Limits};
use std::time::{Duration, Instant};
use tests::Server;
use tests::mp4::Film;
use tests::openai::{Part, asking, get, job, post, post_form, send, until};
use tests::puppet::{Puppet, Seen, Strings};
use tokio::io::AsyncWriteExt;

use crate::videos_create::{cosmos3, roomy, testcard};

fn clip(frames: u64) -> Value {
    json!({ "prompt": "a", "size": "64x48", "num_frames": frames })
}

async fn sending(server: &Server, body: &Value) -> Result<tests::openai::Asked> {
    send(server.address, "POST /v1/videos/sync", &[], body.to_string().as_bytes()).await
}

/// The value of a metric without labels.
async fn metric(server: &Server, name: &str) -> Result<f64> {
    let page = String::from_utf8(get(server.address, "GET /metrics").await?.body)?;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).context(page.clone())?;
    Ok(line.parse()?)
}

async fn until_cancelled(server: &Server, count: f64) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    while metric(server, "causeway_requests_cancelled_total").await? < count {
        ensure!(Instant::now() < end, "nothing was cancelled");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn cancelled(strings: &mut Strings) -> Result<()> {
    strings.until("the device was not let go", |seen| matches!(seen, Seen::Cancelled { .. }).then_some(())).await
}

/// V055.
#[tokio::test]
async fn the_answer_is_a_film_with_headers_that_say_what_it_took() -> Result<()> {
    let server = testcard()?;
    let answer = post(
        server.address,
        "/v1/videos/sync",
        json!({
            "prompt": "a", "size": "64x48", "num_frames": 10, "seed": 5, "zzz,\r\nX-Bad: 1": true, "flow_shift": 3,
        }),
    )
    .await?;
    ensure!(answer.status == 200 && answer.header("content-type") == Some("video/mp4"), "{answer:?}");
    ensure!(Film::read(&answer.body)?.frames.len() == 10);
    let header = |name: &str| answer.header(name).with_context(|| format!("{name}: {answer:?}"));
    let id = header("x-request-id")?.strip_prefix("video_sync-").context("its id")?;
    ensure!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    ensure!(header("x-model")? == "testcard" && header("x-seed")? == "5");
    for seconds in ["x-inference-time-s", "x-peak-memory-mb"] {
        let (_, decimals) = header(seconds)?.split_once('.').context("decimals")?;
        ensure!(decimals.len() == 3 && header(seconds)?.parse::<f64>()? >= 0.0, "{seconds}");
    }
    let stages: Value = serde_json::from_str(header("x-stage-durations")?)?;
    ensure!(["queue", "text", "denoise", "decode", "encode"].iter().all(|stage| stages[stage].is_f64()), "{stages}");
    ensure!(!header("x-stage-durations")?.contains(' '));
    ensure!(header("x-ignored")?.contains("flow_shift") && answer.header("x-bad").is_none(), "{answer:?}");
    Ok(())
}

/// V056.
#[tokio::test]
async fn a_sync_clip_is_never_in_the_list() -> Result<()> {
    let (server, mut strings) = Server::limited(Puppet::on_strings(), roomy())?;
    let asked = sending(&server, &clip(9)).await?;
    strings.began().await?;
    let listed = async || anyhow::Ok(get(server.address, "GET /v1/videos").await?.expect(200)?["data"].clone());
    ensure!(listed().await? == json!([]));
    strings.allow(1);
    ensure!(asked.answer().await?.status == 200);
    ensure!(listed().await? == json!([]));
    let info = get(server.address, "GET /server_info").await?.expect(200)?;
    ensure!(info["jobs"]["kept"] == 0, "{info}");
    Ok(())
}

/// V057.
#[tokio::test]
async fn a_client_that_leaves_frees_the_device_within_a_pass() -> Result<()> {
    let (server, mut strings) = Server::limited(Puppet::on_strings(), roomy())?;
    let asked = sending(&server, &clip(400)).await?;
    strings.began().await?;
    drop(asked);
    cancelled(&mut strings).await?;
    strings.dropped().await?;
    until_cancelled(&server, 1.0).await?;
    strings.allow(1);
    ensure!(sending(&server, &clip(9)).await?.answer().await?.status == 200, "the next request is served");
    Ok(())
}

/// V058.
#[tokio::test]
async fn a_clip_whose_client_leaves_while_it_waits_never_starts() -> Result<()> {
    let (server, mut strings) = Server::limited(Puppet::on_strings(), roomy())?;
    let first = sending(&server, &clip(9)).await?;
    strings.began().await?;
    let second = sending(&server, &json!({ "prompt": "second", "size": "64x48", "num_frames": 9 })).await?;
    while get(server.address, "GET /server_info").await?.expect(200)?["jobs"]["waiting"] != 1 {}
    drop(second);
    until_cancelled(&server, 1.0).await?;
    strings.allow(2);
    ensure!(first.answer().await?.status == 200);
    let third = sending(&server, &json!({ "prompt": "third", "size": "64x48", "num_frames": 9 })).await?;
    ensure!(strings.opened().await?.prompt == "third");
    ensure!(third.answer().await?.status == 200);
    Ok(())
}

/// V059.
#[tokio::test]
async fn a_client_that_half_closes_counts_as_gone() -> Result<()> {
    let (server, mut strings) = Server::limited(Puppet::on_strings(), roomy())?;
    let mut asked = sending(&server, &clip(400)).await?;
    strings.began().await?;
    asked.stream.shutdown().await?;
    cancelled(&mut strings).await?;
    until_cancelled(&server, 1.0).await
}

/// V060.
#[tokio::test]
async fn a_clip_that_takes_too_long_is_answered_and_cancelled() -> Result<()> {
    let jobs = JobLimits { sync_timeout: Duration::from_secs(1), ..roomy().jobs };
    let (server, mut strings) = Server::limited(Puppet::on_strings(), Limits { jobs, ..roomy() })?;
    let asked = sending(&server, &clip(400)).await?;
    strings.began().await?;
    let message = asked.answer().await?.error(504)?;
    ensure!(message == "Video generation timed out after 1s.", "{message}");
    cancelled(&mut strings).await
}

/// V062. V063.
#[tokio::test]
async fn a_picture_with_a_video_and_two_outputs_are_refused() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    let parts = [
        Part::Text("prompt", "a"),
        Part::File("input_reference", "a.png", "image/png", b"\x89PNG"),
        Part::File("video_reference", "a.mp4", "video/mp4", b"x"),
    ];
    post_form(server.address, "/v1/videos/sync", &parts).await?.error(400)?;
    let message = post(server.address, "/v1/videos/sync", asking(json!({ "n": 2 }))).await?.error(400)?;
    ensure!(message.starts_with("n must be 1"), "{message}");
    Ok(())
}

/// V064.
#[tokio::test]
async fn a_sync_clip_and_a_job_of_the_same_values_are_the_same_file() -> Result<()> {
    let server = testcard()?;
    let body = json!({ "prompt": "a", "size": "64x48", "num_frames": 21, "camera_actions": "w*3,l*2", "seed": 3 });
    let sync = post(server.address, "/v1/videos/sync", body.clone()).await?;
    let queued = job(&server, body).await?;
    until(&server, &queued, "completed").await?;
    let file = get(server.address, &format!("GET {}", tests::openai::path(&queued, "/content"))).await?;
    ensure!(sync.status == 200 && sync.body == file.body);
    Ok(())
}

/// V066.
#[tokio::test]
async fn a_job_goes_on_when_the_connection_that_made_it_closes() -> Result<()> {
    let (server, mut strings) = Server::limited(Puppet::on_strings(), roomy())?;
    // Its answer is read, and the connection closed, before anything is drawn.
    let queued = job(&server, clip(9)).await?;
    strings.began().await?;
    strings.allow(1);
    until(&server, &queued, "completed").await?;
    Ok(())
}
