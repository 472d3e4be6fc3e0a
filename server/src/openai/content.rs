//! Files of jobs: variants, ranges, and what a client has already.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use pipeline::world::{Picture, Size};
use url::form_urlencoded;

use super::door::Caller;
use super::errors::ApiError;
use super::request::invalid::quoted;
use super::request::job::Output;
use super::request::jobs::Content;
use super::state::OpenAi;
use super::videos::video_not_found;
use crate::media::pictures;

/// The widest thumbnail in pixels.
const THUMBNAIL_WIDTH_MAX: u32 = 512;

/// Of a thumbnail: it is looked at in a list.
const THUMBNAIL_QUALITY: u8 = 80;

/// A request for a file.
pub(crate) struct Wanted {
    caller: Arc<Caller>,
    id: String,
    variant: Option<String>,
    headers: HeaderMap,
}

impl FromRequestParts<Arc<OpenAi>> for Wanted {
    type Rejection = Response<Body>;

    async fn from_request_parts(parts: &mut Parts, openai: &Arc<OpenAi>) -> Result<Wanted, Response<Body>> {
        let Path(id) = Path::from_request_parts(parts, openai).await.map_err(IntoResponse::into_response)?;
        let caller = parts.extensions.get().cloned().expect("the door lets nobody in who is not known");
        let variant = parts.uri.query().and_then(variant);
        Ok(Wanted { caller, id, variant, headers: std::mem::take(&mut parts.headers) })
    }
}

/// `GET /v1/videos/{id}/content`
pub(crate) async fn of_video(
    State(openai): State<Arc<OpenAi>>,
    Wanted { caller, id, variant, headers }: Wanted,
) -> Result<Response<Body>, ApiError> {
    let content = openai.book().content(&id, &caller.account, false, openai.now()).ok_or_else(video_not_found)?;
    let outputs = match content {
        Content::Ready(outputs) => outputs,
        Content::NotReady => return Err(ApiError::not_found("not_ready", "Generation is still in-progress")),
        Content::Failed(why) => {
            return Err(ApiError::not_found("job_failed", format!("Video generation failed: {why}")));
        }
    };
    let output = match variant.as_deref() {
        None | Some("video") => Some(&outputs[0]),
        Some("thumbnail") => {
            let file = thumbnail(&outputs[0]).await?;
            return Ok(file.answer(&id, "thumbnail", &headers));
        }
        Some(number) => number.parse::<usize>().ok().and_then(|number| outputs.get(number)),
    };
    let name = variant.as_deref().unwrap_or("0");
    let not_there = || {
        ApiError::not_found("variant_not_found", format!("Video variant {} not found", quoted(name))).about("variant")
    };
    let output = output.ok_or_else(not_there)?;
    let file = File { bytes: output.bytes.clone(), content_type: output.content_type };
    Ok(file.answer(&id, if name == "video" { "0" } else { name }, &headers))
}

/// `GET /v1/images/{id}/content`
pub(crate) async fn of_image(
    State(openai): State<Arc<OpenAi>>,
    Wanted { caller, id, variant, headers }: Wanted,
) -> Result<Response<Body>, ApiError> {
    let not_found = || ApiError::not_found("image_not_found", "Image not found");
    let content = openai.book().content(&id, &caller.account, true, openai.now()).ok_or_else(not_found)?;
    let Content::Ready(outputs) = content else { return Err(not_found()) };
    let variant = variant.unwrap_or_else(|| "0".to_owned());
    let output = variant.parse::<usize>().ok().and_then(|number| outputs.get(number));
    let output = output.ok_or_else(|| {
        ApiError::not_found("variant_not_found", format!("Image variant {} not found", quoted(&variant)))
    })?;
    let file = File { bytes: output.bytes.clone(), content_type: output.content_type };
    Ok(file.answer(&id, &variant, &headers))
}

fn variant(query: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "variant").map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
}

/// The first frame, made smaller when it is asked for.
async fn thumbnail(output: &Output) -> Result<File, ApiError> {
    let first = Arc::clone(&output.first_frame);
    let made = tokio::task::spawn_blocking(move || {
        let small = shrunk(&first, THUMBNAIL_WIDTH_MAX)?;
        pictures::webp(&small.rgb, small.size, THUMBNAIL_QUALITY)
    });
    let failed = |why: String| {
        tracing::error!(why, "no thumbnail");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "encoder_failed", "the thumbnail could not be made")
    };
    match made.await {
        Ok(Ok(bytes)) => Ok(File { bytes: bytes.into(), content_type: "image/webp" }),
        Ok(Err(error)) => Err(failed(format!("{error:#}"))),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// A picture no wider than `width_max`, in its shape.
fn shrunk(picture: &Picture, width_max: u32) -> anyhow::Result<Picture> {
    let Size { width, height } = picture.size;
    if width <= width_max {
        return Ok(picture.clone());
    }
    let to =
        Size { width: width_max, height: (u64::from(height) * u64::from(width_max) / u64::from(width)).max(1) as u32 };
    Ok(Picture { size: to, rgb: pictures::scale(&picture.rgb, picture.size, to)? })
}

struct File {
    bytes: Bytes,
    content_type: &'static str,
}

/// What part of a file is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    /// First and last byte.
    Part(u64, u64),
    /// None of it is there.
    Outside,
}

impl Range {
    /// One range of bytes (RFC 9110, section 14). A header that is none, or asks for several, is answered with the whole.
    fn read(header: Option<&str>, length: u64) -> Range {
        let Some(spec) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else { return Range::Whole };
        let Some((first, last)) = spec.split_once('-').filter(|_| !spec.contains(',')) else { return Range::Whole };
        let (first, last) = (first.trim(), last.trim());
        let number =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX));
        let end = length.saturating_sub(1);
        match (first, last) {
            ("", "") => Range::Whole,
            ("", last) => match number(last) {
                None => Range::Whole,
                Some(0) => Range::Outside,
                Some(_) if length == 0 => Range::Outside,
                Some(count) => Range::Part(length.saturating_sub(count), end),
            },
            (first, last) => {
                let Some(first) = number(first) else { return Range::Whole };
                let Some(last) = (if last.is_empty() { Some(end) } else { number(last) }) else { return Range::Whole };
                if last < first && !spec.ends_with('-') {
                    return Range::Whole;
                }
                if first >= length { Range::Outside } else { Range::Part(first, last.min(end)) }
            }
        }
    }
}

impl File {
    fn answer(self, id: &str, variant: &str, headers: &HeaderMap) -> Response<Body> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let length = self.bytes.len() as u64;
        // A job's file never changes.
        let tag = format!("\"{id}-{variant}\"");
        let has_it = text(header::IF_NONE_MATCH).is_some_and(|tags| {
            tags.split(',').map(|tag| tag.trim().trim_start_matches("W/")).any(|known| known == tag || known == "*")
        });
        let same = text(header::IF_RANGE).is_none_or(|known| known == tag);
        let range = if same { Range::read(text(header::RANGE), length) } else { Range::Whole };
        let answer = Response::builder()
            .header(header::ETAG, &tag)
            .header(header::ACCEPT_RANGES, "bytes")
            .header(header::CACHE_CONTROL, "private, max-age=0, must-revalidate");
        let answer = match range {
            _ if has_it => answer.status(StatusCode::NOT_MODIFIED).body(Body::empty()),
            Range::Outside => answer
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(header::CONTENT_RANGE, format!("bytes */{length}"))
                .body(Body::empty()),
            Range::Whole => self.headed(answer, id).body(Body::from(self.bytes)),
            Range::Part(first, last) => {
                let part = self.bytes.slice(first as usize..=last as usize);
                self.headed(answer, id)
                    .status(StatusCode::PARTIAL_CONTENT)
                    .header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{length}"))
                    .body(Body::from(part))
            }
        };
        answer.expect("every header here is made of printable characters")
    }

    fn headed(&self, answer: axum::http::response::Builder, id: &str) -> axum::http::response::Builder {
        let ending = match self.content_type {
            "video/mp4" => "mp4",
            "image/png" => "png",
            "image/jpeg" => "jpg",
            _ => "webp",
        };
        answer
            .header(header::CONTENT_TYPE, self.content_type)
            .header(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.{ending}\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_of_bytes_is_answered_and_several_are_the_whole() {
        let check = |header: &str, expected: Range| assert_eq!(Range::read(Some(header), 100), expected, "{header}");
        assert_eq!(Range::read(None, 100), Range::Whole);
        check("bytes=0-9", Range::Part(0, 9));
        check("bytes=90-", Range::Part(90, 99));
        check("bytes=90-1000", Range::Part(90, 99));
        check("bytes=-10", Range::Part(90, 99));
        check("bytes=-1000", Range::Part(0, 99));
        check("bytes=99-99", Range::Part(99, 99));
        check("bytes=0-99999999999999999999", Range::Part(0, 99));
        for outside in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999-"] {
            check(outside, Range::Outside);
        }
        for whole in
            ["bytes=", "bytes=-", "bytes=5", "bytes=5-2", "bytes=0-1,5-6", "lines=0-1", "bytes=a-b", "bytes=+1-2"]
        {
            check(whole, Range::Whole);
        }
        assert_eq!(Range::read(Some("bytes=0-"), 0), Range::Outside);
    }
}
