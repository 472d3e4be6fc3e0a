//! The MessagePack a server may send: checked byte by byte, not through a decoder.
//!
//! The reference's page carries a small hand-written decoder that throws at everything it does not know, and one negative
//! integer or one long string ends the video. So a general decoder is no judge here: it would accept what the page cannot.

use anyhow::{Context, Result, bail, ensure};

/// What a walk over one message found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Floats of either width. Statistics must have none.
    pub floats: usize,
}

/// One message, exactly: an error names the first marker that the reference's page could not read, and where it lies.
pub fn check(message: &[u8]) -> Result<Found> {
    let mut walk = Walk { bytes: message, at: 0, found: Found::default() };
    walk.value()?;
    ensure!(walk.at == message.len(), "{} bytes after the message's end", message.len() - walk.at);
    Ok(walk.found)
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    found: Found,
}

impl Walk<'_> {
    fn value(&mut self) -> Result<()> {
        let at = self.at;
        let marker = self.take(1)?[0];
        match marker {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 => {}
            0xcc => self.integer(1, 0x80)?,
            0xcd => self.integer(2, 0x100)?,
            0xce => self.integer(4, 0x1_0000)?,
            0xca => self.float(4)?,
            0xcb => self.float(8)?,
            0xa0..=0xbf => self.text(usize::from(marker & 0x1f))?,
            0xd9 => self.sized_text(1)?,
            0xda => self.sized_text(2)?,
            0xc4 => self.binary(1)?,
            0xc5 => self.binary(2)?,
            0xc6 => self.binary(4)?,
            0x90..=0x9f => self.array(usize::from(marker & 0x0f))?,
            0xdc => self.sized_array(2)?,
            0xdd => self.sized_array(4)?,
            0x80..=0x8f => self.map(usize::from(marker & 0x0f))?,
            0xde => {
                let pairs = self.number(2)?;
                ensure!(pairs >= 16, "map16 of {pairs} pairs at byte {at}: a fixmap holds as many");
                self.map(pairs)?;
            }
            _ => bail!("marker {marker:02x} at byte {at}: the page cannot read it ({})", name_of_unreadable(marker)),
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let taken = self.bytes.get(self.at..self.at.saturating_add(count));
        let taken = taken.with_context(|| format!("the message ends inside the value at byte {}", self.at))?;
        self.at += count;
        Ok(taken)
    }

    /// A big-endian number of `width` bytes.
    fn number(&mut self, width: usize) -> Result<usize> {
        Ok(self.take(width)?.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    fn integer(&mut self, width: usize, least: usize) -> Result<()> {
        let number = self.number(width)?;
        ensure!(number >= least, "{number} in {width} bytes before byte {}: not its smallest encoding", self.at);
        Ok(())
    }

    fn float(&mut self, width: usize) -> Result<()> {
        self.found.floats += 1;
        self.take(width).map(drop)
    }

    fn text(&mut self, length: usize) -> Result<()> {
        let at = self.at;
        std::str::from_utf8(self.take(length)?).with_context(|| format!("string at byte {at}"))?;
        Ok(())
    }

    fn sized_text(&mut self, width: usize) -> Result<()> {
        let length = self.number(width)?;
        self.text(length)
    }

    fn binary(&mut self, width: usize) -> Result<()> {
        let length = self.number(width)?;
        self.take(length).map(drop)
    }

    fn array(&mut self, length: usize) -> Result<()> {
        (0..length).try_for_each(|_| self.value())
    }

    fn sized_array(&mut self, width: usize) -> Result<()> {
        let length = self.number(width)?;
        self.array(length)
    }

    fn map(&mut self, pairs: usize) -> Result<()> {
        for _ in 0..pairs {
            let at = self.at;
            let key = *self.bytes.get(at).with_context(|| format!("the message ends before the key at byte {at}"))?;
            ensure!(matches!(key, 0xa0..=0xbf | 0xd9 | 0xda), "the key at byte {at} is not a string ({key:02x})");
            self.value()?;
            self.value()?;
        }
        Ok(())
    }
}

fn name_of_unreadable(marker: u8) -> &'static str {
    match marker {
        0xe0..=0xff | 0xd0..=0xd3 => "a signed integer",
        0xcf => "uint64",
        0xdb => "str32",
        0xdf => "map32",
        0xc7..=0xc9 | 0xd4..=0xd8 => "an extension type",
        _ => "not MessagePack",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmpv::Value;

    fn bytes_of(value: Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &value).expect("a Vec takes every byte");
        bytes
    }

    /// C44, on every map that any test receives.
    #[test]
    fn every_marker_the_page_reads_is_allowed_and_no_other() {
        // One smallest well-formed value a marker, and whether the page reads it.
        let check_marker = |bytes: &[u8], allowed: bool| {
            assert_eq!(check(bytes).is_ok(), allowed, "{bytes:02x?}: {:?}", check(bytes));
        };
        for bytes in
            [&[0x00][..], &[0x7f], &[0xc0], &[0xc2], &[0xc3], &[0xa0], &[0x80], &[0x90], &[0xc4, 0], &[0xd9, 0]]
        {
            check_marker(bytes, true);
        }
        check_marker(&[0xcc, 0x80], true);
        check_marker(&[0xcd, 1, 0], true);
        check_marker(&[0xce, 0, 1, 0, 0], true);
        check_marker(&[0xca, 0, 0, 0, 0], true);
        check_marker(&[0xcb, 0, 0, 0, 0, 0, 0, 0, 0], true);
        check_marker(&[0xdd, 0, 0, 0, 1, 5], true);
        for bytes in [&[0xff][..], &[0xe0], &[0xd0, 0xff], &[0xcf, 1, 0, 0, 0, 0, 0, 0, 0], &[0xdb, 0, 0, 0, 0]] {
            check_marker(bytes, false);
        }
        for bytes in [&[0xdf, 0, 0, 0, 0][..], &[0xd4, 1, 1], &[0xc7, 0, 1], &[0xc1]] {
            check_marker(bytes, false);
        }
    }

    #[test]
    fn integers_take_their_smallest_form() {
        for wasteful in [&[0xcc, 0x7f][..], &[0xcd, 0, 0xff], &[0xce, 0, 0, 0xff, 0xff]] {
            assert!(check(wasteful).is_err(), "{wasteful:02x?}");
        }
    }

    #[test]
    fn what_is_wrong_deep_inside_is_found() {
        let deep = Value::Map(vec![("list".into(), Value::Array(vec![1.into(), Value::from(-1)]))]);
        assert!(check(&bytes_of(deep)).expect_err("a negative integer").to_string().contains("signed"));
        let keyed_by_number = Value::Map(vec![(1.into(), 1.into())]);
        assert!(check(&bytes_of(keyed_by_number)).is_err());
    }

    #[test]
    fn a_message_is_one_value_and_nothing_after_it() {
        assert!(check(&[]).is_err());
        assert!(check(&[0x92, 0x01]).is_err());
        assert!(check(&[0x01, 0x01]).is_err());
        assert!(check(&[0xc6, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn floats_are_counted() {
        let value = Value::Array(vec![Value::F32(0.5), Value::F64(0.5), 3.into()]);
        assert_eq!(check(&bytes_of(value)).expect("allowed"), Found { floats: 2 });
    }
}
