//! A file over HTTP, with a tag by which a browser knows that it has it already, and compressed where that pays.
//!
//! The two forms of a file have tags of their own: a strong tag stands for the bytes that were sent (RFC 9110, 8.8.3.3).

use std::io::Write;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// A file that does not change while the process runs.
pub(crate) struct Asset {
    content_type: &'static str,
    plain: Form,
    /// `None`: it would not be smaller.
    gzipped: Option<Form>,
}

struct Form {
    tag: HeaderValue,
    bytes: Bytes,
}

impl Form {
    fn new(hash: &str, suffix: &str, bytes: Bytes) -> Form {
        let tag = HeaderValue::try_from(format!("\"{hash}{suffix}\"")).expect("hexadecimal digits and letters");
        Form { tag, bytes }
    }
}

impl Asset {
    /// The file with these bytes. Compressing takes milliseconds, so it is done once.
    pub(crate) fn new(content_type: &'static str, bytes: Bytes) -> Asset {
        // 64 bits: a browser compares the tags of one address.
        let hash: String = Sha256::digest(&bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let is_text =
            content_type.starts_with("text/") || ["application/json", "image/svg+xml"].contains(&content_type);
        let gzipped = is_text.then(|| gzip(&bytes)).filter(|gzipped| gzipped.len() < bytes.len());
        let gzipped = gzipped.map(|gzipped| Form::new(&hash, "-gzip", gzipped));
        Asset { content_type, plain: Form::new(&hash, "", bytes), gzipped }
    }

    /// The answer to a request with these headers: the file, or that the browser has it.
    pub(crate) fn answer(&self, request: &HeaderMap) -> Response {
        let compressed = self.gzipped.as_ref().filter(|_| takes_gzip(request));
        let form = compressed.unwrap_or(&self.plain);
        let mut response = if knows(request, &form.tag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut whole = Response::new(Body::from(form.bytes.clone()));
            whole.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
            if compressed.is_some() {
                whole.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            whole
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, form.tag.clone());
        // Asked about at every load: the page and the server are of one version.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if self.gzipped.is_some() {
            headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        response
    }
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes everything").into()
}

/// The parts of a header that is a list, on any number of lines.
fn parts(request: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let lines = request.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether the client says that it reads gzip, and does not say "with a weight of zero".
fn takes_gzip(request: &HeaderMap) -> bool {
    parts(request, header::ACCEPT_ENCODING).any(|part| {
        let (coding, weight) = part.split_once(';').unwrap_or((part, "q=1"));
        let is_zero = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok()) == Some(0.0);
        matches!(coding.trim(), "gzip" | "x-gzip" | "*") && !is_zero
    })
}

/// Whether the client has the bytes with this tag. A proxy that changed a body may have made its tag a weak one.
fn knows(request: &HeaderMap, tag: &HeaderValue) -> bool {
    parts(request, header::IF_NONE_MATCH)
        .any(|part| part == "*" || part.strip_prefix("W/").unwrap_or(part).as_bytes() == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use axum::body::to_bytes;
    use flate2::read::GzDecoder;

    use super::*;

    const TEXT: &str = "the same words again, the same words again, the same words again";

    fn request(lines: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    async fn body(response: Response) -> Vec<u8> {
        to_bytes(response.into_body(), 1 << 20).await.expect("a body in memory").to_vec()
    }

    #[tokio::test]
    async fn a_text_is_compressed_for_a_client_that_reads_gzip_and_for_no_other() {
        let asset = Asset::new("text/css; charset=utf-8", TEXT.into());
        let check = async |accepts: &'static str, compressed: bool| {
            let response = asset.answer(&request(&[(header::ACCEPT_ENCODING, accepts)]));
            assert_eq!(response.headers().contains_key(header::CONTENT_ENCODING), compressed, "{accepts}");
            assert_eq!(response.headers()[header::VARY], "accept-encoding");
            let body = body(response).await;
            let mut text = String::new();
            if compressed {
                GzDecoder::new(&*body).read_to_string(&mut text).expect("gzip");
            } else {
                text = String::from_utf8(body).expect("text");
            }
            assert_eq!(text, TEXT, "{accepts}");
        };
        check("gzip, deflate, br, zstd", true).await;
        check("br;q=1.0, gzip;q=0.8", true).await;
        check("*", true).await;
        check("br", false).await;
        check("gzip;q=0", false).await;
        check("identity, gzip; q=0.000", false).await;
        check("", false).await;
    }

    #[test]
    fn a_picture_is_sent_as_it_is() {
        let asset = Asset::new("image/png", TEXT.into());
        let response = asset.answer(&request(&[(header::ACCEPT_ENCODING, "gzip")]));
        assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
        assert!(!response.headers().contains_key(header::VARY));
    }

    #[tokio::test]
    async fn a_client_that_has_the_file_is_told_so_and_one_that_has_its_other_form_is_not() {
        let asset = Asset::new("text/css; charset=utf-8", TEXT.into());
        let gzip = (header::ACCEPT_ENCODING, "gzip");
        let tag = |request: &HeaderMap| asset.answer(request).headers()[header::ETAG].clone();
        let (plain, gzipped) = (tag(&HeaderMap::new()), tag(&request(std::slice::from_ref(&gzip))));
        assert_ne!(plain, gzipped);
        let check = async |known: String, expected: StatusCode| {
            let mut request = request(std::slice::from_ref(&gzip));
            request.insert(header::IF_NONE_MATCH, known.parse().expect("a header"));
            let response = asset.answer(&request);
            assert_eq!((response.status(), &response.headers()[header::ETAG]), (expected, &gzipped), "{known}");
            assert_eq!(body(response).await.is_empty(), expected == StatusCode::NOT_MODIFIED);
        };
        let gzipped = gzipped.to_str().expect("text");
        check(gzipped.to_owned(), StatusCode::NOT_MODIFIED).await;
        check(format!("\"other\", W/{gzipped}"), StatusCode::NOT_MODIFIED).await;
        check("*".to_owned(), StatusCode::NOT_MODIFIED).await;
        check(plain.to_str().expect("text").to_owned(), StatusCode::OK).await;
        check("\"other\"".to_owned(), StatusCode::OK).await;
    }
}
