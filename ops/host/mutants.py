"""Plants the mistakes of ../kernels/mutants.txt, one at a time, and expects that the tests of the kernels find each of them.

    mutants.py FOLDER [--nvrtc LIBNVRTC] [--cute INCLUDE,INCLUDE...] [--bounded]

FOLDER holds `plain` and `checked`, as build.sh made them. Without NVRTC the mistakes in the GPU half of portable.cuh are left
out, without CuTe's headers those of its layouts: the last line says how many. --bounded: a few, for `make test`.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HOST = pathlib.Path(__file__).resolve().parent
KERNELS = HOST.parent / "kernels"
sys.dont_write_bytecode = True
sys.path.insert(0, str(KERNELS))
from build import MODULES, Nvrtc  # noqa: E402

FLAGS = ["-std=c++17", "-w", "-DON_HOST"]
PLAIN, CHECKED = ["-O1"], ["-O1", "-g1", "-fsanitize=address,bounds,alignment"]
# A kernel that hangs is found, too, but this is far more than any test takes.
SECONDS = 120


def read_list():
    mutants = []
    for block in (KERNELS / "mutants.txt").read_text().split("\n= ")[1:]:
        name, *lines = block.rstrip("\n").split("\n")
        mutant = {"name": name, "old": [], "new": []}
        for line in lines:
            if line[:1] in "-+":
                mutant["old" if line[:1] == "-" else "new"].append(line[1:])
            elif line:
                key, _, value = line.partition(" ")
                mutant[key] = value or True
        # A removed line goes with its end.
        mutant["old"], mutant["new"] = "\n".join(mutant["old"]), "\n".join(mutant["new"])
        mutant.setdefault("module", mutant["file"].split(".")[0])
        mutants.append(mutant)
    return mutants


class Tree:
    """A copy of kernels and host with one mistake in it."""

    def __init__(self, folder, mutant):
        self.folder = pathlib.Path(folder)
        shutil.copytree(KERNELS, self.folder / "kernels", ignore=shutil.ignore_patterns("built", "__pycache__"))
        shutil.copytree(HOST, self.folder / "host", ignore=shutil.ignore_patterns("__pycache__"))
        path = self.folder / ("kernels" if (KERNELS / mutant["file"]).exists() else "host") / mutant["file"]
        text = path.read_text()
        if text.count(mutant["old"]) != 1:
            raise RuntimeError(f"{mutant['name']}: its lines stand {text.count(mutant['old'])} times in {mutant['file']}, not once")
        path.write_text(text.replace(mutant["old"], mutant["new"]))


def test(command):
    """None, or how the mistake was found."""
    environment = os.environ | {"ASAN_OPTIONS": "detect_stack_use_after_return=0:detect_leaks=0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment)
    except subprocess.TimeoutExpired:
        return "it hangs"
    if done.returncode == 0:
        return None
    said = done.stdout + done.stderr
    if done.returncode == 2 or "not executed" in said:
        raise RuntimeError(said)  # a mistake in the list: the tests did not run at all
    why = re.search(r"simt: [^(]*|AddressSanitizer: [\w-]+|runtime error: .*|wrote beside its result|place \d+ is .*?, not [^ ]*|WRONG.*", said)
    return why[0].strip() if why else f"it ends with {done.returncode}"


def compiled(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stderr}")


def find(mutant, given, nvrtc):
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(pathlib.Path(folder) / "tree", mutant).folder
        rung, program = mutant["rung"], f"{folder}/program"
        if rung == "cute":
            compiled(["g++", *FLAGS, *(f"-I{path}" for path in given.cute.split(",")), tree / "host/cute_check.cpp", "-o", program])
            return test([program])
        if rung == "ptx":
            shutil.copytree(KERNELS / "built", f"{folder}/built")
            pathlib.Path(f"{folder}/built/{mutant['module']}.ptx").write_text(nvrtc.module(mutant["module"], tree / "kernels"))
            return test([f"{given.folder}/plain/kernels-test", "--ptx", f"{folder}/built", "--filter", mutant["test"]])
        flags, made = (CHECKED, "checked") if rung == "checked" else (PLAIN, "plain")
        compiled(["g++", *FLAGS, *flags, "-c", "-x", "c++", tree / "kernels" / f"{mutant['module']}.cu", "-o", f"{folder}/kernel.o"])
        others = [path for path in pathlib.Path(given.folder, made).glob("*.o") if path.name != "kernels.o"]
        compiled(["g++", *flags, f"{folder}/kernel.o", *others, "-o", program])
        return test([program, "--filter", mutant["test"]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--nvrtc")
    parser.add_argument("--cute")
    parser.add_argument("--bounded", action="store_true")
    given = parser.parse_args()
    every = read_list()
    possible = {"fibers": True, "checked": True, "ptx": given.nvrtc, "cute": given.cute}
    chosen = [m for m in every if possible[m["rung"]] and (m.get("bounded") or not given.bounded)]
    # Every rung passes before a mistake is planted: `make test` has just seen that.
    rungs = [("plain", []), ("checked", []), ("plain", ["--ptx", str(KERNELS / "built")])]
    for made, more in rungs[: 0 if given.bounded else 3]:
        if why := test([f"{given.folder}/{made}/kernels-test", *more]):
            sys.exit(f"without a mistake, {made} {' '.join(more)} fails: {why}")
    nvrtc = Nvrtc(given.nvrtc) if given.nvrtc else None
    # Each function of the GPU half has a mistake that is named after it.
    half = (KERNELS / "portable.cuh").read_text().split("\n#else\n")[1].split("\n#endif\n")[0]
    wrappers = re.findall(r"^DEVICE \S+ (\w+)\(", half, re.M) + ["BLOCK_SYNC"]
    named = {m["name"].split(":")[0] for m in every if m["rung"] == "ptx"}
    if forgotten := set(wrappers) - named:
        sys.exit(f"no mistake is planted in {', '.join(sorted(forgotten))}")
    survived = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for mutant, why in zip(chosen, pool.map(lambda m: find(m, given, nvrtc), chosen)):
            print(f"{'found   ' if why else 'SURVIVED'}  {mutant['rung']:7} {mutant['file']:14} {mutant['name']}: {why}", flush=True)
            survived += [mutant["name"]] * (not why)
    print(f"{len(chosen) - len(survived)} of {len(chosen)} mistakes found; {len(every) - len(chosen)} not tried")
    sys.exit(bool(survived))


if __name__ == "__main__":
    main()
