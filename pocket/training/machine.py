"""What the machine that trains has, and what its processor multiplies fast.

Without instructions for bf16 a processor converts every number there and back, and is several times slower than in f32. So
what a preset asks for is used only where it is fast, and a run's log says what it was."""

import functools
import os
import platform
from pathlib import Path

import torch

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def products(config):
    """The type of a step's products: bf16 where the preset allows it and the machine is fast in it."""
    return torch.bfloat16 if config.bf16 and fast_in_bf16(config.device) else torch.float32


def fast_in_bf16(device):
    return device != "cpu" or any(flag in flags() for flag in ("avx512_bf16", "amx_bf16"))


@functools.cache
def flags():
    """Those of `FLAGS` that the processor has. On systems that do not say, none."""
    told = Path("/proc/cpuinfo")
    words = set(told.read_text().split()) if told.exists() else set()
    return [flag for flag in FLAGS if flag in words]


def description(config):
    """For a log."""
    if config.device != "cpu":
        return torch.cuda.get_device_name(config.device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    dtype = str(products(config)).removeprefix("torch.")
    return f"{platform.machine()}, {config.threads} threads of {cores} cores, {' '.join(flags())}, products in {dtype}"
