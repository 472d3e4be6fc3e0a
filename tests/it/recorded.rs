//! Sessions that are recorded by the server, and drawn again from their files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pipeline::testcard::Testcard;
use pipeline::world::{Cancel, World};
use server::Limits;
use server::access::key_ring::KeyRing;
use server::access::policy::{AccessPolicy, Entry};
use server::access::rules::keys::{ApiKeys, KeyLimits, new_key};
use server::offline::replay::{Request, replay};
use server::whole_file::Existing;
use sha2::{Digest, Sha256};
use tests::client::Client;
use tests::message::{Event, Init, map};
use tests::openai::{ask, get};
use tests::{Server, small};

/// A folder that is there as long as this is.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        Folder(std::env::temp_dir().join(format!("causeway-{name}-{}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn testcard(limits: Limits) -> Result<Server> {
    Server::start(Box::new(|| Ok(Box::new(Testcard::new(Duration::from_millis(20))) as Box<dyn World>)), limits)
}

/// Of a client that steers with everything there is.
fn steered() -> Init {
    small().features(["rates", "poses", "intrinsics"])
}

/// Steered, and with another prompt on the way.
async fn walk(client: &mut Client, chunks: usize) -> Result<(String, Sha256)> {
    let (mut session, mut hash) = (String::new(), Sha256::new());
    for chunk in 0..chunks {
        let keys = [["w"], ["l"]][chunk % 2];
        client
            .send(Event::new(
                "camera_actions",
                rmpv::Value::from(vec![rmpv::Value::from(keys.map(rmpv::Value::from).to_vec())]),
            ))
            .await?;
        if chunk == 1 {
            // Everything that a client may steer with: what is replayed is what was made of it.
            let number = |value: f64| rmpv::Value::from(value);
            let pose = [1.0, 0.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, -2.0, 0.0, 0.0, 0.0, 1.0].map(number);
            client
                .send(Event::steers([
                    map([("rates", map([("forward", number(0.3)), ("yaw", number(-0.7))]))]),
                    map([("intrinsics", map([("fov_x_deg", number(71.3))]))]),
                    map([("pose", rmpv::Value::Array(pose.to_vec()))]),
                ]))
                .await?;
        }
        if chunk == 2 {
            client.send(Event::new("prompt", "night")).await?;
        }
        let drawn = client.chunk().await?;
        drawn.frames().iter().for_each(|frame| hash.update(frame));
        session = drawn.stats.session_id;
    }
    Ok((session, hash))
}

fn again(file: &Path, until: Option<u32>) -> Result<String> {
    let request =
        Request { file: file.to_owned(), out: None, until, existing: Existing::Keep, cancel: Cancel::default() };
    Ok(replay(&Testcard::new(Duration::ZERO), request.read()?, &request)?.1)
}

fn digits(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_recorded_session_is_drawn_again_to_the_byte_and_can_be_fetched_while_it_runs() -> Result<()> {
    let folder = Folder::new("recorded");
    let server = testcard(Limits { record: Some((folder.0.clone(), 1 << 20)), ..Limits::default() })?;
    let init: Init = steered().size(64, 48).max_chunks(5);
    let mut client = server.session(init).await?;
    let (session, hash) = walk(&mut client, 4).await?;
    // All that was sent is in the file by now, or soon: another thread writes it.
    let path = format!("GET /v1/realtime_video/sessions/{session}/recording");
    let so_far = loop {
        let answer = get(server.address, &path).await?;
        if answer.status == 200 {
            let (_, chunks) = pipeline::recording::read(&answer.body).context("while it runs")?;
            if chunks.count() >= 4 {
                break answer.body;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let file = folder.0.join("so-far.causeway");
    std::fs::write(&file, &so_far)?;
    let (told, expected) = (again(&file, Some(4))?, digits(hash));
    ensure!(told.contains(&expected), "{told} does not have {expected}");
    // A file that was cut off has what is whole in it.
    std::fs::write(&file, &so_far[..so_far.len() - 3])?;
    ensure!(again(&file, None)?.contains("chunks"));
    std::fs::write(&file, b"\x89PNG\r\n\x1a\n")?;
    let error = format!("{:#}", again(&file, None).expect_err("a picture"));
    ensure!(error.contains("these bytes are no recording"), "{error}");
    for id in ["0", "../../etc/passwd", "00000000000000000000000000000000"] {
        let line = format!("GET /v1/realtime_video/sessions/{}/recording", id.replace('/', "%2F"));
        ensure!(get(server.address, &line).await?.status == 404, "{id}");
    }
    client.close().await?;
    server.stop()
}

#[tokio::test]
async fn a_recording_is_given_to_the_account_of_its_session_alone() -> Result<()> {
    let folder = Folder::new("accounts");
    let ((alice, first), (bob, second)) = (new_key("alice")?, new_key("bob")?);
    let ring = KeyRing::from(ApiKeys::parse(&format!("{first}\n{second}\n"), KeyLimits::default())?);
    let access = AccessPolicy { entry: Entry::Keys(ring), ..AccessPolicy::default() };
    let server = testcard(Limits { record: Some((folder.0.clone(), 1 << 20)), access, ..Limits::default() })?;
    let mut client = server.session(steered().set("api_key", alice.as_str())).await?;
    let (session, _) = walk(&mut client, 2).await?;
    let path = format!("GET /v1/realtime_video/sessions/{session}/recording");
    let asked = async |key: &str| ask(server.address, &path, &[("Authorization", &format!("Bearer {key}"))], b"").await;
    while asked(&alice).await?.status == 404 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ensure!(asked(&alice).await?.status == 200);
    ensure!(asked(&bob).await?.status == 404, "it is not his");
    ensure!(get(server.address, &path).await?.status == 401);
    client.close().await?;
    server.stop()?;
    ensure!(folder.0.join(format!("alice/{session}.causeway")).is_file());
    Ok(())
}

#[tokio::test]
async fn recordings_end_at_their_bound_and_sessions_go_on() -> Result<()> {
    let folder = Folder::new("bounded");
    let server = testcard(Limits { record: Some((folder.0.clone(), 200)), ..Limits::default() })?;
    let mut client = server.session(steered().size(64, 48)).await?;
    let (session, _) = walk(&mut client, 5).await?;
    client.close().await?;
    server.stop()?;
    let bytes = std::fs::read(folder.0.join(format!("{session}.causeway")))?;
    ensure!(!bytes.is_empty() && bytes.len() <= 200, "{} bytes", bytes.len());
    let (_, mut chunks) = pipeline::recording::read(&bytes)?;
    ensure!(chunks.all(|chunk| chunk.is_ok()), "what is there is whole");
    Ok(())
}

#[test]
fn another_world_does_not_draw_a_recording() -> Result<()> {
    let folder = Folder::new("foreign");
    std::fs::create_dir_all(&folder.0)?;
    let world = Testcard::new(Duration::ZERO);
    let origin = pipeline::world::Origin { weights: "0123".to_owned(), ..world.origin() };
    let init = pipeline::world::WarmUp::init(world.card());
    let bytes = [
        pipeline::recording::encode_init(&init, Some(&origin))?,
        pipeline::recording::encode_chunk(&pipeline::world::ChunkInput::default())?,
    ];
    let file = folder.0.join("other.causeway");
    std::fs::write(&file, bytes.concat())?;
    let error = format!("{:#}", again(&file, None).expect_err("another world"));
    ensure!(error.contains("was drawn by testcard (weights 0123") && error.contains("another video"), "{error}");
    Ok(())
}
