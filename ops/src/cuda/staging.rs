//! How weights get to a device: through two halves of pinned memory, so that a file that is mapped is never in memory whole a
//! second time.

use std::slice;

use cudarc::driver::result::{self, event};
use cudarc::driver::sys;

use super::about::told;
use super::arena::Address;
use super::driver::{Cuda, new_event};
use super::place::Place;
use crate::Result;

/// Two halves of pinned memory, which the device reads while the other half is filled.
pub(super) struct Staging {
    halves: [Half; 2],
}

struct Half {
    address: *mut u8,
    /// Recorded after the last copy out of it.
    copied: sys::CUevent,
}

/// Bytes of one half. Large enough that a copy runs at the full speed of the bus, small enough to be had by every process.
const HALF_BYTES: usize = 16 << 20;

impl Cuda {
    /// Put `bytes` bytes at `to` that `fill` makes piece by piece, in order: `fill(first byte, piece)`. The device copies a
    /// piece while the next one is made, so a file that is mapped is never in memory whole a second time.
    pub(super) fn stream_up(
        &self,
        to: Place<'_>,
        bytes: usize,
        mut fill: impl FnMut(usize, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        to.check(bytes)?;
        self.enter()?;
        let mut staging = self.staging();
        let staging = match &mut *staging {
            Some(staging) => staging,
            none => none.insert(Staging::new()?),
        };
        // The memory may have been another tensor's, which work that is queued still reads.
        self.order(self.work(), self.copies())?;
        let copied = self.copy_pieces(staging, to, bytes, &mut fill);
        // After an error too: what was queued still writes there.
        self.order(self.copies(), self.work()).and(copied)
    }

    fn copy_pieces(
        &self,
        staging: &Staging,
        to: Place<'_>,
        bytes: usize,
        fill: &mut impl FnMut(usize, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        for (number, first) in (0..bytes).step_by(HALF_BYTES).enumerate() {
            let half = &staging.halves[number % 2];
            let count = HALF_BYTES.min(bytes - first);
            // SAFETY: the half is ours until its next copy is queued; before it is written, the last copy out of it is
            // waited for. `HALF_BYTES` were allocated.
            let piece = unsafe {
                event::synchronize(half.copied).map_err(told("waiting for a copy"))?;
                slice::from_raw_parts_mut(half.address, count)
            };
            fill(first, piece)?;
            // SAFETY: `to` has room, as checked; the half is not written before `copied` has passed.
            unsafe {
                result::memcpy_htod_async(to.address() + first as Address, piece, self.copies())
                    .map_err(told("copying to the device"))?;
                event::record(half.copied, self.copies()).map_err(told("recording an event"))?;
            }
        }
        Ok(())
    }
}

impl Staging {
    fn new() -> Result<Staging> {
        let half = || {
            // SAFETY: it is freed with the value that holds it.
            let address = unsafe { result::malloc_host(HALF_BYTES, 0) }
                .map_err(told(format_args!("pinning {HALF_BYTES} bytes of main memory")))?;
            Ok(Half { address: address.cast(), copied: new_event()? })
        };
        Ok(Staging { halves: [half()?, half()?] })
    }

    /// Give both halves back. No copy is under way.
    pub(super) fn free(&mut self) {
        for half in &self.halves {
            // SAFETY: nothing reads the memory any more. Errors are not told: nobody could do anything about them.
            unsafe {
                let _ = result::free_host(half.address.cast());
                let _ = event::destroy(half.copied);
            }
        }
    }
}
