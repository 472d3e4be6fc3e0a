"""Packages of a release build: a tarball, a Debian package and a Python wheel, each with the one binary.

    python3 dist/build.py target/release/causeway target/dist

Python's standard library, binutils, dpkg-deb and cargo are enough. The same commit gives the same bytes: files are sorted, and
their time is that of the commit.
"""

import base64
import email.utils
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from licences import third_party

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
SUMMARY = "A realtime world-model server: one WebSocket, a picture, a prompt, held keys; video comes back."
# Without the weights that are embedded. What is larger has grown by something that nobody looked at.
BYTES_MAX = 28_000_000
COMMANDS = ["serve", "key", "generate", "replay", "inspect", "bench", "check", "completions", "man"]
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Causeway
Comment: THIRD-PARTY.txt beside this file has what is linked into the program, and its licences.

Files: *
Copyright: 2026 the authors of Causeway
License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.
"""
SHELLS = {"bash": "causeway.bash", "zsh": "_causeway", "fish": "causeway.fish"}


def run(*command, **how):
    return subprocess.run([str(word) for word in command], check=True, text=True, stdout=subprocess.PIPE, **how).stdout


def commit_time():
    """Seconds since 1970, for all files."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given) if given else int(run("git", "-C", ROOT, "log", "-1", "--format=%ct"))


def newest(binary, prefix):
    """The newest version of `prefix` (GLIBC, GLIBCXX) among the symbols that the binary needs, as numbers."""
    found = re.findall(rf"\b{prefix}_([0-9.]+)", run("objdump", "-T", binary))
    return max(tuple(int(part) for part in version.split(".")) for version in found)


def strip(binary, folder):
    """The binary without symbols, after a look at its size."""
    stripped = folder / "causeway"
    run("strip", "-o", stripped, binary)
    stripped.chmod(0o755)
    weights = sum(file.stat().st_size for file in (ROOT / "pocket/weights").rglob("*") if file.is_file())
    without = stripped.stat().st_size - weights
    if without > BYTES_MAX:
        sys.exit(f"the binary is {without} bytes without its weights: {BYTES_MAX} are allowed")
    print(f"binary: {stripped.stat().st_size} bytes, {without} without the embedded weights ({BYTES_MAX} allowed)")
    return stripped


def documents(binary):
    """What goes into each package beside the binary: the manual's pages, completions, licences, service, dashboard."""
    files = {"LICENSE": (ROOT / "LICENSE").read_bytes(), "THIRD-PARTY.txt": third_party(ROOT).encode()}
    files["README.md"] = (ROOT / "README.md").read_bytes()
    for page in sorted((ROOT / "docs").iterdir()):
        files[f"docs/{page.name}"] = page.read_bytes()
    for name in ["causeway.service", "causeway.default", "Dockerfile", "compose.yaml", "grafana.json", "alerts.yaml", "haproxy.cfg"]:
        files[f"dist/{name}"] = (DIST / name).read_bytes()
    files["man/causeway.1"] = run(binary, "man").encode()
    for command in COMMANDS:
        files[f"man/causeway-{command}.1"] = run(binary, "man", command).encode()
    for shell, name in SHELLS.items():
        files[f"completions/{name}"] = run(binary, "completions", shell).encode()
    return files


def tarball(path, binary, files, time):
    top = path.name.removesuffix(".tar.gz")
    entries = {"causeway": binary.read_bytes(), **files}
    with open(path, "wb") as out, gzip.GzipFile("", "wb", 9, out, mtime=time) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, content in sorted(entries.items()):
                entry = tarfile.TarInfo(f"{top}/{name}")
                entry.size, entry.mtime = len(content), time
                entry.mode = 0o755 if name == "causeway" else 0o644
                entry.uname = entry.gname = "root"
                tar.addfile(entry, io.BytesIO(content))


def wheel(folder, version, binary, files):
    """A wheel without Python code: pip puts the binary into the environment's `bin`."""
    glibc = newest(binary, "GLIBC")
    # Each manylinux platform promises a C++ library, too; 2_34 is the first that has this one.
    promised = {(2, 31): (3, 4, 28), (2, 34): (3, 4, 29), (2, 35): (3, 4, 30), (2, 39): (3, 4, 33)}
    needed = newest(binary, "GLIBCXX")
    good = [platform for platform, has in promised.items() if platform >= glibc and has >= needed]
    if not good:
        sys.exit(f"the binary needs glibc {glibc} and GLIBCXX {needed}: name the manylinux platform that has both")
    tag = "py3-none-manylinux_{}_{}_x86_64".format(*min(good))
    name, info = f"causeway_server-{version}", f"causeway_server-{version}.dist-info"
    metadata = (
        f"Metadata-Version: 2.4\nName: causeway-server\nVersion: {version}\nSummary: {SUMMARY}\n"
        "License-Expression: Apache-2.0\nLicense-File: LICENSE\nLicense-File: THIRD-PARTY.txt\n"
        "Requires-Python: >=3.8\nDescription-Content-Type: text/markdown\n\n"
    )
    entries = {
        f"{name}.data/scripts/causeway": binary.read_bytes(),
        f"{name}.data/data/share/man/man1/causeway.1": files["man/causeway.1"],
        f"{info}/licenses/LICENSE": files["LICENSE"],
        f"{info}/licenses/THIRD-PARTY.txt": files["THIRD-PARTY.txt"],
        f"{info}/METADATA": metadata.encode() + (DIST / "wheel.md").read_bytes(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: causeway\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
    }
    digest = lambda content: base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    record = [f"{path},sha256={digest(content)},{len(content)}\n" for path, content in entries.items()]
    entries[f"{info}/RECORD"] = "".join([*record, f"{info}/RECORD,,\n"]).encode()
    path = folder / f"{name}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for inside, content in entries.items():
            # Zip knows no time before 1980, and needs none.
            entry = zipfile.ZipInfo(inside, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = (0o100755 if inside.endswith("scripts/causeway") else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(entry, content)
    return path


def debian_dependencies(binary):
    """The packages that have the libraries the binary is linked with."""
    libraries = re.findall(r"NEEDED\s+(\S+)", run("objdump", "-p", binary))
    glibc = ".".join(map(str, newest(binary, "GLIBC")))
    # GCC's first version with these symbols: https://gcc.gnu.org/onlinedocs/libstdc++/manual/abi.html
    # Whatever has this glibc has the library of GCC 9.
    third = max(28, (*newest(binary, "GLIBCXX"), 0, 0)[2])
    gcc = {28: "9.3", 29: "11", 30: "12", 31: "13", 32: "13.1", 33: "14"}[third]
    packages = {
        "libc.so.6": f"libc6 (>= {glibc})",
        "libm.so.6": f"libc6 (>= {glibc})",
        "ld-linux-x86-64.so.2": f"libc6 (>= {glibc})",
        "libgcc_s.so.1": "libgcc-s1 (>= 3.0)",
        "libstdc++.so.6": f"libstdc++6 (>= {gcc})",
    }
    return ", ".join(sorted({packages[library] for library in libraries}))


def debian(folder, version, binary, files, time):
    tree = folder / "deb"
    shutil.rmtree(tree, ignore_errors=True)

    def put(path, content, mode=0o644):
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)

    pack = lambda content: gzip.compress(content, 9, mtime=0)
    put("usr/bin/causeway", binary.read_bytes(), 0o755)
    doc = "usr/share/doc/causeway"
    for name, content in files.items():
        place = {
            "man": f"usr/share/man/man1/{Path(name).name}.gz",
            "docs": f"{doc}/{name}",
            "completions": {
                "causeway.bash": "usr/share/bash-completion/completions/causeway",
                "_causeway": "usr/share/zsh/vendor-completions/_causeway",
                "causeway.fish": "usr/share/fish/vendor_completions.d/causeway.fish",
            }.get(Path(name).name),
            "dist": {
                "causeway.service": "lib/systemd/system/causeway.service",
                "causeway.default": "etc/default/causeway",
            }.get(Path(name).name, f"{doc}/examples/{Path(name).name}"),
        }.get(name.split("/")[0], f"{doc}/{name}")
        # Debian has it in one place for all.
        if name == "LICENSE":
            continue
        put(place, pack(content) if place.endswith(".gz") else content)
    put(f"{doc}/copyright", COPYRIGHT.encode())
    maintainer = f"{os.environ.get('DEBFULLNAME', 'Causeway')} <{os.environ.get('DEBEMAIL', 'causeway@example.org')}>"
    entry = f"causeway ({version}) stable; urgency=medium\n\n  * Built from the project's own sources.\n\n"
    put(f"{doc}/changelog.gz", pack(f"{entry} -- {maintainer}  {email.utils.formatdate(time)}\n".encode()))
    # Decoders of the system may differ in a level of a pixel, and the same recording must draw the same bytes everywhere.
    put("usr/share/lintian/overrides/causeway", b"causeway: embedded-library libjpeg *\n")
    for script in ["postinst", "prerm", "postrm"]:
        put(f"DEBIAN/{script}", (DIST / "debian" / script).read_bytes(), 0o755)
    put("DEBIAN/conffiles", b"/etc/default/causeway\n")
    installed = sum(file.stat().st_size for file in tree.rglob("*") if file.is_file()) // 1024
    put(
        "DEBIAN/control",
        (
            f"Package: causeway\nVersion: {version}\nArchitecture: amd64\nSection: net\nPriority: optional\n"
            f"Maintainer: {maintainer}\n"
            f"Installed-Size: {installed}\nDepends: {debian_dependencies(binary)}\n"
            "Description: realtime world-model server\n"
            " A client opens one WebSocket, sends a picture and a prompt, holds keys, and\n"
            " receives video: a causal diffusion model draws it chunk by chunk. The page\n"
            " and a small world come with it; it needs no GPU and no network.\n"
        ).encode(),
    )
    sums = [
        f"{hashlib.md5(file.read_bytes()).hexdigest()}  {file.relative_to(tree)}\n"
        for file in sorted(tree.rglob("*"))
        if file.is_file() and "DEBIAN" not in file.parts
    ]
    put("DEBIAN/md5sums", "".join(sums).encode())
    for place in tree.rglob("*"):
        if place.is_dir():
            place.chmod(0o755)
    tree.chmod(0o755)
    path = folder / f"causeway_{version}_amd64.deb"
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(time)}
    run("dpkg-deb", "--root-owner-group", "-Zxz", "--build", tree, path, env=env)
    shutil.rmtree(tree)
    return path


def main():
    binary, folder = Path(sys.argv[1]), Path(sys.argv[2])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    time = commit_time()
    stripped = strip(binary, folder)
    version = run(stripped, "--version").split()[1]
    files = documents(stripped)
    made = [folder / f"causeway-{version}-x86_64-linux-gnu.tar.gz"]
    tarball(made[0], stripped, files, time)
    made += [wheel(folder, version, stripped, files), debian(folder, version, stripped, files, time)]
    stripped.unlink()
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made]
    (folder / "SHA256SUMS").write_text("".join(sums))
    for path in made:
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
