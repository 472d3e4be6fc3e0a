//! Waiting for a device: in the driver if it computes alone, by asking where others take part.

use std::sync::Arc;

use cudarc::driver::DriverError;
use cudarc::driver::result::stream;
use cudarc::driver::sys::{self, cudaError_enum as Code};

use super::about::told;
use super::driver::Cuda;
use super::links::Links;
use crate::Result;

impl Cuda {
    /// From now on it draws together with others, until their links are dropped.
    pub(super) fn link(&self, links: &Arc<Links>) {
        *self.links() = Arc::downgrade(links);
    }

    /// Until everything that was queued is done. The error of an earlier operation is found here.
    pub(crate) fn wait(&self) -> Result<()> {
        self.enter()?;
        // SAFETY: the stream lives as long as this value.
        let passed = || unsafe { sys::cuStreamQuery(self.work()) }.result();
        // SAFETY: as above.
        self.wait_for(&passed, &|| unsafe { stream::synchronize(self.work()) })
    }

    /// Until `passed` is no longer told to be not ready. `wait` does so in the driver; where other GPUs take part in the work it is asked
    /// again and again, since a fault of one of them would leave the others waiting without end.
    pub(super) fn wait_for(
        &self,
        passed: &dyn Fn() -> std::result::Result<(), DriverError>,
        wait: &dyn Fn() -> std::result::Result<(), DriverError>,
    ) -> Result<()> {
        let links = self.links().upgrade();
        match links {
            Some(links) => links.wait_for(passed),
            None => wait().map_err(told("waiting for the device")),
        }
    }

    /// An error of its work, if there is one by now.
    pub(super) fn fault(&self) -> Result<()> {
        self.enter()?;
        // SAFETY: the stream lives as long as this value.
        match unsafe { sys::cuStreamQuery(self.work()) }.result() {
            Err(DriverError(Code::CUDA_ERROR_NOT_READY)) => Ok(()),
            answer => answer.map_err(told(format_args!("the work of cuda:{}", self.number()))),
        }
    }
}
