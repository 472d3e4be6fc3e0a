//! A small file of a model, read whole: a configuration, a tokenizer, a picture.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use super::error::LoadError;
use super::stand_in::{stand_in, without_mark};

/// A file that was read whole, and what errors call it.
#[derive(Debug, Clone)]
pub struct File {
    name: String,
    bytes: Cow<'static, [u8]>,
}

impl File {
    /// `name`: with its folder, for people.
    pub fn new(name: impl Into<String>, bytes: impl Into<Cow<'static, [u8]>>) -> File {
        File { name: name.into(), bytes: bytes.into() }
    }

    /// Its name with its folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its bytes, whatever they are.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of a text, without the mark that some editors put before it. An error if something else lies there.
    pub fn text(&self) -> Result<&[u8], LoadError> {
        match stand_in(&self.bytes) {
            Some(what) => Err(LoadError::file(&self.name, format!("this is {what}"))),
            None => Ok(without_mark(&self.bytes)),
        }
    }

    /// The JSON it holds.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, LoadError> {
        serde_json::from_slice(self.text()?).map_err(|error| LoadError::file(&self.name, error))
    }

    /// The bytes of a picture that a browser shows. An error if it is none.
    pub fn picture(&self) -> Result<&[u8], LoadError> {
        let bytes = &*self.bytes;
        let webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
        if webp || bytes.starts_with(b"\x89PNG\r\n\x1a\n") || bytes.starts_with(b"\xff\xd8\xff") {
            return Ok(bytes);
        }
        let what = stand_in(bytes)
            .map_or("no picture: it must be PNG, JPEG or WebP".to_owned(), |what| format!("this is {what}"));
        Err(LoadError::file(&self.name, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_before_the_text_is_skipped_and_what_is_no_text_is_named() {
        let read = |bytes: &'static [u8]| File::new("model/config.json", bytes).json::<serde_json::Value>();
        assert_eq!(read(b"\xef\xbb\xbf{\"a\": 1}").expect("JSON")["a"], 1);
        let check = |bytes: &'static [u8], said: &str| {
            let error = read(bytes).expect_err(said).to_string();
            assert!(
                error.starts_with("model/config.json: ") && error.contains(said),
                "{error:?} does not say {said:?}"
            );
        };
        check(b"version https://git-lfs.github.com/spec/v1\n", "this is a git-lfs pointer");
        check(b"\xff\xfe{\0}\0", "UTF-16");
        check(b"{", "EOF");
        check(b"", "empty");
    }

    #[test]
    fn a_picture_is_known_by_its_first_bytes() {
        let read = |bytes: &'static [u8]| {
            File::new("first_frames/a.png", bytes).picture().map(<[u8]>::len).map_err(|e| e.to_string())
        };
        assert_eq!(read(b"\x89PNG\r\n\x1a\n..."), Ok(11));
        assert_eq!(read(b"\xff\xd8\xff\xe0"), Ok(4));
        assert_eq!(read(b"RIFF\0\0\0\0WEBPVP8 "), Ok(16));
        assert_eq!(read(b"GIF89a"), Err("first_frames/a.png: no picture: it must be PNG, JPEG or WebP".to_owned()));
        assert!(read(b"version https://git-lfs.github.com/spec/v1").is_err_and(|e| e.contains("git-lfs")));
    }
}
