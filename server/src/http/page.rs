//! The page. It is embedded; a dev build reads it from disk at every request, so a reload shows an edit.

use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use super::not_found;

/// The page's files. A build without `webui/` has none.
#[derive(RustEmbed)]
#[folder = "../webui"]
#[allow_missing = true]
struct WebUi;

pub(crate) async fn page(uri: Uri) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    let Some(file) = WebUi::get(path) else { return not_found("not found") };
    // Checked at every load: the page and the server are of one version.
    let headers = [(header::CONTENT_TYPE, content_type(path)), (header::CACHE_CONTROL, "no-cache")];
    (headers, file.data.into_owned()).into_response()
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[test]
    fn scripts_and_styles_have_the_types_that_browsers_insist_on() {
        assert_eq!(content_type("src/main.js"), "text/javascript; charset=utf-8");
        assert_eq!(content_type("style.css"), "text/css; charset=utf-8");
        assert_eq!(content_type("LICENSE"), "application/octet-stream");
    }

    #[tokio::test]
    async fn nothing_outside_the_page_is_served() {
        for path in ["/../Cargo.toml", "/..%2fCargo.toml", "/src/../../Cargo.toml", "//etc/passwd"] {
            let uri = path.parse::<Uri>().expect("a path");
            assert_eq!(page(uri).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
}
