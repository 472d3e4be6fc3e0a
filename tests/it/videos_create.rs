//! `POST /v1/videos`: how a request is read, and what is decided for it. Lines V001 to V017 of the list.
//!
//! What Cosmos3 decides is tested on a puppet with its card: the rules of requests see the card and nothing else.

use anyhow::{Context, Result, ensure};
use pipeline::testcard::Testcard;
use pipeline::world::ClipAsk;
use serde_json::{Value, json};
use server::{JobLimits, Limits};
use std::time::Duration;
use tests::Server;
use tests::openai::{Part, ask, asking, cosmos3_card, get, job, post, post_form};
use tests::puppet::{Puppet, Strings};

/// Any number of jobs may wait.
pub(crate) fn roomy() -> Limits {
    let jobs = JobLimits { queue: 1000, of_account: 1000, bytes: u64::MAX / 2, ..JobLimits::default() };
    Limits { jobs, memory_bytes: u64::MAX / 2, ..Limits::default() }
}

/// A server with Cosmos3's card, whose clips are never drawn unless a test says so.
pub(crate) fn cosmos3() -> Result<(Server, Strings)> {
    Server::limited(Puppet { card: cosmos3_card(), ..Puppet::on_strings() }, roomy())
}

/// A server with the test card, which draws every size.
pub(crate) fn testcard() -> Result<Server> {
    Server::start(Box::new(|| Ok(Box::new(Testcard::new(Duration::ZERO)))), roomy())
}

/// What is decided for a request on Cosmos3's card, told by what its world is asked.
pub(crate) async fn decided(body: Value) -> Result<(Value, ClipAsk)> {
    let (server, mut strings) = cosmos3()?;
    let job = job(&server, asking(body)).await?;
    Ok((job, strings.asked().await?))
}

async fn refused(server: &Server, body: Value, status: u16, says: &str) -> Result<()> {
    let shown = body.to_string();
    let message = post(server.address, "/v1/videos", body).await?.error(status).context(shown.clone())?;
    ensure!(message.contains(says), "{shown}: {message}");
    Ok(())
}

async fn no_jobs(server: &Server) -> Result<()> {
    let page = get(server.address, "GET /v1/videos").await?.expect(200)?;
    ensure!(page["data"] == json!([]), "{page}");
    Ok(())
}

/// V001.
#[tokio::test]
async fn a_prompt_is_a_queued_job_with_all_keys() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    let job = job(&server, json!({ "prompt": "a" })).await?;
    let id = job["id"].as_str().context("an id")?;
    ensure!(id.len() == 36 && id.split('-').map(str::len).eq([8, 4, 4, 4, 12]), "{id} is no UUID");
    let expected = json!({
        "object": "video", "model": "Cosmos3-Nano", "status": "queued", "progress": 0, "completed_at": null,
        "expires_at": null, "size": "1280x720", "seconds": "4", "quality": "standard", "prompt": "a", "num_frames": 93,
        "fps": 24, "seed": 42, "num_outputs": 1, "url": null, "urls": null, "error": null,
        "remixed_from_video_id": null, "revised_prompt": null, "inference_time_s": null, "peak_memory_mb": null,
        "stage_durations": {}, "file_path": null, "file_paths": null, "action": null, "lidar": null,
        "profile_trace": null, "ignored": [], "prompt_read": null, "queue_position": 1,
    });
    for (name, value) in expected.as_object().context("an object")? {
        ensure!(job.get(name) == Some(value), "{name}: {job}");
    }
    ensure!(job["created_at"].is_u64() && job.as_object().map(|job| job.len()) == Some(32), "{job}");
    Ok(())
}

/// V002.
#[tokio::test]
async fn what_is_left_out_is_decided_as_by_the_reference() -> Result<()> {
    let (_, ask) = decided(json!({})).await?;
    let settings = &ask.settings;
    ensure!((ask.frames, ask.init.seed) == (93, 42), "{ask:?}");
    ensure!(settings.fps == Some(24.0) && settings.num_inference_steps == Some(35), "{settings:?}");
    ensure!(settings.guidance_scale == Some(4.0) && settings.flow_shift == Some(10.0), "{settings:?}");
    ensure!(settings.max_sequence_length == Some(4096) && settings.guidance_interval.is_none(), "{settings:?}");
    ensure!(settings.negative_prompt.as_deref() == Some(""), "{settings:?}");
    Ok(())
}

/// V003.
#[tokio::test]
async fn a_missing_prompt_is_named() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    refused(&server, json!({}), 400, "prompt").await?;
    refused(&server, json!({ "prompt": null }), 400, "prompt").await?;
    no_jobs(&server).await
}

/// V004.
#[tokio::test]
async fn a_body_that_is_no_json_object_is_a_mistake_of_the_client() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    for body in ["{oops", "[]", "[{\"prompt\":\"a\"}]", "\"\"", "", "null", "{\"prompt\":\"\u{0}\"", "7"] {
        let answer = ask(server.address, "POST /v1/videos", &[("Content-Type", "application/json")], body.as_bytes());
        answer.await?.error(400).context(body)?;
    }
    no_jobs(&server).await
}

/// V005.
#[tokio::test]
async fn an_empty_prompt_is_refused_in_a_form_and_accepted_in_json() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    for parts in [&[Part::Text("model", "m")][..], &[Part::Text("prompt", "")]] {
        let message = post_form(server.address, "/v1/videos", parts).await?.error(400)?;
        ensure!(message == "prompt is required", "{message}");
    }
    job(&server, json!({ "prompt": "" })).await?;
    Ok(())
}

/// V006. V007.
#[tokio::test]
async fn seconds_and_frames_are_brought_to_what_is_drawn() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    let eight = job(&server, asking(json!({ "seconds": "8", "size": "832x480" }))).await?;
    ensure!((&eight["seconds"], &eight["num_frames"]) == (&json!("8"), &json!(189)), "{eight}");
    let ten = job(&server, asking(json!({ "num_frames": 83, "fps": 10 }))).await?;
    ensure!((&ten["seconds"], &ten["num_frames"]) == (&json!("8"), &json!(81)), "{ten}");
    Ok(())
}

/// V008.
#[tokio::test]
async fn a_size_is_width_x_height_and_a_side_may_be_given_by_itself() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    for size in ["big", "0x64", "64", "-1x2"] {
        refused(&server, asking(json!({ "size": size })), 400, "size must be formatted as positive WIDTHxHEIGHT")
            .await?;
    }
    let job = job(&server, asking(json!({ "size": "832x480", "width": 640 }))).await?;
    ensure!(job["size"] == "640x480", "{job}");
    Ok(())
}

/// V009.
#[tokio::test]
async fn numbers_below_one_and_words_are_no_counts() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    for (field, value) in
        [("num_inference_steps", 0), ("num_frames", -5), ("width", 0), ("height", -1), ("num_outputs_per_prompt", 0)]
    {
        refused(&server, asking(json!({ field: value })), 400, &format!("{field} must be positive")).await?;
    }
    refused(&server, asking(json!({ "num_frames": "lots" })), 400, "Invalid request body: num_frames: ").await?;
    let parts = [Part::Text("prompt", "a"), Part::Text("num_frames", "lots")];
    let message = post_form(server.address, "/v1/videos", &parts).await?.error(422)?;
    ensure!(message.starts_with("num_frames: "), "{message}");
    no_jobs(&server).await
}

/// V010. What becomes of one frame is seen in `a_single_frame_is_the_picture_that_the_clip_begins_with`.
#[tokio::test]
async fn a_size_or_a_number_of_frames_that_is_not_drawn_is_refused_at_once() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    for size in ["721x480", "720x481", "48x64", "1920x1104"] {
        refused(&server, asking(json!({ "size": size })), 400, "size: ").await?;
    }
    for frames in 2..=4 {
        refused(&server, asking(json!({ "num_frames": frames })), 400, "5 the shortest clip").await?;
    }
    refused(&server, asking(json!({ "num_frames": 301 })), 400, "at most 300").await?;
    no_jobs(&server).await?;
    let frames =
        async |asked| anyhow::Ok(job(&server, asking(json!({ "num_frames": asked }))).await?["num_frames"].clone());
    ensure!(frames(1).await? == 1 && frames(5).await? == 5);
    Ok(())
}

/// V011.
#[tokio::test]
async fn outputs_are_clamped_and_each_has_a_seed() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    for (body, outputs, seed) in [
        (json!({ "n": 50 }), 10, 42),
        (json!({ "n": 0 }), 1, 42),
        (json!({ "n": 3, "seed": 7 }), 3, 7),
        (json!({ "n": 3, "num_outputs_per_prompt": 2, "seed": [5, 9] }), 2, 5),
    ] {
        let job = job(&server, asking(body)).await?;
        ensure!((&job["num_outputs"], &job["seed"]) == (&json!(outputs), &json!(seed)), "{job}");
    }
    refused(&server, asking(json!({ "n": 3, "seed": [1, 2] })), 400, "seed: ").await?;
    let small = Puppet { card: cosmos3_card(), ..Puppet::default() };
    let (server, mut strings) = Server::limited(small, roomy())?;
    job(&server, asking(json!({ "n": 3, "seed": 7, "num_frames": 5, "size": "64x64" }))).await?;
    for seed in [7, 8, 9] {
        ensure!(strings.asked().await?.init.seed == seed);
    }
    Ok(())
}

/// V012.
#[tokio::test]
async fn an_unknown_field_is_named_as_ignored() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    let job = job(&server, asking(json!({ "zzz": 1, "yyy": { "a": [1] } }))).await?;
    ensure!(job["ignored"] == json!(["yyy", "zzz"]), "{job}");
    let parts = [Part::Text("prompt", "a"), Part::Text("zzz", "1"), Part::File("mask", "m.png", "image/png", b"x")];
    let job = post_form(server.address, "/v1/videos", &parts).await?.expect(200)?;
    ensure!(job["ignored"] == json!(["mask", "zzz"]), "{job}");
    Ok(())
}

/// V013. V014.
#[tokio::test]
async fn a_quality_that_is_none_and_an_upscaler_are_refused() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    let named = "['maximum', 'high', 'medium', 'low', 'default']";
    refused(&server, asking(json!({ "output_quality": "ultra" })), 400, named).await?;
    refused(&server, asking(json!({ "upscaling_model_path": "http://x" })), 400, "upscaling_model_path").await
}

/// V015.
#[tokio::test]
async fn a_picture_that_cannot_be_had_or_read_is_refused() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    let failed = "Failed to process image source: ";
    for address in
        ["ftp://x/y.png", "http://127.0.0.1/a.png", "https://not-allowed.example/a.png", "nonsense", "data:,x"]
    {
        refused(&server, asking(json!({ "reference_url": address })), 400, failed).await?;
    }
    refused(&server, asking(json!({ "input_reference": "data:image/png;base64,AAAA" })), 400, failed).await?;
    let parts = [Part::Text("prompt", "a"), Part::File("input_reference", "a.png", "image/png", b"\x89PNG broken")];
    let message = post_form(server.address, "/v1/videos", &parts).await?.error(400)?;
    ensure!(message.starts_with(failed), "{message}");
    no_jobs(&server).await
}

/// V016.
#[tokio::test]
async fn half_seconds_are_frames_at_the_world_s_rate() -> Result<()> {
    let server = testcard()?;
    let job = job(&server, asking(json!({ "seconds": "4.5", "size": "64x64" }))).await?;
    ensure!(job["num_frames"] == 72, "{job}");
    Ok(())
}

/// V017.
#[tokio::test]
async fn what_is_no_form_is_json_whatever_it_says() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    for headers in
        [&[("Content-Type", "text/plain")][..], &[("Content-Type", "application/x-www-form-urlencoded")], &[]]
    {
        ask(server.address, "POST /v1/videos", headers, b"{\"prompt\":\"a\"}").await?.expect(200)?;
    }
    Ok(())
}
