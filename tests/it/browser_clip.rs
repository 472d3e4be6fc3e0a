//! The Film panel in a real browser, with a hand's clicks: the server draws a film of the walk, and the page shows it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pipeline::testcard::{Testcard, read};
use pipeline::world::{Size, World};
use server::access::policy::{AccessPolicy, Entry};
use server::access::rules::keys::{ApiKeys, KeyLimits, new_key};
use server::{Limits, LoadWorld};
use tests::browser::Browser;

use crate::browser::{fill, held, limited, open_and_start, problems, stop, testcard_server};

/// Click something of the panel, wherever the page is scrolled to.
async fn click(browser: &mut Browser, selector: &str) -> Result<()> {
    browser.evaluate(&format!("document.querySelector('{selector}').scrollIntoView({{ block: 'center' }})")).await?;
    browser.click(selector).await
}

async fn note(browser: &mut Browser, expected: &str) -> Result<()> {
    browser.until(&format!("document.getElementById('clip-note').textContent.includes('{expected}')")).await
}

#[tokio::test]
async fn the_film_panel_makes_a_film_of_the_walk_that_was_just_walked() -> Result<()> {
    let server = testcard_server().await;
    let mut browser = Browser::launch().await?;
    open_and_start(&mut browser, &server.url, "jpeg").await?;
    browser.key_down("KeyW").await?;
    let began = browser.until_picture("W is held", held("w")).await?;
    browser
        .until_picture("W was held for a while", |picture| {
            read(picture).filter(|reading| reading.frame > began.frame + 24)
        })
        .await?;
    browser.key_up("KeyW").await?;
    browser.until_picture("nothing is held", held("")).await?;

    click(&mut browser, "#clip summary").await?;
    click(&mut browser, "#clip-walked").await?;
    let script = browser.evaluate("document.getElementById('clip-script').value").await?;
    let script = script.as_str().context("a script")?.to_owned();
    ensure!(script.contains("w*") && script.ends_with(|end: char| end == '-' || end.is_ascii_digit()), "{script}");
    let seconds = browser.evaluate("Number(document.getElementById('clip-seconds').value)").await?;
    let seconds = seconds.as_f64().context("seconds")?;
    click(&mut browser, "#clip-make").await?;
    note(&mut browser, "Done.").await?;
    browser.until("document.getElementById('clip-video').readyState >= 2").await?;

    // The film has the keys of the script, and its length.
    let steps: Vec<&str> = script
        .split(',')
        .flat_map(|part| {
            let (word, count) = part.split_once('*').unwrap_or((part, "1"));
            std::iter::repeat_n(word, count.parse().unwrap_or(1))
        })
        .collect();
    let duration = browser.evaluate("document.getElementById('clip-video').duration").await?;
    let duration = duration.as_f64().context("a duration")?;
    ensure!((duration - seconds).abs() < 0.01 && steps.len() as f64 * 0.25 == seconds, "{duration} of {seconds}");
    let size = Size { width: 320, height: 192 };
    for step in [0, steps.len() / 2, steps.len() - 1] {
        // The first latent frame is one picture, the others are four each.
        let at = (4 * step) as f64 / 16.0 + 0.5 / 16.0;
        let picture = browser.film_frame("document.getElementById('clip-video')", at).await?;
        ensure!(picture.size == size, "{:?}", picture.size);
        let reading = read(&picture).context("a test card")?;
        let keys: String = reading.held.context("a script")?.iter().collect();
        ensure!(reading.frame == 4 * step && reading.latent_frame == step, "{reading:?} at step {step}");
        ensure!(keys == steps[step].trim_matches('-'), "{keys:?} at step {step} of {script}");
    }
    let save = browser.evaluate("document.getElementById('clip-save').download").await?;
    ensure!(save.as_str().is_some_and(|name| name.ends_with(".mp4")), "{save}");
    ensure!(problems(&browser).is_empty(), "{:?}", problems(&browser));
    stop(server).await
}

#[tokio::test]
async fn a_film_that_is_cancelled_on_the_page_is_gone_from_the_server() -> Result<()> {
    let server = testcard_server().await;
    let mut browser = Browser::launch().await?;
    browser.navigate(&server.url).await?;
    browser.until("window.causeway?.phase === 'ready'").await?;
    fill(&mut browser, "size", "320x192").await;
    fill(&mut browser, "prompt", "a meadow").await;
    click(&mut browser, "#clip summary").await?;
    click(&mut browser, "#clip-walked").await?;
    note(&mut browser, "You have not walked yet").await?;
    fill(&mut browser, "clip-seconds", "31").await;
    click(&mut browser, "#clip-make").await?;
    note(&mut browser, "Seconds: from 0.5 to 30.").await?;

    // Forty chunks of 200 ms.
    fill(&mut browser, "clip-seconds", "30").await;
    click(&mut browser, "#clip-make").await?;
    note(&mut browser, "Drawing").await?;
    click(&mut browser, "#clip-make").await?;
    note(&mut browser, "Cancelled.").await?;
    browser.until("document.getElementById('clip-progress').hidden").await?;
    browser
        .evaluate(
            "(async () => {
               for (;;) {
                 const { data } = await (await fetch('/v1/videos')).json();
                 if (data.length === 0) return true;
               }
             })()",
        )
        .await?;
    ensure!(problems(&browser).is_empty(), "{:?}", problems(&browser));
    stop(server).await
}

#[tokio::test]
async fn the_film_panel_says_when_a_key_is_missing_and_shows_the_one_it_has() -> Result<()> {
    let (key, line) = new_key("visitor")?;
    let entry = Entry::Keys(ApiKeys::parse(&line, KeyLimits::default())?.into());
    let access = AccessPolicy { entry, ..AccessPolicy::default() };
    let load: LoadWorld = Box::new(|| Ok(Box::new(Testcard::new(Duration::ZERO)) as Box<dyn World>));
    let server = limited(load, Limits { access, ..Limits::default() }).await;
    let mut browser = Browser::launch().await?;
    for (address, expected) in [(server.url.clone(), "asks for a key"), (format!("{}#key={key}", server.url), "Done.")]
    {
        // Another address, or the browser would only move within the page.
        browser.navigate("about:blank").await?;
        browser.navigate(&address).await?;
        browser.until("window.causeway?.phase === 'ready'").await?;
        fill(&mut browser, "size", "320x192").await;
        fill(&mut browser, "clip-prompt", "a meadow").await;
        fill(&mut browser, "clip-seconds", "1").await;
        click(&mut browser, "#clip summary").await?;
        click(&mut browser, "#clip-make").await?;
        note(&mut browser, expected).await?;
    }
    stop(server).await
}
