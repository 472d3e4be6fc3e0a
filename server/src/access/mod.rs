//! Who may enter. By default only this machine can reach the server, and it asks for nothing; whoever lets others reach it
//! must choose between keys and letting everybody in.
//!
//! A web page counts as whoever wrote it, not as the person who looks at it: see [`rules::origin`].

pub(crate) mod door;
pub(crate) mod http;
pub(crate) mod inbound;
pub mod key_ring;
pub(crate) mod listener;
pub(crate) mod metered;
pub mod policy;
pub mod rules;
pub mod secrets;
