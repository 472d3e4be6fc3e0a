//! A file that is there whole or not at all: it is written beside its place, and takes that when it is finished.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// Behind the file's name while it is written.
const UNFINISHED: &str = ".unfinished";

/// A file that is being written. Dropped before [`WholeFile::finish`], it leaves nothing.
pub struct WholeFile {
    file: BufWriter<File>,
    unfinished: PathBuf,
    path: PathBuf,
    is_finished: bool,
}

/// What may happen to a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and that is an error.
    Keep,
    /// The new file takes its place, once that is whole.
    Replace,
}

impl WholeFile {
    /// # Errors
    /// If something is there that must stay, or that is no file; if another process writes the same file; if the folder
    /// cannot be written.
    pub fn create(path: &Path, existing: Existing) -> anyhow::Result<WholeFile> {
        check_place(path, existing)?;
        // A link stays one: the file that it names is replaced.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        let file = loop {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&unfinished);
            let file = file.with_context(|| format!("creating {}", unfinished.display()))?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => bail!("{}: another process is writing it", path.display()),
                // A file system without locks.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            // Between the two its writer may have finished: then what is open here has the final name by now.
            if is_at(&file, &unfinished) {
                break file;
            }
        };
        // What a process left that was killed is nobody's.
        file.set_len(0).with_context(|| format!("emptying {}", unfinished.display()))?;
        Ok(WholeFile { file: BufWriter::new(file), unfinished, path, is_finished: false })
    }

    /// Give the file its name. What has the name until then is replaced in the same step.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let path = self.path.display();
        self.file.flush().with_context(|| format!("writing {path}"))?;
        std::fs::rename(&self.unfinished, &self.path).with_context(|| format!("giving {path} its name"))?;
        self.is_finished = true;
        Ok(())
    }
}

/// An error if a file cannot be made at `path`, as far as can be said before it is.
pub fn check_place(path: &Path, existing: Existing) -> anyhow::Result<()> {
    match path.metadata() {
        Ok(there) => {
            ensure!(there.is_file(), "{} is there, and is no file", path.display());
            ensure!(existing == Existing::Replace, "{} is there already; --force replaces it", path.display());
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("looking at {}", path.display())),
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let of_file = file.metadata().map(|data| (data.dev(), data.ino()));
    let of_path = path.metadata().map(|data| (data.dev(), data.ino()));
    of_file.is_ok_and(|file| of_path.is_ok_and(|path| file == path))
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if !self.is_finished {
            // The error that ended the writing is the one to tell.
            let _ = std::fs::remove_file(&self.unfinished);
        }
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for WholeFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let name = |entry: io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name().into_string();
        let mut names: Vec<_> = entries.map(|entry| name(entry).expect("UTF-8")).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_its_name_only_when_it_is_finished() {
        let scratch = Scratch::new();
        let path = scratch.path("film");
        let mut file = WholeFile::create(&path, Existing::Keep).expect("a new file");
        file.write_all(b"half").expect("written");
        assert_eq!(names(&scratch.folder), ["film.unfinished"]);
        file.finish().expect("finished");
        assert_eq!(names(&scratch.folder), ["film"]);
        assert_eq!(std::fs::read(&path).expect("the file"), b"half");
    }

    #[test]
    fn what_was_there_stays_until_the_new_file_is_whole() {
        let scratch = Scratch::new();
        let path = scratch.path("film");
        std::fs::write(&path, "old").expect("written");
        let refused = WholeFile::create(&path, Existing::Keep).err().expect("it is there").to_string();
        assert!(refused.contains("--force"), "{refused}");
        let mut file = WholeFile::create(&path, Existing::Replace).expect("may be replaced");
        file.write_all(b"half").expect("written");
        drop(file);
        assert_eq!(names(&scratch.folder), ["film"]);
        assert_eq!(std::fs::read(&path).expect("the file"), b"old");
        let mut file = WholeFile::create(&path, Existing::Replace).expect("may be replaced");
        file.write_all(b"new").expect("written");
        file.finish().expect("finished");
        assert_eq!(std::fs::read(&path).expect("the file"), b"new");
    }

    #[test]
    fn a_link_stays_a_link_and_a_folder_is_no_file() {
        let scratch = Scratch::new();
        let (target, link) = (scratch.path("target"), scratch.path("link"));
        std::fs::write(&target, "old").expect("written");
        std::os::unix::fs::symlink(&target, &link).expect("linked");
        WholeFile::create(&link, Existing::Replace).expect("may be replaced").finish().expect("finished");
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&target).expect("the file"), b"");
        let refused = WholeFile::create(&scratch.folder, Existing::Replace).err().expect("a folder").to_string();
        assert!(refused.contains("is no file"), "{refused}");
    }

    #[test]
    fn two_writers_of_one_file_do_not_mix_and_a_killed_one_is_written_over() {
        let scratch = Scratch::new();
        let path = scratch.path("film");
        let first = WholeFile::create(&path, Existing::Keep).expect("a new file");
        let refused = WholeFile::create(&path, Existing::Keep).err().expect("being written").to_string();
        assert!(refused.contains("another process"), "{refused}");
        first.finish().expect("finished");
        let other = scratch.path("other");
        std::fs::write(scratch.path("other.unfinished"), "left by one that was killed").expect("written");
        let mut file = WholeFile::create(&other, Existing::Keep).expect("nobody writes it");
        file.write_all(b"new").expect("written");
        file.finish().expect("finished");
        assert_eq!(std::fs::read(&other).expect("the file"), b"new");
    }
}
