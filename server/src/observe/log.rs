//! The filter of the log.

use tracing_subscriber::EnvFilter;

/// The operator's log filter, without the WebSocket layer's `trace` level, which would log keys: it prints every byte
/// of every frame, and an init may hold a key.
pub fn without_secrets(levels: EnvFilter) -> EnvFilter {
    levels.add_directive("tungstenite::protocol::frame=debug".parse().expect("a directive"))
}
