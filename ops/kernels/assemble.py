"""Assembles the committed PTX for every GPU generation, as a driver would, and holds the result to bounds.txt.

    assemble.py --ptxas PTXAS [--write]

Registers must stay within a kernel's bound, or fewer of its blocks fit on a multiprocessor; a bound may not be more than 8
above what is used. Spills and stack frames are errors. Shared memory that the kernel declares is compared exactly.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

from build import HERE, MODULES

ARCHITECTURES = [80, 89, 90, 100, 120]
BOUNDS = HERE / "bounds.txt"
HEAD = """# Registers of a thread (most, over sm_80, 89, 90, 100 and 120) and static shared memory of a block, bytes: assemble.py.
# No kernel may spill registers to memory or have a stack frame.
"""


def assemble(ptxas, module, architecture, folder):
    """{kernel: (registers, shared bytes, stack and spill bytes)}"""
    command = [ptxas, f"-arch=sm_{architecture}", "-v", str(HERE / "built" / f"{module}.ptx"), "-o", f"{folder}/{module}.cubin"]
    said = subprocess.run(command, capture_output=True, text=True)
    if said.returncode:
        sys.exit(f"{module}.ptx is refused for sm_{architecture}:\n{said.stderr}")
    found = {}
    for part in said.stderr.split("Compiling entry function '")[1:]:
        name = part[: part.index("'")]
        registers = int(re.search(r"Used (\d+) registers", part)[1])
        shared = re.search(r"(\d+) bytes smem", part)
        in_memory = sum(int(n) for n in re.findall(r"(\d+) bytes (?:stack frame|spill stores|spill loads)", part))
        found[name] = (registers, int(shared[1]) if shared else 0, in_memory)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ptxas", required=True)
    parser.add_argument("--write", action="store_true", help="write bounds.txt instead of reading it")
    given = parser.parse_args()
    most, wrong = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for architecture in ARCHITECTURES:
            for module in MODULES:
                for name, (registers, shared, in_memory) in assemble(given.ptxas, module, architecture, folder).items():
                    before = most.get(name, (0, shared))
                    most[name] = (max(registers, before[0]), max(shared, before[1]))
                    if in_memory:
                        wrong.append(f"{name} on sm_{architecture}: {in_memory} bytes of stack and spills")
    if given.write:
        BOUNDS.write_text(HEAD + "".join(f"{name} {registers} {shared}\n" for name, (registers, shared) in most.items()))
    bounds = {}
    for line in BOUNDS.read_text().splitlines():
        if line and not line.startswith("#"):
            name, registers, shared = line.split()
            bounds[name] = (int(registers), int(shared))
    for name in bounds.keys() ^ most.keys():
        wrong.append(f"{name} is {'in bounds.txt alone' if name in bounds else 'not in bounds.txt'}")
    for name in sorted(bounds.keys() & most.keys()):
        (registers, shared), (allowed, declared) = most[name], bounds[name]
        if not allowed - 8 <= registers <= allowed:
            wrong.append(f"{name} uses {registers} registers; its bound is {allowed}")
        if shared != declared:
            wrong.append(f"{name} declares {shared} bytes of shared memory, not {declared}")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{len(most)} kernels for sm_{', '.join(map(str, ARCHITECTURES))}: within their bounds, no spills")


if __name__ == "__main__":
    main()
