//! Sessions and clips that a team of ranks draws on threads of the processor.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use pipeline::cosmos3::Cosmos3;
use pipeline::world::{Cancel, Size, Step, World};
use pipeline::{Device, load_world, load_world_over_ranks};
use server::offline::replay::{Request, replay};
use server::whole_file::Existing;
use server::{Limits, pocket};
use sha2::{Digest, Sha256};
use tests::Server;
use tests::cosmos3::{ModelFolder, ask, golden};
use tests::message::{Event, Init};

/// A folder that is there as long as this is.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_session_that_two_ranks_drew_is_drawn_again_to_the_byte_by_one() -> Result<()> {
    let folder = Folder(std::env::temp_dir().join(format!("causeway-ranks-{}", std::process::id())));
    let limits = Limits { record: Some((folder.0.clone(), 1 << 24)), ..Limits::default() };
    let server = Server::start(Box::new(|| Ok(load_world_over_ranks(&pocket::dir(), &Device::cpu(), 2)?)), limits)?;
    let mut client = server.session(Init::new("a red tower").features(["step"]).seed(11)).await?;
    let (mut hash, mut session) = (Sha256::new(), String::new());
    for chunk in 0..4 {
        client.send(Event::hold(["w", "wl"][chunk % 2])).await?;
        if chunk == 2 {
            client.send(Event::prompt("a green meadow")).await?;
        }
        client.send(Event::step()).await?;
        let drawn = client.chunk().await?;
        drawn.frames().iter().for_each(|frame| hash.update(frame));
        session = drawn.stats.session_id;
    }
    client.close().await?;
    server.stop()?;
    let file = folder.0.join(format!("{session}.causeway"));
    let request = Request { file, out: None, until: None, existing: Existing::Keep, cancel: Cancel::default() };
    let (_, told) = replay(load_world(&pocket::dir(), &Device::cpu())?.as_ref(), request.read()?, &request)?;
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(told.contains(&hash), "{told} does not have {hash}");
    Ok(())
}

#[test]
fn a_clip_that_three_ranks_draw_has_the_bytes_of_one() {
    let folder = ModelFolder::of(&golden());
    let draw = |world: &Cosmos3| {
        let mut ask = ask("a red hill", Size { width: 80, height: 48 }, 5, 3);
        ask.settings.num_inference_steps = Some(3);
        let (mut clip, mut drawn) = (world.clip(ask).expect("a clip"), Vec::new());
        loop {
            let step = clip.step(&Cancel::default(), &mut |frames| drawn.extend(frames.rgb)).expect("a piece");
            if let Step::Done(_) = step {
                return drawn;
            }
        }
    };
    let load = |ranks| Cosmos3::load_over_ranks(&folder.open(), &Device::cpu(), ranks);
    let alone = draw(&load(1).expect("a model"));
    assert!(!alone.is_empty());
    assert!(draw(&load(3).expect("three heads of keys")) == alone);
    let refused = load(2).err().expect("three heads of keys").to_string();
    assert!(refused.contains("2 ranks cannot share 3 heads of keys") && refused.contains("1 or 3 ranks"), "{refused}");
}
