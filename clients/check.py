"""Try the clients that are not written in Rust against real servers.

    python clients/check.py SERVER REFERENCE [CLIENT...]

SERVER is a built `causeway`, REFERENCE a built `reference_server` (it has none of our features). Both are started on free
ports, the first with the test card, and beside it a line to it that cuts each connection, and one that takes TLS off, with a
certificate that nobody vouches for. Each client's own tests find them by the variables CAUSEWAY_URL, CUT_URL, SECURE_URL and
REFERENCE_URL. A walk goes on all the time on the first server: VIEW_TOKEN lets others watch it.
"""

import asyncio
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from line import Line, Secured

sys.path.insert(0, str(Path(__file__).parent / "python"))
from causeway_client import Walk  # noqa: E402

HERE = Path(__file__).parent
BUILT = HERE.parent / "target" / "clients"
PATH = "/v1/realtime_video/generate"
LIMIT_S = 120

GODOT = BUILT / "godot"
SHARP = ["MessagePack.cs", "WebSocketLine.cs", "Walk.cs"]

CLIENTS = {
    "csharp": [
        ["mcs", "-warnaserror", f"-out:{BUILT / 'test.exe'}", *SHARP, "Test.cs"],
        ["mono", BUILT / "test.exe"],
        ["mcs", "-warnaserror", f"-out:{BUILT / 'example.exe'}", *SHARP, "Example.cs"],
        *(["mono", BUILT / "example.exe", url] for url in ("$CAUSEWAY_URL", "$REFERENCE_URL")),
    ],
    # Godot 3.2 reads a project file of its own; what is for Godot 4 alone is not copied.
    "godot": [
        ["sh", "-euc", f"rm -rf {GODOT}; mkdir -p {GODOT}; cp -r test.gd addons {GODOT}; rm {GODOT}/addons/causeway/causeway_world.gd"],
        ["sh", "-euc", f"printf 'config_version=4\n' > {GODOT}/project.godot"],
        # A script that cannot be read is no error to it.
        ["sh", "-euc", f"godot3-server --path {GODOT} -s test.gd | tee {GODOT}/said; grep -qx passed {GODOT}/said"],
    ],
    "js": [["node", "--experimental-websocket", "--test", "client.test.js"]],
    "python": [[sys.executable, "-m", "unittest", "discover", "-q", "-s", "tests", "-t", "."]],
}
"""The commands that test each client, run in its folder."""


def start(*command):
    """A server, and the port that it writes down first."""
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    said = re.fullmatch(r"causeway: http://\S+:(\d+)/\n", server.stdout.readline())
    assert said, f"{command[0]} did not say where it listens"
    return server, int(said[1])


async def main(program, reference, *names):
    servers, ports = zip(start(program, "serve", "--world", "testcard", "--chunk-ms", "20", "--port", "0"), start(reference))
    try:
        ports = (*ports, await Line(ports[0]).open())
        urls = dict(zip(("CAUSEWAY_URL", "REFERENCE_URL", "CUT_URL"), (f"ws://127.0.0.1:{port}{PATH}" for port in ports)))
        urls["SECURE_URL"] = f"wss://localhost:{await Secured(ports[0], BUILT).open()}{PATH}"
        async with Walk(urls["CAUSEWAY_URL"], "a meadow", format="jpeg", paced=True, size=(96, 64)) as walk:
            playing = asyncio.ensure_future(play(walk))
            playing.add_done_callback(lambda ended: print(f"the walk that is watched has ended: {ended}") if not ended.cancelled() else None)
            urls["VIEW_TOKEN"] = (await walk.share("view")).token
            failed = [name for name in names or CLIENTS if not await check(name, {**os.environ, **urls})]
            playing.cancel()
        return f"failed: {', '.join(failed)}" if failed else 0
    finally:
        for server in servers:
            server.terminate()
            server.wait()


async def play(walk):
    """Read what comes: what a walk is told is heard while its frames are read."""
    async for _ in walk:
        pass


async def check(name, environment):
    began = time.monotonic()
    for command in CLIENTS[name]:
        print(f"{name}: {' '.join(map(str, command))}", flush=True)
        command = [environment[word[1:]] if str(word).startswith("$") else str(word) for word in command]
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
        tests = await asyncio.create_subprocess_exec(*command, cwd=HERE / name, env=environment, **pipes)
        said = b""
        try:
            said, _ = await asyncio.wait_for(tests.communicate(), LIMIT_S)
            failed = tests.returncode and f"ended with {tests.returncode}"
        except TimeoutError:
            tests.kill()
            failed = f"no end within {LIMIT_S} s"
        if failed:
            print(f"{said.decode(errors='replace')}\n{name}: {failed}", flush=True)
            return False
    print(f"ok  {name}: {time.monotonic() - began:.1f} s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
