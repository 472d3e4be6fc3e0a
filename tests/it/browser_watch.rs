//! The page in two real browsers: one walks and lets others watch, the other watches.

use pipeline::testcard::{prompt_hash, read};
use tests::browser::Browser;

use crate::browser::{fill, held, open_and_start, problems, stop, testcard_server};

/// A headless browser has no clipboard.
const CLIPBOARD: &str = "Object.defineProperty(navigator, 'clipboard', { value: { writeText: async (text) => { window.copied = text; } } })";

/// The link that the player copies for viewers of this role.
async fn invite(player: &mut Browser, role: &str) -> anyhow::Result<String> {
    player.evaluate("delete window.copied").await?;
    player.until("!document.getElementById('watch').disabled").await?;
    player.click("#watch").await?;
    player.click(&format!("#invite-{role}")).await?;
    player.until("typeof window.copied === 'string'").await?;
    let link = player.evaluate("window.copied").await?.as_str().unwrap_or_default().to_owned();
    Ok(link)
}

/// What the page says there.
async fn said(browser: &mut Browser, id: &str) -> anyhow::Result<String> {
    let text = browser.evaluate(&format!("document.getElementById('{id}').textContent")).await?;
    Ok(text.as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_link_of_the_player_shows_its_walk_and_steers_nothing() -> anyhow::Result<()> {
    let server = testcard_server().await;
    let mut player = Browser::launch().await?;
    player.before_every_page(CLIPBOARD).await?;
    open_and_start(&mut player, &server.url, "jpeg").await?;
    player.until_picture("a walk", read).await?;
    let link = invite(&mut player, "view").await?;
    assert!(link.starts_with(&format!("{}#watch=cwv_", server.url)), "a browser sends it to no server: {link}");
    let told = player.evaluate("document.getElementById('company-told').textContent").await?;
    assert_eq!(told, "The link is copied. Whoever has it can watch.");
    player.click("#company .primary").await?;

    let mut viewer = Browser::launch().await?;
    viewer.navigate(&link).await?;
    viewer.until("window.causeway?.framesShown > 0").await?;
    player.until("document.getElementById('watch-count').textContent === '1'").await?;
    let shown = "[...document.querySelectorAll('button, select, textarea, input')].filter((e) => e.checkVisibility()).map((e) => e.id)";
    let shown = viewer.evaluate(&format!("JSON.stringify({shown})")).await?;
    assert_eq!(shown, r#"["stop","record","snapshot","how","hud-button","fullscreen","help-button"]"#);
    assert_eq!(viewer.evaluate("document.getElementById('watching').textContent").await?, "You are watching");
    // What the player holds shows; what the viewer holds does not.
    viewer.key_down("KeyS").await?;
    player.key_down("KeyW").await?;
    viewer.until_picture("the player's W", held("w")).await?;
    player.until_picture("the player's W alone", held("w")).await?;
    player.click("#pause").await?;
    viewer.until("document.getElementById('watching').textContent.endsWith('The player rests')").await?;
    player.click("#pause").await?;
    player.click("#stop").await?;
    viewer.until("causeway.phase === 'over'").await?;
    let why = viewer.evaluate("document.getElementById('curtain-text').textContent").await?;
    assert!(why.as_str().is_some_and(|why| why.contains("the player left")), "{why}");
    for browser in [&player, &viewer] {
        assert_eq!(problems(browser), Vec::<&String>::new());
    }
    stop(server).await
}

#[tokio::test]
async fn the_player_hands_the_controls_over_and_takes_them_back_and_a_director_writes_the_prompt() -> anyhow::Result<()>
{
    let server = testcard_server().await;
    let mut player = Browser::launch().await?;
    player.before_every_page(CLIPBOARD).await?;
    open_and_start(&mut player, &server.url, "jpeg").await?;
    player.until_picture("a walk", read).await?;
    let link = invite(&mut player, "control").await?;
    let mut other = Browser::launch().await?;
    other.navigate(&link).await?;
    other.until("window.causeway?.framesShown > 0 && !document.body.classList.contains('leads')").await?;
    player.click("#guests button").await?;
    other.until("document.body.classList.contains('leads')").await?;
    assert_eq!(said(&mut other, "watching").await?, "You walk: the keys and the prompt are yours");
    player.until("!document.getElementById('reins').hidden").await?;
    player.click("#company .primary").await?;
    assert_eq!(said(&mut player, "reins-text").await?, "Viewer 1 walks and writes the prompt");
    player.key_down("KeyS").await?;
    other.key_down("KeyW").await?;
    for browser in [&mut other, &mut player] {
        browser.until_picture("the viewer's W alone", held("w")).await?;
    }
    // Back with the player, whose S is still down.
    player.click("#take-back").await?;
    other.until_picture("the player's S alone", held("s")).await?;
    player.until("document.getElementById('reins').hidden").await?;
    other.until("!document.body.classList.contains('leads')").await?;
    assert_eq!(said(&mut other, "watching").await?, "You are watching");

    let link = invite(&mut player, "director").await?;
    player.click("#company .primary").await?;
    other.navigate("about:blank").await?;
    other.navigate(&link).await?;
    other.until("document.body.classList.contains('directs')").await?;
    assert_eq!(said(&mut other, "watching").await?, "You direct: the prompt is yours");
    let shown = "[...document.querySelectorAll('#side button, #side select, #side textarea, #side input')].filter((e) => e.checkVisibility()).map((e) => e.id)";
    let shown = other.evaluate(&format!("JSON.stringify({shown})")).await?;
    assert_eq!(shown, r#"["prompt","send-prompt"]"#);
    // The first picture moves what lies below it, and a click would miss.
    other.until_picture("the player's walk", held("s")).await?;
    fill(&mut other, "prompt", "the same by night").await;
    other.click("#send-prompt").await?;
    let drawn = |picture: &_| read(picture).filter(|read| read.prompt_hash == prompt_hash("the same by night"));
    player.until_picture("the director's prompt", drawn).await?;
    player.until_picture("and the player's S", held("s")).await?;
    assert_eq!(said(&mut player, "prompt-note").await?, "Viewer 2 writes the prompt.");
    for browser in [&player, &other] {
        assert_eq!(problems(browser), Vec::<&String>::new());
    }
    stop(server).await
}
