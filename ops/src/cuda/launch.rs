//! Every launch: one function a kernel, with its grid and its checks. Nothing else launches.
//!
//! What a kernel computes stands in its source (`ops/kernels`); the order of its parameters stands there and here, and the
//! sizes of both are compared at every launch. A kernel is launched for at least one number. Kernels take vectors of one
//! value a channel as f32, whatever the type of the rest.
//!
//! Over 400 lines: a short function for each of thirty kernels, all in the one place where launches are looked for.

use std::ffi::c_void;

use cudarc::driver::result;

use super::about::told;
use super::driver::Cuda;
use super::tensor::{CudaTensor, strides};
use crate::activation::Activation;
use crate::error::bail;
use crate::shortcut::Resize;
use crate::{DType, Result};

/// A launch that is being put together: parameters in the order of the kernel's.
struct Launch<'a> {
    cuda: &'a Cuda,
    kernel: String,
    /// All parameters, each from a multiple of 8 bytes on.
    words: Vec<u64>,
    /// Where each begins in `words`, and its bytes.
    parameters: Vec<(usize, usize)>,
}

/// Blocks along x, y, z; threads of a block; bytes of dynamic shared memory.
struct Shape {
    grid: [usize; 3],
    block: u32,
    shared: u32,
}

impl<'a> Launch<'a> {
    /// A kernel with a version for each type of number: `OP_bf16`, `OP_f32`.
    fn of(x: &'a CudaTensor, operation: &str) -> Launch<'a> {
        let kind = match x.dtype() {
            DType::F32 => "f32",
            _ => "bf16",
        };
        Launch::named(x.cuda(), format!("{operation}_{kind}"))
    }

    fn named(cuda: &'a Cuda, kernel: impl Into<String>) -> Launch<'a> {
        Launch { cuda, kernel: kernel.into(), words: Vec::new(), parameters: Vec::new() }
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.parameters.push((self.words.len(), bytes.len()));
        for eight in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..eight.len()].copy_from_slice(eight);
            self.words.push(u64::from_ne_bytes(word));
        }
        self
    }

    fn address(self, address: u64) -> Self {
        self.bytes(&address.to_ne_bytes())
    }

    fn tensor(self, tensor: &CudaTensor) -> Self {
        self.address(tensor.address_of(0))
    }

    /// A null address if there is none.
    fn maybe(self, tensor: Option<&CudaTensor>) -> Self {
        self.address(tensor.map_or(0, |tensor| tensor.address_of(0)))
    }

    fn int(self, number: usize) -> Self {
        let number = i32::try_from(number).expect("a tensor has fewer numbers than an i32 counts");
        self.signed(number)
    }

    fn signed(self, number: i32) -> Self {
        self.bytes(&number.to_ne_bytes())
    }

    fn float(self, number: f32) -> Self {
        self.bytes(&number.to_ne_bytes())
    }

    fn double(self, number: f64) -> Self {
        self.bytes(&number.to_ne_bytes())
    }

    fn launch(mut self, shape: Shape) -> Result<()> {
        let function = self.cuda.kernels().get(&self.kernel, shape.shared)?;
        let sizes: Vec<usize> = self.parameters.iter().map(|&(_, bytes)| bytes).collect();
        function.check(&self.kernel, &sizes)?;
        let [x, y, z] = shape.grid;
        if x == 0 || y == 0 || z == 0 || x > 0x7fff_ffff || y > 0xffff || z > 0xffff {
            bail!("{} cannot be launched over {:?} blocks: at most 2³¹ − 1, 65535 and 65535", self.kernel, shape.grid);
        }
        if self.cuda.is_rehearsing() {
            return Ok(());
        }
        let words = self.words.as_mut_ptr();
        // SAFETY: every parameter begins inside `words`.
        let parameter = |&(first, _): &(usize, usize)| unsafe { words.add(first) }.cast::<c_void>();
        let mut parameters: Vec<*mut c_void> = self.parameters.iter().map(parameter).collect();
        self.cuda.enter()?;
        // SAFETY: the parameters are as many as the kernel takes, and of its sizes, as checked; the driver copies them before
        // it returns. Addresses are those of tensors whose sizes the functions below have checked, and their memory is not
        // given to work that is queued on another stream.
        unsafe {
            result::launch_kernel(
                function.handle,
                (x as u32, y as u32, z as u32),
                (shape.block, 1, 1),
                shape.shared,
                self.cuda.work(),
                &mut parameters,
            )
        }
        .map_err(told(format_args!("launching {} over {:?} blocks", self.kernel, shape.grid)))
    }
}

/// A thread takes four numbers.
fn by_number(count: usize) -> Shape {
    Shape { grid: [count.div_ceil(1024), 1, 1], block: 256, shared: 0 }
}

fn by_row(rows: usize) -> Shape {
    Shape { grid: [rows, 1, 1], block: 128, shared: 0 }
}

fn of_one_shape(operation: &str, tensors: &[&CudaTensor]) -> Result<()> {
    let first = tensors[0];
    match tensors.iter().find(|one| one.shape() != first.shape() || one.dtype() != first.dtype()) {
        Some(other) => bail!(
            "{operation}: {} {:?} and {} {:?} are not of one shape and type",
            first.dtype(),
            first.shape(),
            other.dtype(),
            other.shape()
        ),
        None => Ok(()),
    }
}

/// Vectors of `count` values in f32, as kernels take them.
fn vectors(operation: &str, count: usize, vectors: &[&CudaTensor]) -> Result<()> {
    match vectors.iter().find(|one| one.elements() != count || one.dtype() != DType::F32) {
        Some(other) => {
            bail!("{operation}: {count} values in F32 are wanted, not {} {:?}", other.dtype(), other.shape())
        }
        None => Ok(()),
    }
}

/// `LN(x)·(gain_offset + gain) + shift`, row by row. `x`: `(…, D)`, `gain`, `shift`: `(D)` in f32.
pub(super) fn layer_norm(
    x: &CudaTensor,
    gain: &CudaTensor,
    shift: &CudaTensor,
    gain_offset: f32,
    eps: f32,
) -> Result<CudaTensor> {
    vectors("layer norm", x.width(), &[gain, shift])?;
    let out = x.like(x.shape())?;
    if x.elements() > 0 {
        let launch = Launch::of(x, "layer_norm").tensor(x).tensor(gain).tensor(shift).tensor(&out);
        launch.int(x.rows()).int(x.width()).float(gain_offset).float(eps).launch(by_row(x.rows()))?;
    }
    Ok(out)
}

/// `x / √(mean(x²) + eps)·gamma`, row by row. `x`: `(…, D)`, `gamma`: `(D)` in f32.
pub(super) fn rms_norm(x: &CudaTensor, gamma: &CudaTensor, eps: f32) -> Result<CudaTensor> {
    vectors("RMS norm", x.width(), &[gamma])?;
    let out = x.like(x.shape())?;
    if x.elements() > 0 {
        let launch = Launch::of(x, "rms_norm").tensor(x).tensor(gamma).tensor(&out);
        launch.int(x.rows()).int(x.width()).float(eps).launch(by_row(x.rows()))?;
    }
    Ok(out)
}

/// RMS norm where `gamma` is given, then adjacent pairs of each head turned. `x`: `(N, D)`; `cos`, `sin`: `(N, head/2)` in f32.
pub(super) fn rms_norm_rope(
    x: &CudaTensor,
    gamma: Option<(&CudaTensor, f32)>,
    cos: &CudaTensor,
    sin: &CudaTensor,
) -> Result<CudaTensor> {
    let head = 2 * cos.width();
    if !x.width().is_multiple_of(head) || cos.rows() != x.rows() {
        bail!("positions {:?} do not turn the heads of {:?}", cos.shape(), x.shape());
    }
    vectors("rotary positions", x.rows() * head / 2, &[cos, sin])?;
    if let Some((gamma, _)) = gamma {
        vectors("RMS norm", x.width(), &[gamma])?;
    }
    let out = x.like(x.shape())?;
    if x.elements() > 0 {
        let launch =
            Launch::of(x, "rms_norm_rope").tensor(x).maybe(gamma.map(|(gamma, _)| gamma)).tensor(cos).tensor(sin);
        let launch = launch.tensor(&out).int(x.rows()).int(x.width()).int(head);
        launch.float(gamma.map_or(0.0, |(_, eps)| eps)).launch(by_row(x.rows()))?;
    }
    Ok(out)
}

/// RMS norm of each head where `gamma` is given, then channel `i` of a head turned with channel `i + head/2`. `x`: `(N,
/// heads·head)`; `gamma`: `(head)`, `cos`, `sin`: `(N, head/2)`, all in f32.
pub(super) fn head_norm_rope(
    x: &CudaTensor,
    gamma: Option<(&CudaTensor, f32)>,
    cos: &CudaTensor,
    sin: &CudaTensor,
) -> Result<CudaTensor> {
    let head = 2 * cos.width();
    if !x.width().is_multiple_of(head) || cos.rows() != x.rows() {
        bail!("positions {:?} do not turn the heads of {:?}", cos.shape(), x.shape());
    }
    vectors("rotary positions", x.rows() * head / 2, &[cos, sin])?;
    if let Some((gamma, _)) = gamma {
        vectors("RMS norm of heads", head, &[gamma])?;
    }
    let (out, heads) = (x.like(x.shape())?, x.width() / head);
    if x.elements() > 0 {
        let launch =
            Launch::of(x, "head_norm_rope").tensor(x).maybe(gamma.map(|(gamma, _)| gamma)).tensor(cos).tensor(sin);
        let shape = Shape { grid: [(x.rows() * heads).div_ceil(4), 1, 1], block: 128, shared: 0 };
        let launch = launch.tensor(&out).int(x.rows()).int(heads).int(head);
        launch.float(gamma.map_or(0.0, |(_, eps)| eps)).launch(shape)?;
    }
    Ok(out)
}

/// What [`binary`] does with two numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Binary {
    /// `a + b`
    Add = 0,
    /// `a − b`
    Sub = 1,
    /// `a·b`
    Mul = 2,
}

/// Number by number; both of one shape and type.
pub(super) fn binary(a: &CudaTensor, b: &CudaTensor, operation: Binary) -> Result<CudaTensor> {
    of_one_shape("arithmetic", &[a, b])?;
    let out = a.like(a.shape())?;
    let count = a.elements();
    if count > 0 {
        let launch = Launch::of(a, "binary").tensor(a).tensor(b).tensor(&out);
        launch.int(count).int(count).signed(operation as i32).launch(by_number(count))?;
    }
    Ok(out)
}

/// `x·factor + offset`
pub(crate) fn affine(x: &CudaTensor, factor: f32, offset: f32) -> Result<CudaTensor> {
    let out = x.like(x.shape())?;
    let count = x.elements();
    if count > 0 {
        let launch = Launch::of(x, "affine").tensor(x).tensor(&out).int(count).float(factor).float(offset);
        launch.launch(by_number(count))?;
    }
    Ok(out)
}

/// `h·gain + shift`, all of one shape.
pub(super) fn scale_shift(h: &CudaTensor, gain: &CudaTensor, shift: &CudaTensor) -> Result<CudaTensor> {
    of_one_shape("scale and shift", &[h, gain, shift])?;
    let out = h.like(h.shape())?;
    let count = h.elements();
    if count > 0 {
        let launch = Launch::of(h, "scale_shift").tensor(h).tensor(gain).tensor(shift).tensor(&out);
        launch.int(count).launch(by_number(count))?;
    }
    Ok(out)
}

/// `h + y·gate`. `h`, `y`: `(N, D)`, `gate`: `(D)` in f32.
pub(super) fn add_gated(h: &CudaTensor, y: &CudaTensor, gate: &CudaTensor) -> Result<CudaTensor> {
    of_one_shape("a gated sum", &[h, y])?;
    vectors("a gated sum", h.width(), &[gate])?;
    let out = h.like(h.shape())?;
    if h.elements() > 0 {
        let launch = Launch::of(h, "add_gated").tensor(h).tensor(y).tensor(gate).tensor(&out);
        launch.int(h.rows()).int(h.width()).launch(by_number(h.elements()))?;
    }
    Ok(out)
}

/// `h + row` from row `first` on. `row`: `(D)` in f32.
pub(super) fn add_to_rows(h: &CudaTensor, first: usize, row: &CudaTensor) -> Result<CudaTensor> {
    vectors("a row that is added", h.width(), &[row])?;
    let out = h.like(h.shape())?;
    if h.elements() > 0 {
        let launch = Launch::of(h, "add_to_rows").tensor(h).tensor(row).tensor(&out);
        launch.int(h.rows()).int(h.width()).int(first).launch(by_number(h.elements()))?;
    }
    Ok(out)
}

/// `activation(x)`
pub(crate) fn activate(x: &CudaTensor, activation: Activation) -> Result<CudaTensor> {
    let out = x.like(x.shape())?;
    let count = x.elements();
    if count > 0 {
        let launch = Launch::of(x, "activation").tensor(x).tensor(&out).int(count).signed(activation as i32);
        launch.launch(by_number(count))?;
    }
    Ok(out)
}

/// `activation(gate)·up`, both of one shape.
pub(super) fn activate_gate(gate: &CudaTensor, up: &CudaTensor, activation: Activation) -> Result<CudaTensor> {
    of_one_shape("a gated activation", &[gate, up])?;
    let out = gate.like(gate.shape())?;
    let count = gate.elements();
    if count > 0 {
        let launch = Launch::of(gate, "gated_activation").tensor(gate).tensor(up).tensor(&out);
        launch.int(count).signed(activation as i32).launch(by_number(count))?;
    }
    Ok(out)
}

/// The same numbers as the other of the two types.
pub(super) fn cast(x: &CudaTensor, dtype: DType) -> Result<CudaTensor> {
    let kernel = match (x.dtype(), dtype) {
        (DType::F32, DType::BF16) => "cast_f32_bf16",
        (DType::BF16, DType::F32) => "cast_bf16_f32",
        (from, to) => bail!("no kernel makes {to} of {from}"),
    };
    let out = CudaTensor::unwritten(x.cuda(), x.shape(), dtype)?;
    let count = x.elements();
    if count > 0 {
        Launch::named(x.cuda(), kernel).tensor(x).tensor(&out).int(count).launch(by_number(count))?;
    }
    Ok(out)
}

/// Sides that [`copy_strided`] takes.
const SIDES: usize = 6;

/// Numbers of `shape`, read from place `from_first` of `x` on with strides `from`, written from place `to_first` of `out` on
/// with strides `to`.
pub(super) fn copy_strided(
    x: &CudaTensor,
    from_first: usize,
    from: &[usize],
    out: &CudaTensor,
    to_first: usize,
    to: &[usize],
    shape: &[usize],
) -> Result<()> {
    if shape.len() > SIDES {
        bail!("a tensor of {} sides is not rearranged on a device: at most {SIDES}", shape.len());
    }
    let count: usize = shape.iter().product();
    if count == 0 {
        return Ok(());
    }
    let last = |first: usize, strides: &[usize]| {
        first + shape.iter().zip(strides).map(|(side, stride)| (side - 1) * stride).sum::<usize>()
    };
    if last(from_first, from) >= x.elements() || last(to_first, to) >= out.elements() || x.dtype() != out.dtype() {
        bail!("{shape:?} numbers of {:?} do not fit into {:?}", x.shape(), out.shape());
    }
    let dense = strides(shape);
    let size = x.dtype().bytes();
    if from == dense && to == dense {
        return x.cuda().copy(x.place().after(from_first * size), out.place().after(to_first * size), count * size);
    }
    let mut parameter = Vec::new();
    for (numbers, missing) in [(shape, 1), (from, 0), (to, 0)] {
        let leading = std::iter::repeat_n(missing, SIDES - shape.len());
        for number in leading.chain(numbers.iter().copied()) {
            parameter.extend(i32::try_from(number).expect("a stride lies inside a tensor").to_ne_bytes());
        }
    }
    let launch = Launch::of(x, "copy_strided").address(x.address_of(from_first)).address(out.address_of(to_first));
    launch.bytes(&parameter).launch(by_number(count))
}

/// `x + step·flow`, in f64; both f32 or both bf16.
pub(super) fn flow_step(x: &CudaTensor, flow: &CudaTensor, step: f64) -> Result<CudaTensor> {
    of_one_shape("a step along a flow", &[x, flow])?;
    let out = x.like(x.shape())?;
    let count = x.elements();
    if count > 0 {
        let launch = Launch::of(x, "flow_step").tensor(x).tensor(flow).tensor(&out).int(count).double(step);
        launch.launch(by_number(count))?;
    }
    Ok(out)
}

/// `(1 − sigma)·clean + sigma·noise`
pub(super) fn renoise(clean: &CudaTensor, noise: &CudaTensor, sigma: f32) -> Result<CudaTensor> {
    of_one_shape("mixing with noise", &[clean, noise])?;
    let out = clean.like(clean.shape())?;
    let count = clean.elements();
    if count > 0 {
        let launch = Launch::of(clean, "renoise").tensor(clean).tensor(noise).tensor(&out).int(count).float(sigma);
        launch.launch(by_number(count))?;
    }
    Ok(out)
}

/// Terms that [`weighted_sum`] takes.
const TERMS: usize = 6;

/// `Σ weight·term`, in f64; all terms of one shape and type.
pub(super) fn weighted_sum(terms: &[(f64, CudaTensor)]) -> Result<CudaTensor> {
    let tensors: Vec<&CudaTensor> = terms.iter().map(|(_, term)| term).collect();
    of_one_shape("a weighted sum", &tensors)?;
    if terms.len() > TERMS {
        bail!("a weighted sum of {} terms has no CUDA form: at most {TERMS}", terms.len());
    }
    let (first, count) = (tensors[0], tensors[0].elements());
    let out = first.like(first.shape())?;
    if count > 0 {
        let mut words = [0u64; 2 * TERMS + 1];
        for (index, (weight, term)) in terms.iter().enumerate() {
            words[index] = term.address_of(0);
            words[TERMS + index] = weight.to_bits();
        }
        let [low, high] = [terms.len() as u32, 0];
        words[2 * TERMS] = u64::from(low) | u64::from(high) << 32;
        let parameter: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Launch::of(first, "weighted_sum").bytes(&parameter).tensor(&out).int(count).launch(by_number(count))?;
    }
    Ok(out)
}

/// `(x − mean)/deviation`, or with `restore` `x·deviation + mean`; one of each a place of the first side, in f32.
pub(super) fn channel_affine(
    x: &CudaTensor,
    mean: &CudaTensor,
    deviation: &CudaTensor,
    restore: bool,
) -> Result<CudaTensor> {
    let channels = x.shape()[0];
    vectors("standardising channels", channels, &[mean, deviation])?;
    let out = x.like(x.shape())?;
    let count = x.elements();
    if count > 0 {
        let launch = Launch::of(x, "channel_affine").tensor(x).tensor(mean).tensor(deviation).tensor(&out);
        launch.int(channels).int(count / channels).int(usize::from(restore)).launch(by_number(count))?;
    }
    Ok(out)
}

/// What becomes of a dense layer's sums, bias included, before they are rounded.
#[derive(Clone, Copy)]
pub(crate) enum Ending<'a> {
    Plain,
    Activate(Activation),
    /// `h + sums·gate`. `h`: as the result; `gate`: `(out)` in f32, 1 if there is none.
    Add {
        h: &'a CudaTensor,
        gate: Option<&'a CudaTensor>,
    },
}

/// `x·Wᵀ + bias`, then `ending`. `x`: `(N, in)`, `weight`: `(out, in)`, both of one type; `bias`: `(out)` in f32.
pub(super) fn linear(
    x: &CudaTensor,
    weight: &CudaTensor,
    bias: Option<&CudaTensor>,
    ending: Ending<'_>,
) -> Result<CudaTensor> {
    let (rows, inputs, outputs) = (x.rows(), x.width(), weight.rows());
    if weight.width() != inputs || weight.dtype() != x.dtype() {
        bail!("{} {:?} is no weight for {} {:?}", weight.dtype(), weight.shape(), x.dtype(), x.shape());
    }
    let out = x.like(&[rows, outputs])?;
    let (h, gate, activation) = match ending {
        Ending::Plain => (None, None, -1),
        Ending::Activate(activation) => (None, None, activation as i32),
        Ending::Add { h, gate } => (Some(h), gate, -1),
    };
    for vector in [bias, gate].into_iter().flatten() {
        vectors("a dense layer's bias, or its gate", outputs, &[vector])?;
    }
    if let Some(h) = h {
        of_one_shape("what a dense layer is added to", &[&out, h])?;
    }
    if out.elements() > 0 {
        let launch = Launch::of(x, "linear").tensor(x).tensor(weight).maybe(bias).maybe(h).maybe(gate).tensor(&out);
        let launch = launch.int(rows).int(inputs).int(outputs).int(inputs).int(inputs).int(outputs).signed(activation);
        let (tile, shared) = match x.dtype() {
            DType::F32 => (64, 0),
            _ => (128, 49152),
        };
        launch.launch(Shape { grid: [rows.div_ceil(tile), outputs.div_ceil(tile), 1], block: 256, shared })?;
    }
    Ok(out)
}

/// Rows of keys and values that lie one after the other: the addresses of the first ones, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) rows: usize,
}

/// Runs that [`attention`] takes.
pub(super) const RUNS: usize = 4;

/// Kernels for heads of one width: the width, the name, bytes of shared memory. The one for any width does the same, slower.
pub(super) const FAST_ATTENTION: [(usize, &str, u32); 3] =
    [(128, "attention_128_bf16", 69632), (64, "attention_64_bf16", 36864), (48, "attention_48_bf16", 28672)];

/// What [`attention`] looks at, and how.
pub(super) struct Attention<'a> {
    /// The address of the first query.
    pub(super) q: u64,
    /// Queries.
    pub(super) rows: usize,
    /// Numbers from a query to the next.
    pub(super) q_step: usize,
    /// At most [`RUNS`].
    pub(super) runs: &'a [Run],
    /// Numbers from a key, or a value, to the next.
    pub(super) kv_step: usize,
    pub(super) heads: usize,
    pub(super) key_heads: usize,
    /// Channels of a head.
    pub(super) head: usize,
    /// `(heads, 2·rows − 1)` in f32: an addend for every distance.
    pub(super) bias: Option<&'a CudaTensor>,
    pub(super) scale: f32,
    pub(super) causal: bool,
}

/// `softmax(q·kᵀ·scale + bias)·v`, into `out` `(rows, heads·head)`, whose type is that of queries, keys and values.
pub(super) fn attention(given: &Attention<'_>, out: &CudaTensor) -> Result<()> {
    let Attention { rows, q_step, runs, kv_step, heads, key_heads, head, bias, scale, causal, .. } = *given;
    if runs.len() > RUNS {
        bail!("attention looks at {} separate pieces of memory on a device: at most {RUNS}", runs.len());
    }
    let keys: usize = runs.iter().map(|run| run.rows).sum();
    if keys == 0 || ((causal || bias.is_some()) && keys != rows) {
        bail!("{rows} queries cannot look at {keys} keys like this");
    }
    if out.shape() != [rows, heads * head] {
        bail!("{rows} rows of {heads} heads of {head} do not fit into {:?}", out.shape());
    }
    if let Some(bias) = bias {
        vectors("a bias of distances", heads * (2 * rows - 1), &[bias])?;
    }
    let aligned = |address: u64| address.is_multiple_of(16);
    let fast = out.dtype() == DType::BF16
        && aligned(given.q)
        && runs.iter().all(|run| aligned(run.keys) && aligned(run.values))
        && q_step.is_multiple_of(8)
        && kv_step.is_multiple_of(8);
    let special = FAST_ATTENTION.iter().find(|(known, kernel, _)| *known == head && fast && out.cuda().trusts(kernel));
    let (launch, shared) = match special {
        Some((_, kernel, shared)) => (Launch::named(out.cuda(), *kernel), Some(*shared)),
        None => (Launch::of(out, "attention_any"), None),
    };
    let mut parameter = Vec::new();
    for run in 0..RUNS {
        let run = runs.get(run).copied().unwrap_or(Run { keys: 0, values: 0, rows: 0 });
        let rows = u32::try_from(run.rows).expect("a tensor has fewer rows than a u32 counts");
        for word in [run.keys, run.values, u64::from(rows)] {
            parameter.extend(word.to_le_bytes());
        }
    }
    let launch = launch.address(given.q).bytes(&parameter).maybe(bias).tensor(out);
    let launch = launch.int(rows).int(keys).int(heads).int(key_heads);
    let launch = if shared.is_none() { launch.int(head) } else { launch };
    let launch = launch.int(q_step).int(kv_step).int(heads * head).float(scale).int(usize::from(causal));
    let tile = if shared.is_some() { 128 } else { 16 };
    launch.launch(Shape { grid: [rows.div_ceil(tile), heads, 1], block: 256, shared: shared.unwrap_or(0) })
}

/// What a convolution looks like, see [`conv`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConvShape {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Of the kernel in the packed weights.
    pub(super) side: usize,
    pub(super) stride: usize,
    pub(super) scale: usize,
    /// The input pixel of the first tap of the first output pixel.
    pub(super) origin: i32,
    /// Frames of a full window.
    pub(super) window: usize,
}

/// One output frame `(H, W, out)` of a convolution over `frames`, `(h, w, in)` each, oldest first. `weight`: `(scale², out, window,
/// side, side, in)`; `add`: as the result. `grid`: rows and columns of steps.
pub(super) fn conv(
    shape: ConvShape,
    frames: &[&CudaTensor],
    weight: &CudaTensor,
    bias: &CudaTensor,
    add: Option<&CudaTensor>,
    grid: (usize, usize),
) -> Result<CudaTensor> {
    let ConvShape { inputs, outputs, side, stride, scale, origin, window } = shape;
    of_one_shape("the frames of a window", frames)?;
    let x = frames[0];
    let &[height, width, channels] = x.shape() else { bail!("a frame has 3 sides, not {:?}", x.shape()) };
    let weights = scale * scale * outputs * window * side * side * inputs;
    if channels != inputs || weight.elements() != weights || weight.dtype() != x.dtype() || frames.len() > window {
        bail!(
            "{} frames {:?} do not fit a convolution of {inputs} channels and {window} frames",
            frames.len(),
            x.shape()
        );
    }
    vectors("a convolution's bias", outputs, &[bias])?;
    let out = x.like(&[grid.0 * scale, grid.1 * scale, outputs])?;
    if let Some(add) = add {
        of_one_shape("what is added to a convolution", &[&out, add])?;
    }
    if out.elements() == 0 {
        return Ok(out);
    }
    let mut launch = Launch::of(x, "conv");
    for frame in 0..3 {
        launch = launch.maybe(frames.get(frame).copied());
    }
    let launch =
        launch.tensor(weight).tensor(bias).maybe(add).tensor(&out).int(height).int(width).int(inputs).int(outputs);
    let launch = launch.int(grid.0).int(grid.1).int(side).int(stride).int(scale).signed(origin);
    let (tile, shared) = match x.dtype() {
        DType::F32 => (64, 0),
        _ => (128, 49152),
    };
    let blocks = [(grid.0 * grid.1).div_ceil(tile), outputs.div_ceil(tile), scale * scale];
    launch.int(frames.len()).int(window).launch(Shape { grid: blocks, block: 256, shared })?;
    Ok(out)
}

/// `x / max(‖x‖, 1e-12)·gain`, pixel by pixel; with `silu`, then SiLU. `x`: `(…, C)`, `gain`: `(C)` in f32.
pub(super) fn channel_norm(x: &CudaTensor, gain: &CudaTensor, silu: bool) -> Result<CudaTensor> {
    vectors("a norm over channels", x.width(), &[gain])?;
    let out = x.like(x.shape())?;
    let pixels = x.rows();
    if x.elements() > 0 {
        let launch = Launch::of(x, "channel_norm").tensor(x).tensor(gain).tensor(&out);
        let shape = Shape { grid: [pixels.div_ceil(8), 1, 1], block: 256, shared: 0 };
        launch.int(pixels).int(x.width()).int(usize::from(silu)).launch(shape)?;
    }
    Ok(out)
}

/// `y` plus one block of a larger video averaged down. `y`: `(h, w, C)`; `older` and `newer`: `(h·side, w·side, Cx)`, the frames of
/// the block, of which a missing one counts as zero.
pub(super) fn add_averaged(
    older: Option<&CudaTensor>,
    newer: &CudaTensor,
    y: &CudaTensor,
    resize: Resize,
) -> Result<CudaTensor> {
    let Resize { time, side } = resize;
    let (&[height, width, channels], &[tall, wide, large]) = (sides(y)?, sides(newer)?);
    let frames: Vec<&CudaTensor> = [Some(newer), older].into_iter().flatten().collect();
    of_one_shape("the frames of a block", &frames)?;
    if time > 2 || (tall, wide) != (height * side, width * side) || !(large * resize.block()).is_multiple_of(channels) {
        bail!(
            "{:?} is not averaged down to {:?} in blocks of {time} frames and {side} pixels",
            newer.shape(),
            y.shape()
        );
    }
    shortcut_dtype(y, newer)?;
    let (out, count) = (y.like(y.shape())?, y.elements());
    if count > 0 {
        let launch = Launch::of(y, "add_averaged").maybe(older).tensor(newer).tensor(y).tensor(&out);
        let launch = launch.int(height).int(width).int(channels).int(large).int(time).int(side);
        launch.launch(Shape { grid: [count.div_ceil(256), 1, 1], block: 256, shared: 0 })?;
    }
    Ok(out)
}

/// `y` plus one frame of a smaller video made larger by repeating: `y` is frame `in_block` of its block. `x`: `(h, w, Cx)`; `y`:
/// `(h·side, w·side, C)`.
pub(super) fn add_repeated(x: &CudaTensor, y: &CudaTensor, resize: Resize, in_block: usize) -> Result<CudaTensor> {
    let Resize { time, side } = resize;
    let (&[low, narrow, small], &[height, width, channels]) = (sides(x)?, sides(y)?);
    let fits = (low * side, narrow * side) == (height, width) && (channels * resize.block()).is_multiple_of(small);
    if !fits || in_block >= time {
        bail!("{:?} is not repeated to {:?} in blocks of {time} frames and {side} pixels", x.shape(), y.shape());
    }
    shortcut_dtype(y, x)?;
    let (out, count) = (y.like(y.shape())?, y.elements());
    if count > 0 {
        let launch = Launch::of(y, "add_repeated").tensor(x).tensor(y).tensor(&out);
        let launch = launch.int(height).int(width).int(channels).int(small).int(time).int(side).int(in_block);
        launch.launch(Shape { grid: [count.div_ceil(256), 1, 1], block: 256, shared: 0 })?;
    }
    Ok(out)
}

fn sides(frame: &CudaTensor) -> Result<&[usize; 3]> {
    match frame.shape().try_into() {
        Ok(sides) => Ok(sides),
        Err(_) => bail!("a frame has 3 sides, not {:?}", frame.shape()),
    }
}

fn shortcut_dtype(y: &CudaTensor, x: &CudaTensor) -> Result<()> {
    match y.dtype() == x.dtype() {
        true => Ok(()),
        false => bail!("a shortcut of {} cannot be added to {}", x.dtype(), y.dtype()),
    }
}

/// Numbers in [-1, 1] → bytes, clamped, then truncated.
pub(super) fn to_rgb8(x: &CudaTensor) -> Result<CudaTensor> {
    let out = CudaTensor::unwritten(x.cuda(), x.shape(), DType::U8)?;
    let count = x.elements();
    if count > 0 {
        Launch::of(x, "to_rgb8").tensor(x).tensor(&out).int(count).launch(by_number(count))?;
    }
    Ok(out)
}

/// Bytes → numbers of type `dtype` in [-1, 1], of `shape`.
pub(super) fn from_rgb8(rgb: &CudaTensor, shape: &[usize], dtype: DType) -> Result<CudaTensor> {
    let out = CudaTensor::unwritten(rgb.cuda(), shape, dtype)?;
    let count = out.elements();
    if rgb.elements() != count || rgb.dtype() != DType::U8 {
        bail!("{} bytes are not {shape:?}", rgb.elements());
    }
    if count > 0 {
        Launch::of(&out, "from_rgb8").tensor(rgb).tensor(&out).int(count).launch(by_number(count))?;
    }
    Ok(out)
}
