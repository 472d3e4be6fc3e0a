//! The page under axe (<https://github.com/dequelabs/axe-core>), which knows the rules of WCAG 2.2 that a program can check.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;
use tests::browser::Browser;

use crate::browser::{fill, open_and_start, problems, stop, testcard_server};

/// The checker's source, fetched from npm once.
fn checker() -> anyhow::Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the repository")?;
    let made = Command::new("make").arg("-s").arg("-C").arg(root).arg("target/axe/installed").status()?;
    ensure!(made.success(), "`make target/axe/installed` failed: {made}");
    Ok(std::fs::read_to_string(root.join("target/axe/node_modules/axe-core/axe.min.js"))?)
}

/// Every rule of levels A and AA up to WCAG 2.2, and what axe's makers call best practice.
async fn check(browser: &mut Browser, when: &str) -> anyhow::Result<()> {
    const RUN: &str = "(async () => {
        // Half way from one colour to another is neither.
        const changes = document.getAnimations().filter((change) => change instanceof CSSTransition);
        await Promise.allSettled(changes.map(({ finished }) => finished));
        const only = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
        const { violations, passes } = await axe.run(document, { runOnly: only });
        const where = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).join(' | ')}`);
        return { where, passes: passes.length };
    })()";
    let found = browser.evaluate(RUN).await?;
    ensure!(found["where"] == Value::Array(Vec::new()), "{when}: {}", found["where"]);
    ensure!(found["passes"].as_u64() > Some(10), "{when}: nothing was checked: {found}");
    Ok(())
}

#[tokio::test]
async fn axe_finds_nothing_to_mend_before_during_and_after_a_walk() -> anyhow::Result<()> {
    let checker = checker()?;
    let server = testcard_server().await;
    let mut browser = Browser::launch().await?;
    for (width, height) in [(1280, 720), (390, 844)] {
        browser.resize(width, height).await?;
        browser.navigate(&server.url).await?;
        browser.until("window.causeway?.phase === 'ready'").await?;
        browser.evaluate(&format!("(() => {{ {checker}; }})()")).await?;
        check(&mut browser, "before a walk").await?;
        browser.evaluate("document.querySelectorAll('details').forEach((panel) => (panel.open = true))").await?;
        fill(&mut browser, "seed", "").await;
        check(&mut browser, "with open panels and a wrong seed").await?;

        open_and_start(&mut browser, &server.url, "jpeg").await?;
        browser.evaluate(&format!("(() => {{ {checker}; }})()")).await?;
        browser.evaluate("document.getElementById('alert').hidden = false").await?;
        browser.evaluate("document.getElementById('alert-text').textContent = 'A message.'").await?;
        fill(&mut browser, "format", "webp").await;
        browser.key_down("KeyH").await?;
        browser.key_down("KeyW").await?;
        browser.until("causeway.framesShown > 4").await?;
        check(&mut browser, "during a walk").await?;
        browser.key_up("KeyW").await?;
        browser.evaluate("document.getElementById('help-button').click()").await?;
        check(&mut browser, "with the help open").await?;
        browser.evaluate("document.getElementById('help').close()").await?;
        // As if another walked: what the player sees of that.
        browser.evaluate("document.getElementById('watch').click()").await?;
        browser
            .evaluate("for (const id of ['reins', 'company-take-back']) document.getElementById(id).hidden = false")
            .await?;
        check(&mut browser, "with the links for others").await?;
        browser.evaluate("document.getElementById('company').close()").await?;
        check(&mut browser, "while another walks").await?;
        browser.evaluate("document.getElementById('reins').hidden = true").await?;
        browser.evaluate("document.getElementById('stop').click()").await?;
        browser.until("causeway.phase === 'ready'").await?;
        check(&mut browser, "after a walk").await?;
        browser.evaluate("localStorage.clear()").await?;
    }
    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}
