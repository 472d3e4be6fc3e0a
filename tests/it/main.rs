//! All integration tests, as one binary.

mod browser;
mod golden;
