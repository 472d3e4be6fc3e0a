#!/bin/sh
# All that can be proved of the kernels without a GPU: prove.sh FOLDER PYTHON. docs/gpu.md says what each step means. PYTHON
# has the packages of requirements.txt.
set -e
here=$(cd "$(dirname "$0")" && pwd)
kernels=$here/../kernels
mkdir -p "$1"
out=$(cd "$1" && pwd)
python=$2
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
nvrtc=$packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12
cute=$packages/cutlass_library/source/include
for package in cuda_runtime cuda_cccl cuda_nvcc; do cute=$cute,$packages/nvidia/$package/include; done

echo "== every kernel against its definition, as fibers"
"$here/build.sh" "$out/plain"
for seed in 1 2 3; do CAUSEWAY_SIMT_SEED=$seed "$out/plain/kernels-test" --random 200 --seed $seed; done
echo "== the same with AddressSanitizer"
"$here/build.sh" "$out/checked" checked
ASAN_OPTIONS=detect_stack_use_after_return=0:detect_leaks=0 "$out/checked/kernels-test" --random 40 --seed 4
echo "== the PTX that ships, executed"
for seed in 1 2 3; do CAUSEWAY_SIMT_SEED=$seed "$out/plain/kernels-test" --random 20 --seed $seed --ptx "$kernels/built"; done
echo "== the PTX that ships is what the sources give"
"$python" "$kernels/build.py" --nvrtc "$nvrtc" --check
echo "== assembled for every generation of GPUs"
ptxas=$packages/nvidia/cuda_nvcc/bin/ptxas
chmod +x "$ptxas"
"$python" "$kernels/assemble.py" --ptxas "$ptxas"
echo "== the time of a chunk, calculated from them"
PYTHONPATH=$kernels "$python" -B -m unittest test_chunk_time
"$kernels/chunk-time.sh" "$python" --page "$here/../../docs/gpu.md"
echo "== the emulator's layouts against CuTe's"
g++ -std=c++17 -w -DON_HOST $(echo ",$cute" | sed 's/,/ -I/g') "$here/cute_check.cpp" -o "$out/cute-check"
"$out/cute-check"
echo "== planted mistakes are found"
"$python" "$here/mutants.py" "$out" --nvrtc "$nvrtc" --cute "$cute"
