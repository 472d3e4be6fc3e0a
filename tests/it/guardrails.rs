//! Prompts and frames that a guardrail blocks, over a real socket: of an init, of an event, of a clip, and where the client
//! says that none is to be checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use pipeline::world::Frames;
use serde_json::json;
use server::Limits;
use server::guardrails::{FrameGuardrail, Guardrails, OnError, Policy, TextGuardrail, Verdict};
use tests::message::Event;
use tests::mp4::Film;
use tests::openai::{asking, get, job, look, path, post, until};
use tests::puppet::Puppet;
use tests::raw::Raw;
use tests::{Server, small};

/// Blocks prompts that speak of fire.
struct Fire;

impl TextGuardrail for Fire {
    fn name(&self) -> &'static str {
        "fire"
    }

    fn check(&self, prompt: &str) -> Verdict {
        if prompt.contains("fire") { Verdict::Block { code: "fire".into() } } else { Verdict::Allow }
    }
}

fn guarded(policy: Policy) -> Limits {
    let text: Vec<Arc<dyn TextGuardrail>> = vec![Arc::new(Fire)];
    Limits { guardrails: Guardrails::new(text, Vec::new(), policy, OnError::Block), ..Limits::default() }
}

#[tokio::test]
async fn an_init_whose_prompt_is_blocked_opens_nothing_and_the_client_may_send_another() -> Result<()> {
    let (server, mut strings) = Server::limited(Puppet::default(), guarded(Policy::On))?;
    let mut client = server.connect().await?;
    client.send(small().set("prompt", "a fire").max_chunks(1)).await?;
    let refused = client.error().await?;
    ensure!(
        (refused.code.as_deref(), refused.content.as_str()) == (Some("guardrail_blocked"), "Guardrail blocked prompt.")
    );
    client.send(small().set("prompt", "a road").max_chunks(1)).await?;
    client.chunk().await?;
    ensure!(strings.opened().await?.prompt == "a road", "the blocked prompt reached the world");

    let (_, metrics) = Raw::get(server.address, "/metrics").await?;
    ensure!(metrics.contains("causeway_guardrail_blocked_total{guardrail=\"fire\"} 1"), "{metrics}");
    let (_, info) = Raw::get(server.address, "/server_info").await?;
    ensure!(info.contains(r#""text":["fire"]"#), "{info}");
    Ok(())
}

#[tokio::test]
async fn an_event_whose_prompt_is_blocked_changes_nothing_and_the_session_goes_on() -> Result<()> {
    let (server, mut strings) = Server::limited(Puppet::on_strings(), guarded(Policy::On))?;
    let mut client = server.session(small().max_chunks(20)).await?;
    strings.began().await?;
    client.send(Event::prompt("a fire").id(7)).await?;
    let refused = client.error().await?;
    ensure!((refused.code.as_deref(), refused.event_id) == (Some("guardrail_blocked"), Some(7)), "{refused:?}");
    strings.allow(1);
    let (_, input) = strings.began().await?;
    ensure!(input.prompt.is_none(), "{input:?}");
    client.send(Event::prompt("rain").id(8)).await?;
    // A check takes its time: the prompt is in one of the chunks to come.
    strings.allow(20);
    while client.chunk().await?.stats.event_id != Some(8) {}
    Ok(())
}

#[tokio::test]
async fn a_client_may_do_without_where_the_operator_does_not_require_guardrails() -> Result<()> {
    let unguarded = || small().set("prompt", "a fire").set("use_guardrails", false).max_chunks(1);
    let (server, _strings) = Server::limited(Puppet::default(), guarded(Policy::On))?;
    server.session(unguarded()).await?.chunk().await?;

    let (server, _strings) = Server::limited(Puppet::default(), guarded(Policy::Required))?;
    let mut client = server.connect().await?;
    client.send(unguarded()).await?;
    let refused = client.error().await?;
    ensure!(refused.code.as_deref() == Some("invalid_generate_request"), "{refused:?}");
    ensure!(refused.details.is_some_and(|details| details.field == "use_guardrails"));

    let (server, _strings) = Server::with(Puppet::default())?;
    let (_, info) = Raw::get(server.address, "/server_info").await?;
    ensure!(info.contains(r#""guardrails":"none""#), "{info}");
    let mut client = server.connect().await?;
    client.send(small().set("use_guardrails", true)).await?;
    ensure!(client.error().await?.details.is_some_and(|details| details.field == "use_guardrails"));
    Ok(())
}

/// V041.
#[tokio::test]
async fn a_job_whose_prompt_is_blocked_has_failed_from_the_start() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::default(), guarded(Policy::On))?;
    let asked = json!({ "prompt": "a fire", "size": "64x48", "num_frames": 9 });
    let job = post(server.address, "/v1/videos", asked.clone()).await?.expect(200)?;
    ensure!(job["status"] == "failed" && job["error"]["code"] == "guardrail_blocked", "{job}");
    ensure!(job["error"]["message"].as_str().is_some_and(|message| message.contains("uardrail")), "{job}");
    let id = job["id"].as_str().unwrap_or_default();
    ensure!(get(server.address, &format!("GET /v1/videos/{id}/content")).await?.status == 404);
    // Prompts on the way are checked, too.
    let later = json!({ "prompt": "a road", "size": "64x48", "num_frames": 21, "prompts": ["1:a fire"] });
    ensure!(post(server.address, "/v1/videos", later).await?.expect(200)?["status"] == "failed");
    let mut without = asked;
    without["use_guardrails"] = false.into();
    ensure!(post(server.address, "/v1/videos", without).await?.expect(200)?["status"] != "failed");
    Ok(())
}

/// V061.
#[tokio::test]
async fn a_blocked_prompt_is_400_where_the_client_waits() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::default(), guarded(Policy::On))?;
    for path in ["/v1/videos/sync", "/v1/images/generations"] {
        let answer = post(server.address, path, json!({ "prompt": "a fire", "size": "64x48" })).await?;
        let message = answer.error(400)?;
        ensure!(message.starts_with("Input was blocked by ") && message.ends_with(" guardrails."), "{path}: {message}");
    }
    Ok(())
}

/// V094.
#[tokio::test]
async fn guardrails_that_are_required_cannot_be_switched_off() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::default(), guarded(Policy::Required))?;
    let off = json!({ "prompt": "a road", "size": "64x48", "num_frames": 9, "use_guardrails": false });
    let message = post(server.address, "/v1/videos", off).await?.error(400)?;
    ensure!(message == "guardrails cannot be disabled on this server", "{message}");
    Ok(())
}

/// A remix says for itself whether its prompt is checked.
#[tokio::test]
async fn a_remix_is_checked_as_a_new_request_is() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::default(), guarded(Policy::On))?;
    let small = json!({ "size": "64x48", "num_frames": 9, "use_guardrails": false });
    let old = job(&server, asking(small.clone())).await?;
    let remix = path(&old, "/remix");
    let blocked = post(server.address, &remix, json!({ "prompt": "a fire" })).await?.expect(200)?;
    ensure!(blocked["status"] == "failed" && blocked["error"]["code"] == "guardrail_blocked", "{blocked}");
    let without = json!({ "prompt": "a fire", "guardrails": "off" });
    let drawn = post(server.address, &remix, without.clone()).await?.expect(200)?;
    ensure!(until(&server, &drawn, "completed").await?["ignored"] == json!([]), "{drawn}");
    let wrong = json!({ "prompt": "a road", "use_guardrails": "maybe" });
    post(server.address, &remix, wrong).await?.error(400)?;

    let (server, _strings) = Server::limited(Puppet::default(), guarded(Policy::Required))?;
    let old = job(&server, json!({ "prompt": "a road", "size": "64x48", "num_frames": 9 })).await?;
    let message = post(server.address, &path(&old, "/remix"), without).await?.error(400)?;
    ensure!(message == "guardrails cannot be disabled on this server", "{message}");
    Ok(())
}

/// Makes frames grey, and lets this many batches pass.
struct Grey {
    passes: usize,
    seen: AtomicUsize,
}

const GREY: u8 = 128;

impl FrameGuardrail for Grey {
    fn name(&self) -> &'static str {
        "grey"
    }

    fn process(&self, frames: &mut Frames) -> Verdict {
        frames.rgb.fill(GREY);
        match self.seen.fetch_add(1, Ordering::Relaxed) {
            seen if seen < self.passes => Verdict::Allow,
            _ => Verdict::Block { code: "enough".into() },
        }
    }
}

/// A server whose frames are grey, and blocked after so many latent frames.
fn grey(passes: usize) -> Limits {
    let frames: Vec<Arc<dyn FrameGuardrail>> = vec![Arc::new(Grey { passes, seen: AtomicUsize::new(0) })];
    Limits { guardrails: Guardrails::new(Vec::new(), frames, Policy::On, OnError::Block), ..Limits::default() }
}

fn is_grey(rgb: &[u8]) -> bool {
    // Encoding may move a level.
    rgb.iter().all(|&level| level.abs_diff(GREY) <= 2)
}

#[tokio::test]
async fn frames_of_a_film_leave_as_the_guardrail_lets_them_or_not_at_all() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::default(), grey(6))?;
    let two_chunks = || asking(json!({ "size": "64x48", "num_frames": 21 }));
    let film = post(server.address, "/v1/videos/sync", two_chunks()).await?;
    ensure!(film.status == 200, "{film:?}");
    let film = Film::read(&film.body)?;
    ensure!(film.frames.len() == 21 && film.frames.iter().all(|frame| is_grey(&frame.rgb)), "a frame passed by");

    // From here on every frame is blocked.
    let failed = until(&server, &job(&server, two_chunks()).await?, "failed").await?;
    let error = json!({ "code": "guardrail_blocked", "message": "Guardrail blocked frames." });
    ensure!(failed["error"] == error && look(&server, &failed).await?["url"].is_null(), "{failed}");
    ensure!(get(server.address, &format!("GET {}", path(&failed, "/content"))).await?.status == 404);
    for path in ["/v1/videos/sync", "/v1/images/generations"] {
        let answer = post(server.address, path, asking(json!({ "size": "64x48" }))).await?;
        ensure!(answer.error(400)?.ends_with("Guardrail blocked frames."), "{answer:?}");
        ensure!(answer.json()?["error"]["code"] == "guardrail_blocked", "{answer:?}");
    }
    let mut without = two_chunks();
    without["use_guardrails"] = false.into();
    let film = Film::read(&post(server.address, "/v1/videos/sync", without).await?.body)?;
    ensure!(!is_grey(&film.frames[0].rgb), "a client may do without");
    let (_, metrics) = Raw::get(server.address, "/metrics").await?;
    ensure!(metrics.contains("causeway_guardrail_blocked_total{guardrail=\"grey\"} 3"), "{metrics}");
    Ok(())
}

#[tokio::test]
async fn a_session_whose_frames_are_blocked_is_told_and_ends() -> Result<()> {
    // The three latent frames of the first chunk pass.
    let (server, _strings) = Server::limited(Puppet::default(), grey(3))?;
    let mut client = server.session(small().format("raw").max_chunks(5)).await?;
    let chunk = client.chunk().await?;
    ensure!(chunk.frames().iter().all(|rgb| is_grey(rgb)), "a frame passed by");
    let refused = client.error().await?;
    let told = (refused.code.as_deref(), refused.content.as_str());
    ensure!(told == (Some("guardrail_blocked"), "Guardrail blocked frames."), "{refused:?}");
    let close = client.closed().await?;
    ensure!((close.code, close.reason.as_str()) == (1008, "frames blocked"), "{close:?}");

    let mut client = server.session(small().format("raw").set("use_guardrails", false).max_chunks(1)).await?;
    let chunk = client.chunk().await?;
    ensure!(!is_grey(chunk.frames().first().context("a frame")?), "a client may do without");
    Ok(())
}
