//! A first frame in a message: a file, text that holds one, or an address.

use bytes::Bytes;
use pipeline::world::Refusal;
use rmpv::ValueRef;

use super::data_url;
use super::fields::refuse;

/// Where the first frame is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstFrame {
    /// Its file: the part of the message that holds it, or what base64 stood for.
    File(Bytes),
    /// Of http or https. Whether it may be fetched is not decided here.
    At(String),
}

/// `value` is a part of `message`, and a picture keeps that part.
pub(super) fn first_frame(value: ValueRef<'_>, message: &Bytes) -> Result<FirstFrame, Refusal> {
    let text = match value {
        ValueRef::Binary(file) => return Ok(FirstFrame::File(message.slice_ref(file))),
        ValueRef::String(text) => text.into_str().unwrap_or_default(),
        _ => return Err(refuse("first_frame", FIRST_FRAME_FORMS)),
    };
    let begins = |with: &str| text.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with));
    if begins("http://") || begins("https://") {
        return Ok(FirstFrame::At(text.to_owned()));
    }
    let file = data_url::read(text).ok_or_else(|| refuse("first_frame", FIRST_FRAME_FORMS))?;
    Ok(FirstFrame::File(file.map_err(|reason| refuse("first_frame", reason))?.into()))
}

const FIRST_FRAME_FORMS: &str = "must be the bytes of a picture, or data:image/TYPE;base64,DATA";
