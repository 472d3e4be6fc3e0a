//! Which products cuBLASLt computes: those that it gives as our kernel does, and sooner, on this GPU.
//!
//! Nothing is taken on trust. When a model is loaded, each shape of its layers is computed by both, with the layer's own weights,
//! compared and timed. What was not tried, or did not pass, is computed by our kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::PackedLinear;
use super::blas::{Blas, Given};
use super::driver::Cuda;
use super::launch::{self, Ending};
use super::moment::CudaMoment;
use super::tensor::{CudaTensor, WeakTensor};
use crate::activation::Activation;
use crate::check::{made_numbers, worst};
use crate::{DType, Result, Tensor};

/// How a product of one shape is computed, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Rows that it was tried with.
    pub rows: usize,
    /// Of the layer.
    pub inputs: usize,
    /// Of the layer.
    pub outputs: usize,
    /// What is done with its sums.
    pub ending: &'static str,
    /// Our kernel's time.
    pub ours: Duration,
    /// The library's time where it agrees with our kernel; else what is wrong with it.
    pub library: std::result::Result<Duration, String>,
}

impl Choice {
    /// Does the library compute it?
    pub fn is_library(&self) -> bool {
        matches!(self.library, Ok(time) if time < self.ours)
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Choice { rows, inputs, outputs, ending, ours, library } = self;
        let (shape, ours) = (format!("{rows}x{inputs} -> {outputs}, {ending}"), ours.as_secs_f64() * 1e3);
        write!(f, "{:<24} {shape:<30} ", "product")?;
        match library {
            Ok(time) => {
                let taken = if self.is_library() { "cuBLASLt" } else { "ours" };
                write!(f, "{taken}: cuBLASLt {:.3} ms, ours {ours:.3} ms", time.as_secs_f64() * 1e3)
            }
            Err(why) => write!(f, "ours, {ours:.3} ms: cuBLASLt {why}"),
        }
    }
}

/// What tells the layers of a model apart here: inputs, outputs, and whether they have a bias.
type Layer = (usize, usize, bool);

/// What is done with a layer's sums, where the library has a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Plain,
    Gelu,
    Added,
    /// The library has no gate: it is a kernel of ours, behind the product.
    Gated,
}

impl Kind {
    const ALL: [(Kind, &str); 4] =
        [(Kind::Plain, "plain"), (Kind::Gelu, "GELU"), (Kind::Added, "added"), (Kind::Gated, "gated, added")];

    fn of(ending: Ending<'_>) -> Option<Kind> {
        match ending {
            Ending::Plain => Some(Kind::Plain),
            Ending::Activate(Activation::GeluTanh) => Some(Kind::Gelu),
            Ending::Activate(_) => None,
            Ending::Add { gate: None, .. } => Some(Kind::Added),
            Ending::Add { .. } => Some(Kind::Gated),
        }
    }
}

/// The layers that are there, and how their products are computed.
#[derive(Default)]
pub(super) struct Products(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// One of each shape: its weight, its bias in f32 and in bf16.
    layers: BTreeMap<Layer, (WeakTensor, Option<[WeakTensor; 2]>)>,
    by_library: BTreeSet<(Layer, Kind)>,
    choices: Vec<Choice>,
}

/// The fewest rows that the library is asked for: it is looked at with so many, and with as many as a chunk has.
const ROWS_LEAST: usize = 8;
/// Rows that are compared, at the beginning and at the end.
const COMPARED: usize = 64;
/// Runs that are timed, after the first.
const RUNS: usize = 3;
/// No more shapes are tried after so long.
const PATIENCE: Duration = Duration::from_secs(4);

impl Products {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PackedLinear {
    fn layer(&self) -> Layer {
        (self.weight.width(), self.weight.rows(), self.bias.is_some())
    }

    /// One more layer of a model, whose shape is to be tried.
    pub(super) fn register(&self) {
        let bias = self.bias.as_ref().zip(self.narrow_bias.as_ref());
        let bias = bias.map(|(wide, narrow)| [wide.downgrade(), narrow.downgrade()]);
        let products = self.weight.cuda().products();
        products.known().layers.insert(self.layer(), (self.weight.downgrade(), bias));
    }

    /// The layer of `x`, by the library. `None`: our kernel computes it.
    pub(super) fn by_library(&self, x: &CudaTensor, ending: Ending<'_>) -> Result<Option<CudaTensor>> {
        let cuda = x.cuda();
        let (Some(blas), Some(kind)) = (cuda.blas(), Kind::of(ending)) else { return Ok(None) };
        if x.rows() < ROWS_LEAST || !cuda.products().known().by_library.contains(&(self.layer(), kind)) {
            return Ok(None);
        }
        self.multiply(blas, x, ending)
    }

    fn multiply(&self, blas: &Blas, x: &CudaTensor, ending: Ending<'_>) -> Result<Option<CudaTensor>> {
        let (gelu, h) = match ending {
            Ending::Activate(activation) => (activation == Activation::GeluTanh, None),
            Ending::Add { h, gate: None } => (false, Some(h)),
            Ending::Plain | Ending::Add { .. } => (false, None),
        };
        let given = Given { x, weight: &self.weight, bias: self.narrow_bias.as_ref(), h };
        match (blas.multiply(&given, gelu)?, ending) {
            (Some(y), Ending::Add { h, gate: Some(gate) }) => launch::add_gated(h, &y, gate).map(Some),
            (y, _) => Ok(y),
        }
    }
}

impl Cuda {
    /// cuBLASLt, where it was found.
    pub(super) fn blas(&self) -> Option<&Blas> {
        self.found_blas().as_ref().ok()?.as_ref()
    }

    /// What was found of cuBLASLt, in words.
    pub(crate) fn library_told(&self) -> String {
        match self.found_blas() {
            Ok(Some(blas)) => format!("cuBLASLt {} from {}", blas.version(), blas.path().display()),
            Ok(None) => "cuBLASLt was not found: products are computed by our kernels".to_owned(),
            Err(refused) => format!("{refused}; products are computed by our kernels"),
        }
    }

    /// The library whose results stand beside ours, if there is one: its name and version.
    pub(crate) fn library_used(&self) -> Option<String> {
        let is_used = !self.products().known().by_library.is_empty();
        self.blas().filter(|_| is_used).map(|blas| format!("cuBLASLt {}", blas.version()))
    }

    /// How each shape that was tried is computed.
    pub(crate) fn product_choices(&self) -> Vec<Choice> {
        self.products().known().choices.clone()
    }

    /// Try the library on every shape of the layers that are there, with `rows` rows. What it is chosen for, it computes from now on.
    pub(crate) fn choose_products(self: &Arc<Cuda>, rows: usize) -> Result<()> {
        let Some(blas) = self.blas().filter(|_| rows >= ROWS_LEAST) else { return Ok(()) };
        let (began, layers) = (Instant::now(), self.products().known().layers.clone());
        for (layer, (weight, bias)) in layers {
            let Some(weight) = weight.upgrade() else { continue };
            let bias = bias.and_then(|[wide, narrow]| Some((wide.upgrade()?, narrow.upgrade()?))).unzip();
            let layer_there = PackedLinear { weight, bias: bias.0, narrow_bias: bias.1 };
            let trial = Trial::of(self, &layer_there, rows)?;
            for (kind, ending) in Kind::ALL {
                let choice = match began.elapsed() < PATIENCE {
                    true => trial.choice(blas, (kind, ending))?,
                    false => trial.not_tried(ending),
                };
                let mut known = self.products().known();
                match choice.is_library() {
                    true => known.by_library.insert((layer, kind)),
                    false => known.by_library.remove(&(layer, kind)),
                };
                known.choices.push(choice);
            }
        }
        // What was tried with is of no use to a chunk.
        self.trim()
    }
}

/// A layer, and what it is tried with.
struct Trial<'a> {
    layer: &'a PackedLinear,
    x: CudaTensor,
    h: CudaTensor,
    gate: CudaTensor,
}

impl Trial<'_> {
    fn of<'a>(cuda: &Arc<Cuda>, layer: &'a PackedLinear, rows: usize) -> Result<Trial<'a>> {
        let (inputs, outputs, _) = layer.layer();
        let gate: Vec<f32> = made_numbers(outputs, 3).collect();
        let (x, h) = (made(cuda, [rows, inputs], 1)?, made(cuda, [rows, outputs], 2)?);
        Ok(Trial { layer, x, h, gate: CudaTensor::from_f32(cuda, &gate, &[outputs])? })
    }

    fn not_tried(&self, ending: &'static str) -> Choice {
        let (inputs, outputs, _) = self.layer.layer();
        let library = Err(format!("was not tried: {} seconds were over", PATIENCE.as_secs()));
        Choice { rows: self.x.rows(), inputs, outputs, ending, ours: Duration::ZERO, library }
    }

    fn choice(&self, blas: &Blas, (kind, ending): (Kind, &'static str)) -> Result<Choice> {
        let (rows, (inputs, outputs, _)) = (self.x.rows(), self.layer.layer());
        let ours = || self.ours(kind, rows);
        let library = match self.agrees(blas, kind, ROWS_LEAST)? {
            Ok(()) => self.agrees(blas, kind, rows)?,
            disagrees => disagrees,
        };
        let library = match library {
            Ok(()) => Ok(self.time(|| self.theirs(blas, kind, rows).map(drop))?),
            Err(why) => Err(why),
        };
        Ok(Choice { rows, inputs, outputs, ending, ours: self.time(|| ours().map(drop))?, library })
    }

    /// The first `rows` rows of `all`. A view.
    fn first(all: &CudaTensor, rows: usize) -> Result<CudaTensor> {
        all.narrow(0, 0, rows)
    }

    fn run<T>(&self, kind: Kind, rows: usize, run: impl FnOnce(&CudaTensor, Ending<'_>) -> Result<T>) -> Result<T> {
        let (x, h) = (Trial::first(&self.x, rows)?, Trial::first(&self.h, rows)?);
        let ending = match kind {
            Kind::Plain => Ending::Plain,
            Kind::Gelu => Ending::Activate(Activation::GeluTanh),
            Kind::Added => Ending::Add { h: &h, gate: None },
            Kind::Gated => Ending::Add { h: &h, gate: Some(&self.gate) },
        };
        run(&x, ending)
    }

    fn ours(&self, kind: Kind, rows: usize) -> Result<CudaTensor> {
        self.run(kind, rows, |x, ending| self.layer.ours(x, ending))
    }

    fn theirs(&self, blas: &Blas, kind: Kind, rows: usize) -> Result<Option<CudaTensor>> {
        self.run(kind, rows, |x, ending| self.layer.multiply(blas, x, ending))
    }

    /// Does the library give what our kernel gives, within what two roundings may differ by? The error outside is the device's own.
    fn agrees(&self, blas: &Blas, kind: Kind, rows: usize) -> Result<std::result::Result<(), String>> {
        let found = match self.theirs(blas, kind, rows) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Err("has no kernel for it".to_owned())),
            Err(error) => return Ok(Err(format!("failed: {error}"))),
        };
        let expected = self.ours(kind, rows)?;
        // Before its gate the library's product is rounded once more.
        let allowed = if kind == Kind::Gated { 2.0 } else { 1.0 };
        let compared = COMPARED.min(rows);
        for first in [0, rows - compared] {
            let part = |all: &CudaTensor| -> Result<Tensor> { Ok(all.narrow(0, first, compared)?.into()) };
            let off = worst(&part(&found)?, &part(&expected)?, DType::BF16)?;
            if off > allowed {
                return Ok(Err(format!(
                    "computes it wrongly with {rows} rows: an error {off:.3} times what is allowed"
                )));
            }
        }
        Ok(Ok(()))
    }

    /// The fastest of a few runs.
    fn time(&self, run: impl Fn() -> Result<()>) -> Result<Duration> {
        let cuda = self.x.cuda();
        let mut fastest = Duration::MAX;
        for _ in 0..RUNS {
            let began = CudaMoment::now(cuda)?;
            run()?;
            fastest = fastest.min(began.until(&CudaMoment::now(cuda)?)?);
        }
        Ok(fastest)
    }
}

/// Reproducible numbers in [-1, 1), in bf16: some rows, over and over.
fn made(cuda: &Arc<Cuda>, [rows, width]: [usize; 2], seed: u32) -> Result<CudaTensor> {
    let few = COMPARED.min(rows);
    let numbers: Vec<f32> = made_numbers(few * width, seed).collect();
    let few = CudaTensor::from_f32(cuda, &numbers, &[few, width])?.cast(DType::BF16)?;
    let times = rows.div_ceil(few.rows());
    CudaTensor::cat(&vec![&few; times], 0)?.narrow(0, 0, rows)
}

#[cfg(test)]
mod tests;
