//! What lies where a model's file should be, when it is not that file: after a clone without git-lfs, a download that
//! gave a web page, or an edit under Windows.

/// The mark that some editors put before UTF-8 text.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes from the beginning of a file that tell its kind.
const HEAD: usize = 512;

/// What these bytes are if they are none of a model's files, in words that end the sentence "this is …". `None`:
/// nothing that is known to stand in for one.
///
/// A safetensors file begins with a length, whose bytes may look like anything: ask this only of one that cannot be
/// read.
pub(crate) fn stand_in(bytes: &[u8]) -> Option<&'static str> {
    let head = &bytes[..bytes.len().min(HEAD)];
    let text = head.strip_prefix(MARK).unwrap_or(head).trim_ascii_start().to_ascii_lowercase();
    let begins = |starts: &[&str]| starts.iter().any(|start| text.starts_with(start.as_bytes()));
    if begins(&["version https://git-lfs", "version https://hawser"]) {
        return Some("a git-lfs pointer, not the file itself: run `git lfs pull`, or download the file again");
    }
    if begins(&["/annex/objects/", "../.git/annex/objects/", ".git/annex/objects/"]) {
        return Some("a git-annex pointer, not the file itself: run `git annex get`, or download the file again");
    }
    if begins(&["<!doctype html", "<html", "<head", "<body", "<!--"]) {
        return Some("a web page (HTML), as a download gives that was refused or redirected: download the file again");
    }
    if begins(&["<?xml", "<error"]) {
        return Some("an XML answer, as a storage service gives instead of a file: download the file again");
    }
    if begins(&["{\"error", "{\"message", "{\"detail", "entry not found", "invalid username", "access to model"]) {
        return Some("a server's answer that it has no such file, or may not give it: download the file again");
    }
    if begins(&["invalid credentials", "not found", "404:", "forbidden", "unauthorized", "repository not found"]) {
        return Some("a server's answer that it has no such file, or may not give it: download the file again");
    }
    if head.starts_with(b"PK\x03\x04") {
        return Some("a zip archive or a PyTorch pickle: unpack or convert it");
    }
    if head.starts_with(b"\x80\x02") {
        return Some("a Python pickle: convert it");
    }
    if head.starts_with(b"\x1f\x8b") {
        return Some("compressed with gzip: unpack it");
    }
    if head.starts_with(b"\x28\xb5\x2f\xfd") {
        return Some("compressed with zstd: unpack it");
    }
    if head.starts_with(b"GGUF") {
        return Some("a GGUF file, which is not read");
    }
    if head.starts_with(b"\x89HDF") {
        return Some("an HDF5 file, which is not read");
    }
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return Some("text in UTF-16: save it as UTF-8");
    }
    if bytes.is_empty() {
        return Some("empty, as a download leaves that never began");
    }
    if head.iter().all(|&byte| byte == 0) {
        return Some("zeros, as a download leaves that was cut off: download the file again");
    }
    None
}

/// Text without the mark that some editors put before it.
pub(crate) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(MARK).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_find_in_place_of_a_file_is_told_apart() {
        let check = |bytes: &[u8], words: &str| {
            let found = stand_in(bytes).unwrap_or_else(|| panic!("{:?} is nothing", String::from_utf8_lossy(bytes)));
            assert!(found.contains(words), "{found:?} does not say {words:?}");
        };
        check(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "git-lfs pointer");
        check(b"../.git/annex/objects/Xx/Yy/SHA256E-s9--ab", "git-annex pointer");
        check(b"\n  <!DOCTYPE HTML><title>403</title>", "HTML");
        check(b"\xef\xbb\xbf<html>", "HTML");
        check(b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "XML");
        check(b"{\"error\":\"Repository not found\"}", "a server's answer");
        check(b"Entry not found", "a server's answer");
        check(b"PK\x03\x04\0\0", "PyTorch pickle");
        check(b"\x80\x02}q\x00.", "Python pickle");
        check(b"\x1f\x8b\x08\0", "gzip");
        check(b"GGUF\x03\0", "GGUF");
        check(b"\xff\xfe{\0", "UTF-16");
        check(b"", "empty");
        check(&[0; 4096], "zeros");
    }

    #[test]
    fn the_files_of_a_model_are_themselves() {
        for bytes in
            [&b"{\"num_layers\": 1}"[..], b"\xef\xbb\xbf{}", b"[\"a\"]", b"\x89PNG\r\n", b"\xff\xd8\xff\xe0", b"x"]
        {
            assert_eq!(stand_in(bytes), None, "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(without_mark(b"\xef\xbb\xbf{}"), b"{}");
        assert_eq!(without_mark(b"{}"), b"{}");
    }
}
