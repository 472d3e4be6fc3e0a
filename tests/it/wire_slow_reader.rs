//! A client may read as slowly as it must: it is dropped for reading nothing, not for a message that takes long.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use server::Limits;
use tests::client::Client;
use tests::puppet::Puppet;
use tests::shaper::{Shape, Shaper};
use tests::{Server, small};

/// One message of 12 frames of 640x360 is 8.3 MB: over this line it takes five times the deadline.
#[tokio::test]
async fn a_client_that_takes_long_for_one_large_message_gets_it() -> Result<()> {
    let deadline = Duration::from_millis(800);
    let limits = Limits { write_deadline: deadline, ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::default(), limits)?;
    let down = Shape { bytes_per_second: Some(2_000_000), ..Shape::default() };
    let line = Shaper::before(server.address, Shape::default(), down, 1).await?;
    let mut client = Client::connect(&line.url()).await?;
    client.send(small().size(640, 360).max_chunks(2)).await?;
    client.chunk().await?;
    let began = Instant::now();
    let chunk = client.chunk().await?;
    ensure!(chunk.batches.len() == 1 || chunk.batches.iter().any(|batch| batch.payload.len() > 2_000_000));
    ensure!(began.elapsed() > 2 * deadline, "{:?} for a chunk", began.elapsed());
    ensure!(client.closed().await?.reason == "generation complete");
    Ok(())
}

/// Nothing at all for longer than the deadline.
#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_a_message_is_dropped() -> Result<()> {
    let limits = Limits { write_deadline: Duration::from_millis(300), ..Limits::default() };
    let (server, mut strings) = Server::limited(Puppet::default(), limits)?;
    let down = Shape { stall: Some((1_000_000, Duration::from_secs(3600))), ..Shape::default() };
    let line = Shaper::before(server.address, Shape::default(), down, 1).await?;
    let mut client = Client::connect(&line.url()).await?;
    client.send(small().size(640, 360)).await?;
    ensure!(strings.dropped().await? == 0);
    Ok(())
}
