"""A bad line: a TCP proxy that cuts every other connection in the middle of its stream.

A client that resumes finds its second connection whole.
"""

import asyncio
import socket
import struct

CUT_AFTER_BYTES = 300_000


class Line:
    """Listens on a free port of this machine until it is closed."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._connections = 0

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        left = CUT_AFTER_BYTES if self._connections % 2 else None
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
            up = asyncio.ensure_future(copy(reader, to_server, None))
            await copy(from_server, writer, left)
            up.cancel()
        except OSError:
            pass
        finally:
            for end in (writer, to_server):
                reset(end)


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
    while left is None or left > 0:
        part = await reader.read(65536 if left is None else min(left, 65536))
        if not part:
            return
        left = None if left is None else left - len(part)
        writer.write(part)
        await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a broken line does: with a reset, not with a goodbye."""
    end = writer.get_extra_info("socket")
    if end is not None:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
