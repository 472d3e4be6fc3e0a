//! A session that its client controls while it runs: how frames are sent, and how far ahead of what is shown. C81, C82.

use anyhow::{Result, ensure};
use rmpv::Value;
use tests::message::{Event, map};
use tests::puppet::{Puppet, Seen};
use tests::{Server, small};

fn transport(fields: &[(&str, Value)]) -> Event {
    Event::new("transport", map(fields.iter().map(|(name, value)| (*name, value.clone()))))
}

/// C81
#[tokio::test]
async fn the_transport_changes_with_the_next_chunk() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let mut client = server.session(small().size(64, 48).features(["step", "transport"])).await?;
    client.send(Event::step()).await?;
    ensure!(client.chunk().await?.batches[0].header.encoding == "raw");
    let jpeg = |quality: u8| {
        [("realtime_output_format", Value::from("jpeg")), ("output_compression", quality.into())].to_vec()
    };
    let mut sizes = Vec::new();
    for quality in [30, 95] {
        client.send(transport(&jpeg(quality))).await?;
        client.send(Event::step()).await?;
        let chunk = client.chunk().await?;
        ensure!(chunk.batches.iter().all(|batch| batch.header.encoding == "jpeg"), "the whole chunk");
        sizes.push(chunk.frames().iter().map(|frame| frame.len()).sum::<usize>());
    }
    ensure!(sizes[0] < sizes[1], "{sizes:?} bytes at two qualities");
    let small = [jpeg(50), vec![("realtime_preview_max_width", 32.into())]].concat();
    client.send(transport(&small)).await?;
    client.send(Event::step()).await?;
    let header = client.chunk().await?.batches[0].header.clone();
    ensure!((header.width, header.height, header.source_width) == (32, 24, Some(64)), "{header:?}");
    // A wrong one changes nothing.
    client.send(transport(&[("realtime_output_format", "gif".into())]).id(5)).await?;
    ensure!(client.error().await?.event_id == Some(5));
    client.send(Event::step()).await?;
    ensure!(client.chunk().await?.batches[0].header.width == 32);
    // And nothing is changed for who did not name it.
    let mut other = server.session(tests::small()).await?;
    other.send(transport(&jpeg(50)).id(6)).await?;
    ensure!(other.error().await?.event_id == Some(6));
    client.close().await?;
    other.close().await
}

/// C82
#[tokio::test]
async fn a_server_is_no_further_ahead_of_a_playhead_than_the_client_says() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::default())?;
    let mut client = server.session(small().features(["playback", "pause"])).await?;
    client.send(Event::pause()).await?;
    let playback = |frame: u64, lead_ms: u64| {
        Event::new("playback", map([("frame", Value::from(frame)), ("lead_ms", lead_ms.into())]))
    };
    let mut sent = 0;
    // What was granted before it heard of the playhead.
    client.send(playback(0, 3000)).await?;
    client.ping().await?;
    client.send(Event::resume()).await?;
    // 48 frames are 3 s: 9 and three times 12.
    while sent < 45 {
        sent += client.chunk().await?.frames().len();
    }
    client.ping().await?;
    let drawn = |seen: Vec<Seen>| seen.iter().filter(|seen| matches!(seen, Seen::Began { .. })).count();
    ensure!(sent == 45 && drawn(strings.so_far()) == 4, "{sent} frames are ahead of nothing that was shown");
    client.send(playback(8, 3000)).await?;
    client.send(playback(9, 3000)).await?;
    sent += client.chunk().await?.frames().len();
    client.ping().await?;
    ensure!(sent == 57 && drawn(strings.so_far()) == 1, "one more chunk fits");
    // Whoever has shown all of it gets a chunk, however short the lead.
    client.send(playback(57, 0)).await?;
    sent += client.chunk().await?.frames().len();
    client.ping().await?;
    ensure!(sent == 69 && drawn(strings.so_far()) == 1, "and one only");
    client.close().await
}
