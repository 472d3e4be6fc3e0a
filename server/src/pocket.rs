//! The small model that comes with Causeway, so that it draws without a download. A release build carries the files in the
//! binary; a dev build reads them from the repository.

use pipeline::load::model_dir::ModelDir;
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../pocket/weights"]
struct Weights;

/// The embedded model directory.
pub fn dir() -> ModelDir {
    ModelDir::embedded("pocket", |path| Weights::get(path).map(|file| file.data))
}
