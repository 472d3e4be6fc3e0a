//! `/v1/images`: pictures, and the edits that no world here makes. Lines V067 to V076 of the list.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pipeline::world::ClipCard;
use serde_json::{Value, json};
use tests::Server;
use tests::openai::{Part, asking, get, post, post_form, send};
use tests::puppet::{Puppet, Seen};

use crate::videos_create::{cosmos3, roomy, testcard};

const PATH: &str = "/v1/images/generations";

fn bytes(answer: &Value) -> Result<Vec<u8>> {
    Ok(STANDARD.decode(answer["data"][0]["b64_json"].as_str().context("text")?)?)
}

/// V067.
#[tokio::test]
async fn a_prompt_is_a_png_of_the_usual_size() -> Result<()> {
    let puppet = Puppet { card: tests::openai::cosmos3_card(), ..Puppet::default() };
    let (server, _strings) = Server::limited(puppet, roomy())?;
    let answer = post(server.address, PATH, json!({ "prompt": "a" })).await?.expect(200)?;
    let picture = image::load_from_memory_with_format(&bytes(&answer)?, image::ImageFormat::Png)?;
    ensure!((picture.width(), picture.height()) == (1024, 1024) && answer["size"] == "1024x1024");
    ensure!(answer["data"][0]["url"].is_null() && answer["data"][0]["revised_prompt"] == "a");
    ensure!(answer["output_format"] == "png" && answer["usage"].is_null() && answer["ignored"] == json!([]));
    ensure!(answer["created"].is_u64() && answer["id"].is_string() && answer["inference_time_s"].is_f64());
    Ok(())
}

/// V068. V070.
#[tokio::test]
async fn a_picture_has_the_values_of_pictures() -> Result<()> {
    for (body, flow_shift) in [(json!({}), 3.0), (json!({ "extra_args": { "flow_shift": 2 } }), 2.0)] {
        let (server, mut strings) = cosmos3()?;
        let asked = send(server.address, &format!("POST {PATH}"), &[], asking(body).to_string().as_bytes()).await?;
        let ask = strings.asked().await?;
        ensure!(ask.frames == 1 && ask.settings.flow_shift == Some(flow_shift), "{ask:?}");
        ensure!(ask.settings.guidance_interval == Some([400.0, 1000.0]), "{ask:?}");
        drop(asked);
    }
    Ok(())
}

/// V069.
#[tokio::test]
async fn a_picture_may_be_asked_for_as_an_address_on_this_server() -> Result<()> {
    let server = testcard()?;
    let message = post(server.address, PATH, asking(json!({ "response_format": "tiff" }))).await?.error(400)?;
    ensure!(message == "response_format=tiff is not supported", "{message}");
    let body = asking(json!({ "response_format": "url", "size": "64x48", "n": 2 }));
    let answer = post(server.address, PATH, body).await?.expect(200)?;
    for output in answer["data"].as_array().context("a list")? {
        let url = output["url"].as_str().context("an address")?;
        ensure!(url.starts_with("/v1/images/") && output["b64_json"].is_null(), "{answer}");
        let file = get(server.address, &format!("GET {url}")).await?;
        ensure!(file.status == 200 && file.header("content-type") == Some("image/png"), "{file:?}");
        image::load_from_memory_with_format(&file.body, image::ImageFormat::Png)?;
    }
    let url = answer["data"][0]["url"].as_str().context("an address")?;
    get(server.address, &format!("GET {url}?variant=7")).await?.error(404)?;
    let message = get(server.address, "GET /v1/images/nope/content").await?.error(404)?;
    ensure!(message == "Image not found", "{message}");
    let listed = get(server.address, "GET /v1/videos").await?.expect(200)?;
    ensure!(listed["data"] == json!([]), "a picture is no video: {listed}");
    Ok(())
}

/// V071.
#[tokio::test]
async fn a_picture_is_the_file_that_was_asked_for() -> Result<()> {
    let server = testcard()?;
    for (format, magic) in [("jpeg", &b"\xff\xd8\xff"[..]), ("webp", b"RIFF"), ("png", b"\x89PNG")] {
        let body = asking(json!({ "output_format": format, "size": "64x48", "output_compression": 50 }));
        let answer = post(server.address, PATH, body).await?.expect(200)?;
        ensure!(bytes(&answer)?.starts_with(magic) && answer["output_format"] == format, "{format}");
    }
    Ok(())
}

/// V072.
#[tokio::test]
async fn no_world_here_edits_pictures() -> Result<()> {
    let server = testcard()?;
    let edit = async |parts: &[Part<'_>]| post_form(server.address, "/v1/images/edits", parts).await;
    let message = edit(&[Part::Text("prompt", "a")]).await?.error(422)?;
    ensure!(message == "Field 'image' or 'url' is required", "{message}");
    let picture = Part::File("image", "a.png", "image/png", b"\x89PNG");
    let message = edit(&[Part::Text("prompt", "a"), picture]).await?.error(400)?;
    ensure!(message == "input_reference is not supported for T2I models.", "{message}");
    edit(&[picture]).await?.error(422)?;
    let listed = Part::File("image[]", "a.png", "image/png", b"\x89PNG");
    edit(&[Part::Text("prompt", "a"), listed]).await?.error(400)?;
    Ok(())
}

/// V073. V074.
#[tokio::test]
async fn a_prompt_must_be_there_and_a_size_need_not() -> Result<()> {
    let server = testcard()?;
    let missing = post(server.address, PATH, json!({})).await?;
    missing.error(422)?;
    ensure!(missing.json()?["detail"][0]["type"] == "missing", "{missing:?}");
    let answer = post(server.address, PATH, asking(json!({ "size": "auto" }))).await?.expect(200)?;
    ensure!(answer["size"] == "832x480", "{answer}");
    Ok(())
}

/// V075.
#[tokio::test]
async fn a_client_that_leaves_ends_its_picture() -> Result<()> {
    let (server, mut strings) = Server::limited(Puppet::on_strings(), roomy())?;
    let asked = send(server.address, &format!("POST {PATH}"), &[], b"{\"prompt\":\"a\",\"size\":\"64x48\"}").await?;
    strings.began().await?;
    drop(asked);
    strings.until("it was not cancelled", |seen| matches!(seen, Seen::Cancelled { .. }).then_some(())).await
}

/// V076. The shipped world's picture is in `the_shipped_world_draws_films_and_pictures_at_its_size`.
#[tokio::test]
async fn a_world_that_starts_from_a_picture_draws_none_from_text() -> Result<()> {
    let mut puppet = Puppet::default();
    puppet.card.clips = ClipCard::of_rollouts("puppet", puppet.card.default_size, true);
    let (server, _strings) = Server::limited(puppet, roomy())?;
    let message = post(server.address, PATH, asking(json!({}))).await?.error(400)?;
    ensure!(message == "puppet draws no picture from text alone", "{message}");
    Ok(())
}
