//! The life of a job, from its first answer to the end of its file. Lines V039 to V054 of the list.

use anyhow::{Context, Result, ensure};
use pipeline::world::Size;
use serde_json::{Value, json};
use server::{JobLimits, Limits};
use std::time::{Duration, Instant};
use tests::Server;
use tests::mp4::Film;
use tests::openai::{Answer, Part, ask, asking, get, job, look, path, post, post_form, until};
use tests::puppet::{Puppet, Seen, Strings};

use crate::videos_create::{roomy, testcard};

/// Nine frames, which are a chunk of the puppet.
fn chunks(count: u64) -> Value {
    json!({ "prompt": "a", "size": "64x48", "num_frames": 12 * count - 3 })
}

fn on_strings() -> Result<(Server, Strings)> {
    Server::limited(Puppet::on_strings(), roomy())
}

async fn deleted(server: &Server, job: &Value) -> Result<Answer> {
    get(server.address, &format!("DELETE {}", path(job, ""))).await
}

async fn content(server: &Server, job: &Value, rest: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    ask(server.address, &format!("GET {}", path(job, &format!("/content{rest}"))), headers, b"").await
}

/// A job that is done, of the test card.
async fn done(body: Value) -> Result<(Server, Value)> {
    let server = testcard()?;
    let queued = job(&server, asking(body)).await?;
    let done = until(&server, &queued, "completed").await?;
    Ok((server, done))
}

/// V039.
#[tokio::test]
async fn progress_never_falls_and_is_100_once_it_is_completed() -> Result<()> {
    let (server, mut strings) = on_strings()?;
    let queued = job(&server, chunks(4)).await?;
    strings.began().await?;
    let mut last = until(&server, &queued, "in_progress").await?["progress"].as_u64().context("a number")?;
    for _ in 0..4 {
        strings.allow(1);
        let now = look(&server, &queued).await?;
        let progress = now["progress"].as_u64().context("a number")?;
        ensure!(progress >= last && (progress < 100 || now["status"] == "completed"), "{now}");
        last = progress;
    }
    ensure!(until(&server, &queued, "completed").await?["progress"] == 100);
    Ok(())
}

/// V040.
#[tokio::test]
async fn a_completed_job_says_when_and_how_many() -> Result<()> {
    let (_server, done) = done(json!({ "num_frames": 5, "n": 2, "size": "64x48" })).await?;
    let seconds = |name: &str| done[name].as_u64().with_context(|| format!("{name}: {done}"));
    ensure!(seconds("completed_at")? >= seconds("created_at")?, "{done}");
    ensure!(seconds("expires_at")? == seconds("completed_at")? + 3600, "{done}");
    ensure!(done["num_outputs"] == 2 && done["error"].is_null() && done["queue_position"].is_null(), "{done}");
    ensure!(done["urls"].as_array().map(Vec::len) == Some(2) && done["inference_time_s"].is_f64(), "{done}");
    for stage in ["queue", "text", "denoise", "decode", "encode"] {
        ensure!(done["stage_durations"][stage].is_f64(), "{done}");
    }
    Ok(())
}

/// V042. Another account's jobs are in `another_account_s_jobs_are_not_there`.
#[tokio::test]
async fn an_unknown_job_is_not_found() -> Result<()> {
    let server = testcard()?;
    for line in ["GET /v1/videos/nope", "DELETE /v1/videos/nope", "GET /v1/videos/nope/content"] {
        let message = get(server.address, line).await?.error(404)?;
        ensure!(message == "Video not found", "{message}");
    }
    Ok(())
}

/// V043.
#[tokio::test]
async fn the_file_of_a_job_that_is_not_done_is_not_there() -> Result<()> {
    let (server, mut strings) = on_strings()?;
    let job = job(&server, chunks(2)).await?;
    strings.began().await?;
    let message = content(&server, &job, "", &[]).await?.error(404)?;
    ensure!(message == "Generation is still in-progress", "{message}");
    Ok(())
}

/// V044.
#[tokio::test]
async fn a_file_comes_whole_in_parts_or_not_at_all_if_it_is_known() -> Result<()> {
    let (server, job) = done(json!({ "num_frames": 20, "size": "64x48" })).await?;
    let whole = content(&server, &job, "", &[("Accept", "application/binary")]).await?;
    ensure!(whole.status == 200 && whole.header("content-type") == Some("video/mp4"), "{whole:?}");
    let name = format!("attachment; filename=\"{}.mp4\"", job["id"].as_str().context("an id")?);
    ensure!(whole.header("content-disposition") == Some(&name), "{whole:?}");
    ensure!(whole.header("content-length") == Some(&whole.body.len().to_string()), "{whole:?}");
    ensure!(whole.header("accept-ranges") == Some("bytes") && whole.body[4..8] == *b"ftyp", "{whole:?}");
    let film = Film::read(&whole.body)?;
    ensure!(film.frames.len() == 20 && film.size == Size { width: 64, height: 48 });

    let part = content(&server, &job, "", &[("Range", "bytes=4-7")]).await?;
    ensure!((part.status, &part.body[..]) == (206, &b"ftyp"[..]), "{part:?}");
    ensure!(part.header("content-range") == Some(&format!("bytes 4-7/{}", whole.body.len())), "{part:?}");
    let end = content(&server, &job, "", &[("Range", "bytes=-3")]).await?;
    ensure!(end.status == 206 && end.body == whole.body[whole.body.len() - 3..], "{end:?}");
    let outside = content(&server, &job, "", &[("Range", "bytes=99999999-")]).await?;
    ensure!(outside.status == 416, "{outside:?}");

    let head = ask(server.address, &format!("HEAD {}", path(&job, "/content")), &[], b"").await?;
    ensure!(head.status == 200 && head.body.is_empty(), "{head:?}");
    ensure!(head.header("content-length") == whole.header("content-length"), "{head:?}");
    let tag = whole.header("etag").context("a tag")?;
    let known = content(&server, &job, "", &[("If-None-Match", tag)]).await?;
    ensure!(known.status == 304 && known.body.is_empty(), "{known:?}");
    Ok(())
}

/// V045.
#[tokio::test]
async fn variants_are_outputs_and_a_thumbnail() -> Result<()> {
    let (server, job) = done(json!({ "num_frames": 5, "size": "1024x512" })).await?;
    let first = content(&server, &job, "", &[]).await?.body;
    for same in ["?variant=0", "?variant=video"] {
        ensure!(content(&server, &job, same, &[]).await?.body == first, "{same}");
    }
    for (missing, name) in [("?variant=7", "7"), ("?variant=spritesheet", "spritesheet"), ("?variant=-1", "-1")] {
        let message = content(&server, &job, missing, &[]).await?.error(404)?;
        ensure!(message == format!("Video variant {name} not found"), "{message}");
    }
    let thumbnail = content(&server, &job, "?variant=thumbnail", &[]).await?;
    ensure!(thumbnail.header("content-type") == Some("image/webp"), "{thumbnail:?}");
    let picture = image::load_from_memory(&thumbnail.body)?;
    ensure!((picture.width(), picture.height()) == (512, 256));
    Ok(())
}

/// V046.
#[tokio::test]
async fn a_list_s_query_is_checked_and_an_unknown_after_is_an_empty_page() -> Result<()> {
    let (server, job) = done(json!({ "num_frames": 1, "size": "64x48" })).await?;
    for query in ["limit=0", "limit=101", "limit=x", "order=up"] {
        get(server.address, &format!("GET /v1/videos?{query}")).await?.error(422)?;
    }
    let page = get(server.address, "GET /v1/videos?after=nope").await?.expect(200)?;
    let empty = json!({ "object": "list", "data": [], "first_id": null, "last_id": null, "has_more": false });
    ensure!(page == empty, "{page}");
    let page = get(server.address, "GET /v1/videos").await?.expect(200)?;
    ensure!(page["first_id"] == job["id"] && page["last_id"] == job["id"] && page["data"][0] == job, "{page}");
    Ok(())
}

/// V047.
#[tokio::test]
async fn jobs_of_one_second_are_newest_first_and_pages_meet_each_once() -> Result<()> {
    let (server, _strings) = on_strings()?;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.insert(0, job(&server, chunks(1)).await?["id"].clone());
    }
    let (mut met, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(server.address, &format!("GET /v1/videos?limit=2{after}")).await?.expect(200)?;
        met.extend(page["data"].as_array().context("a list")?.iter().map(|job| job["id"].clone()));
        after = format!("&after={}", page["last_id"].as_str().context("an id")?);
        if page["has_more"] == false {
            break;
        }
    }
    ensure!(met == made, "{met:?} is not {made:?}");
    Ok(())
}

/// V048.
#[tokio::test]
async fn a_deleted_job_is_gone() -> Result<()> {
    let (server, job) = done(json!({ "num_frames": 5, "size": "64x48" })).await?;
    let gone = deleted(&server, &job).await?.expect(200)?;
    ensure!(gone["deleted"] == true && gone["object"] == "video.deleted" && gone["status"] == "deleted", "{gone}");
    ensure!(gone["id"] == job["id"] && gone["size"] == job["size"], "{gone}");
    get(server.address, &format!("GET {}", path(&job, ""))).await?.error(404)?;
    deleted(&server, &job).await?.error(404)?;
    content(&server, &job, "", &[]).await?.error(404)?;
    Ok(())
}

/// V049.
#[tokio::test]
async fn a_job_that_is_deleted_while_it_is_drawn_stops_and_never_comes_back() -> Result<()> {
    let (server, mut strings) = on_strings()?;
    let first = job(&server, chunks(40)).await?;
    strings.began().await?;
    let began = Instant::now();
    deleted(&server, &first).await?.expect(200)?;
    ensure!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    strings.until("its chunk was not cancelled", |seen| matches!(seen, Seen::Cancelled { .. }).then_some(())).await?;
    strings.dropped().await?;
    strings.allow(1);
    let second = job(&server, chunks(1)).await?;
    until(&server, &second, "completed").await?;
    let page = get(server.address, "GET /v1/videos").await?.expect(200)?;
    ensure!(page["data"].as_array().map(Vec::len) == Some(1), "{page}");
    Ok(())
}

/// V050.
#[tokio::test]
async fn a_job_that_is_deleted_while_it_waits_never_starts() -> Result<()> {
    let (server, mut strings) = on_strings()?;
    let first = job(&server, chunks(1)).await?;
    strings.began().await?;
    until(&server, &first, "in_progress").await?;
    let second = job(&server, asking(json!({ "prompt": "second", "size": "64x48", "num_frames": 9 }))).await?;
    ensure!(look(&server, &second).await?["queue_position"] == 1);
    deleted(&server, &second).await?.expect(200)?;
    let third = job(&server, asking(json!({ "prompt": "third", "size": "64x48", "num_frames": 9 }))).await?;
    strings.allow(2);
    until(&server, &first, "completed").await?;
    ensure!(strings.opened().await?.prompt == "third");
    until(&server, &third, "completed").await?;
    Ok(())
}

/// V051. The times between are in the tests of `openai/request/jobs.rs`, which pass them in.
#[tokio::test]
async fn a_job_is_forgotten_after_its_time() -> Result<()> {
    let jobs = JobLimits { ttl: Duration::from_millis(1), ..roomy().jobs };
    let (server, mut strings) = Server::limited(Puppet::default(), Limits { jobs, ..roomy() })?;
    let job = job(&server, chunks(1)).await?;
    strings.dropped().await?;
    let end = Instant::now() + Duration::from_secs(20);
    while get(server.address, &format!("GET {}", path(&job, ""))).await?.status != 404 {
        ensure!(Instant::now() < end, "it is still there");
    }
    Ok(())
}

/// V052.
#[tokio::test]
async fn a_remix_is_the_same_work_with_another_prompt() -> Result<()> {
    let server = testcard()?;
    let body = json!({ "num_frames": 7, "size": "64x48", "seed": 9, "camera_actions": "w*3" });
    let old = job(&server, asking(body)).await?;
    let remix = async |id: &Value, body: Value| post(server.address, &path(&json!({ "id": id }), "/remix"), body).await;
    let new = remix(&old["id"], json!({ "prompt": "b" })).await?.expect(200)?;
    ensure!(new["remixed_from_video_id"] == old["id"] && new["id"] != old["id"] && new["prompt"] == "b", "{new}");
    for same in ["size", "num_frames", "seed", "seconds", "fps", "model"] {
        ensure!(new[same] == old[same], "{same}: {new}");
    }
    until(&server, &new, "completed").await?;
    let form = post_form(server.address, &path(&old, "/remix"), &[Part::Text("prompt", "c")]).await?.expect(200)?;
    ensure!(form["prompt"] == "c", "{form}");
    remix(&json!("nope"), json!({ "prompt": "b" })).await?.error(404)?;
    let message = remix(&old["id"], json!({})).await?.error(400)?;
    ensure!(message == "prompt is required", "{message}");
    Ok(())
}

/// V053. Accounts are in `each_account_has_its_own_bound`.
#[tokio::test]
async fn one_job_more_than_may_wait_is_told_to_come_again() -> Result<()> {
    let jobs = JobLimits { of_account: 100, ..JobLimits::default() };
    let (server, _strings) = Server::limited(Puppet::on_strings(), Limits { jobs, ..Limits::default() })?;
    let first = job(&server, chunks(1)).await?;
    until(&server, &first, "in_progress").await?;
    for _ in 0..16 {
        job(&server, chunks(1)).await?;
    }
    let full = post(server.address, "/v1/videos", chunks(1)).await?;
    full.error(429)?;
    ensure!(full.json()?["error"]["code"] == "queue_full" && full.header("retry-after").is_some(), "{full:?}");
    let (server, _strings) = Server::with(Puppet::on_strings())?;
    let first = job(&server, chunks(1)).await?;
    until(&server, &first, "in_progress").await?;
    for _ in 0..4 {
        job(&server, chunks(1)).await?;
    }
    post(server.address, "/v1/videos", chunks(1)).await?.error(429)?;
    Ok(())
}

/// V054.
#[tokio::test]
async fn results_have_a_bound_and_a_deletion_makes_room() -> Result<()> {
    // Raw bytes of nine frames of 64x48 are 82 944: an eighth of it and a frame is what a result may need.
    let jobs = JobLimits { bytes: 25_000, ..JobLimits::default() };
    let server = Server::start(
        Box::new(|| Ok(Box::new(pipeline::testcard::Testcard::new(Duration::ZERO)))),
        Limits { jobs, ..Limits::default() },
    )?;
    let first = job(&server, chunks(1)).await?;
    until(&server, &first, "completed").await?;
    let mut full = None;
    for _ in 0..20 {
        let answer = post(server.address, "/v1/videos", chunks(1)).await?;
        if answer.status != 200 {
            full = Some(answer);
            break;
        }
        until(&server, &answer.json()?, "completed").await?;
    }
    let full = full.context("the store never filled")?;
    full.error(429)?;
    ensure!(full.json()?["error"]["code"] == "storage_full" && full.header("retry-after").is_some(), "{full:?}");
    for job in get(server.address, "GET /v1/videos").await?.expect(200)?["data"].as_array().context("a list")? {
        deleted(&server, job).await?.expect(200)?;
    }
    job(&server, chunks(1)).await?;
    Ok(())
}
