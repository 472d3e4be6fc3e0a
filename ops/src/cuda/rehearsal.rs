//! Work that is rehearsed: memory is asked for as it will be, and nothing is computed.
//!
//! What a chunk asks for follows from the code that draws it, and from nothing that it computes. So the code itself is run
//! beforehand with launches and copies left out, which takes the host some milliseconds and the device none; the memory that it
//! gives back is what the chunk finds. A list of sizes beside the code would have to be kept equal to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Cuda;

/// The first run asks for nearly all, the second for what the first one's blocks were no fit for. More than a few would mean that
/// the work differs from run to run.
const RUNS_MAX: usize = 4;

/// Whether work is rehearsed now.
#[derive(Debug, Default)]
pub(super) struct Rehearsing(AtomicBool);

/// Run `work` and compute nothing on these devices, until a run asks none of their drivers for memory: what it reads back is zeros. The
/// arena chooses among its blocks by their sizes alone, so the same work in earnest then finds all that it asks for.
pub(crate) fn rehearse<E>(devices: &[Arc<Cuda>], mut work: impl FnMut() -> Result<(), E>) -> Result<(), E> {
    struct End<'a>(&'a [Arc<Cuda>]);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.iter().for_each(|cuda| cuda.rehearsing().0.store(false, Ordering::Relaxed));
        }
    }
    // One thread works with a device, so nobody else's work is left out.
    let _end = End(devices);
    devices.iter().for_each(|cuda| cuda.rehearsing().0.store(true, Ordering::Relaxed));
    let asked = || devices.iter().map(|cuda| cuda.asked()).collect::<Vec<_>>();
    for _ in 0..RUNS_MAX {
        let before = asked();
        work()?;
        if asked() == before {
            break;
        }
    }
    Ok(())
}

impl Cuda {
    /// How often the driver gave memory, and how much of main memory is pinned.
    fn asked(&self) -> (u64, usize) {
        (self.arena().given(), self.pinned().bytes())
    }

    /// Nothing is to be launched, copied or filled.
    pub(super) fn is_rehearsing(&self) -> bool {
        self.rehearsing().0.load(Ordering::Relaxed)
    }
}
