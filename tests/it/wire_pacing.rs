//! When chunks come: without pacing as fast as they are made, with pacing as they are shown, and never far ahead of the
//! reader.
//!
//! These tests look at a clock. They allow for a busy machine by what they compare: nothing comes early, and a delay is
//! smaller than the difference that a test looks for.

use crate::memory::COUNTED;
use anyhow::{Result, ensure};
use server::Limits;
use stats_alloc::Region;
use std::time::{Duration, Instant};
use tests::bystander::Bystander;
use tests::message::{Event, Message};
use tests::puppet::{Puppet, Seen};
use tests::{Server, small};

/// C50
#[tokio::test]
async fn without_pacing_chunks_come_as_fast_as_they_are_made() -> Result<()> {
    let chunk_time = Duration::from_millis(60);
    let (server, _strings) = Server::with(Puppet::taking(chunk_time))?;
    // At this rate a paced session would take 1.2 s a chunk.
    let mut client = server.session(small().set("fps", 10)).await?;
    client.chunk().await?;
    let from = Instant::now();
    for _ in 0..8 {
        client.chunk().await?;
    }
    let took = from.elapsed();
    // The first of them may have been done already.
    ensure!(took >= 7 * chunk_time && took < 8 * 4 * chunk_time, "8 chunks of {chunk_time:?} in {took:?}");
    Ok(())
}

/// C51
#[tokio::test]
async fn with_pacing_a_chunk_comes_when_the_one_before_has_been_shown() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::taking(Duration::from_millis(30)))?;
    let mut client = server.session(small().paced(15)).await?;
    let first = client.chunk().await?;
    ensure!(first.stats.pace_wait_ms == 0, "the first chunk waited {} ms", first.stats.pace_wait_ms);
    let from = Instant::now();
    // Nine frames are shown, then twelve, then twelve.
    for due_ms in [600, 1400, 2200] {
        let chunk = client.chunk().await?;
        let at = from.elapsed();
        // A third of a chunk: what scheduling may take off or add between two clocks.
        ensure!(at >= Duration::from_millis(due_ms - 250), "chunk {} after {at:?}", chunk.stats.chunk_index);
        ensure!(at < Duration::from_millis(due_ms + 400), "chunk {} only after {at:?}", chunk.stats.chunk_index);
        ensure!(chunk.stats.pace_wait_ms > 0, "chunk {} says it did not wait", chunk.stats.chunk_index);
    }
    Ok(())
}

/// C52
#[tokio::test]
async fn a_chunk_that_carries_a_new_event_does_not_wait_and_the_next_does() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    // 1.8 s for the first chunk's frames, 2.4 s for any other's.
    let mut client = server.session(small().paced(5)).await?;
    client.chunk().await?;
    client.send(Event::hold("w").id(1)).await?;
    let mut from = Instant::now();
    let answer = loop {
        let chunk = client.chunk().await?;
        if chunk.stats.event_id == Some(1) {
            break chunk;
        }
        // The chunk that was already drawn when the key was pressed may have had to wait; the next must not.
        ensure!(chunk.stats.chunk_index == 1, "no answer within a chunk");
        from = Instant::now();
    };
    let took = from.elapsed();
    ensure!(took < Duration::from_millis(1200), "the answer came after {took:?}");
    ensure!(answer.stats.pace_wait_ms == 0, "the answer waited {} ms", answer.stats.pace_wait_ms);
    let from = Instant::now();
    let next = client.chunk().await?;
    ensure!(next.stats.event_id == Some(1) && next.stats.pace_wait_ms > 1200, "{:?}", next.stats);
    ensure!(from.elapsed() > Duration::from_millis(1200), "the next came after {:?}", from.elapsed());
    Ok(())
}

/// C53. Memory is the allocator's count, of this process: the server runs in it, and what the client has not read is the
/// kernel's.
#[tokio::test]
async fn a_client_that_reads_slowly_is_drawn_and_kept_no_more_than_two_chunks_ahead_and_misses_none() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::taking(Duration::from_millis(2)))?;
    let region = Region::new(COUNTED);
    let held = || {
        let change = region.change();
        (change.bytes_allocated as u64).wrapping_sub(change.bytes_deallocated as u64) as i64
    };
    // 11 MB in the first chunk and 14 in every other: more than a socket swallows.
    let mut slow = server.session(small().size(832, 480)).await?;
    loop {
        if let Seen::Began { plan, .. } = strings.next().await?
            && plan.index == 1
        {
            break;
        }
    }
    // The world would have drawn dozens of chunks by the time somebody else has been served some.
    let mut bystander = Bystander::on(&server).await?;
    let mut most_held = 0;
    while bystander.chunks() < 30 {
        bystander.goes_on().await?;
        most_held = most_held.max(held());
    }
    // Those two, and one picture's worth or two of what is neither theirs nor ours to count.
    let chunk_bytes = 12 * 832 * 480 * 3;
    ensure!(most_held < 2 * chunk_bytes + 3_000_000, "{most_held} bytes are held for who reads nothing");
    let ahead = strings.so_far().into_iter().filter_map(|seen| match seen {
        Seen::Began { rollout: 0, plan, .. } => Some(plan.index),
        _ => None,
    });
    let ahead = ahead.max().unwrap_or(1);
    // Chunk 0 is being written, so it is not yet sent, and 1 waits behind it: 2 is the first that must not have begun
    // before some of 0 was read. A kernel that took all of 0 into its buffers makes it 2.
    ensure!(ahead <= 2, "chunk {ahead} was begun before any was read");
    for index in 0..5 {
        ensure!(slow.chunk().await?.stats.chunk_index == index);
    }
    Ok(())
}

/// C54. The reference then drops the connection; here it is closed, and says why.
#[tokio::test]
async fn when_a_chunk_fails_the_one_before_it_is_sent_whole_and_then_the_error() -> Result<()> {
    let puppet = Puppet { fails: Some((1, "the well is dry".into())), ..Puppet::taking(Duration::from_millis(2)) };
    let (server, mut strings) = Server::with(puppet)?;
    let mut client = server.session(small().size(832, 480)).await?;
    // It has failed before the client reads the first byte of the chunk that was good.
    strings.dropped().await?;
    client.chunk().await?;
    let Message::Error(error) = client.next().await? else { anyhow::bail!("not an error") };
    ensure!(error.content.starts_with("error during generate loop: "), "{error}");
    ensure!(error.content.contains("the well is dry"), "{error}");
    let Message::Closed(close) = client.next().await? else { anyhow::bail!("not closed") };
    ensure!(close.code == 1011, "{close:?}");
    Ok(())
}

/// The reference's handler itself crashes on it.
#[tokio::test]
async fn a_failure_without_words_is_told_all_the_same() -> Result<()> {
    let (server, _strings) = Server::with(Puppet { fails: Some((0, String::new())), ..Puppet::default() })?;
    let mut client = server.session(small()).await?;
    ensure!(client.error().await?.content.starts_with("error during generate loop: "));
    let close = client.closed().await?;
    ensure!(close.code == 1011 && !close.reason.is_empty(), "{close:?}");
    Ok(())
}

#[tokio::test]
async fn a_session_that_fails_does_not_disturb_another() -> Result<()> {
    let puppet = Puppet { fails: Some((40, "the well is dry".into())), ..Puppet::taking(Duration::from_millis(3)) };
    let (server, _strings) = Server::with(puppet)?;
    let mut failing = server.session(small()).await?;
    while failing.chunk().await.is_ok_and(|chunk| chunk.stats.chunk_index < 20) {}
    // This one began twenty chunks later, so it goes on when the first has failed.
    let mut bystander = Bystander::on(&server).await?;
    ensure!(failing.closed_after_error().await?.code == 1011);
    bystander.goes_on().await
}

/// The other half of C53, and what the reference cannot do: its only seat is held for as long as the client likes.
#[tokio::test]
async fn a_client_that_stops_reading_is_dropped_after_the_write_deadline() -> Result<()> {
    let limits = Limits { write_deadline: Duration::from_millis(300), ..Limits::default() };
    let (server, mut strings) = Server::limited(Puppet::taking(Duration::from_millis(2)), limits)?;
    let stalled = server.session(small().size(832, 480)).await?;
    strings.opened().await?;
    let from = Instant::now();
    let mut bystander = Bystander::on(&server).await?;
    ensure!(strings.dropped().await? == 0, "the bystander was dropped");
    // The keep-alive would end it too, but only after forty seconds.
    ensure!(from.elapsed() < Duration::from_secs(10), "dropped only after {:?}", from.elapsed());
    bystander.goes_on().await?;
    drop(stalled);
    Ok(())
}
