//! Equal nodes around NATS: the sentences of docs/cluster.md that a quiet cluster and one dead node can prove.
//! `make test-cluster` proves them with many.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use causeway_client::connection::{Connection, Received};
use rmpv::Value;
use serde_json::json;
use tests::client::Client;
use tests::cluster::{Nats, Node};
use tests::message::{Init, Message, Reason, map, resume};
use tests::openai;
use tests::puppet::Puppet;
use tests::raw::Raw;
use tests::{Server, small};
use tokio::task::JoinSet;

const NODES: &str = "causeway_cluster_nodes";

fn node(nats: &Nats, sessions: usize) -> Result<Node> {
    Node::start(env!("CARGO_BIN_EXE_cluster"), nats, sessions, &["--chunk-ms", "20", "--queue-wait", "20"])
}

fn walk() -> Init {
    small().paced(48)
}

/// A client on this node whose first chunk has come.
async fn walking(node: &Node, init: Init) -> Result<Client> {
    let mut client = Client::connect(&node.url()).await?;
    client.send(init).await?;
    client.chunk().await?;
    Ok(client)
}

/// The next message as its fields.
async fn fields(connection: &mut Connection) -> Result<Value> {
    match tokio::time::timeout(Duration::from_secs(10), connection.receive()).await?? {
        Received::Whole(whole) => Ok(rmpv::decode::read_value(&mut &whole.map[..])?),
        other => anyhow::bail!("instead of a message: {other:?}"),
    }
}

fn text<'a>(fields: &'a Value, name: &str) -> &'a str {
    fields[name].as_str().unwrap_or_default()
}

/// The frames of two chunks of a walk that is the same each time.
async fn drawn(url: &str) -> Result<Vec<Bytes>> {
    let mut client = Client::connect(url).await?;
    client.send(small().max_chunks(2).seed(7)).await?;
    let frames = [client.chunk().await?.frames(), client.chunk().await?.frames()].concat();
    let close = client.closed().await?;
    ensure!((close.code, &*close.reason) == (1000, "generation complete"), "{close:?}");
    Ok(frames)
}

#[tokio::test]
async fn nodes_around_nats_share_one_line_pass_clients_on_and_do_without_one_that_dies() -> Result<()> {
    let nats = Nats::start(1)?;
    let (mut a, b, door) = (node(&nats, 2)?, node(&nats, 2)?, node(&nats, 0)?);
    for node in [&a, &b, &door] {
        node.reaches(NODES, 3.0, Duration::from_secs(10)).await?;
    }
    let (head, health) = Raw::get(door.address, "/ready").await?;
    ensure!(head.starts_with("HTTP/1.1 200 ") && health.contains("\"cluster\":\"joined\""), "{head} {health}");

    a_door_passes_on_what_a_node_draws(&door, &a).await?;
    a_token_opens_one_place_once(&door, [&a, &b]).await?;
    a_client_that_names_redirect_is_sent_on(&door).await?;
    a_session_is_found_from_any_node(&door, [&a, &b]).await?;
    the_line_is_first_come_first_served(&door).await?;
    a_dead_node_is_gone_in_three_seconds_and_the_rest_draw_on(&door, &mut a, &b).await
}

async fn a_door_passes_on_what_a_node_draws(door: &Node, worker: &Node) -> Result<()> {
    let (direct, relayed) = (drawn(&worker.url()).await?, drawn(&door.url()).await?);
    ensure!(direct == relayed && direct.len() == 24 - 3, "{} and {} frames", direct.len(), relayed.len());
    // A mistake is told by the door itself.
    let mut client = Client::connect(&door.url()).await?;
    client.send(small().set("fps", 1000)).await?;
    ensure!(tests::refusal(&mut client).await?.details.is_some_and(|details| details.field == "fps"));
    Ok(())
}

async fn a_token_opens_one_place_once(door: &Node, workers: [&Node; 2]) -> Result<()> {
    let told = openai::post(door.address, "/v1/sessions", json!({ "size": "16x16" })).await?.expect(200)?;
    let (url, token) = (told["url"].as_str().context("url")?, told["token"].as_str().context("token")?);
    ensure!(workers.iter().any(|worker| worker.url() == url) && token.starts_with("cwg_"), "{told}");
    let hello = |token: &str| map([("type", "hello".into()), ("token", token.into())]);
    let mut connection = Connection::connect(url).await?;
    let mut wrong = token.to_owned();
    let last = if wrong.ends_with('A') { 'E' } else { 'A' };
    wrong.pop();
    wrong.push(last);
    for (token, reason) in [(&*wrong, "secret"), ("cwg_nobody.1.AAAA", "no grant")] {
        connection.send(hello(token)).await?;
        let refused = fields(&mut connection).await?;
        ensure!(text(&refused, "code") == "invalid_hello" && refused.to_string().contains(reason), "{refused}");
    }
    connection.send(hello(token)).await?;
    let taken = fields(&mut connection).await?;
    ensure!(text(&taken, "type") == "hello_ack" && taken["place"] == Value::Boolean(true), "{taken}");
    let mut second = Connection::connect(url).await?;
    second.send(hello(token)).await?;
    let refused = fields(&mut second).await?;
    ensure!(refused.to_string().contains("good once"), "{refused}");
    connection.send(small().max_chunks(1)).await?;
    let drawn = fields(&mut connection).await?;
    ensure!(text(&drawn, "type").starts_with("frame_batch"), "{drawn}");
    Ok(())
}

async fn a_client_that_names_redirect_is_sent_on(door: &Node) -> Result<()> {
    let mut connection = Connection::connect(&door.url()).await?;
    connection.send(small().max_chunks(1).features(["redirect"])).await?;
    let sent_on = fields(&mut connection).await?;
    ensure!(text(&sent_on, "type") == "redirect", "{sent_on}");
    let mut there = Connection::connect(text(&sent_on, "url")).await?;
    there.send(map([("type", "hello".into()), ("token", text(&sent_on, "token").into())])).await?;
    ensure!(text(&fields(&mut there).await?, "type") == "hello_ack");
    there.send(small().max_chunks(1).features(["redirect"])).await?;
    ensure!(text(&fields(&mut there).await?, "type").starts_with("frame_batch"));
    Ok(())
}

async fn a_session_is_found_from_any_node(door: &Node, workers: [&Node; 2]) -> Result<()> {
    let mut client = Client::connect(&door.url()).await?;
    client.send(walk().features(["session"])).await?;
    let token = client.hello().await?.resume_token;
    client.chunk().await?;
    drop(client);
    for node in [door, workers[0], workers[1]] {
        let mut client = Client::connect(&node.url()).await?;
        client.send(resume(&token, Some(0))).await?;
        let hello = client.hello().await?;
        ensure!(hello.resume_token == token && hello.next_chunk == 1, "{hello:?}");
        client.chunk().await?;
    }
    let mut client = Client::connect(&door.url()).await?;
    client.send(resume(&token, None)).await?;
    client.hello().await?;
    client.close().await
}

async fn the_line_is_first_come_first_served(door: &Node) -> Result<()> {
    door.reaches("causeway_cluster_relayed_sessions", 0.0, Duration::from_secs(5)).await?;
    let mut walking = Vec::new();
    for _ in 0..4 {
        walking.push(self::walking(door, walk()).await?);
    }
    let mut waiting = Vec::new();
    for at in 1..=4 {
        let mut client = Client::connect(&door.url()).await?;
        client.send(walk().queued()).await?;
        let standing = client.standing().await?;
        ensure!(standing.position == at && standing.reason == Reason::Sessions, "{standing:?}");
        waiting.push(client);
    }
    for (at, client) in walking.into_iter().enumerate() {
        client.close().await?;
        waiting[at].chunk().await?;
        // Those behind have moved up, and none of them was drawn.
        for (behind, client) in waiting.iter_mut().enumerate().skip(at + 1) {
            let deadline = Instant::now() + Duration::from_secs(5);
            loop {
                match client.next_before(deadline).await?.context("no position in time")? {
                    Message::Queue(standing) if standing.position == (behind - at) as u64 => break,
                    Message::Queue(_) => {}
                    other => anyhow::bail!("client {behind} is drawn before its turn: {other:?}"),
                }
            }
        }
    }
    for client in waiting {
        client.close().await?;
    }
    door.reaches("causeway_cluster_relayed_sessions", 0.0, Duration::from_secs(5)).await?;
    Ok(())
}

/// The client, if it is drawn for as long as that; `None` if it was told that its node is gone.
async fn left_or_told(mut client: Client, until: Instant) -> Result<Option<Client>> {
    while let Some(message) = client.next_before(until).await? {
        match message {
            Message::Error(error) => {
                ensure!(error.code.as_deref() == Some("node_lost"), "{error}");
                let close = client.closed().await?;
                ensure!(close.code == 1012, "{close:?}");
                return Ok(None);
            }
            Message::Closed(close) => anyhow::bail!("closed without a word: {close:?}"),
            _ => {}
        }
    }
    Ok(Some(client))
}

async fn a_dead_node_is_gone_in_three_seconds_and_the_rest_draw_on(door: &Node, a: &mut Node, b: &Node) -> Result<()> {
    let mut walking = Vec::new();
    for _ in 0..4 {
        walking.push(self::walking(door, walk()).await?);
    }
    let mut waits = Client::connect(&door.url()).await?;
    waits.send(walk().queued()).await?;
    ensure!(waits.standing().await?.position == 1);
    let killed = Instant::now();
    a.process.kill();
    let (mut lost, mut left, mut ends) = (0, Vec::new(), JoinSet::new());
    walking.into_iter().for_each(|client| drop(ends.spawn(left_or_told(client, killed + Duration::from_secs(1)))));
    while let Some(end) = ends.join_next().await {
        match end?? {
            Some(client) => left.push(client),
            None => lost += 1,
        }
    }
    ensure!(lost == 2 && left.len() == 2, "{lost} were told that their node is gone, {} go on", left.len());
    door.reaches(NODES, 2.0, Duration::from_secs(5)).await?;
    // A record lives for three seconds, and is looked for each second.
    ensure!(killed.elapsed() < Duration::from_millis(4500), "gone after {:?}", killed.elapsed());
    // Who waits gets the next place of the node that is left.
    left.pop().context("a client")?.close().await?;
    waits.chunk().await?;
    b.reaches(NODES, 2.0, Duration::from_secs(5)).await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_alone_names_itself_and_takes_no_hello() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let told = openai::post(server.address, "/v1/sessions", json!({ "size": "16x16" })).await?.expect(200)?;
    let url = format!("ws://{}/v1/realtime_video", server.address);
    ensure!(told["url"] == url && told["token"].is_null() && told["expires"].is_u64(), "{told}");
    for (body, field) in [(json!({ "fps": 1000 }), "fps"), (json!({ "first_frame": "x" }), "first_frame")] {
        let refused = openai::post(server.address, "/v1/sessions", body).await?;
        ensure!(refused.status == 400 && String::from_utf8_lossy(&refused.body).contains(field), "{field}");
    }
    let mut connection = Connection::connect(&url).await?;
    connection.send(map([("type", "hello".into()), ("token", "cwg_a.1.AAAA".into())])).await?;
    let refused = fields(&mut connection).await?;
    ensure!(text(&refused, "code") == "invalid_hello" && refused.to_string().contains("no cluster"), "{refused}");
    connection.send(small().max_chunks(1)).await?;
    ensure!(text(&fields(&mut connection).await?, "type").starts_with("frame_batch"), "an init is still possible");
    Ok(())
}
