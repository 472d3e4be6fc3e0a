//! What must not be printed: keys, tokens, and the user and password of a URL.
//!
//! Errors are written so that they repeat none. This is for the words of others: of the command line's parser, which quotes what
//! it does not understand, and of libraries that log.

use std::borrow::Cow;
use std::io::{self, Write};

use super::rules::keys::KEY_PREFIX;
use super::rules::tokens::{GRANT_TOKEN_PREFIX, TOKEN_PREFIX};

/// A token for viewers of a session names what it is, as a key does.
pub const VIEW_TOKEN_PREFIX: &str = "cwv_";

/// `text` with the secrets in it replaced by dots. Keys and tokens keep the prefix that says what they are.
pub fn hide(text: &str) -> Cow<'_, str> {
    let mut hidden = String::new();
    let mut rest = text;
    while let Some((begin, end)) = first_secret(rest) {
        hidden.push_str(&rest[..begin]);
        hidden.push('…');
        rest = &rest[end..];
    }
    match hidden.is_empty() {
        true => Cow::Borrowed(text),
        false => Cow::Owned(hidden + rest),
    }
}

/// Where the first secret begins and ends.
fn first_secret(text: &str) -> Option<(usize, usize)> {
    let of_prefix = |prefix: &str| {
        let begin = text.find(prefix)? + prefix.len();
        let length = text[begin..].bytes().take_while(|&byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        Some((begin, begin + length.count()))
    };
    let prefixes = [KEY_PREFIX, TOKEN_PREFIX, VIEW_TOKEN_PREFIX, GRANT_TOKEN_PREFIX];
    let found = prefixes.map(of_prefix).into_iter().chain([credentials(text)]);
    found.flatten().min()
}

/// What stands between `://` and `@` in a URL.
fn credentials(text: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    loop {
        let begin = from + text[from..].find("://")? + 3;
        let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>');
        let authority = text[begin..].split(ends).next().unwrap_or_default();
        if let Some(at) = authority.rfind('@') {
            return Some((begin, begin + at));
        }
        from = begin;
    }
}

/// Writes what is given to it without secrets. Each write must be a whole message, as tracing writes them.
pub struct WithoutSecrets<W>(pub W);

impl<W: Write> Write for WithoutSecrets<W> {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        self.0.write_all(hide(&String::from_utf8_lossy(message)).as_bytes())?;
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tokens_and_passwords_are_hidden_and_nothing_else_is() {
        for (text, expected) in [
            ("nothing to hide", "nothing to hide"),
            ("", ""),
            ("reading cwk_AbC-_9: no such file", "reading cwk_…: no such file"),
            ("cwk_abc", "cwk_…"),
            ("#watch=cwv_AbC-_9", "#watch=cwv_…"),
            ("hello cwg_a1.2.AbC-_9", "hello cwg_…"),
            ("two: cwk_a and cwt_alice.0f.300.1.9.sig!", "two: cwk_… and cwt_…!"),
            ("/v1/realtime_video?key=cwk_abc&x=1", "/v1/realtime_video?key=cwk_…&x=1"),
            ("https://user:word@host.example/a", "https://…@host.example/a"),
            ("https://user:w@rd@host.example", "https://…@host.example"),
            ("'https://:word@host' for '--origin'", "'https://…@host' for '--origin'"),
            ("http://a.example/b@c https://d:e@f", "http://a.example/b@c https://…@f"),
            ("https://a.example?mail=a@b", "https://a.example?mail=a@b"),
            ("é cwk_é", "é cwk_…é"),
        ] {
            assert_eq!(hide(text), expected);
        }
    }

    #[test]
    fn a_writer_hides_them_too() {
        let mut written = Vec::new();
        let message = "key=cwk_abc\n";
        WithoutSecrets(&mut written).write_all(message.as_bytes()).expect("a Vec takes everything");
        assert_eq!(written, "key=cwk_…\n".as_bytes());
    }
}
