//! A session that begins with a recorded video and goes on live. C97 to C99.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use pipeline::testcard::Testcard;
use pipeline::world::World;
use pipeline::{Device, load_world, recording};
use rmpv::Value;
use server::access::key_ring::KeyRing;
use server::access::policy::{AccessPolicy, Entry};
use server::access::rules::keys::{ApiKeys, KeyLimits, new_key};
use server::{Limits, LoadWorld, pocket};
use std::path::PathBuf;
use std::time::Duration;
use tests::client::Client;
use tests::message::{Event, Init, map};
use tests::puppet::Puppet;
use tests::{Server, refusal, small};

/// A folder that is there as long as this is.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        Folder(std::env::temp_dir().join(format!("causeway-branch-{name}-{}", std::process::id())))
    }

    fn limits(&self) -> Limits {
        Limits { record: Some((self.0.clone(), 1 << 24)), ..Limits::default() }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn card() -> LoadWorld {
    Box::new(|| Ok(Box::new(Testcard::new(Duration::ZERO)) as Box<dyn World>))
}

fn pocket_world() -> LoadWorld {
    Box::new(|| load_world(&pocket::dir(), &Device::cpu()).map_err(Into::into))
}

const FEATURES: [&str; 2] = ["step", "recording"];

/// A beginning out of a recording.
fn begin(fields: &[(&str, Value)]) -> Init {
    let recording = map(fields.iter().map(|(name, value)| (*name, value.clone())));
    Init::new("").without("prompt").features(FEATURES).set("recording", recording)
}

fn file(bytes: &[u8]) -> (&'static str, Value) {
    ("file", Value::Binary(bytes.to_vec()))
}

/// What steers one chunk of the video.
fn steering(chunk: usize) -> Event {
    let keys = Event::hold(["w", "wl", "sj", "d"][chunk % 4]);
    match chunk {
        2 => Event::step_with([keys, Event::prompt("night")]),
        _ => Event::step_with([keys]),
    }
}

async fn walk(client: &mut Client, chunks: std::ops::Range<usize>) -> Result<(String, Vec<Vec<Bytes>>)> {
    let (mut session, mut frames) = (String::new(), Vec::new());
    for chunk in chunks {
        client.send(steering(chunk)).await?;
        let drawn = client.chunk().await?;
        frames.push(drawn.frames());
        session = drawn.stats.session_id;
    }
    Ok((session, frames))
}

/// The recording of a session once so many chunks are in it: another thread writes it.
async fn recorded(folder: &Folder, session: &str, chunks: usize) -> Result<Vec<u8>> {
    loop {
        if let Ok(bytes) = std::fs::read(folder.0.join(format!("{session}.causeway")))
            && recording::read(&bytes).is_ok_and(|(_, read)| read.filter(Result::is_ok).count() >= chunks)
        {
            return Ok(bytes);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// C97: shown and hidden, by file and by id, the first chunks and those after them are the original's.
async fn the_same_frames(name: &str, load: impl Fn() -> LoadWorld, init: Init, chunks: usize, at: usize) -> Result<()> {
    let folder = Folder::new(name);
    let server = Server::start(load(), folder.limits())?;
    let mut client = server.session(init.features(FEATURES)).await?;
    let (session, drawn) = walk(&mut client, 0..chunks).await?;
    let bytes = recorded(&folder, &session, chunks).await?;
    let own = || ("session_id", Value::from(session.as_str()));
    let chunks_at = || ("chunks", Value::from(at as u64));
    let mut shown = server.session(begin(&[file(&bytes), chunks_at()])).await?;
    for expected in &drawn[..at] {
        // A step for each, too: the recording says what steers it.
        shown.send(Event::step()).await?;
        ensure!(shown.chunk().await?.frames() == *expected, "shown");
    }
    ensure!(walk(&mut shown, at..chunks).await?.1 == drawn[at..], "live, after what was shown");
    shown.close().await?;
    let mut hidden = server.session(begin(&[own(), chunks_at(), ("show", false.into())])).await?;
    hidden.send(steering(at)).await?;
    let first = hidden.chunk().await?;
    let timeline = first.timeline.as_ref().context("it begins in the middle")?;
    ensure!((timeline.chunk_index, timeline.video_chunk) == (0, at as u64), "{timeline:?}");
    ensure!(first.frames() == drawn[at], "hidden");
    let branch = first.stats.session_id.clone();
    ensure!(walk(&mut hidden, at + 1..chunks).await?.1 == drawn[at + 1..], "live, after what was hidden");
    // The branch is recorded whole, so it can be branched again: the same inputs, the same bytes.
    ensure!(recorded(&folder, &branch, chunks).await? == bytes, "the same inputs");
    // It goes on otherwise where it is steered otherwise.
    let mut other = server.session(begin(&[file(&bytes), chunks_at(), ("show", false.into())])).await?;
    other.send(Event::step_with([Event::hold("i")])).await?;
    ensure!(other.chunk().await?.frames() != drawn[at]);
    other.close().await?;
    hidden.close().await?;
    client.close().await
}

#[tokio::test]
async fn the_test_card_branches_at_any_chunk() -> Result<()> {
    the_same_frames("card", card, small().size(64, 48).seed(5), 6, 3).await
}

#[tokio::test]
async fn the_pocket_world_branches_at_any_chunk() -> Result<()> {
    the_same_frames("pocket", pocket_world, Init::new("a red tower").seed(5), 5, 3).await
}

/// C98
#[tokio::test]
async fn a_recording_that_is_damaged_foreign_or_too_short_is_refused_by_name() -> Result<()> {
    let folder = Folder::new("refused");
    let server = Server::start(card(), folder.limits())?;
    let mut client = server.session(small().features(FEATURES)).await?;
    let (session, _) = walk(&mut client, 0..3).await?;
    let bytes = recorded(&folder, &session, 3).await?;
    let mut other = server.connect().await?;
    let mut check = async |init: Init, field: &str, words: &str| -> Result<()> {
        other.send(init).await?;
        let error = refusal(&mut other).await?;
        let details = error.details.context("it says why")?;
        ensure!(details.field == field && details.reason.contains(words), "{details:?}, and not {field}: {words}");
        Ok(())
    };
    check(begin(&[file(b"GIF89a")]), "recording", "no recording").await?;
    check(begin(&[file(&bytes), ("chunks", 4.into())]), "recording", "3 whole chunks").await?;
    check(begin(&[file(&bytes), ("chunks", 0.into())]), "chunks", "").await?;
    check(begin(&[]), "recording", "either file or session_id").await?;
    check(begin(&[("session_id", "../../etc/passwd".into())]), "recording", "no session").await?;
    check(begin(&[("session_id", "0".repeat(32).into())]), "recording", "was recorded for this account").await?;
    check(begin(&[file(&bytes)]).set("seed", 4), "seed", "comes from the recording").await?;
    let mut spoilt = bytes.clone();
    *spoilt.last_mut().context("not empty")? = 0xc1;
    check(begin(&[file(&spoilt)]), "recording", "byte").await?;
    // Another world's, though all else is right.
    let (init, chunks) = recording::read(&bytes)?;
    let origin = chunks.origin.clone().context("it says so")?;
    let foreign = pipeline::world::Origin { weights: "0123".to_owned(), ..origin };
    let mut foreign = recording::encode_init(&init, Some(&foreign))?;
    for chunk in chunks {
        foreign.extend(recording::encode_chunk(&chunk?)?);
    }
    check(begin(&[file(&foreign)]), "recording", "would draw another video").await?;
    // The connection is as good as before.
    other.send(begin(&[file(&bytes)])).await?;
    other.send(Event::step()).await?;
    other.chunk().await?;
    other.close().await?;
    client.close().await
}

/// C98
#[tokio::test]
async fn a_session_of_another_account_is_no_beginning() -> Result<()> {
    let folder = Folder::new("accounts");
    let ((alice, first), (bob, second)) = (new_key("alice")?, new_key("bob")?);
    let ring = KeyRing::from(ApiKeys::parse(&format!("{first}\n{second}\n"), KeyLimits::default())?);
    let access = AccessPolicy { entry: Entry::Keys(ring), ..AccessPolicy::default() };
    let server = Server::start(card(), Limits { access, ..folder.limits() })?;
    let mut client = server.session(small().features(FEATURES).set("api_key", alice.as_str())).await?;
    let (session, drawn) = walk(&mut client, 0..2).await?;
    recorded(&folder, &format!("alice/{session}"), 2).await?;
    let own = |key: &str| begin(&[("session_id", session.as_str().into())]).set("api_key", key);
    let mut thief = server.session(own(&bob)).await?;
    let error = refusal(&mut thief).await?;
    ensure!(error.to_string().contains("was recorded for this account"), "{error}");
    let mut again = server.session(own(&alice)).await?;
    again.send(Event::step()).await?;
    ensure!(again.chunk().await?.frames() == drawn[0]);
    thief.close().await?;
    again.close().await?;
    client.close().await
}

/// C99
#[tokio::test]
async fn a_client_is_recorded_as_it_wishes_where_the_operator_allows_it() -> Result<()> {
    let check = async |limits: Limits, record: Option<bool>, refused: bool, files: usize, folder: &Folder| {
        let server = Server::start(card(), limits)?;
        let init = small().features(FEATURES);
        let init = match record {
            Some(record) => init.set("record", record),
            None => init,
        };
        let mut client = server.session(init).await?;
        if refused {
            let error = refusal(&mut client).await?;
            ensure!(error.details.as_ref().is_some_and(|details| details.field == "record"), "{error}");
        } else {
            walk(&mut client, 0..1).await?;
        }
        client.close().await?;
        server.stop()?;
        let found = std::fs::read_dir(&folder.0).map_or(0, Iterator::count);
        ensure!(found == files, "{found} recordings, for {record:?}");
        anyhow::Ok(())
    };
    let asked = Folder::new("asked");
    let only = || Limits { record_asked: true, ..asked.limits() };
    check(only(), None, false, 0, &asked).await?;
    check(only(), Some(false), false, 0, &asked).await?;
    check(only(), Some(true), false, 1, &asked).await?;
    let all = Folder::new("all");
    check(all.limits(), None, false, 1, &all).await?;
    check(all.limits(), Some(true), false, 2, &all).await?;
    check(all.limits(), Some(false), true, 2, &all).await?;
    let none = Folder::new("none");
    check(Limits::default(), Some(true), true, 0, &none).await?;
    check(Limits::default(), Some(false), false, 0, &none).await
}

/// C97: a client that leaves while its beginning is drawn leaves nothing behind, and delays nobody.
#[tokio::test]
async fn a_hidden_beginning_stands_in_nobodys_way_and_ends_with_its_client() -> Result<()> {
    let inputs = vec![pipeline::world::ChunkInput::default(); 4000];
    let init = pipeline::world::Init {
        prompt: "a meadow".into(),
        first_frame: None,
        size: pipeline::world::Size { width: 16, height: 16 },
        seed: 1,
        sink: 3,
        window: 18,
        first_chunk: None,
        condition_frames: None,
    };
    let mut bytes = recording::encode_init(&init, None)?;
    for input in &inputs {
        bytes.extend(recording::encode_chunk(input)?);
    }
    let (server, mut strings) = Server::with(Puppet::taking(Duration::from_millis(20)))?;
    let mut paced = server.session(small().paced(48)).await?;
    paced.chunk().await?;
    let hidden = server.session(begin(&[file(&bytes), ("show", false.into())])).await?;
    strings
        .until("it was not opened", |seen| match seen {
            tests::puppet::Seen::Opened { rollout: 1, .. } => Some(()),
            _ => None,
        })
        .await?;
    // A chunk is 250 ms of video and takes 20 to draw: eighty seconds of drawing stand beside it.
    let began = std::time::Instant::now();
    for _ in 0..4 {
        paced.chunk().await?;
    }
    ensure!(began.elapsed() < Duration::from_secs(5), "{:?} for a second of video", began.elapsed());
    drop(hidden);
    ensure!(strings.dropped().await? == 1);
    paced.close().await
}
