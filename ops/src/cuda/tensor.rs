//! A tensor on a device: a place in a buffer, a shape, a type.
//!
//! Numbers are dense and row-major, bf16 or f32. So a slice of the first side, or a new shape, is a view; every other
//! rearrangement is a copy, made by one kernel that reads with any strides.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use half::bf16;

use super::driver::{Buffer, Cuda};
use super::launch;
use super::pinned::Arrival;
use super::place::Place;
use crate::error::bail;
use crate::{DType, Result};

/// Numbers on a device.
#[derive(Clone)]
pub(crate) struct CudaTensor {
    buffer: Arc<Buffer>,
    /// The first number's place in the buffer, in numbers.
    first: usize,
    shape: Vec<usize>,
    dtype: DType,
}

/// A tensor as long as somebody else holds its memory.
#[derive(Clone)]
pub(super) struct WeakTensor {
    buffer: Weak<Buffer>,
    first: usize,
    shape: Vec<usize>,
    dtype: DType,
}

impl WeakTensor {
    /// The tensor, if it is still there.
    pub(super) fn upgrade(&self) -> Option<CudaTensor> {
        let WeakTensor { buffer, first, shape, dtype } = self;
        Some(CudaTensor { buffer: buffer.upgrade()?, first: *first, shape: shape.clone(), dtype: *dtype })
    }
}

impl CudaTensor {
    /// The same, without keeping its memory.
    pub(super) fn downgrade(&self) -> WeakTensor {
        let CudaTensor { buffer, first, shape, dtype } = self;
        WeakTensor { buffer: Arc::downgrade(buffer), first: *first, shape: shape.clone(), dtype: *dtype }
    }

    /// Memory for numbers of this shape, which are anything until somebody writes them.
    pub(crate) fn unwritten(cuda: &Arc<Cuda>, shape: &[usize], dtype: DType) -> Result<CudaTensor> {
        assert!(matches!(dtype, DType::F32 | DType::BF16 | DType::U8), "what kernels compute with");
        let count = shape.iter().product::<usize>();
        // Kernels count in i32.
        if i32::try_from(count).is_err() {
            bail!("{shape:?} are more numbers than a kernel counts: at most {}", i32::MAX);
        }
        let buffer = cuda.allocate(count * dtype.bytes())?;
        Ok(CudaTensor { buffer, first: 0, shape: shape.to_vec(), dtype })
    }

    /// Memory for a result like this one, of another shape.
    pub(crate) fn like(&self, shape: &[usize]) -> Result<CudaTensor> {
        CudaTensor::unwritten(self.cuda(), shape, self.dtype)
    }

    /// Zeros.
    pub(crate) fn zeros(cuda: &Arc<Cuda>, shape: &[usize], dtype: DType) -> Result<CudaTensor> {
        let zeros = CudaTensor::unwritten(cuda, shape, dtype)?;
        zeros.fill_with_zeros()?;
        Ok(zeros)
    }

    pub(super) fn fill_with_zeros(&self) -> Result<()> {
        match self.elements() {
            0 => Ok(()),
            _ => self.cuda().zero(self.place(), self.bytes()),
        }
    }

    /// These numbers, as f32.
    pub(crate) fn from_f32(cuda: &Arc<Cuda>, values: &[f32], shape: &[usize]) -> Result<CudaTensor> {
        if shape.iter().product::<usize>() != values.len() {
            bail!("{} numbers are not {shape:?}", values.len());
        }
        let tensor = CudaTensor::unwritten(cuda, shape, DType::F32)?;
        if !values.is_empty() {
            cuda.upload(tensor.place(), values)?;
        }
        Ok(tensor)
    }

    /// These bytes.
    pub(crate) fn from_bytes(cuda: &Arc<Cuda>, bytes: &[u8]) -> Result<CudaTensor> {
        let tensor = CudaTensor::unwritten(cuda, &[bytes.len()], DType::U8)?;
        if !bytes.is_empty() {
            cuda.upload(tensor.place(), bytes)?;
        }
        Ok(tensor)
    }

    /// A weight of `shape`, whose numbers `read(first, numbers)` gives as f32. Kept as `dtype`.
    pub(crate) fn from_weight(
        cuda: &Arc<Cuda>,
        shape: &[usize],
        dtype: DType,
        read: impl Fn(usize, &mut [f32]) -> Result<()> + Sync,
    ) -> Result<CudaTensor> {
        let tensor = CudaTensor::unwritten(cuda, shape, dtype)?;
        let failed = Mutex::new(None);
        cuda.stream_up(tensor.place(), tensor.bytes(), |first_byte, piece| {
            let size = dtype.bytes();
            crate::threads::for_each_chunk(piece, RUN * size, 16, |run, bytes| {
                let mut numbers = [0.0; RUN];
                let numbers = &mut numbers[..bytes.len() / size];
                match read(first_byte / size + run * RUN, numbers) {
                    Ok(()) => write_as(dtype, numbers, bytes),
                    // Of several errors one is told.
                    Err(error) => *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
                }
            });
            match failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(error) => Err(error),
                None => Ok(()),
            }
        })?;
        Ok(tensor)
    }

    /// The numbers row-major, as f32. Waits for them.
    pub(crate) fn to_f32_vec(&self) -> Result<Vec<f32>> {
        if self.elements() == 0 {
            return Ok(Vec::new());
        }
        match self.dtype {
            DType::F32 => self.cuda().download(self.place(), self.elements()),
            _ => {
                let bits = self.cuda().download::<u16>(self.place(), self.elements())?;
                Ok(bits.into_iter().map(|bits| bf16::from_bits(bits).to_f32()).collect())
            }
        }
    }

    /// The bytes of all, one after the other, on their way to main memory. All lie on one device.
    pub(crate) fn begin_download(tensors: &[CudaTensor]) -> Result<Arrival> {
        let Some(first) = tensors.first() else { bail!("nothing cannot be copied") };
        let pieces: Vec<_> = tensors.iter().map(|one| (one.place(), one.bytes())).collect();
        first.cuda().begin_download(&pieces)
    }

    pub(crate) fn cuda(&self) -> &Arc<Cuda> {
        self.buffer.cuda()
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.elements() * self.dtype.bytes()
    }

    /// Numbers of a row: of the last side.
    pub(super) fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        match self.width() {
            0 => 0,
            width => self.elements() / width,
        }
    }

    /// Where the numbers begin.
    pub(super) fn place(&self) -> Place<'_> {
        self.buffer.at(self.first * self.dtype.bytes())
    }

    /// The address of number `index`.
    pub(super) fn address_of(&self, index: usize) -> u64 {
        self.place().address() + (index * self.dtype.bytes()) as u64
    }

    /// The same numbers in another shape. A view.
    pub(crate) fn reshape(&self, shape: &[usize]) -> Result<CudaTensor> {
        if shape.iter().product::<usize>() != self.elements() {
            bail!("{:?} cannot be seen as {shape:?}", self.shape);
        }
        Ok(CudaTensor { shape: shape.to_vec(), ..self.clone() })
    }

    /// Of side `dim`, `len` places from `start` on. A view where what is taken lies in one piece.
    pub(crate) fn narrow(&self, dim: usize, start: usize, len: usize) -> Result<CudaTensor> {
        let side = self.side(dim)?;
        if start.checked_add(len).is_none_or(|end| end > side) {
            bail!("there are no {len} places from {start} on in side {dim} of {:?}", self.shape);
        }
        let mut shape = self.shape.clone();
        shape[dim] = len;
        let inner: usize = self.shape[dim + 1..].iter().product();
        let first = self.first + start * inner;
        if len == side || self.shape[..dim].iter().product::<usize>() == 1 {
            return Ok(CudaTensor { first, shape, ..self.clone() });
        }
        let out = self.like(&shape)?;
        let from = strides(&self.shape);
        launch::copy_strided(self, start * inner, &from, &out, 0, &strides(&shape), &shape)?;
        Ok(out)
    }

    /// Sides in another order. A copy.
    pub(crate) fn permute(&self, order: &[usize]) -> Result<CudaTensor> {
        let mut seen = order.to_vec();
        seen.sort_unstable();
        if !seen.iter().copied().eq(0..self.shape.len()) {
            bail!("{order:?} does not name every side of {:?} once", self.shape);
        }
        let shape: Vec<usize> = order.iter().map(|&side| self.shape[side]).collect();
        let strides_here = strides(&self.shape);
        let from: Vec<usize> = order.iter().map(|&side| strides_here[side]).collect();
        let out = self.like(&shape)?;
        launch::copy_strided(self, 0, &from, &out, 0, &strides(&shape), &shape)?;
        Ok(out)
    }

    /// Tensors of one type, one after the other along `dim`.
    pub(crate) fn cat(tensors: &[&CudaTensor], dim: usize) -> Result<CudaTensor> {
        let Some(first) = tensors.first() else { bail!("nothing cannot be joined") };
        first.side(dim)?;
        let fits = |one: &&&CudaTensor| {
            one.shape.len() == first.shape.len()
                && one.shape.iter().zip(&first.shape).enumerate().all(|(side, (a, b))| side == dim || a == b)
        };
        if let Some(other) = tensors.iter().find(|one| !fits(one)) {
            bail!("{:?} and {:?} cannot be joined along side {dim}", first.shape, other.shape);
        }
        let mut shape = first.shape.clone();
        shape[dim] = tensors.iter().map(|one| one.shape[dim]).sum();
        let out = first.like(&shape)?;
        let inner: usize = shape[dim + 1..].iter().product();
        let to = strides(&shape);
        let mut place = 0;
        for one in tensors {
            launch::copy_strided(one, 0, &strides(&one.shape), &out, place * inner, &to, &one.shape)?;
            place += one.shape[dim];
        }
        Ok(out)
    }

    /// With `before` and `after` zeros along side `dim`.
    pub(crate) fn pad_with_zeros(&self, dim: usize, before: usize, after: usize) -> Result<CudaTensor> {
        let mut shape = self.shape.clone();
        shape[dim] = self.side(dim)? + before + after;
        let out = self.like(&shape)?;
        out.fill_with_zeros()?;
        let inner: usize = shape[dim + 1..].iter().product();
        launch::copy_strided(self, 0, &strides(&self.shape), &out, before * inner, &strides(&shape), &self.shape)?;
        Ok(out)
    }

    /// The same numbers in memory of their own.
    pub(crate) fn copy(&self) -> Result<CudaTensor> {
        let out = self.like(&self.shape)?;
        out.overwrite(self)?;
        Ok(out)
    }

    /// Put the numbers of `source`, which has this shape, over those that are here.
    pub(crate) fn overwrite(&self, source: &CudaTensor) -> Result<()> {
        assert_eq!(self.shape, source.shape, "asked by the caller");
        if self.dtype != source.dtype {
            bail!("{} cannot be written over {}", source.dtype, self.dtype);
        }
        match self.elements() {
            0 => Ok(()),
            _ => self.cuda().copy(source.place(), self.place(), self.bytes()),
        }
    }

    /// The same numbers as `dtype`, rounded to nearest even. The same tensor if it is of that type.
    pub(crate) fn cast(&self, dtype: DType) -> Result<CudaTensor> {
        match dtype == self.dtype {
            true => Ok(self.clone()),
            false => launch::cast(self, dtype),
        }
    }

    fn side(&self, dim: usize) -> Result<usize> {
        match self.shape.get(dim) {
            Some(&side) => Ok(side),
            None => bail!("a tensor of shape {:?} has no side {dim}", self.shape),
        }
    }
}

/// Numbers that are cast at a time: they stay in the first-level cache.
const RUN: usize = 1024;

fn write_as(dtype: DType, numbers: &[f32], bytes: &mut [u8]) {
    match dtype {
        DType::F32 => {
            bytes.as_chunks_mut().0.iter_mut().zip(numbers).for_each(|(to, number)| *to = number.to_le_bytes())
        }
        _ => {
            let bits = |number: &f32| bf16::from_f32(*number).to_le_bytes();
            bytes.as_chunks_mut().0.iter_mut().zip(numbers).for_each(|(to, number)| *to = bits(number));
        }
    }
}

/// From one place of a side to the next, in numbers, of a dense tensor.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for side in (1..shape.len()).rev() {
        strides[side - 1] = strides[side] * shape[side];
    }
    strides
}
