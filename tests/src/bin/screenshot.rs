//! Takes the picture of the page that README shows: opens it, picks a first frame, walks, and saves what a person would see.
//! It is a PNG; README's is that as WebP of quality 86, a seventh of the size.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use tests::browser::Browser;

#[derive(Parser)]
struct Args {
    /// The page of a running server.
    #[arg(long, default_value = "http://127.0.0.1:30000/")]
    url: String,
    /// Which of the world's pictures to start from, counted from 1.
    #[arg(long, default_value_t = 1)]
    first_frame: usize,
    /// Keys to hold, as the browser names them: KeyW, ArrowLeft.
    #[arg(long, default_value = "KeyW")]
    hold: Vec<String>,
    /// Video frames to let pass before the picture is taken.
    #[arg(long, default_value_t = 20)]
    frames: u32,
    #[arg(long, default_value_t = 1280)]
    width: u32,
    #[arg(long, default_value_t = 800)]
    height: u32,
    #[arg(long)]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut browser = Browser::launch().await?;
    browser.resize(args.width, args.height).await?;
    browser.navigate(&args.url).await?;
    browser.until("window.causeway?.phase === 'ready'").await?;
    browser.click(&format!("#gallery > :nth-child({})", args.first_frame)).await?;
    browser.click("#start").await?;
    browser.until("causeway.framesShown > 0").await?;
    for key in &args.hold {
        browser.key_down(key).await?;
    }
    browser.until(&format!("causeway.framesShown >= {}", args.frames)).await?;
    // The meters are averages: let them settle on what is seen.
    tokio::time::sleep(Duration::from_millis(100)).await;
    browser.screenshot(&args.out).await?;
    for problem in browser.problems() {
        eprintln!("console: {problem}");
    }
    Ok(())
}
