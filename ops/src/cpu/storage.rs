//! The numbers inside a tensor, for kernels: a contiguous `&[f32]` in main memory.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Storage};
use rayon::prelude::*;

use crate::error::bail;
use crate::{Error, Result, Tensor};

/// A hold on one tensor's numbers.
pub(crate) struct Numbers<'a> {
    storage: Box<dyn Deref<Target = Storage> + 'a>,
    range: Range<usize>,
}

impl<'a> Numbers<'a> {
    /// The numbers of a contiguous f32 tensor in main memory, row-major.
    pub(crate) fn of(tensor: &'a Tensor) -> Result<Numbers<'a>> {
        let (storage, layout) = tensor.cpu("a kernel for main memory")?.storage_and_layout();
        match (storage.deref(), layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(_)), Some((start, end))) => {
                Ok(Numbers { storage: Box::new(storage), range: start..end })
            }
            _ => bail!(
                "a kernel takes contiguous f32 in main memory; it was given {} {layout:?} on {}",
                tensor.dtype(),
                tensor.device()
            ),
        }
    }

    pub(crate) fn of_all(tensors: &[&'a Tensor]) -> Result<Vec<Numbers<'a>>> {
        tensors.iter().map(|tensor| Numbers::of(tensor)).collect()
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        match &**self.storage {
            Storage::Cpu(CpuStorage::F32(all)) => &all[self.range.clone()],
            _ => unreachable!("checked when the hold was taken"),
        }
    }
}

/// Run `kernel` on the tensor's numbers, row-major. A view that is not contiguous is copied first.
pub(crate) fn read<R>(tensor: &Tensor, kernel: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = Tensor::of(tensor.cpu("a kernel for main memory")?.contiguous().map_err(Error::of_storage)?);
    let numbers = Numbers::of(&tensor)?;
    Ok(kernel(numbers.as_slice()))
}

/// Is there so much to do, in numbers touched, that a second thread brings more than it costs?
pub(crate) fn pays_to_share(numbers: usize) -> bool {
    numbers > SHARE
}

const SHARE: usize = 32 * 1024;

/// One new tensor of `x`'s shape, filled row by row: `fill(index, row of x, row of the result)`, in parallel where it pays.
pub(crate) fn map_rows(x: &Tensor, fill: impl Fn(usize, &[f32], &mut [f32]) + Sync) -> Result<Tensor> {
    let width = x.dims().last().copied().unwrap_or(1).max(1);
    let rows_at_once = (SHARE / width).max(1);
    let out = read(x, |x| {
        let mut out = vec![0.0; x.len()];
        let block = |(block, (out, x)): (usize, (&mut [f32], &[f32]))| {
            for (i, (out, x)) in out.chunks_mut(width).zip(x.chunks(width)).enumerate() {
                fill(block * rows_at_once + i, x, out);
            }
        };
        if pays_to_share(x.len()) {
            let size = rows_at_once * width;
            out.par_chunks_mut(size).zip(x.par_chunks(size)).enumerate().for_each(block);
        } else {
            block((0, (&mut out, x)));
        }
        out
    })?;
    Tensor::from_vec(out, x.dims(), &x.device())
}
