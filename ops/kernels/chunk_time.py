"""Calculates how long an H200 takes for a chunk of LingBot World at 832x480. A calculation: nothing of it was measured by us.

    chunk_time.py --ptxas PTXAS --nvdisasm NVDISASM       the tables; `make chunk-time` finds both
    chunk_time.py --launches MODEL                        the launches of a chunk alone: MODEL is JSON, the fields of launches.Model

Each operation takes as long as the slowest of what it needs: memory at a share of its bandwidth; and for products, convolutions
and attention the unit that a turn of the kernel's main loop occupies longest, counted in machine code (cubin.py), at a share of
what that unit can do. Four columns, of which the first two are built:

* ours: the kernels as committed, on `mma.sync`, with biases, GELU, gates and sums in the products' last steps;
* cuBLASLt: that library for products, with bias, GELU and sums; a gate is a kernel of ours behind it. All else ours;
* cuDNN: that library for the transformer's attention, too;
* wgmma: also the decoder's convolutions on `wgmma`, and its attention as two products.

Shares and rates, with their sources, are printed below the tables.

Not counted: conflicts of shared memory's banks, the second-level cache's bandwidth, the time of first and last instructions, the
host's waits, noise and encoding of pictures. The shares stand for all that keeps a good kernel below its bound.
"""
import argparse
import collections
import json
import pathlib
import sys
import tempfile

from cubin import Code, disassemble, warp_costs
from launches import LINGBOT_14B, LINGBOT_1_3B, Chunk, Model

HERE = pathlib.Path(__file__).parent
PEAK, BANDWIDTH = 989.4e12, 4.8e12  # bf16 with f32 sums, dense; bytes a second
MULTIPROCESSORS, CLOCK = 132, 1.83e9
WARPS = 8  # of a block, in these kernels
LAUNCH = 3e-6  # seconds from a launch to the next, where many are queued
MEMORY_SHARE = 0.85
# Of the bound that is counted in a kernel's main loop: what good kernels on `mma.sync` reach of theirs.
OURS = {"linear": 0.85, "attention": 0.80, "conv": 0.60}
# Of the peak: what libraries reach on Hopper, and what no kernel of ours is believed to pass.
LIBRARY = {"linear": 0.75, "attention": 0.65, "conv": 0.55}
SOURCES = """\
Where the rates come from:
* 989.4 TFLOP/s, 4.8 TB/s: NVIDIA's data sheet of the H200. 132 multiprocessors at 1.83 GHz, 4096 operations a cycle each:
  NVIDIA/cudnn-frontend #650.
* Units of a multiprocessor: the table of arithmetic throughput in NVIDIA's CUDA C++ programming guide (9.0). Shared memory: 128
  bytes a cycle.
* mma.sync at 0.63 of the peak: arXiv:2402.13499; 0.63 to 0.65 in github.com/waynehacking8/blackwell-tensorcore-kernels.
* cuBLAS at 0.75 of the peak: the same repository measured 733 TFLOP/s at 4096 and 762 at 8192 on an H100.
* Attention at 0.65: FlashAttention-3 (arXiv:2407.08608), charts without a causal mask, some 600 to 650 TFLOP/s with heads of 128
  on an H100, read by eye.
* Our estimates of good kernels: convolutions at 0.55 of the peak; products, attention, convolutions on mma.sync at 0.85, 0.80,
  0.60 of the bound counted in their own loop; 0.85 of the bandwidth; 3 us a launch."""
# Seconds of a chunk that we aim at.
MARKS = {"14B": (1.85, "1.85 s a chunk"), "1.3B": (16 / 30, "30 frames a second")}


class Kernels:
    """Seconds of a launch of ours, with the main loops of the committed kernels counted."""

    def __init__(self, ptxas, nvdisasm):
        self.turns = {}  # kernel: {unit: cycles a turn of a block}
        with tempfile.TemporaryDirectory() as folder:
            code = {}
            for module in ("linear", "conv", "attention"):
                code |= disassemble(ptxas, nvdisasm, HERE / "built" / f"{module}.ptx", folder)
        # Copies of 16 bytes that a thread starts each turn, for a full tile of both sides; tensor products of a warp.
        for kernel, copies, products in (("linear_bf16", 4, 32), ("conv_bf16", 4, 32), ("attention_128_bf16", 8, 128)):
            kernel_code = Code(code[kernel])
            turn = kernel_code.turn(kernel_code.main_loop("HMMA"), copies)
            if turn["HMMA.16816.F32.BF16"] != products:
                raise ValueError(f"{kernel} has {turn} in its main loop, not {products} tensor products")
            self.turns[kernel] = {unit: WARPS * cycles for unit, cycles in warp_costs(turn).items()}
        self.plain = plain_attention(Code(code["attention_any_bf16"]))

    def seconds(self, launch):
        """(seconds of the arithmetic, the unit that bounds it)"""
        kind = launch.kernel.split("_")[0]
        if launch.operations == 0.0:
            return 0.0, "memory"
        if launch.kernel == "attention_any_bf16":
            cycles, unit = max((cycles, unit) for unit, cycles in self.plain.items())
            return launch.operations / 2 / 32 * cycles / MULTIPROCESSORS / CLOCK / OURS["attention"], unit
        # A turn has 32 inputs of a product, 32 channels of a convolution's tap, or 64 keys.
        turns = {"linear": -(-launch.depth // 32), "conv": launch.depth, "attention": -(-launch.depth // 64)}[kind]
        cycles, unit = max((cycles, unit) for unit, cycles in self.turns[launch.kernel].items())
        # The last blocks leave multiprocessors idle.
        blocks = launch.grid[0] * launch.grid[1] * launch.grid[2]
        bound = -(-blocks // MULTIPROCESSORS) * turns * cycles / CLOCK
        believed = launch.operations / PEAK / LIBRARY[kind]
        return max(bound / OURS[kind], believed), unit


def plain_attention(code):
    """{unit: cycles of a multiprocessor for one `FFMA` of a warp} of `attention_any`: scores and values in equal parts."""
    loops = [loop for loop in code.loops() if code.count(*loop, "FFMA") == 16 and code.count(*loop, "BAR") == 0]
    if len(loops) < 2:
        raise ValueError(f"attention_any has {len(loops)} loops of 16 multiply-adds, not one for scores and one for values")
    costs = collections.Counter()
    # In order: channels of a score, then values, for which there is a loop for each of a thread's four channels.
    for first, last in loops[:2]:
        counts = collections.Counter(code.opcodes[first : last + 1])
        for unit, cycles in warp_costs(counts).items():
            costs[unit] += cycles / 16 / 2
    return costs


COLUMNS = ("ours", "cuBLASLt", "cuDNN", "wgmma")


def columns(launch, kernels):
    """(seconds in each of COLUMNS, the unit that bounds ours)"""
    kind = launch.kernel.split("_")[0]
    memory = launch.bytes / BANDWIDTH / MEMORY_SHARE
    arithmetic, unit = kernels.seconds(launch)
    ours = max(memory, arithmetic)
    at_share = max(memory, launch.operations / PEAK / LIBRARY.get(kind, 1.0))
    blas = dnn = ours
    if kind == "linear":
        # The sooner of the two, as it is chosen when a model is loaded.
        blas = dnn = wgmma = min(ours, at_share + launch.behind / BANDWIDTH / MEMORY_SHARE)
    elif launch.kernel == "attention_128_bf16":
        dnn = wgmma = at_share
    elif launch.kernel == "attention_any_bf16":
        # As two products, scores in memory: written and read as they are, and as weights.
        scores = launch.depth**2 * 4 * 2 / BANDWIDTH / MEMORY_SHARE
        wgmma = at_share + scores
    else:
        wgmma = at_share
    return (ours, blas, dnn, wgmma), unit if arithmetic > memory else "memory"


class Row:
    """What the launches of one part add up to."""

    def __init__(self):
        self.launches, self.operations, self.bytes, self.seconds = 0, 0.0, 0.0, [0.0] * len(COLUMNS)
        self.units = collections.Counter()

    def add(self, launch, times, kernels):
        seconds, unit = columns(launch, kernels)
        self.launches += times
        self.operations += times * launch.operations
        self.bytes += times * launch.bytes
        self.seconds = [sum + times * of_one for sum, of_one in zip(self.seconds, seconds)]
        self.units[unit] += times * seconds[0]

    def cells(self):
        unit = self.units.most_common(1)[0][0] if self.units else ""
        times = [f"{seconds * 1e3:.1f}" for seconds in self.seconds]
        return [str(self.launches), f"{self.operations / 1e12:.1f}", f"{self.bytes / 1e9:.1f}", unit, *times]


def rows_of(model, kernels):
    """{part: Row}, in order of their first launch; then what launching costs."""
    rows = {}
    for launch, times in Chunk(model).launches.items():
        rows.setdefault(launch.part, Row()).add(launch, times, kernels)
    launches = sum(row.launches for row in rows.values())
    gates = sum(times for launch, times in Chunk(model).launches.items() if launch.behind)
    rows["3 us for each launch"] = Row()
    rows["3 us for each launch"].seconds = [LAUNCH * count for count in (launches, *[launches + gates] * 3)]
    return rows


HEAD = ["", "launches", "TFLOP", "GB", "ours bound by", *(f"{column}, ms" for column in COLUMNS)]


def table(name, model, kernels):
    """Rows of cells: a head, each part, the chunk, frames a second, and the mark."""
    rows = rows_of(model, kernels)
    total = Row()
    for row in rows.values():
        total.launches, total.operations, total.bytes = (
            getattr(total, field) + getattr(row, field) for field in ("launches", "operations", "bytes")
        )
        total.seconds = [sum + seconds for sum, seconds in zip(total.seconds, row.seconds)]
    most, mark = MARKS[name]
    lines = [HEAD] + [[part, *row.cells()] for part, row in rows.items()]
    lines.append([f"a chunk of {name}", *total.cells()])
    lines.append([f"frames a second, {name}", "", "", "", "", *(f"{model.frames / seconds:.1f}" for seconds in total.seconds)])
    lines.append([f"mark: {mark}", "", "", "", "", *("met" if seconds <= most else "missed" for seconds in total.seconds)])
    return lines


def show(name, model, lines):
    width, height = model.size
    print(f"\nLingBot World {name}, calculated, not measured: a chunk of {model.frames} frames at {width}x{height},")
    print(f"{model.steps} steps and a clean pass, {model.tokens} tokens that see {model.keys} keys\n")
    for cells in lines:
        print(f"{cells[0]:36}{cells[1]:>9}{cells[2]:>8}{cells[3]:>8}  {cells[4]:14}" + "".join(f"{cell:>15}" for cell in cells[5:]))


def in_markdown(cells):
    return f"| {' | '.join(cells)} |".replace("|  ", "| ")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ptxas")
    parser.add_argument("--nvdisasm")
    parser.add_argument("--launches", metavar="MODEL")
    parser.add_argument("--page", type=pathlib.Path, help="fail unless this page holds the table of the 14B and the sums of the 1.3B")
    given = parser.parse_args()
    if given.launches:
        for launch, times in Chunk(Model(**json.loads(given.launches))).launches.items():
            for _ in range(times):
                print(launch.kernel, *launch.grid)
        return
    if not given.ptxas or not given.nvdisasm:
        parser.error("--ptxas and --nvdisasm are needed: make chunk-time")
    kernels = Kernels(given.ptxas, given.nvdisasm)
    print("Cycles of a multiprocessor that a block occupies a unit with, in one turn of the main loop:")
    for kernel, units in kernels.turns.items():
        busiest_first = sorted(units.items(), key=lambda unit: -unit[1])
        print(f"  {kernel}: " + ", ".join(f"{unit} {cycles:.0f}" for unit, cycles in busiest_first))
    large, small = table("14B", LINGBOT_14B, kernels), table("1.3B", LINGBOT_1_3B, kernels)
    show("14B", LINGBOT_14B, large)
    show("1.3B", LINGBOT_1_3B, small)
    print()
    print(SOURCES)
    if given.page:
        expected = [in_markdown(cells) for cells in large + small[-3:]]
        if missing := [line for line in expected if line not in given.page.read_text().splitlines()]:
            sys.exit(f"{given.page} must hold these lines:\n" + "\n".join(missing))


if __name__ == "__main__":
    main()
