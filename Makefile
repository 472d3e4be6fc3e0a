# Two commands do everything on a fresh Debian machine with Rust: `make run` and `make test`.

ARGS ?=
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: run test test-cluster kernels chunk-time test-gpu-emulated test-otlp test-clients soak fuzz train-dry compare-pocket compare-wide compare-server dist build-tools test-tools

# Builds the server and serves the world that ships with it; ARGS go to `causeway serve`.
run: build-tools
	cargo run --release --locked -p server --bin causeway -- serve $(ARGS)

# Formatting, lints, every Rust test (with a real browser), every JavaScript test, and the clients in other languages.
test: build-tools test-tools target/axe/installed target/clients/installed
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo nextest run --locked --workspace
	node --test webui/test/*.test.js
	target/clients/bin/python clients/check.py target/debug/causeway target/debug/reference_server

# All that can be proved of the kernels for GPUs without a GPU: docs/gpu.md. `test` runs a bounded part of it.
test-gpu-emulated: build-tools target/kernels/installed
	ops/host/prove.sh target/kernels target/kernels/venv/bin/python
	cargo nextest run --locked --workspace --run-ignored only emulated

# PTX of the kernels for GPUs, made again: after every change to ops/kernels.
kernels: target/kernels/installed
	target/kernels/venv/bin/python ops/kernels/build.py --nvrtc target/kernels/libnvrtc.so.12

# How long an H200 takes for a chunk of LingBot World, calculated from the kernels' machine code and from what is launched.
chunk-time: target/kernels/installed
	@ops/kernels/chunk-time.sh target/kernels/venv/bin/python

target/kernels/installed: ops/host/requirements.txt
	@python3 -c "import ensurepip, venv" || missing=" python3-venv"; $(call install)
	python3 -m venv target/kernels/venv
	target/kernels/venv/bin/python -m pip install -q --no-deps -r $<
	ln -sf "$$(find $(CURDIR)/target/kernels/venv -name libnvrtc.so.12)" target/kernels/libnvrtc.so.12
	touch $@

# A cluster that is broken on purpose: three servers of NATS, three nodes, two doors, 60 clients, 200 faults. ARGS: --rounds N.
test-cluster: build-tools test-tools
	cargo build --release --locked -p tests --bin cluster
	target/release/cluster $(ARGS)

# A build with OpenTelemetry, which `test` leaves out: it brings a second HTTP client.
test-otlp: build-tools test-tools
	cargo clippy --locked -p server --features otlp --all-targets -- -D warnings
	cargo nextest run --locked -p server --features otlp --test collector

# The video API with clients that are not ours: OpenAI's SDKs for Python and JavaScript, and curl. Of our own clients what
# `test` leaves out: that the packages for Python and JavaScript can be built and used, with their types.
test-clients: build-tools test-tools target/clients/installed
	cargo build --release --locked -p server --bin causeway
	target/clients/bin/python tests/clients/run.py target/release/causeway target/clients/node_modules
	cd clients/python && ../../target/clients/bin/python -m mypy
	rm -rf target/clients/python && cp -r clients/python target/clients/python
	target/clients/bin/python -m pip install -q --force-reinstall --no-deps target/clients/python
	cd target && clients/bin/python -c "import causeway_client; print(causeway_client.__file__)"
	clients/js/pack.sh target/clients

target/clients/installed: clients/requirements.txt tests/clients/requirements.txt tests/clients/package.json
	@python3 -c "import ensurepip, venv" || missing=" python3-venv"; \
	command -v npm >/dev/null || missing="$$missing npm"; $(call install)
	python3 -m venv target/clients
	target/clients/bin/python -m pip install -q -r clients/requirements.txt -r tests/clients/requirements.txt
	cp tests/clients/package.json target/clients/ && npm install --prefix target/clients --no-audit --no-fund
	touch $@

# axe-core, with which a browser test checks that the page can be used by everybody.
target/axe/installed: tests/axe/package.json
	@command -v npm >/dev/null || missing=" npm"; $(call install)
	mkdir -p target/axe
	cp tests/axe/package.json target/axe/ && npm install --prefix target/axe --no-audit --no-fund
	touch $@

# What is handed out: a tarball, a Debian package and a wheel in target/dist, each installed and started once.
BINARY ?= target/release/causeway
dist: build-tools
	@for tool in strip:binutils git:git; do command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; done; \
	python3 -c "import ensurepip, venv" || missing="$$missing python3-venv"; $(call install)
	cargo build --release --locked -p server --bin causeway
	python3 dist/build.py $(BINARY) target/dist
	python3 dist/check.py target/dist

# What takes too long for a test, or depends on how quiet the machine is: thousands of sessions, hundreds of faults.
soak: build-tools
	cargo build --release --locked -p server -p tests --bins
	target/release/soak $(ARGS)

# Ten minutes for each of what reads a client's bytes.
fuzz: build-tools
	cargo run --release --locked -p tests --bin fuzz -- --seconds 600 $(ARGS)

# Every stage of the pocket world's training, very small, and the tests of its code: minutes, and 4 GB of PyTorch the first
# time, so it is no part of `test`.
train-dry: target/training/installed
	rm -rf target/training/dry
	cd pocket && ../target/training/bin/python -m unittest discover -s training/tests -t .
	cd pocket && ../target/training/bin/python -m training all --config training/configs/dry.toml --out ../target/training/dry

target/training/installed: pocket/training/requirements.txt
	@python3 -c "import ensurepip, venv" || missing=" python3-venv"; $(call install)
	python3 -m venv target/training
	target/training/bin/python -m pip install -q -r $<
	touch $@

# Ours beside PyTorch (the world that ships; a block of a 1.3 B transformer), and our server beside FastAPI, uvicorn, msgspec and
# Pillow. Each runs both sides in turns, on a machine that does nothing else. ARGS go to the script.
compare-pocket compare-wide: compare-%: build-tools target/training/installed
	cargo build --release --locked -p tests --bin compare
	target/training/bin/python tests/compare/$*.py target/release/compare $(ARGS)

compare-server: build-tools target/compare/installed
	cargo build --release --locked -p server --bin causeway
	target/compare/bin/python tests/compare/server.py target/release/causeway $(ARGS)

target/compare/installed: tests/compare/requirements.txt
	@python3 -c "import ensurepip, venv" || missing=" python3-venv"; $(call install)
	python3 -m venv target/compare
	target/compare/bin/python -m pip install -q -r $<
	touch $@

# libjpeg-turbo and OpenH264 are built from source: they need cmake, nasm, a C and a C++ compiler.
build-tools:
	@for tool in cmake:cmake nasm:nasm cc:gcc c++:g++; do \
	  command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; \
	done; $(call install)

# The browser tests drive Chromium, and one drives Firefox; the page's modules are tested with Node; curl and Python run the commands of docs/videos.md;
# Mono and Godot run their clients; HAProxy stands before two servers, and NATS between several (docs/cluster.md).
test-tools:
	@PATH=$$PATH:/usr/sbin; for tool in haproxy:haproxy nats-server:nats-server chromium:chromium firefox-esr:firefox-esr node:nodejs curl:curl openssl:openssl python3:python3 mcs:mono-mcs mono:mono-runtime godot3-server:godot3-server; do \
	  command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; \
	done; $(call install)
	@command -v cargo-nextest >/dev/null || cargo install --locked cargo-nextest

# Debian packages named in $$missing, if any.
define install
if [ -n "$$missing" ]; then echo "installing$$missing"; $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q --no-install-recommends$$missing; fi
endef
