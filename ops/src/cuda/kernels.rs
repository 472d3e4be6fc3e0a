//! The kernels: PTX text that is part of the binary, made from `ops/kernels` and compiled by the driver when a device is
//! opened.
//!
//! The driver keeps what it compiled (`~/.nv/ComputeCache`), so that only the first start after an update takes longer.

use std::collections::HashMap;
use std::ffi::CString;
use std::io::Read;

use cudarc::driver::result::{function, module};
use cudarc::driver::sys::{self, CUfunction_attribute_enum as Attribute};
use flate2::read::ZlibDecoder;

use super::about::{About, told};
use super::driver::load_module;
use crate::error::bail;
use crate::{Error, Result};

/// The oldest driver that reads the kernels' PTX, as the CUDA that it knows: PTX 7.8 came with 11.8.
pub(super) const DRIVER_NEEDED: (usize, usize) = (11, 8);

/// Every module, by the name of its source: its PTX, as `build.rs` packed it.
const MODULES: [(&str, &[u8]); 6] = [
    ("attention", include_bytes!(concat!(env!("OUT_DIR"), "/attention.ptx"))),
    ("conv", include_bytes!(concat!(env!("OUT_DIR"), "/conv.ptx"))),
    ("elementwise", include_bytes!(concat!(env!("OUT_DIR"), "/elementwise.ptx"))),
    ("frames", include_bytes!(concat!(env!("OUT_DIR"), "/frames.ptx"))),
    ("linear", include_bytes!(concat!(env!("OUT_DIR"), "/linear.ptx"))),
    ("norm", include_bytes!(concat!(env!("OUT_DIR"), "/norm.ptx"))),
];

/// The text of a module.
fn unpacked(packed: &[u8]) -> String {
    let mut text = String::new();
    ZlibDecoder::new(packed).read_to_string(&mut text).expect("build.rs packed this text");
    text
}

/// The kernels of one device, ready to launch.
pub(super) struct Kernels {
    modules: Vec<sys::CUmodule>,
    functions: HashMap<String, Function>,
    /// Dynamic shared memory that a kernel may ask for.
    shared_bytes: usize,
}

/// One kernel.
#[derive(Debug, Clone)]
pub(super) struct Function {
    pub(super) handle: sys::CUfunction,
    /// Bytes of each parameter, as the PTX declares it.
    pub(super) parameters: Vec<usize>,
}

/// A kernel may use so much without asking.
const SHARED_USUAL: u32 = 48 << 10;

impl Kernels {
    /// Compiles all modules for the device whose context is current.
    pub(super) fn load(about: &About) -> Result<Kernels> {
        let mut kernels = Kernels { modules: Vec::new(), functions: HashMap::new(), shared_bytes: about.shared_bytes };
        for (name, packed) in MODULES {
            kernels.add(name, &unpacked(packed)).inspect_err(|_| kernels.unload())?;
        }
        Ok(kernels)
    }

    fn add(&mut self, name: &str, text: &str) -> Result<()> {
        let what = format!("compiling the kernels of {name} for this device");
        let module = load_module(text).map_err(told(what))?;
        self.modules.push(module);
        for (entry, parameters) in entries(text) {
            let symbol = CString::new(entry).expect("a name without zeros");
            // SAFETY: the module is loaded.
            let handle = unsafe { module::get_function(module, symbol) }
                .map_err(told(format_args!("looking for the kernel {entry}")))?;
            self.functions.insert(entry.to_owned(), Function { handle, parameters });
        }
        Ok(())
    }

    /// The kernel `name`, allowed to use `shared` bytes of dynamic shared memory.
    pub(super) fn get(&self, name: &str, shared: u32) -> Result<&Function> {
        let Some(function) = self.functions.get(name) else {
            bail!("there is no kernel {name} among those of this build")
        };
        if shared as usize > self.shared_bytes {
            bail!("{name} needs {shared} bytes of shared memory a block; this device has {}", self.shared_bytes);
        }
        if shared > SHARED_USUAL {
            // SAFETY: the function is one of a loaded module.
            unsafe {
                function::set_function_attribute(
                    function.handle,
                    Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    shared as i32,
                )
            }
            .map_err(told(format_args!("asking for {shared} bytes of shared memory for {name}")))?;
        }
        Ok(function)
    }

    /// Give all modules back. No kernel may be launched after it.
    pub(super) fn unload(&mut self) {
        self.functions.clear();
        for module in self.modules.drain(..) {
            // SAFETY: no function of the module is left. There is no use in an error: the context goes next.
            let _ = unsafe { module::unload(module) };
        }
    }
}

impl Function {
    /// An error unless the parameters that are passed have the sizes of those that the kernel takes.
    pub(super) fn check(&self, name: &str, passed: &[usize]) -> Result<()> {
        match self.parameters == passed {
            true => Ok(()),
            false => Err(Error::new(format_args!(
                "{name} takes parameters of {:?} bytes and was given {passed:?}: its PTX and this build are not of one \
                 version",
                self.parameters
            ))),
        }
    }
}

/// Every kernel that a PTX text declares, with the bytes of each of its parameters.
fn entries(text: &str) -> impl Iterator<Item = (&str, Vec<usize>)> {
    text.split(".entry ").skip(1).filter_map(|entry| {
        let (name, rest) = entry.split_once('(')?;
        let (declared, _) = rest.split_once(')')?;
        let parameters = declared.split(',').map(str::trim).filter(|one| !one.is_empty()).map(parameter_bytes);
        Some((name.trim(), parameters.collect()))
    })
}

/// `.param .u64 name` → 8; `.param .align 8 .b8 name[96]` → 96.
fn parameter_bytes(declared: &str) -> usize {
    if let Some((_, size)) = declared.split_once('[') {
        return size.trim_end_matches(']').parse().expect("the size of a parameter is a number");
    }
    let kinds = ["64", "32", "16", "8"].map(|bits| ["u", "s", "f", "b"].map(|kind| format!(".{kind}{bits}")));
    let bits =
        kinds.iter().position(|kinds| declared.split_whitespace().any(|word| kinds.iter().any(|kind| kind == word)));
    8 >> bits.expect("a parameter has a type")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_from_what_the_compiler_writes() {
        let text = "\
            .visible .entry first(\n\t.param .u64 first_param_0,\n\t.param .align 8 .b8 first_param_1[96],\n\
            \t.param .f32 first_param_2\n)\n.maxntid 256\n{ }\n.visible .entry second(\n\t.param .u64 .ptr .align 1 p,\n\t.param .u32 n)";
        let found: Vec<_> = entries(text).collect();
        assert_eq!(found, [("first", vec![8, 96, 4]), ("second", vec![8, 4])]);
    }

    #[test]
    fn every_module_is_of_the_version_that_the_driver_is_asked_for() {
        for (name, packed) in MODULES {
            let text = unpacked(packed);
            assert!(
                text.contains("\n.version 7.8\n"),
                "{name}: the newest driver that is needed stands in DRIVER_NEEDED"
            );
            assert!(text.contains("\n.target compute_80") || text.contains("\n.target sm_80"), "{name}");
            assert!(entries(&text).count() > 0, "{name} holds kernels");
        }
    }
}
