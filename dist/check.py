"""Installs what dist/build.py made, each in a place of its own, starts it, and asks whether it is well.

    python3 dist/check.py target/dist

One line for each thing that was tried. What no tool is here for is said, and is no error.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

DIST = Path(__file__).resolve().parent
PATIENCE = 60


def run(*command, **how):
    done = subprocess.run([str(word) for word in command], text=True, capture_output=True, **how)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def serve(binary, while_it_runs=None):
    """Start it as a user would, ask /health, stop it. Gives what it said of its version and how soon it was ready."""
    version = run(binary, "--version").strip()
    began = time.monotonic()
    process = subprocess.Popen([binary, "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        url = process.stdout.readline().split()[-1]
        health = {}
        while health.get("status") != "ok":
            if time.monotonic() > began + PATIENCE or process.poll() is not None:
                sys.exit(f"{binary}: not healthy after {PATIENCE} s: {health}")
            try:
                health = json.load(urllib.request.urlopen(url + "health", timeout=5))
            except urllib.error.HTTPError as answer:
                health = json.load(answer)
            time.sleep(0.05)
        took = time.monotonic() - began
        if while_it_runs:
            while_it_runs(url)
    finally:
        process.terminate()
        status = process.wait(PATIENCE)
    if status != 0:
        sys.exit(f"{binary}: exit status {status} after SIGTERM")
    return f"{version}; healthy after {took:.1f} s"


def tarball(path, scratch):
    with tarfile.open(path) as tar:
        tar.extractall(scratch, filter="data")
    top = next(scratch.iterdir())
    for name in ["LICENSE", "THIRD-PARTY.txt", "README.md", "docs/operating.md", "man/causeway.1", "dist/grafana.json"]:
        if not (top / name).is_file():
            sys.exit(f"{path.name}: {name} is missing")
    print(f"tarball: {serve(top / 'causeway', container_health)}")
    service(top)


def container_health(url):
    """The health check of the container's image, as bash runs it there."""
    line = re.search(r"^HEALTHCHECK.*?CMD (\[.*?\])$", (DIST / "Dockerfile").read_text(), re.MULTILINE | re.DOTALL)
    command = ast.literal_eval(line.group(1))
    port = url.rstrip("/").rsplit(":", 1)[1]
    run(*command, env={**os.environ, "CAUSEWAY_PORT": port})
    dead = subprocess.run(command, env={**os.environ, "CAUSEWAY_PORT": "1"}, capture_output=True)
    if dead.returncode == 0:
        sys.exit("the container's health check calls a server healthy that is not there")
    print("container: its health check tells a server that is well from one that is not there; the image was not built")


def service(top):
    if not shutil.which("systemd-analyze"):
        return print("service: not verified, systemd-analyze is not here")
    unit = top / "causeway.service"
    unit.write_text((DIST / "causeway.service").read_text().replace("/usr/bin/causeway", str(top / "causeway")))
    told = run("systemd-analyze", "verify", "--man=no", unit)
    if told.strip():
        sys.exit(f"systemd-analyze verify: {told}")
    exposure = run("systemd-analyze", "security", "--offline=true", "--no-pager", unit).strip().splitlines()[-1]
    print(f"service: verified; {exposure.strip('→ ')}")


def wheel(path, scratch):
    run(sys.executable, "-m", "venv", scratch / "venv")
    run(scratch / "venv/bin/python", "-m", "pip", "install", "-q", "--no-index", path)
    print(f"wheel: {serve(scratch / 'venv/bin/causeway')}")
    run(scratch / "venv/bin/python", "-m", "pip", "uninstall", "-q", "-y", "causeway-server")
    if (scratch / "venv/bin/causeway").exists():
        sys.exit("pip uninstall leaves the program")


def debian(path, scratch):
    admin = scratch / "var/lib/dpkg"
    for folder in ["info", "updates", "triggers"]:
        (admin / folder).mkdir(parents=True)
    (admin / "status").touch()
    # Its own root: scripts run with DPKG_ROOT, and the libraries are those of this machine.
    dpkg = ["dpkg", f"--root={scratch}", "--force-not-root", "--force-depends", "--force-script-chrootless"]
    run(*dpkg, "--install", path)
    status = run(*dpkg, "--status", "causeway")
    if "Status: install ok installed" not in status:
        sys.exit(f"the package is not installed:\n{status}")
    depends = re.search(r"^Depends: (.*)$", status, re.MULTILINE).group(1)
    print(f"deb: {serve(scratch / 'usr/bin/causeway')}; {depends}")
    (scratch / "var/lib/causeway").mkdir()
    run(*dpkg, "--purge", "causeway")
    left = [str(file.relative_to(scratch)) for file in scratch.rglob("*") if "var/lib/dpkg" not in str(file) and not file.is_dir()]
    if left or (scratch / "var/lib/causeway").exists():
        sys.exit(f"purging leaves {left or 'var/lib/causeway'}")
    print("deb: purged, nothing is left")
    if not shutil.which("lintian"):
        return print("deb: not looked at by lintian, which is not here")
    told = subprocess.run(["lintian", "--no-tag-display-limit", path], text=True, capture_output=True).stdout
    errors = [line for line in told.splitlines() if line.startswith("E:")]
    if errors:
        sys.exit("lintian:\n" + "\n".join(errors))
    print(f"deb: lintian has no errors, {told.count('W: ')} warnings")


def linted():
    compose = subprocess.run(["docker", "compose", "version"], capture_output=True) if shutil.which("docker") else None
    tools = {
        "alerts.yaml": (shutil.which("promtool"), ["promtool", "check", "rules", DIST / "alerts.yaml"]),
        "Dockerfile": (shutil.which("hadolint"), ["hadolint", DIST / "Dockerfile"]),
        "compose.yaml": (
            compose and compose.returncode == 0,
            ["docker", "compose", "-f", DIST / "compose.yaml", "config", "-q"],
        ),
    }
    for file, (is_here, command) in tools.items():
        tool = " ".join(command[:2] if command[0] == "docker" else command[:1])
        if is_here:
            run(*command)
        print(f"{file}: {f'{tool} found nothing wrong' if is_here else f'not looked at by {tool}, which is not here'}")


def main():
    folder = Path(sys.argv[1])
    for pattern, check in {"*.tar.gz": tarball, "*.whl": wheel, "*.deb": debian}.items():
        path = next(folder.glob(pattern), None)
        if path is None:
            sys.exit(f"no {pattern} in {folder}: dist/build.py makes it")
        with tempfile.TemporaryDirectory() as scratch:
            check(path.resolve(), Path(scratch))
    linted()


if __name__ == "__main__":
    main()
