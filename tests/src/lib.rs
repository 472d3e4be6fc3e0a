//! skeleton

pub mod browser;
