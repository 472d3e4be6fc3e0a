//! Pictures and films, in and out.

pub mod first_frame;
pub(crate) mod picture_reader;
pub mod pictures;
pub mod webp_animation;
