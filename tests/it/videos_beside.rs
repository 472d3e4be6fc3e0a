//! Jobs beside sessions on one device, over sockets: nobody waits longer than promised. Lines V088 to V091 of the list.
//!
//! The same is proved to the millisecond, with the time passed in, by the tests of the scheduler and of admission. Here
//! clocks are real and the machine may be busy, so a bound is broken only by a whole piece more.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pipeline::world::Size;
use serde_json::{Value, json};
use server::Limits;
use tests::client::Client;
use tests::message::Init;
use tests::openai::{get, job, look, post, until};
use tests::puppet::{Pace, Puppet, picture};
use tests::{Server, small};

/// 12 frames at 16 a second.
const CHUNK_SHOWN: Duration = Duration::from_millis(750);

/// What a busy machine may add to a gap. Less than a piece of the jobs here.
const JITTER: Duration = Duration::from_millis(240);

/// The frames of sessions.
const SESSION: Size = Size { width: 64, height: 48 };

/// Chunks of a clip whose frames have twenty times as many pixels.
fn clip(chunks: u64) -> Value {
    json!({ "prompt": "a", "size": "320x192", "num_frames": 12 * chunks - 3 })
}

/// A server whose chunks of 64x48 take so long.
fn server(session_chunk: Duration) -> Result<Server> {
    let pace = Pace::TakesAPixel(session_chunk / SESSION.pixels() as u32);
    // How much of the device's time they may need is not what is looked at here, and a busy machine takes more.
    Ok(Server::limited(Puppet { pace, ..Puppet::default() }, Limits { load: 10.0, ..Limits::default() })?.0)
}

fn init(chunks: u64) -> Init {
    small().size(SESSION.width, SESSION.height).max_chunks(chunks)
}

/// Read a session to its end: when each chunk had come whole. Each must be the one that is drawn without a job.
async fn read(mut client: Client, chunks: usize) -> Result<Vec<Instant>> {
    let mut came = Vec::new();
    for index in 0..chunks {
        let chunk = client.chunk().await?;
        let frames: Vec<u8> = chunk.frames().concat();
        let count = if index == 0 { 9 } else { 12 };
        ensure!(frames == picture(SESSION, index, 0..count), "another chunk {index}");
        came.push(Instant::now());
    }
    Ok(came)
}

fn longest_gap(came: &[Instant]) -> Duration {
    came.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// Read a session that never ends: what goes wrong, or that the next chunk came too late.
async fn wrong(mut client: Client, longest: Duration) -> anyhow::Error {
    loop {
        let began = Instant::now();
        if let Err(error) = client.chunk().await {
            return error;
        }
        if began.elapsed() > longest {
            return anyhow::anyhow!("a gap of {:?}", began.elapsed());
        }
    }
}

/// V088.
#[tokio::test]
async fn four_paced_sessions_beside_a_job_get_the_same_frames_and_no_gap_is_longer_by_more_than_a_piece() -> Result<()>
{
    // A piece of the clip takes twenty times as long.
    let (session_chunk, piece) = (Duration::from_millis(15), Duration::from_millis(300));
    let server = server(session_chunk)?;
    const CHUNKS: usize = 6;
    // From now on it is known how long a piece takes, so that it is drawn where there is time for it.
    ensure!(post(server.address, "/v1/videos/sync", clip(1)).await?.status == 200);
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let client = server.session(init(CHUNKS as u64).paced(16)).await?;
        sessions.push(tokio::spawn(read(client, CHUNKS)));
    }
    let queued = job(&server, clip(4)).await?;
    for session in sessions {
        let gap = longest_gap(&session.await??);
        ensure!(gap <= CHUNK_SHOWN + piece + JITTER, "a gap of {gap:?}");
    }
    ensure!(look(&server, &queued).await?["progress"] != 0, "it waited until they were gone");
    until(&server, &queued, "completed").await?;
    Ok(())
}

/// V089.
#[tokio::test]
async fn a_free_running_client_and_a_job_both_go_on_and_the_job_finishes() -> Result<()> {
    let (session_chunk, piece) = (Duration::from_millis(15), Duration::from_millis(300));
    let server = server(session_chunk)?;
    let mut client = server.session(init(100_000)).await?;
    client.chunk().await?;
    let began = Instant::now();
    let queued = job(&server, clip(2)).await?;
    let mut came = vec![Instant::now()];
    let completed = until(&server, &queued, "completed");
    let mut completed = std::pin::pin!(completed);
    loop {
        tokio::select! {
            done = &mut completed => {
                done?;
                break;
            }
            chunk = client.chunk() => {
                chunk?;
                came.push(Instant::now());
            }
        }
    }
    // It is opened and drawn in three pieces, one a second; twice as long is allowed.
    let took = began.elapsed();
    ensure!(took >= 2 * piece && took < Duration::from_secs(2 * 3) + JITTER, "{took:?}");
    let gap = longest_gap(&came);
    ensure!(came.len() > 10 && gap <= session_chunk + piece + JITTER, "{} chunks, a gap of {gap:?}", came.len());
    Ok(())
}

/// V090.
#[tokio::test]
async fn on_a_server_full_of_paced_sessions_a_job_makes_a_piece_each_five_seconds() -> Result<()> {
    // Four times 150 of 750 ms, and the rest is shorter than a piece, which has four times the pixels.
    let (session_chunk, piece) = (Duration::from_millis(150), Duration::from_millis(600));
    let server = server(session_chunk)?;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let mut client = server.session(init(100_000).paced(16)).await?;
        client.chunk().await?;
        sessions.push(tokio::spawn(wrong(client, CHUNK_SHOWN + piece + 4 * session_chunk + JITTER)));
    }
    // One chunk. It is opened after five seconds, and drawn after five more.
    let began = Instant::now();
    let one = json!({ "prompt": "a", "size": "128x96", "num_frames": 9 });
    let queued = job(&server, one).await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    ensure!(look(&server, &queued).await?["progress"] == 0, "the sessions lost their time");
    until(&server, &queued, "completed").await?;
    let took = began.elapsed();
    ensure!(took <= Duration::from_secs(2 * 5) + piece + 8 * session_chunk + 2 * JITTER, "{took:?}");
    for session in sessions {
        if session.is_finished() {
            return Err(session.await?);
        }
        session.abort();
    }
    Ok(())
}

/// V091.
#[tokio::test]
async fn a_job_that_does_not_fit_waits_and_sessions_pass_it_but_not_for_ever() -> Result<()> {
    // Bytes of a rollout are a thousand for each pixel; frames on their way are some dozens more.
    let bytes = |width: u64, height: u64| 1000 * width * height;
    let limits = Limits {
        memory_bytes: bytes(40, 30) + bytes(50, 20),
        sessions: 16,
        busy_wait: Duration::ZERO,
        queue_wait: Duration::from_secs(60),
        ..Limits::default()
    };
    let (server, _strings) = Server::limited(Puppet { bytes_per_pixel: 1000, ..Puppet::default() }, limits)?;
    let mut holder = server.session(small().size(40, 30)).await?;
    holder.chunk().await?;
    let used = async || {
        Ok::<_, anyhow::Error>(get(server.address, "GET /server_info").await?.expect(200)?["memory_bytes_used"].clone())
    };
    let held = used().await?;
    let waits = job(&server, json!({ "prompt": "a", "size": "28x40", "num_frames": 9 })).await?;
    let passes = || small().size(40, 20).max_chunks(1);
    for turn in 0..8 {
        let mut session = server.session(passes()).await?;
        session.chunk().await.with_context(|| format!("session {turn} does not pass"))?;
        session.closed().await?;
        let gone = Instant::now() + Duration::from_secs(20);
        while used().await? != held {
            ensure!(Instant::now() < gone, "session {turn} keeps its memory: {} and not {held}", used().await?);
        }
    }
    ensure!(look(&server, &waits).await?["status"] == "queued");
    // The ninth would fit, and is told that others come first.
    let refused = server.session(passes()).await?.error().await?;
    ensure!(refused.code.as_deref() == Some("session_busy"), "{refused:?}");
    let mut patient = server.session(passes().queued()).await?;
    ensure!(patient.standing().await?.position >= 1);
    holder.close().await?;
    until(&server, &waits, "completed").await?;
    patient.chunk().await?;
    Ok(())
}
