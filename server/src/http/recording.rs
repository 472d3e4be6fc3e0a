//! The recording of a session, while it runs and after.

use std::fs::File;
use std::io::{ErrorKind, Read, Take};
use std::net::SocketAddr;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::try_unfold;
use tokio::task::spawn_blocking;

use super::not_found;
use crate::http::app::App;
use crate::recordings::{is_session_id, name};

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Its bytes so far, for its own account: every key sees the ids of all sessions.
pub(super) async fn recording(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let account = match app.entrance.account(peer, &headers, &uri, false) {
        Ok((_address, account)) => account,
        Err(denied) => return denied.into_response(),
    };
    let Some(recordings) = &app.realtime.recordings else {
        return not_found("nothing is recorded here: the server runs without --record");
    };
    if !is_session_id(&id) {
        return not_found("no session has this id");
    }
    let path = recordings.path(&name(account.as_deref(), &id));
    // What is appended while this is sent is for the next request.
    let open = move || {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok::<_, std::io::Error>((file.take(length), length))
    };
    match spawn_blocking(open).await.map_err(std::io::Error::other).flatten() {
        Ok((file, length)) => {
            let head = [
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.causeway\"")),
                (header::CONTENT_LENGTH, length.to_string()),
            ];
            (head, Body::from_stream(try_unfold(file, piece))).into_response()
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            not_found("no session of this id was recorded for this account")
        }
        Err(error) => {
            tracing::warn!(%id, %error, "a recording cannot be read");
            (StatusCode::INTERNAL_SERVER_ERROR, "the recording cannot be read").into_response()
        }
    }
}

async fn piece(mut file: Take<File>) -> std::io::Result<Option<(Bytes, Take<File>)>> {
    let read = move || {
        let mut bytes = vec![0; PIECE_BYTES];
        let count = file.read(&mut bytes)?;
        bytes.truncate(count);
        Ok((count > 0).then_some((bytes.into(), file)))
    };
    spawn_blocking(read).await.map_err(std::io::Error::other)?
}
