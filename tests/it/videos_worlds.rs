//! Clips of a steerable world: what a session would have drawn, had somebody held these keys. Lines V077 to V087 of the list.

use anyhow::{Context, Result, ensure};
use pipeline::testcard::read;
use pipeline::world::{ClipCard, Picture};
use pipeline::{Device, load_world};
use serde_json::{Value, json};
use server::pocket;
use tests::Server;
use tests::cosmos3::{ModelFolder, golden};
use tests::message::{Init, script};
use tests::mp4::Film;
use tests::openai::{asking, get, job, path, post, until};
use tests::puppet::{Puppet, held};

use crate::videos_create::{roomy, testcard};

async fn sync(server: &Server, body: Value) -> Result<Vec<u8>> {
    let shown = body.to_string();
    let answer = post(server.address, "/v1/videos/sync", asking(body)).await?;
    ensure!(answer.status == 200, "{shown}: {}", String::from_utf8_lossy(&answer.body));
    Ok(answer.body)
}

async fn refused(server: &Server, body: Value, says: &str) -> Result<()> {
    let shown = body.to_string();
    let message = post(server.address, "/v1/videos", asking(body)).await?.error(400)?;
    ensure!(message.contains(says), "{shown}: {message}");
    Ok(())
}

/// The size that a film of the test card must have to be read after H.264.
const SIZE: &str = "128x96";

/// V077. V083. V076. The shipped world itself, at the size of its card.
#[tokio::test]
async fn the_shipped_world_draws_films_and_pictures_at_its_size() -> Result<()> {
    let server = Server::start(Box::new(|| Ok(load_world(&pocket::dir(), &Device::cpu())?)), roomy())?;
    let mut card = Value::Null;
    while card.is_null() {
        card = get(server.address, "GET /server_info").await?.expect(200)?["world"].clone();
    }
    let (size, fps) =
        (card["default_size"].as_str().context("a size")?.to_owned(), card["fps"].as_u64().context("fps")?);
    let film = Film::read(&sync(&server, json!({ "prompt": "a green meadow", "seconds": 1 })).await?)?;
    ensure!(film.size.to_string() == size && film.frames.len() as u64 == fps, "{} frames", film.frames.len());
    let second = film.shown_at.iter().enumerate().all(|(frame, at)| (at - frame as f64 / fps as f64).abs() < 1e-4);
    ensure!(second && (film.duration - 1.0).abs() < 1e-3, "{:?}", film.shown_at);
    refused(&server, json!({ "size": "832x480" }), &size).await?;
    let picture = post(server.address, "/v1/images/generations", asking(json!({}))).await?.expect(200)?;
    ensure!(picture["size"] == size.as_str(), "{picture}");
    let four = job(&server, asking(json!({ "seconds": 4 }))).await?;
    ensure!(four["num_frames"] == 4 * fps && four["size"] == size.as_str(), "{four}");
    tells_unknown_words(&server).await
}

/// V110, in the world that knows few words.
async fn tells_unknown_words(server: &Server) -> Result<()> {
    let prompts = json!(["2:a red Turm", "3:a dessert"]);
    let body = json!({ "prompt": "a dragon over Manhattan", "seconds": 1, "prompts": prompts });
    let read = job(server, asking(body)).await?["prompt_read"].clone();
    let unknown = |at: usize| read[at]["unknown"].as_array().cloned().unwrap_or_default();
    ensure!(unknown(0) == [json!({ "word": "dragon", "suggestion": null })], "{read}");
    ensure!(unknown(1).is_empty() && read[1]["chunk"] == 2 && read[1]["text"] == "a red tower", "{read}");
    ensure!(unknown(2) == [json!({ "word": "dessert", "suggestion": "desert" })], "{read}");
    let strangers = json!({ "prompt": "Drägon", "num_frames": 4 });
    let answer = post(server.address, "/v1/videos/sync", asking(strangers.clone())).await?;
    let told = answer.header("x-unknown-words").context("a header")?;
    ensure!(answer.status == 200 && told == r#"[{"suggestion":null,"word":"dr\u00e4gon"}]"#, "{told}");
    let begun = job(server, asking(strangers)).await?;
    let instead = begun["prompt_read"][0]["instead"].as_str().context("a preset in its place")?;
    ensure!(begun["prompt_read"][0]["text"] == "" && !instead.is_empty(), "{begun}");
    Ok(())
}

/// V110, in a world that reads any text.
#[tokio::test]
async fn a_world_that_reads_any_text_says_nothing_of_words() -> Result<()> {
    let server = testcard()?;
    let drawn = job(&server, asking(json!({ "prompt": "a dragon", "num_frames": 5, "size": SIZE }))).await?;
    ensure!(drawn.as_object().is_some_and(|job| job.get("prompt_read").is_some_and(Value::is_null)), "{drawn}");
    Ok(())
}

/// V010. Cosmos3 itself, with small random weights: its card is as the puppet's, and its knobs reach it.
#[tokio::test]
async fn a_cosmos3_directory_draws_films_and_pictures() -> Result<()> {
    let dir = ModelFolder::of(&golden());
    let model = dir.open();
    let server = Server::start(Box::new(move || Ok(load_world(&model, &Device::cpu())?)), roomy())?;
    let small =
        json!({ "num_frames": 8, "size": "64x64", "num_inference_steps": 2, "extra_args": { "flow_shift": 6 } });
    let film = Film::read(&sync(&server, small).await?)?;
    ensure!(film.frames.len() == 5 && film.size.to_string() == "64x64", "{} frames", film.frames.len());
    ensure!((film.duration - 5.0 / 24.0).abs() < 1e-3, "{}", film.duration);
    let body = json!({ "num_frames": 1, "size": "64x64", "num_inference_steps": 2, "zzz": 1 });
    let picture = until(&server, &job(&server, asking(body)).await?, "completed").await?;
    ensure!(picture["ignored"] == json!(["zzz"]), "{picture}");
    let file = get(server.address, &format!("GET {}", path(&picture, "/content"))).await?;
    ensure!(file.header("content-type") == Some("image/png"), "{file:?}");
    refused(&server, json!({ "camera_actions": "w" }), "cannot be steered").await?;
    refused(&server, json!({ "num_frames": 3 }), "5 the shortest clip").await?;
    let session = get(server.address, "GET /server_info").await?.expect(200)?;
    ensure!(session["world"]["realtime"] == false && session["world"]["clips"]["frames"] == "4k+1", "{session}");
    Ok(())
}

/// V078.
#[tokio::test]
async fn a_script_as_text_lists_and_words_is_the_same_film() -> Result<()> {
    let server = testcard()?;
    let mut films = Vec::new();
    for script in [json!("w*2,wl,-"), json!([["w"], ["w"], ["w", "l"], []]), json!(["w", "w", "wl", "-"])] {
        films.push(sync(&server, json!({ "num_frames": 21, "size": SIZE, "camera_actions": script })).await?);
    }
    let inside = json!({ "num_frames": 21, "size": SIZE, "condition_inputs": { "camera_actions": "w*2,wl" } });
    ensure!(films[0] == films[1] && films[1] == films[2] && sync(&server, inside).await? == films[0]);
    Ok(())
}

/// V079. What a clip's world is asked is what a session's world is asked; `causeway generate` draws through the same
/// `ClipAsk`, see `the_command_line_writes_the_same_bytes_as_the_server`.
#[tokio::test]
async fn a_clip_is_drawn_as_a_session_that_held_the_same_keys() -> Result<()> {
    let (server, mut strings) = Server::limited(Puppet::default(), roomy())?;
    let keys = ["w", "w", "wl", "", "j", "a"];
    let body = json!({
        "prompt": "p", "num_frames": 21, "size": "64x48", "seed": 11,
        "camera_actions": keys.map(|keys| keys.chars().map(String::from).collect::<Vec<_>>()),
    });
    until(&server, &job(&server, body).await?, "completed").await?;
    let clip = (strings.opened().await?, strings.began().await?, strings.began().await?);
    strings.dropped().await?;
    let init = Init::new("p").size(64, 48).seed(11).max_chunks(2);
    let init = init.set("condition_inputs", tests::message::map([("camera_actions", script(keys))]));
    let mut client = server.session(init).await?;
    let session = (strings.opened().await?, strings.began().await?, strings.began().await?);
    client.chunk().await?;
    ensure!(clip == session, "{clip:?} is not {session:?}");
    Ok(())
}

/// V080.
#[tokio::test]
async fn a_script_that_is_too_short_is_followed_by_nothing_and_one_too_long_is_named() -> Result<()> {
    let (server, mut strings) = Server::limited(Puppet::default(), roomy())?;
    let short = job(&server, asking(json!({ "num_frames": 21, "size": "64x48", "camera_actions": "w*4" }))).await?;
    ensure!(short["ignored"] == json!([]), "{short}");
    let (first, second) = (strings.began().await?.1, strings.began().await?.1);
    ensure!((held(&first).as_deref(), held(&second).as_deref()) == (Some("w w w"), Some("w - -")));
    let long = job(&server, asking(json!({ "num_frames": 21, "size": "64x48", "camera_actions": "w*7" }))).await?;
    ensure!(long["ignored"] == json!(["camera_actions[6..]"]), "{long}");
    strings.dropped().await?;
    let none = job(&server, asking(json!({ "num_frames": 9, "size": "64x48", "camera_actions": "" }))).await?;
    until(&server, &none, "completed").await?;
    Ok(())
}

/// V081.
#[tokio::test]
async fn a_key_that_is_none_is_named() -> Result<()> {
    let server = testcard()?;
    refused(&server, json!({ "camera_actions": "w*2,x" }), "'x' is not one of w a s d i j k l").await?;
    refused(&server, json!({ "camera_actions": [["w"], ["up"]] }), "item 1: \"up\" is not one of").await?;
    refused(&server, json!({ "camera_actions": "w*4097" }), "4096").await?;
    refused(&server, json!({ "prompts": ["0:b"] }), "prompts: item 0").await
}

/// V082.
#[tokio::test]
async fn a_prompt_on_the_way_changes_the_frames_from_its_chunk_on() -> Result<()> {
    let server = testcard()?;
    let frames = async |prompts: Value| {
        let body = json!({ "num_frames": 33, "size": SIZE, "prompts": prompts });
        anyhow::Ok(Film::read(&sync(&server, body).await?)?.frames.iter().map(read).collect::<Vec<_>>())
    };
    let (without, with) =
        (frames(json!([])).await?, frames(json!([{ "chunk": 2, "prompt": "a sandy desert" }])).await?);
    ensure!(without.iter().all(Option::is_some) && with.len() == 33, "the film can be read");
    let first = without.iter().zip(&with).position(|(a, b)| a.map(|a| a.prompt_hash) != b.map(|b| b.prompt_hash));
    ensure!(first == Some(21), "{first:?}");
    Ok(())
}

/// V084.
#[tokio::test]
async fn a_world_that_needs_a_picture_says_so() -> Result<()> {
    let mut puppet = Puppet::default();
    puppet.card.clips = ClipCard::of_rollouts("puppet", puppet.card.default_size, true);
    let (server, _strings) = Server::limited(puppet, roomy())?;
    refused(&server, json!({}), "input_reference: puppet starts from a picture").await
}

/// V085.
#[tokio::test]
async fn a_single_frame_is_the_picture_that_the_clip_begins_with() -> Result<()> {
    let server = testcard()?;
    let one = job(&server, asking(json!({ "num_frames": 1, "size": "64x48", "seed": 4 }))).await?;
    let done = until(&server, &one, "completed").await?;
    ensure!(done["seconds"] == "0" && done["num_frames"] == 1, "{done}");
    let file = get(server.address, &format!("GET {}", path(&one, "/content"))).await?;
    ensure!(file.header("content-type") == Some("image/png"), "{file:?}");
    let name = file.header("content-disposition").context("a name")?.to_owned();
    ensure!(name.ends_with(".png\""), "{name}");
    let picture = image::load_from_memory_with_format(&file.body, image::ImageFormat::Png)?.into_rgb8();
    let film = Film::read(&sync(&server, json!({ "num_frames": 5, "size": "64x48", "seed": 4 })).await?)?;
    let Picture { rgb, .. } = &film.frames[0];
    // H.264 halves the resolution of colours, so hard edges differ.
    let apart: u64 = picture.as_raw().iter().zip(rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    ensure!(apart / (rgb.len() as u64) < 12, "{apart} of {} values", rgb.len());
    Ok(())
}

/// V086.
#[tokio::test]
async fn a_rate_changes_how_fast_a_film_plays_and_how_many_frames_seconds_are() -> Result<()> {
    let server = testcard()?;
    let (usual, slow) =
        (json!({ "num_frames": 16, "size": SIZE }), json!({ "num_frames": 16, "size": SIZE, "fps": 8 }));
    let (usual, slow) = (Film::read(&sync(&server, usual).await?)?, Film::read(&sync(&server, slow).await?)?);
    ensure!(usual.frames == slow.frames, "the same frames");
    ensure!((usual.duration - 1.0).abs() < 1e-3 && (slow.duration - 2.0).abs() < 1e-3);
    let job = job(&server, asking(json!({ "seconds": 4, "fps": 8, "size": SIZE }))).await?;
    ensure!(job["num_frames"] == 32, "{job}");
    Ok(())
}

/// V087.
#[tokio::test]
async fn every_frame_of_a_film_says_which_chunk_and_keys_it_was_drawn_from() -> Result<()> {
    let server = testcard()?;
    let body = json!({ "num_frames": 33, "size": SIZE, "camera_actions": "w*3,wl*2,-" });
    let film = Film::read(&sync(&server, body).await?)?;
    for (frame, picture) in film.frames.iter().enumerate() {
        let reading = read(picture).with_context(|| format!("frame {frame} cannot be read"))?;
        let keys: String = reading.held.context("there is a script")?.iter().collect();
        let expected = match reading.latent_frame {
            0..3 => "w",
            3..5 => "wl",
            _ => "",
        };
        ensure!(reading.frame == frame && keys == expected, "frame {frame}: {reading:?}");
        ensure!(reading.chunk == reading.latent_frame / 3, "{reading:?}");
    }
    Ok(())
}
