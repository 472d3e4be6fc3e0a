//! Pinned main memory, which the device reads and writes by itself while the host goes on.
//!
//! A driver copies other memory only as long as the host waits, but for small pieces. Blocks are kept and used again, as the
//! device's own memory is: a chunk asks for the same sizes as the one before it.

use std::collections::{BTreeMap, VecDeque};
use std::ptr;
use std::slice;
use std::sync::Arc;

use cudarc::driver::result::{self, event, stream};
use cudarc::driver::sys;

use super::about::told;
use super::driver::{Buffer, Cuda, new_event};
use super::place::{Place, Plain};
use crate::Result;

/// Copies of at most so many bytes to the device are taken along with their command: the host waits for none of them, wherever
/// they lie (CUDA C++ Programming Guide, "Concurrent Execution between Host and Device").
pub(super) const TAKEN_ALONG: usize = 64 << 10;

/// More is not pinned for uploads: the oldest one is waited for instead. The rays of a chunk of the 14B model are 29 MB.
const PINNED_MAX: usize = 256 << 20;

/// Blocks are multiples of a page.
const PAGE: usize = 4096;

/// A block of pinned memory.
pub(super) struct PinnedBlock {
    address: *mut u8,
    bytes: usize,
    /// Recorded after the last copy that reads or writes it.
    passed: sys::CUevent,
}

/// All pinned blocks of a device but those of weights. Whoever calls has entered the context.
#[derive(Default)]
pub(super) struct Pinned {
    free: BTreeMap<usize, Vec<PinnedBlock>>,
    /// Blocks that copies to the device read, oldest first.
    lent: VecDeque<PinnedBlock>,
    /// Of all blocks, also those that are handed out.
    bytes: usize,
}

impl Pinned {
    /// A block of at least `bytes`, whose content is anything, and that no copy uses. `takes_back`: blocks may be used again as soon
    /// as the device has read them.
    fn take(&mut self, bytes: usize, takes_back: bool) -> Result<PinnedBlock> {
        let wanted = bytes.max(1).next_multiple_of(PAGE);
        loop {
            if takes_back {
                self.take_back();
            }
            let mut fitting = self.free.range_mut(wanted..=wanted + wanted / 8);
            if let Some(block) = fitting.find_map(|(_, blocks)| blocks.pop()) {
                return Ok(block);
            }
            match self.lent.front() {
                Some(oldest) if self.bytes + wanted > PINNED_MAX => {
                    // SAFETY: the event lives as long as its block.
                    unsafe { event::synchronize(oldest.passed) }.map_err(told("waiting for a copy"))?;
                    self.take_back();
                }
                _ => break,
            }
        }
        // SAFETY: it is freed in `free_all`, or never.
        let address = unsafe { result::malloc_host(wanted, 0) }
            .map_err(told(format_args!("pinning {wanted} bytes of main memory")))?;
        let passed = new_event().inspect_err(|_| {
            // SAFETY: nothing uses it yet. There is no use in a second error.
            let _ = unsafe { result::free_host(address) };
        })?;
        self.bytes += wanted;
        Ok(PinnedBlock { address: address.cast(), bytes: wanted, passed })
    }

    /// What the device has read may be used again.
    fn take_back(&mut self) {
        // SAFETY: the event lives as long as its block.
        while self.lent.front().is_some_and(|block| unsafe { event::query(block.passed) }.is_ok()) {
            let block = self.lent.pop_front().expect("there is one");
            self.give_back(block);
        }
    }

    fn give_back(&mut self, block: PinnedBlock) {
        self.free.entry(block.bytes).or_default().push(block);
    }

    /// Bytes of all blocks.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Give everything back to the system. No copy is under way.
    pub(super) fn free_all(&mut self) {
        for block in self.free.values_mut().flat_map(|blocks| blocks.drain(..)).chain(self.lent.drain(..)) {
            self.bytes -= block.bytes;
            // SAFETY: nothing uses the block any more. Errors are not told: nobody could do anything about them.
            unsafe {
                let _ = result::free_host(block.address.cast());
                let _ = event::destroy(block.passed);
            }
        }
    }
}

/// Bytes that are on their way from the device to main memory.
pub(crate) struct Arrival {
    cuda: Arc<Cuda>,
    /// Always there, until it is dropped.
    block: Option<PinnedBlock>,
    bytes: usize,
    /// `passed` of the block tells when they are here. Else they are waited for with all copies.
    recorded: bool,
    /// Where they come from: memory that nobody else is given before they are here.
    _from: Vec<Arc<Buffer>>,
}

// SAFETY: handles of the driver may be used by any thread that has made the context current, as every method here does; the
// block belongs to this value alone.
unsafe impl Send for Arrival {}

impl Cuda {
    /// Copy these pieces to main memory, one after the other, behind what is queued by now. Nobody waits.
    pub(super) fn begin_download(self: &Arc<Cuda>, pieces: &[(Place<'_>, usize)]) -> Result<Arrival> {
        pieces.iter().try_for_each(|(from, bytes)| from.check(*bytes))?;
        self.enter()?;
        let bytes = pieces.iter().map(|(_, bytes)| bytes).sum();
        let block = self.pinned().take(bytes, !self.is_rehearsing())?;
        let start = block.address;
        let _from = pieces.iter().map(|(from, _)| from.buffer().clone()).collect();
        // Made first: if a copy is refused, those before it are waited for when this is dropped.
        let mut arrival = Arrival { cuda: self.clone(), block: Some(block), bytes, recorded: false, _from };
        self.order(self.work(), self.copies())?;
        let mut first = 0;
        for &(from, bytes) in pieces {
            if self.is_rehearsing() {
                break;
            }
            // SAFETY: the block has room for all pieces, and is ours until the event has passed.
            unsafe {
                let to = slice::from_raw_parts_mut(start.add(first), bytes);
                result::memcpy_dtoh_async(to, from.address(), self.copies())
                    .map_err(told("copying from the device"))?;
            }
            first += bytes;
        }
        // SAFETY: event and stream live as long as this value.
        unsafe { event::record(arrival.passed(), self.copies()) }.map_err(told("recording an event"))?;
        arrival.recorded = true;
        Ok(arrival)
    }

    /// Put these numbers, which are many, at `to`, before what is queued later. They are read before this returns.
    pub(super) fn upload_pinned<T: Plain>(&self, to: Place<'_>, numbers: &[T]) -> Result<()> {
        let bytes = size_of_val(numbers);
        let mut pinned = self.pinned();
        // In a rehearsal the device has nothing to do, and would be done with every block at once: as in earnest, blocks come back
        // where pixels are waited for.
        let is_rehearsing = self.is_rehearsing();
        let block = pinned.take(bytes, !is_rehearsing)?;
        // SAFETY: both have as many bytes, and the block is ours.
        let piece = unsafe {
            ptr::copy_nonoverlapping(numbers.as_ptr().cast::<u8>(), block.address, bytes);
            slice::from_raw_parts(block.address, bytes)
        };
        // SAFETY: `to` has room, as its caller has checked; the block is not used again before the event has passed.
        let queued = unsafe {
            let copied =
                if is_rehearsing { Ok(()) } else { result::memcpy_htod_async(to.address(), piece, self.work()) };
            copied
                .map_err(told("copying to the device"))
                .and_then(|()| event::record(block.passed, self.work()).map_err(told("recording an event")))
        };
        // Behind an error its old event has passed, and a copy may still read it: it is not used again before the end.
        if queued.is_ok() {
            pinned.lent.push_back(block);
        }
        queued
    }
}

impl Arrival {
    fn passed(&self) -> sys::CUevent {
        self.block.as_ref().expect("it is there until it is dropped").passed
    }

    /// Until they are here. The error of an earlier operation is found here.
    fn wait(&self) -> Result<()> {
        self.cuda.enter()?;
        // SAFETY: event and stream live as long as this value.
        if self.recorded && unsafe { event::query(self.passed()) }.is_ok() {
            return Ok(());
        }
        if !self.recorded {
            // SAFETY: as above.
            return unsafe { stream::synchronize(self.cuda.copies()) }.map_err(told("waiting for the device"));
        }
        // SAFETY: as above.
        let passed = || unsafe { event::query(self.passed()) };
        // SAFETY: as above.
        self.cuda.wait_for(&passed, &|| unsafe { event::synchronize(self.passed()) })
    }

    /// The numbers. Waits for them.
    pub(crate) fn numbers<T: Plain>(self) -> Result<Vec<T>> {
        self.wait()?;
        let block = self.block.as_ref().expect("it is there until it is dropped");
        let mut numbers = vec![T::default(); self.bytes / size_of::<T>()];
        if self.cuda.is_rehearsing() {
            self.cuda.pinned().take_back();
            return Ok(numbers);
        }
        // SAFETY: the block holds as many bytes, which the device has written, and any bits are a number.
        unsafe {
            ptr::copy_nonoverlapping(block.address, numbers.as_mut_ptr().cast::<u8>(), size_of_val(&numbers[..]));
        }
        Ok(numbers)
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        // Also where nobody has waited: the device writes into the block until then. After an error of the device no copy runs
        // any more.
        let _ = self.wait();
        let block = self.block.take().expect("dropped once");
        self.cuda.pinned().give_back(block);
    }
}
