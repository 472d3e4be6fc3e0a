//! The page in a real browser when something is missing: pictures, the server, the walk, a place, a key. It says so in one
//! sentence, in one place, and goes on by itself where it can.

use std::net::SocketAddr;
use std::time::Duration;

use pipeline::testcard::{Testcard, read};
use server::access::policy::{AccessPolicy, Entry};
use server::access::rules::keys::{self, KeyLimits, new_key};
use server::{Limits, LoadWorld};
use tests::browser::Browser;
use tests::client::Client;
use tests::shaper::{Cut, How, Shape, Shaper};

use crate::browser::{CHUNK_TIME, Running, at, fill, held, limited, open_and_start, problems, stop, testcard_server};

fn address(server: &Running) -> SocketAddr {
    server.url.trim_start_matches("http://").trim_end_matches('/').parse().expect("an address")
}

fn testcard() -> LoadWorld {
    Box::new(|| Ok(Box::new(Testcard::new(CHUNK_TIME))))
}

/// What the page says over the picture, when it has come into this phase. Nothing else says it too.
async fn said(browser: &mut Browser, phase: &str) -> anyhow::Result<String> {
    browser.until(&format!("causeway.phase === '{phase}'")).await?;
    let alert = browser.evaluate("document.getElementById('alert').hidden").await?;
    assert_eq!(alert, true, "an alert beside what is said over the picture");
    let said = browser.evaluate("document.getElementById('curtain-text').textContent").await?;
    Ok(said.as_str().unwrap_or_default().to_owned())
}

async fn button(browser: &mut Browser) -> anyhow::Result<String> {
    let label = browser.evaluate("document.getElementById('start').textContent").await?;
    Ok(label.as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_line_that_goes_silent_is_said_and_left_for_another_on_which_the_same_walk_goes_on() -> anyhow::Result<()> {
    let server = testcard_server().await;
    // Past the page's own files, whose connections would be silent too.
    let down = Shape { cut: Some(Cut { after_bytes: 1_500_000, how: How::Silent }), ..Shape::default() };
    let shaper = Shaper::before(address(&server), Shape::default(), down, 3).await?;
    let mut browser = Browser::launch().await?;
    open_and_start(&mut browser, &format!("http://{}/", shaper.address), "jpeg").await?;
    browser.key_down("KeyW").await?;
    browser.until_picture("W is held", held("w")).await?;

    let stalled = said(&mut browser, "stalled").await?;
    assert!(stalled.starts_with("No pictures for ") && stalled.ends_with(" s…"), "{stalled}");
    let status = "document.getElementById('status').textContent";
    assert_eq!(browser.evaluate(status).await?, "No pictures");
    let chunk = browser.evaluate("causeway.chunk").await?.as_u64().expect("a number");
    browser.until("causeway.resumes > 0 && causeway.phase === 'running'").await?;
    browser
        .until_picture("W is still held, and later", |picture| {
            held("w")(picture).filter(|reading| reading.chunk as u64 > chunk)
        })
        .await?;
    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

#[tokio::test]
async fn a_server_that_was_restarted_is_found_again_and_says_that_the_walk_is_lost() -> anyhow::Result<()> {
    let server = testcard_server().await;
    let shaper = Shaper::before(address(&server), Shape::default(), Shape::default(), 3).await?;
    let known = shaper.address;
    let mut browser = Browser::launch().await?;
    open_and_start(&mut browser, &format!("http://{known}/"), "jpeg").await?;
    browser.until_picture("a walk", read).await?;

    // Another process at the same address: it has never heard of this walk.
    drop(shaper);
    browser.until("causeway.phase === 'returning'").await?;
    let second = limited(testcard(), Limits::default()).await;
    let _shaper = Shaper::at(known, address(&second), Shape::default(), Shape::default(), 3).await?;
    let lost = said(&mut browser, "over").await?;
    assert!(lost.contains("does not know this walk any more") && !lost.contains("oken"), "{lost}");
    assert_eq!(button(&mut browser).await?, "Start again");
    browser.click("#start").await?;
    browser.until("causeway.phase === 'running'").await?;
    stop(server).await?;
    stop(second).await
}

#[tokio::test]
async fn a_server_that_stops_and_comes_back_is_looked_for_without_a_hand() -> anyhow::Result<()> {
    let first = testcard_server().await;
    let known = address(&first).to_string();
    let mut browser = Browser::launch().await?;
    open_and_start(&mut browser, &first.url, "jpeg").await?;
    stop(first).await?;
    let gone = said(&mut browser, "lost").await?;
    assert!(gone.contains("The server does not answer. Trying again…"), "{gone}");
    assert_eq!(browser.evaluate("document.getElementById('start').disabled").await?, true, "there is nothing to press");

    let second = at(&known, testcard(), Limits::default()).await;
    let back = said(&mut browser, "over").await?;
    assert!(back.ends_with("The server is there: start again here."), "{back}");
    browser.click("#start").await?;
    browser.until("causeway.phase === 'running'").await?;
    stop(second).await
}

#[tokio::test]
async fn a_visitor_whose_wait_is_over_asks_again_until_there_is_a_place() -> anyhow::Result<()> {
    let limits =
        Limits { sessions: 1, busy_wait: Duration::ZERO, queue_wait: Duration::from_millis(300), ..Limits::default() };
    let server = limited(testcard(), limits).await;
    let mut first = Client::connect(&format!("{}v1/realtime_video", server.url.replace("http", "ws"))).await?;
    first.send(tests::small()).await?;
    let mut browser = Browser::launch().await?;
    browser.navigate(&server.url).await?;
    browser.until("window.causeway?.phase === 'ready'").await?;
    fill(&mut browser, "size", "320x192").await;
    browser.click("#start").await?;
    let full = said(&mut browser, "full").await?;
    assert_eq!(full, "Every place in this world is taken. Asking again every 5 s…");
    assert_eq!(button(&mut browser).await?, "Stop asking");
    first.close().await?;
    browser.until("causeway.phase === 'running'").await?;
    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

#[tokio::test]
async fn a_key_is_asked_for_in_the_page_kept_for_the_tab_and_taken_out_of_the_address() -> anyhow::Result<()> {
    let (key, line) = new_key("visitor")?;
    let access = AccessPolicy {
        entry: Entry::Keys(keys::ApiKeys::parse(&line, KeyLimits::default())?.into()),
        ..AccessPolicy::default()
    };
    let server = limited(testcard(), Limits { access, ..Limits::default() }).await;
    let mut browser = Browser::launch().await?;
    open_and_start(&mut browser, &format!("{}#key={key}", server.url), "jpeg").await?;
    assert_eq!(browser.evaluate("location.href").await?, server.url);

    // The same tab, without the key in its address.
    browser.navigate("about:blank").await?;
    open_and_start(&mut browser, &server.url, "jpeg").await?;

    // A tab that has none.
    browser.evaluate("sessionStorage.clear()").await?;
    browser.navigate("about:blank").await?;
    browser.navigate(&server.url).await?;
    browser.until("window.causeway?.phase === 'ready'").await?;
    fill(&mut browser, "size", "320x192").await;
    browser.click("#start").await?;
    assert_eq!(said(&mut browser, "locked").await?, "This server asks for a key.");
    let focused = browser.evaluate("document.activeElement.id").await?;
    assert_eq!(focused, "key", "it can be typed or pasted at once");
    browser.type_text("ck_wrong").await?;
    browser.click("#key-form button").await?;
    browser.until("document.getElementById('curtain-text').textContent === 'This key is not known here.'").await?;
    browser.type_text(&key).await?;
    browser.click("#key-form button").await?;
    browser.until("causeway.phase === 'running'").await?;
    assert_eq!(browser.evaluate("document.getElementById('key-form').hidden").await?, true);
    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}
