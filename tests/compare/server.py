"""Our server beside the field's stack, in turns: what a chunk costs, how many frames go through a socket, what a session holds.

    cargo build --release --bin causeway
    python tests/compare/server.py target/release/causeway --rounds 5

`make compare-server` does both. Both serve pictures that nobody draws: ours the test card, the other side `baseline.py`. Both
are measured by `causeway load`, which knows neither. Processor time is the server's own, of all its threads, as the system
counts it; on a machine of few cores the client takes its share of them from both alike.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from turns import machine

TICK = os.sysconf("SC_CLK_TCK")
HERE = Path(__file__).parent
CASES = [("832x480", "raw"), ("832x480", "jpeg"), ("320x180", "raw")]
# Ours ÷ theirs: processor time of a chunk at most, frames through one socket at least.
COST = {("832x480", "raw"): 0.35, ("832x480", "jpeg"): 0.6}
FRAMES = {("832x480", "raw"): 3.0, ("320x180", "raw"): 1.5}
IDLE, PLAYING = 200, (2, 10)


class Server:
    def __init__(self, name, port, *command):
        self.name, self.port = name, port
        self.url = f"ws://127.0.0.1:{port}/v1/realtime_video/generate"
        self.process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait(self, path):
        """Until it answers a request for `path`, whatever it says, and is ready where it can say so."""
        for _ in range(2000):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5).close()
                return
            except urllib.error.HTTPError as answer:
                if answer.code == 404:
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended")
            time.sleep(0.005)
        raise SystemExit(f"{self.name} does not answer")

    def seconds(self):
        """Of the processor, so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory(self):
        """Of its own, in KiB: what it shares with others is not counted."""
        told = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in told if line.startswith(("Private_Clean", "Private_Dirty")))

    def stop(self):
        self.process.terminate()
        self.process.wait()


def load(binary, server, *flags):
    command = [str(binary), "load", "--url", server.url, "--json", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def found(process):
    text, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"causeway load: {errors.strip() or text.strip()}")
    return json.loads(text)["rounds"][0]


def measured(binary, server, size, kind, seconds):
    """Milliseconds of processor time for twelve frames, and frames a second."""
    before = server.seconds()
    seen = found(load(binary, server, "--size", size, "--format", kind, "--seconds", str(seconds), "--spread-ms", "0"))
    frames = seen["frames"]
    return (server.seconds() - before) * 1e3 * 12 / frames, frames / seconds


def served(server):
    """Of the chunks so far: how many, how many of them within a millisecond, and seconds in all, of our server's own work between
    the world and the socket."""
    page = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5).read().decode()
    lines = dict(line.rsplit(" ", 1) for line in page.splitlines() if line.startswith("causeway_chunk_stage_seconds"))
    wanted = ('count{stage="serve"}', 'bucket{stage="serve",le="0.001"}', 'sum{stage="serve"}')
    return [float(lines[f"causeway_chunk_stage_seconds_{name}"]) for name in wanted]


def held(binary, start):
    """KiB of a connection that says nothing, and of a session that plays, paced, in JPEG: by how much ten of them need more
    than two, since what a server has of its own, and gives back, would be counted as theirs."""
    server = start()
    try:
        server.wait("/ready")
        small = ("--paced", "--size", "16x16", "--seconds", "4", "--spread-ms", "0")
        found(load(binary, server, *small))
        before = server.memory()
        idle = load(binary, server, *small, "--idle", str(IDLE))
        time.sleep(3)
        idle_kib = (server.memory() - before) / IDLE
        found(idle)
        needed = []
        for clients in PLAYING:
            playing = load(binary, server, "--paced", "--clients", str(clients), "--seconds", "5", "--size", "832x480")
            time.sleep(4)
            needed.append(server.memory())
            found(playing)
            time.sleep(1)
        playing_kib = (needed[1] - needed[0]) / (PLAYING[1] - PLAYING[0])
        return idle_kib, playing_kib
    finally:
        server.stop()


def starts(binary, port):
    """Seconds from the start of the process, with the world that ships, to ready, and to a first client's first frame."""
    began = time.perf_counter()
    server = Server("ours", port, binary, "serve", "--port", port)
    server.wait("/ready")
    ready = time.perf_counter() - began
    seen = found(load(binary, server, "--seconds", "1", "--spread-ms", "0"))
    first = next(measure for measure in seen["measures"] if measure["name"] == "first frame")
    server.stop()
    return ready, first["p50_ms"] / 1e3


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=4)
    arguments.add_argument("--port", type=int, default=30000)
    asked = arguments.parse_args()
    print(f"{machine()}, {asked.rounds} rounds of {asked.seconds} s", flush=True)
    serve = (asked.binary, "serve", "--world", "testcard", "--port", asked.port, "--sessions", 64, "--load", 100)
    starting = {
        "ours": lambda: Server("ours", asked.port, *serve, "--connections-per-address", 1000),
        "baseline": lambda: Server(
            "baseline", asked.port + 1, sys.executable, HERE / "baseline.py", "--port", asked.port + 1
        ),
    }
    sides = [start() for start in starting.values()]
    try:
        for server in sides:
            server.wait("/ready")
        for size, kind in CASES:
            costs, rates = ({server.name: [] for server in sides} for _ in range(2))
            before = served(sides[0])
            for _ in range(asked.rounds):
                for server in sides:
                    cost, rate = measured(asked.binary, server, size, kind, asked.seconds)
                    costs[server.name].append(cost)
                    rates[server.name].append(rate)
            tell(f"{size} {kind}: ms of processor for 12 frames", costs, COST.get((size, kind)), "at most")
            chunks, within, seconds = (now - then for now, then in zip(served(sides[0]), before))
            work = f"{size} {kind}: our own work a chunk, without drawing and the socket"
            mark = "   mark: half of them" if (size, kind) == ("832x480", "raw") else ""
            print(f"{work}: mean {1e3 * seconds / chunks:.3f} ms, {within / chunks:.0%} within 1 ms{mark}", flush=True)
            tell(f"{size} {kind}: frames a second, one socket", rates, FRAMES.get((size, kind)), "at least")
    finally:
        for server in sides:
            server.stop()
    kib = {name: held(asked.binary, start) for name, start in starting.items()}
    for what, index in (("a connection that says nothing", 0), ("a session that plays 832x480", 1)):
        tell(f"KiB of {what}", {name: [both[index]] for name, both in kib.items()}, None, "")
    begun = [starts(asked.binary, asked.port + 2) for _ in range(3)]
    ready, first = (statistics.median(times) for times in zip(*begun))
    print(f"start to ready {ready:.3f} s, mark 0.3; from there to the first frame {first:.3f} s; together {ready + first:.3f} s, mark 0.5")


def tell(what, values, mark, how):
    ours, theirs = (statistics.median(values[name]) for name in ("ours", "baseline"))
    ratio = statistics.median(a / b for a, b in zip(values["ours"], values["baseline"]))
    aim = f"   mark: {how} {mark}" if mark else ""
    print(f"{what:52} ours {ours:10.2f}   baseline {theirs:10.2f}   ours ÷ baseline {ratio:6.3f}{aim}", flush=True)


if __name__ == "__main__":
    main()
