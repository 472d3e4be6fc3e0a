//! Films in a real browser: a file of ours plays, with its size, its length and its colours.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pipeline::testcard::{self, Testcard};
use pipeline::world::{Frames, Size};
use server::media::mp4;
use tests::browser::Browser;

const SIZE: Size = Size { width: 128, height: 96 };

/// Give the page a film, as `film`.
async fn load(browser: &mut Browser, file: &[u8]) -> Result<()> {
    let script = format!(
        "window.film = document.createElement('video');
         new Promise((resolve, reject) => {{
           film.onloadeddata = () => resolve(true);
           film.onerror = () => reject(film.error.message);
           film.muted = true;
           film.src = 'data:video/mp4;base64,{}';
         }})",
        BASE64_STANDARD.encode(file)
    );
    browser.evaluate(&script).await.map(drop)
}

#[tokio::test]
async fn a_film_plays_in_a_browser_frame_by_frame() -> Result<()> {
    const FRAMES: usize = 45;
    const FPS: f64 = 16.0;
    let mut film = mp4::Film::begin(Vec::new(), SIZE, FPS, 20)?;
    let mut push =
        |frames: &Frames| frames.rgb.chunks_exact(SIZE.frame_bytes() as usize).try_for_each(|rgb| film.push(rgb));
    testcard_frames(FRAMES, &mut push)?;
    let file = film.finish()?;

    let mut browser = Browser::launch().await?;
    load(&mut browser, &file).await?;
    ensure!(browser.evaluate("[film.videoWidth, film.videoHeight].join()").await? == "128,96");
    let duration = browser.evaluate("film.duration").await?.as_f64().context("a number")?;
    // The movie's own clock has milliseconds.
    ensure!((duration - FRAMES as f64 / FPS).abs() <= 0.001, "{duration} seconds");
    for frame in [0, 1, 17, 31, 32, 33, 44] {
        let picture = browser.film_frame("window.film", (frame as f64 + 0.5) / FPS).await?;
        let reading = testcard::read(&picture).with_context(|| format!("frame {frame} is no test card"))?;
        ensure!(reading.frame == frame, "frame {frame} shows {}", reading.frame);
    }
    Ok(())
}

/// The first `count` frames of the test card.
fn testcard_frames(count: usize, push: &mut dyn FnMut(&Frames) -> Result<()>) -> Result<()> {
    use pipeline::world::{Cancel, ChunkInput, Chunking, ClipAsk, Init, Step, World};
    let world = Testcard::new(Duration::ZERO);
    let (sink, window) = world.card().choose_window(None, None)?;
    let init = Init {
        prompt: "day".into(),
        first_frame: None,
        size: SIZE,
        seed: 1,
        sink,
        window,
        first_chunk: None,
        condition_frames: None,
    };
    let inputs = vec![ChunkInput::default(); Chunking::even(world.card().chunk).count_for(count)];
    let mut clip = world.clip(ClipAsk::new(init, count, inputs))?;
    loop {
        let mut pushed = Ok(());
        let step = clip.step(&Cancel::default(), &mut |frames| {
            if pushed.is_ok() {
                pushed = push(&frames);
            }
        })?;
        pushed?;
        if let Step::Done(_) = step {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn a_browser_shows_a_film_in_the_colours_that_were_drawn() -> Result<()> {
    let colours = [[200u8, 40, 30], [40, 160, 90], [30, 60, 210], [240, 230, 120], [128, 128, 128]];
    let mut film = mp4::Film::begin(Vec::new(), SIZE, 2.0, 12)?;
    for colour in colours {
        film.push(&colour.repeat(SIZE.pixels() as usize))?;
    }
    let file = film.finish()?;
    let mut browser = Browser::launch().await?;
    load(&mut browser, &file).await?;
    for (frame, expected) in colours.into_iter().enumerate() {
        let picture = browser.film_frame("window.film", (frame as f64 + 0.5) / 2.0).await?;
        let at = 3 * (48 * 128 + 64);
        // A step of the quantiser; and browsers convert with a blue factor of 2, where BT.709 has 2.11, since libyuv's does not
        // fit into its byte. A film taken for BT.601 would be some 20 levels off in green.
        for ((got, expected), bound) in picture.rgb[at..at + 3].iter().zip(expected).zip([6, 6, 12]) {
            ensure!(got.abs_diff(expected) <= bound, "frame {frame}: {:?} for {expected}", &picture.rgb[at..at + 3]);
        }
    }
    Ok(())
}
