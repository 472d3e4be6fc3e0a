//! A server that is told to stop lets its sessions go on at another one: the same frames, none lost and none twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use causeway_client::{News, Walk};
use pipeline::testcard::Testcard;
use server::moving::{Pair, SESSION_BYTES_MAX};
use server::{Limits, LoadWorld};
use tests::Server;
use tests::client::{Chunk, Client};
use tests::message::{Event, Init, Message, Moved, map, resume, script};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SECRET: &str = "correct-horse-battery-staple";

fn pocket() -> LoadWorld {
    Box::new(|| Ok(pipeline::load_world(&server::pocket::dir(), &pipeline::Device::cpu())?))
}

fn testcard() -> LoadWorld {
    Box::new(|| Ok(Box::new(Testcard::new(Duration::from_millis(20)))))
}

/// A server that takes sessions.
fn receiver(load: LoadWorld, limits: Limits) -> Result<Server> {
    Server::start(load, Limits { moving: Some(Arc::new(Pair::new(SECRET, None)?)), ..limits })
}

/// A server whose sessions go on at this address, of which clients are told `clients`.
fn sender(load: LoadWorld, to: std::net::SocketAddr, clients: Option<String>) -> Result<Server> {
    let pair = Pair::new(SECRET, Some((format!("http://{to}").parse()?, clients)))?;
    Server::start(load, Limits { moving: Some(Arc::new(pair)), ..Limits::default() })
}

/// What is compared of a chunk: all that a client gets but times and the ids of requests.
type Told = (u64, Vec<Bytes>, Option<(Vec<u64>, Vec<u64>)>);

fn told(chunk: Chunk) -> Told {
    let ack = chunk.ack.as_ref().map(|ack| (ack.applied.clone(), ack.superseded.clone()));
    (chunk.stats.chunk_index, chunk.frames(), ack)
}

/// What a stepped client says before chunk `index`.
fn said(index: u64) -> Vec<Event> {
    let keys = ["w", "", "wl", "j", "s", "w", "i", "wd"];
    let mut said = vec![Event::hold(keys[index as usize % keys.len()]).id(2 * index + 1)];
    if index == 2 || index == 6 {
        said.push(Event::prompt(if index == 2 { "a desert at night" } else { "a meadow in snow" }).id(2 * index + 2));
    }
    said.push(Event::step());
    said
}

/// All that came on a line until it was closed: whole chunks, and where the session moved.
async fn to_the_end(client: &mut Client) -> Result<(Vec<Told>, Option<Moved>)> {
    let (mut chunks, mut batches, mut ack, mut moved) = (Vec::new(), Vec::new(), None, None);
    loop {
        match client.next().await? {
            Message::Batch(batch) => batches.push(batch),
            Message::Ack(came) => ack = Some(came),
            Message::Stats(stats) => {
                let (batches, ack) = (std::mem::take(&mut batches), ack.take());
                chunks.push(told(Chunk { ack, applied: None, timeline: None, batches, stats }));
            }
            Message::Moved(came) => moved = Some(came),
            Message::Closed(close) => {
                ensure!(close.code == 1012 && batches.is_empty(), "{close:?}");
                return Ok((chunks, moved));
            }
            other => bail!("instead of the end: {other:?}"),
        }
    }
}

async fn back(url: &str, token: &str, last: Option<u64>) -> Result<Client> {
    let mut client = Client::connect(url).await?;
    client.send(resume(token, last)).await?;
    let hello = client.hello().await?;
    ensure!(hello.resume_token == token && hello.next_chunk == last.map_or(0, |last| last + 1), "{hello:?}");
    Ok(client)
}

#[tokio::test]
async fn a_stepped_walk_in_the_shipped_world_goes_on_at_another_server_to_the_byte() -> Result<()> {
    const CHUNKS: u64 = 9;
    let picture = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../pocket/weights/first_frames/desert.png"))?;
    let init = || Init::new("a desert at noon").first_frame(&picture).features(["session", "step", "ack", "moved"]);
    let there = receiver(pocket(), Limits::default())?;
    let here = sender(pocket(), there.address, Some(there.url()))?;
    let begin = async |server: &Server| -> Result<(Client, String)> {
        let mut client = server.session(init()).await?;
        let token = client.hello().await?.resume_token;
        Ok((client, token))
    };

    let (mut undisturbed, _) = begin(&there).await?;
    let mut whole = Vec::new();
    for index in 0..CHUNKS {
        for event in said(index) {
            undisturbed.send(event).await?;
        }
        whole.push(told(undisturbed.chunk().await?));
    }
    undisturbed.close().await?;

    let (mut client, token) = begin(&here).await?;
    let (mut chunks, mut messages) = (Vec::new(), Vec::new());
    for index in 0..4 {
        for event in said(index) {
            messages.push(event.clone());
            client.send(event).await?;
        }
        chunks.push(told(client.chunk().await?));
    }
    // Two more steps are on their way when the server is told to stop.
    for index in 4..6 {
        for event in said(index) {
            messages.push(event.clone());
            client.send(event).await?;
        }
    }
    here.drain();
    let began = Instant::now();
    let (rest, moved) = to_the_end(&mut client).await?;
    chunks.extend(rest);
    let moved = moved.context("it does not say where it moved")?;
    ensure!(moved.url.as_deref() == Some(&there.url()), "{moved:?}");
    let last = chunks.last().map(|(index, ..)| *index);
    let mut client = back(moved.url.as_deref().unwrap_or_default(), &token, last).await?;
    for event in messages.iter().skip(moved.messages as usize) {
        client.send(event.clone()).await?;
    }
    let mut gap = None;
    for index in chunks.len() as u64..CHUNKS {
        if index >= 6 {
            for event in said(index) {
                client.send(event).await?;
            }
        }
        chunks.push(told(client.chunk().await?));
        gap.get_or_insert(began.elapsed());
    }
    println!(
        "from SIGTERM to the first chunk at the other server: {gap:?}; {} of {} messages went along",
        moved.messages,
        messages.len()
    );
    ensure!(chunks.len() == whole.len());
    for (found, expected) in chunks.iter().zip(&whole) {
        ensure!(found == expected, "chunk {} is another", expected.0);
    }
    here.ended()?;
    Ok(())
}

/// Free and paced, and one whose client knows nothing of moving, and comes to the address that it knows.
#[tokio::test]
async fn sessions_that_run_by_themselves_lose_no_frame_and_see_none_twice() -> Result<()> {
    // Enough that a slow machine does not draw them all before it is told to stop.
    const CHUNKS: u64 = 30;
    let camera = || map([("camera_actions", script(["", "w", "w", "wl", "l", "j", "s", "w", "w", "i"]))]);
    let init = || Init::new("a road").size(64, 48).max_chunks(CHUNKS).set("condition_inputs", camera());
    for (paced, knows) in [(false, true), (true, true), (false, false)] {
        let features: &[&str] = if knows { &["session", "moved"] } else { &["session"] };
        let init = || {
            let init = init().features(features.iter().copied());
            if paced { init.paced(240) } else { init }
        };
        let there = receiver(testcard(), Limits::default())?;
        let here = sender(testcard(), there.address, None)?;
        let mut client = there.session(init()).await?;
        client.hello().await?;
        let mut whole = Vec::new();
        for _ in 0..CHUNKS {
            whole.push(told(client.chunk().await?));
        }
        let mut client = here.session(init()).await?;
        let token = client.hello().await?.resume_token;
        let mut chunks = Vec::new();
        for _ in 0..3 {
            chunks.push(told(client.chunk().await?));
        }
        here.drain();
        let began = Instant::now();
        let (rest, moved) = to_the_end(&mut client).await?;
        chunks.extend(rest);
        ensure!(moved == knows.then_some(Moved { url: None, messages: 0 }), "{moved:?}");
        let last = chunks.last().map(|(index, ..)| *index);
        let mut client = back(&there.url(), &token, last).await?;
        let mut gap = None;
        while (chunks.len() as u64) < CHUNKS {
            chunks.push(told(client.chunk().await?));
            gap.get_or_insert(began.elapsed());
        }
        println!(
            "paced {paced}: moved before chunk {}, {gap:?} from SIGTERM to the next chunk",
            last.map_or(0, |last| last + 1)
        );
        ensure!(chunks == whole, "other chunks; paced: {paced}");
        ensure!(client.closed().await?.reason == "generation complete");
        here.ended()?;
    }
    Ok(())
}

/// Another node that takes what it is sent, and answers so. Gives the bytes of the session.
async fn node_that_answers(listener: TcpListener, status: &str) -> Result<Vec<u8>> {
    let (mut stream, _) = listener.accept().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head)?.to_lowercase();
    ensure!(head.starts_with("post /internal/sessions ") && head.contains(&format!("bearer {SECRET}")), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).context("a length")?.parse()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nno").as_bytes()).await?;
    Ok(body)
}

async fn post(server: &Server, secret: &str, body: &[u8]) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(server.address).await?;
    let head = format!(
        "POST /internal/sessions HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {secret}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        server.address,
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    // A server that refuses the head need not read the body.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned()))
}

#[tokio::test]
async fn a_session_that_no_node_takes_ends_as_it_would_have_and_a_node_refuses_by_name() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let here = sender(testcard(), listener.local_addr()?, None)?;
    let node = tokio::spawn(node_that_answers(listener, "503 Service Unavailable"));
    let features = ["session", "moved"];
    let mut client = here.session(Init::new("a road").size(64, 48).max_chunks(40).features(features)).await?;
    let token = client.hello().await?.resume_token;
    let first = told(client.chunk().await?);
    here.drain();
    let (rest, moved) = to_the_end(&mut client).await?;
    ensure!(moved.is_none(), "{moved:?}");
    here.ended()?;
    let bytes = node.await??;
    println!("a session of the test card after {} chunks: {} bytes", rest.len() + 1, bytes.len());

    // The same bytes, to servers that do not take them.
    let one_place = Limits { sessions: 1, queue: 0, busy_wait: Duration::ZERO, ..Limits::default() };
    let (there, other) = (receiver(testcard(), one_place)?, receiver(pocket(), Limits::default())?);
    let closed = Server::start(testcard(), Limits::default())?;
    let check = async |server: &Server, secret: &str, body: &[u8], status: u16, words: &str| -> Result<()> {
        let (found, said) = post(server, secret, body).await?;
        ensure!(found == status && said.contains(words), "{found} {said:?} instead of {status} {words:?}");
        ensure!(!said.contains(&token), "an answer with the token");
        Ok(())
    };
    check(&closed, SECRET, &bytes, 404, "takes no sessions").await?;
    check(&there, "correct-horse-battery-stapler", &bytes, 401, "the secret is wrong").await?;
    check(&there, SECRET, &bytes[..bytes.len() / 2], 400, "is no session").await?;
    check(&there, SECRET, b"", 400, "is no session").await?;
    check(&there, SECRET, &vec![0; SESSION_BYTES_MAX + 1], 413, "").await?;
    let name = b"causeway_session";
    let at = bytes.windows(name.len()).position(|window| window == name).context("a version")? + name.len();
    let another = |at: usize, byte: u8| [&bytes[..at], &[byte], &bytes[at + 1..]].concat();
    check(&there, SECRET, &another(at, 9), 400, "version 9 of a session").await?;
    // Inside the rollout's bytes, which come last.
    check(&there, SECRET, &another(bytes.len() - 40, 0xff), 400, "checksum").await?;
    let (status, said) = loop {
        let (status, said) = post(&other, SECRET, &bytes).await?;
        if !said.contains("loading") {
            break (status, said);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    ensure!(status == 400 && said.contains("size"), "{status} {said}: another world draws other sizes");

    let mut busy = there.session(Init::new("a road").size(64, 48)).await?;
    busy.chunk().await?;
    check(&there, SECRET, &bytes, 503, "").await?;
    busy.close().await?;
    // Now there is a place: what was refused harmed nothing.
    let until = Instant::now() + Duration::from_secs(10);
    while post(&there, SECRET, &bytes).await?.0 != 200 {
        ensure!(Instant::now() < until, "it is not taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    check(&there, SECRET, &bytes, 409, "is here already").await?;
    let mut client = back(&there.url(), &token, Some(0)).await?;
    let again = told(client.chunk().await?);
    ensure!(first.0 == 0 && again == rest[0], "what was missed comes again");
    Ok(())
}

#[tokio::test]
async fn a_walk_of_our_client_follows_by_itself() -> Result<()> {
    let there = receiver(testcard(), Limits::default())?;
    let here = sender(testcard(), there.address, Some(there.url()))?;
    let url = |server: &Server| server.url();
    let frames = |url: String, drain: Option<Server>| {
        tokio::task::spawn_blocking(move || -> Result<_> {
            let mut drain = drain;
            let mut walk = Walk::connect(&url, Init::new("a road").size(64, 48).max_chunks(40))?;
            let mut all: Vec<Vec<u8>> = Vec::new();
            loop {
                match walk.news()? {
                    News::Frame(frame) => {
                        ensure!(frame.index == all.len() as u64, "frame {} after {}", frame.index, all.len());
                        all.push(frame.data.to_vec());
                        if all.len() == 40
                            && let Some(server) = &drain
                        {
                            server.drain();
                        }
                    }
                    News::Complete => return Ok((all, walk.resumes(), drain.take())),
                    _ => {}
                }
            }
        })
    };
    let (whole, resumes, _) = frames(url(&there), None).await??;
    ensure!(resumes == 0);
    let (again, resumes, here) = frames(url(&here), Some(here)).await??;
    ensure!(resumes == 1, "resumed {resumes} times");
    ensure!(again == whole, "other frames");
    here.context("the first server")?.ended()?;
    Ok(())
}
