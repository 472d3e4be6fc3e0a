//! Where the memory of GPUs is, for whoever watches a server.

use std::sync::Arc;

use ops::{Device, MemoryUse};

/// What tells where the memory of devices is, all together. It does not keep them open.
#[derive(Clone)]
pub struct DeviceMemory(Arc<dyn Fn() -> Option<MemoryUse> + Send + Sync>);

/// Bytes of the memory of all devices that draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemoryUse {
    /// All that they have.
    pub total: u64,
    /// By what it holds: `weights`; `sessions`, also what is used while one is drawn; `spare`, kept for the next chunk; and
    /// `other`: the driver, compiled kernels, other processes.
    pub used: [(&'static str, u64); 4],
}

impl DeviceMemory {
    /// Of GPUs. `None` for the processor.
    pub fn of(devices: &[Device]) -> Option<DeviceMemory> {
        let gauges = devices.iter().map(Device::gauge).collect::<Option<Vec<_>>>()?;
        let sum = |all: MemoryUse, one: MemoryUse| MemoryUse {
            total: all.total + one.total,
            used: all.used + one.used,
            weights: all.weights + one.weights,
            sessions: all.sessions + one.sessions,
            spare: all.spare + one.spare,
            pinned: all.pinned + one.pinned,
        };
        Some(DeviceMemory(Arc::new(move || {
            gauges.iter().map(|gauge| gauge()).try_fold(MemoryUse::default(), |all, one| Some(sum(all, one?)))
        })))
    }

    /// Now. `None` once the device is closed, or where its driver does not say.
    pub fn now(&self) -> Option<DeviceMemoryUse> {
        let MemoryUse { total, used, weights, sessions, spare, .. } = (self.0)()?;
        let other = used.saturating_sub(weights + sessions + spare);
        let used = [("weights", weights), ("sessions", sessions), ("spare", spare), ("other", other)];
        Some(DeviceMemoryUse { total, used })
    }
}
