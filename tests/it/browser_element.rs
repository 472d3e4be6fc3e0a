//! `<causeway-world>` in a page of another origin: the example of `clients/js`, as it is, against a real server.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::Path as Asked;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use pipeline::testcard::{prompt_hash, read};
use tests::browser::Browser;

use crate::browser::{held, stop, testcard_server};

/// A server of somebody's own page, with the package's files beside it.
async fn page_of_somebody(world: &str) -> Result<SocketAddr> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests' crate lies in the repository")?;
    let example = std::fs::read_to_string(root.join("clients/js/example.html"))?;
    ensure!(example.lines().count() <= 10, "ten lines embed a world");
    let page = example.replace("127.0.0.1:30000", world);
    let package = root.join("webui");
    let file = async move |Asked(path): Asked<String>| {
        let kind = if path.ends_with(".js") { "text/javascript" } else { "application/octet-stream" };
        let bytes = std::fs::read(package.join(path)).unwrap_or_default();
        ([(header::CONTENT_TYPE, kind)], bytes).into_response()
    };
    let app = Router::new()
        .route("/", get(async || Html(page)))
        .route("/causeway-world/{*path}", get(file))
        .route("/favicon.ico", get(async || ""));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(address)
}

#[tokio::test]
async fn ten_lines_put_a_world_into_a_page_that_can_be_walked_in_and_told_a_prompt() -> Result<()> {
    let server = testcard_server().await;
    let world = server.url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let page = page_of_somebody(&world).await?;
    let mut browser = Browser::launch().await?;
    browser.navigate(&format!("http://{page}/")).await?;
    browser.until("document.querySelector('causeway-world')?.client?.begun !== null").await?;
    browser.key_down("KeyW").await?;
    browser.key_down("ArrowRight").await?;
    browser.until_picture("W and the right arrow are held", held("wl")).await?;
    browser.key_up("KeyW").await?;
    browser.key_up("ArrowRight").await?;
    browser.until_picture("nothing is held", held("")).await?;
    browser.click("button").await?;
    let night = prompt_hash("a meadow by night");
    let by_night = |picture: &_| read(picture).filter(|reading| reading.prompt_hash == night);
    browser.until_picture("the prompt of the button", by_night).await?;
    // What is hidden covers nothing: where no graphics card draws, the picture is the lower canvas.
    let canvases = "[...document.querySelector('causeway-world').shadowRoot.querySelectorAll('canvas')]";
    let hidden =
        format!("{canvases}.every((canvas) => canvas.hidden === (getComputedStyle(canvas).display === 'none'))");
    ensure!(browser.evaluate(&hidden).await? == true, "a hidden canvas is shown");
    // Taken out of the page, it leaves the server.
    browser.evaluate("document.querySelector('causeway-world').remove()").await?;
    ensure!(browser.problems().is_empty(), "the console: {:?}", browser.problems());
    stop(server).await
}
