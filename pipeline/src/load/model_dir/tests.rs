//! Where files are found, and what lists of them may name.

use super::ModelDir;
use crate::fixture::TempDir;

#[test]
fn the_gallery_is_what_the_list_names() {
    let dir = TempDir::new();
    assert!(dir.open().gallery().expect("no list is no gallery").is_empty());
    dir.write("first_frames/meadow.png", b"\x89PNG\r\n\x1a\npicture");
    dir.write("first_frames/prompts.json", r#"{"meadow.png": {"prompt": "a meadow", "time": "noon"}}"#);
    let gallery = dir.open().gallery().expect("a gallery");
    let items: Vec<_> = gallery.iter().map(|item| (item.name.as_str(), item.prompt.as_str(), &*item.file)).collect();
    assert_eq!(items, [("meadow.png", "a meadow", b"\x89PNG\r\n\x1a\npicture".as_slice())]);

    let check = |list: &str, part: &str| {
        dir.write("first_frames/prompts.json", list);
        let error = dir.open().gallery().expect_err(part).to_string();
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    };
    check(r#"{"desert.png": {"prompt": ""}}"#, "first_frames/desert.png");
    for name in ["../meadow.png", "/meadow.png", "a\\\\meadow.png", "", ".", "..", "C:meadow.png", "mea\\ndow.png"] {
        check(&format!(r#"{{"{name}": {{"prompt": ""}}}}"#), "is not the name of a file beside it");
    }
    dir.write("first_frames/pointer.png", "version https://git-lfs.github.com/spec/v1\noid sha256:ab\n");
    check(r#"{"pointer.png": {"prompt": ""}}"#, "first_frames/pointer.png: this is a git-lfs pointer");
    check(r#"{"meadow.png": {}}"#, "missing field `prompt`");
}

#[test]
fn presets_are_a_short_list_of_prompts() {
    let dir = TempDir::new();
    assert!(dir.open().presets().expect("no list is no presets").is_empty());
    dir.write("presets.json", r#"["a desert at night", "a snowy valley"]"#);
    assert_eq!(dir.open().presets().expect("presets"), ["a desert at night", "a snowy valley"]);
    let check = |list: &str, part: &str| {
        dir.write("presets.json", list);
        let error = dir.open().presets().expect_err(part).to_string();
        assert!(error.contains("presets.json") && error.contains(part), "{error:?} does not say {part:?}");
    };
    check(r#"{"a": 1}"#, "expected a sequence");
    check(r#"["a", " "]"#, "none of them empty");
    check(&format!("[{}\"b\"]", "\"a\",".repeat(64)), "at most 64");
}

#[test]
fn the_tokenizer_is_found_in_either_layout() {
    for path in ["tokenizer/tokenizer.json", "google/umt5-xxl/tokenizer.json"] {
        let dir = TempDir::new();
        assert!(dir.open().tokenizer().expect_err("nothing there").to_string().contains(path));
        dir.write(path, "{}");
        let file = dir.open().tokenizer().expect("a tokenizer");
        assert_eq!(file.text().expect("text"), b"{}");
        assert!(file.name().ends_with(path), "{}", file.name());
    }
}

#[test]
fn a_name_of_the_hub_that_is_no_directory_is_answered_with_the_command_that_downloads_it() {
    let error = |name: &str| ModelDir::open(name).expect_err("there is no such directory").to_string();
    let said = error("nvidia/Cosmos3-Nano");
    assert!(said.contains("hf download nvidia/Cosmos3-Nano --local-dir nvidia/Cosmos3-Nano"), "{said}");
    for path in ["no-such-directory", "./no/directory", "/no/directory", "no/such/directory", "no/ directory"] {
        assert!(!error(path).contains("download"), "{path}: {}", error(path));
    }
}
