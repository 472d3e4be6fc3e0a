"""Counts instructions in what ptxas makes of the committed PTX, with nvdisasm: what one turn of a kernel's main loop issues.

Only the machine code says how many loads, copies and exponentials stand beside the tensor products. A loop has several ways
through it (addresses that are aligned, or not); counted is the shortest one that issues as many copies as a full tile needs.
"""
import collections
import heapq
import re
import subprocess

INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+ )?([A-Z][\w.]*)\s*(.*?);?\s*$")
LABEL = re.compile(r"^\.(L_x_\d+):")
TARGET = re.compile(r"`\(\.(L_x_\d+)\)")
# Operations of dense bf16 products a cycle and multiprocessor: 989.4 TFLOP/s = 132 multiprocessors · 1.83 GHz · 4096.
PEAK_A_CYCLE = 4096
# What `mma.sync` reaches of it, at most: Luo and others, "Benchmarking and Dissecting the Nvidia Hopper GPU Architecture"
# (arXiv:2402.13499). The rest needs `wgmma`.
MMA_SHARE = 0.63
# Leaves the path that is counted: the slow way of a division, and the end.
LEAVES = ("CALL", "RET")


def disassemble(ptxas, nvdisasm, ptx, folder, architecture=90):
    """{kernel: lines}"""
    cubin = f"{folder}/{ptx.stem}.cubin"
    subprocess.run([ptxas, f"-arch=sm_{architecture}", str(ptx), "-o", cubin], check=True)
    said = subprocess.run([nvdisasm, "-c", cubin], check=True, capture_output=True, text=True).stdout
    kernels, lines = {}, None
    for line in said.splitlines():
        if found := re.match(r"^\.text\.(\w+):", line):
            lines = kernels.setdefault(found[1], [])
        elif line.startswith(".section") or line.startswith("\t.section"):
            lines = None
        elif lines is not None:
            lines.append(line)
    return kernels


class Code:
    """The instructions of one kernel, in order, and where its labels stand."""

    def __init__(self, lines):
        self.opcodes, self.operands, self.conditional, self.labels = [], [], [], {}
        for line in lines:
            if label := LABEL.match(line):
                self.labels[label[1]] = len(self.opcodes)
            elif found := INSTRUCTION.match(line):
                self.opcodes.append(found[1])
                self.operands.append(found[2])
                # `@P0 BRA` and `BRA P1,` may both go on.
                self.conditional.append("@" in line or re.match(r"!?U?P\d", found[2]) is not None)

    def target(self, at):
        """Where the branch at this place leads; None if there is none."""
        found = TARGET.search(self.operands[at])
        return self.labels[found[1]] if found and self.opcodes[at].startswith("BRA") else None

    def loops(self):
        """(first, last) of each loop: from the place that a branch goes back to, to that branch."""
        branches = ((self.target(at), at) for at in range(len(self.opcodes)))
        return [(first, last) for first, last in branches if first is not None and first < last]

    def count(self, first, last, beginning):
        return sum(opcode.startswith(beginning) for opcode in self.opcodes[first : last + 1])

    def main_loop(self, beginning):
        """The innermost loop that holds the most instructions of a sort."""
        return max(self.loops(), key=lambda loop: (self.count(*loop, beginning), loop[0] - loop[1]))

    def turn(self, loop, copies):
        """Instructions of one turn, by opcode: the shortest way around that issues exactly so many `LDGSTS`."""
        first, last = loop
        # (instructions so far, the next one, copies so far, jumps taken)
        waiting, seen = [(0, first, 0, ())], set()
        while waiting:
            length, at, copied, jumps = heapq.heappop(waiting)
            if (at, copied) in seen or not first <= at <= last or self.opcodes[at].startswith(LEAVES):
                continue
            seen.add((at, copied))
            copied += self.opcodes[at].startswith("LDGSTS")
            if at == last and copied == copies:
                return self.along(first, last, jumps)
            if at == last or copied > copies:
                continue
            target = self.target(at)
            if target is None or self.conditional[at]:
                heapq.heappush(waiting, (length + 1, at + 1, copied, jumps))
            if target is not None:
                heapq.heappush(waiting, (length + 1, target, copied, (*jumps, (at, target))))
        raise ValueError(f"no way around the loop issues {copies} copies")

    def along(self, first, last, jumps):
        """Instructions by opcode from first to last, with these jumps."""
        counts, at, jumps = collections.Counter(), first, list(jumps)
        while True:
            counts[self.opcodes[at]] += 1
            if at == last:
                return counts
            at = jumps.pop(0)[1] if jumps and jumps[0][0] == at else at + 1


def warp_costs(counts):
    """What these instructions of one warp occupy: {unit: cycles of a whole multiprocessor}.

    Results a cycle and multiprocessor of compute capability 9.0, from the table of arithmetic throughput in NVIDIA's CUDA C++
    programming guide: 128 in f32, 64 of integers and conversions, 16 of exponentials and the like; four schedulers issue one
    instruction each; shared memory moves 128 bytes. A tensor product (`HMMA.16816`) is 4096 operations: `MMA_SHARE` of the peak.
    """
    total = collections.Counter()
    for opcode, count in counts.items():
        name = opcode.split(".")[0]
        total["issue"] += count / 4
        if name == "HMMA":
            total["tensor"] += count * 4096 / (PEAK_A_CYCLE * MMA_SHARE)
        elif name == "LDSM":
            total["shared memory"] += count * 128 * int(opcode[-1]) / 128
        elif name in ("LDGSTS", "LDS", "STS"):
            total["shared memory"] += count * 32 * bytes_of(opcode) / 128
        elif name == "SHFL":
            total["shared memory"] += count
        elif name == "MUFU":
            total["exponentials"] += count * 32 / 16
        elif name in ("FFMA", "FADD", "FMUL", "FMNMX", "FSETP", "FSEL"):
            total["f32"] += count * 32 / 128
        elif name in ("IADD3", "LOP3", "ISETP", "IMAD", "LEA", "SHF", "SEL", "PRMT", "VIADD", "F2FP", "F2F"):
            total["integers"] += count * 32 / 64
    return total


def bytes_of(opcode):
    """Of one lane."""
    widths = [int(part) // 8 for part in opcode.split(".")[1:] if part.isdigit()]
    return widths[0] if widths else 4
