//! Decisions about access: values and the time go in, values come out.

pub(crate) mod address;
pub mod denied;
pub mod keys;
pub mod origin;
pub(crate) mod throttle;
pub(crate) mod tokens;
