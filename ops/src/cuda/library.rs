//! Where libraries of CUDA are looked for, when a device is asked for and not before.
//!
//! Nothing is linked, so one binary serves machines with and without a GPU. A library that was opened by its path is
//! found again by its name: so cudarc, which knows names alone, finds a library in any folder without
//! `LD_LIBRARY_PATH`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cudarc::driver::sys;
use libloading::Library;

use crate::{Error, Result};

/// What the driver's library is called: on Linux, and where a development package made a link to it.
const DRIVER: [&str; 2] = ["libcuda.so.1", "libcuda.so"];

/// Folders beside the loader's own path in which drivers are installed: NVIDIA's package for older kernels, and Windows'
/// subsystem for Linux.
const FOLDERS: [&str; 3] = ["/usr/local/cuda/compat", "/usr/lib/wsl/lib", "/usr/lib64/nvidia"];

static DRIVER_LIBRARY: OnceLock<Library> = OnceLock::new();

/// `cuEventElapsedTime`, in milliseconds. Our own, because cudarc asks drivers of today for a second version of it, which older
/// ones do not have: this one all have.
pub(super) type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;

/// How long lies between two events. `None` where the driver cannot say.
pub(super) fn elapsed() -> Option<Elapsed> {
    // SAFETY: every driver has it with these parameters.
    unsafe { symbol(b"cuEventElapsedTime\0") }
}

/// A function of the driver that is open, by its name, which ends with a zero. `None`: no driver is open, or it has none.
///
/// # Safety
///
/// `T` is the type of the function of this name.
pub(crate) unsafe fn symbol<T: Copy>(name: &[u8]) -> Option<T> {
    // SAFETY: as the caller says. The library stays open for the life of the process.
    unsafe { DRIVER_LIBRARY.get()?.get::<T>(name) }.ok().map(|symbol| *symbol)
}

/// The driver, opened for the life of the process. An error that says what was looked for, and where.
///
/// `folder` is looked into first. A later call with another folder gets the driver that is open already: a process has
/// one.
pub(super) fn driver(folder: Option<&Path>) -> Result<()> {
    if DRIVER_LIBRARY.get().is_some() {
        return Ok(());
    }
    let library = open(&DRIVER, folder)?;
    let _ = DRIVER_LIBRARY.set(library);
    // SAFETY: it opens libraries whose names cudarc knows, and one of them is open by now.
    match unsafe { sys::is_culib_present() } {
        true => Ok(()),
        false => Err(Error::new("the CUDA driver was opened by its path, but its file calls itself something else")),
    }
}

/// The path of the driver's library that is open.
pub(super) fn driver_path() -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps.lines().find_map(|line| line.find('/').map(|at| &line[at..]).filter(|path| is_driver(path)))?;
    Some(PathBuf::from(path))
}

fn is_driver(path: &str) -> bool {
    let name = Path::new(path).file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.starts_with("libcuda.so")
}

/// Libraries of these names that can be opened, with where each lies: in `folder` alone if that is given, else on the loader's path
/// and in `folders`.
pub(super) fn candidates(
    names: &[&str],
    folder: Option<&Path>,
    folders: &[&str],
) -> impl Iterator<Item = (PathBuf, Library)> {
    let in_folder = |folder: &Path| names.iter().map(|name| folder.join(name)).filter(|path| path.exists()).collect();
    let paths: Vec<PathBuf> = match folder {
        Some(folder) => in_folder(folder),
        None => {
            let elsewhere = folders.iter().flat_map(|folder| -> Vec<PathBuf> { in_folder(Path::new(folder)) });
            names.iter().map(PathBuf::from).chain(elsewhere).collect()
        }
    };
    // SAFETY: a library of this name is NVIDIA's, whose initialisers do nothing that Rust has to know of.
    paths.into_iter().filter_map(|path| unsafe { Library::new(&path) }.ok().map(|library| (path, library)))
}

fn open(names: &[&str], folder: Option<&Path>) -> Result<Library> {
    let in_folders = folder.into_iter().chain(FOLDERS.iter().map(Path::new));
    let paths = in_folders.flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    let mut refused = None;
    // A folder that was given comes before the loader's path, the folders of drivers come after it.
    let given = folder.map_or(0, |_| names.len());
    let paths: Vec<PathBuf> = paths.collect();
    let (first, last) = paths.split_at(given);
    let candidates = first.iter().cloned().chain(names.iter().map(PathBuf::from)).chain(last.iter().cloned());
    for candidate in candidates {
        // Only the loader knows what its path is.
        if candidate.components().count() > 1 && !candidate.exists() {
            continue;
        }
        // SAFETY: a library of this name is the driver, whose initialisers do nothing that Rust has to know of.
        match unsafe { Library::new(&candidate) } {
            Ok(library) => return Ok(library),
            Err(error) if candidate.components().count() > 1 => {
                refused.get_or_insert_with(|| format!("; {} was not opened: {}", candidate.display(), why(&error)));
            }
            Err(_) => {}
        }
    }
    let given = folder.map(|folder| format!("in {}, ", folder.display())).unwrap_or_default();
    Err(Error::new(format_args!(
        "no CUDA driver: {} was looked for {given}on the loader's path (LD_LIBRARY_PATH, ldconfig) and in {}{}. It comes with \
         the NVIDIA driver, not with the toolkit",
        names[0],
        FOLDERS.join(", "),
        refused.unwrap_or_default()
    )))
}

/// The loader's own words.
fn why(error: &libloading::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_nowhere_is_told_with_the_places_that_were_searched() {
        let error = open(&["libcuda-of-nobody.so.1"], Some(Path::new("/nowhere/at/all"))).expect_err("no such library");
        let told = error.to_string();
        for part in ["libcuda-of-nobody.so.1", "/nowhere/at/all", "loader's path", "/usr/lib/wsl/lib", "NVIDIA driver"]
        {
            assert!(told.contains(part), "{told:?} does not say {part:?}");
        }
    }

    #[test]
    fn a_file_that_is_no_library_is_told_with_its_path() {
        let folder = std::env::temp_dir().join(format!("causeway-no-library-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for temporary files");
        let file = folder.join("libcuda-of-nobody.so.1");
        fs::write(&file, "text").expect("a file");
        let told = open(&["libcuda-of-nobody.so.1"], Some(&folder)).expect_err("no library").to_string();
        fs::remove_dir_all(&folder).expect("removed");
        assert!(told.contains(&format!("{} was not opened", file.display())), "{told}");
    }
}
