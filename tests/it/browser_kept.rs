//! The page in a real browser: back in the walk, another walk in the same session, and on from a recorded one.

use pipeline::testcard::{Testcard, prompt_hash, read};
use server::Limits;
use tests::browser::Browser;

use crate::browser::{CHUNK_TIME, fill, limited, open_and_start, problems, stop};

#[tokio::test]
async fn a_visitor_goes_back_begins_again_and_goes_on_from_a_recorded_walk() -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("causeway-kept-{}", std::process::id()));
    let limits = Limits { record: Some((folder.clone(), 1 << 24)), ..Limits::default() };
    let server = limited(Box::new(|| Ok(Box::new(Testcard::new(CHUNK_TIME)))), limits).await;
    let mut browser = Browser::launch().await?;
    open_and_start(&mut browser, &server.url, "jpeg").await?;
    let session = browser.evaluate("causeway.session").await?;

    // Five seconds are seven chunks of twelve frames at sixteen a second.
    browser.until_picture("ten chunks", |picture| read(picture).filter(|card| card.chunk >= 10)).await?;
    browser.until("!document.getElementById('back').disabled").await?;
    browser.click("#back").await?;
    let back = browser.until_picture("earlier", |picture| read(picture).filter(|card| card.chunk <= 6)).await?;
    browser.until_picture("and on", |picture| read(picture).filter(|card| card.chunk > back.chunk + 1)).await?;

    // Another video in the same session.
    fill(&mut browser, "prompt", "a beach").await;
    browser.evaluate("document.getElementById('restart').click()").await?;
    let beach = prompt_hash("a beach");
    browser.until_picture("a beach", |picture| read(picture).filter(|card| card.prompt_hash == beach)).await?;
    assert_eq!(browser.evaluate("[causeway.session, causeway.videos]").await?, serde_json::json!([session, 2]));

    // The walk is over, and goes on from there.
    browser.until_picture("some of it", |picture| read(picture).filter(|card| card.chunk >= 3)).await?;
    browser.evaluate("document.getElementById('stop').click()").await?;
    browser.until("causeway.phase === 'ready' && !document.getElementById('kept').hidden").await?;
    let link = browser.evaluate("document.getElementById('kept-save').getAttribute('download')").await?;
    assert_eq!(link, format!("{}-2.causeway", session.as_str().unwrap_or_default()));
    browser.click("#kept-go-on").await?;
    browser.until("causeway.phase === 'running'").await?;
    let on = browser.until_picture("on", |picture| read(picture).filter(|card| card.prompt_hash == beach)).await?;
    assert!(on.chunk >= 3, "{on:?}");
    assert_ne!(browser.evaluate("causeway.session").await?, session, "a session of its own");
    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
