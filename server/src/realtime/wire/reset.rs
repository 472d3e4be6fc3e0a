//! The event that begins another video in the same session: the same prompt, picture, seed and size, or others.

use bytes::Bytes;
use pipeline::world::{Card, Init, Refusal, Size};
use rmpv::ValueRef;

use super::fields::{Fields, check_prompt, refuse};
use super::first_frame::{FirstFrame, first_frame};

/// Most bytes of an event that brings a picture. It is not held for long: one session begins one video at a time.
pub const RESET_BYTES_MAX: usize = 4 << 20;

/// How the next video begins. What is absent is as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    prompt: Option<String>,
    seed: Option<u64>,
    size: Option<Size>,
    /// `None`: the picture before, if there was one.
    picture: Option<NewPicture>,
}

/// Which picture the next video begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewPicture {
    /// None.
    Without,
    /// This one.
    Of(FirstFrame),
}

impl Reset {
    pub(super) fn read(payload: ValueRef<'_>) -> Result<Reset, Refusal> {
        let mut fields = match payload {
            ValueRef::Nil => return Ok(Reset { prompt: None, seed: None, size: None, picture: None }),
            payload => Fields::from_value("payload", payload)?,
        };
        let picture = match fields.take("first_frame") {
            None => None,
            Some(ValueRef::Boolean(false)) => Some(NewPicture::Without),
            // The message is not kept for the sake of its picture.
            Some(ValueRef::Binary(file)) => Some(NewPicture::Of(FirstFrame::File(Bytes::copy_from_slice(file)))),
            Some(other) => Some(NewPicture::Of(first_frame(other, &Bytes::new())?)),
        };
        let prompt = fields.text("prompt")?;
        prompt.map(check_prompt).transpose()?;
        let size = fields.text("size")?.map(|text| text.parse().map_err(|reason: String| refuse("size", reason)));
        Ok(Reset {
            prompt: prompt.map(str::to_owned),
            seed: fields.integer_in("seed", 0..=u64::MAX)?,
            size: size.transpose()?,
            picture,
        })
    }

    /// The picture that it brings; taken out.
    pub fn take_picture(&mut self) -> Option<NewPicture> {
        self.picture.take()
    }

    /// How the next video begins, after one that began like `before`; but for its picture, which is the one before.
    pub fn init(&self, before: &Init, card: &Card) -> Result<Init, Refusal> {
        Ok(Init {
            prompt: self.prompt.clone().unwrap_or_else(|| before.prompt.clone()),
            seed: self.seed.unwrap_or(before.seed),
            size: card.choose_size(Some(self.size.unwrap_or(before.size)))?,
            ..before.clone()
        })
    }

    /// The prompt that it brings.
    pub fn prompt(&self) -> Option<&str> {
        self.prompt.as_deref()
    }
}
