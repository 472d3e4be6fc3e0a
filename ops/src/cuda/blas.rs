//! cuBLASLt, NVIDIA's library of products, where it is found. Nothing depends on it: our kernels compute the same.
//!
//! It is opened as the driver is, at run time. A library that is of a version we do not know, or that lacks a function, is refused
//! with its file's name. Which products it is used for is decided by trial (`products.rs`).
//!
//! It counts columns first. A row-major `(rows, width)` is its `width × rows`, so it is told of `W·xᵀ`, whose columns are our rows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys::CUstream;
use libloading::Library;

use super::driver::Cuda;
use super::library;
use super::tensor::CudaTensor;
use crate::error::bail;
use crate::{DType, Result};

/// What the library is called, the newest first.
const NAMES: [&str; 2] = ["libcublasLt.so.13", "libcublasLt.so.12"];

/// Where toolkits put it, beside the loader's own path.
const FOLDERS: [&str; 3] = ["/usr/local/cuda/lib64", "/usr/local/cuda-13/lib64", "/usr/local/cuda-12/lib64"];

/// Major versions whose interface is the one written down here.
const KNOWN: std::ops::RangeInclusive<usize> = 12..=13;

/// Memory that a product may work with: what NVIDIA advises for Hopper, and more than older GPUs need.
const WORKSPACE_BYTES: usize = 32 << 20;

/// Addresses that the library may take for granted, in bytes.
const ALIGNMENT: u32 = 16;

/// Plans that are kept: a few for each size that is drawn. All are made anew when there are more.
const PLANS_MAX: usize = 256;

type Handle = *mut c_void;
/// 0 is success.
type Status = c_int;

/// `cublasLtMatmulHeuristicResult_t` of cublasLt.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct Heuristic {
    algorithm: [u64; 8],
    workspace: usize,
    state: Status,
    waves: f32,
    reserved: [c_int; 4],
}

/// Values of enumerations in cublasLt.h, cublas_api.h and library_types.h.
mod value {
    use std::ffi::c_int;

    pub(super) const F32: c_int = 0;
    pub(super) const BF16: c_int = 14;
    pub(super) const COMPUTE_F32: c_int = 68;
    pub(super) const TRANSPOSED: c_int = 1;
    pub(super) const DESC_TRANSPOSE_A: c_int = 3;
    pub(super) const DESC_EPILOGUE: c_int = 7;
    pub(super) const DESC_BIAS: c_int = 8;
    pub(super) const PREFERENCE_WORKSPACE: c_int = 1;
    pub(super) const PREFERENCE_ALIGNMENT: [c_int; 4] = [5, 6, 7, 8];
    pub(super) const EPILOGUE_NONE: c_int = 1;
    pub(super) const EPILOGUE_BIAS: c_int = 4;
    pub(super) const EPILOGUE_GELU: c_int = 32;
}

/// The functions that are called, by their names without `cublasLt`.
macro_rules! functions {
    ($($field:ident, $name:literal, $type:ty;)*) => {
        struct Functions { $($field: $type,)* }

        impl Functions {
            /// An error that names the first one which is missing.
            fn of(library: &Library) -> std::result::Result<Functions, String> {
                // SAFETY: in versions that are `KNOWN`, the functions of these names have these types.
                Ok(Functions { $($field: *unsafe { library.get::<$type>(&$name[..]) }
                    .map_err(|_| format!("it has no {}", String::from_utf8_lossy(&$name[..$name.len() - 1])))?,)* })
            }
        }
    };
}
functions! {
    version, b"cublasLtGetVersion\0", unsafe extern "C" fn() -> usize;
    create, b"cublasLtCreate\0", unsafe extern "C" fn(*mut Handle) -> Status;
    destroy, b"cublasLtDestroy\0", unsafe extern "C" fn(Handle) -> Status;
    new_layout, b"cublasLtMatrixLayoutCreate\0", unsafe extern "C" fn(*mut Handle, c_int, u64, u64, i64) -> Status;
    drop_layout, b"cublasLtMatrixLayoutDestroy\0", unsafe extern "C" fn(Handle) -> Status;
    new_desc, b"cublasLtMatmulDescCreate\0", unsafe extern "C" fn(*mut Handle, c_int, c_int) -> Status;
    set_desc, b"cublasLtMatmulDescSetAttribute\0", unsafe extern "C" fn(Handle, c_int, *const c_void, usize) -> Status;
    drop_desc, b"cublasLtMatmulDescDestroy\0", unsafe extern "C" fn(Handle) -> Status;
    new_preference, b"cublasLtMatmulPreferenceCreate\0", unsafe extern "C" fn(*mut Handle) -> Status;
    set_preference, b"cublasLtMatmulPreferenceSetAttribute\0",
        unsafe extern "C" fn(Handle, c_int, *const c_void, usize) -> Status;
    drop_preference, b"cublasLtMatmulPreferenceDestroy\0", unsafe extern "C" fn(Handle) -> Status;
    heuristic, b"cublasLtMatmulAlgoGetHeuristic\0",
        unsafe extern "C" fn(Handle, Handle, Handle, Handle, Handle, Handle, Handle, c_int, *mut Heuristic, *mut c_int)
            -> Status;
    multiply, b"cublasLtMatmul\0",
        unsafe extern "C" fn(Handle, Handle, *const f32, *const c_void, Handle, *const c_void, Handle, *const f32,
            *const c_void, Handle, *mut c_void, Handle, *const [u64; 8], *mut c_void, usize, CUstream) -> Status;
}

/// The library, opened for one device.
pub(super) struct Blas {
    functions: Functions,
    handle: Handle,
    version: [usize; 3],
    path: PathBuf,
    plans: Mutex<HashMap<Wanted, Option<Plan>>>,
    /// Closed last.
    _library: Library,
}

// SAFETY: the library's handle may be used by any thread; descriptions of products are changed behind the mutex alone.
unsafe impl Send for Blas {}
// SAFETY: as above.
unsafe impl Sync for Blas {}

/// What a product is to be like. Everything that the library chooses its kernel by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) rows: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) bias: bool,
    pub(super) gelu: bool,
    /// Something is added to it.
    pub(super) adds: bool,
}

/// How the library computes a [`Wanted`].
struct Plan {
    desc: Handle,
    /// Of the weight, of what is given, and of the result.
    layouts: [Handle; 3],
    algorithm: [u64; 8],
    workspace: usize,
}

/// What a product is computed from.
pub(super) struct Given<'a> {
    pub(super) x: &'a CudaTensor,
    pub(super) weight: &'a CudaTensor,
    /// In bf16.
    pub(super) bias: Option<&'a CudaTensor>,
    /// Is added.
    pub(super) h: Option<&'a CudaTensor>,
}

impl Blas {
    /// The library, looked for in `folder` alone if that is given. `Ok(None)`: there is none. An error in words names one that is
    /// there and cannot be used. Whoever calls has entered the context. `driver`: the newest CUDA that it knows.
    pub(super) fn find(folder: Option<&Path>, driver: (usize, usize)) -> std::result::Result<Option<Blas>, String> {
        let mut refused = None;
        for (path, library) in library::candidates(&NAMES, folder, &FOLDERS) {
            match Blas::open(path.clone(), library, driver) {
                Ok(blas) => return Ok(Some(blas)),
                Err(why) => refused = refused.or(Some(format!("{} is not used: {why}", path.display()))),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    fn open(path: PathBuf, library: Library, driver: (usize, usize)) -> std::result::Result<Blas, String> {
        let functions = Functions::of(&library)?;
        // SAFETY: it takes nothing.
        let number = unsafe { (functions.version)() };
        // Since 12.0: 10000·major + 100·minor + patch. Before, 1000 stood for 10000.
        let version = [number / 10_000, number / 100 % 100, number % 100];
        if !KNOWN.contains(&version[0]) {
            let (least, most) = (KNOWN.start(), KNOWN.end());
            return Err(format!("it says that it is version {number}, and versions {least} to {most} are known here"));
        }
        if version[0] > driver.0 {
            return Err(format!(
                "its version {} needs a driver for CUDA {}; this one knows {}",
                version[0], version[0], driver.0
            ));
        }
        let mut handle = ptr::null_mut();
        // SAFETY: it writes one handle.
        match unsafe { (functions.create)(&mut handle) } {
            0 => Ok(Blas { functions, handle, version, path, plans: Mutex::default(), _library: library }),
            status => Err(format!("it does not start: status {status}")),
        }
    }

    /// `12.8.4`
    pub(super) fn version(&self) -> String {
        let [major, minor, patch] = self.version;
        format!("{major}.{minor}.{patch}")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// `x·Wᵀ + bias + h`, or GELU of it, in bf16. `None`: the library has no kernel for it, or these addresses.
    pub(super) fn multiply(&self, given: &Given<'_>, gelu: bool) -> Result<Option<CudaTensor>> {
        let Given { x, weight, bias, h } = *given;
        let (rows, inputs, outputs) = (x.rows(), x.width(), weight.rows());
        let wanted = Wanted { rows, inputs, outputs, bias: bias.is_some(), gelu, adds: h.is_some() };
        assert!([x, weight].iter().all(|one| one.dtype() == DType::BF16), "asked by the caller");
        let out = x.like(&[rows, outputs])?;
        let tensors = [Some(x), Some(weight), bias, h, Some(&out)];
        let aligned = |tensor: &CudaTensor| tensor.address_of(0).is_multiple_of(u64::from(ALIGNMENT));
        if rows == 0 || !tensors.into_iter().flatten().all(aligned) {
            return Ok(None);
        }
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= PLANS_MAX && !plans.contains_key(&wanted) {
            plans.drain().filter_map(|(_, plan)| plan).for_each(|plan| self.discard(plan));
        }
        let plan = match plans.entry(wanted) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                x.cuda().enter()?;
                new.insert(self.plan(wanted)?)
            }
        };
        let Some(plan) = plan else { return Ok(None) };
        let workspace = match plan.workspace {
            0 => None,
            bytes => Some(x.cuda().allocate(bytes)?),
        };
        if let Some(bias) = bias {
            self.set(plan.desc, value::DESC_BIAS, &bias.address_of(0))?;
        }
        let cuda: &Arc<Cuda> = x.cuda();
        if cuda.is_rehearsing() {
            return Ok(Some(out));
        }
        cuda.enter()?;
        let [a, b, d] = plan.layouts;
        let address = |tensor: &CudaTensor| tensor.address_of(0) as *mut c_void;
        let (one, beta, c) = (1f32, if h.is_some() { 1f32 } else { 0.0 }, h.unwrap_or(&out));
        let memory = workspace.as_ref().map_or(ptr::null_mut(), |buffer| buffer.at(0).address() as *mut c_void);
        // SAFETY: the layouts are those of the tensors, as the plan was made for their sizes; everything is queued on the stream in
        // whose order memory is given out, the workspace too. The library reads descriptions and scalars before it returns.
        let status = unsafe {
            (self.functions.multiply)(
                self.handle,
                plan.desc,
                &one,
                address(weight),
                a,
                address(x),
                b,
                &beta,
                address(c),
                d,
                address(&out),
                d,
                &plan.algorithm,
                memory,
                plan.workspace,
                cuda.work(),
            )
        };
        self.told(status, "computing a product")?;
        Ok(Some(out))
    }

    /// How the library would compute this. `None`: it says that it cannot.
    fn plan(&self, wanted: Wanted) -> Result<Option<Plan>> {
        let Wanted { rows, inputs, outputs, bias, gelu, .. } = wanted;
        let f = &self.functions;
        let mut plan = Plan { desc: ptr::null_mut(), layouts: [ptr::null_mut(); 3], algorithm: [0; 8], workspace: 0 };
        let mut preference = ptr::null_mut();
        let mut ask = || -> Result<Option<Heuristic>> {
            // SAFETY: each function writes a handle to its first parameter, and reads what the others point to.
            unsafe {
                self.told((f.new_desc)(&mut plan.desc, value::COMPUTE_F32, value::F32), "describing a product")?;
                for (layout, (width, count)) in
                    plan.layouts.iter_mut().zip([(inputs, outputs), (inputs, rows), (outputs, rows)])
                {
                    let status = (f.new_layout)(layout, value::BF16, width as u64, count as u64, width as i64);
                    self.told(status, "describing a matrix")?;
                }
                self.told((f.new_preference)(&mut preference), "describing what is wanted")?;
            }
            self.set(plan.desc, value::DESC_TRANSPOSE_A, &value::TRANSPOSED)?;
            let epilogue = c_int::from(bias) * value::EPILOGUE_BIAS + c_int::from(gelu) * value::EPILOGUE_GELU;
            self.set(plan.desc, value::DESC_EPILOGUE, &if epilogue == 0 { value::EPILOGUE_NONE } else { epilogue })?;
            if bias {
                // Any address: each call gives its own.
                self.set(plan.desc, value::DESC_BIAS, &u64::from(ALIGNMENT))?;
            }
            let prefer = |what: c_int, value: *const c_void, bytes: usize| {
                // SAFETY: the value has so many bytes.
                self.told(unsafe { (f.set_preference)(preference, what, value, bytes) }, "describing what is wanted")
            };
            let workspace = WORKSPACE_BYTES;
            prefer(value::PREFERENCE_WORKSPACE, ptr::from_ref(&workspace).cast(), size_of::<usize>())?;
            for side in value::PREFERENCE_ALIGNMENT {
                prefer(side, ptr::from_ref(&ALIGNMENT).cast(), size_of::<u32>())?;
            }
            let [a, b, d] = plan.layouts;
            let empty = Heuristic { algorithm: [0; 8], workspace: 0, state: 0, waves: 0.0, reserved: [0; 4] };
            let (mut best, mut found) = (empty, 0);
            // SAFETY: all handles are those made above; at most one answer is written.
            let status =
                unsafe { (f.heuristic)(self.handle, plan.desc, a, b, d, d, preference, 1, &mut best, &mut found) };
            // Another status than success says that there is no kernel for it.
            Ok((status == 0 && found > 0 && best.state == 0 && best.workspace <= WORKSPACE_BYTES).then_some(best))
        };
        let answer = ask();
        if !preference.is_null() {
            // SAFETY: made above, and nobody uses it any more. There is no use in an error.
            let _ = unsafe { (f.drop_preference)(preference) };
        }
        match answer {
            Ok(Some(Heuristic { algorithm, workspace, .. })) => Ok(Some(Plan { algorithm, workspace, ..plan })),
            other => {
                self.discard(plan);
                other.map(|_| None)
            }
        }
    }

    fn set<T>(&self, desc: Handle, what: c_int, value: &T) -> Result<()> {
        // SAFETY: the value has so many bytes.
        let status = unsafe { (self.functions.set_desc)(desc, what, ptr::from_ref(value).cast(), size_of::<T>()) };
        self.told(status, "describing a product")
    }

    fn told(&self, status: Status, what: &str) -> Result<()> {
        match status {
            0 => Ok(()),
            _ => bail!("cuBLASLt {} ({}): {what}: status {status}", self.version(), self.path.display()),
        }
    }

    fn discard(&self, plan: Plan) {
        // SAFETY: the handles are those of the plan, or null where it was not finished. There is no use in an error.
        unsafe {
            if !plan.desc.is_null() {
                let _ = (self.functions.drop_desc)(plan.desc);
            }
            for layout in plan.layouts.into_iter().filter(|layout| !layout.is_null()) {
                let _ = (self.functions.drop_layout)(layout);
            }
        }
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        let plans = std::mem::take(self.plans.get_mut().unwrap_or_else(PoisonError::into_inner));
        plans.into_values().flatten().for_each(|plan| self.discard(plan));
        // SAFETY: nobody uses the handle any more. There is no use in an error.
        let _ = unsafe { (self.functions.destroy)(self.handle) };
    }
}
