#!/bin/sh
# All that can be proved of the kernels without a GPU: prove.sh FOLDER. docs/gpu.md says what each step means.
set -e
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)

echo "== every kernel against its definition, as fibers"
"$here/build.sh" "$out/plain"
for seed in 1 2 3; do CAUSEWAY_SIMT_SEED=$seed "$out/plain/kernels-test"; done
echo "== the same with AddressSanitizer"
"$here/build.sh" "$out/checked" checked
ASAN_OPTIONS=detect_stack_use_after_return=0:detect_leaks=0 "$out/checked/kernels-test"
