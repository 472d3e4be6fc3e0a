//! A block of numbers with a shape. Its storage is private to this crate.
//!
//! Surprising: in main memory, reshaping, slicing and transposing copy nothing. The result shares the numbers of what it was
//! taken from, and keeps all of them in memory; [`Tensor::copy`] ends that. On a GPU what does not lie in one piece is
//! copied.

use std::borrow::Borrow;
use std::fmt;

use candle_core as candle;

use crate::cuda::{self, Binary, CudaTensor};
use crate::error::bail;
use crate::{Arriving, DType, Device, Error, Result};

/// A block of numbers of one type, with a shape, on a device.
#[derive(Clone)]
pub struct Tensor {
    inner: Inner,
}

/// The storage.
#[derive(Clone)]
enum Inner {
    Cpu(candle::Tensor),
    /// Boxed, so that a tensor in main memory is as small as its own handle.
    Cuda(Box<CudaTensor>),
}

/// A type of Rust that tensors hold. Only this crate implements it.
pub trait Element: sealed::Element {}

mod sealed {
    /// The types that the storage accepts.
    pub trait Element: candle_core::WithDType {}
}

macro_rules! elements {
    ($($type:ty),*) => { $(
        impl sealed::Element for $type {}
        impl Element for $type {}
    )* };
}
elements!(u8, u32, i32, i64, f32, f64);

/// Turn a result of the storage into ours.
fn ours(result: candle::Result<candle::Tensor>) -> Result<Tensor> {
    result.map(Tensor::of).map_err(Error::of_storage)
}

/// Where the tensors of an operation lie.
pub(crate) enum On<'a, const N: usize> {
    /// In main memory, all of them.
    Cpu,
    /// On one GPU, all of them.
    Cuda([&'a CudaTensor; N]),
}

/// Where the tensors of `operation` lie. An error if they do not lie in one place.
pub(crate) fn on<'a, const N: usize>(operation: &str, tensors: [&'a Tensor; N]) -> Result<On<'a, N>> {
    let device = tensors[0].device();
    if let Some(other) = tensors.iter().find(|other| other.device() != device) {
        bail!("{operation}: one tensor lies on {device}, another on {}; an operation wants one place", other.device());
    }
    let on_cuda: Vec<&CudaTensor> = tensors.iter().filter_map(|tensor| tensor.as_cuda()).collect();
    Ok(on_cuda.try_into().map_or(On::Cpu, On::Cuda))
}

impl Tensor {
    /// These numbers, row-major. On a GPU only f32.
    pub fn from_vec<T: Element>(values: Vec<T>, shape: impl AsRef<[usize]>, device: &Device) -> Result<Tensor> {
        let Some(cuda) = device.as_cuda() else {
            return ours(candle::Tensor::from_vec(values, shape.as_ref(), &candle::Device::Cpu));
        };
        match T::to_cpu_storage_owned(values) {
            candle::CpuStorage::F32(values) => Ok(CudaTensor::from_f32(cuda, &values, shape.as_ref())?.into()),
            other => {
                use candle::backend::BackendStorage;
                bail!("a tensor on {device} is made of f32, not of {:?}", other.dtype())
            }
        }
    }

    /// Zeros, as f32.
    pub fn zeros(shape: impl AsRef<[usize]>, device: &Device) -> Result<Tensor> {
        Tensor::full(0.0, shape, device)
    }

    /// One number everywhere, as f32.
    pub fn full(value: f32, shape: impl AsRef<[usize]>, device: &Device) -> Result<Tensor> {
        let shape = shape.as_ref();
        if let Some(cuda) = device.as_cuda()
            && value == 0.0
        {
            return Ok(CudaTensor::zeros(cuda, shape, DType::F32)?.into());
        }
        Tensor::from_vec(vec![value; shape.iter().product()], shape, device)
    }

    /// Tensors one after the other along `dim`. Their other sides are the same.
    pub fn cat<T: Borrow<Tensor>>(tensors: &[T], dim: usize) -> Result<Tensor> {
        let Some(first) = tensors.first() else { bail!("nothing cannot be joined") };
        let device = first.borrow().device();
        if let Some(other) = tensors.iter().map(Borrow::borrow).find(|other: &&Tensor| other.device() != device) {
            bail!("joining: one tensor lies on {device}, another on {}; an operation wants one place", other.device());
        }
        let on_cuda: Vec<_> = tensors.iter().filter_map(|tensor| tensor.borrow().as_cuda()).collect();
        if on_cuda.is_empty() {
            let inner = tensors.iter().map(|tensor| tensor.borrow().cpu("joining")).collect::<Result<Vec<_>>>()?;
            return ours(candle::Tensor::cat(&inner, dim));
        }
        Ok(cuda::cat(&on_cuda, dim)?.into())
    }

    /// The length of every side, outermost first.
    pub fn dims(&self) -> &[usize] {
        match &self.inner {
            Inner::Cpu(inner) => inner.dims(),
            Inner::Cuda(inner) => inner.shape(),
        }
    }

    /// The length of side `dim`.
    pub fn dim(&self, dim: usize) -> Result<usize> {
        let dims = self.dims();
        dims.get(dim).copied().ok_or_else(|| Error::new(format_args!("a tensor of shape {dims:?} has no side {dim}")))
    }

    /// Both sides of a matrix. An error for another number of sides; so are the two that follow.
    pub fn dims2(&self) -> Result<(usize, usize)> {
        self.sides().map(|[a, b]| (a, b))
    }

    /// Three sides.
    pub fn dims3(&self) -> Result<(usize, usize, usize)> {
        self.sides().map(|[a, b, c]| (a, b, c))
    }

    /// Four sides.
    pub fn dims4(&self) -> Result<(usize, usize, usize, usize)> {
        self.sides().map(|[a, b, c, d]| (a, b, c, d))
    }

    fn sides<const N: usize>(&self) -> Result<[usize; N]> {
        let dims = self.dims();
        dims.try_into().map_err(|_| Error::new(format_args!("a tensor of {N} sides is needed; this one is {dims:?}")))
    }

    /// The type of its numbers.
    pub fn dtype(&self) -> DType {
        let inner = match &self.inner {
            Inner::Cpu(inner) => inner,
            Inner::Cuda(inner) => return inner.dtype(),
        };
        match inner.dtype() {
            candle::DType::U8 => DType::U8,
            candle::DType::U32 => DType::U32,
            candle::DType::I32 => DType::I32,
            candle::DType::I64 => DType::I64,
            candle::DType::F64 => DType::F64,
            candle::DType::F32 => DType::F32,
            other => unreachable!("no tensor is made of {other:?}"),
        }
    }

    /// Where it lies.
    pub fn device(&self) -> Device {
        match &self.inner {
            Inner::Cpu(_) => Device::cpu(),
            Inner::Cuda(inner) => Device::of_cuda(inner.cuda()),
        }
    }

    /// How many numbers it has.
    pub fn elements(&self) -> usize {
        self.dims().iter().product()
    }

    /// Bytes of its numbers. A view counts the numbers it shows, although it keeps the whole storage alive.
    pub fn bytes(&self) -> u64 {
        (self.elements() * self.dtype().bytes()) as u64
    }

    /// Of side `dim`, `len` places from `start` on. A view.
    pub fn narrow(&self, dim: usize, start: usize, len: usize) -> Result<Tensor> {
        match &self.inner {
            Inner::Cpu(inner) => ours(inner.narrow(dim, start, len)),
            Inner::Cuda(inner) => Ok(inner.narrow(dim, start, len)?.into()),
        }
    }

    /// Place `index` of the first side, which is gone then. A view.
    pub fn get(&self, index: usize) -> Result<Tensor> {
        match &self.inner {
            Inner::Cpu(inner) => ours(inner.get(index)),
            Inner::Cuda(inner) => Ok(inner.narrow(0, index, 1)?.reshape(&inner.shape()[1..])?.into()),
        }
    }

    /// The same numbers, row-major, in another shape. Copies only if the numbers are not contiguous.
    pub fn reshape(&self, shape: impl AsRef<[usize]>) -> Result<Tensor> {
        match &self.inner {
            Inner::Cpu(inner) => ours(inner.reshape(shape.as_ref())),
            Inner::Cuda(inner) => Ok(inner.reshape(shape.as_ref())?.into()),
        }
    }

    /// Sides in another order: side `i` of the result is side `order[i]` of this. A view.
    pub fn permute(&self, order: &[usize]) -> Result<Tensor> {
        match &self.inner {
            Inner::Cpu(inner) => ours(inner.permute(order)),
            Inner::Cuda(inner) => Ok(inner.permute(order)?.into()),
        }
    }

    /// Without side `dim`, whose length is 1. A view.
    pub fn squeeze(&self, dim: usize) -> Result<Tensor> {
        if self.dim(dim)? != 1 {
            bail!("side {dim} of {:?} is not of length 1", self.dims());
        }
        match &self.inner {
            Inner::Cpu(inner) => ours(inner.squeeze(dim)),
            Inner::Cuda(inner) => {
                let mut shape = inner.shape().to_vec();
                shape.remove(dim);
                Ok(inner.reshape(&shape)?.into())
            }
        }
    }

    /// With a side of length 1 before side `dim`. A view.
    pub fn unsqueeze(&self, dim: usize) -> Result<Tensor> {
        match &self.inner {
            Inner::Cpu(inner) => ours(inner.unsqueeze(dim)),
            Inner::Cuda(inner) if dim > inner.shape().len() => bail!("{:?} has no side {dim}", inner.shape()),
            Inner::Cuda(inner) => {
                let mut shape = inner.shape().to_vec();
                shape.insert(dim, 1);
                Ok(inner.reshape(&shape)?.into())
            }
        }
    }

    /// With `before` and `after` zeros along side `dim`.
    pub fn pad_with_zeros(&self, dim: usize, before: usize, after: usize) -> Result<Tensor> {
        match &self.inner {
            Inner::Cpu(inner) => ours(inner.pad_with_zeros(dim, before, after)),
            Inner::Cuda(inner) => Ok(inner.pad_with_zeros(dim, before, after)?.into()),
        }
    }

    /// The same numbers in memory of their own, row-major: the copy keeps no other storage alive.
    pub fn copy(&self) -> Result<Tensor> {
        match &self.inner {
            Inner::Cpu(inner) => ours(inner.force_contiguous()),
            Inner::Cuda(inner) => Ok(inner.copy()?.into()),
        }
    }

    /// Put the numbers of `source`, which has this shape, over those that are here. Every tensor that shares them
    /// changes too.
    pub fn overwrite(&mut self, source: &Tensor) -> Result<()> {
        if self.dims() != source.dims() {
            bail!("{:?} cannot be written over {:?}", source.dims(), self.dims());
        }
        match on("overwriting", [self, source])? {
            On::Cpu => self.cpu("overwriting")?.slice_set(source.cpu("overwriting")?, 0, 0).map_err(Error::of_storage),
            On::Cuda([here, source]) => here.overwrite(source),
        }
    }

    /// Every number plus `value`.
    pub fn plus(&self, value: f64) -> Result<Tensor> {
        match &self.inner {
            Inner::Cpu(inner) => ours(inner + value),
            Inner::Cuda(inner) => Ok(cuda::affine(inner, 1.0, value as f32)?.into()),
        }
    }

    /// The numbers row-major, which must be of this type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        let here = self.to_host()?;
        here.flatten_all().and_then(|flat| flat.to_vec1()).map_err(Error::of_storage)
    }

    /// The numbers row-major as f64, whatever their type.
    pub fn to_f64(&self) -> Result<Vec<f64>> {
        let flat = self.to_host()?.to_dtype(candle::DType::F64).and_then(|tensor| tensor.flatten_all());
        flat.and_then(|flat| flat.to_vec1()).map_err(Error::of_storage)
    }

    /// The same numbers as f32, rounded where they do not fit.
    pub fn to_f32(&self) -> Result<Tensor> {
        match &self.inner {
            Inner::Cpu(inner) => ours(inner.to_dtype(candle::DType::F32)),
            Inner::Cuda(inner) => Ok(inner.cast(DType::F32)?.into()),
        }
    }

    /// Is every number finite?
    pub fn is_finite(&self) -> Result<bool> {
        match &self.inner {
            Inner::Cpu(_) => crate::cpu::storage::read(self, |values| values.iter().all(|value| value.is_finite())),
            Inner::Cuda(inner) => Ok(inner.to_f32_vec()?.iter().all(|value| value.is_finite())),
        }
    }

    /// As [`Tensor::is_finite`]: a GPU copies the numbers to main memory while it goes on to what it is asked for next.
    pub fn begin_is_finite(&self) -> Result<Arriving<bool>> {
        match &self.inner {
            Inner::Cpu(_) => Ok(Arriving::here(self.is_finite()?)),
            Inner::Cuda(inner) if inner.elements() == 0 => Ok(Arriving::here(true)),
            Inner::Cuda(inner) => {
                let arrival = CudaTensor::begin_download(std::slice::from_ref(&**inner))?;
                let dtype = inner.dtype();
                Ok(Arriving::of(arrival, move |arrival| {
                    Ok(match dtype {
                        DType::F32 => arrival.numbers::<f32>()?.iter().all(|value| value.is_finite()),
                        // The upper half of an f32: no other bits of the exponent are all set.
                        _ => arrival.numbers::<u16>()?.iter().all(|bits| bits & 0x7f80 != 0x7f80),
                    })
                }))
            }
        }
    }

    /// The storage of a tensor in main memory, for this crate. An error that names the operation if it lies elsewhere.
    pub(crate) fn cpu(&self, operation: &str) -> Result<&candle::Tensor> {
        match &self.inner {
            Inner::Cpu(inner) => Ok(inner),
            Inner::Cuda(_) => bail!("{operation} has no CUDA form yet: its tensors lie on {}", self.device()),
        }
    }

    /// The storage of a tensor on a GPU, for this crate.
    pub(crate) fn as_cuda(&self) -> Option<&CudaTensor> {
        match &self.inner {
            Inner::Cpu(_) => None,
            Inner::Cuda(inner) => Some(inner),
        }
    }

    /// The numbers in main memory: copied there if they lie elsewhere.
    fn to_host(&self) -> Result<candle::Tensor> {
        match &self.inner {
            Inner::Cpu(inner) => Ok(inner.clone()),
            Inner::Cuda(inner) => candle::Tensor::from_vec(inner.to_f32_vec()?, inner.shape(), &candle::Device::Cpu)
                .map_err(Error::of_storage),
        }
    }

    pub(crate) fn of(inner: candle::Tensor) -> Tensor {
        Tensor { inner: Inner::Cpu(inner) }
    }
}

impl From<CudaTensor> for Tensor {
    fn from(inner: CudaTensor) -> Tensor {
        Tensor { inner: Inner::Cuda(Box::new(inner)) }
    }
}

/// Number by number; both have one shape.
macro_rules! arithmetic {
    ($($trait:ident, $method:ident, $name:literal);*) => { $(
        impl<T: Borrow<Tensor>> std::ops::$trait<T> for &Tensor {
            type Output = Result<Tensor>;
            fn $method(self, other: T) -> Result<Tensor> {
                match on($name, [self, other.borrow()])? {
                    On::Cpu => ours(std::ops::$trait::$method(self.cpu($name)?, other.borrow().cpu($name)?)),
                    On::Cuda([a, b]) => Ok(cuda::binary(a, b, Binary::$trait)?.into()),
                }
            }
        }
        impl<T: Borrow<Tensor>> std::ops::$trait<T> for Tensor {
            type Output = Result<Tensor>;
            fn $method(self, other: T) -> Result<Tensor> {
                (&self).$method(other)
            }
        }
    )* };
}
arithmetic!(Add, add, "adding"; Sub, sub, "subtracting"; Mul, mul, "multiplying");

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {:?})", self.dtype(), self.dims())
    }
}
