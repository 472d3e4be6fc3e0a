"""Measuring in turns: what slows the machine down for a while slows all sides, and no side alone."""

import os
import platform
import statistics
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path


class Ours:
    """Our side, a process that answers a line with milliseconds and a number."""

    def __init__(self, *command):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([str(word) for word in command], stdin=pipe, stdout=pipe, text=True)

    def do(self, what):
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if len(answer) != 2:
            raise SystemExit(f"our side ended at {what!r}")
        return float(answer[0]), float(answer[1])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def milliseconds(work):
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def in_turns(sides, rounds):
    """sides: name -> a function that does the thing once and returns milliseconds -> name -> all its times."""
    times = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            times[name].append(side())
    return times


def ratios(times, ours):
    """Of each side: its median, and the median over rounds of ours divided by its."""
    return {
        name: (statistics.median(theirs), statistics.median(a / b for a, b in zip(times[ours], theirs)))
        for name, theirs in times.items()
    }


def machine():
    """A line for the head of a report."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    units = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16") if flag in flags]
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return f"{name} ({' '.join(units)}), {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, {now}"
