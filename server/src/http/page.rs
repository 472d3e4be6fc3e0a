//! The page. It is embedded; a dev build reads it from disk at every request, so a reload shows an edit.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use super::app::App;
use super::asset::Asset;
use super::not_found;
use crate::access::rules::origin::Allowed;
use crate::realtime::document::document;

/// The page's files. A build without `webui/` has none.
#[derive(RustEmbed)]
#[folder = "../webui"]
#[allow_missing = true]
struct WebUi;

pub(crate) async fn page(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Response {
    let Some(asset) = file(&uri) else { return not_found("not found") };
    let policy = content_security_policy(&app.limits.access.origins, headers.get(header::HOST));
    ([(header::CONTENT_SECURITY_POLICY, policy)], asset.answer(&headers)).into_response()
}

/// The messages of the realtime socket, described for programs.
pub(crate) async fn asyncapi(headers: HeaderMap) -> Response {
    static DOCUMENT: LazyLock<Asset> =
        LazyLock::new(|| Asset::new("application/json", format!("{:#}\n", document()).into()));
    DOCUMENT.answer(&headers)
}

/// The file of the page at this address.
fn file(uri: &Uri) -> Option<Arc<Asset>> {
    /// The files of a build that embeds them, compressed once.
    static EMBEDDED: LazyLock<HashMap<String, Arc<Asset>>> =
        LazyLock::new(|| WebUi::iter().filter_map(|path| Some((path.clone().into_owned(), read(&path)?))).collect());
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    if cfg!(debug_assertions) { read(path) } else { EMBEDDED.get(path).cloned() }
}

fn read(path: &str) -> Option<Arc<Asset>> {
    Some(Arc::new(Asset::new(content_type(path), WebUi::get(path)?.data.into_owned().into())))
}

/// What the page may load and connect to: only this server. What it makes itself (films, snapshots, pictures that a visitor
/// chose) has addresses of `blob:` and `data:`. Pages of the origins that the operator named may show it in a frame.
fn content_security_policy(origins: &[Allowed], host: Option<&HeaderValue>) -> HeaderValue {
    // Older browsers do not count a WebSocket to the page's own host as 'self'.
    let host = host.and_then(|host| host.to_str().ok()).filter(|host| is_host(host));
    let sockets = host.map_or(String::new(), |host| format!(" ws://{host} wss://{host}"));
    let mut ancestors = String::from("'self'");
    for origin in origins {
        match origin {
            Allowed::Any => ancestors.push_str(" *"),
            // A page without an origin has no name that could stand here.
            Allowed::Origin(origin) if origin == "null" => {}
            Allowed::Origin(origin) => {
                ancestors.push(' ');
                ancestors.push_str(origin);
            }
        }
    }
    let policy = format!(
        "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; worker-src 'self'; \
         connect-src 'self'{sockets}; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors {ancestors}"
    );
    HeaderValue::try_from(policy).expect("a checked host and checked origins have no control characters")
}

/// A name or address with or without a port: nothing that would end a directive.
fn is_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
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
    use super::*;

    #[test]
    fn scripts_and_styles_have_the_types_that_browsers_insist_on() {
        assert_eq!(content_type("src/main.js"), "text/javascript; charset=utf-8");
        assert_eq!(content_type("style.css"), "text/css; charset=utf-8");
        assert_eq!(content_type("LICENSE"), "application/octet-stream");
    }

    #[test]
    fn nothing_outside_the_page_is_served() {
        for path in ["/../Cargo.toml", "/..%2fCargo.toml", "/src/../../Cargo.toml", "//etc/passwd"] {
            let uri = path.parse::<Uri>().expect("a path");
            assert!(file(&uri).is_none(), "{path}");
        }
    }

    #[test]
    fn the_page_may_be_framed_by_itself_and_by_the_origins_that_the_operator_named() {
        let ancestors = |origins: &[&str]| {
            let origins: Vec<Allowed> = origins.iter().map(|origin| origin.parse().expect("an origin")).collect();
            let policy = content_security_policy(&origins, None);
            let policy = policy.to_str().expect("text").to_owned();
            policy.rsplit_once("; ").expect("many directives").1.to_owned()
        };
        assert_eq!(ancestors(&[]), "frame-ancestors 'self'");
        assert_eq!(ancestors(&["https://a.example", "null"]), "frame-ancestors 'self' https://a.example");
        assert_eq!(ancestors(&["*"]), "frame-ancestors 'self' *");
    }

    #[test]
    fn a_socket_to_the_named_host_is_allowed_and_a_host_cannot_add_to_the_policy() {
        let connect = |host: &'static str| {
            let policy = content_security_policy(&[], Some(&HeaderValue::from_static(host)));
            let policy = policy.to_str().expect("text").to_owned();
            policy.split("; ").find(|part| part.starts_with("connect-src")).expect("there is one").to_owned()
        };
        assert_eq!(connect("[::1]:30000"), "connect-src 'self' ws://[::1]:30000 wss://[::1]:30000");
        assert_eq!(connect("a.example; script-src *"), "connect-src 'self'");
        assert_eq!(connect(""), "connect-src 'self'");
    }
}
