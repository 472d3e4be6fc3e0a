//! Where a GPU's memory is, for whoever watches a server.

use std::sync::Arc;

use ops::{Device, MemoryUse};

/// What tells where a device's memory is. It does not keep the device open.
#[derive(Clone)]
pub struct DeviceMemory(Arc<dyn Fn() -> Option<MemoryUse> + Send + Sync>);

/// Bytes of a device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemoryUse {
    /// All that it has.
    pub total: u64,
    /// By what it holds: `weights`; `sessions`, also what is used while one is drawn; `spare`, kept for the next chunk; and
    /// `other`: the driver, compiled kernels, other processes.
    pub used: [(&'static str, u64); 4],
}

impl DeviceMemory {
    /// Of a GPU. `None` for the processor.
    pub fn of(device: &Device) -> Option<DeviceMemory> {
        Some(DeviceMemory(Arc::new(device.gauge()?)))
    }

    /// Now. `None` once the device is closed, or where its driver does not say.
    pub fn now(&self) -> Option<DeviceMemoryUse> {
        let MemoryUse { total, used, weights, sessions, spare, .. } = (self.0)()?;
        let other = used.saturating_sub(weights + sessions + spare);
        let used = [("weights", weights), ("sessions", sessions), ("spare", spare), ("other", other)];
        Some(DeviceMemoryUse { total, used })
    }
}
