"""Walk in a Causeway world: frames in, keys and prompts out.

`Walk` is the client, for asyncio; `BlockingWalk` is the same without it. Both work with servers of SGLang's realtime
protocol too: what such a server does not offer is left out.
"""

from .blocking import BlockingWalk
from .messages import (
    ChunkStats,
    EventAck,
    EventApplied,
    EventReceived,
    Guest,
    InitAck,
    Moved,
    News,
    Queue,
    ServerError,
    Session,
    Shared,
    Skipped,
    Stage,
    Unknown,
    Viewers,
    Watching,
)
from .walk import Closed, Frame, Receipt, Refused, Walk

__all__ = [
    "BlockingWalk",
    "ChunkStats",
    "Closed",
    "EventAck",
    "EventApplied",
    "EventReceived",
    "Frame",
    "Guest",
    "InitAck",
    "Moved",
    "News",
    "Queue",
    "Receipt",
    "Refused",
    "ServerError",
    "Session",
    "Shared",
    "Skipped",
    "Stage",
    "Unknown",
    "Viewers",
    "Walk",
    "Watching",
]
