#!/bin/sh
# A cluster on one machine: three servers of NATS, two nodes that draw and a door, until it is stopped with Ctrl-C.
#   dist/cluster.sh [ARGUMENTS FOR EVERY NODE, such as --world testcard]
# Needs nats-server (Debian: apt-get install nats-server) and a causeway with the feature `cluster`; CAUSEWAY_BINARY names it.
set -eu
PATH=$PATH:/usr/sbin
binary=${CAUSEWAY_BINARY:-target/release/causeway}
command -v nats-server >/dev/null || { echo "nats-server is missing: apt-get install nats-server" >&2; exit 1; }
[ -x "$binary" ] || { echo "$binary is missing: cargo build --release -p server --bin causeway --features cluster" >&2; exit 1; }
folder=$(mktemp -d)
started=
stop() {
    trap - INT TERM EXIT
    for process in $started; do kill "$process" 2>/dev/null || true; done
    wait
    rm -rf "$folder"
}
trap stop INT TERM EXIT
for at in 1 2 3; do
    nats-server -js -a 127.0.0.1 -p 422$at -sd "$folder/$at" --server_name n$at --cluster_name causeway \
        --cluster nats://127.0.0.1:622$at --routes nats://127.0.0.1:6221,nats://127.0.0.1:6222,nats://127.0.0.1:6223 \
        >"$folder/nats-$at.log" 2>&1 &
    started="$started $!"
done
cluster=nats://127.0.0.1:4221,nats://127.0.0.1:4222,nats://127.0.0.1:4223
for port in 30001 30002; do
    "$binary" serve --port $port --cluster "$cluster" "$@" &
    started="$started $!"
done
"$binary" serve --port 30000 --cluster "$cluster" --sessions 0 "$@" &
started="$started $!"
wait
