//! A clip as a film: what is in the file, and what becomes of a clip that is cut short.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use pipeline::testcard::{self, Testcard};
use pipeline::world::{Cancel, ChunkInput, ChunkPlan, Chunking, ClipAsk, Controls, Held, Init, Progress, Size, World};
use server::Limits;
use server::config::flags::{Cli, Command};
use server::engine::thread::Engine;
use server::guardrails::Guardrails;
use server::offline::generate::generate;
use server::openai::drawing::{DrawError, Drawn, Encoding, draw};
use tests::Server;
use tests::mp4::Film;

const SIZE: Size = Size { width: 128, height: 96 };
const FILM: Encoding = Encoding::Mp4 { fps: 16.0, quantiser: 12 };

/// Longer than anything takes here, however busy the machine is, and shorter than a chunk that is never to end.
const SOON: Duration = Duration::from_secs(20);
const NEVER: Duration = Duration::from_secs(3600);

/// A server whose chunks take `chunk_time`, and its engine.
async fn start(chunk_time: Duration) -> Result<(Server, Engine)> {
    let load = Box::new(move || Ok(Box::new(Testcard::new(chunk_time)) as Box<dyn World>));
    let (server, mut engine) = Server::with_engine(load, Limits::default())?;
    engine.card.wait_for(Option::is_some).await?;
    Ok((server, engine))
}

/// A clip whose latent frames have these keys held.
fn ask(engine: &Engine, size: Size, frames: usize, held: &[Held]) -> Result<ClipAsk> {
    let card = engine.card.borrow().clone().context("the test card is loaded")?;
    let prompt = "day".into();
    let (sink, window) = card.choose_window(None, None)?;
    let init =
        Init { prompt, first_frame: None, size, seed: 7, sink, window, first_chunk: None, condition_frames: None };
    let chunks = 0..Chunking::even(card.chunk).count_for(frames);
    let held = |at: usize| held.get(at).copied().unwrap_or_default();
    let input = |index| {
        let controls: Vec<Controls> =
            ChunkPlan::new(index, Chunking::even(card.chunk)).latent_range().map(|at| held(at).into()).collect();
        ChunkInput { prompt: None, recache: false, steps: None, controls: Some(controls) }
    };
    Ok(ClipAsk::new(init, frames, chunks.map(input).collect()))
}

/// Draw a clip to its end, however it ends.
async fn drawn(engine: &Engine, ask: ClipAsk, encoding: Encoding) -> Result<Result<Drawn, DrawError>> {
    let ticket = engine.ask_clip(ask).map_err(|refused| anyhow::anyhow!("{refused}"))?;
    Ok(tokio::time::timeout(SOON, draw(ticket, encoding, Guardrails::default(), Cancel::default(), |_, _| ())).await?)
}

/// The keys that the frames of a film say they were drawn with, and their numbers.
fn readings(film: &Film) -> Result<Vec<(usize, String)>> {
    let read = |frame| {
        let reading = testcard::read(frame).context("a frame that is no test card")?;
        Ok((reading.frame, reading.held.context("there is a script")?.iter().collect()))
    };
    film.frames.iter().map(read).collect()
}

#[tokio::test]
async fn a_clip_becomes_a_film_whose_frames_say_what_was_held() -> Result<()> {
    let (_server, engine) = start(Duration::ZERO).await?;
    let (w, l) = (Held::default().with('w'), Held::default().with('l'));
    let (told, tell) = std::sync::mpsc::channel();
    let ticket =
        engine.ask_clip(ask(&engine, SIZE, 30, &[w, w, l])?).map_err(|refused| anyhow::anyhow!("{refused}"))?;
    let admitted = ticket.bytes();
    let encoding = Encoding::Mp4 { fps: 8.0, quantiser: 20 };
    let drawn = draw(ticket, encoding, Guardrails::default(), Cancel::default(), move |progress, _share| {
        told.send((progress.done, progress.of)).expect("the test listens");
    });
    let drawn = drawn.await?;
    ensure!(tell.iter().collect::<Vec<_>>() == [(0, 1), (1, 3), (2, 3), (3, 3)]);
    ensure!((drawn.frames, drawn.content_type, drawn.peak_bytes) == (30, "video/mp4", admitted));
    let film = Film::read(&drawn.bytes)?;
    ensure!(film.size == SIZE && film.frames.len() == 30);
    ensure!((film.duration - 30.0 / 8.0).abs() < 1e-4 && (film.shown_at[29] - 29.0 / 8.0).abs() < 1e-4);
    for (at, (frame, held)) in readings(&film)?.into_iter().enumerate() {
        // Latent frame 0 has one frame, every other four.
        let expected = ["w", "w", "l"].get(at.div_ceil(4)).copied().unwrap_or_default();
        ensure!((frame, held.as_str()) == (at, expected), "frame {at} says {frame} and {held:?}");
    }
    let first = testcard::read(&drawn.first_frame).context("a test card")?;
    ensure!(first.frame == 0 && drawn.first_frame.size == SIZE);
    ensure!(drawn.took >= drawn.stages.decode, "{:?} in {:?}", drawn.stages, drawn.took);
    Ok(())
}

#[tokio::test]
async fn the_command_line_writes_the_same_bytes_as_the_server() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("causeway-film-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let out = folder.join("walk.mp4");
    let line = ["causeway", "generate", "--world", "testcard", "--size", "128x96", "--seed", "7", "--prompt", "day"];
    let line = line.into_iter().chain(["--actions", "w*2,l,-*3", "--out", out.to_str().context("UTF-8")?]);
    let Command::Generate(arguments) = Cli::try_parse_from(line)?.command else {
        unreachable!("the line says generate")
    };
    generate(&Testcard::new(Duration::ZERO), &arguments.request()?)?;
    let file = std::fs::read(&out)?;
    std::fs::remove_dir_all(&folder)?;

    let (_server, engine) = start(Duration::ZERO).await?;
    let (w, l) = (Held::default().with('w'), Held::default().with('l'));
    let served = drawn(&engine, ask(&engine, SIZE, 21, &[w, w, l])?, FILM).await??;
    ensure!(file == served.bytes, "{} and {} bytes", file.len(), served.bytes.len());
    Ok(())
}

#[tokio::test]
async fn a_clip_of_one_frame_becomes_the_picture_that_the_film_begins_with() -> Result<()> {
    let (_server, engine) = start(Duration::ZERO).await?;
    let first = drawn(&engine, ask(&engine, SIZE, 9, &[])?, FILM).await??.first_frame;
    let picture = async |encoding: Encoding| anyhow::Ok(drawn(&engine, ask(&engine, SIZE, 1, &[])?, encoding).await??);
    let png = picture(Encoding::Png).await?;
    ensure!(png.content_type == "image/png" && png.frames == 1);
    ensure!(image::load_from_memory(&png.bytes)?.into_rgb8().into_raw() == first.rgb, "PNG loses nothing");
    for (encoding, format) in [
        (Encoding::Jpeg { quality: 90 }, image::ImageFormat::Jpeg),
        (Encoding::WebP { quality: 90 }, image::ImageFormat::WebP),
    ] {
        let drawn = picture(encoding).await?;
        ensure!(image::guess_format(&drawn.bytes)? == format && drawn.content_type == format.to_mime_type());
        let rgb = image::load_from_memory(&drawn.bytes)?.into_rgb8().into_raw();
        let read = testcard::read(&pipeline::world::Picture { size: SIZE, rgb });
        ensure!(read.context("a test card")?.frame == 0);
    }
    Ok(())
}

#[tokio::test]
async fn a_cancelled_clip_ends_within_its_piece_and_leaves_the_device_to_the_next() -> Result<()> {
    let (_server, engine) = start(NEVER).await?;
    let cancel = Cancel::default();
    let ticket = engine.ask_clip(ask(&engine, SIZE, 33, &[])?).map_err(|refused| anyhow::anyhow!("{refused}"))?;
    let ends = cancel.clone();
    let begun = move |progress: Progress, _share| {
        // Its turn has come; what draws is a chunk that takes an hour.
        if progress.done == 0 {
            let ends = ends.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                ends.cancel();
            });
        }
    };
    let ended = tokio::time::timeout(SOON, draw(ticket, FILM, Guardrails::default(), cancel, begun)).await?;
    ensure!(ended.as_ref().err() == Some(&DrawError::Stopped), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn dropping_the_drawing_frees_the_device_wherever_it_is() -> Result<()> {
    let (_server, engine) = start(Duration::from_millis(5)).await?;
    // While it waits, as it begins, in its first pieces.
    for wait in [0, 1, 7, 30] {
        let pieces = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&pieces);
        let ticket = engine.ask_clip(ask(&engine, SIZE, 481, &[])?).map_err(|refused| anyhow::anyhow!("{refused}"))?;
        let drawing = draw(ticket, FILM, Guardrails::default(), Cancel::default(), move |progress, _share| {
            counted.store(progress.done, Ordering::Relaxed);
        });
        let ended = tokio::time::timeout(Duration::from_millis(wait), drawing).await;
        ensure!(ended.is_err(), "481 frames in {wait} ms");
        let before = pieces.load(Ordering::Relaxed);
        let began = Instant::now();
        drawn(&engine, ask(&engine, SIZE, 9, &[])?, FILM).await??;
        ensure!(began.elapsed() < SOON && pieces.load(Ordering::Relaxed) == before, "the dropped clip was drawn on");
    }
    Ok(())
}

#[tokio::test]
async fn frames_that_cannot_be_encoded_end_the_clip_and_the_next_is_drawn() -> Result<()> {
    let (_server, engine) = start(Duration::ZERO).await?;
    let odd = Size { width: 127, height: 96 };
    let failed = |ended: Result<Drawn, DrawError>, expected: &str| match ended {
        Err(DrawError::Encoder(reason)) if reason.contains(expected) => Ok(()),
        ended => Err(anyhow::anyhow!("not {expected:?}: {ended:?}")),
    };
    failed(drawn(&engine, ask(&engine, odd, 33, &[])?, FILM).await?, "both sides must be even")?;
    failed(drawn(&engine, ask(&engine, SIZE, 33, &[])?, Encoding::Png).await?, "a picture is one frame")?;
    failed(drawn(&engine, ask(&engine, SIZE, 1, &[])?, FILM).await?, "at least 2")?;
    let mut broken = ask(&engine, SIZE, 33, &[])?;
    broken.inputs[1].controls = Some(Vec::new());
    let ended = drawn(&engine, broken, FILM).await?;
    ensure!(matches!(ended, Err(DrawError::Failed(_))), "{ended:?}");
    ensure!(drawn(&engine, ask(&engine, SIZE, 33, &[])?, FILM).await??.frames == 33);
    Ok(())
}
