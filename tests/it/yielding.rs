//! A session whose client rests gives its place to one that waits, and its client can come back.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use pipeline::world::Size;
use server::Limits;
use server::realtime::session::Stay;
use tests::client::Client;
use tests::message::{Close, Event, Init, Message, resume};
use tests::puppet::{Puppet, Seen, Strings, in_flight_bytes};
use tests::{Server, small};
use tokio::sync::oneshot;

const YIELDS_AFTER: Duration = Duration::from_millis(150);

/// One place, which a client may keep only for a moment while it rests.
fn one_place(memory_bytes: u64) -> Limits {
    let limits = Limits::default();
    let stay = Stay { yield_after: Some(YIELDS_AFTER), ..limits.stay };
    Limits { sessions: 1, stay, memory_bytes, busy_wait: Duration::from_secs(20), ..limits }
}

/// A puppet's rollout of the smallest size, and its frames.
const ROLLOUT_BYTES: u64 = 16 * 16 + in_flight_bytes(Size { width: 16, height: 16 });

fn serve(memory_bytes: u64) -> Result<(Server, Strings)> {
    Server::limited(Puppet::taking(Duration::from_millis(5)), one_place(memory_bytes))
}

/// Chunks, and then the close that says whose the place is now. The last chunk that came.
async fn gives_way(client: &mut Client) -> Result<Option<u64>> {
    let mut last = None;
    loop {
        match client.next().await? {
            Message::Stats(stats) => last = Some(stats.chunk_index),
            Message::Closed(close) => {
                let reason = "session idle: its place went to a client that waited".into();
                ensure!(close == Close { code: 1000, reason }, "{close:?}");
                return Ok(last);
            }
            Message::Error(error) => bail!("{error}"),
            _ => {}
        }
    }
}

/// On a new connection, and told to wait.
async fn back(server: &Server, token: &str, last: Option<u64>) -> Result<Client> {
    let mut back = server.connect().await?;
    back.send(resume(token, last)).await?;
    ensure!(back.standing().await?.position == 1);
    Ok(back)
}

#[tokio::test]
async fn a_client_that_waits_gets_the_place_of_one_that_does_not_steer() -> Result<()> {
    let (server, _strings) = serve(1 << 20)?;
    let mut resting = server.session(small().set("prompt", "rests")).await?;
    resting.chunk().await?;
    let mut waiting = server.session(small()).await?;
    gives_way(&mut resting).await?;
    ensure!(waiting.chunk().await?.stats.chunk_index == 0);
    Ok(())
}

#[tokio::test]
async fn a_client_that_holds_a_key_keeps_its_place() -> Result<()> {
    let limits = Limits { busy_wait: 4 * YIELDS_AFTER, ..one_place(1 << 20) };
    let (server, _strings) = Server::limited(Puppet::taking(Duration::from_millis(5)), limits)?;
    let mut walking = server.session(small()).await?;
    walking.send(Event::hold("w")).await?;
    walking.chunk().await?;
    let waits = tokio::spawn({
        let session = server.session(small()).await?;
        async move {
            let mut session = session;
            session.error().await
        }
    });
    while !waits.is_finished() {
        walking.chunk().await?;
    }
    let error = waits.await??;
    ensure!(error.content == "another realtime session is already active", "{error}");
    walking.chunk().await?;
    Ok(())
}

#[tokio::test]
async fn a_client_that_rests_keeps_its_place_while_nobody_waits() -> Result<()> {
    let (server, _strings) = serve(1 << 20)?;
    let mut resting = server.session(small().features(["pause"])).await?;
    resting.chunk().await?;
    resting.send(Event::pause()).await?;
    tokio::time::sleep(3 * YIELDS_AFTER).await;
    resting.send(Event::resume()).await?;
    for _ in 0..4 {
        resting.chunk().await?;
    }
    Ok(())
}

fn lasting() -> Init {
    small().features(["session", "queue", "pause"])
}

#[tokio::test]
async fn a_client_that_comes_back_waits_for_a_place_and_goes_on_with_its_rollout() -> Result<()> {
    let (server, mut strings) = serve(1 << 20)?;
    let mut resting = server.session(lasting()).await?;
    let token = resting.hello().await?.resume_token;
    resting.chunk().await?;
    resting.send(Event::pause()).await?;
    let mut other = server.session(small()).await?;
    let last = gives_way(&mut resting).await?;
    other.chunk().await?;

    let mut back = back(&server, &token, last).await?;
    // It may say what it wants meanwhile.
    back.send(Event::resume()).await?;
    other.close().await?;
    let hello = back.hello().await?;
    let next = last.map_or(0, |last| last + 1);
    ensure!(hello.next_chunk == next && hello.resume_token == token, "{hello:?}");
    ensure!(back.chunk().await?.stats.chunk_index == next);
    let opened = strings.so_far().iter().filter(|seen| matches!(seen, Seen::Opened { .. })).count();
    ensure!(opened == 2, "{opened} rollouts for two videos");
    Ok(())
}

#[tokio::test]
async fn a_client_that_comes_back_and_finds_no_place_may_come_again() -> Result<()> {
    let limits = Limits { queue_wait: Duration::from_millis(400), ..one_place(1 << 20) };
    let (server, _strings) = Server::limited(Puppet::taking(Duration::from_millis(5)), limits)?;
    let mut resting = server.session(lasting()).await?;
    let token = resting.hello().await?.resume_token;
    resting.send(Event::pause()).await?;
    let mut other = server.session(small()).await?;
    let last = gives_way(&mut resting).await?;
    other.send(Event::hold("w")).await?;
    // It must read on, or no chunk is drawn in which it moves.
    let (stop, mut stopped) = oneshot::channel::<()>();
    let walks = tokio::spawn(async move {
        loop {
            tokio::select! {
                chunk = other.chunk() => drop(chunk?),
                _ = &mut stopped => return other.close().await,
            }
        }
    });
    for _ in 0..2 {
        let error = back(&server, &token, last).await?.error().await?;
        ensure!(error.content == "another realtime session is already active", "{error}");
    }
    let mut third = back(&server, &token, last).await?;
    drop(stop);
    walks.await??;
    ensure!(third.hello().await?.resume_token == token);
    Ok(())
}

#[tokio::test]
async fn a_rollout_that_waits_for_its_client_goes_when_its_memory_is_needed() -> Result<()> {
    let (server, mut strings) = serve(ROLLOUT_BYTES)?;
    let mut resting = server.session(lasting()).await?;
    let token = resting.hello().await?.resume_token;
    resting.chunk().await?;
    let mut other = server.session(small()).await?;
    let last = gives_way(&mut resting).await?;
    ensure!(strings.dropped().await? == 0, "the first rollout goes");
    other.chunk().await?;
    let mut back = server.connect().await?;
    back.send(resume(&token, last)).await?;
    let error = back.error().await?;
    ensure!(error.content == "invalid resume request", "{error}");
    Ok(())
}
