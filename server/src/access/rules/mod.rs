//! What the decisions about who enters are made of: values and the time in, values out.

pub(crate) mod address;
pub mod denied;
pub mod keys;
pub mod origin;
pub(crate) mod throttle;
pub(crate) mod tokens;
