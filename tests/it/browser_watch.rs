//! The page in two real browsers: one walks and lets others watch, the other watches.

use pipeline::testcard::read;
use tests::browser::Browser;

use crate::browser::{held, open_and_start, problems, stop, testcard_server};

#[tokio::test]
async fn a_link_of_the_player_shows_its_walk_and_steers_nothing() -> anyhow::Result<()> {
    let server = testcard_server().await;
    let mut player = Browser::launch().await?;
    // A headless browser has no clipboard.
    let clipboard = "Object.defineProperty(navigator, 'clipboard', { value: { writeText: async (text) => { window.copied = text; } } })";
    player.before_every_page(clipboard).await?;
    open_and_start(&mut player, &server.url, "jpeg").await?;
    player.until_picture("a walk", read).await?;
    player.click("#watch").await?;
    player.until("typeof window.copied === 'string'").await?;
    let link = player.evaluate("window.copied").await?.as_str().unwrap_or_default().to_owned();
    assert!(link.starts_with(&format!("{}#watch=cwv_", server.url)), "a browser sends it to no server: {link}");
    let told = player.evaluate("document.getElementById('told').textContent").await?;
    assert_eq!(told, "The link is copied. Whoever has it can watch.");

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
