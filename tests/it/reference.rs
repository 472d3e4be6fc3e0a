//! The server that clients are tried against beside ours: it is as strict and as flawed as the reference.

use anyhow::{Result, ensure};
use tests::client::Client;
use tests::message::{Event, Init, Message};
use tests::reference::Reference;

fn small() -> Init {
    Init::new("a meadow").size(16, 16).features(["session", "ack", "timing", "pause", "queue"])
}

async fn connect(reference: &Reference) -> Result<Client> {
    let mut client = Client::connect(&reference.url()).await?;
    client.documented = false;
    Ok(client)
}

#[tokio::test]
async fn the_reference_sends_four_types_of_message_and_its_chunks_are_nine_and_twelve_frames() -> Result<()> {
    let reference = Reference::start().await?;
    let mut client = connect(&reference).await?;
    for wrong in [Init::new("a").set("max_chunks", 0), Init::new("a").without("prompt"), Init::new("a").format("png")] {
        client.send(wrong).await?;
        let Message::Error(error) = client.next().await? else { anyhow::bail!("no error") };
        ensure!((&*error.content, error.code) == ("invalid generate request", None));
    }
    client.send(small().format("jpeg").max_chunks(2)).await?;
    for frames in [9, 12] {
        let chunk = client.chunk().await?;
        ensure!(chunk.frames().len() == frames && chunk.batches.len() == 2, "{:?}", chunk.stats);
    }
    let close = client.closed().await?;
    ensure!((close.code, &*close.reason) == (1000, "generation complete"), "{close:?}");
    Ok(())
}

#[tokio::test]
async fn the_reference_knows_no_event_of_ours_and_finds_a_wrong_size_in_the_first_chunk() -> Result<()> {
    let reference = Reference::start().await?;
    let mut client = connect(&reference).await?;
    client.send(small()).await?;
    for event in [Event::pause(), Event::new("reset", "x"), Event::hold("w").set("event_id", 7.5)] {
        client.send(event.clone()).await?;
        let error = client.error().await?;
        ensure!(error.content == "invalid event" && error.event_id.is_none() && error.details.is_none(), "{event:?}");
    }
    // One session at a time.
    let mut second = connect(&reference).await?;
    second.send(small()).await?;
    ensure!(second.error().await?.content == "another realtime session is already active");
    ensure!(second.closed().await?.code == 1008);
    client.close().await?;
    let mut wrong = connect(&reference).await?;
    wrong.send(small().set("size", "bogus")).await?;
    ensure!(wrong.error().await?.content.starts_with("error during generate loop: 400: size"));
    // No close frame: the connection ends.
    wrong.next().await.expect_err("dropped");
    Ok(())
}
