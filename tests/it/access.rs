//! Access from outside: keys, tokens, pages of other origins, and clients that try too often.
//!
//! Over 400 lines: the doors of one server, each from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use server::Limits;
use server::access::policy::AccessPolicy;
use server::access::rules::denied::REASONS;
use server::access::rules::keys::{ApiKeys, KeyLimits, new_key};
use tests::exposition::Exposition;
use tests::keyed::{Keyed, ask, bearer, turned_away};
use tests::message::{Close, Message};
use tests::puppet::Puppet;
use tests::raw::Raw;
use tests::{Server, small};

const SOCKET: &str = "/v1/realtime_video";

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn unauthorized() -> (String, Close) {
    ("unauthorized".into(), Close { code: 1008, reason: "unauthorized".into() })
}

#[tokio::test]
async fn a_key_is_shown_in_the_header_or_the_url_or_the_init() -> Result<()> {
    let scene = Keyed::new()?;
    let mut in_url = scene.connect(&scene.key).await?;
    in_url.send(small().max_chunks(1)).await?;
    in_url.chunk().await?;
    let mut in_init = scene.server.session(small().max_chunks(1).set("api_key", scene.key.as_str())).await?;
    in_init.chunk().await?;
    let (_raw, head) = Raw::upgrade(scene.server.address, &[bearer(&scene.key).trim_end()]).await?;
    ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (_raw, head) = Raw::upgrade(scene.server.address, &[&format!("authorization: BEARER {}", scene.key)]).await?;
    ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
    Ok(())
}

#[tokio::test]
async fn a_wrong_key_in_the_header_or_the_url_is_refused_before_the_upgrade() -> Result<()> {
    let scene = Keyed::new()?;
    let wrong = new_key("alice")?.0;
    let in_header = scene.ask(&format!("GET {SOCKET}"), &format!("{UPGRADE}{}", bearer(&wrong)), "").await?;
    let in_url = scene.ask(&format!("GET {SOCKET}?key={wrong}"), UPGRADE, "").await?;
    for answer in [in_header, in_url] {
        ensure!(answer.status == 401 && answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
    }
    Ok(())
}

#[tokio::test]
async fn an_init_without_a_good_key_is_told_unauthorized_and_closed_with_1008() -> Result<()> {
    let scene = Keyed::new()?;
    for init in [small(), small().set("api_key", "wrong"), small().set("api_key", 7)] {
        let mut client = scene.server.session(init).await?;
        ensure!(turned_away(&mut client).await? == unauthorized());
    }
    // Only a client that may send an init is told what is wrong with it.
    let mut client = scene.server.session(small().set("size", "bogus")).await?;
    ensure!(turned_away(&mut client).await? == unauthorized());
    let mut client = scene.server.connect().await?;
    client.send_bytes(vec![0xc1]).await?;
    ensure!(turned_away(&mut client).await? == unauthorized());
    Ok(())
}

#[tokio::test]
async fn an_init_with_a_good_key_and_a_mistake_may_be_corrected() -> Result<()> {
    let scene = Keyed::new()?;
    let mut client = scene.server.session(small().set("size", "bogus").set("api_key", scene.key.as_str())).await?;
    ensure!(tests::refusal(&mut client).await?.to_string().contains("size"));
    // A key that was shown once need not be shown again.
    client.send(small().max_chunks(1)).await?;
    client.chunk().await?;
    Ok(())
}

#[tokio::test]
async fn a_socket_that_never_shows_a_key_is_told_so_and_closed() -> Result<()> {
    let policy = AccessPolicy { key_within: Duration::from_millis(100), ..AccessPolicy::default() };
    let scene = Keyed::with(KeyLimits::default(), policy)?;
    let mut silent = scene.server.connect().await?;
    let mut shown = scene.connect(&scene.key).await?;
    ensure!(turned_away(&mut silent).await? == unauthorized());
    // Longer here than the other was allowed to be.
    shown.send(small().max_chunks(1)).await?;
    shown.chunk().await?;
    Ok(())
}

#[tokio::test]
async fn pages_for_the_operator_need_a_key_and_what_a_browser_loads_needs_none() -> Result<()> {
    let scene = Keyed::new()?;
    let mut client = scene.connect(&scene.key).await?;
    client.send(small().max_chunks(1)).await?;
    client.chunk().await?;
    for path in ["/v1/realtime_video/sessions", "/server_info"] {
        let answer = scene.ask(&format!("GET {path}"), "", "").await?;
        ensure!(answer.status == 401 && answer.body.contains("a key is needed"), "{path}: {}", answer.head);
        ensure!(scene.ask(&format!("GET {path}?key=wrong"), "", "").await?.status == 401);
        ensure!(scene.ask(&format!("GET {path}?a=b&key={}", scene.key), "", "").await?.status == 200);
        ensure!(scene.ask(&format!("GET {path}"), &bearer(&scene.key), "").await?.status == 200);
    }
    for path in ["/health", "/liveness", "/v1/models", "/v1/gallery", "/"] {
        ensure!(scene.ask(&format!("GET {path}"), "", "").await?.status == 200, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn a_token_made_with_a_key_enters_where_a_key_does_and_makes_no_token() -> Result<()> {
    let scene = Keyed::new()?;
    let answer = scene.token(&scene.key, Value::Null).await?;
    ensure!(answer.status == 200 && answer.head.contains("cache-control: no-store"), "{}", answer.head);
    let minted: Value = serde_json::from_str(&answer.body)?;
    ensure!(minted["expires_in"] == 300 && minted["sessions"] == 1, "{minted}");
    let token = minted["token"].as_str().context("a token")?;

    let mut in_init = scene.server.session(small().max_chunks(1).set("api_key", token)).await?;
    ensure!(in_init.closed().await?.code == 1000);
    ensure!(scene.ask("GET /server_info", &bearer(token), "").await?.status == 200);
    ensure!(scene.token(token, Value::Null).await?.status == 403);
    let changed = token.replacen("cwt_alice", "cwt_malice", 1);
    ensure!(scene.ask("GET /server_info", &bearer(&changed), "").await?.status == 401);
    Ok(())
}

#[tokio::test]
async fn a_token_ends_when_it_was_said_to() -> Result<()> {
    let scene = Keyed::new()?;
    let answer = scene.token(&scene.key, json!({ "expires_in": 1 })).await?;
    let minted: Value = serde_json::from_str(&answer.body)?;
    let shown = bearer(minted["token"].as_str().context("a token")?);
    let made = tokio::time::Instant::now();
    while scene.ask("GET /server_info", &shown, "").await?.status == 200 {
        ensure!(made.elapsed() < Duration::from_secs(5), "good after {:?}", made.elapsed());
        // Some requests fewer than the key is allowed.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(made.elapsed() > Duration::from_millis(900), "ended after {:?}", made.elapsed());
    let answer = scene.ask("GET /server_info", &shown, "").await?;
    ensure!(answer.status == 401 && answer.body.contains("expired"), "{}", answer.body);
    Ok(())
}

#[tokio::test]
async fn a_request_for_a_token_that_is_not_allowed_is_told_what_is() -> Result<()> {
    let scene = Keyed::new()?;
    let check = async |wish: Value, reason: &str| {
        let answer = scene.token(&scene.key, wish.clone()).await?;
        ensure!(answer.status == 400 && answer.body.contains(reason), "{wish}: {} {}", answer.status, answer.body);
        Ok(())
    };
    check(json!({ "expires_in": 0 }), "1 to 3600").await?;
    check(json!({ "expires_in": 3601 }), "1 to 3600").await?;
    check(json!({ "sessions": 0 }), "1 to 4").await?;
    check(json!({ "sessions": 5 }), "1 to 4").await?;
    check(json!({ "session": 1 }), "none of expires_in and sessions").await?;
    check(json!({ "expires_in": "soon" }), "expires_in must be").await?;
    check(json!([1]), "the body").await?;
    ensure!(scene.token(&scene.key, json!({ "expires_in": 3600, "sessions": 4 })).await?.status == 200);
    // 4 KiB of wish, eleven bytes of them around the filler.
    let filled = |bytes: usize| json!({ "fill": "x".repeat(bytes - 11) });
    ensure!(scene.token(&scene.key, filled(4096)).await?.status == 400);
    ensure!(scene.token(&scene.key, filled(4097)).await?.status == 413);
    ensure!(scene.token("wrong", Value::Null).await?.status == 401);
    ensure!(scene.ask("POST /v1/tokens", "", "").await?.status == 401);
    Ok(())
}

#[tokio::test]
async fn a_key_taken_out_of_use_opens_nothing_more_and_what_runs_goes_on() -> Result<()> {
    let scene = Keyed::new()?;
    let minted: Value = serde_json::from_str(&scene.token(&scene.key, Value::Null).await?.body)?;
    let token = minted["token"].as_str().context("a token")?;
    let mut runs = scene.connect(token).await?;
    runs.send(small()).await?;
    runs.chunk().await?;
    let mut waits = scene.connect(&scene.key).await?;
    waits.ping().await?;

    let (bob, line) = new_key("bob")?;
    scene.ring.replace(ApiKeys::parse(&line, KeyLimits::default())?);
    waits.send(small()).await?;
    ensure!(turned_away(&mut waits).await? == unauthorized());
    let answer = scene.ask("GET /server_info", &bearer(token), "").await?;
    ensure!(answer.status == 401 && answer.body.contains("out of use"), "{}", answer.body);
    ensure!(scene.ask("GET /server_info", &bearer(&scene.key), "").await?.status == 401);
    ensure!(scene.ask("GET /server_info", &bearer(&bob), "").await?.status == 200);
    for _ in 0..3 {
        runs.chunk().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_session_goes_on_when_its_token_expires_and_the_next_needs_another() -> Result<()> {
    let scene = Keyed::new()?;
    let minted = scene.token(&scene.key, json!({ "expires_in": 1, "sessions": 2 })).await?.body;
    let minted: Value = serde_json::from_str(&minted)?;
    let token = minted["token"].as_str().context("a token")?;
    let made = tokio::time::Instant::now();
    let mut runs = scene.connect(token).await?;
    runs.send(small()).await?;
    runs.chunk().await?;
    let mut waits = scene.connect(token).await?;
    waits.ping().await?;
    tokio::time::sleep_until(made + Duration::from_millis(1100)).await;
    waits.send(small()).await?;
    ensure!(turned_away(&mut waits).await? == unauthorized());
    for _ in 0..3 {
        runs.chunk().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_asks_for_no_key_makes_no_tokens() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let answer = ask(server.address, "localhost", "POST /v1/tokens", "", "").await?;
    ensure!(answer.status == 404 && answer.body.contains("asks for no key"), "{} {}", answer.status, answer.body);
    // And whatever a client of another server shows does no harm.
    let mut client = server.session(small().max_chunks(1).set("api_key", "any")).await?;
    client.chunk().await?;
    Ok(())
}

#[tokio::test]
async fn a_key_runs_only_as_many_sessions_as_it_may_and_gets_them_back() -> Result<()> {
    let scene = Keyed::with(KeyLimits { sessions: 1, ..KeyLimits::default() }, AccessPolicy::default())?;
    let init = || small().set("api_key", scene.key.as_str());
    let mut first = scene.server.session(init()).await?;
    first.chunk().await?;
    let mut second = scene.server.session(init()).await?;
    let (code, close) = turned_away(&mut second).await?;
    ensure!(code == "too_many_sessions", "{code}");
    ensure!(close == Close { code: 1008, reason: "too many sessions".into() }, "{close:?}");
    first.close().await?;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let mut third = scene.server.session(init().max_chunks(1)).await?;
        match third.next().await? {
            Message::Batch(_) => return Ok(()),
            // Until the server has seen the first leave.
            Message::Error(_) => ensure!(tokio::time::Instant::now() < deadline, "the place is never given back"),
            other => anyhow::bail!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_init_that_is_refused_holds_no_session_of_its_key() -> Result<()> {
    let scene = Keyed::with(KeyLimits { sessions: 1, ..KeyLimits::default() }, AccessPolicy::default())?;
    let mut wrong = scene.connect(&scene.key).await?;
    for _ in 0..3 {
        wrong.send(small().set("size", "bogus")).await?;
        tests::refusal(&mut wrong).await?;
    }
    let mut right = scene.connect(&scene.key).await?;
    right.send(small().max_chunks(1)).await?;
    right.chunk().await?;
    Ok(())
}

#[tokio::test]
async fn a_page_from_elsewhere_may_not_open_a_socket() -> Result<()> {
    let (local, _strings) = Server::with(Puppet::default())?;
    let keyed = Keyed::new()?;
    let check = async |server: &Server, shown: &str, origin: &str, expected: u16| {
        let headers = format!("{UPGRADE}Origin: {origin}\r\n{shown}");
        let answer = ask(server.address, &server.address.to_string(), &format!("GET {SOCKET}"), &headers, "").await?;
        ensure!(answer.status == expected, "{origin}: {}", answer.head);
        Ok(())
    };
    let shown = bearer(&keyed.key);
    for (server, shown) in [(&local, ""), (&keyed.server, &*shown)] {
        check(server, shown, "https://evil.example", 403).await?;
        check(server, shown, "null", 403).await?;
        check(server, shown, &format!("http://{}", server.address), 101).await?;
    }
    check(&local, "", "http://localhost:3000", 101).await?;
    check(&keyed.server, &shown, "http://localhost:3000", 403).await?;

    let policy = AccessPolicy {
        origins: vec!["https://game.example".parse().map_err(anyhow::Error::msg)?],
        ..AccessPolicy::default()
    };
    let named = Keyed::with(KeyLimits::default(), policy)?;
    let shown = bearer(&named.key);
    check(&named.server, &shown, "https://game.example", 101).await?;
    check(&named.server, "", "https://game.example", 101).await?;
    check(&named.server, &shown, "https://evil.example", 403).await
}

/// DNS rebinding: a page's name is pointed at this server after the page was loaded, so the browser takes both for one
/// origin.
#[tokio::test]
async fn a_local_server_answers_to_no_strange_name() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let check = async |host: &str, expected: u16| {
        for path in ["/v1/realtime_video/sessions", "/v1/models", "/health", "/"] {
            let answer = ask(server.address, host, &format!("GET {path}"), "", "").await?;
            ensure!((answer.status == 403) == (expected == 403), "{host}{path}: {}", answer.head);
        }
        let headers = format!("{UPGRADE}Origin: http://{host}\r\n");
        let answer = ask(server.address, host, &format!("GET {SOCKET}"), &headers, "").await?;
        ensure!(answer.status == expected, "{host}: {}", answer.head);
        Ok(())
    };
    check("evil.example:30000", 403).await?;
    check("localhost.evil.example", 403).await?;
    check(&format!("localhost:{}", server.address.port()), 101).await?;
    check(&server.address.to_string(), 101).await
}

#[tokio::test]
async fn whoever_shows_ten_wrong_keys_is_told_when_to_try_again() -> Result<()> {
    let scene = Keyed::new()?;
    for n in 0..10 {
        ensure!(scene.ask("GET /server_info", &bearer("wrong"), "").await?.status == 401, "{n}");
    }
    for shown in ["wrong", &scene.key] {
        let answer = scene.ask("GET /server_info", &bearer(shown), "").await?;
        ensure!(answer.status == 429 && answer.head.contains("retry-after: "), "{}", answer.head);
    }
    // The socket's door is the same one.
    let mut client = scene.server.session(small().set("api_key", scene.key.as_str())).await?;
    let (code, close) = turned_away(&mut client).await?;
    ensure!(
        code == "too_many_requests" && close.code == 1008 && close.reason == "too many requests",
        "{code} {close:?}"
    );
    Ok(())
}

#[tokio::test]
async fn every_refusal_is_counted_by_its_reason_and_metrics_have_a_line_for_each() -> Result<()> {
    let scene = Keyed::with(KeyLimits { sessions: 1, ..KeyLimits::default() }, AccessPolicy::default())?;
    let counts = async || {
        let page = scene.ask("GET /metrics", &bearer(&scene.key), "").await?;
        ensure!(page.status == 200, "{}", page.head);
        let page = Exposition::parse(&page.body)?;
        let count = |reason: &&str| page.get(&format!("causeway_denied_total{{reason=\"{reason}\"}}"));
        REASONS.iter().map(|reason| Ok((*reason, count(reason)?))).collect::<Result<BTreeMap<_, _>>>()
    };
    ensure!(counts().await?.values().all(|&count| count == 0.0));

    scene.ask("GET /server_info", "", "").await?;
    scene.ask("GET /server_info?key=wrong", "", "").await?;
    let evil = format!("{UPGRADE}{}Origin: https://evil.example\r\n", bearer(&scene.key));
    scene.ask(&format!("GET {SOCKET}"), &evil, "").await?;
    let minted: Value = serde_json::from_str(&scene.token(&scene.key, Value::Null).await?.body)?;
    scene.token(minted["token"].as_str().context("a token")?, Value::Null).await?;
    let mut first = scene.connect(&scene.key).await?;
    first.send(small()).await?;
    first.chunk().await?;
    let mut second = scene.connect(&scene.key).await?;
    second.send(small()).await?;
    turned_away(&mut second).await?;
    let mut silent = scene.server.session(small()).await?;
    turned_away(&mut silent).await?;

    let expected = [("no_key", 2.0), ("wrong_key", 1.0), ("origin", 1.0), ("not_a_key", 1.0), ("sessions", 1.0)];
    for (reason, count) in counts().await? {
        let expected = expected.iter().find(|(name, _)| *name == reason).map_or(0.0, |(_, count)| *count);
        ensure!(count == expected, "{reason}: {count}");
    }
    Ok(())
}

#[tokio::test]
async fn guessing_that_is_throttled_is_counted_as_that() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    ask(server.address, "evil.example", "GET /", "", "").await?;
    let page = ask(server.address, "localhost", "GET /metrics", "", "").await?;
    ensure!(Exposition::parse(&page.body)?.get("causeway_denied_total{reason=\"host\"}")? == 1.0);

    // Two clients behind one proxy: one guesses keys, and the other is still served.
    let policy = AccessPolicy { proxies: vec!["127.0.0.1".parse()?], ..AccessPolicy::default() };
    let scene = Keyed::with(KeyLimits { requests_a_minute: 2, ..KeyLimits::default() }, policy)?;
    for _ in 0..13 {
        let headers = format!("{}X-Forwarded-For: 198.51.100.1\r\n", bearer("wrong"));
        scene.ask("GET /server_info", &headers, "").await?;
    }
    let page = scene.ask("GET /metrics", &bearer(&scene.key), "").await?;
    let page = Exposition::parse(&page.body)?;
    ensure!(page.get("causeway_denied_total{reason=\"wrong_key\"}")? == 10.0);
    ensure!(page.get("causeway_denied_total{reason=\"wrong_too_often\"}")? == 3.0);
    Ok(())
}

#[tokio::test]
async fn behind_a_proxy_one_client_waits_and_not_all_of_them() -> Result<()> {
    let policy = AccessPolicy { proxies: vec!["127.0.0.1".parse()?], ..AccessPolicy::default() };
    let scene = Keyed::with(KeyLimits::default(), policy)?;
    let ask = async |shown: &str, client: &str| {
        let headers = format!("{}X-Forwarded-For: 203.0.113.1, {client}\r\n", bearer(shown));
        anyhow::Ok(scene.ask("GET /server_info", &headers, "").await?.status)
    };
    for _ in 0..10 {
        ensure!(ask("wrong", "198.51.100.1").await? == 401);
    }
    ensure!(ask(&scene.key, "198.51.100.1").await? == 429);
    ensure!(ask(&scene.key, "198.51.100.2").await? == 200);
    Ok(())
}

#[tokio::test]
async fn without_a_proxy_nobody_chooses_the_address_that_is_counted() -> Result<()> {
    let scene = Keyed::new()?;
    for n in 0..10 {
        let headers = format!("{}X-Forwarded-For: 198.51.100.{n}\r\n", bearer("wrong"));
        ensure!(scene.ask("GET /server_info", &headers, "").await?.status == 401);
    }
    let headers = format!("{}X-Forwarded-For: 198.51.100.99\r\n", bearer("wrong"));
    ensure!(scene.ask("GET /server_info", &headers, "").await?.status == 429);
    Ok(())
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_try_again() -> Result<()> {
    let scene = Keyed::with(KeyLimits { requests_a_minute: 5, ..KeyLimits::default() }, AccessPolicy::default())?;
    for _ in 0..5 {
        ensure!(scene.ask("GET /server_info", &bearer(&scene.key), "").await?.status == 200);
    }
    let answer = scene.ask("GET /server_info", &bearer(&scene.key), "").await?;
    ensure!(answer.status == 429 && answer.head.contains("retry-after: 12"), "{}", answer.head);
    Ok(())
}

#[tokio::test]
async fn one_address_has_only_so_many_connections_and_gets_them_back() -> Result<()> {
    let limits = Limits { connections_per_address: 2, ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::default(), limits)?;
    let first = server.connect().await?;
    let _second = server.connect().await?;
    let (_raw, head) = Raw::upgrade(server.address, &[]).await?;
    ensure!(head.starts_with("HTTP/1.1 429 "), "{head}");
    first.close().await?;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while server.connect().await.is_err() {
        ensure!(tokio::time::Instant::now() < deadline, "a place is never given back");
    }
    Ok(())
}
