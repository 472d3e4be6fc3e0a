#!/bin/sh
# Builds the emulated driver, unless it is built already, and prints the folder that it lies in: below target/, named after the
# sources, so that a change of a kernel builds anew. Tests of many processes may ask at once; one builds.
set -eu
host=$(cd "$(dirname "$0")" && pwd)
target=${1:?the folder for build results}
sources="$host/libcuda.cpp $host/libcublasLt.cpp $host/libnccl.cpp $host/libcuda.map $host/*.h $host/simt.cpp $host/kernels.cpp $host/ptx.cpp $host/../kernels/*.cu $host/../kernels/*.cuh"
# shellcheck disable=SC2086
folder=$target/emulated-cuda/$(cat $sources | sha256sum | cut -c1-16)
mkdir -p "$target/emulated-cuda"
exec 9>"$target/emulated-cuda/lock"
flock 9
if [ ! -e "$folder/libcuda.so.1" ]; then
    mkdir -p "$folder"
    # The objects are kept for the kernels' own tests (build.sh).
    for file in kernels simt ptx libcuda; do echo "$file"; done | xargs -P 2 -I{} g++ -std=c++17 -O2 -DON_HOST -fPIC \
        -Wall -Wextra -Wno-unknown-pragmas -c "$host/{}.cpp" -o "$folder/{}.o" >&2
    # Its name for the loader is the one that cudarc tries first, so that it is found before a driver of the machine.
    g++ -shared -Wl,-soname,libcuda.so -Wl,--version-script="$host/libcuda.map" -o "$folder/libcuda.so.building" \
        "$folder/kernels.o" "$folder/simt.o" "$folder/ptx.o" "$folder/libcuda.o" >&2
    # In a folder of its own, so that a test has it only where it asks for it.
    mkdir -p "$folder/with-blas"
    g++ -std=c++17 -O3 -fPIC -fvisibility=hidden -Wall -Wextra -shared -Wl,-soname,libcublasLt.so.12 "$host/libcublasLt.cpp" \
        "$folder/libcuda.so.building" -o "$folder/with-blas/libcublasLt.so.12" >&2
    mkdir -p "$folder/with-nccl"
    g++ -std=c++17 -O2 -fPIC -fvisibility=hidden -Wall -Wextra -shared -Wl,-soname,libnccl.so.2 "$host/libnccl.cpp" \
        "$folder/libcuda.so.building" -o "$folder/with-nccl/libnccl.so.2" >&2
    mv "$folder/libcuda.so.building" "$folder/libcuda.so.1"
    for beside in with-blas with-nccl; do ln -sf ../libcuda.so.1 "$folder/$beside/libcuda.so.1"; done
fi
echo "$folder"
