//! Clips and pictures over HTTP: `/v1/videos` and `/v1/images`, as OpenAI's clients and those of two other servers ask for
//! them, drawn by whatever world is loaded.
//!
//! What a request asks for, and what becomes of jobs, is decided in `request`. Here are the routes, the tasks that draw,
//! and the guard that ends work whose client has left.

pub(crate) mod body;
pub(crate) mod content;
pub(crate) mod door;
pub mod drawing;
pub(crate) mod errors;
pub(crate) mod images;
pub(crate) mod jobs;
pub(crate) mod leaving;
pub(crate) mod prepare;
pub mod request;
pub(crate) mod routes;
pub(crate) mod schema;
pub(crate) mod state;
pub(crate) mod stop;
pub(crate) mod sync;
pub(crate) mod videos;
pub(crate) mod work;
