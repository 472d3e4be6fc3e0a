"""A bad line: a TCP proxy that cuts each connection in the middle of its stream.

More passes than the largest chunk of the tests, so that a client that resumes gets on with each connection.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import subprocess
from pathlib import Path

CUT_AFTER_BYTES = 300_000


class Line:
    """Listens on a free port of this machine until it is closed."""

    cut_after_bytes: int | None = CUT_AFTER_BYTES

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            return reset(writer)
        directions = [asyncio.ensure_future(copy(*ends)) for ends in ((reader, to_server, None), (from_server, writer, self.cut_after_bytes))]
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        for direction in directions:
            direction.cancel()
        await asyncio.wait(directions)
        for end in (writer, to_server):
            reset(end)


class Secured(Line):
    """Takes TLS off what comes, with a certificate for `localhost` that nobody vouches for, and cuts nothing."""

    cut_after_bytes = None

    def __init__(self, server_port: int, folder: Path) -> None:
        super().__init__(server_port)
        self._folder = folder

    async def open(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        files = certificate, key = [self._folder / name for name in ("localhost.pem", "localhost.key")]
        made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost"]
        subprocess.run([*made, "-days", "2", "-out", certificate, "-keyout", key], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0, ssl=context)
        return self._server.sockets[0].getsockname()[1]


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
    """Carry bytes until one end is closed, or until so many have passed."""
    with contextlib.suppress(OSError):
        while left is None or left > 0:
            part = await reader.read(65536 if left is None else min(left, 65536))
            if not part:
                return
            left = None if left is None else left - len(part)
            writer.write(part)
            await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a broken line does: with a reset, not with a goodbye."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
