//! The small model that comes with Causeway, so that it draws without a download. A release build carries the files in the
//! binary; a dev build reads them from the repository.

use std::borrow::Cow;

use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../pocket/weights"]
#[allow_missing = true]
struct Weights;

/// One file of the model directory: `transformer/config.json`, say.
pub fn file(path: &str) -> Option<Cow<'static, [u8]>> {
    Weights::get(path).map(|file| file.data)
}

/// All paths, in the order of the alphabet.
pub fn paths() -> Vec<String> {
    let mut paths: Vec<_> = Weights::iter().map(Cow::into_owned).collect();
    paths.sort();
    paths
}
