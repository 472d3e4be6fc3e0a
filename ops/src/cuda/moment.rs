//! A point in a device's work, to tell how long it worked from one to another.

use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::DriverError;
use cudarc::driver::result::event;
use cudarc::driver::sys::{self, CUevent_flags, cudaError_enum as Code};

use super::Cuda;
use super::about::told;
use super::library;
use crate::Result;
use crate::error::bail;

/// When the device comes to the end of what was queued until now.
pub(crate) struct CudaMoment {
    cuda: Arc<Cuda>,
    event: sys::CUevent,
}

// SAFETY: an event may be asked about by any thread that has made the context current, as every method here does.
unsafe impl Send for CudaMoment {}
// SAFETY: as above; nothing is changed behind a shared reference.
unsafe impl Sync for CudaMoment {}

impl CudaMoment {
    /// The end of what is queued by now.
    pub(crate) fn now(cuda: &Arc<Cuda>) -> Result<CudaMoment> {
        cuda.enter()?;
        let event = event::create(CUevent_flags::CU_EVENT_DEFAULT).map_err(told("making an event"))?;
        let moment = CudaMoment { cuda: cuda.clone(), event };
        // SAFETY: the event is new, and the stream lives as long as the device.
        unsafe { event::record(event, cuda.work()) }.map_err(told("recording an event"))?;
        Ok(moment)
    }

    /// The device's time from here to `later`. Waits for that, if it has not come.
    pub(crate) fn until(&self, later: &CudaMoment) -> Result<Duration> {
        if !Arc::ptr_eq(&self.cuda, &later.cuda) {
            bail!("two devices have no time in common");
        }
        let Some(elapsed) = library::elapsed() else { bail!("this driver has no cuEventElapsedTime") };
        self.cuda.enter()?;
        let mut ms = 0f32;
        // SAFETY: both events were recorded on one stream and live as long as these values; the driver writes one number.
        let mut ask = || unsafe { elapsed(ptr::from_mut(&mut ms), self.event, later.event) }.result();
        match ask() {
            Err(DriverError(Code::CUDA_ERROR_NOT_READY)) => {
                // SAFETY: as above.
                unsafe { event::synchronize(later.event) }.map_err(told("waiting for the device"))?;
                ask()
            }
            answer => answer,
        }
        .map_err(told("asking for the time between two events"))?;
        Ok(Duration::from_secs_f64(f64::from(ms.max(0.0)) / 1e3))
    }
}

impl Drop for CudaMoment {
    fn drop(&mut self) {
        if self.cuda.enter().is_ok() {
            // SAFETY: nobody asks about it any more; the driver keeps it until it has passed. There is no use in an error.
            let _ = unsafe { event::destroy(self.event) };
        }
    }
}
