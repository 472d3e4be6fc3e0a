"""Makes PTX of the kernels with NVRTC, which needs no GPU, no driver and no toolkit headers. See docs/gpu.md.

    build.py --nvrtc LIBNVRTC [--check]

Writes `built/NAME.ptx`, each with the hash of its sources in the first line. `--check` compares instead, and fails where the
committed text is not what the sources give.
"""
import argparse
import ctypes
import hashlib
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
VERSION = (12, 8)
# Of PTX: what this NVRTC writes, and what the kernels need.
NEWEST, NEEDED = "8.7", "7.8"
OPTIONS = ["--gpu-architecture=compute_80", "--std=c++17", "--fmad=true", "--extra-device-vectorization"]
MODULES = ["norm", "elementwise", "frames", "linear", "conv", "attention"]


def sources(name, folder=HERE):
    """Name and text of a module's files: the module, then the headers that it includes, in order."""
    files = [f"{name}.cu"]
    for file in files:
        text = (folder / file).read_text()
        files += [other for other in re.findall(r'^#include "([\w.]+)"$', text, re.M) if other not in files]
    return [(file, (folder / file).read_text()) for file in files]


def source_hash(name, folder=HERE):
    """What stands in the head of the PTX: SHA-256 of the texts of its files, one after the other."""
    return hashlib.sha256("".join(text for _, text in sources(name, folder)).encode()).hexdigest()


class Nvrtc:
    def __init__(self, path):
        # Without links: it looks for its other half beside itself.
        self.library = ctypes.CDLL(str(pathlib.Path(path).resolve()))
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = (major.value, minor.value)

    def call(self, name, *arguments):
        code = getattr(self.library, name)(*arguments)
        if code:
            self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
            raise RuntimeError(f"{name}: {self.library.nvrtcGetErrorString(code).decode()}")

    def compile(self, name, folder):
        """The PTX of a module."""
        (file, text), *headers = sources(name, folder)
        program = ctypes.c_void_p()
        texts = (ctypes.c_char_p * len(headers))(*(text.encode() for _, text in headers))
        names = (ctypes.c_char_p * len(headers))(*(file.encode() for file, _ in headers))
        self.call("nvrtcCreateProgram", ctypes.byref(program), text.encode(), file.encode(), len(headers), texts, names)
        given = (ctypes.c_char_p * len(OPTIONS))(*(option.encode() for option in OPTIONS))
        code = self.library.nvrtcCompileProgram(program, len(OPTIONS), given)
        size = ctypes.c_size_t()
        self.call("nvrtcGetProgramLogSize", program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        self.call("nvrtcGetProgramLog", program, log)
        if said := log.value.decode().strip():
            print(said, file=sys.stderr)
        if code:
            raise RuntimeError(f"{file} cannot be compiled")
        self.call("nvrtcGetPTXSize", program, ctypes.byref(size))
        out = ctypes.create_string_buffer(size.value)
        self.call("nvrtcGetPTX", program, out)
        self.call("nvrtcDestroyProgram", ctypes.byref(program))
        return out.value.decode()

    def module(self, name, folder=HERE):
        """The text of a module as it is committed."""
        ptx = self.compile(name, folder)
        # NVRTC's own head names its build; ours says what the text depends on. It also asks for a driver of its own age, although
        # no instruction is newer than PTX 7.8, which every driver since CUDA 11.8 reads (ptxas would say so: assemble.py).
        body = ptx[ptx.index(".version") :].strip().replace(f".version {NEWEST}", f".version {NEEDED}", 1)
        return f"// source sha256: {source_hash(name, folder)}\n// made by build.py with NVRTC {VERSION[0]}.{VERSION[1]}, {' '.join(OPTIONS)}\n\n{body}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nvrtc", required=True, help="path of libnvrtc.so.12")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    nvrtc = Nvrtc(given.nvrtc)
    if nvrtc.version != VERSION:
        sys.exit(f"this NVRTC is {nvrtc.version}; the committed PTX is made by {VERSION}")
    wrong = []
    for name in MODULES:
        path, text = HERE / "built" / f"{name}.ptx", nvrtc.module(name)
        if given.check:
            wrong += [name] * (not path.exists() or path.read_text() != text)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            print(f"{path.name}: {len(text)} bytes")
    if wrong:
        sys.exit(f"the committed PTX of {', '.join(wrong)} is not what the sources give: run build.py")


if __name__ == "__main__":
    main()
