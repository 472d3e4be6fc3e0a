//! `clients/rust`: a walk over a good line, over one that is cut, and in a server that has none of our features.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use causeway_client::{Error, Event, Frame, Init, News, Receipt, Walk};
use pipeline::testcard::Testcard;
use server::{Limits, LoadWorld};
use tests::Server;
use tests::reference::Reference;
use tests::shaper::{Cut, How, Shape, Shaper};

fn testcard() -> LoadWorld {
    Box::new(|| Ok(Box::new(Testcard::new(Duration::from_millis(20)))))
}

fn small() -> Init {
    Init::new("a meadow").size(96, 64)
}

/// A walk is blocking: it runs on a thread of its own, beside the test's servers.
async fn walk<T: Send + 'static>(run: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(run).await.context("the walk's thread")?
}

/// Every frame, to the last chunk.
fn frames(url: &str, init: Init) -> Result<(Vec<Vec<u8>>, u32)> {
    let mut walk = Walk::connect(url, init)?;
    let mut all = Vec::new();
    loop {
        match walk.news()? {
            News::Frame(frame) => {
                ensure!(frame.index == all.len() as u64, "frame {} after {}", frame.index, all.len());
                all.push(frame.data.to_vec());
            }
            News::Complete => return Ok((all, walk.resumes())),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_walk_goes_on_after_its_line_was_cut_and_gives_every_frame_once() -> Result<()> {
    let server = Server::start(testcard(), Limits::default())?;
    let url = server.url();
    let (whole, resumes) = walk(move || frames(&url, small().max_chunks(4))).await?;
    ensure!((whole.len(), resumes) == (45, 0), "{} frames", whole.len());
    let down = Shape { cut: Some(Cut { after_bytes: 300_000, how: How::Reset }), ..Shape::default() };
    let shaper = Shaper::before(server.address, Shape::default(), down, 3).await?;
    let url = format!("ws://{}/v1/realtime_video", shaper.address);
    let (again, resumes) = walk(move || frames(&url, small().max_chunks(4))).await?;
    ensure!(resumes > 0, "the line was not cut");
    ensure!(again == whole, "other frames after a cut");
    Ok(())
}

#[tokio::test]
async fn a_receipt_says_which_chunk_shows_an_event_and_a_refusal_which_field_was_wrong() -> Result<()> {
    let server = Server::start(testcard(), Limits::default())?;
    let url = server.url();
    walk(move || {
        let mut walk = Walk::connect(&url, small().format("jpeg"))?;
        let held = walk.send(Event::hold("w"));
        let wrong = walk.send(Event::new("jump", "high"));
        let (mut receipt, mut why, mut shown): (Option<Receipt>, Option<String>, Option<u64>) = (None, None, None);
        while receipt.is_none() || why.is_none() || shown.is_none() {
            match walk.news()? {
                News::Receipt(came) if came.event_id == held => receipt = Some(came),
                News::Refused { event_id, why: said } if event_id == Some(wrong) => why = Some(said),
                News::Frame(Frame { event_id, chunk, content_type: "image/jpeg", .. }) if event_id == Some(held) => {
                    shown.get_or_insert(chunk);
                }
                News::Frame(_) => {}
                other => bail!("{other:?}"),
            }
        }
        ensure!(receipt.map(|receipt| receipt.chunk) == shown, "{receipt:?}, {shown:?}");
        ensure!(receipt.is_some_and(|receipt| receipt.first_frame.is_some()), "{receipt:?}");
        ensure!(why.is_some_and(|why| why.contains("kind")));
        drop(walk);

        let mut walk = Walk::connect(&url, small().set("fps", 25.5))?;
        let refused = walk.news().err().context("a mistake")?;
        ensure!(matches!(&refused, Error::Refused(why) if why.contains("fps")), "{refused}");
        let nobody = Walk::connect("ws://127.0.0.1:9/v1/realtime_video", small()).err().context("nobody listens")?;
        ensure!(matches!(nobody, Error::Unreachable(_)), "{nobody}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn rates_and_poses_lead_the_camera_and_a_pose_that_is_none_is_refused_by_its_name() -> Result<()> {
    let server = Server::start(testcard(), Limits::default())?;
    let url = server.url();
    walk(move || {
        let mut walk = Walk::connect(&url, small())?;
        let ahead = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, -2.0, 0.0, 0.0, 0.0, 1.0];
        let led = [walk.send(Event::rates([0.5, 0.0, -0.25, 0.0])), walk.send(Event::pose(&ahead))];
        let wrong = walk.send(Event::pose(&[2.0; 16]));
        let (mut receipts, mut why) = (Vec::new(), None);
        while receipts.len() < led.len() || why.is_none() {
            match walk.news()? {
                News::Receipt(receipt) => receipts.push(receipt.event_id),
                News::Refused { event_id, why: said } if event_id == Some(wrong) => why = Some(said),
                News::Frame(_) => {}
                other => bail!("{other:?}"),
            }
        }
        receipts.sort_unstable();
        ensure!(receipts == led, "{receipts:?}");
        ensure!(why.is_some_and(|why| why.contains("pose")));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_walk_works_in_a_server_that_has_none_of_our_features() -> Result<()> {
    let reference = Reference::start().await?;
    let url = reference.url();
    walk(move || {
        let mut walk = Walk::connect(&url, small().max_chunks(6))?;
        let held = walk.send(Event::hold("w"));
        walk.send(Event::pause());
        let (mut shown, mut refused, mut frames) = (None, false, 0);
        loop {
            match walk.news()? {
                News::Frame(frame) => {
                    frames += 1;
                    ensure!(frame.pts_ms.is_none());
                    // Its red counts the keys held.
                    ensure!(shown.is_none_or(|chunk| chunk > frame.chunk) || frame.data[0] == 40, "{frames}");
                }
                News::Receipt(receipt) => {
                    ensure!(receipt.event_id == held && shown.is_none(), "{receipt:?}");
                    shown = Some(receipt.chunk);
                }
                News::Refused { event_id: None, why } => {
                    ensure!(why == "invalid event", "{why}");
                    refused = true;
                }
                News::Complete => break,
                other => bail!("{other:?}"),
            }
        }
        ensure!(frames == 69 && refused && shown.is_some(), "{frames} {refused} {shown:?}");
        Ok(())
    })
    .await
}
