//! A block of numbers with a shape. Its storage is private to this crate.
//!
//! Surprising: reshaping, slicing and transposing copy nothing. The result shares the numbers of what it was taken
//! from, and keeps all of them in memory; [`Tensor::copy`] ends that.

use std::borrow::Borrow;
use std::fmt;

use candle_core as candle;

use crate::error::bail;
use crate::{DType, Device, Error, Result};

/// A block of numbers of one type, with a shape, on a device.
#[derive(Clone)]
pub struct Tensor {
    inner: candle::Tensor,
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

impl Tensor {
    /// These numbers, row-major.
    pub fn from_vec<T: Element>(values: Vec<T>, shape: impl AsRef<[usize]>, device: &Device) -> Result<Tensor> {
        ours(candle::Tensor::from_vec(values, shape.as_ref(), storage_device(device)))
    }

    /// Zeros, as f32.
    pub fn zeros(shape: impl AsRef<[usize]>, device: &Device) -> Result<Tensor> {
        Tensor::full(0.0, shape, device)
    }

    /// One number everywhere, as f32.
    pub fn full(value: f32, shape: impl AsRef<[usize]>, device: &Device) -> Result<Tensor> {
        let shape = shape.as_ref();
        Tensor::from_vec(vec![value; shape.iter().product()], shape, device)
    }

    /// Tensors one after the other along `dim`. Their other sides are the same.
    pub fn cat<T: Borrow<Tensor>>(tensors: &[T], dim: usize) -> Result<Tensor> {
        let inner: Vec<_> = tensors.iter().map(|tensor| &tensor.borrow().inner).collect();
        ours(candle::Tensor::cat(&inner, dim))
    }

    /// The length of every side, outermost first.
    pub fn dims(&self) -> &[usize] {
        self.inner.dims()
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
        match self.inner.dtype() {
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
        Device::cpu()
    }

    /// How many numbers it has.
    pub fn elements(&self) -> usize {
        self.inner.elem_count()
    }

    /// Bytes of its numbers. A view counts the numbers it shows, although it keeps the whole storage alive.
    pub fn bytes(&self) -> u64 {
        (self.elements() * self.dtype().bytes()) as u64
    }

    /// Of side `dim`, `len` places from `start` on. A view.
    pub fn narrow(&self, dim: usize, start: usize, len: usize) -> Result<Tensor> {
        ours(self.inner.narrow(dim, start, len))
    }

    /// Place `index` of the first side, which is gone then. A view.
    pub fn get(&self, index: usize) -> Result<Tensor> {
        ours(self.inner.get(index))
    }

    /// The same numbers, row-major, in another shape. Copies only if the numbers are not contiguous.
    pub fn reshape(&self, shape: impl AsRef<[usize]>) -> Result<Tensor> {
        ours(self.inner.reshape(shape.as_ref()))
    }

    /// Sides in another order: side `i` of the result is side `order[i]` of this. A view.
    pub fn permute(&self, order: &[usize]) -> Result<Tensor> {
        ours(self.inner.permute(order))
    }

    /// Without side `dim`, whose length is 1. A view.
    pub fn squeeze(&self, dim: usize) -> Result<Tensor> {
        if self.dim(dim)? != 1 {
            bail!("side {dim} of {:?} is not of length 1", self.dims());
        }
        ours(self.inner.squeeze(dim))
    }

    /// With a side of length 1 before side `dim`. A view.
    pub fn unsqueeze(&self, dim: usize) -> Result<Tensor> {
        ours(self.inner.unsqueeze(dim))
    }

    /// With `before` and `after` zeros along side `dim`.
    pub fn pad_with_zeros(&self, dim: usize, before: usize, after: usize) -> Result<Tensor> {
        ours(self.inner.pad_with_zeros(dim, before, after))
    }

    /// The same numbers in memory of their own, row-major: the copy keeps no other storage alive.
    pub fn copy(&self) -> Result<Tensor> {
        ours(self.inner.force_contiguous())
    }

    /// Put the numbers of `source`, which has this shape, over those that are here. Every tensor that shares them
    /// changes too.
    pub fn overwrite(&mut self, source: &Tensor) -> Result<()> {
        if self.dims() != source.dims() {
            bail!("{:?} cannot be written over {:?}", source.dims(), self.dims());
        }
        self.inner.slice_set(&source.inner, 0, 0).map_err(Error::of_storage)
    }

    /// Every number plus `value`.
    pub fn plus(&self, value: f64) -> Result<Tensor> {
        ours(&self.inner + value)
    }

    /// The numbers row-major, which must be of this type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.inner.flatten_all().and_then(|flat| flat.to_vec1()).map_err(Error::of_storage)
    }

    /// The numbers row-major as f64, whatever their type.
    pub fn to_f64(&self) -> Result<Vec<f64>> {
        let flat = self.inner.to_dtype(candle::DType::F64).and_then(|tensor| tensor.flatten_all());
        flat.and_then(|flat| flat.to_vec1()).map_err(Error::of_storage)
    }

    /// The same numbers as f32, rounded where they do not fit.
    pub fn to_f32(&self) -> Result<Tensor> {
        ours(self.inner.to_dtype(candle::DType::F32))
    }

    /// Is every number finite?
    pub fn is_finite(&self) -> Result<bool> {
        crate::cpu::storage::read(self, |values| values.iter().all(|value| value.is_finite()))
    }

    /// The storage, for this crate.
    pub(crate) fn inner(&self) -> &candle::Tensor {
        &self.inner
    }

    pub(crate) fn of(inner: candle::Tensor) -> Tensor {
        Tensor { inner }
    }
}

/// Where the storage puts what lies on `device`.
pub(crate) fn storage_device(device: &Device) -> &'static candle::Device {
    assert_eq!(*device, Device::cpu(), "the only device there is");
    &candle::Device::Cpu
}

/// Number by number; both have one shape.
macro_rules! arithmetic {
    ($($trait:ident, $method:ident);*) => { $(
        impl<T: Borrow<Tensor>> std::ops::$trait<T> for &Tensor {
            type Output = Result<Tensor>;
            fn $method(self, other: T) -> Result<Tensor> {
                ours(std::ops::$trait::$method(&self.inner, &other.borrow().inner))
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
arithmetic!(Add, add; Sub, sub; Mul, mul);

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {:?})", self.dtype(), self.dims())
    }
}
