//! Every command of `docs/videos.md` for a shell, as it stands there, against the world that ships.
//!
//! Those for OpenAI's SDKs need the SDKs: `make test-clients` runs them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use server::Limits;
use tests::Server;
use tests::mp4::Film;

/// Where the document's commands expect the server.
const ADDRESS: &str = "127.0.0.1:30000";

/// The files that the commands make, with the frames of a film, in the document's order.
const MADE: [&[(&str, usize)]; 4] = [
    &[("walk.mp4", 96)],
    &[("film.mp4", 64), ("meadow.png", 0)],
    &[("valley.png", 0)],
    &[("first.webp", 0), ("meadow.mp4", 32)],
];

#[tokio::test]
async fn every_command_of_the_page_on_films_makes_the_file_that_it_names() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests lie in the repository")?;
    let page = std::fs::read_to_string(root.join("docs/videos.md"))?;
    let blocks: Vec<&str> = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    ensure!(blocks.len() == MADE.len(), "{} blocks of commands", blocks.len());
    let load = Box::new(|| Ok(pipeline::load_world(&server::pocket::dir(), &pipeline::Device::cpu())?));
    let (server, mut engine) = Server::with_engine(load, Limits::default())?;
    engine.card.wait_for(Option::is_some).await?;
    drop(engine);

    let folder = std::env::temp_dir().join(format!("causeway-videos-{}", std::process::id()));
    for (block, made) in blocks.into_iter().zip(MADE) {
        std::fs::create_dir_all(&folder)?;
        let commands = block.replace(ADDRESS, &server.address.to_string());
        ensure!(commands != block, "a block that asks no server: {block}");
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &commands]).current_dir(&folder);
        let ran = tokio::task::spawn_blocking(move || shell.output()).await?.context("starting bash")?;
        ensure!(ran.status.success(), "{block}: {}", String::from_utf8_lossy(&ran.stderr));
        let mut files: Vec<_> = std::fs::read_dir(&folder)?.collect::<std::io::Result<_>>()?;
        files.sort_by_key(std::fs::DirEntry::file_name);
        let names: Vec<_> = files.iter().map(std::fs::DirEntry::file_name).collect();
        ensure!(names.iter().eq(made.iter().map(|(name, _)| name)), "{names:?} of {block}");
        for (file, &(name, frames)) in files.iter().zip(made) {
            let bytes = std::fs::read(file.path())?;
            if frames > 0 {
                let film = Film::read(&bytes).context(name)?;
                ensure!(film.frames.len() == frames && film.size.to_string() == "96x64", "{name}");
            } else {
                image::load_from_memory(&bytes).context(name)?;
            }
        }
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}
