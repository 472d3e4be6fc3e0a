//! Section 6: what is UTF-8 and what only looks like it. The strings are those of Markus Kuhn's stress test, by construction.

use super::{BINARY, Echo, End, FIN, MORE, NOT_UTF8, TEXT, WHOLE, fragments, frame};
use anyhow::Result;

/// κόσμε
const KOSME: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";

fn good() -> Vec<Vec<u8>> {
    let mut good = vec![KOSME.to_vec(), "Hello-µ@ßöäüàá-UTF-8!!".into(), b"\0".to_vec()];
    // The first and the last of each length, what stands beside the surrogates, the last of all, and all noncharacters.
    let points =
        [0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xfffd, 0xfffe, 0xffff, 0x1_0000, 0x10_ffff, 0xfdd0, 0xfdef];
    let nonchars = (1..=0x10).flat_map(|plane| [plane << 16 | 0xfffe, plane << 16 | 0xffff]);
    let chars = points.into_iter().chain(nonchars).map(|point| char::from_u32(point).expect("a scalar value"));
    good.extend(chars.map(|char| char.to_string().into_bytes()));
    good
}

/// The bits of a code point in `length` bytes, whether that is allowed or not.
fn bits(point: u32, length: usize) -> Vec<u8> {
    let lead = [0, 0, 0xc0, 0xe0, 0xf0, 0xf8, 0xfc][length];
    let bytes = (0..length).rev().map(|at| (point >> (6 * at) & 0x3f) as u8);
    bytes.enumerate().map(|(at, six)| if at == 0 { lead | six } else { 0x80 | six }).collect()
}

fn bad() -> Vec<Vec<u8>> {
    let mut bad: Vec<Vec<u8>> = Vec::new();
    // Past the last code point, and lengths that UTF-8 no longer has.
    bad.extend([bits(0x11_0000, 4), bits(0x1f_ffff, 4), bits(0x20_0000, 5), bits(0x3ff_ffff, 5)]);
    bad.extend([bits(0x400_0000, 6), bits(0x7fff_ffff, 6)]);
    // Continuations of nothing: one, several, every one.
    bad.extend((1..=7).map(|count| [0x80, 0xbf].repeat(count)[..count].to_vec()));
    bad.push((0x80..=0xbf).collect());
    // Beginnings without an end: alone, before a space, one after another.
    for (lead, length) in [(0xc0..=0xdf, 2), (0xe0..=0xef, 3), (0xf0..=0xf7, 4), (0xf8..=0xfb, 5), (0xfc..=0xfd, 6)] {
        bad.push(lead.clone().flat_map(|byte| [byte, b' ']).collect());
        bad.extend(lead.map(|byte| vec![byte]));
        let point = [0, 0, 0x80, 0x800, 0x1_0000, 0x20_0000, 0x400_0000][length];
        bad.extend((1..length).map(|cut| bits(point, length)[..cut].to_vec()));
    }
    bad.push(KOSME.iter().copied().take(2).chain(KOSME.iter().copied().take(3)).collect());
    // Bytes that never occur.
    bad.extend([vec![0xfe], vec![0xff], vec![0xfe, 0xfe, 0xff, 0xff]]);
    // Longer than need be: a slash, the largest that is too small, a zero.
    for (length, largest) in [(2, 0x7f), (3, 0x7ff), (4, 0xffff), (5, 0x1f_ffff), (6, 0x3ff_ffff)] {
        bad.extend([0x2f, largest, 0].map(|point| bits(point, length)));
    }
    // Surrogates, alone and in pairs.
    for point in [0xd800, 0xdb7f, 0xdb80, 0xdbff, 0xdc00, 0xdf80, 0xdfff] {
        bad.push(bits(point, 3));
    }
    for high in [0xd800, 0xdb7f, 0xdb80, 0xdbff] {
        bad.extend([0xdc00, 0xdfff].map(|low| [bits(high, 3), bits(low, 3)].concat()));
    }
    bad
}

#[tokio::test]
async fn section_6_text_is_utf8() -> Result<()> {
    let echo = Echo::serve().await?;
    echo.check("6.1.1", &[frame(FIN | TEXT, b"")], WHOLE, &[(TEXT, vec![])], End::Ours).await?;
    let empty = [frame(TEXT, b""), frame(MORE, b""), frame(FIN | MORE, b"")];
    echo.check("6.1.2", &empty, WHOLE, &[(TEXT, vec![])], End::Ours).await?;
    let middle = [frame(TEXT, b""), frame(MORE, b"middle"), frame(FIN | MORE, b"")];
    echo.check("6.1.3", &middle, WHOLE, &[(TEXT, b"middle".to_vec())], End::Ours).await?;
    for text in good() {
        // Whole, and cut between any two bytes of a character.
        for size in [WHOLE, 1] {
            let sent = fragments(TEXT, &text, size.min(text.len()));
            echo.check(&format!("6.2, {text:02x?}"), &sent, WHOLE, &[(TEXT, text.clone())], End::Ours).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn section_6_text_that_is_not_utf8_fails_the_connection() -> Result<()> {
    let echo = Echo::serve().await?;
    for text in bad() {
        assert!(std::str::from_utf8(&text).is_err(), "{text:02x?} is good");
        let amid = [KOSME, &text, b"edited"].concat();
        for text in [&text, &amid] {
            for size in [WHOLE, 1] {
                let sent = fragments(TEXT, text, size.min(text.len()));
                echo.check(&format!("6.3, {text:02x?}"), &sent, WHOLE, &[], End::Failed(NOT_UTF8)).await?;
            }
        }
        // The same bytes are no concern of a binary message.
        let binary = [frame(FIN | BINARY, &text)];
        echo.check("binary", &binary, WHOLE, &[(BINARY, text.clone())], End::Ours).await?;
    }
    Ok(())
}

/// Fail at once: what can no longer become UTF-8 is not waited out. The message's end never comes here.
#[tokio::test]
async fn section_6_4_a_message_that_can_no_longer_be_utf8_fails_before_its_end() -> Result<()> {
    let echo = Echo::serve().await?;
    let sent = [frame(TEXT, KOSME), frame(MORE, b"\xf4\x90\x80\x80")];
    echo.check("6.4.1", &sent, WHOLE, &[], End::Failed(NOT_UTF8)).await
}
