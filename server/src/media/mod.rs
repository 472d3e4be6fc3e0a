//! Pictures and films, in and out.

pub mod pictures;
pub mod webp_animation;
