//! The API beside everything else: accounts, origins, loading, draining, the engine's end. Lines V092 to V100 of the list.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use server::access::key_ring::KeyRing;
use server::access::policy::{AccessPolicy, Entry};
use server::access::rules::keys::{ApiKeys, KeyLimits, new_key};
use server::{JobLimits, Limits};
use tests::Server;
use tests::keyed::bearer;
use tests::openai::{Answer, ask, ask_now, asking, get, job, look, path, post, send, until};
use tests::puppet::{Puppet, Strings};

use crate::videos_create::roomy;

/// A server that knows two keys.
struct TwoKeys {
    server: Server,
    _strings: Strings,
    alice: String,
    bob: String,
}

fn two_keys(puppet: Puppet, limits: Limits) -> Result<TwoKeys> {
    let ((alice, first), (bob, second)) = (new_key("alice")?, new_key("bob")?);
    let ring = KeyRing::from(ApiKeys::parse(&format!("{first}\n{second}\n"), KeyLimits::default())?);
    let access = AccessPolicy { entry: Entry::Keys(ring), ..AccessPolicy::default() };
    let (server, strings) = Server::limited(puppet, Limits { access, ..limits })?;
    Ok(TwoKeys { server, _strings: strings, alice, bob })
}

async fn with_key(server: &Server, key: &str, line: &str, body: &[u8]) -> Result<Answer> {
    let credential = format!("Bearer {key}");
    ask(server.address, line, &[("Authorization", &credential)], body).await
}

const SMALL: &[u8] = b"{\"prompt\":\"a\",\"size\":\"64x48\",\"num_frames\":9}";

fn small() -> Value {
    json!({ "prompt": "a", "size": "64x48", "num_frames": 9 })
}

/// V099.
#[tokio::test]
async fn without_a_key_nothing_is_told_but_what_is_loaded() -> Result<()> {
    let TwoKeys { server, alice, .. } = two_keys(Puppet::default(), roomy())?;
    for line in [
        "GET /v1/videos",
        "POST /v1/videos",
        "POST /v1/videos/sync",
        "POST /v1/images/generations",
        "GET /v1/videos/x/content",
    ] {
        let denied = ask(server.address, line, &[], b"{}").await?;
        denied.error(401).context(line)?;
        ensure!(denied.header("www-authenticate") == Some("Bearer"), "{denied:?}");
        with_key(&server, "cw_wrong", line, b"{}").await?.error(401)?;
    }
    for line in ["GET /openapi.json", "GET /v1/models", "GET /v1/models/puppet", "GET /health", "GET /liveness"] {
        ensure!(get(server.address, line).await?.status == 200, "{line}");
    }
    with_key(&server, &alice, "POST /v1/videos", SMALL).await?.expect(200)?;
    Ok(())
}

/// V042. V099.
#[tokio::test]
async fn another_account_s_jobs_are_not_there() -> Result<()> {
    let TwoKeys { server, alice, bob, .. } = two_keys(Puppet::default(), roomy())?;
    let job = with_key(&server, &alice, "POST /v1/videos", SMALL).await?.expect(200)?;
    for line in [
        format!("GET {}", path(&job, "")),
        format!("GET {}", path(&job, "/content")),
        format!("DELETE {}", path(&job, "")),
        format!("POST {}", path(&job, "/remix")),
    ] {
        with_key(&server, &bob, &line, b"{\"prompt\":\"b\"}").await?.error(404).context(line)?;
    }
    let listed = with_key(&server, &bob, "GET /v1/videos", b"").await?.expect(200)?;
    ensure!(listed["data"] == json!([]), "{listed}");
    let token =
        tests::keyed::ask(server.address, &server.address.to_string(), "POST /v1/tokens", &bearer(&alice), "").await?;
    let token: Value = serde_json::from_str(&token.body)?;
    let token = token["token"].as_str().context("a token")?;
    with_key(&server, token, &format!("GET {}", path(&job, "")), b"").await?.expect(200)?;
    Ok(())
}

/// V053.
#[tokio::test]
async fn each_account_has_its_own_bound() -> Result<()> {
    let jobs = JobLimits { of_account: 2, ..JobLimits::default() };
    let TwoKeys { server, alice, bob, .. } = two_keys(Puppet::on_strings(), Limits { jobs, ..Limits::default() })?;
    let first = with_key(&server, &alice, "POST /v1/videos", SMALL).await?.expect(200)?;
    let line = format!("GET {}", path(&first, ""));
    while with_key(&server, &alice, &line, b"").await?.expect(200)?["status"] != "in_progress" {}
    for _ in 0..2 {
        with_key(&server, &alice, "POST /v1/videos", SMALL).await?.expect(200)?;
    }
    with_key(&server, &alice, "POST /v1/videos", SMALL).await?.error(429)?;
    with_key(&server, &bob, "POST /v1/videos", SMALL).await?.expect(200)?;
    Ok(())
}

/// V092.
#[tokio::test]
async fn after_the_engine_s_end_nothing_is_drawn_and_results_can_be_fetched() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet { panics: Some(1), ..Puppet::default() }, roomy())?;
    let done = job(&server, small()).await?;
    until(&server, &done, "completed").await?;
    let broken = job(&server, json!({ "prompt": "a", "size": "64x48", "num_frames": 21 })).await?;
    let failed = until(&server, &broken, "failed").await?;
    ensure!(failed["error"] == json!({ "code": "internal", "message": "Model generation failed" }), "{failed}");
    let gone = post(server.address, "/v1/videos", small()).await?;
    gone.error(503)?;
    ensure!(gone.json()?["error"]["code"] == "engine_gone" && gone.header("retry-after").is_some(), "{gone:?}");
    let file = get(server.address, &format!("GET {}", path(&done, "/content"))).await?;
    ensure!(file.status == 200 && file.body[4..8] == *b"ftyp", "{file:?}");
    ensure!(get(server.address, "GET /health").await?.status == 503);
    ensure!(server.stop().is_err(), "a server whose engine has ended says so");
    Ok(())
}

/// V093.
#[tokio::test]
async fn there_are_no_guardrails_unless_there_are() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::default(), roomy())?;
    let info = get(server.address, "GET /server_info").await?.expect(200)?;
    ensure!(info["guardrails"] == "none", "{info}");
    let on = post(server.address, "/v1/videos", asking(json!({ "use_guardrails": true }))).await?;
    let message = on.error(400)?;
    ensure!(
        message == "guardrails requested but not available" && on.json()?["error"]["code"] == "guardrails_unavailable"
    );
    job(&server, small()).await?;
    Ok(())
}

/// V096.
#[tokio::test]
async fn a_profile_of_no_steps_is_refused() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::default(), roomy())?;
    for steps in [0, -2] {
        let body = asking(json!({ "profile": true, "num_profiled_timesteps": steps }));
        post(server.address, "/v1/videos", body).await?.error(400)?;
    }
    Ok(())
}

/// V097.
#[tokio::test]
async fn while_the_world_loads_nothing_is_taken() -> Result<()> {
    let (server, strings) = Server::limited(Puppet { loads_on_a_string: true, ..Puppet::default() }, roomy())?;
    ensure!(get(server.address, "GET /health").await?.status == 503);
    for path in ["/v1/videos", "/v1/videos/sync", "/v1/images/generations"] {
        let answer = ask_now(server.address, &format!("POST {path}"), &[], SMALL).await?;
        answer.error(503)?;
        ensure!(
            answer.json()?["error"]["code"] == "loading" && answer.header("retry-after") == Some("2"),
            "{answer:?}"
        );
    }
    strings.allow(1);
    while get(server.address, "GET /health").await?.status != 200 {}
    job(&server, small()).await?;
    Ok(())
}

/// V098.
#[tokio::test]
async fn a_page_of_an_allowed_origin_may_ask_and_no_other() -> Result<()> {
    let origins = vec!["https://play.example".parse().map_err(|why| anyhow::anyhow!("{why}"))?];
    let access = AccessPolicy { origins, ..AccessPolicy::default() };
    let (server, _strings) = Server::limited(Puppet::default(), Limits { access, ..roomy() })?;
    let asks =
        [("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "authorization,content-type")];
    let preflight = async |origin: &str| {
        ask(server.address, "OPTIONS /v1/videos", &[&asks[..], &[("Origin", origin)]].concat(), b"").await
    };
    let allowed = preflight("https://play.example").await?;
    ensure!(allowed.status == 200, "{allowed:?}");
    ensure!(allowed.header("access-control-allow-origin") == Some("https://play.example"), "{allowed:?}");
    let headers = allowed.header("access-control-allow-headers").context("headers")?;
    ensure!(headers.contains("Authorization") && headers.contains("Content-Type"), "{headers}");
    preflight("https://evil.example").await?.error(403)?;
    let posted = ask(server.address, "POST /v1/videos", &[("Origin", "https://evil.example")], SMALL).await?;
    posted.error(403)?;
    let posted = ask(server.address, "POST /v1/videos", &[("Origin", "https://play.example")], SMALL).await?;
    posted.expect(200)?;
    ensure!(posted.header("access-control-allow-origin") == Some("https://play.example"), "{posted:?}");
    // What needs no key needs the same origin.
    for line in ["GET /models", "GET /v1/models", "GET /v1/models/puppet", "GET /openapi.json"] {
        let told = ask(server.address, line, &[("Origin", "https://play.example")], b"").await?;
        let allowed = told.header("access-control-allow-origin");
        ensure!(told.status == 200 && allowed == Some("https://play.example"), "{line}: {told:?}");
        ask(server.address, line, &[("Origin", "https://evil.example")], b"").await?.error(403).context(line)?;
    }
    Ok(())
}

/// A page whose name leads here, by a look-up that its owner changed, reads nothing.
#[tokio::test]
async fn a_name_that_is_not_this_server_s_is_refused_in_this_api_s_shape() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::default(), roomy())?;
    let denied = async |line| tests::keyed::ask(server.address, "evil.example", line, "", "").await;
    for line in ["GET /v1/videos", "POST /v1/videos/sync", "GET /v1/images/x/content", "GET /v1/models"] {
        let told = denied(line).await?;
        let body: Value = serde_json::from_str(&told.body).with_context(|| told.body.clone())?;
        let error = &body["error"];
        ensure!(
            told.status == 403 && error["type"] == "permission_error" && body["detail"] == error["message"],
            "{body}"
        );
    }
    ensure!(denied("GET /health").await?.body.starts_with("this server does not answer"), "a sentence");
    Ok(())
}

/// V100. The process and its exit status are in `server/tests/process.rs`.
#[tokio::test]
async fn a_drain_finishes_what_is_drawn_and_fails_what_waits() -> Result<()> {
    let (server, mut strings) = Server::limited(Puppet::on_strings(), roomy())?;
    let drawn = send(server.address, "POST /v1/videos/sync", &[], SMALL).await?;
    strings.began().await?;
    let waits = job(&server, small()).await?;
    server.drain();
    let failed = until(&server, &waits, "failed").await?;
    ensure!(failed["error"]["code"] == "shutting_down" && failed["url"].is_null(), "{failed}");
    let refused = post(server.address, "/v1/videos", small()).await?;
    refused.error(503)?;
    ensure!(refused.json()?["error"]["code"] == "draining", "{refused:?}");
    look(&server, &waits).await?;
    strings.allow(1);
    ensure!(drawn.answer().await?.status == 200);
    server.ended()
}

/// A client that is drawn for when the server stops is told.
#[tokio::test]
async fn a_sync_clip_that_a_stop_cuts_short_is_told_so() -> Result<()> {
    let (server, mut strings) = Server::limited(Puppet::on_strings(), roomy())?;
    let drawn = send(server.address, "POST /v1/videos/sync", &[], SMALL).await?;
    strings.began().await?;
    server.stop()?;
    drawn.answer().await?.error(503)?;
    Ok(())
}

/// A body past the bound, and a method that is none.
#[tokio::test]
async fn a_body_has_a_bound_and_a_route_has_its_methods() -> Result<()> {
    let limits = Limits { message_bytes: 1 << 20, ..roomy() };
    let (server, _strings) = Server::limited(Puppet::default(), limits)?;
    let body = vec![b' '; (2 << 20) + 1];
    let answer = ask(server.address, "POST /v1/videos", &[], &body).await?;
    answer.error(413)?;
    let wrong = ask(server.address, "PUT /v1/videos", &[], b"").await?;
    wrong.error(405)?;
    ensure!(wrong.header("allow").is_some_and(|methods| methods.contains("POST")), "{wrong:?}");
    let info = get(server.address, "GET /model_info").await?.expect(200)?;
    ensure!(
        info["is_generation"] == true && info["supported_task_types"] == json!(["T2V", "I2V", "TI2V", "T2I"]),
        "{info}"
    );
    let missing = get(server.address, "GET /v1/models/nope").await?;
    missing.error(404)?;
    ensure!(missing.json()?["error"]["code"] == "model_not_found" && missing.json()?["error"]["param"] == "model");
    Ok(())
}

/// An SDK that polls does not use up its minute: ten looks count as one request.
#[tokio::test]
async fn looking_at_jobs_counts_a_tenth() -> Result<()> {
    let (key, line) = new_key("alice")?;
    let limits = KeyLimits { requests_a_minute: 5, ..KeyLimits::default() };
    let access =
        AccessPolicy { entry: Entry::Keys(KeyRing::from(ApiKeys::parse(&line, limits)?)), ..AccessPolicy::default() };
    let (server, _strings) = Server::limited(Puppet::default(), Limits { access, ..roomy() })?;
    let mut looks = 0;
    while with_key(&server, &key, "GET /v1/videos", b"").await?.status == 200 {
        looks += 1;
        ensure!(looks < 1000, "no end");
    }
    ensure!(looks >= 40, "{looks}");
    let told = with_key(&server, &key, "GET /v1/videos", b"").await?;
    told.error(429)?;
    ensure!(told.header("retry-after").is_some(), "{told:?}");
    Ok(())
}
