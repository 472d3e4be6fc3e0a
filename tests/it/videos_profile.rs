//! Profiles of requests: each in a file of its own, with the steps that were asked for. Line V095 of the list.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use pipeline::{Device, load_world};
use serde_json::{Value, json};
use server::Limits;
use tests::Server;
use tests::cosmos3::{ModelFolder, golden};
use tests::openai::{asking, get, job, post, until};
use tests::puppet::Puppet;

use crate::videos_create::roomy;

/// A folder for profiles, removed with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        Folder(std::env::temp_dir().join(format!("causeway-profiles-{name}-{}", std::process::id())))
    }

    fn limits(&self) -> Limits {
        Limits { profile_dir: Some(self.0.clone()), ..roomy() }
    }

    /// How often each span is in a profile, by its name; and the names of the steps.
    fn read(&self, name: &str) -> Result<(BTreeMap<String, usize>, Vec<String>)> {
        let mut text = String::new();
        let file = std::fs::File::open(self.0.join(name)).with_context(|| name.to_owned())?;
        GzDecoder::new(file).read_to_string(&mut text)?;
        let trace: Value = serde_json::from_str(&text)?;
        ensure!(trace["schemaVersion"] == 1 && trace["displayTimeUnit"] == "ms" && trace["traceName"] == name);
        let (mut counts, mut steps) = (BTreeMap::new(), Vec::new());
        for event in trace["traceEvents"].as_array().context("events")? {
            let span = event["name"].as_str().context("a name")?.to_owned();
            if event["cat"] == "step" {
                steps.push(span.clone());
            }
            *counts.entry(span).or_default() += 1;
        }
        Ok((counts, steps))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Best effort: a test that failed has something better to say.
        _ = std::fs::remove_dir_all(&self.0);
    }
}

fn counts(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    expected.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
}

/// A small Cosmos3, whose steps are denoising steps: three layers, both branches of guidance.
fn cosmos3(folder: &Folder) -> Result<(ModelFolder, Server)> {
    let dir = ModelFolder::of(&golden());
    let model = dir.open();
    Ok((dir, Server::start(Box::new(move || Ok(load_world(&model, &Device::cpu())?)), folder.limits())?))
}

fn clip(more: Value) -> Value {
    let mut body = json!({ "prompt": "a red boat", "size": "64x64", "num_frames": 5, "num_inference_steps": 10 });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    body
}

async fn profile_of(server: &Server, body: Value) -> Result<(String, String)> {
    let asked = job(server, body).await?;
    ensure!(asked["profile_trace"].is_null(), "{asked}");
    let done = until(server, &asked, "completed").await?;
    let name = done["profile_trace"].as_str().with_context(|| format!("no profile: {done}"))?;
    Ok((done["id"].as_str().context("an id")?.to_owned(), name.to_owned()))
}

/// V095.
#[tokio::test]
async fn a_profile_holds_the_asked_steps_of_its_job_and_none_of_another_s() -> Result<()> {
    let folder = Folder::new("steps");
    let (_model, server) = cosmos3(&folder)?;
    let three = clip(json!({ "profile": true, "num_profiled_timesteps": 3 }));
    // The second is recorded while the first waits or draws, and one that asks for nothing stands between them.
    let (first, between, second) = tokio::join!(
        profile_of(&server, three.clone()),
        job(&server, clip(json!({}))),
        profile_of(&server, clip(json!({ "profile": true, "num_profiled_timesteps": -1, "guidance_scale": 1 }))),
    );
    ensure!(until(&server, &between?, "completed").await?["profile_trace"].is_null());
    let (id, name) = first?;
    ensure!(name == format!("{id}-3_steps-global-rank0.trace.json.gz"), "{name}");
    let (found, steps) = folder.read(&name)?;
    ensure!(steps == ["ProfilerStep#1", "ProfilerStep#2", "ProfilerStep#3"], "{steps:?}");
    let parts = [("dit_forward_cond", 3), ("dit_forward_uncond", 3), ("layer0", 6), ("layer1", 6), ("layer2", 6)];
    let own = ["ProfilerStep#1", "ProfilerStep#2", "ProfilerStep#3"].map(|name| (name, 1));
    let expected = counts(&[&parts[..], &own, &[("solver_step", 3)]].concat());
    ensure!(found == expected, "{found:?}");

    // All steps but the first, without guidance, and what follows the last one.
    let (found, steps) = folder.read(&second?.1)?;
    ensure!(steps.len() == 9 && steps.first().is_some_and(|name| name == "ProfilerStep#1"), "{steps:?}");
    ensure!(found["dit_forward_cond"] == 9 && !found.contains_key("dit_forward_uncond"), "{found:?}");
    ensure!((found["layer2"], found["vae_frame0"], found["vae_frame1"]) == (9, 1, 1), "{found:?}");
    ensure!(std::fs::read_dir(&folder.0)?.count() == 2, "a file for each that asked, and no other");
    server.stop()
}

#[tokio::test]
async fn a_profile_of_all_stages_begins_with_the_queue_and_ends_with_the_file() -> Result<()> {
    let folder = Folder::new("stages");
    let (_model, server) = cosmos3(&folder)?;
    let (id, name) = profile_of(&server, clip(json!({ "profile_all_stages": true, "n": 2 }))).await?;
    ensure!(name == format!("{id}-full_stages-global-rank0.trace.json.gz"), "{name}");
    let (found, steps) = folder.read(&name)?;
    ensure!(steps.is_empty(), "{steps:?}");
    for span in ["request", "queue", "tokenize", "und_cond", "und_uncond", "vae_frame0", "vae_frame1"] {
        ensure!(found.get(span) == Some(&1), "{span}: {found:?}");
    }
    // Of two outputs the first is recorded. Its file is encoded in batches as they come.
    ensure!((found["dit_forward_cond"], found["solver_step"]) == (10, 10) && found["encode_mp4"] >= 2, "{found:?}");
    server.stop()
}

#[tokio::test]
async fn clients_that_wait_hear_of_their_profile_too() -> Result<()> {
    let folder = Folder::new("waiting");
    let (server, _strings) = Server::limited(Puppet::default(), folder.limits())?;
    let body = asking(json!({ "size": "64x48", "num_frames": 33, "profile": true, "num_profiled_timesteps": 1 }));
    let film = post(server.address, "/v1/videos/sync", body).await?;
    let name = film.header("x-profile-trace").context("a header")?;
    ensure!(film.status == 200 && name.starts_with("video_sync-"), "{film:?}");
    // A step of a world that is steered is a chunk.
    let (found, steps) = folder.read(name)?;
    ensure!(steps == ["ProfilerStep#1"] && found["dit"] == 1 && found["vae_frame3"] == 1, "{found:?}");

    let body = asking(json!({ "size": "64x48", "profile_all_stages": true }));
    let picture = post(server.address, "/v1/images/generations", body).await?.expect(200)?;
    let (found, _) = folder.read(picture["profile_trace"].as_str().context("a name")?)?;
    ensure!(found["request"] == 1 && found["encode_picture"] >= 1, "{found:?}");
    server.stop()
}

#[tokio::test]
async fn a_profile_is_refused_where_the_operator_named_no_folder() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::default(), roomy())?;
    let small = || json!({ "size": "64x48", "num_frames": 9 });
    let queued = job(&server, asking(small())).await?;
    let remix = format!("/v1/videos/{}/remix", queued["id"].as_str().context("an id")?);
    for path in ["/v1/videos", "/v1/videos/sync", "/v1/images/generations", &remix] {
        let answer = post(server.address, path, asking(json!({ "size": "64x48", "profile": true }))).await?;
        let message = answer.error(400).context(path.to_owned())?;
        ensure!(message == "profiling is not enabled on this server", "{message}");
        ensure!(answer.json()?["error"]["param"] == "profile", "{answer:?}");
    }
    let listed = get(server.address, "GET /v1/videos").await?.expect(200)?;
    ensure!(listed["data"].as_array().map(Vec::len) == Some(1), "{listed}");
    Ok(())
}
