//! The page in a real browser where a visit does not go as usual: a proxy's path, an input method, a tab that closes.

use std::time::Duration;

use tests::browser::Browser;
use tests::path_proxy::PathProxy;

use crate::browser::{fill, held, open_and_start, problems, stop, testcard_server};

#[tokio::test]
async fn the_page_walks_below_a_path_of_a_proxy() -> anyhow::Result<()> {
    let server = testcard_server().await;
    let address = server.url.trim_start_matches("http://").trim_end_matches('/').parse()?;
    let proxy = PathProxy::before(address, "/world/").await?;
    let mut browser = Browser::launch().await?;
    open_and_start(&mut browser, &format!("http://{}/world/", proxy.address), "jpeg").await?;
    browser.key_down("KeyW").await?;
    browser.until_picture("W is held", held("w")).await?;
    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

/// Safari tells of the end of a composition first, and then of the Enter that ended it.
#[tokio::test]
async fn an_enter_that_ends_a_composition_starts_and_sends_nothing() -> anyhow::Result<()> {
    const COMPOSE: &str = "(() => {
        const prompt = document.getElementById('prompt');
        prompt.focus();
        prompt.dispatchEvent(new CompositionEvent('compositionstart', { bubbles: true }));
        prompt.dispatchEvent(new CompositionEvent('compositionend', { bubbles: true, data: '雪' }));
        prompt.value = '雪';
        prompt.dispatchEvent(new Event('input', { bubbles: true }));
        return prompt.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', code: 'Enter', keyCode: 229,
          isComposing: false, bubbles: true, cancelable: true }));
    })()";
    let server = testcard_server().await;
    let mut browser = Browser::launch().await?;
    browser.navigate(&server.url).await?;
    browser.until("window.causeway?.phase === 'ready'").await?;
    assert_eq!(browser.evaluate(COMPOSE).await?, true, "the key is the input method's, and not taken from it");
    assert_eq!(browser.evaluate("causeway.phase").await?, "ready");

    open_and_start(&mut browser, &server.url, "jpeg").await?;
    let before = browser.evaluate("causeway.lastEventId").await?;
    assert_eq!(browser.evaluate(COMPOSE).await?, true);
    assert_eq!(browser.evaluate("document.getElementById('prompt-note').textContent").await?, "");
    assert_eq!(browser.evaluate("causeway.lastEventId").await?, before);
    // The next Enter is meant.
    browser.key_down("Enter").await?;
    browser.until("document.getElementById('prompt-note').textContent !== ''").await?;
    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

#[tokio::test]
async fn a_recording_whose_tab_closed_is_offered_at_the_next_visit_until_it_is_removed() -> anyhow::Result<()> {
    const SECONDS: u64 = 4;
    let server = testcard_server().await;
    let mut browser = Browser::launch().await?;
    open_and_start(&mut browser, &server.url, "jpeg").await?;
    browser.click("#record").await?;
    browser.until("causeway.recording").await?;
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let asks = "(() => { const leave = new Event('beforeunload', { cancelable: true });
        window.dispatchEvent(leave); return leave.defaultPrevented; })()";
    assert_eq!(browser.evaluate(asks).await?, false, "what is kept can be left without a question");
    browser.navigate("about:blank").await?;

    browser.navigate(&server.url).await?;
    let offered = "!document.getElementById('left-film').hidden";
    browser.until(offered).await?;
    let name = browser.evaluate("document.getElementById('left-film-name').textContent").await?;
    assert!(name.as_str().is_some_and(|name| name.starts_with("causeway-testcard-")), "{name}");
    let kept = "(() => { const make = URL.createObjectURL;
        URL.createObjectURL = (file) => (window.film = document.createElement('video'), film.src = make.call(URL, file)); })()";
    browser.evaluate(kept).await?;
    browser.click("#left-film-save").await?;
    browser.until("window.film?.readyState >= 1").await?;
    // A recorder does not know how long it will be: the end of its file does. A second may not have been handed over.
    browser.evaluate("(() => { film.currentTime = 1e9; })()").await?;
    browser.until(&format!("film.currentTime > {} && film.currentTime < 1e8", SECONDS - 2)).await?;
    assert_eq!(browser.evaluate(offered).await?, true, "a download may fail");
    browser.click("#left-film-remove").await?;
    browser.until("document.getElementById('left-film').hidden").await?;

    // One that is saved as usual leaves nothing.
    fill(&mut browser, "size", "320x192").await;
    browser.click("#start").await?;
    browser.until("causeway.phase === 'running'").await?;
    browser.click("#record").await?;
    browser.until("causeway.recording").await?;
    browser.click("#record").await?;
    browser.until("!causeway.recording").await?;
    let films = "new Promise((told) => { const open = indexedDB.open('causeway-films');
        open.onsuccess = () => { const all = open.result.transaction('films').objectStore('films').count();
        all.onsuccess = () => told(all.result === 0); }; })";
    browser.until(films).await?;
    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}
