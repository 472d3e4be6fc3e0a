//! The page in a real browser: a key that is held shows in the pixels of the canvas, and so does letting it go.
//!
//! The world is the test card, whose pictures say what they were drawn from; nothing is asked of the page that the eye
//! could not see.

use std::time::Duration;

use pipeline::testcard::{Reading, Testcard, prompt_hash, read};
use pipeline::world::{Cancel, ChunkInput, Held, Init, Picture, Size, World};
use server::{Limits, LoadWorld, Phase, serve};
use tests::browser::Browser;
use tests::client::Client;
use tests::shaper::{Cut, How, Shape, Shaper};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) const CHUNK_TIME: Duration = Duration::from_millis(200);

pub(crate) struct Running {
    pub(crate) url: String,
    phase: watch::Sender<Phase>,
    ended: JoinHandle<anyhow::Result<()>>,
}

pub(crate) async fn testcard_server() -> Running {
    server_of(Box::new(|| Ok(Box::new(Testcard::new(CHUNK_TIME)) as Box<dyn World>))).await
}

async fn pocket_server() -> Running {
    server_of(Box::new(|| Ok(pipeline::load_world(&server::pocket::dir(), &pipeline::Device::cpu())?))).await
}

async fn server_of(load: LoadWorld) -> Running {
    limited(load, Limits::default()).await
}

pub(crate) async fn limited(load: LoadWorld, limits: Limits) -> Running {
    at("127.0.0.1:0", load, limits).await
}

/// At an address that a browser knows already.
pub(crate) async fn at(address: &str, load: LoadWorld, limits: Limits) -> Running {
    let listener = TcpListener::bind(address).await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("a bound address"));
    let (phase, said) = watch::channel(Phase::Serving);
    let ended = tokio::spawn(serve(listener, load, limits, said));
    Running { url, phase, ended }
}

/// What a visitor would fill in, without the typing.
pub(crate) async fn fill(browser: &mut Browser, id: &str, value: &str) {
    let set = format!(
        "(() => {{ const e = document.getElementById('{id}'); e.value = '{value}';
          for (const type of ['input', 'change']) e.dispatchEvent(new Event(type, {{ bubbles: true }})); }})()"
    );
    browser.evaluate(&set).await.expect("a field of the page");
}

pub(crate) fn held(keys: &str) -> impl Fn(&Picture) -> Option<Reading> {
    let expected = keys.chars().fold(Held::default(), Held::with);
    move |picture| read(picture).filter(|reading| reading.held == Some(expected))
}

fn drawn_from(prompt: &str) -> impl Fn(&Picture) -> Option<Reading> {
    let expected = prompt_hash(prompt);
    move |picture| read(picture).filter(|reading| reading.prompt_hash == expected)
}

/// The console's errors, but for the one that says that the world was still loading when the page first asked.
pub(crate) fn problems(browser: &Browser) -> Vec<&String> {
    browser.problems().iter().filter(|problem| !(problem.contains("503") && problem.contains("/health"))).collect()
}

pub(crate) async fn open_and_start(browser: &mut Browser, url: &str, format: &str) -> anyhow::Result<()> {
    browser.navigate(url).await?;
    browser.until("window.causeway?.phase === 'ready'").await?;
    fill(browser, "size", "320x192").await;
    fill(browser, "prompt", "a meadow").await;
    fill(browser, "format", format).await;
    browser.click("#start").await?;
    browser.until("causeway.phase === 'running'").await
}

#[tokio::test]
async fn a_key_held_in_the_browser_is_in_the_picture_until_it_is_let_go() -> anyhow::Result<()> {
    let server = testcard_server().await;
    let mut browser = Browser::launch().await?;
    open_and_start(&mut browser, &server.url, "jpeg").await?;
    let first = browser.until_picture("the first prompt", drawn_from("a meadow")).await?;

    browser.key_down("KeyW").await?;
    let walking = browser.until_picture("W is held", held("w")).await?;
    assert!(walking.chunk > first.chunk, "{walking:?} after {first:?}");
    assert_eq!(browser.evaluate("document.querySelector('.key.held').dataset.action").await?, "w");
    browser.key_down("ArrowRight").await?;
    browser.until_picture("W and the right arrow are held", held("wl")).await?;
    browser.key_up("KeyW").await?;
    browser.key_up("ArrowRight").await?;
    browser.until_picture("nothing is held", held("")).await?;
    browser.until("causeway.latencyMs > 0 && causeway.eventIdShown === causeway.lastEventId").await?;

    // The window loses its focus: whatever happens to the key from now on is not seen here.
    browser.key_down("KeyS").await?;
    browser.until_picture("S is held", held("s")).await?;
    browser.evaluate("window.dispatchEvent(new Event('blur'))").await?;
    browser.until_picture("nothing is held after the blur", held("")).await?;
    browser.key_up("KeyS").await?;

    // A finger on the page's own keys.
    browser.mouse_down(".key[data-action=a]").await?;
    browser.until_picture("the page's A is held", held("a")).await?;
    browser.mouse_up(".key[data-action=a]").await?;
    browser.until_picture("the page's A is let go", held("")).await?;

    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

#[tokio::test]
async fn a_walk_whose_line_is_cut_goes_on_by_itself_with_what_is_held() -> anyhow::Result<()> {
    let server = testcard_server().await;
    let address = server.url.trim_start_matches("http://").trim_end_matches('/').parse()?;
    // Past the page's own files, whose connections are cut there too.
    let down = Shape { cut: Some(Cut { after_bytes: 1_500_000, how: How::Reset }), ..Shape::default() };
    let shaper = Shaper::before(address, Shape::default(), down, 3).await?;
    let mut browser = Browser::launch().await?;
    open_and_start(&mut browser, &format!("http://{}/", shaper.address), "jpeg").await?;
    browser.key_down("KeyW").await?;
    browser.until_picture("W is held", held("w")).await?;
    browser.until("causeway.resumes > 0 && causeway.phase === 'running'").await?;
    let chunk = browser.evaluate("causeway.chunk").await?.as_u64().expect("a number");
    browser
        .until_picture("W is still held, and later", |picture| {
            held("w")(picture).filter(|reading| reading.chunk as u64 > chunk)
        })
        .await?;
    // Nobody lost a session: it is the one that began.
    browser.key_up("KeyW").await?;
    browser.until_picture("nothing is held", held("")).await?;
    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

#[tokio::test]
async fn a_prompt_typed_while_walking_is_in_the_picture_and_typing_does_not_walk() -> anyhow::Result<()> {
    let server = testcard_server().await;
    let mut browser = Browser::launch().await?;
    open_and_start(&mut browser, &server.url, "jpeg").await?;

    browser.key_down("KeyD").await?;
    browser.until_picture("D is held", held("d")).await?;
    // Its caret is where the text ends: that is where a click in the middle of an empty line puts it.
    browser.click("#prompt").await?;
    browser.until_picture("a click into the prompt lets go of D", held("")).await?;
    browser.type_text(" at night, ").await?;
    browser.key_down("KeyW").await?;
    browser.key_up("KeyW").await?;
    let typed = browser.evaluate("document.getElementById('prompt').value").await?;
    assert_eq!(typed, "a meadow at night, w");
    assert_eq!(browser.evaluate("causeway.held.length").await?, 0);
    browser.key_down("Enter").await?;
    let reading = browser.until_picture("the new prompt", drawn_from("a meadow at night, w")).await?;
    assert_eq!(reading.held, Some(Held::default()));
    browser.until("document.getElementById('prompt-note').textContent.startsWith('In the picture')").await?;

    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

/// C75, of our own page.
#[tokio::test]
async fn a_visit_from_one_start_to_the_next_leaves_no_error_in_the_console() -> anyhow::Result<()> {
    let server = testcard_server().await;
    let mut browser = Browser::launch().await?;
    open_and_start(&mut browser, &server.url, "webp").await?;
    browser.key_down("KeyW").await?;
    browser.until_picture("W is held", held("w")).await?;
    browser.click("#prompt").await?;
    browser.key_up("KeyW").await?;
    browser.type_text(" in the rain").await?;
    browser.key_down("Enter").await?;
    let before = browser.until_picture("the new prompt", drawn_from("a meadow in the rain")).await?;
    assert!(before.chunk > 0, "{before:?}");
    record(&mut browser, 5).await?;

    browser.click("#start").await?;
    browser.until("causeway.phase === 'ready'").await?;
    browser.click("#start").await?;
    browser.until("causeway.phase === 'running'").await?;
    // The second walk begins at its own beginning, with the prompt as it was left.
    let again = drawn_from("a meadow in the rain");
    let first = |picture: &Picture| again(picture).filter(|reading| reading.chunk == 0);
    browser.until_picture("the second walk's first chunk", first).await?;

    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

/// For so long, and look at the file: a video of what was shown, a small world enlarged by a whole factor.
async fn record(browser: &mut Browser, seconds: u64) -> anyhow::Result<()> {
    let kept = "(() => { const make = URL.createObjectURL;
        URL.createObjectURL = (file) => (window.film = document.createElement('video'), film.src = make.call(URL, file)); })()";
    browser.evaluate(kept).await?;
    browser.click("#record").await?;
    browser.until("causeway.recording").await?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    browser.click("#record").await?;
    browser.until("!causeway.recording && window.film?.readyState >= 1").await?;
    assert_eq!(browser.evaluate("`${film.videoWidth}x${film.videoHeight}`").await?, "960x576");
    // A recorder does not know how long it will be: the page writes that into the file when it ends.
    let length = browser.evaluate("film.duration").await?.as_f64().expect("a film says how long it is");
    anyhow::ensure!((length - seconds as f64).abs() < 2.0, "{length} seconds");
    Ok(())
}

#[tokio::test]
async fn a_walk_that_is_paused_stands_still_and_goes_on_where_it_was() -> anyhow::Result<()> {
    let server = testcard_server().await;
    let mut browser = Browser::launch().await?;
    open_and_start(&mut browser, &server.url, "jpeg").await?;
    browser.key_down("KeyP").await?;
    browser.key_up("KeyP").await?;
    browser.until("causeway.paused && causeway.phase === 'paused'").await?;
    // What was granted still comes.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let stands = browser.until_picture("the last of what was granted", read).await?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let still = browser.until_picture("the same", read).await?;
    assert_eq!(still.chunk, stands.chunk);
    browser.click("#pause").await?;
    let later = |picture: &Picture| read(picture).filter(|reading| reading.chunk > still.chunk);
    browser.until_picture("a later chunk", later).await?;
    browser.until("causeway.phase === 'running' && causeway.resumes === 0").await?;
    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

#[tokio::test]
async fn a_visitor_who_finds_every_place_taken_sees_the_queue_and_walks_when_it_is_their_turn() -> anyhow::Result<()> {
    let load: LoadWorld = Box::new(|| Ok(Box::new(Testcard::new(CHUNK_TIME))));
    let server = limited(load, Limits { sessions: 1, busy_wait: Duration::ZERO, ..Limits::default() }).await;
    let mut first = Client::connect(&format!("{}v1/realtime_video", server.url.replace("http", "ws"))).await?;
    first.send(tests::small()).await?;
    first.chunk().await?;
    let mut browser = Browser::launch().await?;
    browser.navigate(&server.url).await?;
    browser.until("window.causeway?.phase === 'ready'").await?;
    fill(&mut browser, "size", "320x192").await;
    browser.click("#start").await?;
    browser.until("causeway.phase === 'waiting'").await?;
    let said = |id: &str| format!("document.getElementById('{id}').textContent");
    assert_eq!(browser.evaluate(&said("status")).await?, "Waiting: next");
    assert_eq!(browser.evaluate(&said("curtain-text")).await?, "Every place is taken. You are next.");
    browser.key_down("KeyW").await?;
    first.close().await?;
    browser.until("causeway.phase === 'running'").await?;
    browser.until_picture("W, held since before there was a place", held("w")).await?;
    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

#[tokio::test]
async fn every_picture_format_is_shown_and_a_refusal_is_told_in_words() -> anyhow::Result<()> {
    let server = testcard_server().await;
    let mut browser = Browser::launch().await?;
    // Mean difference of a byte: none where nothing was encoded, and what the others take at the page's quality.
    for (format, tolerance) in [("raw", 0.0), ("webp", 4.0), ("jpeg", 4.0), ("h264", 4.0)] {
        open_and_start(&mut browser, &server.url, format).await?;
        let (shown, reading) = browser.until_picture(format, |picture| Some((picture.clone(), read(picture)?))).await?;
        let drawn = drawn_by_the_world(shown.size, reading)?;
        let difference: u64 = shown.rgb.iter().zip(&drawn).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let difference = difference as f64 / drawn.len() as f64;
        assert!(difference <= tolerance, "{format}: {difference} a byte at {reading:?}");
        browser.click("#start").await?;
        browser.until("causeway.phase === 'ready'").await?;
    }

    browser.evaluate("document.getElementById('prompt').value = 'meadow '.repeat(1e5)").await?;
    browser.click("#start").await?;
    browser.until("!document.getElementById('alert').hidden").await?;
    let said = browser.evaluate("document.getElementById('alert-text').textContent").await?;
    let said = said.as_str().unwrap_or_default();
    assert!(said.contains("cannot start") && said.contains("Prompt"), "{said}");
    assert_eq!(browser.evaluate("causeway.phase").await?, "ready");

    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

#[tokio::test]
async fn holding_w_moves_the_world_that_ships() -> anyhow::Result<()> {
    let server = pocket_server().await;
    let mut browser = Browser::launch().await?;
    browser.navigate(&server.url).await?;
    browser.until("window.causeway?.phase === 'ready'").await?;
    browser.click("#gallery > :nth-child(1)").await?;
    browser.click("#start").await?;
    browser.until("causeway.framesShown > 0").await?;
    let first = browser.canvas().await?;

    browser.key_down("KeyW").await?;
    // The picture says which key press it was drawn from.
    browser.until("causeway.lastEventId > 0 && causeway.eventIdShown === causeway.lastEventId").await?;
    let shown = browser.evaluate("causeway.framesShown").await?.as_u64().unwrap_or_default();
    browser.until(&format!("causeway.framesShown >= {}", shown + 12)).await?;
    let walked = browser.canvas().await?;
    assert_eq!(walked.size, first.size);
    let moved: u64 = first.rgb.iter().zip(&walked.rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    let moved = moved as f64 / first.rgb.len() as f64;
    assert!(moved > 3.0, "the picture changed by {moved} a byte in twelve frames");
    browser.key_up("KeyW").await?;

    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

#[tokio::test]
async fn the_world_that_ships_can_begin_with_a_prompt_alone_and_hears_another_on_the_way() -> anyhow::Result<()> {
    let server = pocket_server().await;
    let mut browser = Browser::launch().await?;
    browser.navigate(&server.url).await?;
    browser.until("window.causeway?.phase === 'ready'").await?;
    let pressed = |id: &str| format!("document.querySelector('{id}').getAttribute('aria-pressed') === 'true'");
    browser.until(&pressed("#gallery > :nth-child(1)")).await?;
    browser.click("#no-picture").await?;
    browser.until(&format!("{} && !({})", pressed("#no-picture"), pressed("#gallery > :nth-child(1)"))).await?;
    let black = browser.canvas().await?;
    assert!(black.rgb.iter().all(|&byte| byte == 0), "with no picture there is nothing to show yet");
    let prompt = "document.getElementById('prompt').value";
    browser.click("#presets > :nth-child(3)").await?;
    assert_eq!(browser.evaluate(prompt).await?, "an island at noon");

    browser.click("#start").await?;
    browser.until("causeway.framesShown > 0").await?;
    let drawn = browser.canvas().await?;
    let light = drawn.rgb.iter().map(|&byte| u64::from(byte)).sum::<u64>() / drawn.rgb.len() as u64;
    assert!(light > 40, "an island at noon is bright; this picture has {light} of 255");
    // A chip that is pressed on the way is sent at once.
    browser.click("#presets > :nth-child(2)").await?;
    assert_eq!(browser.evaluate(prompt).await?, "a city at night");
    browser.until("causeway.eventIdShown !== null && causeway.eventIdShown === causeway.lastEventId").await?;
    let shown = browser.evaluate("causeway.framesShown").await?.as_u64().unwrap_or_default();
    browser.until(&format!("causeway.framesShown >= {}", shown + 16)).await?;
    let night = browser.canvas().await?;
    let dark = night.rgb.iter().map(|&byte| u64::from(byte)).sum::<u64>() / night.rgb.len() as u64;
    assert!(dark + 20 < light, "a city at night must be darker than an island at noon: {dark}, {light}");

    assert_eq!(problems(&browser), Vec::<&String>::new());
    stop(server).await
}

/// The pixels of one video frame of the walk on which no key is ever touched.
fn drawn_by_the_world(size: Size, reading: Reading) -> anyhow::Result<Vec<u8>> {
    let (sink, window) = (9, 18);
    let init = Init {
        prompt: "a meadow".into(),
        first_frame: None,
        size,
        seed: 42,
        sink,
        window,
        first_chunk: None,
        condition_frames: None,
    };
    let mut rollout = Testcard::new(Duration::ZERO).open(init)?;
    let mut video = Vec::new();
    for _chunk in 0..=reading.chunk {
        rollout.generate(&ChunkInput::default(), &Cancel::default(), &mut |frames| video.extend(frames.rgb))?;
    }
    let bytes = size.frame_bytes() as usize;
    Ok(video[reading.frame * bytes..][..bytes].to_vec())
}

/// The server ends when it is told to, browser or not.
pub(crate) async fn stop(server: Running) -> anyhow::Result<()> {
    server.phase.send_replace(Phase::Stopping);
    tokio::time::timeout(Duration::from_secs(20), server.ended).await??
}
