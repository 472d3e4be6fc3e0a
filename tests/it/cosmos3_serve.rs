//! A Cosmos3 directory behind the commands: `causeway serve` says what it is, `causeway generate` draws from it.

use std::io::Write;
use std::process::{Command as Process, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use pipeline::world::{Size, World};
use pipeline::{Device, load_world};
use serde_json::json;
use server::Limits;
use server::config::flags::{Cli, Command};
use server::media::pictures;
use server::offline::generate::{Report, generate};
use tests::cosmos3::{ModelFolder, ask, golden};
use tests::message::Init;
use tests::openai::{Part, cosmos3_card, post, post_form};
use tests::{Server, refusal};

#[tokio::test]
async fn a_session_on_a_world_that_draws_clips_is_refused_with_the_way_to_a_clip() -> Result<()> {
    let (_dir, server) = serve()?;
    let mut client = server.connect().await?;
    client.send(Init::new("a red boat").size(64, 64)).await?;
    let refused = refusal(&mut client).await?;
    let said = refused.to_string();
    ensure!(said.contains("clips and no sessions") && said.contains("/v1/videos"), "{said}");
    drop(client);
    server.stop()
}

/// A server with the golden model.
fn serve() -> Result<(ModelFolder, Server)> {
    let dir = ModelFolder::of(&golden());
    let model = dir.open();
    let server = Server::start(Box::new(move || Ok(load_world(&model, &Device::cpu())?)), Limits::default())?;
    Ok((dir, server))
}

#[tokio::test]
async fn requests_for_clips_are_tested_with_the_card_of_a_model() -> Result<()> {
    let dir = ModelFolder::of(&golden());
    let (model, card) = (dir.load()?, cosmos3_card());
    let own = model.card();
    ensure!(own.clips == card.clips, "{:?} is not {:?}", own.clips, card.clips);
    ensure!((own.sizes.clone(), own.default_size, own.fps) == (card.sizes, card.default_size, card.fps));
    Ok(())
}

#[tokio::test]
async fn a_prompt_and_a_picture_become_films_and_a_prompt_becomes_a_picture() -> Result<()> {
    let (_dir, server) = serve()?;
    let is_film = |film: &[u8]| film.get(4..8) == Some(b"ftyp");
    let small = json!({ "prompt": "a red boat", "size": "64x64", "num_frames": 5, "num_inference_steps": 2 });
    let film = post(server.address, "/v1/videos/sync", small).await?;
    ensure!(film.status == 200 && is_film(&film.body), "{film:?}");

    let picture = pictures::png(&[90; 3 * 40 * 30], Size { width: 40, height: 30 })?;
    let parts = [
        Part::Text("prompt", "sea"),
        Part::Text("size", "64x80"),
        Part::Text("num_frames", "5"),
        Part::Text("num_inference_steps", "2"),
        Part::File("input_reference", "a.png", "image/png", &picture),
    ];
    let film = post_form(server.address, "/v1/videos/sync", &parts).await?;
    ensure!(film.status == 200 && is_film(&film.body), "{film:?}");

    let asked = json!({ "prompt": "hill", "size": "64x64", "num_inference_steps": 2 });
    let picture = post(server.address, "/v1/images/generations", asked).await?.expect(200)?;
    ensure!(picture["data"][0]["b64_json"].as_str().is_some_and(|text| text.starts_with("iVBOR")), "{picture}");

    let sound = json!({ "prompt": "sea", "generate_sound": true });
    let refused = post(server.address, "/v1/videos", sound).await?.error(400)?;
    ensure!(refused.contains("sound"), "{refused}");
    server.stop()
}

/// V028.
#[tokio::test]
async fn the_resolution_template_is_accepted_and_the_tokens_stay_the_same() -> Result<()> {
    let (dir, server) = serve()?;
    let asked = |more: &[(&str, serde_json::Value)]| {
        let mut body = json!({ "prompt": "a red boat", "size": "64x64", "num_frames": 5, "num_inference_steps": 2 });
        more.iter().for_each(|(name, value)| body[name] = value.clone());
        post(server.address, "/v1/videos/sync", body)
    };
    let plain = asked(&[]).await?;
    let template = |on: bool| [("use_resolution_template", json!(on))];
    for with in [asked(&template(true)).await?, asked(&template(false)).await?] {
        ensure!(with.status == 200 && with.header("x-ignored").is_none(), "{with:?}");
        ensure!(with.body == plain.body, "another film");
    }
    // The film of other tokens is another one.
    let other = asked(&[("use_duration_template", json!(false))]).await?;
    ensure!(other.status == 200 && other.body != plain.body, "the tokens cannot be seen in the film");
    server.stop()?;

    let world = dir.load()?;
    let prompts = |on: Option<bool>| {
        let mut asked = ask("a red boat", Size { width: 64, height: 64 }, 5, 42);
        asked.settings.use_resolution_template = on;
        Ok::<_, anyhow::Error>(world.plan(asked)?.prompts)
    };
    let plain = prompts(None)?;
    ensure!(prompts(Some(true))? == plain && prompts(Some(false))? == plain);
    Ok(())
}

/// `causeway generate` with these arguments on the golden model, into numbered pictures.
fn run(arguments: &[&str]) -> Result<(Report, Vec<Vec<u8>>)> {
    let dir = ModelFolder::of(&golden());
    let out = dir.path().join("pictures");
    let (model, out_text) = (dir.path().to_str().context("UTF-8")?, out.to_str().context("UTF-8")?);
    let line = [&["causeway", "generate", "--model", model, "--out", out_text][..], arguments].concat();
    let Command::Generate(args) = Cli::try_parse_from(line)?.command else { unreachable!("the line says generate") };
    let world = load_world(&dir.open(), &Device::cpu())?;
    let report = generate(world.as_ref(), &args.request()?)?;
    let pictures = (0..report.frames).map(|i| Ok(std::fs::read(out.join(format!("{i:05}.png")))?));
    Ok((report, pictures.collect::<Result<_>>()?))
}

#[test]
fn a_clip_is_drawn_from_a_directory_and_the_same_seed_draws_it_again() -> Result<()> {
    let clip = |seed| run(&["--prompt", "a red boat", "--frames", "6", "--size", "64x64", "--seed", seed]);
    let (report, pictures) = clip("7")?;
    // 5 frames are two latent frames; 35 steps and the prompts come before them.
    ensure!((report.frames, report.chunks) == (5, 1 + 35 + 2), "{report:?}");
    ensure!(clip("7")?.1 == pictures && clip("8")?.1 != pictures);
    Ok(())
}

#[test]
fn one_frame_is_a_picture() -> Result<()> {
    ensure!(run(&["--prompt", "sea", "--frames", "1", "--size", "64x80"])?.1.len() == 1);
    Ok(())
}

#[test]
fn what_steers_sessions_is_refused_by_flag() -> Result<()> {
    let check = |arguments: &[&str], said: &str| {
        let error = format!("{:#}", run(arguments).err().context("it is drawn")?);
        ensure!(error.contains(said), "{error}");
        Ok(())
    };
    check(&["--prompt", "sea", "--actions", "w*4"], "--actions")?;
    check(&["--prompt", "sea", "--chunks", "4"], "say --frames")?;
    check(&["--prompt", "sea", "--prompt", "1:hill"], "from one prompt")?;
    check(&["--prompt", "sea", "--frames", "3"], "5 the shortest clip")?;
    check(&["--prompt", "sea", "--frames", "400", "--size", "64x64"], "at most 300")?;
    check(&["--prompt", "sea", "--size", "48x64"], "the shortest side that")?;
    check(&["--prompt", "sea", "--frames", "1", "--size", "64x48"], "the shortest side that")?;
    check(&["--prompt", "sea", "--size", "60x64"], "multiples of 16")
}

#[test]
fn a_flow_has_the_same_bits_at_one_thread_and_at_two() -> Result<()> {
    let hash = |threads: &str| {
        let mut step = Process::new(env!("CARGO_BIN_EXE_denoise_step"));
        let mut step = step.args([threads, "small"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        step.stdin.take().context("a pipe")?.write_all(b"\n")?;
        let answer = String::from_utf8(step.wait_with_output()?.stdout)?;
        answer.split_whitespace().nth(2).map(str::to_owned).context("no hash")
    };
    ensure!(hash("1")? == hash("2")?);
    Ok(())
}
