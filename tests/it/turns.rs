//! How sessions share the device, as their clients see it: none starves, and none makes a paced session late.
//!
//! Chunks take long here against what a busy machine adds to them, and what is late is late by more than that.

use anyhow::{Context, Result, ensure};
use pipeline::testcard::Testcard;
use pipeline::world::{Cancel, ChunkInput, ChunkPlan, Chunking, ClipAsk, Init, Size, World};
use server::Limits;
use server::engine::clip::ClipPart;
use std::time::{Duration, Instant};
use tests::client::Client;
use tests::puppet::{Pace, Puppet};
use tests::{Server, small};

/// Chunks that each of these gets until all of them have had `enough`.
async fn race(clients: Vec<Client>, enough: u64) -> Result<Vec<u64>> {
    let (count, mut counted) = tokio::sync::mpsc::channel(64);
    let mut chunks = vec![0; clients.len()];
    let mut running = tokio::task::JoinSet::new();
    for (lane, mut client) in clients.into_iter().enumerate() {
        let count = count.clone();
        running.spawn(async move { while count.send((lane, client.chunk().await)).await.is_ok() {} });
    }
    while chunks.iter().any(|&got| got < enough) {
        let (lane, chunk) = counted.recv().await.expect("somebody runs");
        chunk?;
        chunks[lane] += 1;
    }
    Ok(chunks)
}

/// Jain's index: 1 if all have the same, 1/n if one has all.
fn jain(shares: &[u64]) -> f64 {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), &share| {
        let share = share as f64;
        (sum + share, squares + share * share)
    });
    sum * sum / (shares.len() as f64 * squares)
}

#[tokio::test]
async fn four_equal_sessions_get_equal_shares() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::taking(Duration::from_millis(20)))?;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = server.session(small()).await?;
        client.chunk().await?;
        clients.push(client);
    }
    // The first is some chunks ahead before the last has opened: a race so long that they weigh little.
    let chunks = race(clients, 40).await?;
    ensure!(jain(&chunks) >= 0.99, "{chunks:?}");
    Ok(())
}

#[tokio::test]
async fn a_heavy_session_leaves_a_light_one_as_many_chunks_as_it_takes() -> Result<()> {
    // 13 ms for a light chunk, 205 for a heavy one.
    let pace = Pace::TakesAPixel(Duration::from_micros(50));
    let (server, _strings) = Server::with(Puppet { pace, ..Puppet::default() })?;
    let heavy = server.session(small().size(64, 64)).await?;
    let mut light = server.session(small()).await?;
    light.chunk().await?;
    let chunks = race(vec![heavy, light], 10).await?;
    let (heavy, light) = (chunks[0], chunks[1]);
    // The heavy one was there first: two drawn ahead and one more, and the light one's first is not counted.
    ensure!(light + 5 >= heavy, "{light} light chunks, {heavy} heavy ones");
    Ok(())
}

#[tokio::test]
async fn a_paced_session_beside_three_free_ones_has_its_chunks_on_time() -> Result<()> {
    // In turn with the others, a chunk would come every 800 ms.
    let (server, _strings) = Server::with(Puppet::taking(Duration::from_millis(200)))?;
    let period = Duration::from_millis(600);
    let mut free = Vec::new();
    for _ in 0..3 {
        free.push(server.session(small()).await?);
    }
    let beside = tokio::spawn(race(free, 8));
    let mut paced = server.session(small().paced(20)).await?;
    // The pace begins with the second, once it is known how long one takes.
    for _ in 0..2 {
        paced.chunk().await?;
    }
    let mut last = Instant::now();
    let mut late = Vec::new();
    for _ in 0..16 {
        paced.chunk().await?;
        let gap = last.elapsed();
        last += gap;
        if gap > period + period / 4 {
            late.push(gap);
        }
    }
    ensure!(late.is_empty(), "late: {late:?}");
    let free = beside.await??;
    ensure!(free.iter().all(|&chunks| chunks >= 8), "{free:?}");
    Ok(())
}

#[tokio::test]
async fn a_free_session_gets_chunks_of_a_device_that_paced_ones_would_use_up() -> Result<()> {
    // Twice as much as there is, let in by a limit that says so.
    let limits = Limits { load: 100.0, ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::taking(Duration::from_millis(100)), limits)?;
    let mut busy = Vec::new();
    for _ in 0..3 {
        let mut client = server.session(small().paced(240)).await?;
        client.chunk().await?;
        busy.push(client);
    }
    let busy = tokio::spawn(race(busy, u64::MAX));
    let mut free = server.session(small()).await?;
    for _ in 0..3 {
        // One a second; without a turn of its own it waits for minutes.
        tokio::time::timeout(Duration::from_secs(15), free.chunk()).await??;
    }
    ensure!(!busy.is_finished(), "a paced session was disturbed");
    busy.abort();
    Ok(())
}

#[tokio::test]
async fn a_clip_of_200_pieces_moves_no_gap_of_four_paced_sessions_by_more_than_a_piece() -> Result<()> {
    const PIECES: usize = 200;
    let chunk_time = Duration::from_millis(20);
    let load = Box::new(move || Ok(Box::new(Testcard::new(chunk_time)) as Box<dyn World>));
    let (server, mut engine) = Server::with_engine(load, Limits::default())?;
    let period = Duration::from_millis(600);
    let mut watching = Vec::new();
    for _ in 0..4 {
        let mut client = server.session(small().paced(20)).await?;
        // The pace begins with the second, once it is known how long one takes.
        for _ in 0..2 {
            client.chunk().await?;
        }
        watching.push(tokio::spawn(async move {
            let mut sent = vec![Instant::now()];
            while let Ok(chunk) = client.chunk().await {
                ensure!(chunk.stats.num_frames == 12, "a chunk of {} frames", chunk.stats.num_frames);
                sent.push(Instant::now());
            }
            anyhow::Ok(sent)
        }));
    }
    // What the gaps are without a clip, on this machine and now.
    tokio::time::sleep(4 * period).await;
    let began = Instant::now();
    engine.card.wait_for(Option::is_some).await?;
    let card = engine.card.borrow().clone().context("it draws")?;
    let frames = (0..PIECES).map(|index| ChunkPlan::new(index, Chunking::even(card.chunk)).pixel_frames).sum();
    let init = Init {
        prompt: "a meadow".into(),
        first_frame: None,
        size: Size { width: 16, height: 16 },
        seed: 1,
        sink: card.sink,
        window: card.window,
        first_chunk: None,
        condition_frames: None,
    };
    let ask = ClipAsk::new(init, frames, vec![ChunkInput::default(); PIECES]);
    let mut clip =
        engine.ask_clip(ask).map_err(|refused| anyhow::anyhow!("{refused}"))?.begin(Cancel::default()).await?;
    let (mut pieces, mut longest) = (0, Duration::ZERO);
    while let Some(part) = clip.next().await? {
        if let ClipPart::Piece { took, .. } = part {
            pieces += 1;
            longest = longest.max(took);
        }
    }
    let took = began.elapsed();
    ensure!(pieces == PIECES, "{pieces} pieces");
    drop((clip, engine));
    server.stop()?;
    let (mut quiet, mut beside) = (Duration::ZERO, Duration::ZERO);
    for client in watching {
        let sent = client.await??;
        let gaps = || sent.windows(2).map(|pair| (pair[0], pair[1] - pair[0]));
        ensure!(gaps().filter(|(at, _)| *at >= began).count() >= (took.as_millis() / period.as_millis()) as usize - 1);
        for (at, gap) in gaps() {
            let longest = if at + gap < began { &mut quiet } else { &mut beside };
            *longest = gap.max(*longest);
        }
    }
    println!("{PIECES} pieces in {took:?}, the longest {longest:?}; gaps without {quiet:?} and with it {beside:?}");
    // A machine that is busy with other things is late by itself: by a quarter of a period at most, as above.
    ensure!(
        beside <= quiet.max(period) + longest + period / 4,
        "{beside:?}, without it {quiet:?}, a piece {longest:?}"
    );
    Ok(())
}
