//! From a key to the picture in a real browser, as `key_to_picture` measures it; here briefly, so that nothing of it breaks.

use std::time::Duration;

use anyhow::{Result, ensure};
use pipeline::testcard::Testcard;
use pipeline::world::World;
use server::Limits;
use tests::Server;
use tests::browser::Browser;
use tests::chance::Chance;
use tests::key_press::{Log, Press, press, quantile};

#[tokio::test]
async fn a_picture_that_answers_a_key_is_on_the_screen_soon_after_it_came_by_its_id_and_by_its_pixels() -> Result<()> {
    // Its chunks are shown for 750 ms, so pictures of before would wait for long.
    let load = || Ok(Box::new(Testcard::new(Duration::from_millis(40))) as Box<dyn World>);
    let server = Server::start(Box::new(load), Limits::default())?;
    let mut browser = Browser::launch().await?;
    Log::begin(&mut browser).await?;
    browser.navigate(&format!("http://{}/", server.address)).await?;
    browser.until("window.causeway?.phase === 'ready' && keyProbe.ready === true").await?;
    crate::browser::fill(&mut browser, "size", "320x192").await;
    browser.click("#start").await?;
    browser.until("causeway.phase === 'running'").await?;
    let (presses, _log) = press(&mut browser, 8, &mut Chance::new(5)).await?;
    // A decoding and a refresh, and what a busy machine adds. Without the cut over it is what was queued of 750 ms.
    let queued = quantile(presses.iter().map(|press| press.queued_ms), 0.5);
    ensure!(queued < 200.0, "pictures that answer a key waited {queued:.0} ms: {presses:?}");
    let agree = |press: &&Press| press.pixels_ms.is_some_and(|ms| (ms - press.picture_ms).abs() < 20.0);
    ensure!(presses.iter().filter(agree).count() >= 7, "pixels and ids disagree: {presses:?}");
    ensure!(browser.problems().is_empty(), "the console: {:?}", browser.problems());
    Ok(())
}
