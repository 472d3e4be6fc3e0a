//! A hundred times in a row: clients that leave in the middle of a clip or of their request, half-closed connections, jobs
//! that are deleted while they are drawn. Afterwards the device is idle, and memory is free.
//!
//! The server has memory for one clip and no more, so a clip whose memory did not come back would keep all others waiting.

use anyhow::{Context, Result, ensure};
use pipeline::testcard::Testcard;
use pipeline::world::{ChunkInput, ClipAsk, Init, Size, World};
use serde_json::json;
use server::Limits;
use std::time::Duration;
use tests::Server;
use tests::openai::{get, job, path, post, send};
use tokio::io::AsyncWriteExt;

const CYCLES: u64 = 100;
/// Longer than all of a hundred cycles, however busy the machine is.
const WITHIN: Duration = Duration::from_secs(50);

/// Thirty seconds of video: far more than is drawn before it ends.
fn long() -> serde_json::Value {
    json!({ "prompt": "a", "size": "64x48", "num_frames": 481 })
}

/// A server whose chunks take 2 ms, with memory for one long clip.
async fn tight() -> Result<Server> {
    let load = || Box::new(|| Ok(Box::new(Testcard::new(Duration::from_millis(2))) as Box<dyn World>));
    let (_server, mut engine) = Server::with_engine(load(), Limits::default())?;
    engine.card.wait_for(Option::is_some).await?;
    let card = engine.card.borrow().clone().context("the test card is loaded")?;
    let (sink, window) = card.choose_window(None, None)?;
    let size = Size { width: 64, height: 48 };
    let init = Init {
        prompt: "a".into(),
        first_frame: None,
        size,
        seed: 42,
        sink,
        window,
        first_chunk: None,
        condition_frames: None,
    };
    let inputs = vec![ChunkInput::default(); card.chunking().count_for(481)];
    let ticket = engine.ask_clip(ClipAsk::new(init, 481, inputs)).map_err(|refused| anyhow::anyhow!("{refused}"))?;
    Server::start(load(), Limits { memory_bytes: ticket.bytes(), ..Limits::default() })
}

/// The moments at which clients leave: from before the clip's turn to some chunks into it.
async fn a_moment(cycle: u64) {
    tokio::time::sleep(Duration::from_millis(cycle * 7 % 23)).await;
}

/// The device is idle, nothing waits, and a clip as large as those before is drawn at once.
async fn idle(server: &Server) -> Result<()> {
    loop {
        let info = get(server.address, "GET /server_info").await?.expect(200)?;
        if info["jobs"]["running"] == 0 && info["jobs"]["waiting"] == 0 {
            break;
        }
    }
    let drawn = post(server.address, "/v1/videos/sync", long()).await?;
    ensure!(drawn.status == 200, "{drawn:?}");
    let info = get(server.address, "GET /server_info").await?.expect(200)?;
    ensure!(info["jobs"]["kept"] == 0, "{info}");
    Ok(())
}

#[tokio::test]
async fn a_hundred_clients_that_leave_mid_clip_leave_the_device_idle() -> Result<()> {
    let server = tight().await?;
    let cycles = async {
        for cycle in 0..CYCLES {
            let body = long().to_string();
            let mut asked = send(server.address, "POST /v1/videos/sync", &[], body.as_bytes()).await?;
            a_moment(cycle).await;
            // Every other one only closes its side, and looks at what comes.
            if cycle % 2 == 0 {
                asked.stream.shutdown().await?;
                a_moment(cycle).await;
            }
            drop(asked);
        }
        idle(&server).await
    };
    tokio::time::timeout(WITHIN, cycles).await.context("the device was not let go")?
}

#[tokio::test]
async fn a_hundred_clients_that_leave_mid_upload_leave_nothing() -> Result<()> {
    let server = tight().await?;
    let cycles = async {
        for cycle in 0..CYCLES {
            let body = long().to_string();
            let mut stream = tokio::net::TcpStream::connect(server.address).await?;
            let head = format!(
                "POST /v1/videos HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
                server.address,
                body.len() + 1
            );
            stream.write_all(head.as_bytes()).await?;
            // All but the last byte at most: it never becomes a request.
            stream.write_all(&body.as_bytes()[..body.len() * (cycle as usize % 10) / 9]).await?;
            a_moment(cycle).await;
        }
        let listed = get(server.address, "GET /v1/videos").await?.expect(200)?;
        ensure!(listed["data"] == json!([]), "{listed}");
        idle(&server).await
    };
    tokio::time::timeout(WITHIN, cycles).await.context("the server was not let go")?
}

#[tokio::test]
async fn a_hundred_jobs_that_are_deleted_while_they_are_drawn_leave_the_device_idle() -> Result<()> {
    let server = tight().await?;
    let cycles = async {
        for cycle in 0..CYCLES {
            let job = job(&server, long()).await?;
            a_moment(cycle).await;
            let deleted = tests::openai::ask(server.address, &format!("DELETE {}", path(&job, "")), &[], b"").await?;
            ensure!(deleted.expect(200)?["deleted"] == true, "{deleted:?}");
        }
        let listed = get(server.address, "GET /v1/videos").await?.expect(200)?;
        ensure!(listed["data"] == json!([]), "{listed}");
        idle(&server).await
    };
    tokio::time::timeout(WITHIN, cycles).await.context("the device was not let go")?
}
