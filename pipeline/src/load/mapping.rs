//! The bytes of a file that is too large to read whole: mapped into memory, or part of the binary.

use std::borrow::Cow;
use std::fs::File;
use std::ops::Deref;

use memmap2::Mmap;

/// Bytes that are read where they lie.
pub(crate) enum Bytes {
    Mapped(Mmap),
    Embedded(Cow<'static, [u8]>),
}

impl Bytes {
    pub(crate) fn map(file: &File) -> std::io::Result<Bytes> {
        // SAFETY: the mapping is read-only and private to this process. If somebody else truncates or rewrites the file
        // while it is mapped, reads fault or see other numbers; that is the contract of every program that maps its model,
        // and no length or offset is ever read from the mapping a second time after it was checked.
        let map = unsafe { Mmap::map(file)? };
        Ok(Bytes::Mapped(map))
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Embedded(bytes) => bytes,
        }
    }
}
