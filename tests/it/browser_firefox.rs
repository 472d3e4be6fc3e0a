//! The page in a second real browser: what Chromium alone forgives would be found here.

use tests::firefox::Firefox;

use crate::browser::{held, stop, testcard_server};

#[tokio::test]
async fn the_page_walks_and_records_in_firefox() -> anyhow::Result<()> {
    let server = testcard_server().await;
    let mut firefox = Firefox::launch().await?;
    firefox.navigate(&server.url).await?;
    firefox.until("window.causeway?.phase === 'ready'").await?;
    // The space bar starts, wherever the focus is but in a field.
    firefox.evaluate("document.getElementById('size').value = '320x192'").await?;
    firefox.key_down(' ').await?;
    firefox.key_up(' ').await?;
    firefox.until("causeway.phase === 'running'").await?;
    firefox.key_down('w').await?;
    firefox.until_picture("W is held", held("w")).await?;
    firefox.evaluate("document.getElementById('record').click()").await?;
    firefox.until("causeway.recording").await?;
    // A recording without a picture is no file.
    let begins = firefox.evaluate("causeway.framesShown").await?.as_u64().unwrap_or_default();
    firefox.key_up('w').await?;
    firefox.until_picture("nothing is held", held("")).await?;
    let kept = "(() => { const make = URL.createObjectURL;
        URL.createObjectURL = (file) => (window.film = document.createElement('video'), film.src = make.call(URL, file)); })()";
    firefox.evaluate(kept).await?;
    firefox.until(&format!("causeway.framesShown > {}", begins + 24)).await?;
    firefox.evaluate("document.getElementById('record').click()").await?;
    firefox.until("!causeway.recording && window.film?.readyState >= 1 && Number.isFinite(film.duration)").await?;
    assert_eq!(firefox.problems(), Vec::<String>::new());
    stop(server).await
}
