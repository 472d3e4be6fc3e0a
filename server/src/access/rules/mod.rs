//! What the decisions about who enters are made of: values and the time in, values out.

pub mod address;
pub mod denied;
pub mod keys;
pub mod origin;
pub mod throttle;
pub mod tokens;
