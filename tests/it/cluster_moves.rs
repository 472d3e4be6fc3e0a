//! Sessions of a cluster outlive the node that draws them: it is told to stop, or dies without a word. The same frames, none
//! lost and none twice. `make test-cluster` does it to sixty clients, again and again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tests::client::Client;
use tests::cluster::{Nats, Node};
use tests::message::{Event, Init, Message, resume};
use tests::small;

const NODES: &str = "causeway_cluster_nodes";

/// Chunks of the walk. Of a journal that is kept after each four of them two states are left at the end.
const CHUNKS: u64 = 14;

fn node(nats: &Nats, sessions: usize, journal: bool) -> Result<Node> {
    let more = ["--chunk-ms", "5", "--queue-wait", "20", "--journal", "4"];
    Node::start(env!("CARGO_BIN_EXE_cluster"), nats, sessions, if journal { &more } else { &more[..4] })
}

/// What a stepped client says before chunk `index`.
fn said(index: u64) -> Vec<Event> {
    let keys = ["w", "", "wl", "j", "s", "w", "i", "wd"];
    let mut said = vec![Event::hold(keys[index as usize % keys.len()]).id(2 * index + 1)];
    // Every third chunk goes on with what is held.
    if index % 3 == 2 {
        said.clear();
    }
    if index == 2 || index == 6 {
        said.push(Event::prompt(if index == 2 { "a desert at night" } else { "a meadow in snow" }).id(2 * index + 2));
    }
    said.push(Event::step());
    said
}

fn init() -> Init {
    small().features(["session", "step", "ack", "moved"])
}

/// What is compared of a chunk: its number, its frames, and which events it acknowledges.
type Told = (u64, Vec<Bytes>, Option<Vec<u64>>);

async fn step(client: &mut Client, index: u64) -> Result<Told> {
    for event in said(index) {
        client.send(event).await?;
    }
    let chunk = client.chunk().await?;
    let applied = chunk.ack.as_ref().map(|ack| ack.applied.clone());
    Ok((chunk.stats.chunk_index, chunk.frames(), applied))
}

/// A walk at a door until chunk `until`, with the token to come back.
async fn begun(door: &Node, until: u64) -> Result<(Client, String, Vec<Told>)> {
    let mut client = Client::connect(&door.url()).await?;
    client.send(init()).await?;
    let token = client.hello().await?.resume_token;
    let mut told = Vec::new();
    for index in 0..until {
        told.push(step(&mut client, index).await?);
    }
    Ok((client, token, told))
}

/// The walk goes on at a door from chunk `from`, to its end.
async fn gone_on(door: &Node, token: &str, from: u64, told: &mut Vec<Told>) -> Result<()> {
    let mut client = Client::connect(&door.url()).await?;
    client.send(resume(token, Some(from - 1))).await?;
    let hello = client.hello().await?;
    ensure!(hello.resume_token == token && hello.next_chunk == from, "{hello:?}");
    for index in from..CHUNKS {
        told.push(step(&mut client, index).await?);
    }
    client.close().await
}

fn check(told: &[Told], whole: &[Told]) -> Result<()> {
    ensure!(told.len() == whole.len(), "{} chunks and not {}", told.len(), whole.len());
    for (told, whole) in told.iter().zip(whole) {
        ensure!(
            told == whole,
            "chunk {} is not chunk {} of an undisturbed walk: {:?} {:?}",
            told.0,
            whole.0,
            told.2,
            whole.2
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_session_outlives_a_node_that_is_stopped_and_one_that_dies() -> Result<()> {
    let nats = Nats::start(1)?;
    let (a, door) = (node(&nats, 2, true)?, node(&nats, 0, true)?);
    door.reaches(NODES, 2.0, Duration::from_secs(10)).await?;
    let (client, _, whole) = begun(&door, CHUNKS).await?;
    client.close().await?;

    // Told to stop: the session goes through the line to the node that has room.
    let (mut client, token, mut told) = begun(&door, 6).await?;
    let b = node(&nats, 2, true)?;
    door.reaches(NODES, 3.0, Duration::from_secs(10)).await?;
    let stopped = Instant::now();
    a.process.signal("TERM")?;
    let mut moved = false;
    loop {
        match client.next().await? {
            Message::Moved(_) => moved = true,
            Message::Closed(close) => {
                ensure!(close.code == 1012 && moved, "{close:?} {moved}");
                break;
            }
            other => anyhow::bail!("instead of the end: {other:?}"),
        }
    }
    gone_on(&door, &token, 6, &mut told).await.context("after the move")?;
    println!("from SIGTERM to the end of the walk at the other node: {:?}", stopped.elapsed());
    check(&told, &whole)?;

    // Dies: the session goes on from its journal. Once it has one state, and once the newest is not the first.
    let mut draws = b;
    for until in [2, 11] {
        let (client, token, mut told) = begun(&door, until).await?;
        // The state that is under way arrives.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let other = node(&nats, 2, true)?;
        let mut died = std::mem::replace(&mut draws, other);
        let killed = Instant::now();
        died.process.kill();
        drop(client);
        gone_on(&door, &token, until, &mut told).await.with_context(|| format!("after a death at chunk {until}"))?;
        println!("from kill -9 after chunk {until} to the end of the walk at the other node: {:?}", killed.elapsed());
        check(&told, &whole)?;
    }

    // Without a journal it is over: an error with its code, and the client begins anew.
    draws.process.kill();
    let mut draws = node(&nats, 2, false)?;
    door.reaches(NODES, 2.0, Duration::from_secs(10)).await?;
    let (mut client, token, _) = begun(&door, 3).await?;
    draws.process.kill();
    let error = client.error().await?;
    ensure!(error.code.as_deref() == Some("node_lost"), "{error}");
    let mut client = Client::connect(&door.url()).await?;
    client.send(resume(&token, Some(2))).await?;
    let error = client.error().await?;
    ensure!(error.code.as_deref() == Some("invalid_resume_request"), "{error}");
    drop(a);
    Ok(())
}
