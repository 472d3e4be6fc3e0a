//! A picture inside text: `data:image/png;base64,…`.
//!
//! Tools write these in many ways, and all that leave no doubt are read: base64 broken into lines, with or without padding, with
//! `-` and `_` for `+` and `/`, with characters escaped as in a URL; and any parameters before `;base64`.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Whether padding is there says nothing that the length does not; what its last bits are nobody reads.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Characters that are decoded together: whole groups of four, which are three bytes each.
const BLOCK: usize = 4096;

/// The file in a data URL of a picture; `None` if `text` is something else. An error is a sentence without its subject.
pub(crate) fn read(text: &str) -> Option<Result<Vec<u8>, String>> {
    let (head, data) = text.trim_ascii_start().split_once(',')?;
    let head = head.to_ascii_lowercase();
    let (media, parameters) = head.strip_prefix("data:image")?.split_once(';')?;
    let is_picture = media.is_empty() || media.starts_with('/');
    let is_base64 = parameters.rsplit(';').next().is_some_and(|last| last.trim_ascii() == "base64");
    (is_picture && is_base64).then(|| decode(data.as_bytes()))
}

/// Block by block: there may be 30 MB, and the text stays where it is.
fn decode(data: &[u8]) -> Result<Vec<u8>, String> {
    let mut file = Vec::with_capacity(data.len() / 4 * 3);
    let mut block = Vec::with_capacity(BLOCK);
    let mut at = 0;
    while let Some(&byte) = data.get(at) {
        let place = at;
        at += 1;
        let byte = match byte {
            b'%' => {
                at += 2;
                let byte = data.get(at - 2..at).and_then(escaped);
                byte.ok_or_else(|| format!("is not base64: after % at {place} come no two hexadecimal digits"))?
            }
            byte => byte,
        };
        block.push(match byte {
            byte if byte.is_ascii_whitespace() => continue,
            b'-' => b'+',
            b'_' => b'/',
            byte if byte.is_ascii_alphanumeric() || b"+/=".contains(&byte) => byte,
            _ => return Err(format!("is not base64: its character at {place} is none of A-Z a-z 0-9 + / - _ =")),
        });
        if block.len() > BLOCK {
            // One more than a block, so that this is not the last: padding is only at the end.
            if block[..BLOCK].contains(&b'=') {
                return Err(format!("is not base64: data follows its padding, before {place}"));
            }
            decode_block(&block[..BLOCK], &mut file)?;
            block.drain(..BLOCK);
        }
    }
    if block.is_empty() {
        return Err("is empty: no data follows the comma".to_owned());
    }
    decode_block(&block, &mut file)?;
    Ok(file)
}

fn decode_block(block: &[u8], file: &mut Vec<u8>) -> Result<(), String> {
    BASE64.decode_vec(block, file).map_err(|error| format!("is not base64: {error}"))
}

/// The byte that two hexadecimal digits mean.
fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |digit: u8| (digit as char).to_digit(16).map(|digit| digit as u8);
    Some(digit(digits[0])? << 4 | digit(digits[1])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its base64 has both characters that are written differently in URLs, and two of padding.
    const FILE: [u8; 7] = [0xfb, 0xef, 0xbe, 0xff, 0xff, 0xff, 0x01];

    fn check(text: &str, expected: Option<&[u8]>) {
        let read = read(text);
        match expected {
            Some(file) => assert_eq!(read, Some(Ok(file.to_vec())), "{text}"),
            None => assert!(!matches!(read, Some(Ok(_))), "{text}: {read:?}"),
        }
    }

    #[test]
    fn base64_is_read_however_a_tool_writes_it() {
        for data in [
            "++++////AQ==",
            "++++////AQ",
            "++++////AQ=",
            "----____AQ==",
            "----____AQ",
            "++++\n////\nAQ==\n",
            "++++\r\n////\r\nAQ==\r\n",
            " + + + +\t////AQ = = ",
            "%2B%2B%2b%2B%2F%2F%2f%2FAQ%3D%3D",
            "++++%0A////%0D%0AAQ%3d=",
            // The bits after the last byte are nobody's.
            "++++////AR==",
        ] {
            check(&format!("data:image/png;base64,{data}"), Some(&FILE));
        }
    }

    #[test]
    fn what_stands_before_the_data_may_be_written_in_several_ways() {
        for head in [
            "data:image/png;base64",
            "DATA:image/png;base64",
            "Data:IMAGE/PNG;BASE64",
            "data:image/jpeg;charset=utf-8;base64",
            "data:image/png;name=a.png;base64",
            "data:image/svg+xml;base64",
            "data:image;base64",
            "\n data:image/png;base64",
            "data:image/png; base64",
        ] {
            check(&format!("{head},++++////AQ=="), Some(&FILE));
        }
    }

    #[test]
    fn what_is_no_picture_in_base64_is_refused() {
        for text in [
            "",
            ",",
            "data:",
            "data:image/png",
            "data:image/png,++++",
            "data:image/png;base64",
            "data:image/png;base64,",
            "data:image/png;base64, \n",
            "data:text/plain;base64,++++",
            "data:imagination;base64,++++",
            "data:image/png;base64;charset=utf-8,++++",
            "/etc/passwd",
            "xdata:image/png;base64,++++",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn a_wrong_character_is_named_by_its_place() {
        let reason =
            |data: &str| read(&format!("data:image/png;base64,{data}")).expect("a data URL").expect_err("not base64");
        assert!(reason("++\n+!").contains("character at 4"));
        assert!(reason("++++\u{e9}").contains("character at 4"));
        assert!(reason("+%2").contains("% at 1") && reason("%zz++").contains("% at 0"));
        for broken in ["+", "=", "==++", "+=++", "++++=++", "++++A", "++++===="] {
            assert!(reason(broken).starts_with("is not base64"), "{broken}");
        }
    }

    #[test]
    fn files_longer_than_a_block_are_whole() {
        for length in [BLOCK / 4 * 3 - 1, BLOCK / 4 * 3, BLOCK / 4 * 3 + 1, BLOCK, 100_000] {
            let file: Vec<u8> = (0..length).map(|at| (at * at / 7) as u8).collect();
            let text = base64::engine::general_purpose::STANDARD.encode(&file);
            check(&format!("data:image/png;base64,{text}"), Some(&file));
            let lines: Vec<_> = text.as_bytes().chunks(76).map(|line| str::from_utf8(line).expect("ASCII")).collect();
            check(&format!("data:image/png;base64,{}", lines.join("\r\n")), Some(&file));
            check(&format!("data:image/png;base64,{}=={text}", &text[..8]), None);
        }
    }
}
