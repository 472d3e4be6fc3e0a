//! Places in a device's memory, and the numbers that are copied to and from them.

use std::sync::Arc;

use super::arena::Address;
use super::driver::Buffer;
use crate::Result;
use crate::error::bail;

/// A place in a buffer, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    buffer: &'a Arc<Buffer>,
    first: usize,
}

impl<'a> Place<'a> {
    /// From byte `first` on.
    pub(super) fn new(buffer: &'a Arc<Buffer>, first: usize) -> Place<'a> {
        Place { buffer, first }
    }

    /// The buffer that it is in.
    pub(super) fn buffer(self) -> &'a Arc<Buffer> {
        self.buffer
    }

    /// `bytes` further on.
    pub(super) fn after(self, bytes: usize) -> Place<'a> {
        Place { first: self.first + bytes, ..self }
    }

    /// Where it is on the device.
    pub(super) fn address(self) -> Address {
        self.buffer.block.address + self.first as Address
    }

    /// An error if the buffer ends before `bytes` more.
    pub(super) fn check(self, bytes: usize) -> Result<()> {
        match self.first.checked_add(bytes) {
            Some(end) if end <= self.buffer.block.bytes => Ok(()),
            _ => bail!("{bytes} bytes from {} on do not lie in a buffer of {}", self.first, self.buffer.block.bytes),
        }
    }
}

/// Numbers that may have any bits, and are copied as they are.
pub(crate) trait Plain: Copy + Default {}
impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for f32 {}
