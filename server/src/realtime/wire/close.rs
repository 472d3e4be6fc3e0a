//! Why a connection ends: the close codes and their reasons.

/// Why a connection ends, in the words and numbers of RFC 6455.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    pub code: u16,
    pub reason: &'static str,
}

impl Close {
    /// Third-party tools look for these words.
    pub const COMPLETE: Close = Close { code: 1000, reason: "generation complete" };
    pub const IDLE: Close = Close { code: 1000, reason: "session idle timeout" };
    /// The client rested, and another waited for its place.
    pub const YIELDED: Close = Close { code: 1000, reason: "session idle: its place went to a client that waited" };
    pub const LIFETIME: Close = Close { code: 1000, reason: "maximum session lifetime reached" };
    pub const PROTOCOL: Close = Close { code: 1002, reason: "not a WebSocket frame" };
    /// Nobody hears this one.
    pub const NOT_RESUMED: Close = Close { code: 1006, reason: "client did not come back" };
    pub const TEXT: Close = Close { code: 1003, reason: "text message" };
    pub const NOT_UTF8: Close = Close { code: 1007, reason: "text that is not UTF-8" };
    pub const BUSY: Close = Close { code: 1008, reason: "busy" };
    pub const RESUMED_ELSEWHERE: Close = Close { code: 1008, reason: "resumed on another connection" };
    pub const NOT_KEPT: Close = Close { code: 1008, reason: "cannot resume" };
    pub const FLOOD: Close = Close { code: 1008, reason: "too many invalid messages" };
    pub const TOO_MUCH: Close = Close { code: 1008, reason: "too many bytes" };
    pub const TOO_BIG: Close = Close { code: 1009, reason: "message too big" };
    pub const FAILED: Close = Close { code: 1011, reason: "generation failed" };
    pub const KEEPALIVE: Close = Close { code: 1011, reason: "keepalive ping timeout" };
    pub const SHUTDOWN: Close = Close { code: 1012, reason: "server is shutting down" };
}
