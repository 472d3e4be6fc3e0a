//! `causeway load` measures what it says: against the test card, whose pictures say which keys they were drawn with, and over a
//! line whose delay is known.

use anyhow::{Context, Result, ensure};
use causeway_client::connection::{Connection, Received};
use causeway_client::{Event, Init, Message};
use pipeline::testcard::{Testcard, read};
use pipeline::world::{Card, Held, Picture, Size, World};
use server::Limits;
use server::offline::load::heard::Heard;
use server::offline::load::measures::Watch;
use server::offline::load::plan::{Actions, Plan, Unreported};
use server::offline::load::report::Report;
use server::offline::load::{Request, html, load};
use std::time::{Duration, Instant};
use tests::Server;
use tests::shaper::{Shape, Shaper};

const SIZE: Size = Size { width: 128, height: 96 };
const MS: Duration = Duration::from_millis(1);

/// Chunks of one latent frame, each drawn in this time.
fn start(chunk_time: Duration, limits: Limits) -> Result<Server> {
    let card = Card { chunk: 1, first_chunk: 1, ..Card::clone(Testcard::new(chunk_time).card()) };
    Server::start(Box::new(move || Ok(Box::new(Testcard::paced_like(&card, chunk_time)))), limits)
}

fn plan(url: String) -> Plan {
    Plan {
        url,
        clients: 2,
        ramp: None,
        idle: 1,
        seconds: 1,
        spread_ms: 0,
        // A raw chunk would not fit into the bad line, and wait twice.
        format: "jpeg".into(),
        size: Some(SIZE.to_string()),
        quality: None,
        fps: 32,
        is_paced: true,
        buffer_ms: 250,
        share: 99.9,
        actions: "random".into(),
        actions_ms: 250,
        prompt: "a meadow".into(),
        seed: 5,
        note: None,
    }
}

async fn measure(plan: Plan) -> Result<Report> {
    let (actions, program) = (Actions::Random, "a test".to_owned());
    load(Request { plan, unreported: Unreported::default(), actions, program }).await
}

/// The keys that each picture of a message shows.
fn shown(message: Option<Message>) -> Result<Vec<Option<Held>>> {
    let Some(Message::Batch(batch)) = message else { return Ok(Vec::new()) };
    let picture =
        |rgb: bytes::Bytes| read(&Picture { size: SIZE, rgb: rgb.to_vec() }).context("a picture says nothing");
    batch.frames().into_iter().map(|rgb| Ok(picture(rgb)?.held)).collect()
}

#[tokio::test]
async fn an_actions_time_ends_with_the_first_picture_that_shows_it_and_not_with_the_next_that_comes() -> Result<()> {
    let server = start(20 * MS, Limits::default())?;
    let began = Instant::now();
    let mut connection = Connection::connect(&server.url()).await?;
    connection.send(Init::new("a meadow").size(SIZE.width, SIZE.height)).await?;
    let mut watch = Watch::new(16, false, &[], Duration::ZERO);
    let (mut truth, mut others, mut ids) = (Vec::new(), 0, 0);
    let mut awaited: Option<(Held, Duration)> = None;
    while truth.len() < 12 {
        let Received::Whole(whole) = connection.receive().await? else { anyhow::bail!("no message") };
        let now = began.elapsed();
        let heard = Heard::read(&whole.map)?;
        watch.heard(&heard, 0, now);
        let pictures = shown(Message::read(whole)?)?;
        if let Some((held, sent)) = awaited
            && !pictures.is_empty()
        {
            if pictures.contains(&Some(held)) {
                truth.push(1000.0 * (now - sent).as_secs_f64());
                awaited = None;
            } else {
                others += 1;
            }
        } else if matches!(heard, Heard::Frames(_)) && truth.len() == ids {
            // While the next chunk is drawn already, so that what comes next does not show it.
            ids += 1;
            let held = if ids % 2 == 1 { Held::default().with('w') } else { Held::default() };
            let sent = began.elapsed();
            watch.acted(ids as u64, sent);
            connection.send(Event::hold(&held.iter().collect::<String>()).id(ids as u64)).await?;
            awaited = Some((held, sent));
        }
    }
    ensure!(others >= 6, "{others} messages came between actions and answers: the next frame would have done");
    assert_eq!(watch.ended().samples.action, truth);
    Ok(())
}

/// Both lines are measured at the same time on the same server, so that what slows this machine down slows both; both delay,
/// so that what a timer adds is in both; the world draws at once, so that its pace is waiting and no work; and medians leave
/// out what a busy machine does to some. A run that was disturbed all the same is made again: a tool that measures wrongly is
/// wrong each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_on_the_line_moves_the_median_by_as_much() -> Result<()> {
    let server = start(Duration::ZERO, Limits { sessions: 16, load: 100.0, ..Limits::default() })?;
    let line = async |delay| {
        let down = Shape { delay, ..Shape::default() };
        Shaper::before(server.address, Shape::default(), down, 1).await
    };
    let (near, far) = (line(20 * MS).await?, line(60 * MS).await?);
    let mut moved = Vec::new();
    while moved.len() < 3 {
        let plan = |line: &Shaper| Plan { clients: 4, seconds: 4, ..plan(line.url()) };
        let (near, far) = tokio::join!(measure(plan(&near)), measure(plan(&far)));
        let p50 = |report: &Report, name: &str| -> Result<f64> {
            let measure = report.rounds[0].measure(name).with_context(|| format!("{name}: {report}"))?;
            ensure!(measure.count >= 4, "{measure:?}");
            Ok(measure.p50_ms)
        };
        let (near, far) = (near?, far?);
        ensure!(near.is_whole() && far.is_whole(), "{near}\n{far}");
        let by = |name: &str| -> Result<f64> { Ok(p50(&far, name)? - p50(&near, name)?) };
        let (action, first) = (by("action to frame")?, by("first frame")?);
        moved.push((action, first));
        if (action - 40.0).abs() <= 2.0 && (first - 40.0).abs() <= 20.0 {
            return Ok(());
        }
    }
    anyhow::bail!("by 40 ms later came frames, by so much the medians (action, first frame) moved: {moved:?}")
}

#[tokio::test]
async fn a_client_that_is_refused_is_told_and_a_report_is_read_again_as_it_was_written() -> Result<()> {
    let limits = Limits { sessions: 1, busy_wait: 50 * MS, ..Limits::default() };
    let server = start(10 * MS, limits)?;
    let report = measure(plan(server.url())).await?;
    let round = &report.rounds[0];
    ensure!(!report.is_whole() && !round.holds && round.frames > 0, "{report}");
    ensure!(round.failures.len() == 1 && round.failures.values().sum::<usize>() == 1, "{report}");
    let (reason, _) = round.failures.first_key_value().context("a reason")?;
    ensure!(reason.contains("another realtime session is already active"), "{reason}");
    let json = serde_json::to_string(&report)?;
    assert_eq!(serde_json::from_str::<Report>(&json)?.to_string(), report.to_string());
    let page = html::page(&report);
    // A histogram of each time, and the timeline; nothing is fetched.
    assert_eq!(page.matches("<svg").count(), round.measures.len() + 1);
    ensure!(!page.contains("src=") && !page.contains("@import") && !page.contains("NaN"), "{page}");
    ensure!(page.contains(reason.as_str()) && page.contains("seed 5"), "{page}");
    Ok(())
}

#[tokio::test]
async fn where_no_client_gets_a_frame_the_reason_is_told() -> Result<()> {
    let server = start(Duration::ZERO, Limits::default())?;
    let plan = Plan { idle: 0, size: Some("0x0".into()), ..plan(server.url()) };
    let told = measure(plan).await.err().context("it was refused")?.to_string();
    ensure!(told.contains("invalid generate request") && told.contains("size"), "{told}");
    Ok(())
}
