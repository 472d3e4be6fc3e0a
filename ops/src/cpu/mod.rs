//! The parts of the kernels for main memory: vector lanes, the inside of a product and how its left side is laid out,
//! products with narrow weights, rows into columns, softmax, the numbers of a tensor.

pub(crate) mod narrow;
pub(crate) mod panels;
pub(crate) mod simd;
pub(crate) mod softmax;
pub(crate) mod storage;
pub(crate) mod tiles;
pub(crate) mod transpose;
