//! Pictures and films, in and out.

pub mod first_frame;
pub mod pictures;
pub mod webp_animation;
