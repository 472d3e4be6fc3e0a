//! A tensor as a file stores it: bytes, their type, a shape. Operations make of it what they compute with.
//!
//! Nothing is copied before an operation packs it, so no weight is in memory both as it is stored and as it is used.
//! Weights that are not finite are refused here, for every reader: one NaN makes every picture black.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use crate::error::bail;
use crate::{DType, Device, Error, Result, Tensor};

/// A tensor of a file, borrowed.
#[derive(Debug, Clone)]
pub struct Stored<'a> {
    /// For errors: which tensor of which file.
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    bytes: &'a [u8],
}

/// Numbers that are cast at a time: they stay in the first-level cache.
const RUN: usize = 1024;

impl<'a> Stored<'a> {
    /// `bytes`: little-endian numbers of type `dtype`, row-major, exactly as many as `shape` says. `name` is what errors call
    /// it.
    pub fn new(name: impl Into<String>, dtype: DType, shape: &[usize], bytes: &'a [u8]) -> Result<Stored<'a>> {
        let name = name.into();
        let numbers = shape.iter().try_fold(dtype.bytes(), |product, &side| product.checked_mul(side));
        if numbers != Some(bytes.len()) {
            bail!("{name}: {} bytes are not {shape:?} numbers of type {dtype}", bytes.len());
        }
        Ok(Stored { name, dtype, shape: shape.to_vec(), bytes })
    }

    /// The length of every side, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type of the numbers in the file.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The numbers as the file stores them.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many numbers it has.
    pub fn elements(&self) -> usize {
        self.bytes.len() / self.dtype.bytes()
    }

    /// Of the first side, `len` places from `start` on.
    pub fn narrow(&self, start: usize, len: usize) -> Result<Stored<'a>> {
        match self.shape.split_first() {
            Some((&side, inner)) if start <= side && len <= side - start => {
                let place = inner.iter().product::<usize>() * self.dtype.bytes();
                let shape = [&[len], inner].concat();
                Ok(Stored { shape, bytes: &self.bytes[start * place..][..len * place], ..self.clone() })
            }
            _ => bail!("{}: there are no {len} places from {start} on in {:?}", self.name, self.shape),
        }
    }

    /// The numbers as they are, in their own type. Weights go through an operation instead.
    pub fn to_tensor(&self, device: &Device) -> Result<Tensor> {
        let inner = match self.dtype {
            DType::F16 | DType::BF16 => return self.to_f32(device),
            DType::U8 => Tensor::from_vec(self.bytes.to_vec(), &self.shape, device),
            DType::U32 => Tensor::from_vec(self.numbers(u32::from_le_bytes), &self.shape, device),
            DType::I32 => Tensor::from_vec(self.numbers(i32::from_le_bytes), &self.shape, device),
            DType::I64 => Tensor::from_vec(self.numbers(i64::from_le_bytes), &self.shape, device),
            DType::F32 => Tensor::from_vec(self.numbers(f32::from_le_bytes), &self.shape, device),
            DType::F64 => Tensor::from_vec(self.numbers(f64::from_le_bytes), &self.shape, device),
        };
        inner.map_err(|error| Error::new(format_args!("{}: {error}", self.name)))
    }

    /// A small weight, such as a norm's or a bias, as f32.
    pub fn to_f32(&self, device: &Device) -> Result<Tensor> {
        Tensor::from_vec(self.to_vec()?, &self.shape, device)
    }

    /// An error if a number is not finite, or of a type that no weight has. Reads everything, on all threads, and keeps
    /// nothing.
    pub fn check(&self) -> Result<()> {
        let share = RUN * 64;
        (0..self.elements().div_ceil(share)).into_par_iter().try_for_each(|part| {
            let mut run = [0.0; RUN];
            let part = part * share..self.elements().min((part + 1) * share);
            part.clone().step_by(RUN).try_for_each(|first| self.read(first, &mut run[..RUN.min(part.end - first)]))
        })
    }

    /// All numbers of a weight, row-major.
    pub(crate) fn to_vec(&self) -> Result<Vec<f32>> {
        let mut values = vec![0.0; self.elements()];
        for (run, values) in values.chunks_mut(RUN).enumerate() {
            self.read(run * RUN, values)?;
        }
        Ok(values)
    }

    /// The numbers of a weight from `first` on, as f32. An error if one is not finite.
    pub(crate) fn read(&self, first: usize, values: &mut [f32]) -> Result<()> {
        let size = self.dtype.bytes();
        let bytes = &self.bytes[first * size..][..values.len() * size];
        match self.dtype {
            DType::F32 => values.iter_mut().zip(bytes.as_chunks().0).for_each(|(value, &four)| {
                *value = f32::from_le_bytes(four);
            }),
            DType::BF16 => values.iter_mut().zip(bytes.as_chunks().0).for_each(|(value, &two)| {
                *value = f32::from_bits(u32::from(u16::from_le_bytes(two)) << 16);
            }),
            DType::F16 => f16_to_f32(bytes, values),
            other => bail!("{} is stored as {other}; it must be F32, F16 or BF16", self.name),
        }
        match values.iter().fold(false, |any, value| any | is_not_finite(*value)) {
            false => Ok(()),
            true => {
                let at = values.iter().position(|value| is_not_finite(*value)).expect("one is not");
                bail!(
                    "{} holds {} at place {} of {}; a weight is a finite number, so the file is damaged or was saved by a \
                     training that had failed",
                    self.name,
                    values[at],
                    first + at,
                    self.elements()
                )
            }
        }
    }

    fn numbers<const N: usize, T>(&self, from: fn([u8; N]) -> T) -> Vec<T> {
        self.bytes.as_chunks().0.iter().map(|&bytes| from(bytes)).collect()
    }
}

/// By its bits, which a loop can look at sixteen at a time.
fn is_not_finite(value: f32) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    value.to_bits() & EXPONENT == EXPONENT
}

/// Through a small aligned buffer, because `half` converts whole slices with one instruction a lane and single numbers
/// with a look at the CPU's features each.
fn f16_to_f32(bytes: &[u8], values: &mut [f32]) {
    let mut lane = [f16::ZERO; RUN];
    for (values, bytes) in values.chunks_mut(RUN).zip(bytes.chunks(2 * RUN)) {
        let lane = &mut lane[..values.len()];
        for (number, &two) in lane.iter_mut().zip(bytes.as_chunks().0) {
            *number = f16::from_le_bytes(two);
        }
        lane.convert_to_f32_slice(values);
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    /// These numbers as a file stores them.
    fn bytes(dtype: DType, values: &[f32]) -> Vec<u8> {
        let number = |value: &f32| match dtype {
            DType::F16 => f16::from_f32(*value).to_le_bytes().to_vec(),
            DType::BF16 => bf16::from_f32(*value).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        };
        values.iter().flat_map(number).collect()
    }

    #[test]
    fn a_weight_that_is_not_finite_is_refused_by_name_and_place_in_every_type() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            // The last place of the first run, the first of the second, and the last of all: 2500 = 2·1024 + 452.
            for place in [0, RUN - 1, RUN, 2499] {
                for (value, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
                    let mut values = vec![0.5; 2500];
                    values[place] = value;
                    let bytes = bytes(dtype, &values);
                    let stored =
                        Stored::new("file: tensor w", dtype, &[25, 100], &bytes).expect("as many as the shape has");
                    let check = |result: Result<()>| {
                        let error = result.expect_err("it is not finite").to_string();
                        let said = format!("file: tensor w holds {word} at place {place} of 2500");
                        assert!(error.starts_with(&said), "{dtype}: {error:?} does not say {said:?}");
                    };
                    check(stored.check());
                    check(stored.to_f32(&Device::cpu()).map(|_| ()));
                }
            }
        }
    }

    #[test]
    fn the_largest_and_smallest_finite_numbers_of_every_type_are_read() {
        let largest = [(DType::F32, f32::MAX), (DType::F16, 65504.0), (DType::BF16, bf16::MAX.to_f32())];
        for (dtype, value) in largest {
            let values = [value, -value, f32::MIN_POSITIVE, -0.0];
            let bytes = bytes(dtype, &values);
            let stored = Stored::new("w", dtype, &[4], &bytes).expect("four numbers");
            stored.check().expect("all are finite");
            assert_eq!(stored.to_vec().expect("all are finite")[..2], values[..2], "{dtype}");
        }
    }

    #[test]
    fn places_are_cut_out_of_the_first_side_only_where_there_are_some() {
        let bytes = bytes(DType::F32, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let stored = Stored::new("w", DType::F32, &[3, 2], &bytes).expect("six numbers");
        let cut = stored.narrow(1, 2).expect("two of three");
        assert_eq!((cut.shape(), cut.to_vec().expect("finite")), (&[2, 2][..], vec![2.0, 3.0, 4.0, 5.0]));
        assert!(stored.narrow(2, 2).is_err() && stored.narrow(4, 0).is_err() && stored.narrow(1, usize::MAX).is_err());
        assert!(Stored::new("w", DType::F32, &[7], &bytes).is_err());
        assert!(Stored::new("w", DType::F32, &[usize::MAX, 2], &bytes).is_err(), "the product overflows");
    }

    #[test]
    fn what_is_no_weight_is_read_as_it_is_and_refused_as_a_weight() {
        let bytes: Vec<u8> = [7i64, -8].iter().flat_map(|number| number.to_le_bytes()).collect();
        let stored = Stored::new("ids", DType::I64, &[2], &bytes).expect("two numbers");
        let tensor = stored.to_tensor(&Device::cpu()).expect("numbers");
        assert_eq!(tensor.to_vec::<i64>().expect("of this type"), [7, -8]);
        assert_eq!(
            stored.check().expect_err("no weight").to_string(),
            "ids is stored as I64; it must be F32, F16 or BF16"
        );
    }
}
