"""Try the video API with clients that know nothing of Causeway: OpenAI's SDKs and curl.

    python tests/clients/run.py PROGRAM [NODE_MODULES]

PROGRAM is a built `causeway`. A server with the pocket world is started on a free port; then run, one after the other,
every command of docs/videos.md (curl, Python, JavaScript) and the checks of openai_sdk.py. Needs the packages of
requirements.txt; NODE_MODULES is a folder with the npm package `openai`, without it the JavaScript parts are left out.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "videos.md"
# Where the document's commands expect the server.
ADDRESS = "http://127.0.0.1:30000"
# A film of some seconds takes as long to draw on a busy machine as many on an idle one.
LIMIT_S = 300


def start(program):
    """The server, and its address: the first line that it writes says where it listens."""
    server = subprocess.Popen([program, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True)
    said = re.fullmatch(r"causeway: (http://\S+)/\n", server.stdout.readline())
    assert said, "the server did not say where it listens"
    return server, said[1]


def wait_for_the_world(address):
    command = ["curl", "-sf", "--retry", "60", "--retry-delay", "1", "--retry-all-errors", "-o", os.devnull, f"{address}/ready"]
    subprocess.run(command, check=True, timeout=LIMIT_S)


def blocks(language):
    """The document's code blocks in a language, with the first heading above each."""
    text = DOCUMENT.read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
    return [(re.findall(r"^#+ (.*)$", text[: match.start()], re.M)[-1], match[1]) for match in found]


def run_block(command, heading, code, address, environment):
    """Run a block in an empty folder, and check the files that it made."""
    with tempfile.TemporaryDirectory() as folder:
        code = code.replace(ADDRESS, address)
        made = subprocess.run(command + [code], cwd=folder, env=environment, text=True, capture_output=True, timeout=LIMIT_S)
        assert made.returncode == 0, f"{heading}: {made.returncode}\n{code}\n{made.stdout}\n{made.stderr}"
        files = sorted(Path(folder).iterdir())
        for file in files:
            check(file)
        print(f"ok  {heading}: {command[0]}, {', '.join(f'{file.name} {file.stat().st_size} bytes' for file in files)}")


def check(file):
    """A file begins as its name says."""
    begins = file.read_bytes()[:12]
    expected = {".mp4": begins[4:8] == b"ftyp", ".png": begins[:4] == b"\x89PNG", ".webp": begins[8:12] == b"WEBP"}
    assert expected.get(file.suffix, False), f"{file.name} begins with {begins}"


def main(program, node_modules=None):
    server, address = start(program)
    try:
        wait_for_the_world(address)
        environment = {**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning", "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"{address}/v1"}
        for heading, code in blocks("sh"):
            run_block(["bash", "-euc"], heading, code, address, environment)
        for heading, code in blocks("python"):
            run_block([sys.executable, "-c"], heading, code, address, environment)
        subprocess.run([sys.executable, HERE / "openai_sdk.py"], env=environment, check=True, timeout=LIMIT_S)
        if node_modules:
            # `import` looks beside the program, and not where a variable says.
            with tempfile.TemporaryDirectory() as folder:
                os.symlink(Path(node_modules).resolve(), Path(folder) / "node_modules")
                for heading, code in blocks("js"):
                    script = Path(folder) / "block.mjs"
                    script.write_text(code.replace(ADDRESS, address))
                    run_block(["node", str(script)], heading, "", address, environment)
    finally:
        server.terminate()
        server.wait(LIMIT_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
