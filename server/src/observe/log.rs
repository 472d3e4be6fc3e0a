//! What the log says, and what it must not.

use tracing_subscriber::EnvFilter;

/// What is logged, but for the one thing that would put keys into it: at `trace` the WebSocket layer writes out every byte of
/// every frame, and an init may hold a key.
pub fn without_secrets(levels: EnvFilter) -> EnvFilter {
    levels.add_directive("tungstenite::protocol::frame=debug".parse().expect("a directive"))
}
