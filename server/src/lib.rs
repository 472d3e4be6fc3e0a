//! Sessions, the realtime wire, and the one thread that owns the device. (being written)
