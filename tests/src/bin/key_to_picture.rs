//! From a key to the picture, in a real browser: on the world that ships, and on the test card at its pace.
//!
//! `cargo run --release -p tests --bin key_to_picture -- --presses 120 --walks 6`
//!
//! On the world that ships, the picture on the screen is known by its event id. The test card draws the held keys into its
//! pictures; there the same is read from the pixels too. Both run in headless Chromium with software rendering, beside the
//! server. With `--film` every second walk is sent as H.264, so that both formats are measured under the same load.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use pipeline::testcard::Testcard;
use pipeline::world::World;
use server::{Limits, LoadWorld};
use tests::Server;
use tests::browser::Browser;
use tests::chance::Chance;
use tests::key_press::{Log, Press, press, quantile};
use tokio::time::sleep;

#[derive(Parser)]
#[command(about = "Measure the time from a key to the picture in a browser")]
struct Args {
    /// Keys to press on each of the two worlds
    #[arg(long, default_value_t = 120)]
    presses: usize,
    /// Walks that they are divided among
    #[arg(long, default_value_t = 6)]
    walks: usize,
    /// Measure the test card alone, with this drawing time of a chunk in milliseconds
    #[arg(long, value_name = "MS")]
    draw_ms: Option<f64>,
    /// With --draw-ms: this time for a chunk that a person waits for
    #[arg(long, value_name = "MS", requires = "draw_ms")]
    quick_ms: Option<f64>,
    /// Let walks take turns as JPEG and as H.264, and measure each
    #[arg(long)]
    film: bool,
    /// What decides when keys are pressed
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The key presses of one world whose pictures are sent in one format.
#[derive(Default)]
struct Measured {
    format: &'static str,
    presses: Vec<Press>,
    /// The first of each walk, which also count among the others.
    first: Vec<Press>,
    draw_ms: Vec<f64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.walks > 0 && args.presses >= args.walks, "--presses: at least one for each walk");
    ensure!(!args.film || args.walks >= 2, "--film: at least two walks, one for each format");
    println!("load before: {}", load()?);
    let pocket = || pipeline::load_world(&server::pocket::dir(), &pipeline::Device::cpu());
    let card = pocket()?.card().clone();
    let (mut by_id, mut draw_ms, mut quick_ms) = (None, args.draw_ms.unwrap_or_default(), args.quick_ms);
    if args.draw_ms.is_none() {
        let shipped = measure(&args, Box::new(move || Ok(pocket()?))).await?;
        let drawn = |part| quantile(shipped.iter().flat_map(|format| format.draw_ms.iter().copied()), part);
        // A press and its release make up to half of the chunks quick ones, and a tenth of them at least.
        draw_ms = drawn(0.75);
        quick_ms = card.quick_steps.map(|_| drawn(0.05));
        for format in &shipped {
            format.print(&format!("the world that ships: a chunk is drawn in {}", times(draw_ms, quick_ms)));
        }
        by_id = Some(quantile(shipped[0].presses.iter().map(|press| press.picture_ms), 0.5));
    }
    let made = move || {
        let seconds = |ms: f64| Duration::from_secs_f64(ms / 1000.0);
        let testcard = Testcard::paced_like(&card, seconds(draw_ms));
        // The number of steps draws nothing here.
        let steps = card.quick_steps.unwrap_or(1);
        Ok(Box::new(match quick_ms {
            Some(quick_ms) => testcard.with_quick(steps, seconds(quick_ms)),
            None => testcard,
        }) as Box<dyn World>)
    };
    let testcard = measure(&args, Box::new(made)).await?;
    for format in &testcard {
        format.print(&format!("the test card at the same pace, which draws a chunk in {}", times(draw_ms, quick_ms)));
    }
    let by_pixels = quantile(testcard[0].pixels()?, 0.5);
    println!("load after: {}", load()?);

    if let Some(by_id) = by_id {
        println!("key to picture, median: {by_id:.0} ms by event id, {by_pixels:.0} ms by the pixels of the test card");
    }
    Ok(())
}

/// Drawing times, in words.
fn times(draw_ms: f64, quick_ms: Option<f64>) -> String {
    let quick = quick_ms.map_or(String::new(), |ms| format!(", one that a person waits for in {ms:.0} ms"));
    format!("{draw_ms:.0} ms{quick}")
}

/// JPEG first, then H.264 where it is asked for.
async fn measure(args: &Args, load: LoadWorld) -> Result<Vec<Measured>> {
    let server = Server::start(load, Limits::default())?;
    let mut browser = Browser::launch().await?;
    Log::begin(&mut browser).await?;
    browser.navigate(&format!("http://{}/", server.address)).await?;
    browser.until("window.causeway?.phase === 'ready' && keyProbe.ready === true").await?;
    let mut chance = Chance::new(args.seed);
    let formats: &[&str] = if args.film { &["jpeg", "h264"] } else { &["jpeg"] };
    let mut measured: Vec<_> = formats.iter().map(|&format| Measured { format, ..Measured::default() }).collect();
    for walk in 0..args.walks {
        let measured = &mut measured[walk % formats.len()];
        let choose = format!("document.querySelector('#format').value = '{}'", measured.format);
        browser.evaluate(&choose).await?;
        let presses = args.presses * (walk + 1) / args.walks - args.presses * walk / args.walks;
        browser.click("#start").await?;
        browser.until("causeway.phase === 'running'").await?;
        sleep(Duration::from_millis(300 + chance.below(1200) as u64)).await;
        let (presses, log) = press(&mut browser, presses, &mut chance).await?;
        browser.click("#start").await?;
        browser.until("causeway.phase === 'ready'").await?;
        measured.first.extend(presses.first().cloned());
        measured.presses.extend(presses);
        measured.draw_ms.extend(log.draw_ms());
    }
    ensure!(browser.problems().is_empty(), "the console: {:?}", browser.problems());
    Ok(measured)
}

impl Measured {
    fn pixels(&self) -> Result<Vec<f64>> {
        let read = |press: &Press| press.pixels_ms.context("no picture of the test card showed the key");
        self.presses.iter().map(read).collect()
    }

    fn print(&self, title: &str) {
        let row = |name: &str, presses: &[Press], value: fn(&Press) -> Option<f64>| {
            let values: Vec<f64> = presses.iter().filter_map(value).collect();
            if !values.is_empty() {
                let [middle, most, longest] = [0.5, 0.9, 1.0].map(|part| quantile(values.iter().copied(), part));
                println!("  {name:<42} p50 {middle:>4.0}  p90 {most:>4.0}  max {longest:>4.0} ms");
            }
        };
        println!("{title}; as {}; {} presses", self.format, self.presses.len());
        row("key to message", &self.presses, |press| Some(press.sent_ms));
        row("key to answer come", &self.presses, |press| Some(press.answer_ms));
        row("answer come to answer shown", &self.presses, |press| Some(press.queued_ms));
        row("key to picture, by event id", &self.presses, |press| Some(press.picture_ms));
        row("key to picture, by pixels", &self.presses, |press| press.pixels_ms);
        row("first key of a walk to picture", &self.first, |press| Some(press.picture_ms));
        let counts = [0, 1, 2].map(|gaps| self.presses.iter().filter(|press| press.stutters() == gaps).count());
        let more = self.presses.len() - counts.iter().sum::<usize>();
        println!(
            "  gaps over 1.5 frame times a press          none {}, one {}, two {}, more {more}",
            counts[0], counts[1], counts[2]
        );
    }
}

/// Of the machine, in the last minute.
fn load() -> Result<String> {
    let load = std::fs::read_to_string("/proc/loadavg").context("/proc/loadavg")?;
    Ok(load.split(' ').next().unwrap_or_default().to_owned())
}
