//! Every test that goes through a socket, a browser or the whole repository: one binary, so that it links once.
//!
//! A test of the wire is named after the sentence it proves; its number in `docs/conformance.md` stands in its comment.

mod accept;
mod access;
mod browser;
mod browser_edges;
mod browser_film;
mod cosmos3;
mod drawing;
mod endings;
mod faults;
mod fetch;
mod golden;
mod inbound;
mod lifecycle;
mod manual;
mod memory;
mod observe;
mod recording;
mod resume;
mod rfc6455;
mod secrets;
mod session_any_order;
mod soak;
mod testcard;
mod tidy;
mod turns;
mod wire_acks;
mod wire_bad_input;
mod wire_bad_pictures;
mod wire_bounds;
mod wire_events;
mod wire_frames;
mod wire_handshake;
mod wire_harness;
mod wire_init;
mod wire_keepalive;
mod wire_pacing;
mod wire_queue;
mod wire_slots;
mod wire_slow_reader;
mod wire_stats;
mod wire_transcript;
mod yielding;
