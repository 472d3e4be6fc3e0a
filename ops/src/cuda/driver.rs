//! One CUDA device: its context, a stream for work, a stream for copies, and its memory.
//!
//! Everything is queued: a call returns before the device has begun. Somebody waits in two places alone, where numbers are
//! read back and where pinned memory is filled anew. Memory is given out by [`Arena`], in the order of the stream of work;
//! whoever uses the stream of copies makes the two wait for each other with events. What is copied in the background lies in
//! pinned memory (`pinned.rs`).

use std::collections::BTreeSet;
use std::ffi::{CString, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cudarc::driver::DriverError;
use cudarc::driver::result::{self, ctx, device, event, module, primary_ctx, stream};
use cudarc::driver::sys;

use super::about::{About, count, told, version};
use super::arena::{Arena, Block, block_bytes};
use super::blas::Blas;
use super::kernels::Kernels;
use super::links::Links;
use super::pinned::{Pinned, TAKEN_ALONG};
use super::place::{Place, Plain};
use super::products::Products;
use super::rehearsal::Rehearsing;
use super::staging::Staging;
use crate::device::MemoryUse;
use crate::error::bail;
use crate::{DType, Result};

/// One device, opened. Dropped with the last tensor that lies on it.
pub(crate) struct Cuda {
    number: usize,
    /// Where libraries are looked for.
    folder: Option<PathBuf>,
    /// To the other GPUs, if it draws together with some.
    links: Mutex<Weak<Links>>,
    device: sys::CUdevice,
    about: About,
    context: sys::CUcontext,
    work: sys::CUstream,
    copies: sys::CUstream,
    kernels: Kernels,
    arena: Mutex<Arena>,
    pinned: Mutex<Pinned>,
    staging: Mutex<Option<Staging>>,
    /// Bytes that tensors held when a model was loaded.
    weights: AtomicU64,
    /// Kernels that were found to compute wrongly here, and have another that does the same.
    distrusted: Mutex<BTreeSet<&'static str>>,
    rehearsing: Rehearsing,
    /// cuBLASLt, or why one that was found is not used.
    blas: std::result::Result<Option<Blas>, String>,
    products: Products,
    /// What weights and activations are kept as: bf16, or f32 where a test wants to see nothing but the order of sums.
    numbers: DType,
    /// Memory is used again. Off in tests of operations, which then find a read of what was not written.
    reuses: bool,
}

// SAFETY: handles of the driver may be used by any thread that has made the context current, which every method here does
// first; the driver locks what it shares. Our own state is behind mutexes.
unsafe impl Send for Cuda {}
// SAFETY: as above.
unsafe impl Sync for Cuda {}

/// A block of memory on a device. It goes back to the arena when it is dropped.
pub(crate) struct Buffer {
    cuda: Arc<Cuda>,
    pub(super) block: Block,
}

impl Cuda {
    /// Device `number` of this machine. `folder`: where the driver is looked for first.
    pub(crate) fn open(number: usize, folder: Option<&Path>, numbers: DType) -> Result<Arc<Cuda>> {
        Cuda::open_with(number, folder, numbers, true)
    }

    pub(super) fn open_with(number: usize, folder: Option<&Path>, numbers: DType, reuses: bool) -> Result<Arc<Cuda>> {
        let count = count(folder)?;
        if number >= count {
            bail!("there is no device cuda:{number}: the NVIDIA driver sees {count}");
        }
        let device = device::get(number as c_int).map_err(told(format_args!("opening device {number}")))?;
        let about = About::of(device, version(folder)?)?;
        if about.capability < (8, 0) {
            let (major, minor) = about.capability;
            bail!("{} is sm_{major}{minor}; bf16 on tensor cores needs sm_80 (A100, RTX 30) or later", about.name);
        }
        // SAFETY: the device exists. The context is released when this value is dropped.
        let context = unsafe { primary_ctx::retain(device) }.map_err(told("making a context"))?;
        let opened = || {
            // SAFETY: the context is retained.
            unsafe { ctx::set_current(context) }.map_err(told("entering the context"))?;
            let stream = || stream::create(stream::StreamKind::NonBlocking).map_err(told("making a stream"));
            let (work, copies, kernels) = (stream()?, stream()?, Kernels::load(&about)?);
            // In f32 a device is compared with a processor; a library would round to tf32.
            let blas = if numbers == DType::BF16 { Blas::find(folder, about.driver) } else { Ok(None) };
            Ok((work, copies, kernels, blas))
        };
        let (work, copies, kernels, blas) = opened().inspect_err(|_| {
            // SAFETY: nothing uses it yet. There is no use in a second error.
            let _ = unsafe { primary_ctx::release(device) };
        })?;
        Ok(Arc::new(Cuda {
            number,
            folder: folder.map(Path::to_owned),
            links: Mutex::default(),
            device,
            about,
            context,
            work,
            copies,
            kernels,
            arena: Mutex::default(),
            pinned: Mutex::default(),
            staging: Mutex::default(),
            weights: AtomicU64::new(0),
            distrusted: Mutex::default(),
            rehearsing: Rehearsing::default(),
            blas,
            products: Products::default(),
            numbers,
            reuses,
        }))
    }

    /// Its place among the devices of this machine.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Where libraries are looked for, if a folder was named.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// To the other GPUs, once it draws together with some.
    pub(super) fn links(&self) -> MutexGuard<'_, Weak<Links>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What weights and activations are kept as.
    pub(crate) fn numbers(&self) -> DType {
        self.numbers
    }

    /// What it says of itself.
    pub(crate) fn about(&self) -> &About {
        &self.about
    }

    pub(super) fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    pub(super) fn work(&self) -> sys::CUstream {
        self.work
    }

    pub(super) fn copies(&self) -> sys::CUstream {
        self.copies
    }

    pub(super) fn staging(&self) -> MutexGuard<'_, Option<Staging>> {
        self.staging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pinned(&self) -> MutexGuard<'_, Pinned> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Use another kernel instead of this one from now on.
    pub(crate) fn distrust(&self, kernel: &'static str) {
        self.distrusted.lock().unwrap_or_else(PoisonError::into_inner).insert(kernel);
    }

    pub(super) fn trusts(&self, kernel: &str) -> bool {
        !self.distrusted.lock().unwrap_or_else(PoisonError::into_inner).contains(kernel)
    }

    /// cuBLASLt, or why one that was found is not used.
    pub(super) fn found_blas(&self) -> &std::result::Result<Option<Blas>, String> {
        &self.blas
    }

    pub(super) fn products(&self) -> &Products {
        &self.products
    }

    pub(super) fn rehearsing(&self) -> &Rehearsing {
        &self.rehearsing
    }

    /// Make the context current on this thread, as every call of the driver wants it.
    pub(super) fn enter(&self) -> Result<()> {
        // SAFETY: the context is retained as long as this value lives.
        unsafe { ctx::set_current(self.context) }.map_err(told("entering the context"))
    }

    pub(super) fn arena(&self) -> MutexGuard<'_, Arena> {
        self.arena.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that the driver says are free now, and bytes in all.
    pub(crate) fn memory(&self) -> Result<(u64, u64)> {
        self.enter()?;
        let (free, all) = result::mem_get_info().map_err(told("asking for free memory"))?;
        Ok((free as u64, all as u64))
    }

    /// Bytes that tensors hold now.
    pub(crate) fn held(&self) -> u64 {
        self.arena().held() as u64
    }

    /// What tensors hold now are the weights of the model that is loaded.
    pub(crate) fn loaded(&self) {
        self.weights.store(self.held(), Ordering::Relaxed);
    }

    /// Where this device's memory is.
    pub(crate) fn memory_use(&self) -> Result<MemoryUse> {
        let (free, total) = self.memory()?;
        let (held, spare) = {
            let arena = self.arena();
            (arena.held() as u64, arena.idle() as u64)
        };
        let weights = self.weights.load(Ordering::Relaxed).min(held);
        let used = total.saturating_sub(free);
        Ok(MemoryUse { total, used, weights, sessions: held - weights, spare, pinned: self.pinned().bytes() as u64 })
    }

    /// Memory for `bytes`, whose content is anything. An error if there is not as much.
    pub(crate) fn allocate(self: &Arc<Cuda>, bytes: usize) -> Result<Arc<Buffer>> {
        if self.reuses
            && let Some(block) = self.arena().take(bytes)
        {
            return Ok(Arc::new(Buffer { cuda: self.clone(), block }));
        }
        self.enter()?;
        let wanted = block_bytes(bytes);
        // SAFETY: nothing is read before it is written, by the operations that ask for memory.
        let ask = || unsafe { result::malloc_sync(wanted) };
        let answer = match ask() {
            Err(DriverError(sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY)) => {
                // What was kept for later may be what is missing.
                self.trim()?;
                ask()
            }
            answer => answer,
        };
        match answer {
            Ok(address) => {
                let block = Block { address, bytes: wanted };
                self.arena().add(block);
                Ok(Arc::new(Buffer { cuda: self.clone(), block }))
            }
            Err(DriverError(sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY)) => {
                let (free, all) = self.memory()?;
                bail!("cuda:{} is out of memory: {wanted} bytes were asked for, {free} of {all} are free", self.number)
            }
            Err(error) => Err(told(format_args!("allocating {wanted} bytes"))(error)),
        }
    }

    /// Give free blocks back to the driver.
    pub(crate) fn trim(&self) -> Result<()> {
        self.enter()?;
        let blocks = self.arena().drain();
        for block in blocks {
            // SAFETY: nobody holds the block, and the driver waits for work that was queued with it.
            unsafe { result::free_sync(block.address) }.map_err(told("freeing memory"))?;
        }
        Ok(())
    }

    /// Put these numbers at `to`, before what is queued later.
    pub(super) fn upload<T: Plain>(&self, to: Place<'_>, numbers: &[T]) -> Result<()> {
        to.check(size_of_val(numbers))?;
        self.enter()?;
        if size_of_val(numbers) > TAKEN_ALONG {
            return self.upload_pinned(to, numbers);
        }
        if self.is_rehearsing() {
            return Ok(());
        }
        // SAFETY: `to` has room, as checked. The memory is not pinned, so the driver has read it when this returns.
        unsafe { result::memcpy_htod_async(to.address(), numbers, self.work) }.map_err(told("copying to the device"))
    }

    /// The numbers at `from`, after what was queued before. Waits for them.
    pub(super) fn download<T: Plain>(self: &Arc<Cuda>, from: Place<'_>, count: usize) -> Result<Vec<T>> {
        self.begin_download(&[(from, count * size_of::<T>())])?.numbers()
    }

    /// Copy `bytes` inside the device.
    pub(super) fn copy(&self, from: Place<'_>, to: Place<'_>, bytes: usize) -> Result<()> {
        from.check(bytes)?;
        to.check(bytes)?;
        if self.is_rehearsing() {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: both have as many bytes, as checked.
        unsafe { result::memcpy_dtod_async(to.address(), from.address(), bytes, self.work) }
            .map_err(told("copying inside the device"))
    }

    /// Set `bytes` bytes to zero.
    pub(super) fn zero(&self, at: Place<'_>, bytes: usize) -> Result<()> {
        at.check(bytes)?;
        if self.is_rehearsing() {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: there are as many bytes, as checked.
        unsafe { result::memset_d8_async(at.address(), 0, bytes, self.work) }.map_err(told("filling memory with zeros"))
    }

    /// What is queued on `later` from now on waits for what is queued on `earlier` by now.
    pub(super) fn order(&self, earlier: sys::CUstream, later: sys::CUstream) -> Result<()> {
        let event = new_event()?;
        // SAFETY: both streams live as long as this value, and the driver keeps an event that is destroyed while a stream
        // waits for it.
        unsafe {
            event::record(event, earlier).map_err(told("recording an event"))?;
            stream::wait_event(later, event, sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT)
                .map_err(told("waiting for an event"))?;
            event::destroy(event).map_err(told("destroying an event"))
        }
    }
}

pub(super) fn new_event() -> Result<sys::CUevent> {
    event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(told("making an event"))
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // Errors are not told: there is nobody left who could do something about them.
        if self.trim().is_err() {
            return;
        }
        self.pinned.get_mut().unwrap_or_else(PoisonError::into_inner).free_all();
        if let Some(staging) = self.staging.get_mut().unwrap_or_else(PoisonError::into_inner) {
            staging.free();
        }
        self.blas = Ok(None);
        // SAFETY: no tensor is left, so nothing is queued that somebody reads; `trim` has waited for the rest.
        unsafe {
            let _ = stream::destroy(self.work);
            let _ = stream::destroy(self.copies);
            self.kernels.unload();
            let _ = primary_ctx::release(self.device);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.cuda.arena().give_back(self.block);
    }
}

impl Buffer {
    pub(crate) fn cuda(&self) -> &Arc<Cuda> {
        &self.cuda
    }

    /// From byte `first` on.
    pub(super) fn at(self: &Arc<Buffer>, first: usize) -> Place<'_> {
        Place::new(self, first)
    }
}

/// A module of kernels, from its text. `None`, with the reason, if the driver refuses it.
pub(super) fn load_module(text: &str) -> std::result::Result<sys::CUmodule, DriverError> {
    let text = CString::new(text).expect("PTX is text without zeros");
    // SAFETY: the text ends with a zero, and the driver copies what it needs of it.
    unsafe { module::load_data(text.as_ptr().cast::<c_void>()) }
}
