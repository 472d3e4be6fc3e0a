//! The video and image API over HTTP.

pub mod drawing;
