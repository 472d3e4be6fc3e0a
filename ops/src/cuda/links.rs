//! What carries numbers from one GPU to another: NCCL, NVIDIA's library for that, where several GPUs draw one world.
//!
//! It is opened as the driver is, at run time, and nothing asks for it before a second GPU is named. Only sends and receives are
//! used, in groups: ranks have uneven shares, and a group of these is what NCCL itself makes of an exchange. They are queued on
//! each device's stream of work, so the host waits for none.
//!
//! A group that one rank does not come to would hold up all other devices for ever. So whoever calls makes sure that all ranks
//! come (`collective.rs`), and after any error of the library all links are cut: work that waits for others ends then, and nothing
//! is sent any more.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use cudarc::driver::DriverError;
use cudarc::driver::sys::{CUstream, cudaError_enum};
use libloading::Library;

use super::about::told;
use super::driver::Cuda;
use super::library;
use super::tensor::CudaTensor;
use crate::error::bail;
use crate::{Error, Result};

/// What the library is called.
const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];

/// Where packages put it, beside the loader's own path.
const FOLDERS: [&str; 3] = ["/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib64"];

/// The oldest version that is used: since 2.10 groups of sends and receives end in the order in which they were asked for on one
/// stream, whatever else the device does. Of later majors the interface is not known here.
const LEAST: [usize; 2] = [2, 10];

/// Between two questions to a device that is waited for: much less than a chunk takes, and enough to leave a core to others.
const PAUSE: Duration = Duration::from_micros(50);

/// So many questions later the other devices are asked for faults, too: some ten times a second.
const ROUNDS: u64 = 1000;

type Comm = *mut c_void;
/// 0 is success.
type Status = c_int;

/// `ncclUint8` of nccl.h: everything is sent as bytes.
const BYTES: c_int = 1;

/// The functions that are called, by their names without `nccl`.
macro_rules! functions {
    ($($field:ident, $name:literal, $type:ty;)*) => {
        struct Functions { $($field: $type,)* }

        impl Functions {
            /// An error that names the first one which is missing.
            fn of(library: &Library) -> std::result::Result<Functions, String> {
                // SAFETY: in version 2, the functions of these names have these types.
                Ok(Functions { $($field: *unsafe { library.get::<$type>(&$name[..]) }
                    .map_err(|_| format!("it has no {}", String::from_utf8_lossy(&$name[..$name.len() - 1])))?,)* })
            }
        }
    };
}
functions! {
    version, b"ncclGetVersion\0", unsafe extern "C" fn(*mut c_int) -> Status;
    words, b"ncclGetErrorString\0", unsafe extern "C" fn(Status) -> *const c_char;
    start, b"ncclCommInitAll\0", unsafe extern "C" fn(*mut Comm, c_int, *const c_int) -> Status;
    destroy, b"ncclCommDestroy\0", unsafe extern "C" fn(Comm) -> Status;
    abort, b"ncclCommAbort\0", unsafe extern "C" fn(Comm) -> Status;
    background, b"ncclCommGetAsyncError\0", unsafe extern "C" fn(Comm, *mut Status) -> Status;
    group_start, b"ncclGroupStart\0", unsafe extern "C" fn() -> Status;
    group_end, b"ncclGroupEnd\0", unsafe extern "C" fn() -> Status;
    send, b"ncclSend\0", unsafe extern "C" fn(*const c_void, usize, c_int, c_int, Comm, CUstream) -> Status;
    receive, b"ncclRecv\0", unsafe extern "C" fn(*mut c_void, usize, c_int, c_int, Comm, CUstream) -> Status;
}

/// The library.
struct Nccl {
    functions: Functions,
    version: [usize; 3],
    path: PathBuf,
    /// Closed last.
    _library: Library,
}

/// The links between the devices of a team.
pub(crate) struct Links {
    nccl: Nccl,
    devices: Vec<Arc<Cuda>>,
    /// One a rank; `None` once it was cut. Held while a group is asked for, which takes microseconds.
    comms: Vec<Mutex<Option<Handle>>>,
    /// Why nothing is sent any more.
    cut: OnceLock<String>,
}

/// A communicator.
struct Handle(Comm);

// SAFETY: a communicator may be used by any thread, by one at a time, which the mutex around it sees to.
unsafe impl Send for Handle {}

impl Nccl {
    /// The library, looked for in `folder` alone if that is given. An error names one that is there and cannot be used, or says
    /// where it was looked for.
    fn find(folder: Option<&Path>) -> Result<Nccl> {
        let mut refused = None;
        for (path, library) in library::candidates(&NAMES, folder, &FOLDERS) {
            match Nccl::open(path.clone(), library) {
                Ok(nccl) => return Ok(nccl),
                Err(why) => refused = refused.or(Some(format!("{} is not used: {why}", path.display()))),
            }
        }
        let looked = match folder {
            Some(folder) => format!("in {}", folder.display()),
            None => format!("on the loader's path (LD_LIBRARY_PATH, ldconfig) and in {}", FOLDERS.join(", ")),
        };
        bail!(
            "several GPUs exchange numbers by NVIDIA's library NCCL, and {}",
            refused.unwrap_or_else(|| format!("{} was looked for {looked}, and not found", NAMES[0]))
        )
    }

    fn open(path: PathBuf, library: Library) -> std::result::Result<Nccl, String> {
        let functions = Functions::of(&library)?;
        let mut number = 0;
        // SAFETY: it writes one number.
        let status = unsafe { (functions.version)(&mut number) };
        let number = usize::try_from(number).ok().filter(|_| status == 0).ok_or("it does not tell its version")?;
        // Since 2.9: 10000·major + 100·minor + patch. Before, 1000 stood for 10000.
        let unit = if number < 10_000 { 1000 } else { 10_000 };
        let version = [number / unit, number % unit / 100, number % 100];
        if version[0] != LEAST[0] || version[1] < LEAST[1] {
            let [major, minor] = LEAST;
            let [found, below, patch] = version;
            return Err(format!(
                "it is version {found}.{below}.{patch}, and {major}.{minor} or a later {major} is needed"
            ));
        }
        Ok(Nccl { functions, version, path, _library: library })
    }

    /// `2.20.5`
    fn version(&self) -> String {
        let [major, minor, patch] = self.version;
        format!("{major}.{minor}.{patch}")
    }

    fn told(&self, status: Status, what: &str) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: for every status it gives a text that ends with a zero, and is never freed.
        let words = unsafe { (self.functions.words)(status).as_ref().map(|words| CStr::from_ptr(words)) };
        let words = words.map_or_else(|| format!("status {status}"), |words| words.to_string_lossy().into_owned());
        bail!("NCCL {} ({}): {what}: {words}", self.version(), self.path.display())
    }
}

impl Links {
    /// Links between these devices, which are different ones; rank by rank.
    pub(crate) fn between(devices: Vec<Arc<Cuda>>) -> Result<Arc<Links>> {
        let nccl = Nccl::find(devices[0].folder())?;
        let numbers: Vec<c_int> = devices.iter().map(|device| device.number() as c_int).collect();
        let mut comms = vec![ptr::null_mut(); devices.len()];
        // SAFETY: it reads as many numbers, and writes as many handles.
        let status = unsafe { (nccl.functions.start)(comms.as_mut_ptr(), comms.len() as c_int, numbers.as_ptr()) };
        nccl.told(status, "linking the GPUs")?;
        let comms = comms.into_iter().map(|comm| Mutex::new(Some(Handle(comm)))).collect();
        let links = Arc::new(Links { nccl, devices, comms, cut: OnceLock::new() });
        links.devices.iter().for_each(|device| device.link(&links));
        Ok(links)
    }

    /// The devices, rank by rank.
    pub(crate) fn devices(&self) -> &[Arc<Cuda>] {
        &self.devices
    }

    /// The library, in words.
    pub(crate) fn library(&self) -> String {
        format!("NCCL {} from {}", self.nccl.version(), self.nccl.path.display())
    }

    /// An error if the links were cut, or if the library tells of an error in the background: then they are.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(why) = self.cut.get() {
            return Err(Error::new(why));
        }
        let failed = self.comms.iter().find_map(|comm| {
            let comm = comm.lock().unwrap_or_else(PoisonError::into_inner);
            let mut status = 0;
            // SAFETY: the communicator is there until it is taken out, and one number is written.
            let asked = unsafe { (self.nccl.functions.background)(comm.as_ref()?.0, &mut status) };
            self.nccl.told(if asked == 0 { status } else { asked }, "in the background").err()
        });
        failed.map_or(Ok(()), |error| Err(self.cut_because(error)))
    }

    /// Until `passed` does not tell that it is not ready. An error of any of the devices cuts the links, and is told here.
    pub(super) fn wait_for(&self, passed: &dyn Fn() -> std::result::Result<(), DriverError>) -> Result<()> {
        for round in 1u64.. {
            match passed() {
                Err(DriverError(cudaError_enum::CUDA_ERROR_NOT_READY)) => {}
                answer => {
                    return answer.map_err(told("waiting for the device")).map_err(|error| self.cut_because(error));
                }
            }
            if round.is_multiple_of(ROUNDS) {
                self.check()?;
                let fault = self.devices.iter().find_map(|device| device.fault().err());
                // What runs on this thread belongs to the device that is waited for.
                fault.map_or(Ok(()), |error| Err(self.cut_because(error)))?;
            }
            std::thread::sleep(PAUSE);
        }
        unreachable!("it is waited for without end")
    }

    /// Queue on the device of `rank`: each of `sends` goes to the rank beside it, and from each rank of `receives` comes what fills the
    /// tensor beside it. All other ranks queue their part of it.
    pub(crate) fn exchange(
        &self,
        rank: usize,
        sends: &[(usize, CudaTensor)],
        receives: &[(usize, CudaTensor)],
    ) -> Result<()> {
        let cuda = &self.devices[rank];
        for (_, tensor) in sends.iter().chain(receives) {
            assert!(Arc::ptr_eq(tensor.cuda(), cuda), "a rank sends from its own device and receives there");
            tensor.place().check(tensor.bytes())?;
        }
        if cuda.is_rehearsing() {
            return Ok(());
        }
        if let Some(why) = self.cut.get() {
            return Err(Error::new(why));
        }
        cuda.enter()?;
        let asked = {
            let comm = self.comms[rank].lock().unwrap_or_else(PoisonError::into_inner);
            match &*comm {
                Some(Handle(comm)) => self.ask(*comm, cuda.work(), sends, receives),
                // Cut since it was asked about.
                None => Err(Error::new(self.cut.get().map_or("the links were cut", String::as_str))),
            }
        };
        asked.map_err(|error| self.cut_because(error))
    }

    fn ask(
        &self,
        comm: Comm,
        stream: CUstream,
        sends: &[(usize, CudaTensor)],
        receives: &[(usize, CudaTensor)],
    ) -> Result<()> {
        let Functions { group_start, group_end, send, receive, .. } = &self.nccl.functions;
        let parts = |all: &[(usize, CudaTensor)]| -> Vec<(c_int, u64, usize)> {
            let part = |(peer, tensor): &(usize, CudaTensor)| (*peer as c_int, tensor.address_of(0), tensor.bytes());
            all.iter().map(part).filter(|(.., bytes)| *bytes > 0).collect()
        };
        // SAFETY: the memory is that of the tensors, as checked; it is on the communicator's device, and the stream is the one in
        // whose order that memory is given out. Sends and receives between two ranks are asked for in one order by both.
        unsafe {
            self.nccl.told(group_start(), "beginning an exchange")?;
            let mut asked = Ok(());
            for (peer, address, bytes) in parts(sends) {
                let status = send(address as *const c_void, bytes, BYTES, peer, comm, stream);
                asked = asked.and_then(|()| self.nccl.told(status, "sending to another GPU"));
            }
            for (peer, address, bytes) in parts(receives) {
                let status = receive(address as *mut c_void, bytes, BYTES, peer, comm, stream);
                asked = asked.and_then(|()| self.nccl.told(status, "receiving from another GPU"));
            }
            let ended = self.nccl.told(group_end(), "exchanging numbers between GPUs");
            asked.and(ended)
        }
    }

    /// End all work that waits for others, and send nothing any more. → the error that everybody is told from now on: the first one.
    pub(crate) fn cut_because(&self, error: Error) -> Error {
        let why = self
            .cut
            .get_or_init(|| format!("{error}. This process cannot draw over several GPUs any more: start it again"));
        for comm in &self.comms {
            if let Some(Handle(comm)) = comm.lock().unwrap_or_else(PoisonError::into_inner).take() {
                // SAFETY: it was taken out, so nobody uses it any more. There is no use in a second error.
                let _ = unsafe { (self.nccl.functions.abort)(comm) };
            }
        }
        Error::new(why)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for comm in &mut self.comms {
            if let Some(Handle(comm)) = comm.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
                // SAFETY: nobody uses it any more. There is no use in an error.
                let _ = unsafe { (self.nccl.functions.destroy)(comm) };
            }
        }
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Links({} GPUs)", self.devices.len())
    }
}
