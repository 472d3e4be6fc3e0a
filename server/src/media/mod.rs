//! Pictures and films, in and out.

pub mod first_frame;
#[cfg_attr(not(feature = "h264"), path = "h264_absent.rs")]
pub mod h264;
#[cfg_attr(not(feature = "h264"), path = "mp4_absent.rs")]
pub mod mp4;
pub(crate) mod picture_reader;
pub mod pictures;
pub mod quantiser;
pub mod stream;
pub mod webp_animation;
