//! The page in a real browser, under every kind of hand: on small screens, with the mouse, a gamepad, other keys, a shared link.

use serde_json::Value;
use tests::browser::Browser;

use crate::browser::{fill, held, open_and_start, problems, stop, testcard_server};

/// Whether what is in the middle of an element is this element, seen and hit by a finger.
async fn hit(browser: &mut Browser, selector: &str) -> anyhow::Result<bool> {
    let look = format!(
        "(() => {{ const e = document.querySelector({}), r = e.getBoundingClientRect();
           const [x, y] = [r.x + r.width / 2, r.y + r.height / 2];
           return r.width >= 24 && x > 0 && y > 0 && x < innerWidth && y < innerHeight
             && e.contains(document.elementFromPoint(x, y)); }})()",
        Value::from(selector)
    );
    Ok(browser.evaluate(&look).await? == true)
}

#[tokio::test]
async fn on_every_screen_start_and_keys_are_seen_and_hit_and_a_finger_slides_between_keys() -> anyhow::Result<()> {
    const PADS: [&str; 2] = [".key[data-action=w]", ".key[data-action=l]"];
    let server = testcard_server().await;
    let mut browser = Browser::launch().await?;
    for (width, height) in [(1280, 720), (844, 390), (640, 360), (390, 844), (1920, 1080)] {
        browser.resize(width, height).await?;
        browser.navigate(&server.url).await?;
        browser.until("window.causeway?.phase === 'ready'").await?;
        browser.evaluate("document.getElementById('alert').hidden = false").await?;
        assert!(hit(&mut browser, "#go").await?, "Start at {width}x{height}");
        for pad in PADS {
            assert!(hit(&mut browser, pad).await?, "{pad} at {width}x{height}");
        }
    }
    browser.resize(844, 390).await?;
    browser.navigate(&server.url).await?;
    browser.until("window.causeway?.phase === 'ready'").await?;
    fill(&mut browser, "size", "320x192").await;
    // Nothing was pressed before: the space bar is the page's.
    browser.key_down("Space").await?;
    browser.key_up("Space").await?;
    browser.until("causeway.phase === 'running'").await?;
    browser.click("#fullscreen").await?;
    browser.until("document.body.classList.contains('full') && innerHeight === 390").await?;
    for pad in PADS {
        assert!(hit(&mut browser, pad).await?, "{pad} on the full screen");
    }
    let filled = "document.getElementById('screen').getBoundingClientRect().height > 0.95 * innerHeight
        || document.getElementById('screen').getBoundingClientRect().width > 0.95 * innerWidth";
    assert_eq!(browser.evaluate(filled).await?, true);

    browser.mouse_down(PADS[0]).await?;
    browser.until_picture("W is held", held("w")).await?;
    browser.mouse_move(".key[data-action=d]").await?;
    browser.until_picture("the finger slid to D", held("d")).await?;
    browser.mouse_up(".key[data-action=d]").await?;
    browser.until_picture("nothing is held", held("")).await?;
    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

#[tokio::test]
async fn a_walk_that_is_started_far_below_the_picture_brings_the_picture_into_view() -> anyhow::Result<()> {
    let server = testcard_server().await;
    let mut browser = Browser::launch().await?;
    browser.resize(844, 390).await?;
    browser.navigate(&server.url).await?;
    browser.until("window.causeway?.phase === 'ready'").await?;
    browser.evaluate("document.getElementById('start').scrollIntoView()").await?;
    let seen = "document.getElementById('stage').getBoundingClientRect().bottom > innerHeight / 2";
    assert_eq!(browser.evaluate(seen).await?, false, "the picture is far above");
    browser.click("#start").await?;
    browser.until("causeway.phase === 'running'").await?;
    assert!(hit(&mut browser, "#stage").await?, "the middle of the picture is seen");
    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

/// Nothing moves the camera in this picture.
fn rests(picture: &pipeline::world::Picture) -> Option<()> {
    let held = pipeline::testcard::read(picture)?.held?;
    (held.is_empty() && pipeline::testcard::read_steered(picture).is_none()).then_some(())
}

/// The camera goes ahead at this part of a key's step.
fn forward(rate: f64) -> impl Fn(&pipeline::world::Picture) -> Option<()> {
    move |picture| {
        let found = pipeline::testcard::read_steered(picture)?.rates.numbers()[0];
        ((found - rate).abs() < 0.02).then_some(())
    }
}

#[tokio::test]
async fn the_mouse_and_a_gamepad_and_another_key_steer_the_world() -> anyhow::Result<()> {
    // A pad of the standard mapping, pushed forward and a little to the right, with nothing else.
    const PAD: &str = "(() => {
        const buttons = Array.from({ length: 17 }, () => ({ pressed: false }));
        window.pad = { index: 0, connected: true, mapping: 'standard', axes: [0, -1, 0.05, 0], buttons };
        navigator.getGamepads = () => [pad];
        window.dispatchEvent(new Event('gamepadconnected'));
    })()";
    let server = testcard_server().await;
    let mut browser = Browser::launch().await?;
    open_and_start(&mut browser, &server.url, "jpeg").await?;

    browser.mouse_down("#screen").await?;
    browser.mouse_move(".key[data-action=l]").await?;
    browser
        .until_picture("the picture was dragged right and down", |picture| {
            let [_, _, yaw, pitch] = pipeline::testcard::read_steered(picture)?.rates.numbers();
            (yaw > 0.0 && pitch <= 0.0).then_some(())
        })
        .await?;
    browser.mouse_up(".key[data-action=l]").await?;
    browser.until_picture("the movement is over", rests).await?;

    // Half way is half of a key's step, which no key could say.
    browser.evaluate(PAD).await?;
    browser.until_picture("the stick is pushed forward", forward(1.0)).await?;
    browser.evaluate("pad.axes = [0, -0.575, 0, 0]").await?;
    browser.until_picture("the stick is half way", forward(0.5)).await?;
    browser.evaluate("pad.axes = [0, 0, 0, 0]").await?;
    browser.until_picture("the stick is let go", rests).await?;
    let told = "document.getElementById('m-parts').textContent.includes('input to first frame')";
    browser.evaluate("document.getElementById('hud-button').click()").await?;
    browser.until(told).await?;

    // In a list that has the focus, a letter walks, and no other format is chosen (D12).
    browser.evaluate("document.getElementById('format').focus()").await?;
    browser.key_down("KeyW").await?;
    browser.until_picture("W is held, though a list had the focus", held("w")).await?;
    browser.key_up("KeyW").await?;
    assert_eq!(browser.evaluate("document.getElementById('format').value").await?, "jpeg");
    fill(&mut browser, "format", "webp").await;
    let later = "document.getElementById('later-note').textContent";
    assert_eq!(browser.evaluate(later).await?, "Pictures as: from the next start.");

    browser.evaluate("document.getElementById('controls').open = true").await?;
    browser.click("#set-key-w").await?;
    browser.key_down("KeyQ").await?;
    browser.key_up("KeyQ").await?;
    browser.until("document.getElementById('set-key-w').textContent === 'Q'").await?;
    browser.evaluate("document.getElementById('stage').focus()").await?;
    browser.key_down("KeyW").await?;
    assert_eq!(browser.evaluate("causeway.held.length").await?, 0);
    browser.key_down("KeyQ").await?;
    browser.until_picture("Q walks now", held("w")).await?;
    browser.key_up("KeyQ").await?;
    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

#[tokio::test]
async fn a_shared_link_begins_the_same_walk_and_holds_the_same_keys() -> anyhow::Result<()> {
    let server = testcard_server().await;
    let mut browser = Browser::launch().await?;
    open_and_start(&mut browser, &server.url, "jpeg").await?;
    browser.key_down("KeyD").await?;
    browser.until_picture("D is held", held("d")).await?;
    browser
        .until_picture("and stays so for a while", |picture| held("d")(picture).filter(|reading| reading.chunk >= 4))
        .await?;
    // Without a clipboard the link stands in the address bar.
    browser.evaluate("navigator.clipboard.writeText = () => Promise.reject(new Error('none'))").await?;
    browser.click("#share").await?;
    browser.until("location.hash.startsWith('#w=')").await?;
    browser.key_up("KeyD").await?;
    browser.evaluate("localStorage.clear()").await?;
    let link = browser.evaluate("location.href").await?;

    browser.navigate("about:blank").await?;
    browser.navigate(link.as_str().expect("an address")).await?;
    browser.until("window.causeway?.phase === 'ready'").await?;
    let filled = "['prompt', 'size'].map((id) => document.getElementById(id).value).join()";
    assert_eq!(browser.evaluate(filled).await?, "a meadow,320x192");
    browser.click("#go").await?;
    browser.until_picture("D is held by the link", held("d")).await?;
    browser.until("causeway.held.length === 0 && document.querySelector('.key.held').dataset.action === 'd'").await?;
    browser.key_down("KeyS").await?;
    browser.until_picture("a key takes over", held("s")).await?;
    browser.key_up("KeyS").await?;
    browser.until_picture("and the link is over", held("")).await?;
    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

#[tokio::test]
async fn the_picture_is_enlarged_sharply_where_there_is_webgl_and_the_page_says_so_where_there_is_none()
-> anyhow::Result<()> {
    // What the page would save of the picture, beside the world's own pixels: their mean difference, 0 to 255.
    const DIFFERENCE: &str = "new Promise((resolve) => {
        const screen = document.getElementById('screen');
        const read = (source) => {
          const context = new OffscreenCanvas(screen.width, screen.height).getContext('2d');
          context.drawImage(source, 0, 0, screen.width, screen.height);
          return context.getImageData(0, 0, screen.width, screen.height).data;
        };
        URL.createObjectURL = (file) => (createImageBitmap(file).then((picture) => {
          const saved = read(picture);
          resolve(saved.reduce((sum, value, i) => sum + Math.abs(value - shown[i]), 0) / saved.length);
        }), 'blob:nothing');
        HTMLAnchorElement.prototype.click = () => {};
        document.getElementById('snapshot').click();
        const shown = read(screen); // before another picture comes
    })";
    let server = testcard_server().await;
    let mut browser = Browser::launch().await?;
    open_and_start(&mut browser, &server.url, "jpeg").await?;
    browser.until_picture("the first picture", pipeline::testcard::read).await?;
    browser.click("#pause").await?;
    browser.until("causeway.paused").await?;
    fill(&mut browser, "how", "sharp").await;
    assert_eq!(browser.evaluate("document.getElementById('sharp').hidden").await?, false);
    let difference = browser.evaluate(DIFFERENCE).await?.as_f64().expect("a number");
    // None at all would be the same canvas; the test card is large squares, of which sharpening changes the edges alone.
    assert!(difference > 0.0 && difference < 4.0, "{difference} levels of 255");

    browser.evaluate("localStorage.clear()").await?;
    browser.navigate(&server.url).await?;
    browser.evaluate("HTMLCanvasElement.prototype.getContext = () => null").await?;
    fill(&mut browser, "how", "sharp").await;
    browser.until("document.getElementById('alert-text').textContent.includes('WebGL 2')").await?;
    assert_eq!(browser.evaluate("document.getElementById('how').value").await?, "smooth");
    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}
