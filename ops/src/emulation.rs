//! What the emulated driver of the tests counts, and the faults that it is asked for: `ops/host/libcuda.cpp`. A driver of a GPU has
//! nothing of it, so this asks the library that is open, and gets no answer there.

use std::ffi::CStr;

use crate::cuda::symbol;

/// What the emulated driver counted since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kernels that were launched.
    pub launches: u64,
    /// Copies that were asked for.
    pub copies: u64,
    /// Times that the host waited for the device, for copies of memory that is not pinned too.
    pub waits: u64,
    /// Allocations on the device.
    pub allocations: u64,
    /// Allocations that were given back.
    pub frees: u64,
    /// Bytes of the device that are allocated now.
    pub bytes: u64,
    /// The most of these.
    pub bytes_most: u64,
    /// Allocations of pinned memory.
    pub host_allocations: u64,
}

/// The counts of now. `None`: no driver is open, or it is a GPU's.
pub fn counts() -> Option<Counts> {
    type Count = unsafe extern "C" fn(*mut u64) -> i32;
    let mut numbers = [0u64; 8];
    // SAFETY: the function of this name writes eight numbers.
    unsafe { symbol::<Count>(b"cuEmulatedCounts\0")?(numbers.as_mut_ptr()) };
    let [launches, copies, waits, allocations, frees, bytes, bytes_most, host_allocations] = numbers;
    Some(Counts { launches, copies, waits, allocations, frees, bytes, bytes_most, host_allocations })
}

/// Set a fault or a property of the emulated driver. Panics if no such driver is open.
pub fn set(name: &CStr, value: i64) {
    type Set = unsafe extern "C" fn(*const std::ffi::c_char, i64) -> i32;
    // SAFETY: the function of this name reads a text that ends with a zero.
    let result =
        unsafe { symbol::<Set>(b"cuEmulatedSet\0").expect("the emulated driver is open")(name.as_ptr(), value) };
    assert_eq!(result, 0);
}

/// Let every launch of the kernel `name` compute wrongly; an empty name ends that. Panics as [`set`].
pub fn plant_wrong_kernel(name: &CStr) {
    type Plant = unsafe extern "C" fn(*const std::ffi::c_char) -> i32;
    // SAFETY: as above.
    let result =
        unsafe { symbol::<Plant>(b"cuEmulatedWrongKernel\0").expect("the emulated driver is open")(name.as_ptr()) };
    assert_eq!(result, 0);
}
