//! A folder for the files of one unit test, gone when the test ends.

use std::path::{Path, PathBuf};

/// The folder, until it is dropped.
pub(crate) struct Scratch {
    /// Empty at first.
    pub(crate) folder: PathBuf,
}

impl Scratch {
    /// In the system's folder for temporary files.
    pub(crate) fn new() -> Scratch {
        let folder = std::env::temp_dir().join(format!("causeway-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).expect("the temporary folder can be written");
        Scratch { folder }
    }

    /// Where a file of this name would be.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
