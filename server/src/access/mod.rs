//! Who may use the server. By default only this machine can reach it, and it asks for no key. An operator who lets
//! others reach it must choose between keys and `--insecure`.
//!
//! A web page acts for its author, not for the person who looks at it: see [`rules::origin`].

pub(crate) mod door;
pub(crate) mod errands;
pub(crate) mod http;
pub(crate) mod inbound;
pub mod key_ring;
pub(crate) mod listener;
pub(crate) mod metered;
pub mod policy;
pub mod rules;
pub mod secrets;
