//! A hundred times in a row: clients that leave in the middle of a clip or of their request, half-closed connections, jobs
//! that are deleted while they are drawn, a store that is full, a server that is stopped. Afterwards the device is idle, and
//! memory is free.
//!
//! The server has memory for one clip and no more, so a clip whose memory did not come back would keep all others waiting.

use anyhow::{Context, Result, ensure};
use pipeline::testcard::Testcard;
use pipeline::world::{ChunkInput, ClipAsk, Init, Size, World};
use serde_json::json;
use server::{JobLimits, Limits};
use stats_alloc::Region;
use std::time::Duration;
use tests::Server;
use tests::openai::{get, job, path, post, send, until};
use tokio::io::AsyncWriteExt;

use crate::memory::COUNTED;

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

/// Cycles after which caches, pools and tables have their size.
const WARM: u64 = 20;

/// Bytes that may be held more after a hundred cycles than after the first ones: 2 % of what one clip needs.
const GROWTH_MAX: i64 = 256 << 10;

/// Bytes that this process has allocated since `region` began, and not freed.
fn held(region: &Region<'_, std::alloc::System>) -> i64 {
    let change = region.change();
    change.bytes_allocated as i64 - change.bytes_deallocated as i64
}

#[tokio::test]
async fn a_hundred_times_the_store_is_full_and_room_again_and_memory_is_where_it_was() -> Result<()> {
    // A job needs 72 KiB of pixels / 8 and its first frame, 9 KiB: room for one, and not for a second beside its file.
    let small = || json!({ "prompt": "a", "size": "64x48", "num_frames": 9 });
    let jobs = JobLimits { bytes: 20_000, ..JobLimits::default() };
    let load = Box::new(|| Ok(Box::new(Testcard::new(Duration::ZERO)) as Box<dyn World>));
    let server = Server::start(load, Limits { jobs, ..Limits::default() })?;
    let cycles = async {
        let mut region = Region::new(COUNTED);
        for cycle in 0..CYCLES {
            if cycle == WARM {
                region = Region::new(COUNTED);
            }
            let kept = job(&server, small()).await?;
            until(&server, &kept, "completed").await?;
            let refused = post(server.address, "/v1/videos", small()).await?;
            refused.error(429)?;
            ensure!(refused.json()?["error"]["code"] == "storage_full" && refused.header("retry-after").is_some());
            // A client that waits keeps nothing here.
            ensure!(post(server.address, "/v1/videos/sync", small()).await?.status == 200);
            get(server.address, &format!("DELETE {}", path(&kept, ""))).await?.expect(200)?;
        }
        let info = get(server.address, "GET /server_info").await?.expect(200)?;
        ensure!(info["jobs"] == json!({ "running": 0, "waiting": 0, "kept": 0 }), "{info}");
        ensure!(info["memory_bytes_used"] == 0, "{info}");
        let grown = held(&region);
        ensure!(grown < GROWTH_MAX, "{grown} bytes more are held");
        Ok(())
    };
    tokio::time::timeout(WITHIN, cycles).await.context("the store was not let go")?
}

/// A drain, as SIGTERM begins it, while a client waits for its clip. `server/tests/process.rs` sends the signal itself.
#[tokio::test]
async fn a_hundred_servers_that_are_stopped_during_a_sync_clip_tell_its_client_and_leave_nothing() -> Result<()> {
    let mut region = Region::new(COUNTED);
    let mut answered = [0, 0];
    for cycle in 0..CYCLES {
        if cycle == WARM {
            region = Region::new(COUNTED);
        }
        let load = Box::new(|| Ok(Box::new(Testcard::new(Duration::from_millis(2))) as Box<dyn World>));
        // Every other one has too little time to finish a clip of 16 chunks.
        let drain = Duration::from_millis(if cycle % 2 == 0 { 10_000 } else { 5 });
        let server = Server::start(load, Limits { drain, ..Limits::default() })?;
        let body = json!({ "prompt": "a", "size": "64x48", "num_frames": 181 }).to_string();
        let asked = send(server.address, "POST /v1/videos/sync", &[], body.as_bytes()).await?;
        while get(server.address, "GET /server_info").await?.expect(200)?["jobs"]["running"] == 0 {}
        a_moment(cycle).await;
        server.drain();
        let answer = asked.answer().await?;
        match answer.status {
            200 => answered[0] += 1,
            503 => {
                answered[1] += 1;
                ensure!(answer.json()?["error"]["code"] == "draining", "{answer:?}");
            }
            _ => anyhow::bail!("{answer:?}"),
        }
        // An error would say that the engine, or the listener, did not end.
        server.ended()?;
    }
    let [finished, told] = answered;
    ensure!(finished >= CYCLES / 2 && told > 0, "{finished} were finished, {told} were told");
    let grown = held(&region);
    ensure!(grown < GROWTH_MAX, "{grown} bytes more are held");
    Ok(())
}
