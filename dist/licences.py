"""The licences of what is linked into the binary, from Cargo's metadata and the crates' own files.

A licence that nobody has looked at stops the packaging: add it to ALLOWED once somebody has.
"""

import json
import re
import subprocess
import sys

# Licences under which a crate may be linked into a program that is given away in binary form.
ALLOWED = set(
    "0BSD Apache-2.0 BSD-2-Clause BSD-3-Clause BSL-1.0 CC0-1.0 CDLA-Permissive-2.0 IJG ISC LLVM-exception MIT MIT-0 "
    "MPL-2.0 Unicode-3.0 Unlicense Zlib".split()
)
TEXT = re.compile(r"^(licen[cs]e|copying|notice|unlicense|patents|copyright)([-_.].*)?$", re.IGNORECASE)


def linked(root):
    """Packages that the server's binary is made of: not those that only build or test it."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    is_macro = lambda package: any("proc-macro" in target["kind"] for target in package["targets"])
    ours = set(metadata["workspace_members"])
    found, waiting = set(), [id for id in ours if packages[id]["name"] == "server"]
    while waiting:
        id = waiting.pop()
        if id in found or is_macro(packages[id]):
            continue
        found.add(id)
        # Parts in C come as crates that a crate links, never as what only its build script uses.
        normal = lambda edge: any(kind["kind"] is None for kind in edge["dep_kinds"])
        waiting += [edge["pkg"] for edge in nodes[id]["deps"] if normal(edge)]
    return sorted((packages[id] for id in found - ours), key=lambda package: (package["name"], package["version"]))


def is_allowed(expression):
    """Whether one of the choices that an SPDX expression gives has only licences that are allowed."""
    choices = re.split(r"\s+OR\s+|/", expression.replace("(", "").replace(")", ""))
    return any(set(re.split(r"\s+AND\s+|\s+WITH\s+", choice.strip())) <= ALLOWED for choice in choices)


def texts(package):
    """The files of a crate that hold its licence, and those of the C code in it."""
    from pathlib import Path

    folder = Path(package["manifest_path"]).parent
    files = [file for file in folder.rglob("*") if file.is_file() and TEXT.match(file.name)]
    near = [file for file in files if len(file.relative_to(folder).parts) <= 3 and file.suffix not in {".rs", ".h", ".c"}]
    return [file.read_text(errors="replace").strip() for file in sorted(near)]


def third_party(root):
    """One text: each crate with its licence, then every licence's text once, with the crates that it came from."""
    packages = linked(root)
    unknown = [f"{p['name']} {p['version']}: {p['license']}" for p in packages if not is_allowed(p["license"] or "none")]
    if unknown:
        sys.exit("licences that nobody has looked at (dist/licences.py):\n  " + "\n  ".join(unknown))
    lines = ["What is linked into the binary, beside the standard libraries of Rust (MIT OR Apache-2.0):", ""]
    of_text, without = {}, []
    for package in packages:
        name = f"{package['name']} {package['version']}"
        lines.append(f"{name}: {package['license']}, {package['repository'] or package['homepage'] or 'crates.io'}")
        found = texts(package)
        for text in found:
            of_text.setdefault(text, []).append(name)
        if not found:
            without.append(f"{name}, by {', '.join(package['authors']) or 'its authors'}")
    if without:
        lines += ["", "Crates that come without the text of the licence that they name above:", *without]
    for text, names in of_text.items():
        lines += ["", "=" * 80, f"{', '.join(names)}:", "", text]
    return "\n".join(lines) + "\n"
