//! Why a connection ends: the close codes and their reasons.

/// Why a connection ends, in the words and numbers of RFC 6455.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// As RFC 6455 numbers them.
    pub code: u16,
    /// For people, and for tools that look for these words.
    pub reason: &'static str,
}

impl Close {
    /// Third-party tools search for these exact words.
    pub const COMPLETE: Close = Close { code: 1000, reason: "generation complete" };
    /// Nobody steered the session for too long.
    pub const IDLE: Close = Close { code: 1000, reason: "session idle timeout" };
    /// The client rested, and another waited for its place.
    pub const YIELDED: Close = Close { code: 1000, reason: "session idle: its place went to a client that waited" };
    /// The session has run as long as one may.
    pub const LIFETIME: Close = Close { code: 1000, reason: "maximum session lifetime reached" };
    /// To a viewer: the player has left its session.
    pub const PLAYER_LEFT: Close = Close { code: 1000, reason: "the player left" };
    /// The client broke a rule of the WebSocket.
    pub const PROTOCOL: Close = Close { code: 1002, reason: "not a WebSocket frame" };
    /// Never sent: the connection is gone.
    pub const NOT_RESUMED: Close = Close { code: 1006, reason: "client did not come back" };
    /// The client sent text where all is binary.
    pub const TEXT: Close = Close { code: 1003, reason: "text message" };
    /// The client sent text that is none.
    pub const NOT_UTF8: Close = Close { code: 1007, reason: "text that is not UTF-8" };
    /// There was no place in time.
    pub const BUSY: Close = Close { code: 1008, reason: "busy" };
    /// The client has come back on another connection.
    pub const RESUMED_ELSEWHERE: Close = Close { code: 1008, reason: "resumed on another connection" };
    /// What the client has missed is no longer kept.
    pub const NOT_KEPT: Close = Close { code: 1008, reason: "cannot resume" };
    /// To a viewer: the player has ended its token.
    pub const NOT_SHARED: Close = Close { code: 1008, reason: "no longer shared" };
    /// The client sent too much that cannot be obeyed.
    pub const FLOOD: Close = Close { code: 1008, reason: "too many invalid messages" };
    /// The client has sent more than the server holds for clients without a session.
    pub const TOO_MUCH: Close = Close { code: 1008, reason: "too many bytes" };
    /// A guardrail does not let a frame leave.
    pub const BLOCKED: Close = Close { code: 1008, reason: "frames blocked" };
    /// The client sent a message longer than the server takes.
    pub const TOO_BIG: Close = Close { code: 1009, reason: "message too big" };
    /// The world failed.
    pub const FAILED: Close = Close { code: 1011, reason: "generation failed" };
    /// The client did not answer a ping.
    pub const KEEPALIVE: Close = Close { code: 1011, reason: "keepalive ping timeout" };
    /// The server drains or stops.
    pub const SHUTDOWN: Close = Close { code: 1012, reason: "server is shutting down" };
    /// The node that drew a session is gone.
    pub const NODE_LOST: Close = Close { code: 1012, reason: "the node that drew this session is gone" };
    /// The session was granted to another node.
    pub const GRANTED_ELSEWHERE: Close = Close { code: 1012, reason: "granted to another node" };
    /// The client goes to the node that draws its session.
    pub const REDIRECTED: Close = Close { code: 1000, reason: "redirected" };

    /// Of a node, as a door passes it on.
    const OF_A_NODE: [Close; 20] = [
        Close::COMPLETE,
        Close::IDLE,
        Close::YIELDED,
        Close::LIFETIME,
        Close::PROTOCOL,
        Close::TEXT,
        Close::NOT_UTF8,
        Close::BUSY,
        Close::RESUMED_ELSEWHERE,
        Close::NOT_KEPT,
        Close::FLOOD,
        Close::TOO_MUCH,
        Close::BLOCKED,
        Close::TOO_BIG,
        Close::FAILED,
        Close::KEEPALIVE,
        Close::SHUTDOWN,
        Close::NODE_LOST,
        Close::GRANTED_ELSEWHERE,
        Close::REDIRECTED,
    ];

    /// The close that a node has sent. One that this version does not know keeps no more than its kind.
    pub(crate) fn of(code: u16, reason: &str) -> Close {
        let known = Close::OF_A_NODE.into_iter().find(|close| close.code == code && close.reason == reason);
        known.unwrap_or(if code == 1008 { Close::BUSY } else { Close::FAILED })
    }
}
