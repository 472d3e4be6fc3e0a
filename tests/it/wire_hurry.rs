//! A key that a person waits for: its chunk has fewer steps, and one that is being denoised is begun again with it, as long
//! as nobody else needs the device.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pipeline::testcard::{Testcard, read};
use pipeline::world::{Card, Picture, Size, World};
use server::Limits;
use tests::message::Event;
use tests::puppet::{Puppet, Seen, Strings, held};
use tests::raw::Raw;
use tests::{Server, small};
use tokio::time::sleep;

const QUICK: usize = 2;

/// A world on strings whose chunks may be quick.
fn quick() -> Puppet {
    let puppet = Puppet::on_strings();
    Puppet { card: Card { quick_steps: Some(QUICK), ..puppet.card }, ..puppet }
}

/// The next chunk that begins, and whether one was given up before it: its number, its keys, its steps.
async fn next(strings: &mut Strings) -> Result<(bool, usize, Option<String>, Option<usize>)> {
    let mut given_up = false;
    loop {
        match strings.next().await? {
            Seen::Cancelled { .. } => given_up = true,
            Seen::Began { plan, input, .. } => return Ok((given_up, plan.index, held(&input), input.steps)),
            _ => {}
        }
    }
}

/// Enough for an event to come and be obeyed, if it is to be.
const A_WHILE: Duration = Duration::from_millis(300);

/// C120, of a paced session
#[tokio::test]
async fn a_key_in_the_middle_of_a_chunk_begins_it_again_in_fewer_steps_and_every_second_chunk_at_most() -> Result<()> {
    let (server, mut strings) = Server::with(quick())?;
    let mut client = server.session(small().paced(16)).await?;
    let words = |keys: &str| Some([keys; 3].join(" "));
    ensure!(next(&mut strings).await? == (false, 0, None, None));
    strings.allow(1);
    client.chunk().await?;

    ensure!(next(&mut strings).await? == (false, 1, None, None), "nobody waits for it");
    client.send(Event::hold("w").id(1)).await?;
    ensure!(next(&mut strings).await? == (true, 1, words("w"), Some(QUICK)));
    // Once a chunk: the next key waits for the next one, whose steps are as usual.
    client.send(Event::hold("d").id(2)).await?;
    sleep(A_WHILE).await;
    strings.allow(1);
    let chunk = client.chunk().await?;
    ensure!((chunk.stats.chunk_index, chunk.stats.event_id) == (1, Some(1)), "{:?}", chunk.stats);
    ensure!(next(&mut strings).await? == (false, 2, words("d"), None));
    client.send(Event::hold("s").id(3)).await?;
    sleep(A_WHILE).await;
    strings.allow(1);
    ensure!(client.chunk().await?.stats.event_id == Some(2));
    ensure!(next(&mut strings).await? == (false, 3, words("s"), Some(QUICK)), "it begins with the key");
    let (_, page) = Raw::get(server.address, "/metrics").await?;
    ensure!(page.contains("\ncauseway_chunks_begun_again_total 1\n"), "{page}");
    ensure!(page.contains("\ncauseway_quick_chunks_total 1\n"), "{page}");
    Ok(())
}

/// C119, where another session waits
#[tokio::test]
async fn a_key_takes_no_time_of_another_session() -> Result<()> {
    let (server, mut strings) = Server::with(quick())?;
    let mut client = server.session(small().paced(16)).await?;
    next(&mut strings).await?;
    strings.allow(1);
    client.chunk().await?;
    ensure!(next(&mut strings).await? == (false, 1, None, None));
    // It waits for its opening from here on.
    let mut other = server.session(small()).await?;
    sleep(A_WHILE).await;
    client.send(Event::hold("w").id(1)).await?;
    sleep(A_WHILE).await;
    ensure!(!strings.so_far().iter().any(|seen| matches!(seen, Seen::Cancelled { .. })));
    strings.allow(100);
    ensure!(other.chunk().await?.stats.chunk_index == 0);
    let chunk = client.chunk().await?;
    ensure!((chunk.stats.chunk_index, chunk.stats.event_id) == (1, None), "{:?}", chunk.stats);
    Ok(())
}

/// C120, of a free session
#[tokio::test]
async fn a_chunk_of_a_free_session_is_neither_begun_again_nor_quick() -> Result<()> {
    let (server, mut strings) = Server::with(quick())?;
    let mut client = server.session(small()).await?;
    next(&mut strings).await?;
    strings.allow(1);
    client.chunk().await?;
    ensure!(next(&mut strings).await? == (false, 1, None, None));
    client.send(Event::hold("w").id(1)).await?;
    sleep(A_WHILE).await;
    strings.allow(1);
    let (given_up, chunk, keys, steps) = next(&mut strings).await?;
    ensure!((given_up, chunk, keys.is_some(), steps) == (false, 2, true, None));
    Ok(())
}

/// C119. The chunk is drawn in 1.5 s of its 3, and can be begun again in the first third of that.
#[tokio::test]
async fn a_key_in_the_middle_of_a_chunk_is_in_the_pictures_of_that_chunk() -> Result<()> {
    let drawing = Duration::from_millis(1500);
    let card = move || Ok(Box::new(Testcard::new(drawing).with_quick(QUICK, drawing / 3)) as Box<dyn World>);
    let server = Server::start(Box::new(card), Limits::default())?;
    let size = Size { width: 128, height: 96 };
    let mut client = server.session(small().size(size.width, size.height).paced(4)).await?;
    client.chunk().await?;
    // Nine frames are shown for 2250 ms, so the next chunk begins 740 ms after them.
    sleep(Duration::from_millis(740 + 250)).await;
    client.send(Event::hold("w").id(1)).await?;
    let chunk = client.chunk().await?;
    ensure!((chunk.stats.chunk_index, chunk.stats.event_id) == (1, Some(1)), "{:?}", chunk.stats);
    for frame in chunk.frames() {
        let reading = read(&Picture { size, rgb: frame.to_vec() }).context("unreadable")?;
        ensure!(reading.held.is_some_and(|held| held.has('w')), "{reading:?}");
    }
    Ok(())
}
